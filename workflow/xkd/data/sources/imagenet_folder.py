"""A folder of ImageNet-like pictures of any size, named after the data set or by `folder`.

train/<wnid>/*.JPEG, val/<wnid>/*.JPEG   ImageNet as it is usually unpacked
<wnid>/*.JPEG                            pictures for evaluation only
labels.csv                               likewise, with the columns `file`, `class_index` and
                                         optionally `wnid`, `class_name`

Without a table, classes are numbered in the order of their folders' names, and a class has the
pictures at any depth below its folder.
"""

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from xkd.data.sources import FIND, Raw, text, torchvision_datasets
from xkd.data.sources._pictures import NAMED, Pictures, below, relative, some, subfolders
from xkd.errors import Refused
from xkd.plan.settings import DatasetSettings


class Listing(NamedTuple):
    """files: of the pictures; labels: of each; class_names: by label; others: no pictures."""

    files: list[Path]
    labels: list[int]
    class_names: list[str]
    others: list[Path]


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
    train, test = Listing([], [], [], []), _evaluated(folder, settings)
    if (folder / "train").is_dir():
        _same_classes(folder, subfolders(folder / "train"), test.class_names)
        train = _by_subfolder(folder / "train", settings)
    pictures, size = Pictures(), settings.size
    images = pictures.decode(test.files, size, lambda path, picture: _central(picture, size))
    provenance = {f"{folder.name}/**": pictures.digest}
    notes = {"evaluation_only": True, **pictures.notes(root)}
    if train.files:
        provenance[f"{folder.name}/train/**"] = _digest_of_names(folder, train.files)
        notes = {"test": "the published validation images", **pictures.notes(root)}
    if without := settings.classes - len(set(test.labels)):
        notes["classes_without_test_image"] = without
    if others := relative([*train.others, *test.others], root):
        notes |= {"no_pictures": len(others), "files_that_are_no_pictures": some(others)}
    return Raw(
        np.empty((0, 3, size, size), np.uint8),
        np.array(train.labels, np.int16),
        images,
        np.array(test.labels, np.int16),
        class_names=tuple(test.class_names),
        provenance=provenance,
        notes=notes,
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
    names = [str(index) for index in range(settings.classes)]
    files, labels = [], []
    for row in _rows(folder / "labels.csv"):
        index = row["class_index"]
        if not re.fullmatch(r"[0-9]{1,9}", index) or int(index) >= settings.classes:
            raise Refused(
                f"{folder / 'labels.csv'} gives {row['file']} the class_index '{index}', expected "
                f"a number below {settings.classes}; mend it, or classes: of '{settings.name}'"
            )
        label = int(index)
        names[label] = row.get("class_name") or names[label]
        flat, nested = folder / row["file"], folder / row.get("wnid", "") / row["file"]
        files.append(nested if nested.is_file() else flat)
        labels.append(label)
    return Listing(files, labels, names, [])


def _rows(table: Path) -> Iterator[dict[str, str]]:
    """The rows of `labels.csv` that hold anything, by column.

    Spreadsheets write commas, semicolons or tabs, as the language of the system has it, and rows of
    nothing but these.

    Raises: Refused when the columns `file` and `class_index` are not there, or nothing is in them.
    """
    content = text(table)
    header = content.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    rows = csv.reader(io.StringIO(content), delimiter=delimiter)
    try:
        filled = [[cell.strip() for cell in row] for row in rows if any(map(str.strip, row))]
    except csv.Error as problem:
        raise Refused(f"{table} is no table ({problem}); save it as CSV, or {FIND}") from None
    columns = [name.lower() for name in filled[0]] if filled else []
    if not {"file", "class_index"} <= set(columns) or len(filled) < 2:
        raise Refused(
            f"{table} has {max(0, len(filled) - 1)} rows with the columns "
            f"{', '.join(columns) or '(none)'}; expected some with file, class_index; mend it, "
            f"or {FIND}"
        )
    for cells in filled[1:]:
        cells += [""] * (len(columns) - len(cells))
        yield dict(zip(columns, cells, strict=False))


def _by_subfolder(folder: Path, settings: DatasetSettings) -> Listing:
    classes = subfolders(folder)
    if len(classes) != settings.classes:
        raise Refused(
            f"{folder} has {len(classes)} class folders and no labels.csv, the config says "
            f"classes: {settings.classes}; add labels.csv, mend the config, or {FIND}"
        )
    listing, empty = Listing([], [], classes, []), []
    for label, name in enumerate(classes):
        found = below(folder / name)
        listing.files.extend(found.pictures)
        listing.labels.extend([label] * len(found.pictures))
        listing.others.extend(found.others)
        empty += [] if found.pictures else [name]
    if empty:
        raise Refused(
            f"{folder} has no picture of {_some(empty)}; expected some of each of "
            f"{settings.classes} classes; unpack it again, or {FIND}"
        )
    return listing


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

    Raises: Refused when files are empty, as an interrupted copy leaves them, or links to nothing.
    """
    digest, unusable = hashlib.sha256(), []
    for path in files:
        try:
            size = path.stat().st_size
        except OSError as problem:
            unusable.append(f"{path} ({problem.strerror})")
            continue
        if not size:
            unusable.append(f"{path} (empty)")
        name = os.fsencode(path.relative_to(folder).as_posix())
        digest.update(b"%b\0%d\n" % (name, size))
    if unusable:
        raise Refused(
            f"{len(unusable)} of {len(files)} pictures cannot be used: {some(unusable)}; put the "
            f"originals there, or {FIND}"
        )
    return f"names-and-sizes-sha256:{digest.hexdigest()}"
