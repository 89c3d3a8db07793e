"""Seeds that fail among others, two that train the same cell, downloads that break off."""

import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fake_cells
import pytest
from fake_cells import cell, files, train

from xkd.data import sources
from xkd.engine.job import CheckpointSchedule
from xkd.engine.training import Training
from xkd.errors import Refused
from xkd.files import read_json
from xkd.plan.runs import Layout
from xkd.records import lock
from xkd.records.lock import locked

FIVE = cell("dropout", (0, 1, 2, 3, 4))


@pytest.fixture
def five(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "five")
    fake_cells.prepared(layout)
    return layout


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Five seeds that nothing befell."""
    layout = Layout(tmp_path_factory.mktemp("sound"))
    fake_cells.prepared(layout)
    train(FIVE, layout)
    return layout


def expect_all_five(five: Layout, sound: Layout) -> None:
    for seed in FIVE.seeds:
        assert files(FIVE, five, seed) == files(FIVE, sound, seed)
    assert five.manifest(FIVE.cell).read_bytes() == sound.manifest(FIVE.cell).read_bytes()


@pytest.mark.parametrize("backend", ["loop", "procs"])
def test_a_loss_that_is_not_a_number_stops_one_seed_of_five_and_prints_no_number(
    five: Layout, sound: Layout, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Training.step

    def poisoned(training: Training, index, view):
        if training.seed == 3 and training.epoch == 1:
            next(training.method.student.parameters()).data.fill_(float("nan"))
        return step(training, index, view)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", poisoned)
        with pytest.raises(Refused) as caught:
            train(FIVE, five, backend=backend, threads=2, checkpoint_minutes=0)
    message = str(caught.value)
    assert "1 of 5 seeds failed, the others are complete: seed 3: the loss became nan" in message
    assert "last good checkpoint: after epoch 1" in message
    folder = five.cell(FIVE.cell)
    assert not five.manifest(FIVE.cell).exists(), "no table can be made of four seeds"
    assert not (folder / "seed3").exists()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("seed?/*")}
    assert len(before) == 4 * 6
    train(FIVE, five)
    assert before.items() <= {p: p.stat().st_mtime_ns for p in before}.items()
    expect_all_five(five, sound)


def test_a_second_job_by_hand_is_told_whom_to_wait_for(
    five: Layout, sound: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_step, told = CheckpointSchedule.after_step, []

    def meanwhile(keeper: CheckpointSchedule) -> None:
        if not told:
            with pytest.raises(Refused) as caught:
                train(FIVE, five)
            told.append(str(caught.value))
        after_step(keeper)

    monkeypatch.setattr(CheckpointSchedule, "after_step", meanwhile)
    train(FIVE, five)
    assert told[0].startswith(f"cell {FIVE.cell} is being written by process {os.getpid()}")
    expect_all_five(five, sound)


def test_a_lock_from_the_future_is_void_once_its_holder_stays_silent(tmp_path: Path) -> None:
    """The clock was set back by a year after another machine, dead since, had left its lock."""
    path = tmp_path / "lock"
    path.write_text('{"host": "elsewhere", "pid": 1, "started": "5", "token": "x"}')
    date = path.stat().st_mtime + 365 * 86400
    os.utime(path, (date, date))
    with pytest.raises(Refused, match="gave a sign of life 0 s ago"), locked(path, "cell c"):
        pass
    date = path.stat().st_mtime - lock.STALE - 1  # five minutes later
    os.utime(path, (date, date))
    with locked(path, "cell c"):
        assert read_json(path, sealed=False)["pid"] == os.getpid()


CONTENT = os.urandom(200_000)


class Unreliable(BaseHTTPRequestHandler):
    """Breaks off half-way through a file, until it is mended."""

    mended = False

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if self.mended else CONTENT[: len(CONTENT) // 2])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a file."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Unreliable)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/file.gz"
    server.shutdown()
    server.server_close()


def test_a_download_that_breaks_off_is_never_taken_for_the_file(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    md5 = hashlib.md5(CONTENT).hexdigest()
    with pytest.raises(Refused, match=r"cannot download http.*; check the network") as caught:
        sources.fetch(site, tmp_path, md5)
    assert "\n" not in str(caught.value)
    assert not sources.intact(tmp_path / "file.gz", md5)
    monkeypatch.setattr(Unreliable, "mended", True)
    sources.fetch(site, tmp_path, md5)
    assert sources.verified(tmp_path / "file.gz", md5) == CONTENT
