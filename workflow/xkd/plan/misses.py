"""What to say of a cell that a config does not have: the nearest, and what it is called here."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING

from xkd.errors import setting
from xkd.plan.runs import Cell

if TYPE_CHECKING:
    from xkd.plan.grid import Plan


def no_cell(plan: "Plan", cell: Cell) -> str:
    """One line: what is missing, what may have been meant, and how to list what there is."""
    told = f"no experiment of {plan.name} at scale {plan.scale} has the cell {cell}"
    hint = next(_hints(plan, cell), "")
    return f"{told}; {hint}`xkd cells` lists all" if hint else f"{told}; `xkd cells` lists all"


def _hints(plan: "Plan", cell: Cell) -> Iterator[str]:
    """Guesses at what was meant, the best first."""
    here = translated(plan, cell)
    if here != cell and here in plan.cells:
        yield f"here it is {here}, or say {setting('scale=paper')}; "
    near = [one for one in plan.cells if _but_for_the_teacher(one, here)]
    if near:
        yield f"there are {', '.join(map(str, near))}; "
    yield from _names(plan, cell)
    if alike := get_close_matches(str(here), map(str, plan.cells), n=1, cutoff=0.8):
        yield f"did you mean '{alike[0]}'? "


def translated(plan: "Plan", cell: Cell) -> Cell:
    """A cell of the papers by the names that stand for them at this scale."""
    teacher = cell.teacher
    if teacher:
        network, dash, method = teacher.partition("-")
        method = plan.replace.get(method, method)
        if method == "ce":
            dash = method = ""
        teacher = plan.replace.get(network, network) + dash + method
    names = (plan.replace.get(name, name) for name in (cell.dataset, cell.network, cell.method))
    return Cell(*names, teacher, cell.trial)


def _but_for_the_teacher(one: Cell, other: Cell) -> bool:
    parts = ("dataset", "network", "method", "trial")
    return all(getattr(one, part) == getattr(other, part) for part in parts)


def _names(plan: "Plan", cell: Cell) -> Iterator[str]:
    """The first part of a cell that the config does not know, with the nearest that it does."""
    for kind, name, known in (
        ("data set", cell.dataset, plan.config["datasets"]),
        ("network", cell.network, plan.config["networks"]),
        ("method", cell.method, plan.resolver.methods),
    ):
        if name not in known:
            near = get_close_matches(name, list(known), n=1)
            yield f"unknown {kind} '{name}'" + (f", did you mean '{near[0]}'? " if near else "; ")
