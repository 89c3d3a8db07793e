"""Cross-checks of a config, beyond its schema: names exist, values fit. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from xkd.errors import Refused, unknown
from xkd.plan import config as conf
from xkd.plan.resolve import Resolver
from xkd.plan.settings import CellSettings, DatasetSettings, NetworkSettings

#: Kinds of claims, and what else each must say; `xkd.report.claims` judges them.
CLAIMS = {
    "best_first": (),
    "most_similar": (),
    "rises": ("to",),
    "grows": ("with",),
    "within": (),
}


def check_names(resolver: Resolver, replaced: Mapping[str, str]) -> None:
    """Refuse entries that name nothing, or contradict themselves, whether used or not."""
    config, file = resolver.config, resolver.name
    for name in config["datasets"]:
        _check_dataset(resolver.dataset(name), file)
    for name in config.get("without", ()):
        resolver.known("data set", name, config["datasets"], "without")
    for name, entry in config["networks"].items():
        resolver.known("recipe", entry["recipe"], config["recipes"], "networks", name)
        for dataset in config["datasets"]:
            resolver.network(name, dataset)
    for name, entry in config["methods"].items():
        resolver.declaration(name)
        _check_lookups(resolver, entry, "methods", name)
        if "published_as" in entry:
            where = ("methods", name, "published_as")
            resolver.known("method", entry["published_as"], config["methods"], *where)
    for name in config.get("class_pairs", {}):
        resolver.known("data set", name, config["datasets"], "class_pairs")
    for name, entry in resolver.checkpoints.items():
        _check_checkpoint(resolver, name, entry["files"])
    for name, entry in config["recipes"].items():
        late = [m for m in entry.get("milestones", ()) if m >= entry["epochs"]]
        if late:
            raise Refused(
                f"{file}: recipes.{name}.milestones: found {late[0]}, expected less than "
                f"epochs = {entry['epochs']}"
            )
    everything = {**config["datasets"], **config["networks"], **resolver.methods}
    for pair in replaced.items():
        for found in pair:
            resolver.known("name", found, everything, "scales", config["scale"], "replace")
    published = [path.stem for path in conf.PUBLISHED.glob("*.csv")]
    for kind in ("tables", "figures"):
        for name, entry in config[kind].items():
            script = conf.SCRIPTS / kind / f"{entry.get('script', name)}.py"
            if not script.is_file():
                raise Refused(
                    f"{file}: {kind}.{name}: nothing draws it; expected a script "
                    f"workflow/scripts/{kind}/{script.name}, or script: with the name of another"
                )
            if "published" in entry:
                where = (kind, name, "published")
                resolver.known("published table", entry["published"], published, *where)
            for number, claim in enumerate(entry.get("claims", ())):
                _check_claim(resolver, claim, kind, name, "claims", number)
    _check_analyses(config, file)


def _check_claim(resolver: Resolver, claim: Mapping[str, Any], *where: str | int) -> None:
    """Refuse what is no kind of claim, and methods that are unknown or stand twice in an order.

    Methods that the experiment lacks are no mistake; it may have been reduced.
    """
    place = f"{resolver.name}: {'.'.join(map(str, where))}"
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
            f"{resolver.name}: checkpoints.{name}: a method has this name too, and both would "
            "share folders; choose another"
        )
    for dataset, networks in files.items():
        resolver.known("data set", dataset, resolver.config["datasets"], *where, "files")
        for network in networks:
            resolver.known(
                "network", network, resolver.config["networks"], *where, "files", dataset
            )


def _check_dataset(dataset: DatasetSettings, file: str) -> None:
    where = f"{file}: datasets.{dataset.name}"
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


def _check_analyses(config: Mapping[str, Any], file: str) -> None:
    inputs, clusters = config["oracle_inputs"], config["clusters"]
    for where, gammas in (
        ("clusters.gammas", clusters["gammas"]),
        ("oracle_inputs.keep", inputs["keep"]),
    ):
        if missing := set(gammas) - set(inputs["gradient"]):
            raise Refused(
                f"{file}: {where}: found {min(missing):g}, expected values of "
                "oracle_inputs.gradient"
            )
    if clusters["points"] <= clusters["perplexity"]:
        raise Refused(
            f"{file}: clusters.points: found {clusters['points']}, expected more than "
            f"{clusters['perplexity']:g}, the perplexity"
        )
    if missing := set(clusters["splits"]) - set(inputs["splits"]):
        raise Refused(
            f"{file}: clusters.splits: found '{min(missing)}', expected some of "
            "oracle_inputs.splits"
        )


def check_cell(settings: CellSettings, file: str) -> None:
    """Refuse what cannot work before anything is trained."""
    where = f"{file}: {settings.cell}"
    options, recipe, method = settings.method.options, settings.recipe, settings.method
    if options.get("warmup", 0) >= recipe.epochs:
        raise Refused(
            f"{where}: warmup: found {options['warmup']} epochs, expected fewer than the "
            f"{recipe.epochs} of recipe {recipe.name}; lower methods.{method.name}.warmup or "
            f"raise recipes.{recipe.name}.epochs"
        )
    data = settings.dataset
    if (settings.search or settings.holdout) and not data.holdout:
        raise Refused(
            f"{where}: method '{method.name}' searches on a hold-out split, and data set "
            f"'{data.name}' keeps none; set datasets.{data.name}.holdout to some images of each "
            f"class, say {100 * data.classes}"
        )
    _check_student(settings, where)
    _check_explained_and_compared(settings, where)


def _check_student(settings: CellSettings, where: str) -> None:
    """Refuse a method that sets what the network does not have, such as a dropout rate."""
    asked = conf.method_declaration(settings.method.uses)["NETWORK"]
    offered = conf.family_declaration(settings.network.family)["OPTIONS"]
    if missing := sorted(asked.keys() - offered.keys()):
        raise Refused(
            f"{where}: method '{settings.method.name}' sets '{missing[0]}' of its network, and "
            f"networks of family '{settings.network.family}' have {', '.join(offered) or 'nothing'}"
            " to set; choose another network or method"
        )


def _check_explained_and_compared(settings: CellSettings, where: str) -> None:
    """Refuse Grad-CAM and comparisons of feature maps where there are no maps to take."""
    options, method, network = settings.method.options, settings.method, settings.network
    explains = str(options.get("explanation", "")).startswith("gradcam")
    explains = explains and options.get("spread") != "uniform"  # a control without explanations
    if explains and not _pools(network):
        raise Refused(
            f"{where}: method '{method.name}' explains with Grad-CAM, which needs a network that "
            f"averages its last feature map into the classifier; '{network.name}' does not; "
            "choose a ResNet, or explanation: grad"
        )
    if method.needs.kind != "features":
        return
    for compared in (network, *([settings.teacher.network] if settings.teacher else ())):
        if not _pools(compared):
            raise Refused(
                f"{where}: method '{method.name}' compares feature maps of residual networks, and "
                f"'{compared.name}' is none; choose ResNets for student and teacher, or a method "
                "that needs only logits"
            )


def _pools(network: NetworkSettings) -> bool:
    """Whether it averages its last feature map, as residual networks do."""
    return conf.family_declaration(network.family)["POOLED_HEAD"]
