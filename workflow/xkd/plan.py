"""From config to work: which cells must be trained, which teachers asked, which items drawn.

Imports no torch: Snakemake reads this at every start.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from xkd import config as conf
from xkd.errors import Refused, unknown
from xkd.runs import Cell, Layout, Run
from xkd.settings import (
    CellSettings,
    DatasetSettings,
    MethodSettings,
    NetworkSettings,
    Recipe,
    Reinforcement,
    TeacherNeeds,
    TeacherSettings,
)


@dataclass(frozen=True)
class Item:
    """A table or figure: its config entry and the cells it shows, in the order of the config."""

    name: str
    kind: str  # "tables" or "figures"
    entry: Mapping[str, Any]
    runs: tuple[tuple[Cell, tuple[int, ...]], ...]

    @property
    def cells(self) -> list[Cell]:
        return [cell for cell, _ in self.runs]

    @property
    def needs(self) -> list[str]:
        return list(self.entry.get("needs", ()))


@dataclass
class Plan:
    """Everything that a config asks for at its scale. Raises Refused for names that do not fit."""

    config: dict[str, Any]
    name: str = "config.yaml"
    cells: dict[Cell, CellSettings] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scale: str = self.config["scale"]
        self.replace: dict[str, str] = self.config["scales"][self.scale].get("replace", {})
        self._check_names()
        grids = {name: self._expand(name) for name in self.config["experiments"]}
        for kind in ("tables", "figures"):
            for name, entry in self.config[kind].items():
                experiment = entry.get("experiment", name)
                self._known("experiment", experiment, grids, kind, name)
                self.items[name] = Item(name, kind, entry, grids[experiment])
        self._check_analyses()

    def layout(self, results: Path = Path("results")) -> Layout:
        return Layout(results / self.scale)

    def settings(self, cell: Cell) -> CellSettings:
        if cell not in self.cells:
            raise Refused(f"no experiment of {self.name} at scale {self.scale} has the cell {cell}")
        return self.cells[cell]

    def dataset(self, name: str) -> DatasetSettings:
        self._known("data set", name, self.config["datasets"])
        entry = dict(self.config["datasets"][name])
        coarse = entry.pop("coarse", None)
        entry.pop("label")
        return DatasetSettings(
            name=name,
            **{k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()},
            coarse=coarse and {k: tuple(v) for k, v in coarse.items()},
        )

    def teacher_runs(self) -> list[Run]:
        """Teachers whose answers to reinforced inputs some item shows."""
        wanted = {
            cell.run(seed): None
            for item in self.items.values()
            if {"responses", "clusters"} & set(item.needs)
            for cell, seeds in item.runs
            for seed in seeds[:1]
        }
        return list(wanted)

    def reinforcements(self) -> list[Reinforcement]:
        inputs = self.config["oracle_inputs"]
        return [
            Reinforcement(float(g), kind) for kind in ("gradient", "sign") for g in inputs[kind]
        ]

    # --------------------------------------------------------------------------------- expansion

    def _expand(self, experiment: str) -> tuple[tuple[Cell, tuple[int, ...]], ...]:
        """All (cell, seeds) of an experiment; fills `self.cells` on the way."""
        shown: dict[Cell, tuple[int, ...]] = {}
        for number, grid in enumerate(self.config["experiments"][experiment]):
            where = f"experiments.{experiment}.{number}"
            seeds = tuple(grid.get("seeds", self.config["seeds"]))
            axes = [self._names(grid, axis, where) for axis in ("datasets", "networks", "methods")]
            for dataset, network, method in product(*axes):
                for teacher in self._teachers(grid, method, where):
                    cell = self._cell(dataset, network, method, teacher, seeds, (where,))
                    shown[cell] = tuple(sorted({*shown.get(cell, ()), *seeds}))
        return tuple(shown.items())

    def _names(self, grid: Mapping[str, Any], axis: str, where: str) -> list[str]:
        """Names along one axis of a grid, after replacement, each once."""
        for name in grid[axis]:
            self._known(axis[:-1], name, self.config[axis], where, axis)
        return list(dict.fromkeys(self.replace.get(name, name) for name in grid[axis]))

    def _teachers(self, grid: Mapping[str, Any], method: str, where: str) -> list[str | None]:
        if self._declaration(method)["TEACHER"] == "nothing":
            return [None]
        if not grid.get("teachers"):
            raise Refused(
                f"{self.name}: {where}: method '{method}' needs a teacher; add teachers: [name], "
                f"known: {', '.join(sorted(self.config.get('teachers', {})))}"
            )
        for name in grid["teachers"]:
            self._known("teacher", name, self.config.get("teachers", {}), where, "teachers")
        return list(grid["teachers"])

    def _cell(
        self,
        dataset: str,
        network: str,
        method: str,
        teacher: str | None,
        seeds: tuple[int, ...],
        chain: tuple[str, ...],
    ) -> Cell:
        """Resolve one cell with its teachers, and note that these seeds of it are wanted."""
        taught = None
        if teacher:
            taught = self._teacher(teacher, dataset, network, seeds, chain)
        cell = Cell(dataset, network, method, taught.cell.slug if taught else None)
        fresh = self._resolve(cell, taught)
        before = self.cells.get(cell, fresh)
        if replace(before, seeds=()) != replace(fresh, seeds=()):
            raise Refused(
                f"{self.name}: {chain[0]}: two different teachers would share the folder {cell}; "
                "give one of the teachers' methods another name"
            )
        self.cells[cell] = replace(fresh, seeds=tuple(sorted({*before.seeds, *seeds})))
        return cell

    def _teacher(
        self, name: str, dataset: str, student: str, seeds: tuple[int, ...], chain: tuple[str, ...]
    ) -> TeacherSettings:
        teachers = self.config.get("teachers", {})
        self._known("teacher", name, teachers, *chain)
        if name in chain:
            raise Refused(
                f"{self.name}: teachers.{name}: the chain of teachers never ends: "
                f"{' -> '.join([*chain[1:], name])}"
            )
        entry = teachers[name]
        self._known("method", entry["method"], self.config["methods"], "teachers", name)
        if entry["network"] == "student":
            network = student
        else:
            self._known("network", entry["network"], self.config["networks"], "teachers", name)
            network = self.replace.get(entry["network"], entry["network"])
        above = entry.get("teacher")
        if self._declaration(entry["method"])["TEACHER"] == "nothing":
            if above:
                raise Refused(
                    f"{self.name}: teachers.{name}.teacher: method '{entry['method']}' has none"
                )
        elif not above:
            raise Refused(
                f"{self.name}: teachers.{name}: method '{entry['method']}' needs a teacher itself"
            )
        fixed = None if entry.get("seed", 0) == "student" else entry.get("seed", 0)
        wanted = seeds if fixed is None else (fixed,)
        cell = self._cell(dataset, network, entry["method"], above, wanted, (*chain, name))
        return TeacherSettings(cell, self.cells[cell].network, fixed)

    def _resolve(self, cell: Cell, teacher: TeacherSettings | None) -> CellSettings:
        names = {"dataset": cell.dataset, "network": cell.network}
        if teacher:
            names["teacher"] = teacher.cell.network
        network = self._network(cell.network)
        method = self._method(cell.method, names)
        recipe = self._recipe(cell, names)
        settings = CellSettings(
            cell, self.dataset(cell.dataset), network, recipe, method, teacher, ()
        )
        self._check_cell(settings)
        return settings

    def _network(self, name: str) -> NetworkSettings:
        entry = dict(self.config["networks"][name])
        family = entry.pop("family")
        options = {k: v for k, v in entry.items() if k not in ("label", "recipe")}
        properties = conf.family_declaration(family)["OPTIONS"]
        return NetworkSettings(
            name, family, conf.fill(options, properties, self.name, "networks", name)
        )

    def _recipe(self, cell: Cell, names: Mapping[str, str]) -> Recipe:
        own = self.config["methods"][cell.method].get("recipe")
        where = ("methods", cell.method) if own else ("networks", cell.network)
        name = conf.look_up(own or self.config["networks"][cell.network]["recipe"], names)
        self._known("recipe", name, self.config["recipes"], *where, "recipe")
        entry = dict(self.config["recipes"][name])
        milestones = tuple(entry.pop("milestones", ()))
        return Recipe(name=name, milestones=milestones, **entry)

    def _method(self, name: str, names: Mapping[str, str]) -> MethodSettings:
        entry = self.config["methods"][name]
        declaration = self._declaration(name)
        try:
            given = conf.look_up(
                {k: v for k, v in entry.items() if k not in ("label", "uses", "recipe")}, names
            )
        except Refused as problem:
            raise Refused(f"{self.name}: methods.{name}: {problem}") from None
        weights = {
            term: {"type": "number", "minimum": 0, "default": factor}
            for term, factor in declaration["WEIGHTS"].items()
        }
        where = ("methods", name)
        filled = conf.fill(given.pop("weights", {}), weights, self.name, *where, "weights")
        options = conf.fill(given, declaration["OPTIONS"], self.name, *where)
        reinforcement = None
        if "gamma" in options:
            reinforcement = Reinforcement(float(options["gamma"]), options.get("kind", "gradient"))
        needs = TeacherNeeds(declaration["TEACHER"], reinforcement)
        return MethodSettings(name, entry["uses"], {**options, "weights": filled}, needs)

    def _declaration(self, method: str) -> dict[str, Any]:
        try:
            return conf.method_declaration(self.config["methods"][method]["uses"])
        except Refused as problem:
            raise Refused(f"{self.name}: methods.{method}.uses: {problem}") from None

    # ------------------------------------------------------------------------------------ checks

    def _known(self, kind: str, name: object, among: Any, *where: str) -> None:
        if name not in among:
            place = ".".join(map(str, where)) or kind
            raise Refused(f"{self.name}: {place}: {unknown(kind, name, among)}")

    def _check_names(self) -> None:
        config = self.config
        for name in config["datasets"]:
            self._check_dataset(self.dataset(name))
        for name, entry in config["networks"].items():
            self._known("recipe", entry["recipe"], config["recipes"], "networks", name)
            self._network(name)
        for name in config["methods"]:
            self._declaration(name)
        for name, entry in config["recipes"].items():
            late = [m for m in entry.get("milestones", ()) if m >= entry["epochs"]]
            if late:
                raise Refused(
                    f"{self.name}: recipes.{name}.milestones: found {late[0]}, expected less than "
                    f"epochs = {entry['epochs']}"
                )
        everything = {**config["datasets"], **config["networks"]}
        for old, new in self.replace.items():
            for found in (old, new):
                self._known("name", found, everything, "scales", self.scale, "replace")
        for name, entry in self._entries():
            file = conf.PUBLISHED / f"{entry.get('published', name)}.csv"
            if "published" in entry and not file.is_file():
                known = [path.stem for path in conf.PUBLISHED.glob("*.csv")]
                raise Refused(
                    f"{self.name}: {name}.published: "
                    f"{unknown('published table', entry['published'], known)}"
                )

    def _entries(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        yield from self.config["tables"].items()
        yield from self.config["figures"].items()

    def _check_dataset(self, dataset: DatasetSettings) -> None:
        where = f"{self.name}: datasets.{dataset.name}"
        sources = conf.known_modules("data/sources")
        if dataset.source not in sources:
            raise Refused(f"{where}.source: {unknown('source', dataset.source, sources)}")
        for key in ("mean", "std"):
            if len(getattr(dataset, key)) != dataset.channels:
                raise Refused(
                    f"{where}.{key}: found {len(getattr(dataset, key))} values, expected one for "
                    f"each of {dataset.channels} channels"
                )
        if dataset.holdout % dataset.classes:
            raise Refused(
                f"{where}.holdout: found {dataset.holdout}, expected a multiple of the "
                f"{dataset.classes} classes, so that the split is balanced"
            )

    def _check_cell(self, settings: CellSettings) -> None:
        """Refuse what cannot work before anything is trained."""
        where = f"{self.name}: {settings.cell}"
        options, recipe = settings.method.options, settings.recipe
        if options.get("warmup", 0) >= recipe.epochs:
            raise Refused(
                f"{where}: warmup: found {options['warmup']} epochs, expected fewer than the "
                f"{recipe.epochs} of recipe {recipe.name}"
            )
        asks_maps = str(options.get("explanation", "")).startswith("gradcam")
        features = settings.method.needs.kind == "features"
        involved = [settings.network] + ([settings.teacher.network] if settings.teacher else [])
        for network in involved if features else involved[: int(asks_maps)]:
            if not conf.family_declaration(network.family)["POOLED_HEAD"]:
                why = "compares feature maps" if features else "explains with Grad-CAM"
                raise Refused(
                    f"{where}: method '{settings.method.name}' {why}, which needs a network that "
                    f"averages its last feature map into the classifier; '{network.name}' does "
                    "not; choose a ResNet, or explanation: grad"
                )

    def _check_analyses(self) -> None:
        asked = self.config["oracle_inputs"]
        for section, gammas in (
            ("clusters.gammas", self.config["clusters"]["gammas"]),
            ("oracle_inputs.keep", asked["keep"]),
        ):
            if missing := set(gammas) - set(asked["gradient"]):
                raise Refused(
                    f"{self.name}: {section}: found {min(missing):g}, expected values of "
                    f"oracle_inputs.gradient"
                )
        if self.config["clusters"]["split"] not in asked["splits"]:
            raise Refused(
                f"{self.name}: clusters.split: found '{self.config['clusters']['split']}', "
                f"expected one of oracle_inputs.splits"
            )
