"""A folder of ImageNet-like pictures of any size, for evaluation: there are no training images.

The folder is named after the data set (`imagenet_samples` -> `imagenet-samples/`). Either a
`labels.csv` with the columns `file`, `class_index` and optionally `wnid`, `class_name` lists the
pictures, or there is one subfolder per class, and classes are numbered in the order of their names.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from xkd.data.sources import FIND, Raw, lines, torchvision_datasets
from xkd.data.sources._pictures import Pictures
from xkd.errors import Refused
from xkd.settings import DatasetSettings

SUFFIXES = {".jpeg", ".jpg", ".png"}


class Listing(NamedTuple):
    files: list[Path]
    labels: list[int]
    class_names: list[str]


def read(root: Path, settings: DatasetSettings, download: bool = False) -> Raw:
    """All pictures become the test split: shorter side resized to 8/7 of `size`, centre cropped.

    At size 224 this is the usual resize to 256 (bilinear, antialiased). Nothing is downloaded:
    ImageNet's terms ask for a personal agreement. Images stay in memory, 150 kB each at 224.

    Raises: Refused when files are absent or damaged, or classes do not fit the config.
    """
    folder = root / settings.name.replace("_", "-")
    if not folder.is_dir():
        raise Refused(f"{folder} is missing; put the pictures there, or {FIND}")
    listing = (_listed if (folder / "labels.csv").is_file() else _by_subfolder)(folder, settings)
    pictures = Pictures()
    images = np.empty((len(listing.files), 3, settings.size, settings.size), np.uint8)
    for image, path in zip(images, listing.files, strict=True):
        image[:] = np.asarray(_central(pictures.open(path), settings.size)).transpose(2, 0, 1)
    return Raw(
        np.empty((0, 3, settings.size, settings.size), np.uint8),
        np.empty(0, np.int16),
        images,
        np.array(listing.labels, np.int16),
        class_names=tuple(listing.class_names),
        provenance={f"{folder.name}/**": pictures.digest},
        notes={"evaluation_only": True, "grey_images": pictures.grey},
    )


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
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    if len(classes) != settings.classes:
        raise Refused(
            f"{folder} has {len(classes)} class folders and no labels.csv, the config says "
            f"classes: {settings.classes}; add labels.csv, mend the config, or {FIND}"
        )
    files, labels = [], []
    for label, path in enumerate(classes):
        of_class = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        files += of_class
        labels += [label] * len(of_class)
    return Listing(files, labels, [path.name for path in classes])
