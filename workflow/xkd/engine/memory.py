"""How much memory a cell will take, worked out before it starts."""

import sys
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from xkd.engine.build import build_method
from xkd.engine.runtime import Runtime
from xkd.engine.schedule import epoch_settings
from xkd.errors import Refused
from xkd.networks import Network
from xkd.plan.settings import CellSettings

AFFECTS_RESULTS = False
PROCESS = 400e6  # Python and torch themselves
FORKED = 75e6  # of which a forked process makes copies as it writes to them
PROBE = 4  # images whose activations are counted


class Cgroup(NamedTuple):
    """Where a version of control groups keeps limit, use, and use for copies of files; bytes.

    marker: in the line of /proc/self/cgroup that names the process's group
    """

    marker: str
    root: Path
    limit: str
    used: str
    files: str


OWN_CGROUPS = Path("/proc/self/cgroup")
CGROUPS = (
    Cgroup("0::", Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    Cgroup(
        "memory",
        Path("/sys/fs/cgroup/memory"),
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


class Estimate(NamedTuple):
    """Bytes.

    shared: data, table, libraries; seed: weights, momentum, banks, activations of one seed
    """

    shared: float
    seed: float

    def total(self, seeds: int) -> float:
        return self.shared + seeds * self.seed


def estimate(
    settings: CellSettings,
    teacher: Network | None,
    shared: float,
    processes: int = 1,
    labels: Tensor | None = None,
) -> Estimate:
    """Count the activations of a few images, and scale them up to a batch.

    Args:
        shared: bytes of images and table, once for all seeds.
        processes: among which every batch is shared.
        labels: of the training images, [N]: a method may keep a bank of all of them.
    """
    method = build_method(settings, teacher, labels)
    dataset = settings.dataset
    weights = sum(weight.nbytes for weight in method.parameters())
    banks = sum(buffer.nbytes for buffer in method.buffers())
    images = torch.zeros(PROBE, dataset.channels, dataset.size, dataset.size)
    kept: dict[int, int] = {}
    outputs = []  # alive until all are counted: memory that is given back would be counted once

    def note(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return saved

    for network in (method.student, *method.others.values()):
        with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
            outputs.append(network(images))
    del outputs
    for weight in method.parameters():
        kept.pop(weight.untyped_storage().data_ptr(), None)
    batch = max(
        epoch.recipe.batch
        for epoch in epoch_settings(method.stages(settings.recipe), settings.recipe)
    )
    # As much again for gradients on the way, and for what the teacher and the losses hold.
    activations = 2 * sum(kept.values()) * batch / PROBE / processes
    return Estimate(PROCESS + shared, 3 * weights + banks + activations)


def require(settings: CellSettings, needed: Estimate, at_once: int, runtime: Runtime) -> None:
    """Raises Refused, with what would fit, if the cell is larger than the memory at hand.

    Args:
        at_once: seeds that are trained at the same time.
    """
    free = available(runtime)
    if free is None or needed.total(at_once) <= free:
        return
    fits = int((free - needed.shared) // needed.seed)
    remedy = (
        f"{fits} seeds at once would fit: lower the threads of the job"
        if 0 < fits < at_once
        else "take a smaller batch, the backend 'loop' or a machine with more memory"
    )
    raise Refused(
        f"cell {settings.cell} needs about {_gib(needed.total(at_once))} of memory "
        f"({_gib(needed.shared)} shared, {at_once} x {_gib(needed.seed)} for seeds trained at "
        f"once), {_gib(free)} is free; {remedy}"
    )


def room(needed: Estimate, runtime: Runtime) -> int:
    """Seeds that half of the memory at hand holds: the rest is for whoever else comes."""
    free = available(runtime)
    return sys.maxsize if free is None else int((free / 2 - needed.shared) // needed.seed)


def available(runtime: Runtime) -> float | None:
    """Free bytes on the device; on a CPU within the limits of the container, None if unknown."""
    if runtime.on_cuda:
        return float(torch.cuda.mem_get_info(runtime.device)[0])
    return min((value for value in (_meminfo(), *_cgroups()) if value is not None), default=None)


def _meminfo() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024.0 * int(x.split()[1]) for x in lines if x.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None


def _cgroups() -> list[float]:
    """What is left of the limits that a container or a SLURM job sets, on every level.

    Copies of files, which the system drops when memory runs short, count as free.
    """
    left = []
    for version in CGROUPS:
        for group in _own_groups(version):
            try:
                limit = (group / version.limit).read_text(encoding="ascii").strip()
                if limit != "max":
                    used = float((group / version.used).read_text(encoding="ascii"))
                    left.append(float(limit) - used + _droppable(group, version))
            except (OSError, ValueError):
                continue
    return left


def _own_groups(version: Cgroup) -> list[Path]:
    """The folder of this process's group, and of all groups around it."""
    try:
        lines = OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
        own = next(line for line in lines if version.marker in line.partition("/")[0])
    except (OSError, StopIteration):
        return []
    root = version.root
    folder = root / own.partition("/")[2]
    return [group for group in (folder, *folder.parents) if group.is_relative_to(root)]


def _droppable(group: Path, version: Cgroup) -> float:
    lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    return float(dict(line.split() for line in lines).get(version.files, 0))


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
