"""A result described: which reader understands it, and what else is to be said of its kind."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xkd.errors import Refused
from xkd.files import digest, reading
from xkd.inspection import cells, items, origin, readers
from xkd.inspection.target import Target
from xkd.inspection.text import Description
from xkd.plan import names
from xkd.wording import size

Reader = Callable[[Target, Description], None]


def describe(target: Target) -> Description:
    """What a result is, its key numbers, what made it, who uses it.

    Raises: Refused, in one line, when it is damaged or nothing is known of such files.
    """
    if target.item and not target.path.is_dir():
        return items.describe(target)
    if target.path.is_dir() or not target.path.exists():
        return _folder(target)
    for pattern, read in readers.READERS.items():
        if re.fullmatch(pattern, target.path.name):
            found = Description(_title(target), str(target.path))
            with reading(target.path):
                read(target, found)
            _add_origin(target, found)
            found.add("file", _file(target.path))
            return found
    raise Refused(
        f"{target.path}: nothing is known of such files; expected one that the pipeline leaves "
        "under results/"
    )


def _folder(target: Target) -> Description:
    """A cell, a run, a data set, an analysis, or whatever holds such."""
    at_run = target.run and target.path == target.layout.run(target.run)
    if at_run:
        return cells.describe_run(target)
    at_cell = target.cell and target.path == target.layout.cell(target.cell)
    if at_cell:
        return cells.describe_cell(target)
    if not target.path.exists():
        raise Refused(f"{target.path} is missing; nothing has made it yet")
    for name in ("manifest.json", "analysis.json"):
        if (target.path / name).is_file():
            return describe(Target(**{**vars(target), "path": target.path / name}))
    found = Description(f"folder {target.path.name}", str(target.path))
    files = [path for path in target.path.rglob("*") if path.is_file()]
    counts = Counter(path.suffix or path.name for path in files)
    found.add("files", f"{len(files)}, {size(sum(path.stat().st_size for path in files))}")
    found.add("kinds", ", ".join(f"{count} {name}" for name, count in counts.most_common()))
    inside = sorted(path.relative_to(target.path) for path in files)[:12]
    found.add("first", [str(path) for path in inside])
    _add_origin(target, found)
    return found


def _title(target: Target) -> str:
    """`weights.safetensors of KD · ResNet8 · CIFAR-10 · seed 0`."""
    whose = ""
    if target.cell:
        whose = f" of {names.title(target.plan, target.cell)}"
    elif target.dataset:
        known = target.plan.config["datasets"].get(target.dataset, {})
        whose = f" of {known.get('label', target.dataset)}"
    seed = f" · seed {target.run.seed}" if target.run else ""
    inner = "/".join(target.place[-2:]) if target.analysis else target.path.name
    scale = f" ({target.layout.root.name})" if target.place else ""
    return f"{inner}{whose}{seed}{scale}"


def _add_origin(target: Target, found: Description) -> None:
    """What made it, who uses it."""
    plan = target.plan
    if target.path.name == "search.json" and target.cell:
        origin.add_users(found, target, target.cell)
        origin.add_making(found, target, "search", target.cell)
    elif target.kind == "runs" and target.cell:
        origin.add_users(found, target, target.cell)
        origin.add_training(found, target, target.cell)
    elif target.kind == "data" and target.dataset:
        cells_of = [cell for cell in plan.cells if cell.dataset == target.dataset]
        found.add("used by", f"{len(cells_of)} cells of this config")
        origin.add_making(found, target, "prepare", target.dataset)
    elif target.kind == "teachers" and target.run:
        students = [str(s.cell) for s in plan.cells.values() if _taught(s, target)]
        found.add("used by", ", ".join(students) or "no cell of this config")
        table = target.path.with_suffix(".npy")
        more = f" --reinforcement {table.stem} --out {table}"
        origin.add_making(found, target, "tabulate_teacher", target.run, more)
    elif target.analysis and target.run:
        users = [item for item in origin.needing(plan, target.analysis, target.run.cell)]
        found.add("used by", ", ".join(map(names.name, users)) or "no item of this config")
        verb = f"analyse {target.analysis}"
        origin.add_making(found, target, target.analysis, target.run, verb=verb)


def _taught(settings: Any, target: Target) -> bool:
    teacher = settings.teacher
    return teacher is not None and teacher.cell == target.cell and teacher.seed == target.run.seed


def _file(path: Path) -> str:
    """Size, and digest unless that takes long."""
    count = path.stat().st_size
    return size(count) + (f", sha256 {digest(path)[:16]}" if count < cells.VERIFIED else "")
