"""What each job of the pipeline depends on: files and code fingerprints (costs: `xkd.plan.costs`).

The rules call these; nothing here computes results, and nothing imports torch.
"""

from pathlib import Path
from typing import Any

from xkd.fingerprint import PACKAGE, docstring, fingerprint, fingerprint_of_script
from xkd.plan import config as conf
from xkd.plan import costs
from xkd.plan.grid import Item, Plan
from xkd.plan.runs import Cell, Layout, Run
from xkd.plan.settings import CellSettings, DatasetSettings, Reinforcement
from xkd.records import cards

# ------------------------------------------------------------------------------ code fingerprints


def code_of_data(dataset: DatasetSettings) -> str:
    """Of the prepared file of one data set."""
    return fingerprint("xkd.data.prepare", f"xkd.data.sources.{dataset.source}")


def code_of_training(settings: CellSettings) -> str:
    """Of a cell's weights: the engine, this method, these networks; no other method."""
    return fingerprint(
        "xkd.engine.cell", f"xkd.methods.{settings.method.uses}", *_families(settings)
    )


def code_of_import(settings: CellSettings) -> str:
    """Of what is made of weights from elsewhere."""
    return fingerprint("xkd.engine.import_weights", *_families(settings))


def code_of_search(settings: CellSettings) -> str:
    """Of the trials of a search and of their comparison."""
    return f"{code_of_training(settings)}-{fingerprint('xkd.search')}"


def code_of_table(settings: CellSettings) -> str:
    """Of the table that a teacher trained in this cell fills."""
    return fingerprint("xkd.engine.table", *_families(settings))


def code_of_inspection(name: str, settings: CellSettings) -> str:
    """Of an analysis in `xkd.analyses` that runs a trained network."""
    return fingerprint(f"xkd.analyses.{name}", *_families(settings))


def code_of_drawing(item: Item) -> str:
    """Of a table or figure: its script, and whatever that imports."""
    return fingerprint_of_script(conf.SCRIPTS / item.kind / f"{item.script}.py")


def code_of_claims(script: str) -> str:
    """Of the verdicts on claims ("judge"), or of the pages that list them ("claims")."""
    return fingerprint_of_script(conf.SCRIPTS / f"{script}.py")


def _families(settings: CellSettings) -> set[str]:
    networks = [settings.network] + ([settings.teacher.network] if settings.teacher else [])
    return {f"xkd.networks.{network.family}" for network in networks}


# ------------------------------------------------------------------------------------------ files


def weights_file(plan: Plan, settings: CellSettings) -> Path:
    """Where the file of an imported cell lies, or is put."""
    return Path(plan.config["data_root"]).expanduser() / settings.weights.file


def table(plan: Plan, settings: CellSettings) -> tuple[Run, Reinforcement] | None:
    """The teacher table that a cell reads, or None where the teacher answers at every step.

    A table holds every augmented view once; it pays when its students, all seeds together, would
    ask for more passes over the training images than there are views.
    """
    needs, teacher = settings.method.needs, settings.teacher
    choice = plan.config["engine"]["teacher"]
    if not needs.tabulable or teacher is None or teacher.seed is None or choice == "forward":
        return None
    if settings.dataset.resized_crop:  # hardly a view is seen twice
        return None
    key = (teacher.cell.run(teacher.seed), needs.reinforcement or Reinforcement(0.0))
    if choice == "auto" and _epochs_taught(plan, *key) <= settings.dataset.views:
        return None
    return key


def _epochs_taught(plan: Plan, teacher: Run, reinforcement: Reinforcement) -> int:
    """Epochs, over all students and seeds, that ask this teacher for these logits."""
    return sum(
        len(student.seeds) * student.recipe.epochs
        for student in plan.cells.values()
        if student.teacher
        and student.method.needs.tabulable
        and student.teacher.seed == teacher.seed
        and student.teacher.cell == teacher.cell
        and (student.method.needs.reinforcement or Reinforcement(0.0)) == reinforcement
    )


def launcher(plan: Plan, settings: CellSettings) -> str:
    """What stands between `python -m` and `xkd train`: torchrun, where processes share a cell."""
    processes = costs.team(settings, plan.config["engine"])
    if processes == 1:
        return ""
    return f"torch.distributed.run --standalone --nproc-per-node {processes} -m "


def claims_file(item: Item, layout: Layout) -> Path:
    """What became of the claims about a table or figure; beside it."""
    return layout.root / item.kind / f"{item.name}_claims.csv"


def claims_page(paper: str, layout: Layout) -> dict[str, str]:
    """All claims of a paper, by form."""
    path = f"{layout.root / 'tables' / paper.lower()}_claims"
    return {form: f"{path}.{form}" for form in ("csv", "md", "html")}


def item_inputs(plan: Plan, item: Item, layout: Layout) -> dict[str, Any]:
    """Named inputs of the script that draws an item."""
    runs = [cell.run(seeds[0]) for cell, seeds in item.runs]
    files: dict[str, Any] = {"cells": [str(layout.manifest(cell)) for cell in _read(plan, item)]}
    searched = [cell for cell in item.cells if plan.cells[cell].search]
    if searched:
        files["searches"] = [str(layout.search(cell)) for cell in searched]
    if "responses" in item.needs:
        files["responses"] = [str(layout.responses(run)) for run in runs]
    if "clusters" in item.needs:
        files["clusters"] = [str(layout.clusters(run) / "clusters.csv") for run in runs]
        files["embeddings"] = [str(layout.clusters(run) / "embeddings.npz") for run in runs]
    if "explanations" in item.needs:
        folders = [layout.explanations(run) for run in runs]
        files["explanations"] = [str(folder / "explanations.npz") for folder in folders]
        files["similarity"] = [str(folder / "class_similarity.npz") for folder in folders]
    if item.claims and item.kind == "tables":
        files["claims"] = str(claims_file(item, layout))
    return files | _printed(item)


def claim_inputs(plan: Plan, item: Item, layout: Layout) -> dict[str, Any]:
    """Named inputs of the script that judges an item's claims."""
    return {"cells": [str(layout.manifest(cell)) for cell in item.cells]} | _printed(item)


def _printed(item: Item) -> dict[str, str]:
    """Its published numbers, if it has any, relative to the project."""
    if "published" not in item.entry:
        return {}
    path = conf.PUBLISHED / f"{item.entry['published']}.csv"
    return {"published": str(path.relative_to(PACKAGE.parent.parent))}


def _read(plan: Plan, item: Item) -> list[Cell]:
    """Cells whose manifests an item reads: what it shows, and their teachers."""
    teachers = [settings.teacher for settings in map(plan.settings, item.cells)]
    return list(dict.fromkeys([*item.cells, *(one.cell for one in teachers if one)]))


def protocol(item: Item) -> str:
    """What the script's docstring says under `Protocol:`: split, epoch, seeds, averages."""
    script = conf.SCRIPTS / item.kind / f"{item.script}.py"
    text = docstring(script).partition("Protocol:")[2].partition("\n\n")[0]
    return " ".join(text.split())


def item_description(plan: Plan, item: Item) -> dict[str, Any]:
    """What a script is told about its item: the config entry, labels, scale, and the exact runs."""
    labels = {
        kind: {name: entry["label"] for name, entry in entries.items()}
        for kind, entries in (
            ("datasets", plan.config["datasets"]),
            ("networks", plan.config["networks"]),
            ("methods", plan.resolver.methods),
        )
    }
    labels["published_as"] = {
        name: entry["published_as"]
        for name, entry in plan.config["methods"].items()
        if "published_as" in entry
    }
    return {
        "name": item.name,
        **item.entry,
        "kind": item.kind,
        "script": item.script,
        "protocol": protocol(item),
        "seeds": sorted({seed for _, seeds in item.runs for seed in seeds}),
        "scale": plan.scale,
        "replaced": plan.replace,
        "left_out": [labels["datasets"][name] for name in item.left_out],
        "labels": labels,
        "methods": list(dict.fromkeys(cell.method for cell in item.cells)),
        "runs": [[str(cell), list(seeds)] for cell, seeds in item.runs],
        "settings": {str(c): cards.expectation(plan.settings(c)) for c in _read(plan, item)},
    }
