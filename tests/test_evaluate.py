"""Predictions and metrics, by hand for two classes; the same bytes for the same answers."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_cells import NARROW, SMALL, STRIPES

from xkd import networks
from xkd.data.stream import Normalisation
from xkd.errors import Refused
from xkd.evaluate import (
    Predictions,
    Scored,
    accuracy,
    load_network,
    load_predictions,
    metrics,
    predict,
    save_network,
    save_predictions,
)
from xkd.files import digest, write_yaml


def scored(count: int = 30) -> Scored:
    random = np.random.default_rng(1)
    images = torch.from_numpy(random.integers(0, 256, (count, 1, 8, 8), np.uint8))
    labels = torch.from_numpy(random.integers(0, 4, count))
    return Scored("test", images, labels, Normalisation(STRIPES))


def random_predictions(count: int = 50, width: int = 8) -> Predictions:
    random = np.random.default_rng(2)
    draw = lambda *shape: random.normal(size=shape).astype(np.float32)  # noqa: E731
    return Predictions(random.integers(0, 4, count), draw(count, 4), draw(count, width))


def test_metrics_of_two_answers_by_hand():
    """Confidences 3/4 and 1/2; the first right, the second wrong."""
    logits = np.array([[math.log(3), 0.0], [0.0, 0.0]], np.float32)
    found = metrics(Predictions(np.array([0, 1]), logits, np.zeros((2, 1), np.float32)))
    assert found["top1"] == 0.5
    assert found["nll"] == pytest.approx(-(math.log(3 / 4) + math.log(1 / 2)) / 2)
    assert found["ece"] == found["ece15"] == pytest.approx((1 / 4 + 1 / 2) / 2)


def test_large_logits_do_not_overflow():
    logits = np.array([[900.0, 0.0], [0.0, 900.0]], np.float32)
    found = metrics(Predictions(np.array([0, 0]), logits, logits))
    assert found["nll"] == pytest.approx(450)


@pytest.mark.parametrize("network", [NARROW, SMALL])
def test_predictions_are_those_of_evaluation_mode_whatever_the_batch(network, monkeypatch):
    student = networks.build(network, STRIPES).train()
    split = scored()
    whole = predict(student, split)
    assert student.training, "the mode it was found in"
    monkeypatch.setattr("xkd.evaluate.BATCH", 7)
    parts = predict(student, split)
    np.testing.assert_allclose(parts.logits, whole.logits, rtol=1e-5, atol=1e-6)
    right = (whole.logits.argmax(1) == split.labels.numpy()).mean()
    assert accuracy(student, split) == pytest.approx(right)


def test_the_same_predictions_have_the_same_bytes_tomorrow(tmp_path, monkeypatch):
    predictions = random_predictions()
    save_predictions(predictions, tmp_path / "today.npz")
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2e9))
    save_predictions(predictions, tmp_path / "later.npz")
    assert (tmp_path / "today.npz").read_bytes() == (tmp_path / "later.npz").read_bytes()


def test_predictions_survive_the_file(tmp_path):
    predictions = random_predictions()
    save_predictions(predictions, tmp_path / "p.npz")
    found = load_predictions(tmp_path / "p.npz")
    np.testing.assert_array_equal(found["labels"], predictions.labels)
    np.testing.assert_array_equal(found["predicted"], predictions.logits.argmax(1))
    np.testing.assert_allclose(found["logits"], predictions.logits, rtol=1e-3)
    np.testing.assert_allclose(found["embedding"], predictions.embedding, rtol=1e-3, atol=1e-4)
    softmax = torch.tensor(predictions.logits).softmax(1).amax(1)
    np.testing.assert_allclose(found["confidence"], softmax, rtol=1e-6)
    assert found["confidence"].dtype == np.float32


def test_ten_thousand_answers_of_a_hundred_classes_take_less_than_four_megabytes(tmp_path):
    logits = np.zeros((10_000, 100), np.float32)
    predictions = Predictions(np.zeros(10_000, int), logits, np.zeros((10_000, 64), np.float32))
    save_predictions(predictions, tmp_path / "p.npz")
    assert (tmp_path / "p.npz").stat().st_size < 4e6


def test_embeddings_too_wide_for_the_disk_are_left_out(tmp_path):
    save_predictions(random_predictions(width=300), tmp_path / "p.npz")
    assert "embedding" not in load_predictions(tmp_path / "p.npz")


@pytest.mark.parametrize(("content", "message"), [(None, "is missing"), (b"PK", "is damaged")])
def test_predictions_that_cannot_be_read_are_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(Refused, match=message):
        load_predictions(tmp_path / "p.npz")


@pytest.fixture
def run(tmp_path):
    """A complete run, as far as its network goes."""
    path = tmp_path / "weights.safetensors"
    save_network(networks.build(NARROW, STRIPES), path)
    card = {"files": {"weights.safetensors": digest(path)}}
    write_yaml(tmp_path / "run.yaml", card)
    return tmp_path


def test_a_network_comes_back_frozen_in_evaluation_mode(run):
    network = load_network(run, NARROW, STRIPES)
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())


def test_a_network_with_a_flipped_bit_is_refused(run):
    path = run / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(Refused, match=r"weights.safetensors is damaged: sha256"):
        load_network(run, NARROW, STRIPES)


def test_another_network_is_refused_by_name(run):
    deeper = replace(NARROW, name="resnet14", options={**NARROW.options, "depth": 14})
    with pytest.raises(Refused, match="does not hold a resnet14 for stripes"):
        load_network(run, deeper, STRIPES)


@pytest.mark.parametrize(("card", "message"), [(None, "not a complete run"), ("- 1", "damaged")])
def test_a_run_without_a_sound_card_is_refused(run, card, message):
    (run / "run.yaml").unlink()
    if card is not None:
        (run / "run.yaml").write_text(card)
    with pytest.raises(Refused, match=message):
        load_network(run, NARROW, STRIPES)
