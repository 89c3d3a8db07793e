"""Tiny-ImageNet (Stanford CS231n): `tiny-imagenet-200/`, or a subset in the same layout.

wnids.txt                               class order
words.txt                               wnid, tab, names
train/<wnid>/images/<wnid>_<n>.JPEG     500 per class
val/images/val_<n>.JPEG                 50 per class; their wnids are in val/val_annotations.txt
"""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from xkd.data.sources import FIND, FIND_OR_FETCH, Raw, fetch, lines
from xkd.data.sources._pictures import Pictures
from xkd.errors import Refused
from xkd.plan.settings import DatasetSettings

CLASSES, TRAIN_PER_CLASS, TEST_PER_CLASS, SIZE = 200, 500, 50, 64
URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
ZIP_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"


def read(root: Path, settings: DatasetSettings, download: bool = False) -> Raw:
    """The validation images are the test split: the published test images have no labels.

    The folder is `tiny-imagenet-<classes>` unless the config says another, so `classes: 20` reads
    a subset of 20 classes, which the notes then call one: its results are not results on
    Tiny-ImageNet.

    Raises: Refused when a file is absent or damaged, or the number of images is not the published.
    """
    folder = root / (settings.folder or f"tiny-imagenet-{settings.classes}")
    subset = settings.classes != CLASSES
    fetchable = not subset and settings.folder is None
    if download and fetchable and not (folder / "val" / "val_annotations.txt").is_file():
        fetch(URL, root, ZIP_MD5, unpack=True)
    if not folder.is_dir():
        raise Refused(f"{folder} is missing; {FIND_OR_FETCH if fetchable else FIND}")
    wnids = lines(folder / "wnids.txt")
    if len(wnids) != settings.classes:
        raise Refused(
            f"{folder / 'wnids.txt'} lists {len(wnids)} classes, "
            f"the config says classes: {settings.classes}; {FIND}"
        )
    words = dict(_pairs(folder / "words.txt"))
    train, test = _training_files(folder, wnids), _validation_files(folder, wnids)
    pictures = Pictures()
    return Raw(
        pictures.decode([path for path, _ in train], SIZE, _as_it_is),
        np.array([label for _, label in train], np.int16),
        pictures.decode([path for path, _ in test], SIZE, _as_it_is),
        np.array([label for _, label in test], np.int16),
        class_names=tuple(words.get(wnid, wnid).split(",")[0].strip() for wnid in wnids),
        provenance={f"{folder.name}/**/*.JPEG": pictures.digest},
        notes={"test": "the published validation images", **pictures.notes(root)}
        | ({"subset": f"{len(wnids)} of the {CLASSES} classes of Tiny-ImageNet"} if subset else {}),
    )


def _training_files(folder: Path, wnids: list[str]) -> list[tuple[Path, int]]:
    files = []
    for label, wnid in enumerate(wnids):
        of_class = sorted((folder / "train" / wnid / "images").glob("*.JPEG"), key=_number)
        _complete(folder / "train" / wnid / "images", len(of_class), TRAIN_PER_CLASS)
        files += [(path, label) for path in of_class]
    return files


def _validation_files(folder: Path, wnids: list[str]) -> list[tuple[Path, int]]:
    annotations = folder / "val" / "val_annotations.txt"
    labels = {wnid: label for label, wnid in enumerate(wnids)}
    files = []
    for name, wnid in _pairs(annotations):
        if wnid not in labels:
            raise Refused(
                f"{annotations} names class {wnid}, which wnids.txt does not list; {FIND}"
            )
        files.append((folder / "val" / "images" / name, labels[wnid]))
    _complete(annotations, len(files), TEST_PER_CLASS * len(wnids))
    return sorted(files, key=lambda file: _number(file[0]))


def _as_it_is(path: Path, picture: Image.Image) -> Image.Image:
    if picture.size != (SIZE, SIZE):
        raise Refused(f"{path} is {picture.size} pixels, expected {(SIZE, SIZE)}; {FIND}")
    return picture


def _complete(where: Path, found: int, expected: int) -> None:
    if found != expected:
        raise Refused(
            f"{where} has {found} images, expected {expected}; unpack it again, or {FIND}"
        )


def _pairs(path: Path) -> list[list[str]]:
    """The first two columns of a table whose columns are parted by tabs."""
    rows = [line.split("\t")[:2] for line in lines(path)]
    if any(len(row) < 2 for row in rows):
        raise Refused(f"{path} is damaged: a line has one column, expected two or more; {FIND}")
    return rows


def _number(path: Path) -> int:
    return int((re.findall(r"\d+", path.stem) or ["0"])[-1])
