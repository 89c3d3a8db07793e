"""MNIST (LeCun, Cortes & Burges): `MNIST/raw/*.gz`, the layout that torchvision makes."""

import gzip
from pathlib import Path

import numpy as np

from xkd.data.sources import Raw, fetch, intact, torchvision_datasets, verified
from xkd.errors import Refused
from xkd.plan.settings import DatasetSettings


def read(root: Path, settings: DatasetSettings, download: bool = False) -> Raw:
    """60,000 training and 10,000 test images, from the compressed originals.

    The MD5s published with torchvision are those of the `.gz` files, so these are what is read;
    the decompressed copies beside them, which carry no checksum, are not.

    Raises: Refused when a file is absent, damaged or cannot be fetched.
    """
    mnist = torchvision_datasets().MNIST
    folder = root / "MNIST" / "raw"
    parts, provenance = {}, {}
    for name, md5 in mnist.resources:
        if download and not intact(folder / name, md5):
            _fetch(mnist.mirrors, name, folder, md5)
        parts[name] = _idx(gzip.decompress(verified(folder / name, md5)))
        provenance[f"MNIST/raw/{name}"] = f"md5:{md5}"
    return Raw(
        parts["train-images-idx3-ubyte.gz"][:, None],
        parts["train-labels-idx1-ubyte.gz"],
        parts["t10k-images-idx3-ubyte.gz"][:, None],
        parts["t10k-labels-idx1-ubyte.gz"],
        class_names=tuple("0123456789"),
        provenance=provenance,
    )


def _fetch(mirrors: list[str], name: str, folder: Path, md5: str) -> None:
    for mirror in mirrors[:-1]:
        try:
            return fetch(mirror + name, folder, md5)
        except Refused:
            continue
    return fetch(mirrors[-1] + name, folder, md5)


def _idx(content: bytes) -> np.ndarray:
    """An IDX file of bytes: two zeros, type 8, number of axes, their lengths (big-endian), data."""
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
