"""What each job of the pipeline depends on: files and code fingerprints (costs: `xkd.plan.costs`).

The rules call these; nothing here computes results, and nothing imports torch.
"""

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from xkd.fingerprint import PACKAGE, fingerprint, fingerprint_of_script
from xkd.plan import comparability, costs, declarations
from xkd.plan.grid import Plan
from xkd.plan.items import Item
from xkd.plan.runs import Cell, Layout, Run
from xkd.plan.settings import CellSettings, DatasetSettings, Reinforcement

SCRIPTS = PACKAGE.parent / "scripts"  # those that serve every paper

# ------------------------------------------------------------------------------ code fingerprints


def code_of_data(dataset: DatasetSettings) -> str:
    """Of the prepared file of one data set."""
    return fingerprint("xkd.data.prepare", f"xkd.data.sources.{dataset.source}")


def code_of_training(settings: CellSettings) -> str:
    """Of a cell's weights: the engine, this method, these networks; no other method."""
    return fingerprint(*modules_of(settings))


def code_of_import(settings: CellSettings) -> str:
    """Of what is made of weights from elsewhere."""
    return fingerprint(*modules_of(settings))


def modules_of(settings: CellSettings) -> list[str]:
    """Modules that a cell's weights depend on, and through their imports on others."""
    families = sorted(_families(settings))
    if settings.weights:
        return ["xkd.engine.import_weights", *families]
    explanations = sorted(_explanations(settings.method.options))
    method = f"xkd.methods.{settings.method.uses}"
    return ["xkd.engine.cell", method, *explanations, *families]


def code_of_search(settings: CellSettings) -> str:
    """Of the trials of a search and of their comparison."""
    return f"{code_of_training(settings)}-{fingerprint('xkd.search')}"


def code_of_table(settings: CellSettings) -> str:
    """Of the table that a teacher trained in this cell fills."""
    return fingerprint("xkd.engine.table", *_families(settings))


def code_of_analysis(name: str, settings: CellSettings, options: Mapping[str, Any]) -> str:
    """Of an analysis of a trained network, with the explanations that its options name."""
    return fingerprint(f"xkd.analyses.{name}", *_explanations(options), *_families(settings))


def code_of_drawing(item: Item) -> str:
    """Of a table or figure: its script, whatever that imports, and the templates."""
    return f"{fingerprint_of_script(item.files.script or SCRIPTS / 'table.py')}-{_templates()}"


def code_of_claims(script: str) -> str:
    """Of the verdicts on claims ("judge"), or of the pages that list them ("claims")."""
    return f"{fingerprint_of_script(SCRIPTS / f'{script}.py')}-{_templates()}"


def code_of_page() -> str:
    """Of the result page."""
    return f"{fingerprint('xkd.report.page')}-{_templates()}"


@cache
def _templates() -> str:
    """Of what pages and tables are filled into, and the scripts inside the page."""
    report = PACKAGE / "report"
    files = [*sorted((report / "templates").iterdir()), report / "vendor" / "SHA256SUMS"]
    content = b"\0".join(path.name.encode() + b"\0" + path.read_bytes() for path in files)
    return hashlib.sha256(content).hexdigest()[:8]


def _explanations(options: Mapping[str, Any]) -> set[str]:
    """Modules of the explanations that options name: they are loaded by name, not imported."""
    known = declarations.known_modules("explain")
    return {f"xkd.explain.{text}" for text in _texts(options) if text in known}


def _texts(value: Any) -> Iterator[str]:
    """All texts in options."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


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
    path = f"{layout.root / 'tables' / paper}_claims"
    return {form: f"{path}.{form}" for form in ("csv", "md", "html")}


def analysis_outputs(name: str, run: Run | str, layout: Layout) -> dict[str, str]:
    """Files of an analysis of a run, by the keys that it declares."""
    folder = layout.analysis(name, run)
    outputs = declarations.declaration("analyses", name)["OUTPUTS"]
    return {key: str(folder / file) for key, file in outputs.items()}


def analyses_of(item: Item) -> list[str]:
    """Analyses that an item rests on, each after those that it reads."""
    found: dict[str, None] = {}

    def add(name: str) -> None:
        for read in declarations.declaration("analyses", name)["READS"]:
            if read not in ("data", "weights"):
                add(read)
        found[name] = None

    for name in item.needs:
        add(name)
    return list(found)


def analysis_card(name: str, run: Run | str, layout: Layout) -> str:
    """The file in which an analysis of a run is described; written last."""
    return str(layout.analysis_card(name, run))


def analysis_inputs(name: str, run: Run, layout: Layout) -> dict[str, Any]:
    """Files that an analysis of a run reads: what it declares in `READS`."""
    files: dict[str, Any] = {"cell": str(layout.manifest(run.cell))}
    for read in declarations.declaration("analyses", name)["READS"]:
        if read == "data":
            files["data"] = str(layout.data(run.cell.dataset) / "manifest.json")
        elif read != "weights":
            files[read] = analysis_card(read, run, layout)
    return files


def item_inputs(plan: Plan, item: Item, layout: Layout) -> dict[str, Any]:
    """Named inputs of the script that draws an item."""
    files: dict[str, Any] = {"cells": [str(layout.manifest(cell)) for cell in _read(plan, item)]}
    searched = [cell for cell in item.cells if plan.cells[cell].search]
    if searched:
        files["searches"] = [str(layout.search(cell)) for cell in searched]
    for analysis in item.needs:
        for cell, seed in item.analysed:
            run = cell.run(seed)
            files.setdefault("analyses", []).append(analysis_card(analysis, run, layout))
            for key, path in analysis_outputs(analysis, run, layout).items():
                files.setdefault(key, []).append(path)
    if item.claims and item.kind == "tables":
        files["claims"] = str(claims_file(item, layout))
    return files | _printed(item)


def claim_inputs(plan: Plan, item: Item, layout: Layout) -> dict[str, Any]:
    """Named inputs of the script that judges an item's claims."""
    files = item_inputs(plan, item, layout)
    shown = {"cells": [str(layout.manifest(cell)) for cell in item.cells]}
    outputs = [declarations.declaration("analyses", name)["OUTPUTS"] for name in item.needs]
    asked = ("analyses", "published", *(key for keys in outputs for key in keys))
    return shown | {name: files[name] for name in asked if name in files}


def _printed(item: Item) -> dict[str, str]:
    """Its published numbers, if it has any."""
    return {"published": str(item.files.published)} if item.files.published else {}


def _read(plan: Plan, item: Item) -> list[Cell]:
    """Cells whose manifests an item reads: what it shows, and their teachers."""
    teachers = [settings.teacher for settings in map(plan.settings, item.cells)]
    return list(dict.fromkeys([*item.cells, *(one.cell for one in teachers if one)]))


def protocol(item: Item) -> str:
    """Split, epoch, seeds, averages: the entry's `protocol`, or the `Protocol:` of the script."""
    text = item.entry.get("protocol", "")
    if item.files.script:
        text = declarations.docstring(item.files.script).partition("Protocol:")[2]
    return " ".join(text.partition("\n\n")[0].split())


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
        "paper": item.paper["label"],
        "trials": item.paper.get("trials", 1),
        "kind": item.kind,
        "protocol": protocol(item),
        "seeds": sorted({seed for _, seeds in item.runs for seed in seeds}),
        "scale": plan.scale,
        "differs": comparability.comparison(plan).differences(item),
        "fewer_seeds": comparability.comparison(plan).fewer_seeds(item),
        "left_out": [labels["datasets"][name] for name in item.left_out],
        "labels": labels,
        "methods": list(dict.fromkeys(cell.method for cell in item.cells)),
        "runs": [[str(cell), list(seeds)] for cell, seeds in item.runs],
        "settings": {str(c): plan.settings(c).expectation() for c in _read(plan, item)},
        "analyses": {
            name: {str(cell): plan.analysis(name, cell) for cell in item.cells}
            for name in item.needs
        },
    }
