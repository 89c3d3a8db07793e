"""One data set, verified and written as `data.safetensors` and, last of all, `manifest.json`."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from xkd.data import DATA, MANIFEST, sources
from xkd.data.sources import Raw
from xkd.data.splits import class_balanced
from xkd.errors import Refused
from xkd.files import atomic, digest, write_json
from xkd.plan.settings import DatasetSettings

NORMALISATION_TOLERANCE = 0.02  # on the [0, 1] scale; constants in print differ by less
SUBSET_TOLERANCE = 0.04  # a few classes are normalised like the whole set, and stray further


def prepare(
    settings: DatasetSettings, data_root: Path, out: Path, download: bool = False
) -> dict[str, Any]:
    """Read, check and write a data set; the manifest it returns names everything a result needs.

    Args:
        data_root: where the published files are, or are downloaded to.
        out: folder of the prepared data set; complete once it holds a manifest.
    Raises: Refused when files are absent or damaged, or do not fit the settings.
    """
    raw = sources.read(data_root, settings, download)
    _check_shape(raw, settings)
    raw = _with_superclasses(raw, settings)
    normalisation = _normalisation(raw, settings)
    holdout = _holdout(raw, settings)

    with atomic(out / DATA) as temporary:
        # As bytes, since the library's own file writer hides why a disk refused.
        temporary.write_bytes(safetensors.numpy.save(_tensors(raw, holdout)))
        (out / MANIFEST).unlink(missing_ok=True)
    manifest = {
        "name": settings.name,
        "source": settings.source,
        "notes": dict(raw.notes),
        "image": [settings.channels, settings.size, settings.size],
        "counts": {
            "train": len(raw.train_labels),
            "holdout": len(holdout),
            "test": len(raw.test_labels),
        },
        "normalisation": normalisation,
        "class_names": raw.class_names,
        "coarse_names": raw.coarse_names,
        "per_class": {
            "train": _per_class(raw.train_labels, settings),
            "holdout": _per_class(raw.train_labels[holdout], settings),
            "test": _per_class(raw.test_labels, settings),
        },
        "sources": raw.provenance,
        "digests": {DATA: digest(out / DATA)},
    }
    write_json(out / MANIFEST, manifest)
    if others := raw.notes.get("no_pictures"):
        files = "1 file is no picture" if others == 1 else f"{others} files are no pictures"
        print(f"{settings.name}: {files}, left out: {raw.notes['files_that_are_no_pictures']}")
    return manifest


def _check_shape(raw: Raw, settings: DatasetSettings) -> None:
    """Raises Refused when classes, channels, size or labels are not what the config says."""
    name = settings.name
    if len(raw.class_names) != settings.classes:
        raise Refused(
            f"data set '{name}' has {len(raw.class_names)} classes, the config says "
            f"classes: {settings.classes}; mend the entry in config.yaml"
        )
    expected = (settings.channels, settings.size, settings.size)
    for images, labels, files in (
        (raw.train_images, raw.train_labels, raw.train_files),
        (raw.test_images, raw.test_labels, ()),
    ):
        if images.shape[1:] != expected:
            raise Refused(
                f"images of data set '{name}' are {images.shape[1:]} (channels, height, width), "
                f"the config says {expected}; mend channels: or size: in config.yaml"
            )
        if (count := len(images) + len(files)) != len(labels):
            raise Refused(f"data set '{name}' has {count} images but {len(labels)} labels")
        if len(labels) and not (labels.min() >= 0 and labels.max() < settings.classes):
            raise Refused(
                f"labels of data set '{name}' run from {labels.min()} to {labels.max()}, "
                f"expected 0 to {settings.classes - 1}"
            )
    if not len(raw.test_labels):
        raise Refused(f"data set '{name}' has no test images")
    per_class = _per_class(raw.train_labels, settings)
    if len(raw.train_labels) and 0 in per_class:
        raise Refused(f"data set '{name}' has no training image of class {per_class.index(0)}")


def _with_superclasses(raw: Raw, settings: DatasetSettings) -> Raw:
    """The config's superclasses, where the source brings none.

    Raises: Refused when there are two answers, or a class is in no superclass or in two.
    """
    if settings.coarse is None:
        return raw
    if raw.coarse_names:
        raise Refused(
            f"data set '{settings.name}' has its own superclasses; remove coarse: in config.yaml"
        )
    listed = [str(name) for members in settings.coarse.values() for name in members]
    if sorted(listed) != sorted(raw.class_names):
        wrong = sorted(set(listed) ^ set(raw.class_names)) or sorted(
            {name for name in listed if listed.count(name) > 1}
        )
        raise Refused(
            f"coarse: of data set '{settings.name}' must name each class once; look at "
            f"{', '.join(wrong)}; classes: {', '.join(raw.class_names)}"
        )
    of_class = {
        str(name): coarse
        for coarse, members in enumerate(settings.coarse.values())
        for name in members
    }
    table = np.array([of_class[name] for name in raw.class_names], np.int16)
    return raw._replace(
        train_coarse=table[raw.train_labels],
        test_coarse=table[raw.test_labels],
        coarse_names=tuple(settings.coarse),
    )


def _normalisation(raw: Raw, settings: DatasetSettings) -> dict[str, list[float]]:
    """What the config says and what the training images have, per channel on the [0, 1] scale.

    Raises: Refused when they differ by more than the tolerance: most likely another set's values.
    """
    used = {"mean": list(settings.mean), "std": list(settings.std)}
    if not len(raw.train_images):
        return used
    mean, std = pixel_statistics(raw.train_images)
    measured = {
        "measured_mean": [round(value, 4) for value in mean],
        "measured_std": [round(value, 4) for value in std],
    }
    found, expected = np.array([mean, std]), np.array([settings.mean, settings.std])
    tolerance = SUBSET_TOLERANCE if "subset" in raw.notes else NORMALISATION_TOLERANCE
    if found.shape != expected.shape or np.abs(found - expected).max() > tolerance:
        raise Refused(
            f"normalisation of data set '{settings.name}' is mean {used['mean']}, std "
            f"{used['std']}, but its training images have mean {measured['measured_mean']}, "
            f"std {measured['measured_std']}; correct mean: and std: of its entry"
        )
    return used | measured


def pixel_statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation over all pixels, per channel, on the [0, 1] scale.

    Args:
        images: uint8, [N, C, H, W]; counted by grey value, so the result is exact.
    """
    value = np.arange(256) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = np.zeros(256, np.int64)
        for part in np.array_split(images[:, channel], max(1, len(images) // 1000)):
            counts += np.bincount(part.ravel(), minlength=256)
        weight = counts / counts.sum()
        means.append(float(weight @ value))
        stds.append(float(np.sqrt(weight @ (value - means[-1]) ** 2)))
    return means, stds


def _holdout(raw: Raw, settings: DatasetSettings) -> np.ndarray:
    """Training images kept aside for searches (A3), equally many of each class: positions, int32.

    Raises: Refused when the number cannot be split equally, or a class has too few images.
    """
    per_class, rest = divmod(settings.holdout, settings.classes)
    if rest:
        raise Refused(
            f"data set '{settings.name}': holdout: {settings.holdout} is no multiple of its "
            f"{settings.classes} classes"
        )
    return class_balanced(raw.train_labels, per_class, settings.holdout_seed).astype(np.int32)


def _tensors(raw: Raw, holdout: np.ndarray) -> dict[str, np.ndarray]:
    tensors = {
        "train_images": raw.train_images,
        "train_labels": raw.train_labels.astype(np.int16),
        "test_images": raw.test_images,
        "test_labels": raw.test_labels.astype(np.int16),
        "holdout": holdout,
    }
    if raw.train_files:
        names = b"\0".join(map(os.fsencode, raw.train_files))
        tensors["train_files"] = np.frombuffer(names, np.uint8)
    if raw.test_boxes is not None:
        tensors["test_boxes"] = raw.test_boxes.astype(np.int16)
    if raw.coarse_names:
        tensors["train_coarse"] = raw.train_coarse.astype(np.int16)
        tensors["test_coarse"] = raw.test_coarse.astype(np.int16)
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _per_class(labels: np.ndarray, settings: DatasetSettings) -> list[int]:
    return np.bincount(labels.astype(np.int64), minlength=settings.classes).tolist()
