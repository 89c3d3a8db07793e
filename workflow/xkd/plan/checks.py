"""Cross-checks of a config, beyond its schema: names exist, values fit. Imports no torch."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xkd.errors import Refused, unknown
from xkd.plan.declarations import declaration, known_modules
from xkd.plan.items import Files
from xkd.plan.method_options import check_method_options
from xkd.plan.papers import ITEMS
from xkd.plan.resolve import Resolver
from xkd.plan.settings import DatasetSettings

#: Kinds of claims, and what else each must say; `xkd.report.claims` judges them.
CLAIMS = {
    "best_first": (),
    "most_similar": (),
    "rises": ("to",),
    "grows": ("with",),
    "within": (),
    "maps": ("measure", "better", "paired"),
}


def check_names(resolver: Resolver, replaced: Mapping[str, str]) -> None:
    """Refuse entries that name nothing, or contradict themselves, whether used or not."""
    config, known = resolver.config, resolver.known
    for name in config["datasets"]:
        _check_dataset(resolver, resolver.dataset(name))
    for name in config.get("without", ()):
        known("data set", name, config["datasets"], "without")
    for name, entry in config["networks"].items():
        known("recipe", entry["recipe"], config["recipes"], "networks", name)
        for dataset in config["datasets"]:
            resolver.network(name, dataset)
    for name, entry in resolver.checkpoints.items():
        _check_checkpoint(resolver, name, entry["files"])
    for name, entry in config["methods"].items():
        resolver.declaration(name)
        _check_lookups(resolver, entry, "methods", name)
        check_method_options(resolver, name, entry)
        if "published_as" in entry:
            where = ("methods", name, "published_as")
            known("method", entry["published_as"], config["methods"], *where)
    for name, entry in config["recipes"].items():
        _check_recipe(resolver, name, entry)
    everything = {**config["datasets"], **config["networks"], **resolver.methods}
    for pair in replaced.items():
        for found in pair:
            known("name", found, everything, "scales", config["scale"], "replace")
    for kind in ITEMS:
        for name, entry in config[kind].items():
            _check_item(resolver, kind, name, entry)
    for name, entry in config["analyses"].items():
        known("analysis", name, known_modules("analyses"), "analyses")
        _check_lookups(resolver, entry, "analyses", name)
        _check_analysis(resolver, name, entry)


def _check_item(resolver: Resolver, kind: str, name: str, entry: Mapping[str, Any]) -> None:
    """Refuse an item of no paper, without a script where it needs one, or that names nothing."""
    config, known = resolver.config, resolver.known
    if "paper" not in entry:
        raise Refused(
            f"{resolver.at(kind, name)}: 'paper' is missing; write the item into a paper's "
            "paper.yaml, or name one of " + ", ".join(config["papers"])
        )
    known("paper", entry["paper"], config["papers"], kind, name, "paper")
    files = Files(config["papers"][entry["paper"]]["folder"], kind, name, entry)
    if files.script is None and (kind == "figures" or "script" in entry):
        folder = Path(config["papers"][entry["paper"]]["folder"]) / kind
        raise Refused(
            f"{resolver.at(kind, name)}: nothing draws it; expected a script "
            f"{folder / entry.get('script', name)}.py, or script: with the name of another"
        )
    if "published" in entry:
        known("published table", entry["published"], files.printed, kind, name, "published")
    for analysis in entry.get("needs", ()):
        known("analysis", analysis, config["analyses"], kind, name, "needs")
    for number, claim in enumerate(entry.get("claims", ())):
        _check_claim(resolver, claim, kind, name, "claims", number)


def _check_analysis(resolver: Resolver, name: str, entry: Mapping[str, Any]) -> None:
    """Refuse options that do not fit each other, as their annotations say.

    within: `analysis.option`, a list that holds every value; above: an option that is smaller
    """
    declared = declaration("analyses", name)
    for analysis in set(declared["READS"]) - {"data", "weights"}:
        resolver.known("analysis", analysis, resolver.config["analyses"], "analyses", name)
    values = {option: list(_leaves(value)) for option, value in entry.items()}
    first = {option: leaves[0] for option, leaves in values.items()}
    for option, leaves in values.items():
        for leaf in leaves:
            resolver.fill({**first, option: leaf}, declared["OPTIONS"], "analyses", name)
    for option, schema in declared["OPTIONS"].items():
        value = entry.get(option)
        if value is None or isinstance(value, Mapping):  # missing, or different for each cell
            continue
        if within := schema.get("within"):
            analysis, _, other = within.partition(".")
            allowed = resolver.config["analyses"][analysis][other]
            if missing := [one for one in value if one not in allowed]:
                raise Refused(
                    f"{resolver.at('analyses', name, option)}: found {missing[0]}, expected some "
                    f"of analyses.{within}: {', '.join(map(str, allowed))}"
                )
        if (above := schema.get("above")) and value <= entry[above]:
            raise Refused(
                f"{resolver.at('analyses', name, option)}: found {value}, expected more than "
                f"{entry[above]:g}, the {above}"
            )


def _check_recipe(resolver: Resolver, name: str, entry: Mapping[str, Any]) -> None:
    where = resolver.at("recipes", name)
    milestones = entry.get("milestones", ())
    if late := [m for m in milestones if m >= entry["epochs"]]:
        raise Refused(
            f"{where}.milestones: found {late[0]}, expected less than epochs = {entry['epochs']}"
        )
    schedule = entry.get("schedule", "steps")
    if milestones and schedule != "steps":
        raise Refused(
            f"{where}.milestones: found {len(milestones)}, expected none under schedule: {schedule}"
        )
    if entry.get("nesterov") and entry.get("momentum") == 0:
        raise Refused(f"{where}.nesterov: found true, expected false where momentum is 0")


def _leaves(value: Any) -> Iterator[Any]:
    """The values that a lookup may come to; a plain value comes to itself."""
    if isinstance(value, Mapping) and "by" in value and len(value) > 1:
        for key, item in value.items():
            if key != "by":
                yield from _leaves(item)
    else:
        yield value


def _check_claim(resolver: Resolver, claim: Mapping[str, Any], *where: str | int) -> None:
    """Refuse what is no kind of claim, and methods that are unknown or stand twice in an order.

    Methods that the experiment lacks are no mistake; it may have been reduced.
    """
    place = resolver.at(*where)
    kinds = [kind for kind in CLAIMS if kind in claim]
    if len(kinds) != 1:
        found = ", ".join(kinds) or "none"
        raise Refused(f"{place}: found {found}, expected one kind of claim: {', '.join(CLAIMS)}")
    if absent := [key for key in CLAIMS[kinds[0]] if key not in claim]:
        raise Refused(f"{place}: '{absent[0]}' is missing beside '{kinds[0]}'")
    if "best_first" not in claim:
        return
    places = [[place] if isinstance(place, str) else place for place in claim["best_first"]]
    names = [name for place in places for name in place]
    for name in names:
        resolver.known("method", name, resolver.methods, *where, "best_first")
    if twice := [name for name in names if names.count(name) > 1]:
        raise Refused(f"{place}.best_first: found '{twice[0]}' twice, expected it once")


def _check_lookups(resolver: Resolver, value: Any, *where: str) -> None:
    """Refuse `{by: network, resnet02: ...}`, which would silently fall to the default."""
    if not isinstance(value, Mapping):
        return
    if "by" in value:
        kind = "data set" if value["by"] == "dataset" else "network"
        known = resolver.config["datasets" if value["by"] == "dataset" else "networks"]
        for name in value.keys() - {"by", "default"}:
            resolver.known(kind, name, known, *where)
    for key, item in value.items():
        _check_lookups(resolver, item, *where, str(key))


def _check_checkpoint(resolver: Resolver, name: str, files: Mapping[str, Any]) -> None:
    where = ("checkpoints", name)
    if name in resolver.config["methods"]:
        raise Refused(
            f"{resolver.at('checkpoints', name)}: a method has this name too, and both would "
            "share folders; choose another"
        )
    for dataset, networks in files.items():
        resolver.known("data set", dataset, resolver.config["datasets"], *where, "files")
        for network in networks:
            resolver.known(
                "network", network, resolver.config["networks"], *where, "files", dataset
            )


def _check_dataset(resolver: Resolver, dataset: DatasetSettings) -> None:
    where = resolver.at("datasets", dataset.name)
    sources = known_modules("data/sources")
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
