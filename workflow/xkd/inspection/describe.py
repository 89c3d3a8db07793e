"""A result described: which reader understands it, and what else is to be said of its kind."""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xkd.errors import Refused
from xkd.files import digest, parse_yaml, read_json, verify
from xkd.inspection import arrays, cells, items, origin
from xkd.inspection.arrays import damaged, read_tensors
from xkd.inspection.target import Target
from xkd.inspection.text import Description, percent, settings, size, sparkline
from xkd.readers import read_npz

Reader = Callable[[Target, Description], None]


def describe(target: Target) -> Description:
    """What a result is, its key numbers, what made it, who uses it.

    Raises: Refused, in one line, when it is damaged or nothing is known of such files.
    """
    if target.item and not target.path.is_dir():
        return items.describe(target)
    if target.path.is_dir() or not target.path.exists():
        return _folder(target)
    for pattern, read in READERS.items():
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


class reading:  # noqa: N801: reads as a phrase at the `with`
    """Turn whatever a damaged file brings about into one line. Raises Refused."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, problem: BaseException | None, trace: object) -> None:
        if isinstance(problem, Exception) and not isinstance(problem, Refused):
            raise damaged(self.path, f"{type(problem).__name__}: {problem}") from None


def _folder(target: Target) -> Description:
    """A cell, a run, a data set, an analysis, or whatever holds such."""
    at_run = target.run and target.path == target.layout.run(target.run)
    if at_run:
        return cells.describe_run(target)
    if target.cell and target.path == target.layout.cell(target.cell):
        return cells.describe_cell(target)
    if not target.path.exists():
        raise Refused(f"{target.path} is missing; nothing has made it yet")
    for name in ("manifest.json", "responses.json"):
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
        whose = f" of {origin.title(target.plan, target.cell)}"
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
    if target.kind == "runs" and target.cell:
        origin.add_users(found, target, target.cell)
        origin.add_training(found, target, target.cell)
    elif target.kind == "data" and target.dataset:
        cells_of = [cell for cell in plan.cells if cell.dataset == target.dataset]
        found.add("used by", f"{len(cells_of)} cells of this config")
        origin.add_making(found, target, "prepare", target.dataset)
    elif target.kind == "teachers" and target.run:
        students = [str(s.cell) for s in plan.cells.values() if _taught(s, target)]
        found.add("used by", ", ".join(students) or "no cell of this config")
        origin.add_making(found, target, "tabulate_teacher", target.run)
    elif target.analysis and target.run:
        users = [item for item in origin.needing(plan, target.analysis, target.run.cell)]
        found.add("used by", ", ".join(map(origin.name, users)) or "no item of this config")
        origin.add_making(found, target, f"analyse {target.analysis}", target.run)


def _taught(settings: Any, target: Target) -> bool:
    teacher = settings.teacher
    return teacher is not None and teacher.cell == target.cell and teacher.seed == target.run.seed


def _file(path: Path) -> str:
    return (
        f"{size(path.stat().st_size)}, sha256 {digest(path)[:16]}"
        if path.stat().st_size < cells.VERIFIED
        else size(path.stat().st_size)
    )


# ---------------------------------------------------------------------------------------- readers


def _weights(target: Target, found: Description) -> None:
    _check_digest(target)
    arrays.add_weights(found, read_tensors(target.path))


def _predictions(target: Target, found: Description) -> None:
    _check_digest(target)
    content = read_npz(target.path)
    arrays.add_predictions(found, content)
    arrays.add_listing(found, content)


def _check_digest(target: Target) -> None:
    """See that a run's file is as its card says. Raises Refused."""
    card = target.path.parent / "run.yaml"
    if target.run and card.is_file():
        from xkd.records import cards

        if expected := cards.read(card.parent)["files"].get(target.path.name):
            verify(target.path, expected, card)


def _history(target: Target, found: Description) -> None:
    history = cells.read_history(target.path)
    found.add("epochs", str(len(history)))
    cells.add_curves(found, history)


def _timing(target: Target, found: Description) -> None:
    seconds = [float(row["seconds"]) for row in _rows(target.path)]
    found.add(
        "epochs",
        f"{len(seconds)}, {sum(seconds):.1f} s together, {min(seconds):.3g} to {max(seconds):.3g} s",
    )
    found.add("seconds", sparkline(seconds))


def _metrics(target: Target, found: Description) -> None:
    cells.add_metrics(found, read_json(target.path))


def _card(target: Target, found: Description) -> None:
    from xkd.records import cards

    card = cards.read(target.path.parent)
    found.add("run", str(card["run"]))
    origin.add_settings(found, card["settings"])
    cells.add_circumstances(found, card)
    if target.cell:
        found.add("state", origin.state(target, card))


def _manifest(target: Target, found: Description) -> None:
    content = cells.read_manifest(target.path)
    found.add("accuracy", cells.accuracy({int(s): run for s, run in content["runs"].items()}))
    found.add("parameters", f"{content['parameters']:,}")
    found.add("recipe", settings(content["recipe"]) if content["recipe"] else None)
    found.add("options", settings(content["options"]))


def _search(target: Target, found: Description) -> None:
    content = read_json(target.path)
    found.add("searched", f"{content['option']}, seed {content['seed']}, {content['split']} images")
    found.add("winner", f"{content['winner']:g}")
    best = content["winner"]
    found.add(
        "scores",
        [
            f"{score['value']:<8g} {percent(score['top1'])} %  NLL {score['nll']:.4f}"
            + ("  ← winner" if score["value"] == best else "")
            for score in content["scores"]
        ],
    )


def _prepared(target: Target, found: Description) -> None:
    """`data.safetensors` or `manifest.json` of a data set."""
    manifest = read_json(target.path.parent / "manifest.json")
    found.add(
        "images", ", ".join(f"{count:,} {split}" for split, count in manifest["counts"].items())
    )
    found.add(
        "size", f"{'x'.join(map(str, manifest['image']))}, {len(manifest['class_names'])} classes"
    )
    names = manifest["class_names"]
    found.add(
        "classes",
        ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else ""),
    )
    each = [f"{min(n)} to {max(n)} {split}" for split, n in manifest["per_class"].items() if n]
    found.add("per class", ", ".join(each))
    found.add("normalised", settings(manifest["normalisation"]))
    found.add("sources", settings(manifest["sources"]))
    data = target.path.parent / "data.safetensors"
    if data.stat().st_size < cells.VERIFIED:
        verify(data, manifest["digests"]["data.safetensors"], target.path.parent / "manifest.json")
    if target.path == data:
        arrays.add_listing(found, read_tensors(data))


def _json_manifest(target: Target, found: Description) -> None:
    if target.kind == "data" or (target.path.parent / "data.safetensors").exists():
        return _prepared(target, found)
    return _any_json(target, found)


def _responses(target: Target, found: Description) -> None:
    content = read_json(target.path)
    found.add("teacher", content["teacher"])
    rows = ["x*              split    top1     ECE     entropy"]
    for name, answer in content["reinforcements"].items():
        for split in ("test", "train"):
            if split in answer:
                one = answer[split]
                rows.append(
                    f"{name:15} {split:6} {percent(one['top1']):>6}  {one['ece']:.4f}  "
                    f"{one['entropy_bits']:.4f} bits"
                )
    found.add("responses", rows)


def _split_responses(target: Target, found: Description) -> None:
    """`<reinforcement>/test.npz` and `train.npz`."""
    content = read_npz(target.path)
    plain, names = None, []
    folder = target.path.parents[1]
    if (beside := folder / "gradient-0" / target.path.name).exists() and beside != target.path:
        plain = read_npz(beside)
    if (manifest := folder / "responses.json").exists():
        names = read_json(manifest)["class_names"]
    arrays.add_responses(found, content, plain, names)
    arrays.add_listing(found, content)


def _images(target: Target, found: Description) -> None:
    arrays.add_listing(found, read_tensors(target.path))
    found.add("look", f"xkd inspect {target.path} --png x.png")


def _npz(target: Target, found: Description) -> None:
    content = read_npz(target.path)
    for name, add in {
        "similarity": arrays.add_similarity,
        "maps": arrays.add_explanations,
        "points": arrays.add_embeddings,
    }.items():
        if name in content:
            add(found, content)
    arrays.add_listing(found, content)


def _tensors(target: Target, found: Description) -> None:
    arrays.add_listing(found, read_tensors(target.path))


def _table(target: Target, found: Description) -> None:
    header = target.path.with_suffix(".json")
    arrays.add_table(found, target.path.with_suffix(".npy"), read_json(header))


def _checkpoint(target: Target, found: Description) -> None:
    from xkd.monitor import traces

    epoch = traces.checkpoint_epoch(target.path)
    if epoch is None:
        raise damaged(target.path, "no checkpoint can be read")
    found.add("checkpoint", f"after epoch {epoch}; the same command continues there")


def _clusters(target: Target, found: Description) -> None:
    rows = _rows(target.path)
    shown: dict[str, list[float]] = {}
    for row in rows:
        if row["kind"] == "gradient":
            key = f"{row['split']} {row['space']} {row['metric']} {row['labels']}"
            shown.setdefault(key, []).append(float(row["silhouette"]))
    found.add("rows", f"{len(rows)}, {len({row['gamma'] for row in rows})} gammas")
    found.add(
        "silhouette", [f"{k:32} {sparkline(v)}  {v[0]:.3f} → {v[-1]:.3f}" for k, v in shown.items()]
    )


def _any_csv(target: Target, found: Description) -> None:
    rows = _rows(target.path)
    found.add("rows", str(len(rows)))
    found.add("columns", ", ".join(rows[0]) if rows else "none")


def _any_json(target: Target, found: Description) -> None:
    content = read_json(target.path, sealed=False)
    _add_keys(found, content)


def _any_yaml(target: Target, found: Description) -> None:
    _add_keys(found, parse_yaml(target.path.read_text(encoding="utf-8")))


def _add_keys(found: Description, content: Any) -> None:
    if not isinstance(content, Mapping):
        found.add(
            "content",
            f"{type(content).__name__} of {len(content)}"
            if isinstance(content, list)
            else str(content)[:80],
        )
        return
    found.add(
        "keys",
        [
            f"{key:16} {json.dumps(value, ensure_ascii=False, default=str)[:76]}"
            for key, value in content.items()
        ],
    )


def _lock(target: Target, found: Description) -> None:
    from xkd.monitor import traces

    holder = traces.holder(target.path)
    found.add(
        "lock",
        f"process {holder['pid']} on {holder['host']}, alive"
        if holder
        else "void: nobody holds it",
    )


def _text(target: Target, found: Description) -> None:
    lines = target.path.read_text(encoding="utf-8", errors="replace").splitlines()
    found.add("lines", str(len(lines)))
    found.add("last", next((line for line in reversed(lines) if line.strip()), None))


def _picture(target: Target, found: Description) -> None:
    content = target.path.read_bytes()[:24]
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        raise damaged(target.path, "no PNG")
    width, height = (int.from_bytes(content[i : i + 4], "big") for i in (16, 20))
    found.add("picture", f"{width} x {height} pixels")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


#: File name -> reader; the first that fits.
READERS: dict[str, Reader] = {
    r"weights.*\.safetensors": _weights,
    r"data\.safetensors": _prepared,
    r"images\.safetensors": _images,
    r".*\.safetensors": _tensors,
    r"predictions.*\.npz": _predictions,
    r"(test|train)\.npz": _split_responses,
    r".*\.npz": _npz,
    r".*\.npy": _table,
    r"(gradient|sign|random)-.*\.json": _table,
    r"history\.csv": _history,
    r"timing\.csv": _timing,
    r"clusters\.csv": _clusters,
    r".*\.csv": _any_csv,
    r"metrics.*\.json": _metrics,
    r"cell\.json": _manifest,
    r"search\.json": _search,
    r"responses\.json": _responses,
    r"manifest\.json": _json_manifest,
    r".*\.json": _any_json,
    r"run\.yaml": _card,
    r".*\.ya?ml": _any_yaml,
    r".*\.pt(\..*)?": _checkpoint,
    r"lock": _lock,
    r".*\.png": _picture,
    r".*\.(log|md|tex|html|txt)": _text,
}
