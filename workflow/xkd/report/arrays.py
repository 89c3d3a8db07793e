"""Arrays that analysis leaves for the pictures: explanations, class similarity, embeddings."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xkd.errors import Refused
from xkd.plan.declarations import declaration, known_modules
from xkd.readers import read_npz
from xkd.report.layout import Labels, label
from xkd.report.results import paths


class Explanations(NamedTuple):
    """One panel of LE, Figure 1.

    images: [N, h, w, channels], uint8; maps: [N, C, h', w'], float; cosines: [N, C] with the true
    class; labels: [N]; signed: whether maps go below zero, as input gradients do.
    """

    images: NDArray
    maps: NDArray
    cosines: NDArray
    labels: NDArray
    class_names: list[str]
    signed: bool
    title: str


class Similarity(NamedTuple):
    """One panel of LE, Figure 2. similarity: [C, C], mean cosines; pairs: named in the paper."""

    similarity: NDArray
    class_names: list[str]
    pairs: list[tuple[str, str]]
    title: str


class Embeddings(NamedTuple):
    """Oracle, Figure 3. points: reinforcement key -> [N, 2] in the unit square.

    labels: [N]; groups: [N], superclasses, or the classes of a data set that has none; split: whose
    images they are.
    """

    points: dict[str, NDArray]
    labels: NDArray
    groups: NDArray
    group_names: list[str]
    thumbnails: NDArray  # [k, h, w, channels], uint8
    thumbnail_points: NDArray  # [k], indices of points
    split: str = "train"


def explanations(files: str | Path | Iterable[str | Path], labels: Labels) -> list[Explanations]:
    """Panels in the order of the files, titled by explanation, network and data set."""
    needed = ("images", "maps", "cosines", "labels", "class_names", "signed")
    panels = []
    for path in paths(files):
        content = read_npz(path, needed)
        arrays = (content[name] for name in needed[:4])
        names, title = _names(content["class_names"]), _title(content, path, labels)
        panels.append(Explanations(*arrays, names, bool(content["signed"]), title))
    return panels


def similarities(files: str | Path | Iterable[str | Path], labels: Labels) -> list[Similarity]:
    panels = []
    for path in paths(files):
        content = read_npz(path, ("similarity", "class_names"))
        pairs = [(str(first), str(second)) for first, second in content.get("pairs", ())]
        names, title = _names(content["class_names"]), _title(content, path, labels)
        panels.append(Similarity(content["similarity"], names, pairs, title))
    return panels


def split_pairs(panel: Similarity) -> tuple[NDArray, NDArray]:
    """Similarities of the named pairs of classes, and of all the others."""
    names = panel.class_names
    named = {frozenset(map(names.index, pair)) for pair in panel.pairs}
    rows, columns = np.triu_indices(len(names), 1)
    chosen = np.array([{int(i), int(j)} in named for i, j in zip(rows, columns, strict=True)], bool)
    similarity = panel.similarity[rows, columns]
    return similarity[chosen], similarity[~chosen]


def embeddings(file: str | Path) -> Embeddings:
    """Raises Refused when no reinforcement was embedded."""
    content = read_npz(Path(file), ("labels", "class_names", "split"))
    end = "/embedding"
    points = {key.removesuffix(end): content[key] for key in content if key.endswith(end)}
    if not points:
        raise Refused(f"{file} holds no array named <reinforcement>{end}; make it again")
    kind = ("coarse", "coarse_names") if "coarse" in content else ("labels", "class_names")
    return Embeddings(
        points,
        content["labels"],
        content[kind[0]],
        _names(content[kind[1]]),
        content.get("thumbnails", np.zeros((0, 1, 1, 1), np.uint8)),
        content.get("thumbnail_points", np.zeros(0, int)),
        str(content["split"]),
    )


def _title(content: dict[str, NDArray], path: Path, labels: Labels) -> str:
    """`Grad-CAM, ResNet14, CIFAR-10`, from what the file says about itself."""
    name = str(content.get("explanation", path.stem))
    known = name in known_modules("explain")
    parts = [declaration("explain", name)["LABEL"] if known else name]
    for kind in ("network", "dataset"):
        if kind in content:
            parts.append(label(labels, kind, str(content[kind])))
    return ", ".join(parts)


def _names(array: NDArray) -> list[str]:
    return [str(name) for name in array]
