"""A prepared data set, mapped into memory: images are read from the disk when they are needed."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xkd.data import DATA, MANIFEST
from xkd.errors import Refused, unknown
from xkd.files import read_json, reading
from xkd.files import verify as verify_digest
from xkd.readers import read_tensors

TENSORS = ("train_images", "train_labels", "test_images", "test_labels", "holdout")


class Split(NamedTuple):
    """images: uint8, [N, C, H, W]; labels, coarse: int64, [N]; coarse is None without superclasses.

    index: int64, [N]; positions within the published training or test images.
    files: of the N pictures where they are too many for memory, relative to the data root;
        `images` has N = 0 then.
    boxes: int64, [N, 4]; top, left, bottom, right of the object, ends exclusive; None if unknown.
    """

    images: Tensor
    labels: Tensor
    coarse: Tensor | None
    index: Tensor
    files: tuple[Path, ...] = ()
    boxes: Tensor | None = None


@dataclass(frozen=True)
class PreparedData:
    """What `load` returns; `manifest` is what `prepare` wrote about it."""

    name: str
    class_names: tuple[str, ...]
    coarse_names: tuple[str, ...] | None
    manifest: dict[str, Any]
    tensors: dict[str, Tensor]

    def split(self, name: str) -> Split:
        """`train` is everything for training, and is `fit` and `holdout` together (A3); `test`.

        Raises: Refused for another name, or a hold-out split of a set that keeps none.
        """
        if name not in (known := ("train", "fit", "holdout", "test")):
            raise Refused(unknown("split", name, known))
        if name in ("train", "test"):
            return self._select(name, torch.arange(len(self.tensors[f"{name}_labels"])), whole=True)
        kept = torch.zeros(len(self.tensors["train_labels"]), dtype=torch.bool)
        kept[self.tensors["holdout"].long()] = True
        if name == "holdout" and not kept.any():
            raise Refused(
                f"data set '{self.name}' keeps no images aside; set holdout: in config.yaml"
            )
        return self._select("train", (kept if name == "holdout" else ~kept).nonzero()[:, 0])

    def _select(self, source: str, index: Tensor, whole: bool = False) -> Split:
        def column(part: str) -> Tensor | None:
            found = self.tensors.get(f"{source}_{part}")
            return found if found is None or whole else found[index]

        labels, coarse = column("labels").long(), column("coarse")
        coarse = None if coarse is None else coarse.long()
        if files := self._files() if source == "train" else ():
            chosen = files if whole else tuple(files[position] for position in index.tolist())
            return Split(self.tensors["train_images"], labels, coarse, index, chosen)
        boxes = column("boxes")
        boxes = None if boxes is None else boxes.long()
        return Split(column("images"), labels, coarse, index, boxes=boxes)

    def _files(self) -> tuple[Path, ...]:
        """Training pictures that stay in their files."""
        if "train_files" not in self.tensors:
            return ()
        names = self.tensors["train_files"].numpy().tobytes().split(b"\0")
        return tuple(Path(os.fsdecode(name)) for name in names)


def load(folder: Path, verify: bool = True) -> PreparedData:
    """Map a prepared data set into memory.

    Args:
        folder: where `prepare` wrote it.
        verify: compare the file with the digest in its manifest first (0.1-0.5 s for CIFAR).
    Raises: Refused when files are absent, damaged or unfinished.
    """
    manifest = read_json(folder / MANIFEST)
    with reading(folder / MANIFEST):
        expected, name = manifest["digests"][DATA], manifest["name"]
        names, coarse = tuple(manifest["class_names"]), manifest["coarse_names"]
    if verify:
        verify_digest(folder / DATA, expected)
    mend = "delete its manifest and run the same command again"
    tensors = read_tensors(folder / DATA, TENSORS, mend)
    with reading(folder / DATA, mend):
        _check(tensors, len(names))
    return PreparedData(name, names, coarse and tuple(coarse), manifest, tensors)


def _check(tensors: dict[str, Tensor], classes: int) -> None:
    """Raises ValueError when the tensors are not those of a data set."""
    for split in ("train", "test"):
        images, labels = tensors[f"{split}_images"], tensors[f"{split}_labels"]
        if images.ndim != 4 or images.dtype != torch.uint8 or labels.ndim != 1:
            raise ValueError(f"{split}: images {list(images.shape)}, labels {list(labels.shape)}")
        if len(images) not in (len(labels), 0) or (split == "test" and len(images) != len(labels)):
            raise ValueError(f"{split}: {len(images)} images and {len(labels)} labels")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError(f"{split}: labels beyond the {classes} classes")
    kept = tensors["holdout"]
    if len(kept) and not 0 <= int(kept.min()) <= int(kept.max()) < len(tensors["train_labels"]):
        raise ValueError("holdout: positions beyond the training images")
