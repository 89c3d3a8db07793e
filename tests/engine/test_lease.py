"""GPU leases, without a GPU: the number of devices is told."""

import os
import subprocess
import sys
import textwrap
import time

import pytest

from xkd.engine import lease
from xkd.engine.lease import VARIABLE, lease_gpu
from xkd.errors import Refused

FREE = {}  # the environment of a process to which nothing is assigned


class Taken(Exception):
    """Raised instead of waiting."""


def refuse_to_wait(seconds: float) -> None:
    raise Taken


@pytest.fixture(autouse=True)
def held(monkeypatch):
    """Leases of one test end with it."""
    descriptors: list[int] = []
    monkeypatch.setattr(lease, "_held", descriptors)
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


@pytest.fixture
def take(tmp_path):
    """Lease as another job would: a lock taken twice by one process counts twice."""

    def take(cells: int = 1, count: int = 2, **environment: str) -> str | None:
        return lease_gpu(
            cells, count=count, environment=environment, folder=tmp_path, wait=refuse_to_wait
        )

    return take


def test_jobs_get_different_gpus_and_the_last_one_has_to_wait(take):
    assert [take(count=3) for _ in range(3)] == ["0", "1", "2"]
    with pytest.raises(Taken):
        take(count=3)


def test_the_variable_names_the_leased_gpu_and_no_other(tmp_path):
    environment = {}
    assert lease_gpu(count=2, environment=environment, folder=tmp_path) == "0"
    assert environment == {VARIABLE: "0"}
    environment = {}
    lease_gpu(count=2, environment=environment, folder=tmp_path)
    assert environment == {VARIABLE: "1"}


def test_cells_share_a_gpu_only_when_no_other_is_empty(take):
    assert [take(cells=2) for _ in range(4)] == ["0", "1", "0", "1"]
    with pytest.raises(Taken):
        take(cells=2)


def test_an_index_that_slurm_assigned_is_left_alone(take):
    assert take(**{VARIABLE: "1", "SLURM_JOB_ID": "7"}) is None
    assert take(**{VARIABLE: "0,1", "SLURM_JOB_ID": "7"}) is None
    assert take() == "0", "and none is locked for it"


def test_a_single_gpu_or_none_named_by_a_person_is_left_alone(take):
    assert take(**{VARIABLE: "1"}) is None
    assert take(**{VARIABLE: ""}) is None


def test_of_several_gpus_named_by_a_person_each_job_takes_one(take):
    assert [take(**{VARIABLE: "2, 5"}) for _ in range(2)] == ["2", "5"]


def test_without_a_gpu_nothing_is_set(take):
    assert take(count=0) is None


def test_a_gpu_is_free_again_once_its_job_was_killed(tmp_path, capfd):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        env={"PYTHONPATH": str(lease.__file__).split("/xkd/")[0]},
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"0\n"

    def kill_and_wait(seconds: float) -> None:
        holder.kill()
        time.sleep(0.02)

    taken = lease_gpu(count=1, environment=FREE.copy(), folder=tmp_path, wait=kill_and_wait)
    holder.wait()
    assert taken == "0"
    assert capfd.readouterr().err.count("waiting for a GPU") == 1


HOLD = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from xkd.engine.lease import lease_gpu
    print(lease_gpu(count=1, environment={}, folder=Path(sys.argv[1])), flush=True)
    assert "torch" not in sys.modules
    time.sleep(60)
""")


def test_a_program_that_the_job_starts_does_not_keep_the_lease(take, held):
    take(count=1)
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    os.close(held.pop())
    assert take(count=1) == "0"
    child.kill()
    child.wait()


def test_locks_are_not_made_in_a_folder_of_somebody_else(tmp_path, monkeypatch):
    monkeypatch.setattr(lease.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / f"xkd-gpus-{os.getuid()}").symlink_to("/")
    with pytest.raises(Refused, match="TMPDIR"):
        lease_gpu(count=1, environment=FREE.copy())


def test_only_devices_that_open_are_counted(tmp_path, monkeypatch):
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia2"):
        (tmp_path / name).touch()
    (tmp_path / "nvidia2").unlink()
    (tmp_path / "nvidia2").symlink_to("gone")
    monkeypatch.setattr(lease, "Path", lambda _: tmp_path)
    assert lease.count_gpus() == 2
