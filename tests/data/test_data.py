import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_data import CIFAR10, CIFAR100, DIGITS, MNIST, SAMPLES, TINY

from xkd.data import DATA, MANIFEST
from xkd.data.dataset import load
from xkd.data.prepare import pixel_statistics, prepare
from xkd.data.splits import class_balanced
from xkd.errors import Refused
from xkd.files import read_json, write_json

# Digits, end to end


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "digits"
    prepare(DIGITS, Path("unused"), folder)
    return folder


def test_digits_arrive_whole_and_in_the_right_split(digits):
    from sklearn.datasets import load_digits

    data = load(digits)
    train, test = data.split("train"), data.split("test")
    assert (train.images.dtype, train.images.shape) == (torch.uint8, (1297, 1, 8, 8))
    assert (test.labels.dtype, test.images.shape) == (torch.int64, (500, 1, 8, 8))
    assert torch.bincount(test.labels).tolist() == [50] * 10

    def content(images, labels):
        return sorted(zip(images.reshape(len(images), -1).tolist(), labels.tolist(), strict=True))

    original = load_digits()
    grey = np.round(original.images * 255 / 16).astype(int)
    assert content(grey, original.target) == content(
        torch.cat([train.images, test.images]), torch.cat([train.labels, test.labels])
    )


def test_holdout_is_class_balanced_and_disjoint_from_what_is_fitted(digits):
    data = load(digits)
    train, fit, holdout = (data.split(name) for name in ("train", "fit", "holdout"))
    assert torch.bincount(holdout.labels).tolist() == [20] * 10
    assert sorted(torch.cat([fit.index, holdout.index]).tolist()) == train.index.tolist()
    assert torch.equal(train.images[fit.index], fit.images)
    assert torch.equal(train.labels[holdout.index], holdout.labels)


def test_preparing_again_writes_the_same_bytes(digits, tmp_path):
    again = prepare(DIGITS, Path("unused"), tmp_path)
    assert again["digests"] == read_json(digits / MANIFEST)["digests"]


def test_another_holdout_seed_keeps_other_images(digits, tmp_path):
    prepare(replace(DIGITS, holdout_seed=1), Path("unused"), tmp_path)
    first, second = load(digits), load(tmp_path)
    assert not torch.equal(first.split("holdout").index, second.split("holdout").index)
    assert torch.equal(first.split("test").images, second.split("test").images)


def test_superclasses_come_from_the_config(digits):
    data = load(digits)
    assert data.coarse_names == ("round", "open")
    test = data.split("test")
    in_round = torch.isin(test.labels, torch.tensor([0, 6, 8, 9]))
    assert torch.equal(test.coarse, (~in_round).long())


def test_the_manifest_tells_counts_normalisation_and_origin(digits):
    manifest = read_json(digits / MANIFEST)
    assert manifest["counts"] == {"train": 1297, "holdout": 200, "test": 500}
    assert sum(manifest["per_class"]["train"]) == 1297
    assert manifest["normalisation"]["measured_mean"] == [0.3058]
    assert manifest["normalisation"]["measured_std"] == [0.3764]
    assert manifest["digests"][DATA] == hashlib.sha256((digits / DATA).read_bytes()).hexdigest()
    assert list(manifest["sources"]) == ["sklearn.datasets.load_digits"]


def test_pixel_statistics_are_those_of_numpy():
    images = np.random.default_rng(0).integers(0, 256, (2500, 2, 5, 5), np.uint8)
    mean, std = pixel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std((0, 2, 3)), rtol=1e-12)


# Settings that do not fit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": (0.5,)}, r"normalisation .* mean \[0.5\].* have mean \[0.3058\]"),
        ({"classes": 12, "holdout": 0}, "has 10 classes, the config says classes: 12"),
        ({"size": 28}, r"are \(1, 8, 8\) .* the config says \(1, 28, 28\)"),
        ({"holdout": 201}, "holdout: 201 is no multiple of its 10 classes"),
        ({"holdout": 1280}, "cannot keep 128 samples of every class aside"),
        ({"coarse": {"all": ("0", "1", "1")}}, "must name each class once"),
        ({"source": "mnisst"}, "unknown data source 'mnisst'; did you mean 'mnist'"),
    ],
)
def test_settings_that_do_not_fit_are_refused_and_nothing_is_written(change, message, tmp_path):
    with pytest.raises(Refused, match=message):
        prepare(replace(DIGITS, **change), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_samples_than_a_class_has_are_refused():
    labels = np.array([0, 0, 0, 1])
    assert class_balanced(labels, 1, seed=0)[-1] == 3
    with pytest.raises(Refused, match="the rarest class has 1"):
        class_balanced(labels, 2, seed=0)


# Prepared files that are damaged


@pytest.fixture
def copy(digits, tmp_path) -> Path:
    for name in (DATA, MANIFEST):
        (tmp_path / name).write_bytes((digits / name).read_bytes())
    return tmp_path


def test_one_changed_byte_is_refused(copy):
    content = bytearray((copy / DATA).read_bytes())
    content[-1] ^= 1
    (copy / DATA).write_bytes(content)
    with pytest.raises(Refused, match=r"data\.safetensors is damaged: sha256"):
        load(copy)
    load(copy, verify=False)


def test_a_truncated_file_is_refused_even_unverified(copy):
    (copy / DATA).write_bytes((copy / DATA).read_bytes()[:-100])
    for verify in (True, False):
        with pytest.raises(Refused, match=r"data\.safetensors is damaged"):
            load(copy, verify)


def test_data_without_a_manifest_are_unfinished(copy):
    (copy / MANIFEST).unlink()
    with pytest.raises(Refused, match=r"manifest\.json is missing"):
        load(copy)


def test_another_file_in_place_of_the_manifest_is_refused(copy):
    write_json(copy / MANIFEST, {"name": "digits"})
    with pytest.raises(Refused, match=r"manifest\.json is damaged .'digests' is missing in it"):
        load(copy)


def test_an_unknown_split_is_refused(digits):
    with pytest.raises(Refused, match="unknown split 'validation'"):
        load(digits).split("validation")


def test_a_failure_while_writing_leaves_no_manifest(copy, monkeypatch):
    monkeypatch.setattr("xkd.data.prepare.digest", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(DIGITS, copy, copy)
    assert sorted(path.name for path in copy.iterdir()) == [DATA]


@pytest.mark.parametrize("settings", [MNIST, CIFAR10, CIFAR100, TINY, SAMPLES])
def test_an_empty_data_root_is_refused_with_the_way_out(settings, tmp_path):
    with pytest.raises(Refused, match=r"is missing; .*data_root:") as refusal:
        prepare(settings, tmp_path, tmp_path / "out")
    assert str(tmp_path) in str(refusal.value)
    fetchable = settings.source not in ("tiny_imagenet", "imagenet_folder")  # 20 classes: a subset
    assert ("allow download: true" in str(refusal.value)) == fetchable


# The real data sets, where they are at hand

ROOT = os.environ.get("XKD_DATA_ROOT")


@pytest.mark.skipif(not ROOT, reason="XKD_DATA_ROOT does not name a folder with the data sets")
@pytest.mark.parametrize(
    ("settings", "counts", "first_train", "first_test"),
    [
        (MNIST, (60_000, 5_000, 10_000), [5, 0, 4, 1], [7, 2, 1, 0]),
        (CIFAR10, (50_000, 5_000, 10_000), [6, 9, 9, 4], [3, 8, 8, 0]),
        (CIFAR100, (50_000, 5_000, 10_000), [19, 29, 0, 11], [49, 33, 72, 51]),
        (TINY, (10_000, 1_000, 1_000), [0, 0, 0, 0], None),
        (SAMPLES, (0, 0, 50), [], None),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_real_data_are_complete(settings, counts, first_train, first_test, tmp_path):
    manifest = prepare(settings, Path(ROOT), tmp_path)
    data = load(tmp_path)
    assert tuple(manifest["counts"].values()) == counts
    assert data.split("train").labels[:4].tolist() == first_train
    assert first_test is None or data.split("test").labels[:4].tolist() == first_test
    if counts[1]:
        kept = torch.bincount(data.split("holdout").labels)
        assert kept.tolist() == [counts[1] // settings.classes] * settings.classes
    if settings is CIFAR100:
        train = data.split("train")
        assert len(data.coarse_names) == 20
        assert len(torch.stack([train.labels, train.coarse]).unique(dim=1).T) == 100
