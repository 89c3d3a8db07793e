"""From config to work: which cells must be trained, which teachers asked, which items drawn.

Imports no torch: Snakemake reads this at every start.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from xkd.errors import Refused
from xkd.plan.cell_checks import check_cell
from xkd.plan.checks import check_names
from xkd.plan.costs import team
from xkd.plan.items import Item, Seeds
from xkd.plan.misses import no_cell
from xkd.plan.papers import ITEMS
from xkd.plan.resolve import Resolver, Searched
from xkd.plan.runs import Cell, Layout, Run
from xkd.plan.settings import (
    CellSettings,
    DatasetSettings,
    MethodSettings,
    Search,
    TeacherSettings,
)


@dataclass(eq=False)
class Plan:
    """Everything that a config asks for at its scale. Raises Refused for names that do not fit."""

    config: dict[str, Any]
    name: str = "config.yaml"
    cells: dict[Cell, CellSettings] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scale: str = self.config["scale"]
        self.replace: dict[str, str] = self.config["scales"][self.scale].get("replace", {})
        self.resolver = Resolver(self.config, self.name)
        check_names(self.resolver, self.replace)
        grids = {name: self._expand(name) for name in self.config["experiments"]}
        for kind in ITEMS:
            for name, entry in self.config[kind].items():
                experiment = entry.get("experiment", name)
                self.resolver.known("experiment", experiment, grids, kind, name)
                runs, left_out = grids[experiment]
                if runs or not left_out:
                    paper = self.config["papers"][entry["paper"]]
                    self.items[name] = Item(name, kind, entry, paper, runs, left_out)

    def layout(self, results: Path = Path("results")) -> Layout:
        return Layout(results / self.scale)

    def settings(self, cell: Cell) -> CellSettings:
        if cell not in self.cells:
            raise Refused(no_cell(self, cell))
        return self.cells[cell]

    def trainings(self, item: Item) -> set[Run]:
        """Every run that an item rests on: the shown, their teachers, the trials of searches."""
        found: set[Run] = set()
        waiting = {Run(cell, seed) for cell, seeds in item.runs for seed in seeds}
        while waiting:
            run = waiting.pop()
            found.add(run)
            settings, wanted = self.cells[run.cell], set()
            if settings.teacher:
                teacher = settings.teacher
                wanted.add(Run(teacher.cell, teacher.seed_for(run.seed)))
            if settings.search:
                search = settings.search
                wanted |= {Run(trial, search.seed) for _, trial in search.trials}
            waiting |= wanted - found
        return found

    def items_of(self, paper: str) -> list[Item]:
        """Tables and figures of a paper, optional ones aside."""
        items = self.items.values()
        return [item for item in items if item.entry["paper"] == paper and not item.optional]

    def claimed(self, paper: str) -> list[Item]:
        """Items of a paper with claims to judge, optional ones aside."""
        return [item for item in self.items_of(paper) if item.claims]

    def analysis(self, name: str, cell: Cell) -> dict[str, Any]:
        """Options of an analysis for the runs of a cell."""
        names = {"dataset": cell.dataset, "network": cell.network}
        return self.resolver.analysis(name, names)

    def dataset(self, name: str) -> DatasetSettings:
        return self.resolver.dataset(name)

    def imported(self) -> list[Cell]:
        """Cells whose weights come from a file."""
        return [cell for cell, settings in self.cells.items() if settings.weights]

    def _expand(self, experiment: str) -> tuple[tuple[tuple[Cell, Seeds], ...], tuple[str, ...]]:
        """All (cell, seeds) of an experiment, and its data sets that are left out.

        Fills `self.cells` on the way.
        """
        shown: dict[Cell, Seeds] = {}
        left_out: dict[str, None] = {}
        for number, grid in enumerate(self.config["experiments"][experiment]):
            where = f"experiments.{experiment}.{number}"
            seeds = tuple(grid.get("seeds", self.config["seeds"]))
            axes = [self._names(grid, axis, where) for axis in ("datasets", "networks", "methods")]
            for dataset, network, method in product(*axes):
                if dataset in self.config.get("without", ()):
                    left_out[dataset] = None
                    continue
                for teacher in self._teachers(grid, method, where):
                    cell = Cell(dataset, network, method)
                    cell = self._add(cell, teacher, seeds, (where,))
                    shown[cell] = tuple(sorted({*shown.get(cell, ()), *seeds}))
        return tuple(shown.items()), tuple(left_out)

    def _names(self, grid: Mapping[str, Any], axis: str, where: str) -> list[str]:
        """Names along one axis of a grid, after replacement, each once."""
        known = self.resolver.methods if axis == "methods" else self.config[axis]
        for name in grid[axis]:
            self.resolver.known(axis[:-1], name, known, where, axis)
        return list(dict.fromkeys(self.replace.get(name, name) for name in grid[axis]))

    def _teachers(self, grid: Mapping[str, Any], method: str, where: str) -> list[str | None]:
        if not self.resolver.declaration(method)["TEACHER"]:
            return [None]
        known = self.config.get("teachers", {})
        if not grid.get("teachers"):
            raise Refused(
                f"{self.resolver.at(where)}: method '{method}' needs a teacher; add "
                f"teachers: [name], known: {', '.join(sorted(known))}"
            )
        for name in grid["teachers"]:
            self.resolver.known("teacher", name, known, where, "teachers")
        return list(grid["teachers"])

    def _add(
        self,
        cell: Cell,
        teacher: str | None,
        seeds: Seeds,
        chain: tuple[str, ...],
        decided: float | None = None,
    ) -> Cell:
        """Resolve one cell, its teachers and its trials; note that these seeds of it are wanted.

        Args:
            cell: its teacher not yet filled in.
            teacher: name of an entry of `teachers`.
            chain: where the request comes from, and the teachers above it, for messages.
            decided: value of the searched option, in a trial.
        """
        if cell.method in self.resolver.checkpoints:
            return self._import(cell, seeds, chain[0])
        trial = cell.trial is not None
        taught = self._teacher(teacher, cell, seeds, chain) if teacher else None
        cell = replace(cell, teacher=taught.cell.slug if taught else None)
        names = {"dataset": cell.dataset, "network": cell.network}
        if taught:
            names["teacher"] = taught.cell.network
        method, searched = self.resolver.method(cell.method, names, decided)
        search = None
        if searched and decided is None:
            search = self._trials(cell, teacher, searched, chain)
        fresh = CellSettings(
            cell,
            self.dataset(cell.dataset),
            self.resolver.network(cell.network, cell.dataset),
            self.resolver.recipe(cell.method, cell.network, names, trial),
            method,
            taught,
            seeds=(),
            holdout=trial,
            search=search,
        )
        check_cell(fresh, self.name, team(fresh, self.config["engine"]))
        before = self.cells.get(cell, fresh)
        if replace(before, seeds=()) != fresh:
            raise Refused(
                f"{self.resolver.at(chain[0])}: two different teachers would share the folder "
                f"{cell}; give one of the teachers' methods another name"
            )
        self.cells[cell] = replace(fresh, seeds=tuple(sorted({*before.seeds, *seeds})))
        return cell

    def _import(self, cell: Cell, seeds: Seeds, where: str) -> Cell:
        """Resolve a cell whose weights come from a file, which is its one and only seed, 0."""
        if cell.trial:
            raise Refused(
                f"{self.resolver.at(where)}: a search needs a teacher that has not seen the "
                f"hold-out images, and checkpoint '{cell.method}' may have; take a fixed value, "
                "or a teacher that is trained here"
            )
        if seeds != (0,):
            raise Refused(
                f"{self.resolver.at(where)}: found seeds {', '.join(map(str, seeds))} of {cell}, "
                "which is one file; expected seeds: [0], or seed: 0 of a teacher"
            )
        weights = self.resolver.weights(cell.method, cell.dataset, cell.network, where)
        network = self.resolver.network(cell.network, cell.dataset)
        if weights.mean and weights.std:
            network = replace(network, normalisation=(weights.mean, weights.std))
        self.cells[cell] = CellSettings(
            cell,
            self.dataset(cell.dataset),
            network,
            None,
            MethodSettings(cell.method, uses="file", options={"weights": {}}),
            None,
            seeds,
            weights=weights,
        )
        return cell

    def _trials(
        self, cell: Cell, teacher: str | None, searched: Searched, chain: tuple[str, ...]
    ) -> Search:
        """One cell per value, one seed each, trained without the hold-out images (A3)."""
        seed = self.config["seeds"][0]
        short = searched.option.rpartition(".")[2]
        trials = []
        for value in searched.values:
            trial = replace(cell, teacher=None, trial=f"fit-{short}-{value:g}")
            trials.append((value, self._add(trial, teacher, (seed,), chain, value)))
        return Search(searched.option, tuple(trials), seed)

    def _teacher(
        self, name: str, student: Cell, seeds: Seeds, chain: tuple[str, ...]
    ) -> TeacherSettings:
        """The teacher of a cell; that of a trial has not seen the hold-out images either."""
        teachers, known = self.config.get("teachers", {}), self.resolver.known
        known("teacher", name, teachers, *chain)
        if name in chain:
            raise Refused(
                f"{self.resolver.at('teachers', name)}: the chain of teachers never ends: "
                f"{' -> '.join([*chain[1:], name])}"
            )
        entry = teachers[name]
        method = self.replace.get(entry["method"], entry["method"])
        known("method", method, self.resolver.methods, "teachers", name)
        network = student.network
        if entry["network"] != "student":
            known("network", entry["network"], self.config["networks"], "teachers", name)
            network = self.replace.get(entry["network"], entry["network"])
        above, where = entry.get("teacher"), self.resolver.at("teachers", name)
        if not self.resolver.declaration(method)["TEACHER"]:
            if above:
                raise Refused(f"{where}.teacher: method '{method}' has none")
        elif not above:
            raise Refused(f"{where}: method '{method}' needs a teacher itself")
        seed = entry.get("seed", 0)
        wanted = seeds if seed == "student" else (seed,)
        trial = "fit" if student.trial else None
        cell = Cell(student.dataset, network, method, trial=trial)
        cell = self._add(cell, above, wanted, (*chain, name))
        fixed = None if seed == "student" else seed
        return TeacherSettings(cell, self.cells[cell].network, fixed)
