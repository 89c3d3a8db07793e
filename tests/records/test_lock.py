"""One writer per cell."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from xkd.errors import Refused
from xkd.records import lock
from xkd.records.lock import Lock, locked


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".resume" / "lock"


def leave(path, age: float = 0.0, **holder) -> None:
    """A lock that another process left, with its last sign of life so many seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    elsewhere = {"host": "elsewhere", "boot": "b", "pids": "pid:[1]", "restart": 0}
    content = {**elsewhere, "pid": 1, "started": "5", "job": None, "token": "x"}
    path.write_text(json.dumps(content | holder))
    now = path.stat().st_mtime
    os.utime(path, (now - age, now - age))


def test_a_lock_is_gone_afterwards_also_after_an_error(path):
    def fail() -> None:
        with locked(path, "cell c"):
            assert path.exists()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(path.parent.iterdir()) == []


def test_a_second_writer_on_this_machine_is_refused_with_the_command_that_ends_it(path):
    with locked(path, "cell c"), pytest.raises(Refused) as caught, locked(path, "cell c"):
        pass
    message = str(caught.value)
    assert message.startswith(f"cell c is being written by process {os.getpid()}")
    assert f"kill {os.getpid()}" in message


def test_a_second_writer_under_slurm_is_refused_with_squeue_and_scancel(path):
    leave(path, age=20, job="4711")
    with pytest.raises(Refused, match=r"`squeue -j 4711`, end it with `scancel 4711`"):
        Lock(path, "cell c").acquire()


def test_the_lock_of_a_dead_process_is_broken(path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    leave(path, **lock._place(), pid=ended.pid)
    with locked(path, "cell c"):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_number_that_another_process_got_meanwhile_is_no_holder(path):
    leave(path, **lock._place(), pid=os.getpid(), started="long ago")
    with locked(path, "cell c"):
        pass


def test_a_lock_of_another_machine_without_heartbeat_is_broken(path):
    leave(path, age=lock.STALE + 1)
    with locked(path, "cell c"):
        pass


def test_a_requeued_job_takes_over_from_its_lost_machine(path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    leave(path, age=20, job="4711")
    with locked(path, "cell c"):
        pass


def test_a_second_step_of_one_slurm_job_is_refused(path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    leave(path, age=20, job="4711")
    with pytest.raises(Refused, match="gave a sign of life 20 s ago"):
        Lock(path, "cell c").acquire()


@pytest.mark.parametrize("differs", ["host", "boot", "pids"])
def test_where_process_numbers_mean_something_else_the_heartbeat_decides_alone(path, differs):
    """Two containers share host name and folder; the first one's process has no number here."""
    beside = {**lock._place(), differs: "another"}
    leave(path, age=20, **beside, pid=4_000_000)
    with pytest.raises(Refused, match=r"gave a sign of life 20 s ago.*in its container"):
        Lock(path, "cell c").acquire()
    leave(path, age=lock.STALE + 1, **beside, pid=os.getpid())
    with locked(path, "cell c"):
        pass


HOLD = """
import sys, time
from pathlib import Path
from xkd.records.lock import locked
with locked(Path(sys.argv[1]), "cell c"):
    print("holds", flush=True)
    sys.stdin.read()
"""


def test_of_two_containers_with_one_host_name_one_writes(path):
    """Processes of a PID namespace of their own, as `--containall` and `--uts host` make it."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("no PID namespaces may be made here (needs root)")
    python = [sys.executable, "-c", HOLD, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(lock.__file__).parents[2])}
    first = subprocess.Popen(
        [*command, *python], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert first.stdout.readline() == b"holds\n"
    second = subprocess.run([*command, *python], input=b"", capture_output=True, env=environment)
    assert second.returncode == 1
    assert b"which gave a sign of life" in second.stderr
    with pytest.raises(Refused, match="gave a sign of life"):
        Lock(path, "cell c").acquire()
    first.communicate()
    assert first.returncode == 0
    with locked(path, "cell c"):
        pass


def test_what_a_killed_contender_left_is_swept(path):
    path.parent.mkdir(parents=True)
    for name in ("lock.0123", "lock.0123.now"):
        (path.parent / name).touch()
    with locked(path, "cell c"):
        assert [one.name for one in path.parent.iterdir()] == ["lock"]


@pytest.mark.parametrize("damage", ["[]", "{", "[" * 100_000, '{"pid": "x"}', '{"pid": 1e999}'])
def test_a_lock_that_is_no_lock_counts_by_its_date(path, damage):
    leave(path)
    path.write_text(damage)
    with pytest.raises(Refused, match="gave a sign of life"):
        Lock(path, "cell c").acquire()


def test_a_damaged_lock_is_void_once_it_is_old(path):
    leave(path)
    path.write_text("{")
    with pytest.raises(Refused, match="gave a sign of life"):
        Lock(path, "cell c").acquire()
    os.utime(path, (1, 1))
    with locked(path, "cell c"):
        pass


@pytest.mark.parametrize("attempt", range(25))
def test_of_many_that_break_a_dead_lock_one_gets_it(path, attempt):
    leave(path, age=lock.STALE + 1)
    contenders = [Lock(path, "cell c") for _ in range(8)]
    results, barrier = [], threading.Barrier(8)

    def contend(contender: Lock) -> None:
        barrier.wait()
        try:
            contender.acquire()
            results.append("got it")
        except Refused:
            results.append("refused")

    threads = [threading.Thread(target=contend, args=(one,)) for one in contenders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["got it"] + ["refused"] * 7
    for contender in contenders:
        contender.release()


def test_the_heart_beats_and_notices_when_the_lock_is_somebody_elses(path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.01)
    gone = threading.Event()
    holder = Lock(path, "cell c", on_loss=gone.set)
    holder.acquire()
    os.utime(path, (1, 1))
    for _ in range(500):
        if path.stat().st_mtime > 1:
            break
        threading.Event().wait(0.01)
    assert path.stat().st_mtime > 1
    leave(path)
    assert gone.wait(5)
    holder.release()
    assert path.exists(), "it is not ours to remove"


def test_a_file_system_without_hard_links_will_do(path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "not supported")

    monkeypatch.setattr(os, "link", refuse)
    with locked(path, "cell c"), pytest.raises(Refused), locked(path, "cell c"):
        pass
    assert not path.exists()
