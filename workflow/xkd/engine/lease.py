"""One GPU per job on a machine with several: whoever is given none takes a free one.

Snakemake counts GPUs but hands out no indices, so every job would compute on the first. Here a job
locks a file per GPU for as long as it lives; the system releases the lock whenever the process
ends, however it ends. SLURM hands out indices itself, and those are left alone.
"""

import contextlib
import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path

from xkd.errors import Refused

AFFECTS_RESULTS = False
VARIABLE = "CUDA_VISIBLE_DEVICES"
PERIOD = 1.0  # seconds between two looks for a free GPU

_held: list[int] = []  # file descriptors; open until the process ends


def lease_gpu(
    cells: int = 1,
    *,
    count: int | None = None,
    environment: MutableMapping[str, str] = os.environ,
    folder: Path | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> str | None:
    """Take a GPU that fewer than `cells` jobs use, and make it the only one this process sees.

    Waits until there is one. Call before CUDA is initialised; importing torch does not do that,
    asking for its devices does.

    Args:
        cells: how many jobs may share one GPU.
        count: GPUs of this machine; None looks.
        folder: of the lock files; None takes one per user beside other temporary files.
    Returns: its index; None if there is no GPU, or a single one has been assigned already.
    Raises: Refused when the folder of the locks belongs to somebody else.
    """
    gpus = _candidates(count, environment)
    if not gpus:
        return None
    folder = folder or _folder()
    places = [(gpu, place) for place in range(cells) for gpu in gpus]  # an empty GPU first
    announced = False
    while True:
        for gpu, place in places:
            if _lock(folder / f"gpu{gpu}.{place}"):
                environment[VARIABLE] = gpu
                return gpu
        if not announced:
            announced = True
            print(
                f"waiting for a GPU: all of {', '.join(gpus)} are taken ({folder}); "
                f"{cells} may share one (engine: cells_per_gpu)",
                file=sys.stderr,
                flush=True,
            )
        wait(PERIOD)


def count_gpus() -> int:
    """NVIDIA GPUs that this process may open: a container or a SLURM job may hide some."""
    return sum(map(_opens, Path("/dev").glob("nvidia[0-9]*")))


def _candidates(count: int | None, environment: MutableMapping[str, str]) -> list[str]:
    """Among which to choose; none where the choice has been made.

    Several in the variable, outside SLURM, are what a person wants this machine's jobs to share.
    """
    assigned = environment.get(VARIABLE)
    if assigned is None:
        return [str(index) for index in range(count_gpus() if count is None else count)]
    gpus = [name.strip() for name in assigned.split(",") if name.strip()]
    return gpus if len(gpus) > 1 and "SLURM_JOB_ID" not in environment else []


def _lock(path: Path) -> bool:
    """Whether the lock is ours from now on. Forked processes share it, started programs do not."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()} {' '.join(sys.argv)}\n".encode())
    _held.append(descriptor)
    return True


def _folder() -> Path:
    """On a local disk, the same for all jobs of this user on this machine."""
    path = Path(tempfile.gettempdir()) / f"xkd-gpus-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise Refused(f"{path} belongs to somebody else; set TMPDIR to a folder of your own")
    return path


def _opens(device: Path) -> bool:
    if not device.name.removeprefix("nvidia").isdigit():
        return False
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True
