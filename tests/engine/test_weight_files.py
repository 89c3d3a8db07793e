"""Files of weights: what is opened, and what is called by its name when it is something else."""

import argparse
import collections
import datetime
import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from xkd.engine import weight_files
from xkd.errors import Refused
from xkd.networks import resnet

NETWORK = resnet.build(3, 8, 5, depth=8, widths=(4, 8, 16))
WEIGHTS = NETWORK.state_dict()

WRAPPINGS = {
    "plain": lambda weights: weights,
    "RepDistiller": lambda weights: {
        "opt": argparse.Namespace(model="resnet8", lr=0.05),
        "epoch": 240,
        "model": weights,
        "best_acc": torch.tensor(69.1),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.05}]},
    },
    "akamaster": lambda weights: {
        "state_dict": {f"module.{name}": value for name, value in weights.items()},
        "best_prec1": np.float64(91.7),
    },
    "parallel": lambda weights: {f"module.{name}": value for name, value in weights.items()},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_usual_wrappings_are_opened(tmp_path: Path, wrapping: str) -> None:
    weights = WEIGHTS
    torch.save(WRAPPINGS[wrapping](weights), tmp_path / "teacher.pth")
    found = weight_files.read(tmp_path / "teacher.pth")
    prefix = "" if found.keys() == weights.keys() else "module."
    found = {name.removeprefix(prefix): value for name, value in found.items()}
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_safetensors_and_old_files_are_read(tmp_path: Path) -> None:
    weights = WEIGHTS
    save_file(weights, tmp_path / "teacher.safetensors")
    torch.save(weights, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("teacher.safetensors", "old.pth"):
        assert weight_files.read(tmp_path / name).keys() == weights.keys()


def test_numbers_of_older_numpy_are_harmless(tmp_path: Path) -> None:
    path, weights = tmp_path / "old.pth", WEIGHTS
    content = {"model": weights, "best_acc": np.float64(69.1)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    assert b"numpy._core" in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(b"numpy._core", b"numpy.core"))
    assert weight_files.read(path).keys() == weights.keys()


class Trap:
    """Unpickling this would run code."""

    def __reduce__(self):
        return (Path.touch, (Path("sprung"),))


@pytest.mark.parametrize("old", [True, False])
def test_pickled_networks_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(NETWORK, "network.pth", _use_new_zipfile_serialization=not old)
    with pytest.raises(Refused, match=r"holds a pickled \S*ResNet, .* save torch.save\("):
        weight_files.read(Path("network.pth"))


def test_no_code_of_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": WEIGHTS, "x": Trap()}, "trap.pth")
    with pytest.raises(Refused, match=r"holds a pickled \S+, and unpickling it would run code"):
        weight_files.read(Path("trap.pth"))
    assert not Path("sprung").exists()


@pytest.mark.parametrize("name", ["noise.pth", "noise.safetensors", "cut.pth", "cut.safetensors"])
def test_damaged_files_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    (torch.save if path.suffix == ".pth" else save_file)(WEIGHTS, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if "cut" in name else b"not found" * 99)
    with pytest.raises(Refused, match=r"is damaged.*fetch it again$") as refused:
        weight_files.read(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".th", ""])
def test_what_a_file_holds_is_found_by_its_content(tmp_path: Path, suffix: str) -> None:
    save_file(WEIGHTS, tmp_path / f"a{suffix}")
    assert weight_files.read(tmp_path / f"a{suffix}").keys() == WEIGHTS.keys()


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 1195234\n"
PAGE = '\n<!DOCTYPE html><html><head><title>Virus scan warning</title></head></html>"'


def archive(kind: str) -> bytes:
    """A sound file of weights, packed once more."""
    inner, outer = io.BytesIO(), io.BytesIO()
    torch.save(WEIGHTS, inner)
    if kind == "gzip":
        return gzip.compress(inner.getvalue())
    if kind == "tar":
        with tarfile.open(fileobj=outer, mode="w") as tar:
            member = tarfile.TarInfo("a.pth")
            member.size = len(inner.getvalue())
            tar.addfile(member, io.BytesIO(inner.getvalue()))
    elif kind == "zip":
        with zipfile.ZipFile(outer, "w") as packed:
            packed.writestr("a.pth", inner.getvalue())
    elif kind == "npz":
        np.savez(outer, **{name: value.numpy() for name, value in WEIGHTS.items()})
    else:
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), outer)
    return outer.getvalue()


CALLED = {
    "pointer": (LFS.encode(), "is a pointer of Git LFS, not the file: run `git lfs pull` there"),
    "web page": (PAGE.encode(), "is a web page, not weights: open its address in a browser"),
    "empty": (b"", "is empty; fetch it again"),
    "gzip": (archive("gzip"), "is compressed: unpack it first"),
    "tar": (archive("tar"), "is a tar archive: unpack it first"),
    "zip": (archive("zip"), "is an archive of zip, not of torch: unpack it"),
    "arrays": (archive("npz"), "is an archive of NumPy, not of torch"),
    "TorchScript": (archive("script"), r"is TorchScript, a program; where it was made, save torch"),
    "Keras": (
        b"\x89HDF\r\n\x1a\n" + bytes(90),
        "is a file of HDF5: save a state dict by torch.save",
    ),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("what", CALLED)
def test_what_comes_instead_of_weights_is_called_by_its_name(
    tmp_path: Path, what: str, suffix: str
) -> None:
    content, message = CALLED[what]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(Refused, match=message) as refused:
        weight_files.read(path)
    assert "\n" not in str(refused.value)
    path.unlink()
    path.mkdir()
    with pytest.raises(Refused, match="is a folder; name the file of weights in it"):
        weight_files.read(path)


BESIDE = {
    "numbers of NumPy": {"epoch": np.int64(5), "acc": np.float32(97.3), "ok": np.bool_(True)},
    "arrays of NumPy": {"history": np.arange(3.0), "counts": np.zeros(2, np.uint8)},
    "paths and devices": {"args": argparse.Namespace(out=Path("/x/y"), on=torch.device("cuda:0"))},
    "dates": {"when": datetime.datetime(2024, 1, 1), "took": datetime.timedelta(hours=3)},
    "containers": {"c": collections.OrderedDict(a=1), "s": {1, 2}, "n": collections.Counter("aab")},
    "Lightning": {"callbacks": {}, "loops": {}, "hyper_parameters": {"lr": 0.1}, "global_step": 9},
}


@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
def test_what_training_leaves_beside_weights_does_no_harm(tmp_path: Path, beside: dict) -> None:
    torch.save({"state_dict": WEIGHTS, **beside}, tmp_path / "a.pth")
    assert weight_files.read(tmp_path / "a.pth").keys() == WEIGHTS.keys()


def test_the_only_state_dict_is_found_under_any_name(tmp_path: Path) -> None:
    torch.save({"student": WEIGHTS, "epoch": 240}, tmp_path / "a.pth")
    assert weight_files.read(tmp_path / "a.pth").keys() == WEIGHTS.keys()
    torch.save({"student": WEIGHTS, "teacher": WEIGHTS}, tmp_path / "a.pth")
    with pytest.raises(Refused, match="found a dict with student, teacher; expected a state dict"):
        weight_files.read(tmp_path / "a.pth")


def test_arrays_of_numpy_become_tensors(tmp_path: Path) -> None:
    torch.save({name: value.numpy() for name, value in WEIGHTS.items()}, tmp_path / "a.pth")
    found = weight_files.read(tmp_path / "a.pth")
    assert all(torch.equal(found[name], value) for name, value in WEIGHTS.items())


ODD = {
    "sparse": torch.eye(3).to_sparse(),
    "quantised": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
}


@pytest.mark.parametrize("kind", ODD)
def test_tensors_that_are_not_dense_numbers_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    torch.save({**WEIGHTS, "fc.weight": ODD[kind]}, tmp_path / "a.pth")
    with pytest.raises(Refused, match=rf"fc.weight is {kind}.*; expected dense numbers"):
        weight_files.read(tmp_path / "a.pth")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    sound, path = tmp_path / "sound.pth", tmp_path / "a.pth"
    torch.save({"x": torch.zeros(10_000_000)}, sound)
    with zipfile.ZipFile(sound) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    with pytest.raises(Refused, match=r"would unpack to 40 MB from 0\.0 MB, which no weights do"):
        weight_files.read(path)


def test_nobody_is_told_to_switch_safety_off(tmp_path: Path) -> None:
    """Damage of every kind ends in one line, and none of torch's advice is in it."""
    draw, refusals = np.random.default_rng(0), []
    for kind in ("new", "old", "safetensors", "pickle"):
        path = tmp_path / "a.bin"
        if kind == "safetensors":
            save_file(WEIGHTS, path)
        elif kind == "pickle":
            path.write_bytes(pickle.dumps({"a": [1, 2.0, "x"]}, protocol=2))
        else:
            torch.save(WEIGHTS, path, _use_new_zipfile_serialization=kind == "new")
        sound = path.read_bytes()
        for _ in range(40):
            content = bytearray(sound[: draw.integers(len(sound) // 2, len(sound) + 1)])
            for place in draw.integers(0, min(len(content), 2000), draw.integers(1, 20)):
                content[place] = draw.integers(0, 256)
            path.write_bytes(content)
            try:
                weight_files.read(path)
            except Refused as problem:
                refusals.append(str(problem))
    assert len(refusals) > 100
    assert not [line for line in refusals if "\n" in line or "weights_only" in line]


def test_what_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "optimizer": {}}, tmp_path / "a.pth")
    with pytest.raises(Refused, match="found a dict with epoch, optimizer; expected a state dict"):
        weight_files.read(tmp_path / "a.pth")
    torch.save([1, 2], tmp_path / "a.pth")
    with pytest.raises(Refused, match="found a list; expected a state dict"):
        weight_files.read(tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(3, protocol=2))
    with pytest.raises(Refused, match=r"found a int|is damaged, or no file of weights"):
        weight_files.read(tmp_path / "b.pth")
    with pytest.raises(Refused, match=r"none\.pth is missing"):
        weight_files.read(tmp_path / "none.pth")
