"""Where a result comes from and what uses it: rule, settings, code, items, the command."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xkd.errors import Refused
from xkd.files import is_committed
from xkd.inspection.target import Target
from xkd.inspection.text import Description
from xkd.plan import jobs, names
from xkd.plan.declarations import declaration
from xkd.plan.grid import Item, Plan
from xkd.plan.runs import Cell
from xkd.plan.settings import CellSettings
from xkd.records import cards
from xkd.wording import settings


def shown_in(plan: Plan, cell: Cell) -> list[Item]:
    """Items that show a cell itself."""
    return [item for item in plan.items.values() if cell in item.cells]


def resting_on(plan: Plan, cells: Iterable[Cell]) -> list[Item]:
    """Items that show one of the cells, or a student of it, or what a search of it decided."""
    wanted = set(cells)
    return [
        item for item in plan.items.values() if wanted & {run.cell for run in plan.trainings(item)}
    ]


def needing(plan: Plan, analysis: str, cell: Cell) -> list[Item]:
    """Items that read what an analysis found about a cell, or what was made of that."""
    return [
        item
        for item in plan.items.values()
        if analysis in analyses_behind(item) and cell in item.cells
    ]


def analyses_behind(item: Item) -> set[str]:
    """Analyses that an item needs, with those that these read."""
    found: set[str] = set()
    waiting = list(item.needs)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            reads = declaration("analyses", name)["READS"]
            waiting += [read for read in reads if read not in ("data", "weights")]
    return found


def taught_by(plan: Plan, cell: Cell) -> list[Cell]:
    """Students of a cell."""
    return [s.cell for s in plan.cells.values() if s.teacher and s.teacher.cell == cell]


def add_users(description: Description, target: Target, cell: Cell) -> None:
    """The facts `used by` and `teacher of`."""
    plan = target.plan
    if target.foreign:
        description.add("used by", f"unknown: it belongs to scale {target.layout.root.name}")
        return
    direct = shown_in(plan, cell)
    indirect = [item for item in resting_on(plan, [cell]) if item not in direct]
    parts = [names.name(item) for item in direct]
    if indirect:
        parts.append(f"through others: {', '.join(names.name(item) for item in indirect)}")
    description.add("used by", ", ".join(parts) or "no item of this config")
    if students := taught_by(plan, cell):
        shown = ", ".join(map(str, students[:3]))
        more = f" and {len(students) - 3} more" if len(students) > 3 else ""
        description.add("teacher of", shown + more)


def add_settings(description: Description, content: Mapping[str, Any]) -> None:
    """The facts `recipe`, `method`, `network` and `teacher`, from a run card's settings."""
    recipe, method = content.get("recipe"), content["method"]
    if recipe:
        rest = {key: value for key, value in recipe.items() if key != "name"}
        description.add("recipe", f"recipes.{recipe['name']}: {settings(rest)}")
    description.add("method", f"methods.{method['name']}: {settings(method['options'])}")
    network = content["network"]
    description.add("network", f"networks.{network['name']}: {settings(network['options'])}")
    if teacher := content.get("teacher"):
        seed = "each student's own seed" if teacher["seed"] is None else f"seed {teacher['seed']}"
        described = Cell(**teacher["cell"])
        description.add("teacher", f"{described}, {seed}")
    if weights := content.get("weights"):
        description.add("weights", settings(weights))


def state(target: Target, card: Mapping[str, Any]) -> str:
    """Whether a run is what this config and this code would give, in a few words."""
    if target.foreign or target.cell not in target.plan.cells:
        return "not asked for by this config"
    wanted = target.plan.cells[target.cell]
    if (found := _other_settings(target, wanted, card)) is not None:
        return found
    code = _code(wanted)
    if not card["fingerprint"].startswith(f"{code}-"):
        return f"stale: trained by code {card['fingerprint'][:8]}, now {code[:8]}"
    return "matches config and code"


def _other_settings(target: Target, wanted: CellSettings, card: Mapping[str, Any]) -> str | None:
    """The first setting of a run that is not what the config says now."""
    found = card.get("settings", {})
    try:
        if wanted.search:
            from xkd.search import decided

            wanted = decided(wanted, target.layout)
        cards.refuse_difference(found, wanted.slice(), "")
    except Refused as problem:
        words = str(problem).partition("trained with ")[2].partition(";")[0]
        return f"stale: trained with {words}" if words else f"undecided: {problem}"
    return None


def _code(settings: CellSettings) -> str:
    return jobs.code_of_import(settings) if settings.weights else jobs.code_of_training(settings)


def add_making(
    description: Description,
    target: Target,
    rule: str,
    subject: object,
    more: str = "",
    verb: str | None = None,
) -> None:
    """The facts `made by` and `remake` of what a verb makes.

    Args:
        more: options of the command; verb: the verb, where it is not called like the rule.
    """
    committed = is_committed(target.path)  # no pipeline of this machine made it
    logged = "" if committed else f", log {log(target, rule, subject)}"
    description.add("made by", f"rule {rule}{logged}")
    description.add("remake", f"xkd {verb or rule} {subject}{more}{target.option}")


def add_training(description: Description, target: Target, cell: Cell) -> None:
    """The facts `made by` and `remake` of a cell: trained, imported, or tried by a search."""
    searching = [
        s.cell
        for s in target.plan.cells.values()
        if s.search and cell in [trial for _, trial in s.search.trials]
    ]
    wanted = target.plan.cells.get(cell)
    if searching:
        add_making(description, target, "search", searching[0])
    else:
        imported = wanted is not None and wanted.weights is not None
        add_making(description, target, "import_weights" if imported else "train", cell)


def log(target: Target, rule: str, subject: object) -> Path:
    """Where the pipeline's job writes what it prints."""
    return Path("logs") / target.layout.root.name / rule / f"{subject}.log"
