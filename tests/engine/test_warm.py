"""Jobs in forks of a process that has imported torch already: as in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CELL = "digits/mlp256/ce"
LONG = ("--set", "recipes.r_mlp.epochs=2000", "--set", "seeds=[0]")


@pytest.fixture(scope="module")
def warm() -> Iterator[dict[str, str]]:
    """The environment of commands beside a warm process, once it is ready."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    wait = "import os, sys; print(os.environ['XKD_WARM'], flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-m", "xkd.warm", sys.executable, "-c", wait],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    path = Path(process.stdout.readline().strip())
    end = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < end, "it never became ready"
        time.sleep(0.1)
    yield {**environment, "XKD_WARM": str(path)}
    process.stdin.close()
    assert process.wait(60) == 0
    assert not path.exists()


def start(environment: dict[str, str], *arguments: str, **more: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "xkd", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more,
    )  # fmt: skip


def run(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    process = start(environment, *arguments)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_a_job_writes_and_ends_as_in_a_process_of_its_own(warm, tmp_path: Path) -> None:
    cold = {k: v for k, v in warm.items() if k != "XKD_WARM"}
    weights = []
    for name, environment in (("cold", cold), ("warm", warm)):
        where = ("--results", str(tmp_path / name), "--set", "seeds=[0]")
        assert run(environment, "prepare", "digits", *where)[0] == 0
        status, _, err = run(environment, "train", CELL, *where)
        assert status == 0, err
        assert "training seeds 0" in err
        weights.append(
            (tmp_path / name / f"demo/runs/{CELL}/seed0/weights.safetensors").read_bytes()
        )
    assert weights[0] == weights[1]
    status, _, err = run(warm, "train", "digits/mlp256/cee")
    assert status == 2
    assert err.startswith("xkd train: ")


def under_way(process: subprocess.Popen) -> int:
    """The process that trains, once it is at it."""
    while "training seeds" not in (line := process.stderr.readline()):
        assert line, "it ended"
    (lock,) = Path(process.args[-1]).rglob("lock")
    time.sleep(2)  # some epochs
    return json.loads(lock.read_text())["pid"]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_signals_reach_the_job_which_leaves_a_checkpoint(warm, tmp_path, number, status) -> None:
    assert run(warm, "prepare", "digits", "--results", str(tmp_path))[0] == 0
    process = start(warm, "train", CELL, *LONG, "--results", str(tmp_path))
    job = under_way(process)
    process.send_signal(number)
    assert process.wait(60) == status
    assert list(tmp_path.rglob("seed0.pt"))
    assert not alive(job)


def test_a_killed_client_takes_its_job_along(warm, tmp_path: Path) -> None:
    assert run(warm, "prepare", "digits", "--results", str(tmp_path))[0] == 0
    process = start(warm, "train", CELL, *LONG, "--results", str(tmp_path))
    job = under_way(process)
    assert alive(job)
    process.kill()
    process.wait(60)
    end = time.monotonic() + 30
    while alive(job) and time.monotonic() < end:
        time.sleep(0.1)
    assert not alive(job)


def test_a_killed_job_ends_its_client_by_the_same_signal(warm, tmp_path: Path) -> None:
    assert run(warm, "prepare", "digits", "--results", str(tmp_path))[0] == 0
    process = start(warm, "train", CELL, *LONG, "--results", str(tmp_path))
    os.kill(under_way(process), signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL


@pytest.mark.parametrize("ready", [True, False])
def test_a_script_runs_as_python_would_run_it(warm, tmp_path: Path, ready: bool) -> None:
    script = tmp_path / "ein Skript.py"
    script.write_text(
        "import sys\nif __name__ == '__main__':\n    print(sys.argv, 'matplotlib' in sys.modules)\n"
        "    sys.exit('one line') if sys.path[0] == " + repr(str(tmp_path)) + " else None\n"
    )
    environment = warm if ready else {k: v for k, v in warm.items() if k != "XKD_WARM"}
    done = subprocess.run(
        [sys.executable, "-m", "xkd.warm", "--script", str(script)],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == f"{[str(script)]} {ready}\n"
    assert "one line" in done.stderr


SERVES_JOBLIB = """
import sys
from pathlib import Path
from joblib import Parallel, delayed
from xkd.warm import serve

def main(arguments):
    print(Parallel(2, "loky")(delayed(abs)(number) for number in (-1, 2)))
    return 3

serve(Path(sys.argv[1]), main)
"""


def test_processes_that_a_job_leaves_to_its_interpreter_end_with_it(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    path = tmp_path / "socket"
    server = subprocess.Popen([sys.executable, "-c", SERVES_JOBLIB, path], env=environment)
    try:
        end = time.monotonic() + 60
        while not path.exists():
            assert time.monotonic() < end, "it never became ready"
            time.sleep(0.1)
        job = subprocess.run(
            [sys.executable, "-c", "import xkd.warm as w; raise SystemExit(w.handed_over())"],
            env={**environment, "XKD_WARM": str(path)},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (job.returncode, job.stdout) == (3, "[1, 2]\n")
    finally:
        server.kill()
        server.wait()
