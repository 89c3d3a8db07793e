"""A folder of ImageNet-like pictures of any size, named after the data set or by `folder`.

train/<wnid>/*.JPEG, val/<wnid>/*.JPEG   ImageNet as it is usually unpacked
<wnid>/*.JPEG                            pictures for evaluation only
labels.csv                               likewise, with the columns `file`, `class_index` and
                                         optionally `wnid`, `class_name`

Without a table, classes are numbered in the order of their folders' names.
"""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from xkd.data.sources import FIND, Raw, lines, torchvision_datasets
from xkd.data.sources._pictures import Pictures
from xkd.errors import Refused
from xkd.plan.settings import DatasetSettings

SUFFIXES = {".jpeg", ".jpg", ".png"}
NAMED = 5  # missing classes that a refusal names


class Listing(NamedTuple):
    """files: of the pictures; labels: of each; class_names: by label."""

    files: list[Path]
    labels: list[int]
    class_names: list[str]


NOTHING = Listing([], [], [])


def read(root: Path, settings: DatasetSettings, download: bool = False) -> Raw:
    """Validation pictures become the test split; training pictures stay in their files.

    Of a test picture the shorter side is resized to 8/7 of `size`, then the centre is cropped: at
    224 the usual resize to 256 (bilinear, antialiased). They stay in memory, 150 kB each at 224.
    Training pictures are only listed here: whoever trains on one decodes it, and refuses a damaged
    one by name. Nothing is downloaded: ImageNet's terms ask for a personal agreement.

    Raises: Refused when files are absent or damaged, or classes do not fit the config.
    """
    folder = root / (settings.folder or settings.name.replace("_", "-"))
    if not folder.is_dir():
        raise Refused(f"{folder} is missing; put the pictures there, or {FIND}")
    train, test = NOTHING, _evaluated(folder, settings)
    if (folder / "train").is_dir():
        _same_classes(folder, _classes(folder / "train"), test.class_names)
        train = _by_subfolder(folder / "train", settings)
    pictures, size = Pictures(), settings.size
    images = pictures.decode(test.files, size, lambda path, picture: _central(picture, size))
    provenance = {f"{folder.name}/**": pictures.digest}
    notes = {"evaluation_only": True, **pictures.notes(root)}
    if train.files:
        provenance[f"{folder.name}/train/**"] = _digest_of_names(folder, train.files)
        notes = {"test": "the published validation images", **pictures.notes(root)}
    without = settings.classes - len(set(test.labels))
    return Raw(
        np.empty((0, 3, size, size), np.uint8),
        np.array(train.labels, np.int16),
        images,
        np.array(test.labels, np.int16),
        class_names=tuple(test.class_names),
        provenance=provenance,
        notes=notes | ({"classes_without_test_image": without} if without else {}),
        train_files=tuple(path.relative_to(root).as_posix() for path in train.files),
    )


def _evaluated(folder: Path, settings: DatasetSettings) -> Listing:
    if (folder / "labels.csv").is_file():
        return _listed(folder, settings)
    whole = (folder / "train").is_dir() or (folder / "val").is_dir()
    return _by_subfolder(folder / "val" if whole else folder, settings)


def _central(picture: Image.Image, size: int) -> Image.Image:
    torchvision_datasets()
    from torchvision.transforms import functional

    return functional.center_crop(functional.resize(picture, round(size * 8 / 7)), [size, size])


def _listed(folder: Path, settings: DatasetSettings) -> Listing:
    table = folder / "labels.csv"
    rows = list(csv.DictReader(lines(table)))
    if not rows or not {"file", "class_index"} <= rows[0].keys():
        raise Refused(f"{table} has no rows with the columns file, class_index; {FIND}")
    names = [str(index) for index in range(settings.classes)]
    files, labels = [], []
    for row in rows:
        index = row["class_index"] or ""
        if not index.isdecimal() or int(index) >= settings.classes:
            raise Refused(
                f"{table} gives {row['file']} the class_index '{index}', expected a "
                f"number below {settings.classes}; mend it, or classes: of '{settings.name}'"
            )
        label = int(index)
        names[label] = row.get("class_name") or names[label]
        flat, nested = folder / row["file"], folder / (row.get("wnid") or "") / row["file"]
        files.append(nested if nested.is_file() else flat)
        labels.append(label)
    return Listing(files, labels, names)


def _by_subfolder(folder: Path, settings: DatasetSettings) -> Listing:
    classes = _classes(folder)
    if len(classes) != settings.classes:
        raise Refused(
            f"{folder} has {len(classes)} class folders and no labels.csv, the config says "
            f"classes: {settings.classes}; add labels.csv, mend the config, or {FIND}"
        )
    files, labels, empty = [], [], []
    for label, name in enumerate(classes):
        of_class = sorted(
            file for file in (folder / name).iterdir() if file.suffix.lower() in SUFFIXES
        )
        files += of_class
        labels += [label] * len(of_class)
        empty += [] if of_class else [name]
    if empty:
        raise Refused(
            f"{folder} has no picture of {_some(empty)}; expected some of each of "
            f"{settings.classes} classes; unpack it again, or {FIND}"
        )
    return Listing(files, labels, classes)


def _classes(folder: Path) -> list[str]:
    """Names of the class folders. Raises Refused when there is no such folder."""
    if not folder.is_dir():
        raise Refused(f"{folder} is missing; expected a folder per class there, or {FIND}")
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def _same_classes(folder: Path, train: Sequence[str], test: Sequence[str]) -> None:
    for part, other, there, here in (
        ("val", "train", set(train), set(test)),
        ("train", "val", set(test), set(train)),
    ):
        if missing := sorted(there - here):
            raise Refused(
                f"{folder / part} lacks {_some(missing)}, which {folder / other} has; unpack it "
                f"again, or {FIND}"
            )


def _some(classes: Sequence[str]) -> str:
    """`2 classes (n01, n02)`."""
    more = ", ..." if len(classes) > NAMED else ""
    return f"{len(classes)} class{'es' * (len(classes) > 1)} ({', '.join(classes[:NAMED])}{more})"


def _digest_of_names(folder: Path, files: Sequence[Path]) -> str:
    """Of names and sizes: the contents of ImageNet's training pictures are 140 GB.

    Raises: Refused when files are empty, as an interrupted copy leaves them.
    """
    sizes = [path.stat().st_size for path in files]
    if empty := [str(path) for path, size in zip(files, sizes, strict=True) if not size]:
        raise Refused(
            f"{len(empty)} of {len(files)} pictures are damaged, being empty: "
            f"{', '.join(empty[:NAMED])}; put the originals there, or {FIND}"
        )
    digest = hashlib.sha256()
    for path, size in zip(files, sizes, strict=True):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\n".encode())
    return f"names-and-sizes-sha256:{digest.hexdigest()}"
