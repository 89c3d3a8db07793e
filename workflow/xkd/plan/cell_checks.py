"""Does a cell work at all? Its method, networks and data against each other, before training."""

from collections.abc import Iterable

from xkd.errors import Refused
from xkd.plan.declarations import declaration, registered
from xkd.plan.settings import CellSettings, NetworkSettings


def check_cell(settings: CellSettings, file: str, processes: int = 1) -> None:
    """Refuse what cannot work before anything is trained.

    Args:
        processes: that would share every batch.
    """
    where = f"{file}: {settings.cell}"
    _check_shared(settings, where, processes)
    method, data = settings.method, settings.dataset
    _check_options(settings, where)
    if (settings.search or settings.holdout) and not data.holdout:
        raise Refused(
            f"{where}: method '{method.name}' searches on a hold-out split, and data set "
            f"'{data.name}' keeps none; set datasets.{data.name}.holdout to some images of each "
            f"class, say {100 * data.classes}"
        )
    if data.resized_crop and declaration("methods", method.uses)["STRONG_VIEW"]:
        raise Refused(
            f"{where}: method '{method.name}' takes a second, strong view, which is made of images "
            f"in memory, and those of '{data.name}' stay in their files; take another method"
        )
    _check_student(settings, where)
    _check_compared(settings, where)


def _check_shared(settings: CellSettings, where: str, processes: int) -> None:
    """Refuse to share among processes the batches of a method that needs them whole."""
    if processes > 1 and declaration("methods", settings.method.uses)["WHOLE_BATCH"]:
        raise Refused(
            f"{where}: method '{settings.method.name}' compares the images of a whole batch, and "
            f"{processes} processes would share it; take one process (engine.processes: 1)"
        )


def _check_options(settings: CellSettings, where: str) -> None:
    """Refuse option values that do not fit the cell, by what the method's file declares of them.

    "below": field                                 less than that number of the recipe
    "registry": package, "unless": {option: value} the name of a file of `xkd/<package>/` whose
                                                   literal NEEDS the network meets
    """
    method, recipe = settings.method, settings.recipe
    for name, schema in declaration("methods", method.uses)["OPTIONS"].items():
        value, place = method.options[name], f"methods.{method.name}.{name}"
        if (field := schema.get("below")) and value >= (limit := getattr(recipe, field)):
            raise Refused(
                f"{where}: {name}: found {value}, expected less than the {limit} {field} of recipe "
                f"{recipe.name}; lower {place} or raise recipes.{recipe.name}.{field}"
            )
        unused = schema.get("unless", {}).items()
        if "registry" in schema and not any(method.options[key] == v for key, v in unused):
            _check_needs(settings, schema["registry"], value, f"{where}: {place}")


def _check_needs(settings: CellSettings, package: str, value: str, where: str) -> None:
    """Refuse a file of a package that asks for more than the student's network has."""
    registry = registered(package)
    if need := _missing(settings.network, registry[value]):
        anywhere = [name for name, needs in registry.items() if not needs]
        raise Refused(
            f"{where}: '{value}' {need}; choose another network, or one of "
            f"{', '.join(sorted(anywhere))}"
        )


def _missing(network: NetworkSettings, needs: Iterable[str]) -> str:
    """What a network lacks of these properties, in words; empty if nothing."""
    offered = declaration("networks", network.family)
    for need in needs:
        if not offered[need.upper()]:
            return (
                f"needs a network with a {need.replace('_', ' ')}, and '{network.name}' of family "
                f"'{network.family}' has none"
            )
    return ""


def _check_student(settings: CellSettings, where: str) -> None:
    """Refuse a method whose network must be another, or have what it sets, such as dropout."""
    declared = declaration("methods", settings.method.uses)
    if need := _missing(settings.network, declared["NEEDS"]):
        raise Refused(
            f"{where}: method '{settings.method.name}' {need}; choose another network or method"
        )
    asked = declared["NETWORK"]
    family = declared["FAMILY"]
    if family and settings.network.family != family:
        raise Refused(
            f"{where}: method '{settings.method.name}' trains networks of family '{family}', and "
            f"'{settings.network.name}' is of family '{settings.network.family}'; choose another "
            "network or method"
        )
    offered = declaration("networks", settings.network.family)["OPTIONS"]
    if missing := sorted(asked.keys() - offered.keys()):
        raise Refused(
            f"{where}: method '{settings.method.name}' sets '{missing[0]}' of its network, and "
            f"networks of family '{settings.network.family}' have {', '.join(offered) or 'nothing'}"
            " to set; choose another network or method"
        )


def _check_compared(settings: CellSettings, where: str) -> None:
    """Refuse comparisons of feature maps where there are no maps to take."""
    network, method = settings.network, settings.method
    if not method.needs.maps:
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
    return declaration("networks", network.family)["POOLED_HEAD"]
