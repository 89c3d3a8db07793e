"""What differs between a cell and the same cell as the paper had it; imports no torch.

The paper's settings are those of the config that comes with the project, at scale `paper`, whatever
scale, overlay or command line asked for ours.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from xkd.files import plain
from xkd.fingerprint import PACKAGE
from xkd.plan import config as conf
from xkd.plan.grid import Plan
from xkd.plan.items import Item
from xkd.plan.runs import Cell

#: Settings that leave training images and training as they are.
HARMLESS = {
    "dataset": {"name", "holdout", "holdout_seed", "coarse", "folder"},
    "network": {"name"},
    "recipe": {"name"},
}


class Difference(NamedTuple):
    """part: data, network, recipe, method, teacher or search; what: the setting's name in it."""

    part: str
    what: str
    ours: Any
    papers: Any


#: What the effective config says about itself.
ABOUT = {"papers", "origins"}


@cache
def reference(papers: tuple[str, ...]) -> dict[str, Any]:
    """The project's own config at paper scale, with the papers of these folders."""
    values = {"scale": "paper", "papers": [str(Path(folder).resolve()) for folder in papers]}
    return conf.load(PACKAGE.parent.parent / conf.CONFIG, values=values)


@cache
def reference_plan(papers: tuple[str, ...]) -> Plan:
    """The plan of `reference`; it costs a second."""
    return Plan(dict(reference(papers)))


@dataclass
class Comparison:
    """A plan held against `reference`, with the plan's own papers."""

    plan: Plan
    _cells: dict[tuple[Cell, Cell], list[Difference]] = field(default_factory=dict)

    @cached_property
    def papers(self) -> Plan:
        """The paper's plan, made only where the configs differ at all."""
        ours = self.plan.config
        folders = tuple(paper["folder"] for paper in ours["papers"].values())
        config = reference(folders)
        same = all(
            ours.get(key) == config.get(key) for key in (ours.keys() | config.keys()) - ABOUT
        )
        return self.plan if same else reference_plan(folders)

    def differences(self, item: Item) -> dict[str, list[list[Any]]]:
        """Cells of an item, and of their teachers, that differ from the paper's: how.

        Cells that the paper does not have, of an experiment of one's own, differ from nothing.
        """
        if self.papers is self.plan:
            return {}
        found: dict[str, dict[Difference, None]] = {}
        for cell in item.cells:
            for other in self._counterparts(item, cell):  # one may stand for several of the paper's
                for mine, known in self._with_teachers(cell, other):
                    every = found.setdefault(str(mine), {})
                    every |= dict.fromkeys(map(_hashable, self.of_cell(mine, known)))
        return {cell: plain(list(every)) for cell, every in found.items() if every}

    def _with_teachers(self, cell: Cell, other: Cell) -> Iterator[tuple[Cell, Cell]]:
        yield cell, other
        taught, known = self.plan.settings(cell).teacher, self.papers.settings(other).teacher
        if taught and known:
            yield taught.cell, known.cell

    def fewer_seeds(self, item: Item) -> dict[str, list[int]]:
        """Cells with fewer seeds than the paper's have: cell -> [ours, the paper's].

        No difference in what is estimated, only in how well: the intervals account for it.
        """
        if self.papers is self.plan:
            return {}
        shown = self.papers.items.get(item.name)
        counts = {cell: len(seeds) for cell, seeds in shown.runs} if shown else {}
        found = {}
        for cell, seeds in item.runs:
            known = [counts.get(other, 0) for other in self._counterparts(item, cell)]
            if known and len(seeds) < max(known):
                found[str(cell)] = [len(seeds), max(known)]
        return found

    def of_cell(self, cell: Cell, other: Cell) -> list[Difference]:
        """Every setting in which a cell of the plan differs from a cell of the paper's.

        Where the data set or the network is another, that is the difference, and not all that
        follows from it.
        """
        if (cell, other) not in self._cells:
            self._cells[cell, other] = list(self._compared(cell, other))
        return self._cells[cell, other]

    def _compared(self, cell: Cell, other: Cell) -> Iterator[Difference]:
        ours, theirs = self.plan.settings(cell), self.papers.settings(other)
        yield from of_settings(ours.slice(), theirs.slice())
        if ours.teacher and theirs.teacher:
            for part, *rest in self.of_cell(ours.teacher.cell, theirs.teacher.cell):
                if part != "data":
                    yield Difference("teacher", *rest)
        if ours.search and theirs.search:
            tried = [[value for value, _ in one.search.trials] for one in (ours, theirs)]
            if tried[0] != tried[1]:
                yield Difference("search", "values", *tried)
            first = [one.search.trials[0][1] for one in (ours, theirs)]
            mine = self.plan.settings(first[0]).recipe.epochs
            known = self.papers.settings(first[1]).recipe.epochs
            if mine != known:
                yield Difference("search", "epochs", mine, known)

    def _counterparts(self, item: Item, cell: Cell) -> list[Cell]:
        """The paper's cells that a cell of ours stands for: those of the item first, else of any.

        Of several, those whose teachers our teacher stands for, if there are any.
        """
        shown = self.papers.items.get(item.name)
        wanted = replace(cell, teacher=None, trial=None)
        for among in (shown.cells if shown else [], self.papers.cells):
            found = [other for other in among if not other.trial and self._here(other) == wanted]
            if found:
                break
        else:
            return []
        if not (taught := self.plan.settings(cell).teacher):
            return found
        teachers = [self.papers.settings(other).teacher for other in found]
        same = [
            other
            for other, teacher in zip(found, teachers, strict=True)
            if teacher and self._named(teacher.cell.network) == taught.cell.network
        ]
        return same or found

    def _here(self, other: Cell) -> Cell:
        """What the plan's scale makes of a cell of the paper, teachers aside."""
        return Cell(*map(self._named, (other.dataset, other.network, other.method)))

    def _named(self, name: str) -> str:
        return self.plan.replace.get(name, name)


@cache
def comparison(plan: Plan) -> Comparison:
    """The plan held against the project's own config, made once."""
    return Comparison(plan)


def of_settings(ours: Mapping[str, Any], papers: Mapping[str, Any]) -> Iterator[Difference]:
    """Differences of two settings, as `CellSettings.slice` or a run card has them; teachers aside.

    A value that a search decides is no difference.
    """
    ours, papers = plain(ours), plain(papers)
    for part, what in (("dataset", "data"), ("network", "network")):
        names = [one[part]["name"] for one in (ours, papers)]
        if names[0] != names[1]:
            yield Difference(what, part, *names)
        else:
            yield from _differing(what, ours[part], papers[part], HARMLESS[part])
    if (ours.get("recipe") is None) != (papers.get("recipe") is None):
        kinds = ["trained" if one.get("recipe") else "from a file" for one in (ours, papers)]
        yield Difference("recipe", "weights", *kinds)
        return
    yield from _differing(
        "recipe", ours.get("recipe") or {}, papers.get("recipe") or {}, HARMLESS["recipe"]
    )
    searched = {one["search"]["option"] for one in (ours, papers) if one.get("search")}
    yield from _differing("method", *(one["method"]["options"] for one in (ours, papers)), searched)


def _differing(
    part: str, ours: Mapping[str, Any], papers: Mapping[str, Any], but: set[str], within: str = ""
) -> Iterator[Difference]:
    for key in dict.fromkeys([*papers, *ours]):
        name = f"{within}{key}"
        mine, known = ours.get(key), papers.get(key)
        if name in but or mine == known:
            continue
        if isinstance(mine, Mapping) and isinstance(known, Mapping):
            yield from _differing(part, mine, known, but, f"{name}.")
        else:
            yield Difference(part, name, mine, known)


def _hashable(difference: Difference) -> Difference:
    values = (str(value) if isinstance(value, list | dict) else value for value in difference[2:])
    return Difference(*difference[:2], *values)
