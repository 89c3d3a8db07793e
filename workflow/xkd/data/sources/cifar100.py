"""CIFAR-100 (Krizhevsky, 2009): `cifar-100-python/`, with its 20 superclasses."""

from pathlib import Path

from xkd.data.sources import Raw, torchvision_datasets
from xkd.data.sources._cifar import images, labels, read_files
from xkd.plan.settings import DatasetSettings


def read(root: Path, settings: DatasetSettings, download: bool = False) -> Raw:
    """50,000 training and 10,000 test images with fine and coarse labels, in the published order.

    Raises: Refused when a file is absent, damaged or cannot be fetched.
    """
    files = read_files(root, torchvision_datasets().CIFAR100, download)
    return Raw(
        images(files.train),
        labels(files.train, "fine_labels"),
        images(files.test),
        labels(files.test, "fine_labels"),
        class_names=tuple(files.meta["fine_label_names"]),
        provenance=files.provenance,
        train_coarse=labels(files.train, "coarse_labels"),
        test_coarse=labels(files.test, "coarse_labels"),
        coarse_names=tuple(files.meta["coarse_label_names"]),
    )
