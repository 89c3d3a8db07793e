"""Located digits: known places, no digit in both splits, the same on every machine."""

from dataclasses import replace

import numpy as np
import pytest

from xkd.data.dataset import load
from xkd.data.prepare import prepare
from xkd.data.sources import digits, located_digits
from xkd.errors import Refused
from xkd.plan.settings import DatasetSettings

DIGEST = "sha256:8ea47acc70824bb56b4118e7940a8542f390aba1ea87b6b4a41129843f64eb99"
LOCATED = DatasetSettings(
    "located_digits",
    "located_digits",
    classes=10,
    channels=1,
    size=24,
    mean=(0.1438,),
    std=(0.1538,),
)


@pytest.fixture(scope="module")
def raw():
    return located_digits.read(None, LOCATED)


def test_there_are_six_thousand_canvases_to_learn_from_and_three_hundred_to_test(raw):
    assert raw.train_images.shape == (6000, 1, 24, 24)
    assert raw.test_images.shape == (300, 1, 24, 24)
    assert raw.test_boxes.shape == (300, 4)
    assert np.bincount(raw.test_labels).min() > 15


def test_the_digit_lies_in_its_box_and_noise_stays_below_a_quarter_of_white(raw):
    outside = raw.test_images[:, 0].copy()
    for canvas, (top, left, bottom, right) in zip(outside, raw.test_boxes, strict=True):
        assert (bottom - top, right - left) == (8, 8)
        assert canvas[top:bottom, left:right].max() > 200
        canvas[top:bottom, left:right] = 0
    assert outside.max() == 63


def test_the_digit_is_the_published_one_and_covers_the_noise(raw):
    published = digits.read(None, LOCATED)
    known = np.concatenate([published.train_images, published.test_images])[:, 0]
    labels = np.concatenate([published.train_labels, published.test_labels])
    for canvas, label, (top, left, bottom, right) in zip(
        raw.test_images[:, 0], raw.test_labels, raw.test_boxes, strict=True
    ):
        same = (known == canvas[top:bottom, left:right]).all((1, 2))
        assert label in labels[same]


def test_every_place_of_the_canvas_is_used(raw):
    assert raw.test_boxes.min() == 0
    assert raw.test_boxes.max() == 24


def test_no_digit_is_in_both_splits(raw):
    published = digits.read(None, LOCATED)
    known = np.concatenate([published.train_images, published.test_images])[:, 0]
    boxes = raw.test_boxes[:, None]
    squares = {
        canvas[top:bottom, left:right].tobytes()
        for canvas, ((top, left, bottom, right),) in zip(raw.test_images[:, 0], boxes, strict=True)
    }
    assert len(squares) == 300  # each digit once
    test = [image for image in known if image.tobytes() in squares]
    for digit in test[:40]:
        windows = np.lib.stride_tricks.sliding_window_view(
            raw.train_images[:600, 0], (8, 8), (1, 2)
        )
        assert not (windows == digit).all((-1, -2)).any()


def test_the_canvases_are_the_same_on_every_machine(raw):
    assert raw.provenance["canvases"] == DIGEST


def test_boxes_are_prepared_with_the_images(tmp_path):
    prepare(LOCATED, tmp_path, tmp_path / "out")
    data = load(tmp_path / "out")
    boxes = data.split("test").boxes
    assert boxes.shape == (300, 4)
    assert data.split("train").boxes is None


def test_a_canvas_smaller_than_a_digit_is_refused():
    with pytest.raises(Refused, match="size 6 is no canvas for digits of 8 pixels"):
        located_digits.read(None, replace(LOCATED, size=6))
