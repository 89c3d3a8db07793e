"""Stanford Cars (Krause et al. 2013), in the folders that torchvision expects: `stanford_cars/`.

devkit/cars_meta.mat, devkit/cars_train_annos.mat, cars_test_annos_withlabels.mat
cars_train/*.jpg, cars_test/*.jpg

The authors' server is gone; torchvision's documentation says where copies are.
"""

from pathlib import Path
from typing import Any

from xkd.data.sources import FIND, Raw, contents
from xkd.data.sources._fine_grained import Example, folder_of, raw
from xkd.errors import Refused
from xkd.plan.settings import DatasetSettings

WHERE = "a copy that the documentation of torchvision.datasets.StanfordCars names"


def read(root: Path, settings: DatasetSettings, download: bool = False) -> Raw:
    """The authors' split: 8,144 training and 8,041 test pictures.

    Raises: Refused when files are absent or damaged.
    """
    folder = folder_of(root, settings, "stanford_cars", WHERE)
    names = [str(name) for name in _read(folder / "devkit" / "cars_meta.mat", "class_names")]
    train = _examples(folder / "devkit" / "cars_train_annos.mat", folder / "cars_train")
    test = _examples(folder / "cars_test_annos_withlabels.mat", folder / "cars_test")
    return raw(root, settings, train, test, names)


def _examples(table: Path, pictures: Path) -> list[Example]:
    try:
        return [
            Example(
                pictures / str(row["fname"]),
                int(row["class"]) - 1,
                tuple(float(row[f"bbox_{edge}"]) for edge in ("y1", "x1", "y2", "x2")),
            )
            for row in _read(table, "annotations")
        ]
    except (ValueError, TypeError, IndexError) as problem:
        raise Refused(
            f"{table} is damaged ({problem}); put the original there, or {FIND}"
        ) from None


def _read(path: Path, name: str) -> Any:
    """A variable of a MATLAB file, as numpy reads it. Raises Refused when it is not there."""
    from scipy.io import loadmat

    contents(path)
    try:
        return loadmat(path, squeeze_me=True)[name]
    except (KeyError, ValueError, TypeError, OSError, NotImplementedError) as problem:
        reason = " ".join(str(problem).split())
        raise Refused(
            f"{path} is damaged, or has no '{name}' ({reason}); put the original there, or {FIND}"
        ) from None
