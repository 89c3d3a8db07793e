"""Files that are damaged, foreign or hostile: every reader answers in one line, and soon.

Each reader has a second, a seed of its own, and a process of its own, for what crashes Python.
"""

import copy
import hashlib
import io
import json
import os
import pickle
import random
import signal
import tarfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from fake_cells import NARROW, STRIPES, prepared
from safetensors.torch import save

from xkd import networks, readers
from xkd.data import dataset
from xkd.engine import weight_files
from xkd.engine.table_file import Header, open_table
from xkd.errors import Refused
from xkd.evaluate import Predictions, load_network, load_predictions, save_predictions
from xkd.files import SEAL, digest, read_json, read_yaml, write_json, write_yaml
from xkd.monitor import traces
from xkd.plan import yaml_reader
from xkd.plan.runs import Layout
from xkd.records import cards, checkpoint, lock
from xkd.records.analyses import check_card
from xkd.report import results

SECONDS = 1.0
PATIENCE = 60  # seconds until a reader counts as hanging
METRICS = {"top1": 0.5, "nll": 1.5, "ece": 0.1, "ece15": 0.1, "split": "test", "epochs": 2}
CELL = {"dataset": "stripes", "network": "resnet8", "method": "ce", "teacher": None}


class Kind(NamedTuple):
    """A kind of file. make: writes a sound one; read: by the reader that tables and jobs use.

    again: makes a damaged file pass for one with the right digest, if there is one.
    failing: what the reader may raise instead of Refused.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], object]
    again: Callable[[Path], None] = lambda path: None
    failing: tuple[type[Exception], ...] = ()


# -------------------------------------------------------------------------------- sound files


def predictions(path: Path) -> None:
    random_ = np.random.default_rng(0)
    logits = random_.normal(size=(20, 4)).astype(np.float32)
    save_predictions(Predictions(np.arange(20) % 4, logits, logits), path)


def cell(path: Path) -> None:
    run = {"fingerprint": "a-b", "metrics": METRICS, "digests": {}}
    about = {"cell": "stripes/resnet8/ce", **CELL, "recipe": {"lr": 0.1}, "options": {}}
    write_json(path, {**about, "parameters": 9, "runs": {"0": run, "1": run}})


def search(path: Path) -> None:
    scores = [{"value": v, "trial": "t", "top1": v, "nll": 1.0} for v in (0.6, 0.8)]
    about = {"cell": "stripes/resnet8/ce", "option": "alpha", "winner": 0.8, "seed": 0}
    write_json(path, {**about, "split": "holdout", "scores": scores})


def responses(path: Path) -> None:
    scores = {"kind": "gradient", "gamma": 0.0, "test": METRICS, "digests": {"test.npz": "0"}}
    about = {"teacher": "stripes/resnet8/ce/seed0", "class_names": ["a", "b"]}
    write_json(path, {**about, "reinforcements": {"gradient-0": scores}})


def analysis(path: Path) -> None:
    path.parent.mkdir(parents=True)
    about = {"analysis": "clusters", "run": "stripes/resnet8/ce/seed0"}
    write_json(path, {**about, "options": {"points": 9}, "digests": {}, "made_of": {}})


def run_card(path: Path) -> None:
    settings = {"recipe": {"lr": 0.1, "milestones": [1, 2]}, "method": {"options": {}}}
    files = {"weights.safetensors": "0" * 64}
    about = {"run": "stripes/resnet8/ce/seed0", "fingerprint": "a-b", "settings": settings}
    write_yaml(path, {**about, "seconds": 1.5, "files": files})


def prepared_data(path: Path) -> None:
    prepared(Layout(path.parent / "made"), 16, 8)
    os.replace(path.parent / "made/data/stripes/data.safetensors", path)
    seal_data(path)


def seal_data(path: Path) -> None:
    about = {"name": "stripes", "class_names": list("abcd"), "coarse_names": None}
    write_json(path.with_name("manifest.json"), {**about, "digests": {path.name: digest(path)}})


def network(path: Path) -> None:
    path.write_bytes(save(networks.build(NARROW, STRIPES).state_dict()))
    seal_run(path)


def seal_run(path: Path) -> None:
    write_yaml(path.with_name("run.yaml"), {"files": {"weights.safetensors": digest(path)}})


def weights(old: bool = False) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        state = {"state_dict": networks.build(NARROW, STRIPES).state_dict(), "epoch": 3}
        torch.save(state, path, _use_new_zipfile_serialization=not old)

    return make


def left(path: Path) -> None:
    archive = io.BytesIO()
    torch.save({"fingerprint": "f", "epoch": 2, "weights": {"a": torch.ones(9)}}, archive)
    path.write_bytes(archive.getvalue())
    seal_checkpoint(path)


def seal_checkpoint(path: Path) -> None:
    content = path.read_bytes()
    if content[64:65] == b"\n":
        content = content[65:]
    path.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


HEADER = Header("t", "d", "none", 2, 4)


def table(path: Path) -> None:
    np.save(path, np.zeros((2, 8, 4), np.float16))
    seal_table(path)


def seal_table(path: Path) -> None:
    about = {"teacher": "t", "data": "d", "reinforcement": "none", "views": 2, "classes": 4}
    write_json(path.with_suffix(".json"), {**about, "images": 8, "sha256": digest(path)})


def clusters(path: Path) -> None:
    head = "kind,gamma,split,space,metric,labels,seed,silhouette,top1\n"
    path.write_text(head + "gradient,0.5,test,logits,euclidean,sub,,0.25,0.5\n" * 1)


def held(path: Path) -> None:
    content = {**lock._place(), "pid": 1, "started": "5", "job": None, "token": "x"}
    path.write_text(json.dumps(content))


CONFIG = (Path(__file__).resolve().parents[2] / "config.yaml").read_text()

KINDS = [
    Kind("cell.json", cell, results.read_cells),
    Kind("search.json", search, lambda p: results.search_notes(p, {"methods": {}, "networks": {}})),
    Kind("responses.json", responses, results.read_responses),
    Kind("clusters/stripes/resnet8/card.json", analysis, lambda p: (check_card(p), read_json(p))),
    Kind("run.yaml", run_card, lambda p: cards.read(p.parent)),
    Kind("clusters.csv", clusters, results.read_clusters),
    Kind("predictions.npz", predictions, load_predictions),
    Kind(
        "data.safetensors",
        prepared_data,
        lambda p: [dataset.load(p.parent).split(s) for s in ("train", "fit", "holdout", "test")],
        seal_data,
    ),
    Kind(
        "weights.safetensors",
        network,
        lambda p: load_network(p.parent, NARROW, STRIPES),
        seal_run,
    ),
    Kind("released.pth", weights(), weight_files.read),
    Kind("released.tar", weights(old=True), weight_files.read),
    Kind("released.safetensors", network, weight_files.read),
    Kind("seed0.pt", left, checkpoint.read, seal_checkpoint, (ValueError,)),
    Kind("seen.pt", left, traces.checkpoint_epoch),
    Kind("gradient-0.npy", table, lambda p: open_table(p, HEADER), seal_table),
    Kind("lock", held, lambda p: lock.alive(lock.read(p), 5.0)),
    Kind(
        "config.yaml",
        lambda p: p.write_text(CONFIG),
        lambda p: yaml_reader.parse(p.read_text(errors="replace"), "config.yaml"),
    ),
]
SEALED = {
    "cell.json",
    "search.json",
    "responses.json",
    "clusters/stripes/resnet8/card.json",
    "run.yaml",
}


# ------------------------------------------------------------------------------------ damage


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A few bytes turned, cut, doubled or put elsewhere; numbers made huge."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        size = max(len(changed), 1)
        start = rng.randrange(min(size, 600) if rng.random() < 0.5 else size)
        match rng.randrange(7):
            case 0 | 1 | 2:
                if changed:
                    changed[start % size] ^= 1 << rng.randrange(8)
            case 3:
                del changed[start : start + rng.choice([1, 2, 50, size])]
            case 4:
                changed[start:start] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 9])))
            case 5:
                changed[start:start] = changed[start : start + rng.choice([1, 20, 200])]
            case 6:
                odd = [
                    b"9" * 10_000,
                    b"1e999",
                    b"-1",
                    b"null",
                    b"\xff" * 8,
                    b"[" * 2000,
                    b"2026-13-45",
                ]
                changed[start:start] = rng.choice(odd)
    return bytes(changed)


STRANGE = [None, [], {}, "", "x", -1, 0, 1e308, float("nan"), float("inf"), True, [[]], {"a": {}}]


def replaced(content: Any, rng: random.Random) -> Any:
    """The content with one part exchanged for something strange, dropped or renamed."""
    content = copy.deepcopy(content)
    at = content
    while isinstance(at, dict | list) and at:
        key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
        if not isinstance(at[key], dict | list) or not at[key] or rng.random() < 0.3:
            if isinstance(at, dict) and rng.random() < 0.3:
                value = at.pop(key)
                at.update({} if rng.random() < 0.5 else {f"{key}x": value})
            else:
                at[key] = rng.choice(STRANGE)
            break
        at = at[key]
    return content


FOREIGN: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "a web page": lambda: b"<!DOCTYPE html>\n<html>no</html>",
    "a list": lambda: b"[1, 2]",
    "a word": lambda: b"x",
    "a number of 10,000 digits": lambda: b'{"seal": ' + b"9" * 10_000 + b"}",
    "nested 100,000 deep": lambda: b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a YAML that contains itself": lambda: b"a: &a [*a]\nfiles: *a\nseal: x\n",
    "a date that does not exist": lambda: b"a: 2026-13-45\nfiles: {}\nseal: x\n",
    "UTF-16": lambda: '{"a": 1}'.encode("utf-16"),
    "a pickle of a list": lambda: pickle.dumps([1, 2]),
    "a torch file of a list": lambda: torched([torch.ones(2)]),
    "whole numbers for names": lambda: torched({1: torch.ones(2), 2: torch.ones(3)}),
    "quantised numbers": lambda: torched(
        {"a": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)}
    ),
    "sparse numbers": lambda: torched({"a": torch.eye(3).to_sparse()}),
    "an array of objects": lambda: arrayed(np.array([{}], dtype=object)),
    "an array of another shape": lambda: arrayed(np.zeros((3, 3))),
    "arrays of other names": lambda: archived({"x": np.ones(3)}),
    "a tar": lambda: tarred(),
    "an encrypted zip": lambda: spoilt_zip(flags=1),
    "a zip of an unknown method": lambda: spoilt_zip(method=77),
    "other tensors": lambda: save({"x": torch.ones(2, 2)}),
    "no tensors": lambda: save({}),
}


def torched(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def arrayed(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def archived(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("data.pkl")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))
    return file.getvalue()


def spoilt_zip(flags: int = 0, method: int = 0) -> bytes:
    """An archive of torch or NumPy whose entries claim encryption or a method that nobody has."""
    content = bytearray(archived({name: np.ones(4) for name in ("labels", "logits", "data.pkl")}))
    for mark, flag, how in ((b"PK\x03\x04", 6, 8), (b"PK\x01\x02", 8, 10)):
        place = content.find(mark)
        while place >= 0:
            content[place + flag] |= flags
            content[place + how] = method or content[place + how]
            place = content.find(mark, place + 4)
    return bytes(content)


# ------------------------------------------------------------------------------------- tests


def attempt(kind: Kind, path: Path) -> object:
    """What the reader returns, or the one line that it refuses the file with."""
    try:
        return kind.read(path)
    except (Refused, *kind.failing) as problem:
        told = str(problem)
        assert told
        assert "\n" not in told
        assert len(told) < 2000
        assert "weights_only" not in told, "torch's tip to switch its safety off"
        return problem


def in_process(work: Callable[[], None]) -> None:
    """Do it in a forked process; fails with its traceback, or its signal."""
    inbound, outbound = os.pipe()
    if pid := os.fork():
        os.close(outbound)
        told = os.fdopen(inbound).read()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status == 0, told or f"ended with {status}"
        return
    status = 1
    try:
        signal.alarm(PATIENCE)
        work()
        status = 0
    except BaseException:
        os.write(outbound, traceback.format_exc()[-4000:].encode())
    finally:
        os._exit(status)


def until_late(seconds: float = SECONDS) -> Iterator[int]:
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end or number < 30:
        yield number
        number += 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_damage_is_more_than_one_line(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / kind.name
    kind.make(path)
    sound = path.read_bytes()
    assert not isinstance(attempt(kind, path), Exception), "the sound file is taken"

    def work() -> None:
        rng = random.Random(16)
        for number in until_late():
            path.write_bytes(mutated(sound, rng))
            if number % 2:
                kind.again(path)
            found = attempt(kind, path)
            if kind.name in SEALED and not isinstance(found, Exception):
                content = (read_yaml if path.suffix == ".yaml" else read_json)(path)
                path.write_bytes(sound)
                assert content == (read_yaml if path.suffix == ".yaml" else read_json)(path)

    in_process(work)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_foreign_files_are_one_line(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / kind.name
    kind.make(path)

    def work() -> None:
        for name, content in FOREIGN.items():
            path.write_bytes(content())
            kind.again(path)
            try:
                attempt(kind, path)
            except Exception as problem:
                raise AssertionError(name) from problem

    in_process(work)


@pytest.mark.parametrize("name", sorted(SEALED))
def test_sound_seals_around_strange_content_are_one_line(name: str, tmp_path: Path) -> None:
    kind = next(kind for kind in KINDS if kind.name == name)
    path = tmp_path / kind.name
    kind.make(path)
    read, write = (read_yaml, write_yaml) if name.endswith("yaml") else (read_json, write_json)
    sound = read(path)

    def work() -> None:
        rng = random.Random(16)
        for _ in until_late():
            write(path, replaced(sound, rng))
            attempt(kind, path)

    in_process(work)


@pytest.mark.parametrize("name", sorted(SEALED))
def test_every_flipped_bit_that_changes_something_is_refused_by_name(
    name: str, tmp_path: Path
) -> None:
    kind = next(kind for kind in KINDS if kind.name == name)
    path = tmp_path / kind.name
    kind.make(path)
    read = read_yaml if name.endswith("yaml") else read_json
    sound, content = path.read_bytes(), read(path)
    for place in range(len(sound)):
        for bit in random.Random(place).sample(range(8), 2):
            flipped = bytearray(sound)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            try:
                found, told = read(path), kind.name
            except Refused as problem:
                found, told = content, str(problem)
            assert found == content
            assert kind.name in told
    assert SEAL not in content


@pytest.mark.parametrize("name", ["predictions.npz", "released.pth", "seed0.pt"])
def test_a_bomb_is_refused_before_it_is_unpacked(name: str, tmp_path: Path) -> None:
    """A gigabyte of zeros in a megabyte."""
    kind = next(kind for kind in KINDS if kind.name == name)
    path, member = tmp_path / kind.name, "labels.npy" if name.endswith("npz") else "a/data.pkl"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(member, "w", force_zip64=True) as file,
    ):
        for _ in range(1000):
            file.write(bytes(2**20))
    kind.again(path)
    assert path.stat().st_size < 2**21

    def peak() -> int:
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

    def work() -> None:
        Path("/proc/self/clear_refs").write_text("5")
        before = peak()
        found = attempt(kind, path)
        assert "would unpack to" in str(found)
        assert peak() - before < 100_000  # kB

    in_process(work)


def test_the_size_of_an_archive_of_arrays_may_be_large_where_it_is_not_packed(
    tmp_path: Path,
) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(10**7))
    assert readers.read_npz(tmp_path / "a.npz", ["x"])["x"].shape == (10**7,)
