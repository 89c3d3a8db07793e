"""From names in the config to settings: data sets, networks, recipes, methods. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from xkd.errors import Refused, unknown
from xkd.plan import config as conf
from xkd.plan.declarations import declaration
from xkd.plan.settings import (
    DatasetSettings,
    MethodSettings,
    NetworkSettings,
    Recipe,
    TeacherNeeds,
    WeightsFile,
)
from xkd.plan.validation import fill

#: What every method may say besides its options.
NO_OPTIONS = ("label", "uses", "recipe", "published_as")


class Searched(NamedTuple):
    """An option to be chosen among values; `weights.<term>` for the factor of a loss term."""

    option: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Resolver:
    """config: effective and valid; name: of its file, for messages. Raises Refused throughout."""

    config: Mapping[str, Any]
    name: str
    _networks: dict[tuple[str, str], NetworkSettings] = field(default_factory=dict)

    def at(self, *where: object) -> str:
        """`config.yaml: recipes.r_or.lr`: a place of the config, and the file that it stands in."""
        place = tuple(map(str, where))
        file = conf.origin(self.config.get("origins", {}), self.name, *place)
        return f"{file}: {'.'.join(place)}" if place else file

    def known(self, kind: str, name: object, among: Any, *where: object) -> None:
        """Refuse a name that is not there, with the nearest that is."""
        if not isinstance(name, str) or name not in among:
            raise Refused(f"{self.at(*(where or (kind,)))}: {unknown(kind, name, among)}")

    def fill(self, options: Mapping[str, Any], properties: Mapping[str, Any], *where: str) -> Any:
        """Options with defaults filled in, checked; see `validation.fill`."""
        origins = self.config.get("origins", {})
        return fill(
            options, properties, lambda *place: conf.origin(origins, self.name, *place), *where
        )

    def dataset(self, name: str) -> DatasetSettings:
        self.known("data set", name, self.config["datasets"])
        entry = dict(self.config["datasets"][name])
        coarse = entry.pop("coarse", None)
        entry.pop("label")
        return DatasetSettings(
            name=name,
            **{key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()},
            coarse=coarse and {group: tuple(names) for group, names in coarse.items()},
            data_root=self.config["data_root"],
        )

    def network(self, name: str, dataset: str) -> NetworkSettings:
        """A network for the images of one data set, on which its options may depend."""
        if (name, dataset) not in self._networks:
            self._networks[name, dataset] = self._network(name, dataset)
        return self._networks[name, dataset]

    def _network(self, name: str, dataset: str) -> NetworkSettings:
        entry = dict(self.config["networks"][name])
        family = entry.pop("family")
        given = {key: v for key, v in entry.items() if key not in ("label", "recipe")}
        try:
            given = conf.look_up(given, {"dataset": dataset, "network": name})
        except Refused as problem:
            raise Refused(f"{self.at('networks', name)}: {problem}") from None
        try:
            properties = declaration("networks", family)["OPTIONS"]
        except Refused as problem:
            raise Refused(f"{self.at('networks', name, 'family')}: {problem}") from None
        return NetworkSettings(name, family, self.fill(given, properties, "networks", name))

    def recipe(self, method: str, network: str, names: Mapping[str, str], trial: bool) -> Recipe:
        """The method's recipe, or else the network's; a trial may be cut short."""
        own = self.config["methods"][method].get("recipe")
        where = ("methods", method) if own else ("networks", network)
        name = self._looked_up(own or self.config["networks"][network]["recipe"], names, *where)
        self.known("recipe", name, self.config["recipes"], *where, "recipe")
        entry = dict(self.config["recipes"][name])
        milestones = tuple(entry.pop("milestones", ()))
        short = entry.pop("search_epochs", entry["epochs"])
        recipe = Recipe(name=name, milestones=milestones, **entry)
        return replace(recipe, epochs=min(short, recipe.epochs)) if trial else recipe

    @property
    def methods(self) -> dict[str, Mapping[str, Any]]:
        """How a cell may come by its weights: trained by a method, or from a checkpoint's file."""
        return {**self.config["methods"], **self.checkpoints}

    @property
    def checkpoints(self) -> Mapping[str, Mapping[str, Any]]:
        return self.config.get("checkpoints", {})

    def analysis(self, name: str, names: Mapping[str, str]) -> dict[str, Any]:
        """Options of an analysis for the runs of one cell.

        Args:
            names: dataset and network of the cell.
        """
        where = ("analyses", name)
        self.known("analysis", name, self.config["analyses"], *where)
        given = self.config["analyses"][name]
        looked_up = {k: self._looked_up(v, names, *where, k) for k, v in given.items()}
        return self.fill(looked_up, declaration("analyses", name)["OPTIONS"], *where)

    def weights(self, checkpoint: str, dataset: str, network: str, where: str) -> WeightsFile:
        """The checkpoint's file for a network on a data set."""
        entry = self.checkpoints[checkpoint]
        named = {
            f"{d}/{n}": file for d, files in entry["files"].items() for n, file in files.items()
        }
        self.known("file", f"{dataset}/{network}", named, where, "checkpoints", checkpoint)
        file = named[f"{dataset}/{network}"]
        for key in ("mean", "std"):
            channels = self.config["datasets"][dataset]["channels"]
            if len(file.get(key, ())) not in (channels, 0):
                place = self.at("checkpoints", checkpoint, "files", dataset, network, key)
                raise Refused(f"{place}: found {file[key]}, expected {channels} numbers")
        given = {key: tuple(v) if isinstance(v, list) else v for key, v in file.items()}
        return WeightsFile(keys=entry["keys"], **given)

    def declaration(self, method: str) -> dict[str, Any]:
        """What the method's file says of itself; a checkpoint has no teacher."""
        if method in self.checkpoints:
            return {"OPTIONS": {}, "WEIGHTS": {}, "TEACHER": ()}
        try:
            return declaration("methods", self.config["methods"][method]["uses"])
        except Refused as problem:
            raise Refused(f"{self.at('methods', method, 'uses')}: {problem}") from None

    def method(
        self, name: str, names: Mapping[str, str], decided: float | None = None
    ) -> tuple[MethodSettings, Searched | None]:
        """The method for one cell, and what is still to be chosen.

        Args:
            names: dataset, network and teacher (its network) of the cell.
            decided: value of the searched option; without it the first of the values stands in.
        """
        entry, declared = self.config["methods"][name], self.declaration(name)
        options = {k: v for k, v in entry.items() if k not in NO_OPTIONS}
        given = {k: self._looked_up(v, names, "methods", name, k) for k, v in options.items()}
        searched = self._searched(name, given)
        factor = {"type": "number", "minimum": 0}
        weights = {term: {**factor, "default": w} for term, w in declared["WEIGHTS"].items()}
        given.setdefault("weights", {})
        where = ("methods", name)
        for value in reversed(searched.values if searched and decided is None else (decided,)):
            if searched:
                _put(given, searched.option, value)
            chosen = dict(given)
            filled = self.fill(chosen.pop("weights"), weights, *where, "weights")
            options = self.fill(chosen, declared["OPTIONS"], *where)
        needs = TeacherNeeds.of(declared, options)
        settings = MethodSettings(name, entry["uses"], {**options, "weights": filled}, needs)
        return settings, searched

    def _looked_up(self, value: Any, names: Mapping[str, str], *where: str) -> Any:
        """The value for one cell. Raises Refused, with the place, when there is none."""
        try:
            return conf.look_up(value, names)
        except Refused as problem:
            raise Refused(f"{self.at(*where)}: {problem}") from None

    def _searched(self, name: str, given: Mapping[str, Any]) -> Searched | None:
        """The one option written as {search: [values]}."""
        places = {**given, **{f"weights.{t}": v for t, v in given.get("weights", {}).items()}}
        found = [key for key, value in places.items() if _is_search(value)]
        if not found:
            return None
        values = places[found[0]]["search"]
        numbers = isinstance(values, list) and all(type(v) in (int, float) for v in values)
        if len(found) > 1 or not numbers or len(values) < 2:
            raise Refused(
                f"{self.at('methods', name, found[-1])}: found {places[found[-1]]}, expected one "
                "option with {search: [two or more numbers]}"
            )
        return Searched(found[0], tuple(values))


def _is_search(value: Any) -> bool:
    return isinstance(value, Mapping) and "search" in value


def _put(options: dict[str, Any], option: str, value: Any) -> None:
    place, _, term = option.partition(".")
    (options[place] if term else options)[term or place] = value
