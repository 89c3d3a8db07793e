"""What sets of fine-grained classes share: a list of pictures with a box around each object."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from xkd.data.sources import FIND, Raw, torchvision_datasets
from xkd.data.sources._pictures import Pictures
from xkd.errors import Refused
from xkd.plan.settings import DatasetSettings

Box = tuple[float, float, float, float]  # top, left, bottom, right, in pixels


class Example(NamedTuple):
    """One picture: its file, its label from 0, and where its object is."""

    path: Path
    label: int
    box: Box


def raw(
    root: Path,
    settings: DatasetSettings,
    train: Sequence[Example],
    test: Sequence[Example],
    class_names: Sequence[str],
) -> Raw:
    """Training pictures stay in their files; test pictures are resized, then their centre cropped.

    The shorter side becomes 8/7 of `size`, as for ImageNet. Boxes follow, cut off at the borders.

    Raises: Refused when pictures are absent or damaged, or the number of classes is another.
    """
    if len(class_names) != settings.classes:
        raise Refused(
            f"data set '{settings.name}' has {len(class_names)} classes, the config says classes: "
            f"{settings.classes}; mend the config, or {FIND}"
        )
    absent = [str(example.path) for example in train if not example.path.is_file()]
    if absent:
        raise Refused(
            f"{len(absent)} of {len(train)} training pictures of '{settings.name}' are missing, "
            f"first {absent[0]}; unpack them again, or {FIND}"
        )
    size, boxes = settings.size, []
    where = {example.path: example.box for example in test}

    def fit(path: Path, picture: Image.Image) -> Image.Image:
        fitted, box = central(picture, where[path], size)
        boxes.append(box)
        return fitted

    pictures = Pictures()
    images = pictures.decode([example.path for example in test], size, fit)
    return Raw(
        np.empty((0, 3, size, size), np.uint8),
        np.array([example.label for example in train], np.int16),
        images,
        np.array([example.label for example in test], np.int16),
        class_names=tuple(class_names),
        provenance={f"{settings.name}, test pictures": pictures.digest},
        notes=pictures.notes(root),
        train_files=tuple(example.path.relative_to(root).as_posix() for example in train),
        test_boxes=np.array(boxes, np.int16),
    )


def central(
    picture: Image.Image, box: Box, size: int
) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """The middle of a picture, `size` × `size`, and where the box is in it."""
    torchvision_datasets()
    from torchvision.transforms import functional

    large = functional.resize(picture, round(size * 8 / 7))
    down, across = large.height / picture.height, large.width / picture.width
    top, left = round((large.height - size) / 2), round((large.width - size) / 2)
    first, last = (edge * down - top for edge in box[::2])
    start, end = (edge * across - left for edge in box[1::2])
    inside = tuple(min(max(round(edge), 0), size) for edge in (first, start, last, end))
    return functional.center_crop(large, [size, size]), inside


def folder_of(root: Path, settings: DatasetSettings, usual: str, where: str) -> Path:
    """The data set's folder. Raises Refused, with the place to get it from, when there is none."""
    folder = root / (settings.folder or usual)
    if not folder.is_dir():
        raise Refused(
            f"{folder} is missing; get the pictures from {where} and unpack them there, or {FIND}"
        )
    return folder
