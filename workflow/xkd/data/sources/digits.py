"""The 8 × 8 digits that come with scikit-learn (Alpaydin & Kaynak, UCI, 1998): no download."""

import hashlib
from pathlib import Path

import numpy as np

from xkd.data.sources import Raw
from xkd.data.splits import class_balanced
from xkd.errors import Refused
from xkd.plan.settings import DatasetSettings

TEST_PER_CLASS = 50
TEST_SEED = 0  # never changed: it defines the test split
# Of all images, then all labels (int16, little-endian), in scikit-learn's order.
SHA256 = "13836bbdd306945d461b6b532bc0d4d9b2aa62cdd16fb016cfa0289708d82292"


def read(root: Path, settings: DatasetSettings, download: bool = False) -> Raw:
    """1,797 grey images; a fixed class-balanced 500 of them are the test split.

    The published set has no split of its own here, so 50 images of each class are drawn with a
    fixed seed. Grey values v in 0..16 become round(255 v / 16). `root` and `download` are unused.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int16)
    digest = hashlib.sha256(images.tobytes() + labels.astype("<i2").tobytes()).hexdigest()
    if digest != SHA256:
        raise Refused(
            f"scikit-learn's digits are not the 1,797 known ones: sha256 {digest[:12]}…, expected "
            f"{SHA256[:12]}…; install the version in envs/requirements.txt"
        )
    test = class_balanced(labels, TEST_PER_CLASS, TEST_SEED)
    train = np.setdiff1d(np.arange(len(labels)), test)
    return Raw(
        images[train],
        labels[train],
        images[test],
        labels[test],
        class_names=tuple(str(name) for name in bunch.target_names),
        provenance={"sklearn.datasets.load_digits": f"sha256:{digest}"},
        notes={"split": f"{TEST_PER_CLASS} test images per class, seed {TEST_SEED}"},
    )
