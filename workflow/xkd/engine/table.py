"""Tables of a frozen teacher's logits: one row for every view of every training image.

Padding, cropping and mirroring give an image a small number of distinct views (162 at padding 4),
and a teacher in evaluation mode answers each the same every time. So its answers, to the views or
to their reinforced versions, are worked out once for all its students, seeds and epochs.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xkd.data.dataset import load
from xkd.data.stream import Resident
from xkd.engine.cell_data import data_digest
from xkd.engine.options import EngineOptions
from xkd.engine.runtime import Runtime
from xkd.engine.stopping import GRACE, RESUMABLE, Stop, held_back
from xkd.engine.table_file import Header, header_path
from xkd.errors import Refused
from xkd.evaluate import load_network, weights_digest
from xkd.files import atomic, digest, read_json, write_json
from xkd.fingerprint import fingerprint
from xkd.networks import Network
from xkd.plan.runs import Layout, Run
from xkd.plan.settings import CellSettings, Reinforcement
from xkd.readers import map_npy
from xkd.records.lock import locked
from xkd.reinforce import Bounds, bounds_of, reinforce

BATCH, GPU_BATCH = 250, 2000  # views per forward pass
LOOK_SECONDS = 0.2  # between two looks for a reason to stop


def tabulate(
    settings: CellSettings,
    run: Run,
    layout: Layout,
    reinforcement: Reinforcement,
    out: Path,
    *,
    threads: int = 1,
    device: str = "auto",
    plain: Path | None = None,
) -> None:
    """Fill the table of one teacher; continues where an earlier attempt was stopped.

    Args:
        settings: of the cell that the teacher was trained in; run: which of its seeds.
        out: of the table; its header lies beside it.
        threads: views worked on at once, on a CPU.
        plain: also leave the table of the unchanged images here; they are the first pass anyway.
    Raises: Refused if teacher or data are absent or damaged, another process fills this table, or
        the disk is full; SystemExit(75) after SIGTERM or SIGHUP.
    """
    runtime = Runtime.of(EngineOptions(device=device))
    runtime.prepare()
    folder, prepared, dataset = layout.run(run), layout.data(run.cell.dataset), settings.dataset
    images, labels, *_ = load(prepared).split("train")
    channels_last = runtime.layout == torch.channels_last
    train = Resident(images, labels, dataset, runtime.device, channels_last=channels_last)
    teacher = runtime.place(load_network(folder, settings.network, dataset))
    code = fingerprint("xkd.engine.table", f"xkd.networks.{settings.network.family}")
    wanted = {out: reinforcement} | ({plain: Reinforcement(0.0)} if plain else {})
    parts = [
        Part(
            path,
            Header.of(weights_digest(folder), data_digest(prepared), dataset, kind),
            kind,
            len(labels),
            code,
        )
        for path, kind in wanted.items()
    ]
    with locked(out.with_name(f".{out.stem}.lock"), f"table {out}"), Stop() as stop:
        bounds = bounds_of(reinforcement, dataset, runtime.device)
        fill(teacher, train, parts, 1 if runtime.on_cuda else threads, stop, bounds)
        if stop.requested == signal.SIGINT:
            raise KeyboardInterrupt
        if stop.requested is not None:
            raise SystemExit(RESUMABLE)
        for part in parts:
            part.publish()


class Part:
    """A table on its way: the file as far as it got, and which views it holds.

    Both survive a stop under hidden names; other code, teacher or data start them afresh.
    """

    def __init__(
        self, path: Path, header: Header, reinforcement: Reinforcement, images: int, code: str
    ) -> None:
        self.path, self.reinforcement = path, reinforcement
        self.shape = (header.views, images, header.classes)
        size = 2 * int(np.prod(self.shape))
        self.content = {**asdict(header), "images": images, "bytes": size, "code": code}
        self._file, self._done, self._whose = (
            path.with_name(f".{path.stem}.{kind}") for kind in ("part.npy", "done.npy", "part.json")
        )

    def prepare(self) -> None:
        """Make the files, unless an earlier attempt left them. Raises Refused on a full disk."""
        print(
            f"{self.path}: {self.shape[0]} views of {self.shape[1]} images, "
            f"{self.content['bytes'] / 1e6:.1f} MB",
            file=sys.stderr,
        )
        if self._whose.exists() and read_json(self._whose) == self.content:
            return
        self._whose.unlink(missing_ok=True)
        for file, dtype, shape in (
            (self._file, np.float16, self.shape),
            (self._done, np.bool_, self.shape[:1]),
        ):
            with atomic(file) as temporary:
                np.lib.format.open_memmap(temporary, "w+", dtype, shape).flush()
                _reserve(temporary)
        write_json(self._whose, self.content)

    def open(self) -> tuple[np.memmap, np.memmap]:
        """logits, [views, images, C], and done, [views]; writable, shared by all processes."""
        return map_npy(self._file, "r+"), map_npy(self._done, "r+")

    def publish(self) -> None:
        write_json(header_path(self.path), {**self.content, "sha256": digest(self._file)})
        os.replace(self._file, self.path)
        self._done.unlink()
        self._whose.unlink()


def _reserve(path: Path) -> None:
    """Claim the disk space of a file with holes: a full disk would kill whoever fills them."""
    with path.open("r+b") as file, suppress(AttributeError):  # not on macOS
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def fill(
    teacher: Network,
    train: Resident,
    parts: Sequence[Part],
    processes: int,
    stop: Stop,
    bounds: Bounds | None = None,
) -> None:
    """Work out all views that the parts still lack; returns early when asked to stop.

    Args:
        bounds: what reinforced images are clipped to, as `reinforce` takes it.
    Raises: Refused if a process died.
    """
    for part in parts:
        part.prepare()
    done = np.logical_and.reduce([part.open()[1] for part in parts])
    missing = np.flatnonzero(~done).tolist()
    shares = [share for first in range(processes) if (share := missing[first::processes])]
    if len(shares) < 2:
        _fill_views(teacher, train, parts, missing, stop, bounds)
        return
    context, parent = multiprocessing.get_context("fork"), os.getpid()

    def work(share: list[int]) -> None:
        stop.in_child(parent)
        _fill_views(teacher, train, parts, share, stop, bounds)

    workers = [context.Process(target=work, args=(share,)) for share in shares]
    stop.pass_on = lambda number: [worker.terminate() for worker in workers if worker.pid]
    for worker in workers:
        with held_back():
            worker.start()
    _await(workers, stop)
    failed = [worker.exitcode for worker in workers if worker.exitcode]
    if failed and stop.requested is None:
        raise Refused(
            f"filling {parts[0].path} failed in a process (exit {failed[0]}); "
            "run the same command again, it continues"
        )


def _await(workers: Sequence[BaseProcess], stop: Stop) -> None:
    """Wait for all to end; those that have not, some time after a signal, are killed."""
    deadline: float | None = None
    while running := [worker for worker in workers if worker.is_alive()]:
        if stop.requested is not None:
            deadline = deadline or time.monotonic() + GRACE
            if time.monotonic() > deadline:
                for worker in running:
                    worker.kill()
        running[0].join(LOOK_SECONDS)


def _fill_views(
    teacher: Network,
    train: Resident,
    parts: Sequence[Part],
    views: Sequence[int],
    stop: Stop,
    bounds: Bounds | None,
) -> None:
    opened = [(part.reinforcement, *part.open()) for part in parts]
    reinforcement = next((kind for kind, *_ in opened if kind.gamma), None)
    count, device = len(train), train.labels.device
    batch = GPU_BATCH if device.type == "cuda" else BATCH
    for view in views:
        torch.manual_seed(view)  # for random directions: the same whoever works on this view
        for first in range(0, count, batch):
            if stop.requested is not None:
                return
            index = torch.arange(first, min(first + batch, count), device=device)
            images, labels = train.batch(index, torch.full_like(index, view))
            answers = _answers(teacher, images, labels, reinforcement, bounds)
            for kind, logits, _ in opened:
                logits[view, first : first + len(index)] = answers[bool(kind.gamma)]
        for _, logits, done in opened:
            logits.flush()
            done[view] = True


def _answers(
    teacher: Network,
    images: Tensor,
    labels: Tensor,
    reinforcement: Reinforcement | None,
    bounds: Bounds | None,
) -> dict[bool, np.ndarray]:
    """Logits on x (False), and on x* (True) if there is one; [B, C], float16, on the host."""
    answers = {}
    if reinforcement is not None:
        images, answers[False] = reinforce(teacher, images, labels, reinforcement, bounds)
    with torch.no_grad():
        answers[reinforcement is not None] = teacher(images).logits
    return {kind: logits.half().cpu().numpy() for kind, logits in answers.items()}
