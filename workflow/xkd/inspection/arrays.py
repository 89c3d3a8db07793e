"""Array files described: weights, predictions, responses, explanations, tables of logits.

Every reader turns a damaged file into one line.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xkd.errors import Refused
from xkd.files import reading
from xkd.inspection.text import Description
from xkd.measures.calibration import ece, top1
from xkd.measures.entropy import mean_entropy_bits
from xkd.readers import map_npy
from xkd.wording import percent, size

SHOWN = 12  # tensors listed one by one


def read_tensors(path: Path) -> dict[str, NDArray]:
    """All tensors of a safetensors file; bfloat16 as float32. Raises Refused when it is damaged."""
    from safetensors.numpy import load_file

    with reading(path):
        return load_file(path)


def damaged(path: Path, problem: object) -> Refused:
    """The one line about a file that cannot be read."""
    reason = " ".join(str(problem).split())[:120] or type(problem).__name__
    return Refused(f"{path} is damaged ({reason}); delete it and run the same command again")


def layout_of(array: NDArray) -> str:
    """`float16 [500, 10]`, `text` for a single value."""
    if array.ndim == 0:
        return str(array)
    return f"{array.dtype} [{', '.join(map(str, array.shape))}]"


def ranges(array: NDArray) -> str:
    """`-1.2 to 3.4, mean 0.5`, and how much is not finite."""
    if array.dtype.kind not in "fiub" or not array.size or array.ndim == 0:
        return ""
    values = array.astype(np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "nothing finite"
    text = f"{finite.min():.4g} to {finite.max():.4g}, mean {finite.mean():.4g}"
    return text + (f", {values.size - finite.size} not finite" if finite.size < values.size else "")


def add_listing(found: Description, arrays: Mapping[str, NDArray]) -> None:
    """The fact `arrays`: name, type, shape and range of the first, and how many more."""
    width = min(36, max(map(len, arrays), default=0))
    shown = list(arrays.items())[:SHOWN]
    rows = [f"{n:{width}}  {layout_of(a):22}  {ranges(a)}".rstrip() for n, a in shown]
    if len(arrays) > SHOWN:
        rows.append(f"and {len(arrays) - SHOWN} more")
    found.add("arrays", rows)


def add_weights(found: Description, tensors: Mapping[str, NDArray]) -> None:
    """The facts `weights` and `arrays` of a network."""
    trained = {n: t for n, t in tensors.items() if t.dtype.kind == "f"}
    learnt = {n: t for n, t in trained.items() if not n.rpartition(".")[2].startswith("running_")}
    count = sum(tensor.size for tensor in learnt.values())
    norm = math.sqrt(sum(float((t.astype(np.float64) ** 2).sum()) for t in learnt.values()))
    wrong = sum(int((~np.isfinite(t)).sum()) for t in trained.values())
    found.add(
        "weights",
        f"{count:,} parameters in {len(learnt)} tensors, norm {norm:.4g}, "
        f"{wrong or 'none'} not finite",
    )
    kernels = {n: t for n, t in tensors.items() if t.ndim > 1}
    add_listing(found, kernels or dict(tensors))


def add_predictions(found: Description, arrays: Mapping[str, NDArray]) -> None:
    """Accuracy, calibration, the classes confused most, of `predictions.npz`.

    Raises: KeyError, ValueError when arrays are missing or do not fit.
    """
    labels, predicted = arrays["labels"].astype(int), arrays["predicted"].astype(int)
    right = labels == predicted
    count = int((~right).sum())
    found.add(
        "accuracy", f"{percent(float(right.mean()))} % of {len(labels)} images, {count} wrong"
    )
    confidence = arrays["confidence"]
    where_wrong = f", {confidence[~right].mean():.4f} where wrong" if count else ""
    found.add(
        "calibration",
        f"ECE {ece(confidence, right):.4f} (20 bins); mean confidence {confidence.mean():.4f}"
        + where_wrong,
    )
    found.add("confused", ", ".join(_confusions(labels, predicted)) or "nothing")
    recalls = [(float(right[labels == c].mean()), c) for c in np.unique(labels)]
    worst = ", ".join(f"{c}: {percent(r, 1)} %" for r, c in sorted(recalls)[:3])
    found.add("worst classes", worst)


def _confusions(labels: NDArray, predicted: NDArray, count: int = 5) -> Iterator[str]:
    wrong = labels != predicted
    pairs, times = np.unique(
        np.stack([labels[wrong], predicted[wrong]]), axis=1, return_counts=True
    )
    for index in np.argsort(-times, kind="stable")[:count]:
        yield f"{pairs[0, index]} → {pairs[1, index]} {times[index]} times"


def add_responses(
    found: Description,
    arrays: Mapping[str, NDArray],
    plain: Mapping[str, NDArray] | None,
    classes: list[str],
) -> None:
    """Accuracy on x*, entropy, and which images x* repairs or breaks.

    Args:
        arrays: logits [N, C] and labels [N] on x*; plain: those on x, unless these are they.
    """
    logits, labels = arrays["logits"].astype(np.float32), arrays["labels"].astype(int)
    confidence, right = top1(logits, labels)
    found.add("accuracy", f"{percent(float(right.mean()))} % of {len(labels)} images")
    found.add(
        "answers",
        f"ECE {ece(confidence, right):.4f} (20 bins); entropy {mean_entropy_bits(logits):.4f} bits "
        f"(T = 4), at most {math.log2(logits.shape[1]):.4f}",
    )
    if plain is None:
        return
    before = plain["logits"].astype(np.float32).argmax(1)
    was = before == labels
    found.add("on x", f"{percent(float(was.mean()))} %")
    for name, chosen in (("repaired", right & ~was), ("broken", was & ~right)):
        after = logits.argmax(1)
        each = [
            f"#{i}: {_class(classes, before[i])} → {_class(classes, after[i])}"
            for i in np.flatnonzero(chosen)[:8]
        ]
        more = f" and {int(chosen.sum()) - 8} more" if chosen.sum() > 8 else ""
        found.add(name, f"{int(chosen.sum())}" + (f": {', '.join(each)}{more}" if each else ""))


def _class(names: list[str], index: int) -> str:
    return names[index] if index < len(names) else str(index)


def add_table(found: Description, path: Path, header: Mapping[str, Any]) -> None:
    """A teacher's table of logits: shape, size, whose; the numbers of its first view.

    Raises: Refused when the file is damaged or not of the shape that its header gives.
    """
    table = map_npy(path)
    with reading(path):
        views, images, classes = table.shape
    if (views, classes) != (header.get("views"), header.get("classes")):
        raise damaged(path, f"shape {table.shape}, its header says {json.dumps(header)}")
    found.add(
        "table",
        f"{views} views of {images:,} images, {classes} classes, {table.dtype}, "
        f"{size(path.stat().st_size)}",
    )
    found.add("reinforcement", str(header["reinforcement"]))
    found.add("first view", ranges(np.asarray(table[0])))
    found.add("teacher", f"weights {str(header['teacher'])[:16]}, data {str(header['data'])[:16]}")


Adder = Callable[[Description, Mapping[str, NDArray]], None]


def add_similarity(found: Description, arrays: Mapping[str, NDArray]) -> None:
    """Class similarity [C, C]: the most similar pairs, and the ranks of those that were named."""
    matrix, names = arrays["similarity"], [str(name) for name in arrays["class_names"]]
    first, second = np.triu_indices(len(matrix), 1)
    pairs = matrix[first, second]
    order = np.argsort(-pairs, kind="stable")[:5]
    found.add(
        "most similar",
        ", ".join(f"{names[first[i]]}-{names[second[i]]} {pairs[i]:.3f}" for i in order),
    )
    if "pairs" in arrays and len(arrays["pairs"]):
        named = zip(arrays["pairs"], arrays["ranks"], strict=True)
        ranks = ", ".join(f"{a}-{b}: {rank}" for (a, b), rank in named)
        found.add("named pairs", f"rank {ranks}, of {len(pairs)}")


def add_explanations(found: Description, arrays: Mapping[str, NDArray]) -> None:
    """Explanation maps of some images: shape and how many are zero."""
    maps = arrays["maps"]
    zero = (np.abs(maps).reshape(*maps.shape[:2], -1).max(-1) == 0).mean()
    found.add(
        "maps",
        f"{maps.shape[0]} images × {maps.shape[1]} classes of {maps.shape[2]}x{maps.shape[3]}, "
        f"{percent(float(zero), 1)} % of the maps are zero",
    )


def add_embeddings(found: Description, arrays: Mapping[str, NDArray]) -> None:
    """t-SNE embeddings per reinforcement."""
    keys = sorted({name.partition("/")[0] for name in arrays if "/" in name})
    found.add("embeddings", f"{len(arrays['labels'])} points; {', '.join(keys)}")
