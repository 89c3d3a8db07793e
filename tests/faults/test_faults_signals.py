"""Any signal, to any of a job's processes, at any moment: it ends soon, in order, and continues."""

import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import fake_cells
import pytest
from fake_cells import RECIPE, cell, files, train

from xkd.engine import stopping
from xkd.engine.stopping import RESUMABLE
from xkd.errors import Refused
from xkd.plan.runs import Layout, Run
from xkd.records import checkpoint

SETTINGS = cell("dropout", (0, 1, 2), recipe=replace(RECIPE, epochs=40))
SOON = 15.0  # seconds; less than the time of grace, after which processes are killed
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = Layout(tmp_path_factory.mktemp("undisturbed"))
    fake_cells.prepared(layout)
    train(SETTINGS, layout)
    return layout


def started(layout: Layout, backend: str) -> int:
    """The leader of a process group that trains, and writes to `log`."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        os.setsid()
        log = os.open(layout.root / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        status = train(SETTINGS, layout, backend=backend, threads=2)
    except KeyboardInterrupt:
        status = 130
    except Refused as problem:
        os.write(2, f"{problem}\n".encode())
        status = 2
    finally:
        os._exit(status)


def children(pid: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def ended(pid: int) -> int | None:
    """Exit status; None if it has not ended soon."""
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


def disturb(pid: int, rng: random.Random) -> tuple[str, signal.Signals, bool]:
    """Send a signal, once or twice, to the leader, its group or one of its children."""
    number = rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    receiver = rng.choice(["leader", "leader", "group", "group", "child"])
    twice = rng.random() < 0.2
    for _ in range(1 + twice):
        try:
            if receiver == "leader":
                os.kill(pid, number)
            elif receiver == "group":
                os.killpg(pid, number)
            elif found := children(pid):
                os.kill(rng.choice(found), number)
            if twice:
                time.sleep(rng.uniform(0, 0.1))
        except ProcessLookupError:
            break
    return receiver, number, twice


def trained(layout: Layout) -> float:
    """Epochs in checkpoints and complete runs, and steps as fractions."""
    total = 0.0
    for seed in SETTINGS.seeds:
        path = layout.resume(Run(SETTINGS.cell, seed))
        if (layout.run(Run(SETTINGS.cell, seed)) / "run.yaml").exists():
            total += SETTINGS.recipe.epochs
        elif path.exists():
            state = checkpoint.read(path)
            total += state["epoch"] + (state["position"] or 0) / 1000
    return total


@pytest.mark.parametrize(("backend", "rounds"), [("procs", 3), ("loop", 1)])
def test_every_signal_to_every_process_at_every_moment(
    backend: str, rounds: int, undisturbed: Layout, tmp_path: Path
) -> None:
    """Some 60 signals from a fixed seed; no checkpoint is left but for them."""
    rng = random.Random(16)
    for round_ in range(rounds):
        layout = Layout(tmp_path / str(round_))
        layout.root.mkdir()
        (layout.root / "data").symlink_to(undisturbed.root / "data")
        for attempt in range(40):
            before, log = trained(layout), layout.root / "log"
            log.write_text("")
            pid = started(layout, backend)
            time.sleep(rng.uniform(0, 0.3 + attempt / 10))  # on a slow machine too
            story = disturb(pid, rng)
            status = ended(pid)
            told = log.read_text()
            if status is None:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                pytest.fail(f"{story} left it hanging; it said: {told}")
            with pytest.raises(ProcessLookupError):
                os.killpg(pid, 0)  # none of its processes is left
            receiver, number, twice = story
            stopped = RESUMABLE if number != signal.SIGINT else 130
            # Before it listens, a signal ends it as it ends any process, and nothing is lost.
            allowed = {0, stopped, -number} if receiver != "child" else {0, 2}
            assert status in allowed, (story, told)
            left = list(layout.cell(SETTINGS.cell).rglob("*.part"))
            assert not left or twice, story
            assert trained(layout) >= before, story
            if status == stopped and not twice and re.search(r"by SIG\w+; checkpoints", told):
                assert trained(layout) > before or "training seeds" not in told, (story, told)
            if status == 0:
                break
        else:
            pytest.fail("it never came to its end")
        for seed in SETTINGS.seeds:
            assert files(SETTINGS, layout, seed) == files(SETTINGS, undisturbed, seed)


def test_a_process_that_does_not_stop_is_killed_after_the_time_of_grace(
    undisturbed: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xkd.engine.backends import procs

    layout = Layout(tmp_path)
    (layout.root / "data").symlink_to(undisturbed.root / "data")

    def deaf(job: object, seed: int) -> None:
        while True:
            time.sleep(1)

    monkeypatch.setattr(procs, "GRACE", 0.5)
    monkeypatch.setattr(procs, "train_seed", deaf)
    pid = started(layout, "procs")
    while len(children(pid)) < 2:
        time.sleep(0.01)
    os.kill(pid, signal.SIGTERM)
    status = ended(pid)
    if status is None:
        os.killpg(pid, signal.SIGKILL)
    assert status == RESUMABLE


def test_a_signal_while_a_process_is_forked_reaches_it(
    undisturbed: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python drops signals that come before its interpreter is ready in the new process."""
    layout = Layout(tmp_path)
    (layout.root / "data").symlink_to(undisturbed.root / "data")
    fork = os.fork

    def meanwhile() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return fork()

    def start() -> int:
        if pid := fork():
            return pid
        os.fork = meanwhile
        os._exit(train(SETTINGS, layout, backend="procs", threads=2))

    pid = start()
    assert ended(pid) == RESUMABLE


IMPORTS = """
import sys, time
from xkd.engine import stopping
stopping.leave_at_once("train")
class Callback:
    def __del__(self):  # where Python swallows every exception
        print("ready", flush=True)
        time.sleep(5)
Callback()
print("survived", flush=True)
"""


def test_ctrl_c_is_not_swallowed_before_training_begins() -> None:
    """An exception that is raised in a callback, of which imports have many, is ignored."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    process = subprocess.Popen(
        [sys.executable, "-c", IMPORTS], env=environment, stdout=-1, stderr=-1, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=SOON)
    assert (process.returncode, out) == (130, "")
    assert told == "xkd train: interrupted; the same command continues\n"


@pytest.mark.parametrize("backend", ["procs", "loop"])
def test_a_terminal_that_is_closed_leaves_checkpoints(
    backend: str, undisturbed: Layout, tmp_path: Path
) -> None:
    layout = Layout(tmp_path)
    (layout.root / "data").symlink_to(undisturbed.root / "data")
    pid, terminal = pty.fork()
    if not pid:
        status = 1
        try:
            sys.stderr = os.fdopen(2, "w")  # with bars
            status = train(SETTINGS, layout, backend=backend, threads=2)
        finally:
            os._exit(status)
    shown = b""
    while not re.search(rb"epoch ([2-9]|\d\d)/40", shown):  # bars leave out some
        shown += os.read(terminal, 65536)
    os.close(terminal)
    assert ended(pid) == RESUMABLE
    assert trained(layout) > 0
    train(SETTINGS, layout)
    for seed in SETTINGS.seeds:
        assert files(SETTINGS, layout, seed) == files(SETTINGS, undisturbed, seed)


def test_what_is_ignored_stays_ignored() -> None:
    """As SIGHUP under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.requested is None
    finally:
        signal.signal(signal.SIGHUP, before)
    with stopping.Stop() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.requested == signal.SIGHUP
