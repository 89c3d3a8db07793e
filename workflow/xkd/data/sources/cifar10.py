"""CIFAR-10 (Krizhevsky, 2009): `cifar-10-batches-py/`, the "python version"."""

from pathlib import Path

from xkd.data.sources import Raw, torchvision_datasets
from xkd.data.sources._cifar import images, labels, read_files
from xkd.plan.settings import DatasetSettings


def read(root: Path, settings: DatasetSettings, download: bool = False) -> Raw:
    """50,000 training and 10,000 test images, in the published order.

    Raises: Refused when a file is absent, damaged or cannot be fetched.
    """
    files = read_files(root, torchvision_datasets().CIFAR10, download)
    return Raw(
        images(files.train),
        labels(files.train, "labels"),
        images(files.test),
        labels(files.test, "labels"),
        class_names=tuple(files.meta["label_names"]),
        provenance=files.provenance,
    )
