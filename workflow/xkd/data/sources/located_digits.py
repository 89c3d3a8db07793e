"""Located digits: scikit-learn's 8 × 8 digits at random places of a noisy canvas; no download.

Where the digit lies is known, so an explanation can be checked against it.
"""

import hashlib
from pathlib import Path

import numpy as np

from xkd.data.sources import Raw, digits
from xkd.errors import Refused
from xkd.plan.settings import DatasetSettings

DIGIT = 8  # pixels a side
TRAIN_DIGITS, TRAIN, TEST = 1300, 6000, 300  # digits to draw from; canvases
NOISE = 63  # largest grey value of the background, a quarter of 255
SEED = 0  # never changed: it defines the data set


def read(root: Path, settings: DatasetSettings, download: bool = False) -> Raw:
    """6,000 training canvases from 1,300 digits, 300 test canvases from others.

    Every pixel is uniform noise of 0 to 63, except where the digit lies, at a uniformly random
    place: it covers the noise, its black parts too. Digits are drawn with replacement for training,
    and once each for testing. `size` of the settings is that of the canvas. `root` and `download`
    are unused.

    Raises: Refused when the digits are not the known ones, or the canvas is smaller than a digit.
    """
    if settings.size < DIGIT:
        raise Refused(
            f"data set '{settings.name}': size {settings.size} is no canvas for digits of {DIGIT} "
            f"pixels; expected size: {DIGIT} or more"
        )
    raw = digits.read(root, settings)
    images = np.concatenate([raw.train_images, raw.test_images])[:, 0]
    labels = np.concatenate([raw.train_labels, raw.test_labels])
    # The legacy generator's stream is frozen for good; that of `Generator` may change.
    draw = np.random.RandomState(SEED)
    order = draw.permutation(len(images))
    chosen = order[draw.randint(TRAIN_DIGITS, size=TRAIN)]
    held_out = order[TRAIN_DIGITS : TRAIN_DIGITS + TEST]
    train, _ = _canvases(images[chosen], settings.size, draw)
    test, boxes = _canvases(images[held_out], settings.size, draw)
    digest = hashlib.sha256(train.tobytes() + test.tobytes()).hexdigest()
    return Raw(
        train,
        labels[chosen],
        test,
        labels[held_out],
        class_names=raw.class_names,
        provenance={**raw.provenance, "canvases": f"sha256:{digest}"},
        notes={"split": f"{TRAIN_DIGITS} digits for training, {TEST} others for testing"},
        test_boxes=boxes,
    )


def _canvases(
    images: np.ndarray, size: int, draw: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Canvases, uint8, [N, 1, size, size], and boxes of the digits as in `Raw.test_boxes`."""
    count = len(images)
    canvases = draw.randint(NOISE + 1, size=(count, size, size)).astype(np.uint8)
    corners = draw.randint(size - DIGIT + 1, size=(count, 2))
    for canvas, image, (top, left) in zip(canvases, images, corners, strict=True):
        canvas[top : top + DIGIT, left : left + DIGIT] = image
    boxes = np.concatenate([corners, corners + DIGIT], axis=1).astype(np.int16)
    return canvases[:, None], boxes
