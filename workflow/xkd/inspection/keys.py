"""From a key of the config to the cells and items that would change with it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from xkd.errors import Refused, unknown
from xkd.inspection import origin
from xkd.inspection.text import Description
from xkd.plan import names
from xkd.plan.declarations import declaration
from xkd.plan.grid import Item, Plan
from xkd.plan.runs import Cell
from xkd.plan.settings import CellSettings

#: Sections that place or speed up work, and change no result.
NO_RESULT = ("data_root", "download", "without")
LABELS = ("label", "published_as")
PRECISION = ("precision", "compile")  # of the engine's keys, those that change numbers


def value_of(plan: Plan, key: str) -> Any:
    """What the effective config says under a dotted key.

    Raises: Refused, with the nearest key beside it, when there is none.
    """
    value: Any = plan.config
    done: list[str] = []
    for part in key.split("."):
        keys = value if isinstance(value, Mapping) else {}
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif part in keys:
            value = keys[part]
        elif (declared := _default(plan, [*done, part])) is not None:
            value = declared
        else:
            where = ".".join(done) or plan.name
            raise Refused(f"{where}: {unknown('key', part, map(str, keys))}")
        done.append(part)
    return value


def _default(plan: Plan, parts: list[str]) -> Any:
    """The default of an option that the config does not mention; None if there is no such."""
    if len(parts) != 3 or parts[1] not in plan.config.get(parts[0], {}):
        return None
    section, name, option = parts
    if section == "methods":
        declared = plan.resolver.declaration(name)
        if option == "weights":
            return declared["WEIGHTS"]
    elif section == "networks":
        declared = declaration("networks", plan.config["networks"][name]["family"])
    elif section == "analyses":
        declared = declaration("analyses", name)
    else:
        return None
    return declared["OPTIONS"].get(option, {}).get("default")


def cells_of(plan: Plan, key: str) -> set[Cell]:
    """Cells whose own settings depend on a key; their students are not among them."""
    section, *rest = key.split(".")
    name = rest[0] if rest else None
    deciders: dict[str, Callable[[CellSettings], bool]] = {
        "recipes": lambda s: (
            s.recipe is not None and name in (None, s.recipe.name) and _trained_so(plan, rest, s)
        ),
        "methods": lambda s: name in (None, s.method.name) and _looked_up(plan, key, s),
        "networks": lambda s: name in (None, s.network.name),
        "datasets": lambda s: name in (None, s.dataset.name),
        "checkpoints": lambda s: s.weights is not None and name in (None, s.cell.method),
        "teachers": lambda s: s.teacher is not None and _named(plan, s, name),
        "seeds": lambda s: True,
        "scale": lambda s: True,
    }
    if section == "engine":
        return set(plan.cells) if name in (None, *PRECISION) else set()
    decide = deciders.get(section)
    if decide is None or (rest and rest[-1] in LABELS):
        return set()
    return {cell for cell, settings in plan.cells.items() if decide(settings)}


def _looked_up(plan: Plan, key: str, settings: CellSettings) -> bool:
    """Whether a cell reads the branch of a `by:` that a key leads to."""
    value: Any = plan.config
    asked_by = {"dataset": settings.cell.dataset, "network": settings.cell.network}
    if settings.teacher:
        asked_by["teacher"] = settings.teacher.cell.network
    for part in key.split("."):
        if isinstance(value, Mapping) and "by" in value and part not in ("by",):
            asked = asked_by.get(value["by"], "")
            if part != (asked if asked in value else "default"):
                return False
        if isinstance(value, list):
            return True
        value = value.get(part) if isinstance(value, Mapping) else None
    return True


def _trained_so(plan: Plan, rest: list[str], settings: CellSettings) -> bool:
    """Whether a cell's number of epochs is the one that a key gives; any other key concerns all."""
    key = rest[1] if len(rest) > 1 else ""
    if key == "search_epochs":
        return settings.holdout
    return key != "epochs" or settings.recipe.epochs == plan.config["recipes"][rest[0]]["epochs"]


def _named(plan: Plan, settings: CellSettings, name: str | None) -> bool:
    """Whether a cell's teacher may be the one that an entry of `teachers` describes."""
    if name is None:
        return True
    entry = plan.config["teachers"][name]
    method = plan.replace.get(entry["method"], entry["method"])
    network = entry["network"]
    if network == "student":
        network = settings.cell.network
    teacher = settings.teacher.cell
    return (teacher.network, teacher.method) == (plan.replace.get(network, network), method)


def items_of(plan: Plan, key: str) -> list[Item]:
    """Items that would change with a key: by their runs, by analyses, by their own entry."""
    section, *rest = key.split(".")
    if section in ("tables", "figures"):
        return [plan.items[name] for name in (rest[:1] or plan.items) if name in plan.items]
    if section == "experiments":
        wanted = rest[0] if rest else None
        return [
            item
            for item in plan.items.values()
            if wanted in (None, item.entry.get("experiment", item.name))
        ]
    found = origin.resting_on(plan, cells_of(plan, key))
    found += [item for item in plan.items.values() if _analysed(plan, item, section, rest)]
    if rest and rest[-1] in LABELS:
        found += _labelled(plan, section, rest[0])
    return [item for item in plan.items.values() if item in found]


def _analysed(plan: Plan, item: Item, section: str, rest: list[str]) -> bool:
    """Whether an item reads an analysis whose settings these are."""
    asked = set(rest[:1]) or set(plan.config["analyses"])
    return section == "analyses" and bool(origin.analyses_behind(item) & asked)


def _labelled(plan: Plan, section: str, name: str) -> Iterable[Item]:
    """Items that print the label of a data set, network or method."""
    axis = {"datasets": "dataset", "networks": "network", "methods": "method"}.get(section)
    if axis is None:
        return []
    return [
        item
        for item in plan.items.values()
        if any(getattr(cell, axis) == name for cell in item.cells)
    ]


def describe_key(plan: Plan, key: str) -> Description:
    """What would change with a key of the config: cells, and items that rest on them.

    Raises: Refused when the config has no such key.
    """
    value = value_of(plan, key)
    section, *rest = key.split(".")
    found = Description(f"{key} at scale {plan.scale}", plan.resolver.at(key).partition(": ")[0])
    found.add("value", _short(value))
    if note := _overlaid(plan, key):
        found.add("note", note)
    if changes := _beside_results(section, rest):
        found.add("changes", changes)
        return found
    cells, items = cells_of(plan, key), items_of(plan, key)
    students = {run.cell for item in items for run in plan.trainings(item)} & _after(plan, cells)
    if cells:
        runs = sum(len(plan.cells[cell].seeds) for cell in cells)
        more = f", and {len(students)} cells that rest on them" if students else ""
        found.add("trains again", f"{len(cells)} cells, {runs} runs{more}")
    found.add(
        "items", [names.name(item) for item in items] or "none: nothing at this scale uses it"
    )
    return found


def _beside_results(section: str, rest: list[str]) -> str:
    """What a key changes that no cell or item says; empty where they do."""
    if section in NO_RESULT:
        return "no number: where data lie, or which rows are left out"
    if section == "engine" and rest and rest[0] not in PRECISION:
        return "no number: how and where the work is done"
    if section == "seeds":
        return "a seed more is trained by itself; those that are there stay as they are"
    if section == "scales":
        return "what the scale lays over the rest of the config; trace the keys that it names"
    return ""


def _short(value: Any) -> str:
    """A value in one line, cut short."""
    text = " ".join(str(value).split())
    return text if len(text) < 160 else f"{text[:157]}..."


def _overlaid(plan: Plan, key: str) -> str:
    """Where a scale puts another name in place of the one in the key."""
    section, *rest = key.split(".")
    if rest and section in ("networks", "datasets", "methods") and rest[0] in plan.replace:
        return f"at this scale {plan.replace[rest[0]]} stands for {rest[0]}"
    return ""


def _after(plan: Plan, cells: set[Cell]) -> set[Cell]:
    """Cells whose teachers, at whatever distance, or searches are among the cells."""
    found: set[Cell] = set()
    while True:
        fresh = {
            cell
            for cell, settings in plan.cells.items()
            if cell not in cells | found and _rests_on(settings, cells | found)
        }
        if not fresh:
            return found
        found |= fresh


def _rests_on(settings: CellSettings, cells: set[Cell]) -> bool:
    if settings.teacher and settings.teacher.cell in cells:
        return True
    return bool(settings.search) and any(trial in cells for _, trial in settings.search.trials)
