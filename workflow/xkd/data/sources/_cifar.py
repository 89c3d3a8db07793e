"""What CIFAR-10 and CIFAR-100 share: the "python version", pickled batches with published MD5s."""

import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xkd.data.sources import fetch, intact, verified


class Files(NamedTuple):
    """train, test: batches as dictionaries; meta: class names; provenance as in `Raw`."""

    train: list[dict[str, Any]]
    test: list[dict[str, Any]]
    meta: dict[str, list[str]]
    provenance: dict[str, str]


def read_files(root: Path, published: Any, download: bool) -> Files:
    """Every file of the set, unpickled only after its MD5 proved it to be the published one.

    Args:
        published: `torchvision.datasets.CIFAR10` or `CIFAR100`, for its list of files and MD5s.
    """
    folder = root / published.base_folder
    meta_file = (published.meta["filename"], published.meta["md5"])
    listed = [*published.train_list, *published.test_list, meta_file]
    if download and not all(intact(folder / name, md5) for name, md5 in listed):
        fetch(published.url, root, published.tgz_md5, unpack=True)
    # The verified bytes themselves are unpickled, so no one can exchange the file in between.
    opened = {
        name: pickle.loads(verified(folder / name, md5), encoding="latin1") for name, md5 in listed
    }
    return Files(
        [opened[name] for name, _ in published.train_list],
        [opened[name] for name, _ in published.test_list],
        opened[meta_file[0]],
        {f"{published.base_folder}/{name}": f"md5:{md5}" for name, md5 in listed},
    )


def images(batches: list[dict[str, Any]]) -> np.ndarray:
    """[N, 3, 32, 32]"""
    return np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)


def labels(batches: list[dict[str, Any]], key: str) -> np.ndarray:
    """[N], int16; key: `labels`, `fine_labels` or `coarse_labels`."""
    return np.concatenate([np.asarray(batch[key], np.int16) for batch in batches])
