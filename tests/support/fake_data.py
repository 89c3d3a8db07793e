"""Data set settings as in the papers, and small fakes of published files."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from xkd.plan.settings import DatasetSettings

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
DIGITS = DatasetSettings(
    "digits", "digits", 10, 1, 8, (0.3058,), (0.3764,), pad=1, holdout=200,
    coarse={"round": ("0", "6", "8", "9"), "open": ("1", "2", "3", "4", "5", "7")},
)  # fmt: skip
MNIST = DatasetSettings("mnist", "mnist", 10, 1, 28, (0.1307,), (0.3081,), holdout=5000)
CIFAR10 = DatasetSettings(
    "cifar10", "cifar10", 10, 3, 32,
    (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), pad=4, flip=True, holdout=5000,
)  # fmt: skip
CIFAR100 = replace(
    CIFAR10, name="cifar100", source="cifar100", classes=100,
    mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761),
)  # fmt: skip
TINY = DatasetSettings(
    "tiny_imagenet_20", "tiny_imagenet", 20, 3, 64,
    (0.4802, 0.4481, 0.3975), (0.2764, 0.2689, 0.2816), pad=4, flip=True, holdout=1000,
)  # fmt: skip
SAMPLES = DatasetSettings("imagenet_samples", "imagenet_folder", 1000, 3, 224, *IMAGENET)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def grey(count: int, seed: int, size: int = 28, channels: int = 1) -> np.ndarray:
    shape = (count, channels, size, size)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def damaged_file(root: Path, name: str, how: str) -> None:
    path = next(root.rglob(name))
    content = path.read_bytes()
    if how == "absent":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
