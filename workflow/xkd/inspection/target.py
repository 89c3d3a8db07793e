"""What a word on the command line means: a path under results/, a cell, a run or an item."""

import contextlib
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from xkd.errors import Refused
from xkd.files import is_committed
from xkd.plan.grid import Item, Plan
from xkd.plan.runs import CELL, Cell, Layout, Run
from xkd.records import cards

ITEMS = ("tables", "figures")
REFERENCE = "reference"
#: Of the files that are left under results/; other dots may be part of a name.
SUFFIXES = (
    ".csv",
    ".json",
    ".yaml",
    ".npz",
    ".npy",
    ".safetensors",
    ".png",
    ".pdf",
    ".html",
    ".pt",
)


class Committed(Layout):
    """Paths of results/reference/, where runs lie without a folder around them all.

    A cell that was trained more than once, in two precisions, say, lies in a folder for each.
    """

    @classmethod
    def around(cls, path: Path) -> "Committed":
        """The layout whose run or cell this path belongs to: the card there says which."""
        folder = path if path.is_dir() else path.parent
        for run in (folder, *sorted(folder.glob("seed*"))):
            with contextlib.suppress(Refused, KeyError):
                return cls(run.parents[str(cards.read(run)["run"]).count("/")])
        parts = path.parts
        return cls(Path(*parts[: len(parts) - parts[::-1].index(REFERENCE)]))

    def seeds(self, cell: Cell) -> list[int]:
        """Of the runs that are there."""
        return sorted(int(run.name.removeprefix("seed")) for run in self.cell(cell).glob("seed*"))

    def cell(self, cell: Cell) -> Path:
        return self.root / str(cell)

    def run(self, run: Run) -> Path:
        return self.root / str(run)


@dataclass(frozen=True)
class Target:
    """A file or folder of results, and what its path says of it.

    path: as it was found; it may be absent for a cell or an item that is not there yet.
    layout: of the `results/<scale>/` around it.
    place: path relative to that; `place[0]` is the kind of thing.
    """

    plan: Plan
    layout: Layout
    path: Path
    place: tuple[str, ...] = ()
    cell: Cell | None = None
    run: Run | None = None
    dataset: str | None = None
    analysis: str | None = None
    item: Item | None = None
    sets: tuple[str, ...] = ()  # what the command line set, for commands to type

    @property
    def option(self) -> str:
        """What commands that remake it need besides their subject."""
        return "".join(f" --set {shlex.quote(one)}" for one in self.sets)

    @property
    def option_of_snakemake(self) -> str:
        """The same for Snakemake's command line."""
        return f" --config {' '.join(map(shlex.quote, self.sets))}" if self.sets else ""

    @property
    def kind(self) -> str:
        return self.place[0] if self.place else ""

    @property
    def foreign(self) -> bool:
        """Whether it belongs to another scale than the plan's."""
        return not is_committed(self.layout.root) and self.layout.root.name != self.plan.scale


def scale_of(word: str, scales: Iterable[str]) -> str | None:
    """The scale that an existing path belongs to: a folder on its way that is called like one."""
    path = Path(word)
    if not path.exists():
        return None
    parts = path.absolute().parts
    if is_committed(path):
        return "paper"
    return next((name for name in reversed(parts) if name in set(scales)), None)


def find(word: str, plan: Plan, results: Path, sets: Sequence[str] = ()) -> Target:
    """The result that a word names.

    Raises: Refused, with the nearest names, when it is none of path, cell, run and item.
    """
    return replace(_found(word, plan, plan.layout(results)), sets=tuple(sets))


def _found(word: str, plan: Plan, layout: Layout) -> Target:
    path = Path(os.path.normpath(word))
    if path.exists():
        return _placed(plan, layout, path)
    if word in plan.items:
        item = plan.items[word]
        forms = layout.item(item.kind, item.name)
        return Target(plan, layout, Path(forms["csv"]), (item.kind, item.name), item=item)
    if path.suffix in SUFFIXES:
        raise Refused(_unknown(word, plan))
    text = word.strip("/")
    if found := re.fullmatch(rf"({CELL})/seed(\d+)", text):
        run = Run(Cell.parse(found[1]), int(found[2]))
        plan.settings(run.cell)
        return _placed(plan, layout, layout.run(run))
    if re.fullmatch(CELL, text):
        cell = Cell.parse(text)
        plan.settings(cell)
        return _placed(plan, layout, layout.cell(cell))
    raise Refused(_unknown(word, plan))


def _unknown(word: str, plan: Plan) -> str:
    known = [*plan.items, *map(str, plan.cells), *plan.config["datasets"]]
    near = get_close_matches(word, known, n=1)
    hint = f" did you mean '{near[0]}'?" if near else ""
    if Path(word).suffix in SUFFIXES:
        return f"{word} is missing; expected a file under results/, a cell or an item.{hint}"
    return (
        f"unknown '{word}': neither a path, a cell, a run nor a table or figure.{hint} "
        "`xkd cells` lists cells, `xkd check` items"
    )


def _placed(plan: Plan, layout: Layout, path: Path) -> Target:
    """What the path of a result says of it, whatever folder `results` is in."""
    parts = path.absolute().parts
    if is_committed(path):
        layout, path = Committed.around(path.absolute()), path.absolute()
        place = ("runs", *path.relative_to(layout.root).parts)
        return _recognised(Target(plan, layout, path, place))
    scales = plan.config["scales"]
    at = next((i for i in range(len(parts) - 1, 0, -1) if parts[i] in scales), None)
    if at is not None and (path.exists() or layout.root.name == parts[at]):
        up = len(parts) - 1 - at
        root = path if up == 0 else path.parents[up - 1]
        layout = Layout(root)
        place = parts[at + 1 :]
    else:
        place = ()
    return _recognised(Target(plan, layout, path, place))


def _recognised(target: Target) -> Target:
    kind, rest = target.kind, target.place[1:]
    if kind == "data" and rest:
        return replace(target, dataset=rest[0])
    if kind in ("runs", "teachers"):
        return replace(target, **_cell_or_run(rest))
    if kind == "analysis" and len(rest) > 1:
        return replace(target, analysis=rest[0], **_cell_or_run(rest[1:]))
    if kind in ITEMS and rest:
        name = re.sub(r"_claims$", "", Path(rest[0]).stem)
        return replace(target, item=target.plan.items.get(name))
    return target


def _cell_or_run(parts: tuple[str, ...]) -> dict[str, Cell | Run]:
    """The longest beginning of a path that is a cell or a run."""
    for count in range(len(parts), 2, -1):
        text = "/".join(parts[:count])
        if found := re.fullmatch(rf"({CELL})/seed(\d+)", text):
            run = Run(Cell.parse(found[1]), int(found[2]))
            return {"cell": run.cell, "run": run}
        if re.fullmatch(CELL, text) and not re.search(r"\.(json|csv)$", text):
            return {"cell": Cell.parse(text)}
    return {}
