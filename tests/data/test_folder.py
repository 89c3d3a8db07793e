"""Training pictures that stay in their files."""

import multiprocessing
import os
import resource
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_cells import CODE, RECIPE, cell
from fake_data import IMAGENET
from PIL import Image

from xkd.data.dataset import load
from xkd.data.folder import Folder
from xkd.data.prepare import prepare
from xkd.data.stream import Stream
from xkd.engine.cell import train_cell
from xkd.engine.options import EngineOptions
from xkd.engine.stopping import RESUMABLE
from xkd.engine.training import Training
from xkd.errors import Refused
from xkd.files import read_json
from xkd.plan.runs import Cell, Layout, Run
from xkd.plan.settings import CellSettings, DatasetSettings, NetworkSettings

SETTINGS = DatasetSettings(
    "imagenet", "imagenet_folder", 2, 3, 24, *IMAGENET, flip=True, resized_crop=True
)
TINY = NetworkSettings(
    "resnet8", "resnet", {"depth": 8, "widths": [4, 4, 4], "shortcut": "B", "dropout": 0}
)
CELL = Cell("imagenet", "resnet8", "ce")


def photograph(path: Path, seed: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    noise = random.integers(0, 256, (6, 5, 3), np.uint8)
    Image.fromarray(noise).resize((50, 60)).convert(mode).save(path, "JPEG")


@pytest.fixture
def root(tmp_path) -> Path:
    """Two classes of ten pictures to learn from, two to test with, one of which is grey."""
    for label, wnid in enumerate(("n01", "n02")):
        for n in range(10):
            photograph(tmp_path / "imagenet" / "train" / wnid / f"{wnid}_{n}.JPEG", 10 * label + n)
        for n in range(2):
            mode = "L" if (label, n) == (1, 0) else "RGB"
            photograph(tmp_path / "imagenet" / "val" / wnid / f"val_{n}.JPEG", 90 + n, mode)
    return tmp_path


def opened(root: Path, workers: int = 0) -> Folder:
    prepare(SETTINGS, root, root / "out")
    split = load(root / "out").split("train")
    files = [root / name for name in split.files]
    return Folder(files, split.labels, SETTINGS, workers=workers)


def drawn(folder: Folder, epoch: int = 1) -> list[tuple[torch.Tensor, torch.Tensor]]:
    steps = list(Stream(folder, 8, seed=3).epoch(epoch))
    folder.expect(steps)
    return [folder.batch(*step) for step in steps]


def test_training_pictures_are_listed_and_test_pictures_read(root):
    manifest = prepare(SETTINGS, root, root / "out")
    data = load(root / "out")
    assert manifest["counts"] == {"train": 20, "holdout": 0, "test": 4}
    assert manifest["notes"]["grey_files"] == ["imagenet/val/n02/val_0.JPEG"]
    assert len(data.split("train").images) == 0
    assert data.split("train").files[10] == Path("imagenet/train/n02/n02_0.JPEG")
    assert data.split("train").labels.tolist() == [0] * 10 + [1] * 10
    assert data.split("test").images.shape == (4, 3, 24, 24)


def test_a_view_is_what_torchvision_makes_with_that_seed(root):
    from torchvision.transforms import Compose, PILToTensor, RandomHorizontalFlip, RandomResizedCrop

    folder = opened(root)
    index, view = torch.tensor([4, 15]), torch.tensor([2**31 - 1, 77])
    folder.expect([(index, view)])
    images, labels = folder.batch(index, view)
    assert labels.tolist() == [0, 1]
    usual = Compose([RandomResizedCrop(24), RandomHorizontalFlip(), PILToTensor()])
    for image, position, seed in zip(images, index, view, strict=True):
        torch.manual_seed(int(seed))
        expected = usual(Image.open(root / load(root / "out").split("train").files[position]))
        assert torch.equal(image, folder.normalised(expected[None])[0])


def test_batches_depend_neither_on_workers_nor_on_the_global_generator(root):
    torch.manual_seed(0)
    one = drawn(opened(root))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    two = drawn(opened(root, workers=2))
    assert torch.equal(before, torch.get_rng_state())
    for (images, labels), (again, same) in zip(one, two, strict=True):
        assert torch.equal(images, again)
        assert torch.equal(labels, same)
    assert not torch.equal(one[0][0], drawn(opened(root), epoch=2)[0][0])


def test_many_pictures_in_a_batch_need_few_open_files_and_no_shared_memory(root, monkeypatch):
    """Every tensor that a process hands over takes an open file and a piece of shared memory."""
    folder = opened(root, workers=1)
    index, view = torch.arange(200) % 20, torch.arange(200)
    refused = lambda *_: pytest.fail("memory is shared for a tensor")  # noqa: E731
    monkeypatch.setattr("torch.multiprocessing.reductions.reduce_storage", refused)
    folder.expect([(index, view)])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        images, _ = folder.batch(index, view)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    folder = opened(root)
    folder.expect([(index, view)])
    assert torch.equal(images, folder.batch(index, view)[0])


def test_a_decoding_process_that_is_killed_ends_the_job_in_one_line(root):
    folder = opened(root, workers=1)
    steps = [(torch.arange(20), torch.arange(20))] * 200
    before = signal.getsignal(signal.SIGCHLD)
    folder.expect(steps)
    assert signal.getsignal(signal.SIGCHLD) is before  # or it ends anything that is under way
    folder.batch(*steps[0])
    for child in multiprocessing.active_children():
        os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(Refused, match=r"^a process that decodes pictures has ended .*worker"):
        [folder.batch(*step) for step in steps]


def test_too_few_open_files_for_a_process_are_refused_in_one_line(root):
    folder = opened(root, workers=2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 2, hard))
    try:
        with pytest.raises(Refused, match=r"cannot start processes .*ulimit -n"):
            folder.expect([(torch.arange(20), torch.arange(20))])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_pictures_are_found_where_they_have_been_moved(root):
    layout = Layout(root / "results")
    prepare(SETTINGS, root, layout.data("imagenet"))
    moved = root / "elsewhere"
    moved.mkdir()
    (root / "imagenet").rename(moved / "imagenet")
    given = {"data": layout.data("imagenet"), "layout": layout, "code": CODE}
    with pytest.raises(Refused, match=r"JPEG is missing; set data_root"):
        train_cell(settings(root), **given)
    assert train_cell(settings(moved), **given) == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_pictures_are_named_and_counted_when_they_are_met(root, workers):
    folder = opened(root, workers)
    for n in (2, 5):
        path = root / "imagenet" / "train" / "n01" / f"n01_{n}.JPEG"
        path.write_bytes(path.read_bytes()[:300])
    steps = [(torch.arange(8), torch.arange(8))]
    folder.expect(steps)
    with pytest.raises(
        Refused, match=r"^2 of 8 pictures cannot be used: .*n01_2.JPEG .*n01_5.JPEG"
    ):
        folder.batch(*steps[0])


def test_what_is_missing_is_named(root):
    train, val = root / "imagenet" / "train", root / "imagenet" / "val"
    (val / "n02").rename(val / "n03")
    with pytest.raises(Refused, match=r"val lacks 1 class \(n02\), which .*train has"):
        prepare(SETTINGS, root, root / "out")
    (val / "n03").rename(val / "n02")
    (train / "n01" / "n01_3.JPEG").write_bytes(b"")
    with pytest.raises(Refused, match=r"1 of 20 pictures cannot be used: .*n01_3.JPEG \(empty\)"):
        prepare(SETTINGS, root, root / "out")
    for path in (train / "n02").iterdir():
        path.unlink()
    with pytest.raises(Refused, match=r"train has no picture of 1 class \(n02\)"):
        prepare(SETTINGS, root, root / "out")
    with pytest.raises(Refused, match=r"val has 2 class folders .* the config says classes: 1000"):
        prepare(replace(SETTINGS, classes=1000), root, root / "out")


def settings(root: Path) -> CellSettings:
    usual = cell("ce", (0,), TINY, replace(RECIPE, epochs=3, batch=8))
    return replace(usual, cell=CELL, dataset=replace(SETTINGS, data_root=str(root)))


def trained(root: Path, name: str, threads: int = 1, **changed: object) -> Layout:
    layout = Layout(root / name)
    prepare(SETTINGS, root, layout.data("imagenet"))
    options = EngineOptions(threads=threads, checkpoint_minutes=0, **changed)
    data = layout.data("imagenet")
    assert train_cell(settings(root), data=data, layout=layout, code=CODE, options=options) == 0
    return layout


def test_a_cell_is_trained_from_files_to_the_same_bits_however_many_decode(root):
    digests = [
        read_json(trained(root, name, threads).manifest(CELL))["runs"]["0"]["digests"]
        for name, threads in (("one", 1), ("three", 3))
    ]
    assert digests[0] == digests[1]
    card = (root / "one/runs" / str(Run(CELL, 0)) / "run.yaml").read_text()
    assert "pictures stay in their files" in card


def test_pictures_for_evaluation_only_train_nothing(root):
    layout = Layout(root / "results")
    (root / "imagenet" / "train").rename(root / "elsewhere")
    prepare(SETTINGS, root, layout.data("imagenet"))
    with pytest.raises(Refused, match="data set 'imagenet' has no training images"):
        train_cell(settings(root), data=layout.data("imagenet"), layout=layout, code=CODE)


def test_an_interrupted_epoch_continues_with_the_picture_it_had_come_to(root, monkeypatch):
    whole, advance, steps = trained(root, "whole"), Training.advance, iter(range(100))

    def nudged(self: Training) -> None:
        advance(self)
        if next(steps) == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    layout = Layout(root / "parts")
    prepare(SETTINGS, root, layout.data("imagenet"))
    given = {"data": layout.data("imagenet"), "layout": layout, "code": CODE}
    monkeypatch.setattr(Training, "advance", nudged)
    assert train_cell(settings(root), **given) == RESUMABLE
    monkeypatch.setattr(Training, "advance", advance)
    assert train_cell(settings(root), **given) == 0
    run = Run(CELL, 0)
    for name in ("weights.safetensors", "history.csv", "predictions.npz"):
        assert (layout.run(run) / name).read_bytes() == (whole.run(run) / name).read_bytes()
