"""Arrays that analysis leaves for the pictures: explanations, class similarity, embeddings."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xkd.errors import Refused
from xkd.report.results import paths


class Explanations(NamedTuple):
    """One panel of LE, Figure 1.

    images: [N, h, w, channels], uint8; maps: [N, C, h', w'], float; cosines: [N, C] with the true
    class; labels: [N]; signed: input gradients (True) or Grad-CAM (False).
    """

    images: NDArray
    maps: NDArray
    cosines: NDArray
    labels: NDArray
    class_names: list[str]
    signed: bool
    title: str


class Similarity(NamedTuple):
    """One panel of LE, Figure 2. similarity: [C, C], mean cosines."""

    similarity: NDArray
    class_names: list[str]
    title: str


class Embeddings(NamedTuple):
    """Oracle, Figure 3. points: reinforcement key -> [N, 2] in the unit square; coarse: [N]."""

    points: dict[str, NDArray]
    labels: NDArray
    coarse: NDArray
    coarse_names: list[str]
    thumbnails: NDArray  # [k, h, w, channels], uint8
    thumbnail_points: NDArray  # [k], indices of points


def explanations(files: str | Path | Iterable[str | Path]) -> list[Explanations]:
    return [_explanations(path) for path in paths(files)]


def similarities(files: str | Path | Iterable[str | Path]) -> list[Similarity]:
    found = [(path, _load(path, ("similarity", "class_names"))) for path in paths(files)]
    return [
        Similarity(
            content["similarity"],
            _names(content["class_names"]),
            str(content.get("panel", path.stem)),
        )
        for path, content in found
    ]


def embeddings(file: str | Path) -> Embeddings:
    content = _load(Path(file), ("labels", "coarse", "coarse_names"))
    end = "/embedding"
    points = {key.removesuffix(end): content[key] for key in content if key.endswith(end)}
    if not points:
        raise Refused(f"{file} holds no array named <reinforcement>{end}; make it again")
    return Embeddings(
        points,
        content["labels"],
        content["coarse"],
        _names(content["coarse_names"]),
        content.get("thumbnails", np.zeros((0, 1, 1, 1), np.uint8)),
        content.get("thumbnail_points", np.zeros(0, int)),
    )


def _explanations(path: Path) -> Explanations:
    needed = ("images", "maps", "cosines", "labels", "class_names", "signed")
    content = _load(path, needed)
    signed = bool(content["signed"])
    title = str(content.get("panel", "Grad" if signed else "Grad-CAM"))
    arrays = (content[name] for name in needed[:4])
    return Explanations(*arrays, _names(content["class_names"]), signed, title)


def _names(array: NDArray) -> list[str]:
    return [str(name) for name in array]


def _load(path: Path, needed: Iterable[str]) -> dict[str, NDArray]:
    """Raises Refused when the file is missing, no archive, or lacks an array."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            content = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise Refused(f"{path} is missing; run the rule that makes it") from None
    except (OSError, ValueError) as problem:
        raise Refused(
            f"{path} is damaged ({problem}); delete it and run the same command"
        ) from None
    if absent := [name for name in needed if name not in content]:
        raise Refused(
            f"{path} lacks {', '.join(absent)}; found {', '.join(content)}; delete it and run the "
            "same command again"
        )
    return content
