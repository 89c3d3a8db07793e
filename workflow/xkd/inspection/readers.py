"""Readers of the kinds of files that the pipeline leaves; what each is, and its key numbers."""

from collections.abc import Callable
from dataclasses import replace

from xkd.files import read_json, verify
from xkd.inspection import arrays, cells, origin, plain
from xkd.inspection.arrays import damaged, read_tensors
from xkd.inspection.target import Target
from xkd.inspection.text import Description, sparkline
from xkd.monitor import traces
from xkd.readers import read_npz
from xkd.records import cards
from xkd.wording import percent, settings

Reader = Callable[[Target, Description], None]


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
    files = cards.read(card.parent)["files"] if target.run and card.is_file() else {}
    if target.path.name in files:
        verify(target.path, files[target.path.name], card)


def _history(target: Target, found: Description) -> None:
    _check_digest(target)
    history = cells.read_history(target.path)
    found.add("epochs", str(len(history)))
    cells.add_curves(found, history)


def _timing(target: Target, found: Description) -> None:
    seconds = [float(row["seconds"]) for row in plain.rows(target.path)]
    found.add(
        "epochs",
        f"{len(seconds)}, {sum(seconds):.1f} s together, "
        f"{min(seconds):.3g} to {max(seconds):.3g} s",
    )
    found.add("seconds", sparkline(seconds))


def _metrics(target: Target, found: Description) -> None:
    _check_digest(target)
    cells.add_metrics(found, read_json(target.path))


def _card(target: Target, found: Description) -> None:
    card = cards.read(target.path.parent)
    cells.verify_files(target.path.parent, card)
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
    return plain.any_json(target, found)


def _analysis(target: Target, found: Description) -> None:
    """The card of an analysis: options, and its files as they were written."""
    content = read_json(target.path)
    found.add("analysis", f"{content['analysis']} of {content['run']}")
    found.add("options", settings(content["options"]))
    for name, expected in content["digests"].items():
        verify(target.path.parent / name, expected, target.path)
    found.add("files", ", ".join(content["digests"]))
    if (target.path.parent / "responses.json").exists():
        _responses(replace(target, path=target.path.parent / "responses.json"), found)


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
    on_x, names = None, []
    folder = target.path.parents[1]
    if (beside := folder / "gradient-0" / target.path.name).exists() and beside != target.path:
        on_x = read_npz(beside)
    if (manifest := folder / "responses.json").exists():
        names = read_json(manifest)["class_names"]
    arrays.add_responses(found, content, on_x, names)
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
    epoch = traces.checkpoint_epoch(target.path)
    if epoch is None:
        raise damaged(target.path, "no checkpoint can be read")
    found.add("checkpoint", f"after epoch {epoch}; the same command continues there")


def _clusters(target: Target, found: Description) -> None:
    rows = plain.rows(target.path)
    shown: dict[str, list[float]] = {}
    for row in rows:
        if row["kind"] == "gradient":
            key = f"{row['split']} {row['space']} {row['metric']} {row['labels']}"
            shown.setdefault(key, []).append(float(row["silhouette"]))
    found.add("rows", f"{len(rows)}, {len({row['gamma'] for row in rows})} gammas")
    found.add(
        "silhouette", [f"{k:32} {sparkline(v)}  {v[0]:.3f} → {v[-1]:.3f}" for k, v in shown.items()]
    )


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
    r".*\.csv": plain.any_csv,
    r"metrics.*\.json": _metrics,
    r"cell\.json": _manifest,
    r"search\.json": _search,
    r"responses\.json": _responses,
    r"analysis\.json": _analysis,
    r"manifest\.json": _json_manifest,
    r".*\.json": plain.any_json,
    r"run\.yaml": _card,
    r".*\.ya?ml": plain.any_yaml,
    r".*\.pt(\..*)?": _checkpoint,
    r"lock": plain.lock,
    r".*\.png": plain.picture,
    r".*\.(log|md|tex|html|txt)": plain.text,
}
