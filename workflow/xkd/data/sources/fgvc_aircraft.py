"""FGVC-Aircraft (Maji et al. 2013), as torchvision unpacks it: `fgvc-aircraft-2013b/data/`.

variants.txt, families.txt, manufacturers.txt        the classes of the three label levels
images_<level>_{train,val,test}.txt                  a picture a line: number and class
images_box.txt                                       number and box
images/<number>.jpg

Which level is meant follows from the number of classes: 100 variants, 70 families, 30
manufacturers. The banner below every picture stays, as in torchvision.
"""

from pathlib import Path

from xkd.data.sources import FIND, Raw, contents, lines
from xkd.data.sources._fine_grained import Example, folder_of, raw
from xkd.errors import Refused
from xkd.plan.settings import DatasetSettings

LEVELS = {"variant": "variants", "family": "families", "manufacturer": "manufacturers"}
WHERE = "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/"


def read(root: Path, settings: DatasetSettings, download: bool = False) -> Raw:
    """6,667 pictures for training, the authors' train and val together; 3,333 test pictures.

    Raises: Refused when files are absent or damaged, or no level has as many classes as the config
        says.
    """
    folder = folder_of(root, settings, "fgvc-aircraft-2013b/data", WHERE)
    classes = {level: lines(folder / f"{names}.txt") for level, names in LEVELS.items()}
    fitting = [level for level, names in classes.items() if len(names) == settings.classes]
    if len(fitting) != 1:
        counts = ", ".join(f"{len(names)} of {level}" for level, names in classes.items())
        raise Refused(
            f"data set '{settings.name}': the config says classes: {settings.classes}, and "
            f"{folder} has {counts}; expected the number of one level"
        )
    (level,) = fitting
    label = {name.strip(): number for number, name in enumerate(classes[level])}
    boxes = {number: box.split() for number, box in _pairs(folder / "images_box.txt")}
    parts = {}
    for part in ("train", "val", "test"):
        table = folder / f"images_{level}_{part}.txt"
        parts[part] = [_example(folder, table, *row, label, boxes) for row in _pairs(table)]
    train = parts["train"] + parts["val"]
    return raw(root, settings, train, parts["test"], list(label))


def _example(
    folder: Path,
    table: Path,
    number: str,
    name: str,
    label: dict[str, int],
    boxes: dict[str, list[str]],
) -> Example:
    try:
        left, top, right, bottom = map(float, boxes[number])
        box = (top, left, bottom, right)
        return Example(folder / "images" / f"{number}.jpg", label[name], box)
    except (KeyError, ValueError):
        raise Refused(
            f"{table}: picture {number} has no box, or a class '{name}' that is not listed; unpack "
            f"it again, or {FIND}"
        ) from None


def _pairs(path: Path) -> list[list[str]]:
    """First word and rest of every line."""
    contents(path)
    rows = [line.strip().split(maxsplit=1) for line in lines(path)]
    if any(len(row) < 2 for row in rows):
        raise Refused(f"{path} is damaged: a line has one word, expected two or more; {FIND}")
    return rows
