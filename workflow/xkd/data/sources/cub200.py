"""CUB-200-2011, birds (Wah et al. 2011): `CUB_200_2011/` as it is unpacked.

images.txt, image_class_labels.txt, train_test_split.txt, bounding_boxes.txt   a picture a line
classes.txt                                                                    a class a line
images/<class>/*.jpg
"""

from pathlib import Path

from xkd.data.sources import FIND, Raw, lines
from xkd.data.sources._fine_grained import Example, folder_of, raw
from xkd.errors import Refused
from xkd.plan.settings import DatasetSettings

WHERE = "https://www.vision.caltech.edu/datasets/cub_200_2011/"


def read(root: Path, settings: DatasetSettings, download: bool = False) -> Raw:
    """The authors' split: 5,994 training and 5,794 test pictures.

    Raises: Refused when files are absent or damaged, or the tables do not fit together.
    """
    folder = folder_of(root, settings, "CUB_200_2011", WHERE)
    paths = _table(folder / "images.txt", 1)
    labels, split = (
        _table(folder / name, 1) for name in ("image_class_labels.txt", "train_test_split.txt")
    )
    boxes = _table(folder / "bounding_boxes.txt", 4)
    names = _table(folder / "classes.txt", 1)
    parts: dict[str, list[Example]] = {"1": [], "0": []}
    for number, (path,) in paths.items():
        try:
            left, top, width, height = map(float, boxes[number])
            box = (top, left, top + height, left + width)
            example = Example(folder / "images" / path, int(labels[number][0]) - 1, box)
            parts[split[number][0]].append(example)
        except (KeyError, ValueError):
            raise Refused(
                f"{folder}: the tables say no class, split or box of picture {number} ({path}); "
                f"unpack them again, or {FIND}"
            ) from None
    return raw(root, settings, parts["1"], parts["0"], [name for (name,) in names.values()])


def _table(path: Path, columns: int) -> dict[str, list[str]]:
    """First column -> the others. Raises Refused when there are fewer than said."""
    rows = [line.split() for line in lines(path)]
    if any(len(row) != columns + 1 for row in rows):
        raise Refused(f"{path} is damaged: expected {columns + 1} columns in every line; {FIND}")
    return {row[0]: row[1:] for row in rows}
