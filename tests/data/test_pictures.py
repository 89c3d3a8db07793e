from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_data import SAMPLES, TINY, damaged_file
from PIL import Image

from xkd.data import sources
from xkd.data.dataset import load
from xkd.data.prepare import prepare
from xkd.errors import Refused
from xkd.plan.settings import DatasetSettings


def picture(path: Path, size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> None:
    """Flat colour, so that JPEG keeps it almost exactly."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = int(np.random.default_rng(seed).integers(0, 256))
    Image.new(mode, size, shade if mode == "L" else (shade, 255 - shade, 40)).save(path, "JPEG")


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory) -> Path:
    """Two classes in the published layout; every tenth training image is grey."""
    root = tmp_path_factory.mktemp("pictures")
    folder = root / "tiny-imagenet-2"
    for wnid in ("n02", "n01"):
        for n in range(500):
            path = folder / "train" / wnid / "images" / f"{wnid}_{n}.JPEG"
            picture(path, (64, 64), "L" if n % 10 == 0 else "RGB", seed=n)
    for n in range(100):
        picture(folder / "val" / "images" / f"val_{n}.JPEG", (64, 64), seed=n)
    rows = [f"val_{n}.JPEG\t{('n02', 'n01')[n % 2]}\t0\t0\t9\t9\n" for n in range(100)]
    (folder / "val" / "val_annotations.txt").write_text("".join(reversed(rows)))
    (folder / "wnids.txt").write_text("n02\nn01\n")
    (folder / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\treel\nn03\tother\n")
    return root


def tiny_settings() -> DatasetSettings:
    return replace(TINY, classes=2, holdout=0)


def test_tiny_imagenet_keeps_class_order_counts_grey_images_and_says_subset(tiny_folder):
    raw = sources.read(tiny_folder, tiny_settings())
    assert raw.class_names == ("reel", "goldfish")
    assert np.bincount(raw.train_labels).tolist() == [500, 500]
    assert raw.test_labels.tolist() == [0, 1] * 50
    assert raw.notes["grey_images"] == 100
    assert raw.notes["grey_files"][1] == "tiny-imagenet-2/train/n02/images/n02_10.JPEG"
    assert raw.notes["subset"] == "2 of the 200 classes of Tiny-ImageNet"
    shades = [np.random.default_rng(n).integers(0, 256) for n in range(500)]
    red = raw.train_images[:500, 0].mean((1, 2))
    assert np.abs(red - shades).max() < 3
    assert np.array_equal(raw.train_images[0, 0], raw.train_images[0, 2])


@pytest.mark.parametrize("how", ["absent", "truncated"])
def test_a_damaged_picture_is_refused_by_name(tiny_folder, how):
    path = tiny_folder / "tiny-imagenet-2" / "val" / "images" / "val_7.JPEG"
    content = path.read_bytes()
    damaged_file(tiny_folder, "val_7.JPEG", how)
    try:
        expected = {"absent": "is missing", "truncated": "cannot be used: .*[Tt]runcated"}[how]
        with pytest.raises(Refused, match=rf"val_7\.JPEG {expected}"):
            sources.read(tiny_folder, tiny_settings())
    finally:
        path.write_bytes(content)


def test_all_damaged_pictures_are_counted_and_the_first_named(tiny_folder):
    paths = [tiny_folder / f"tiny-imagenet-2/val/images/val_{n}.JPEG" for n in range(3, 10)]
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content[:200])
    try:
        with pytest.raises(
            Refused, match=r"^7 of 100 pictures cannot be used: .*val_3.*val_7.* 2 more"
        ):
            sources.read(tiny_folder, tiny_settings())
    finally:
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)


def test_a_missing_training_picture_is_noticed_by_count(tiny_folder):
    path = tiny_folder / "tiny-imagenet-2" / "train" / "n01" / "images" / "n01_3.JPEG"
    content = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(Refused, match="has 499 images, expected 500"):
            sources.read(tiny_folder, tiny_settings())
    finally:
        path.write_bytes(content)


def samples(root: Path) -> DatasetSettings:
    for wnid, seed, size in (("n01", 1, (300, 260)), ("n02", 2, (250, 600))):
        picture(root / "imagenet-samples" / wnid / f"{wnid}_a.JPEG", size, seed=seed)
    return replace(SAMPLES, classes=2)


def test_class_folders_are_numbered_by_name_and_all_pictures_are_for_testing(tmp_path):
    manifest = prepare(samples(tmp_path), tmp_path, tmp_path / "out")
    data = load(tmp_path / "out")
    assert data.class_names == ("n01", "n02")
    assert data.split("test").images.shape == (2, 3, 224, 224)
    assert data.split("test").labels.tolist() == [0, 1]
    assert len(data.split("train").images) == 0
    assert manifest["notes"]["evaluation_only"] is True


def test_a_table_of_labels_gives_each_picture_its_index(tmp_path):
    settings = replace(samples(tmp_path), classes=8)
    table = tmp_path / "imagenet-samples" / "labels.csv"
    table.write_text(
        "file,class_index,wnid,class_name\nn02_a.JPEG,7,n02,reel\nn01_a.JPEG,3,n01,goldfish\n"
    )
    raw = sources.read(tmp_path, settings)
    assert raw.test_labels.tolist() == [7, 3]
    assert (raw.class_names[3], raw.class_names[7], raw.class_names[0]) == ("goldfish", "reel", "0")
    with pytest.raises(Refused, match=r"class_index '7', expected a number below 5"):
        sources.read(tmp_path, replace(settings, classes=5))


def test_the_centre_crop_is_that_of_torchvision(tmp_path):
    from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

    noise = np.random.default_rng(0).integers(0, 256, (300, 333, 3), np.uint8)
    path = tmp_path / "imagenet-samples" / "n01" / "a.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(noise).save(path)
    raw = sources.read(tmp_path, replace(SAMPLES, classes=1))
    expected = Compose([Resize(256), CenterCrop(224), PILToTensor()])(Image.fromarray(noise))
    assert np.array_equal(raw.test_images[0], expected.numpy())
