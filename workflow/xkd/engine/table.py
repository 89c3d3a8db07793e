"""Tables of a frozen teacher's logits: one row for every view of every training image.

Padding, cropping and mirroring give an image a small number of distinct views (162 at padding 4),
and a teacher in evaluation mode answers each the same every time. So its answers, to the views or
to their reinforced versions, are worked out once for all its students, seeds and epochs.

A table is `<name>.npy`, float16, [views, images, C], and `<name>.json`, which says whose it is.
"""

import multiprocessing
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xkd.artifacts import atomic, read_json, write_json
from xkd.data.dataset import load
from xkd.data.stream import Resident
from xkd.engine.material import data_digest
from xkd.engine.options import EngineOptions
from xkd.engine.runtime import Runtime
from xkd.engine.stopping import RESUMABLE, Stop
from xkd.errors import Refused
from xkd.evaluate import load_network, weights_digest
from xkd.networks import Network
from xkd.reinforce import reinforce
from xkd.runs import Layout, Run
from xkd.settings import CellSettings, DatasetSettings, Reinforcement

BATCH = 500  # views per forward pass


@dataclass(frozen=True)
class Header:
    """teacher, data: digests of the weights and of the prepared data set."""

    teacher: str
    data: str
    reinforcement: str
    views: int
    classes: int

    @classmethod
    def of(
        cls,
        teacher: str,
        data: str,
        dataset: DatasetSettings,
        reinforcement: Reinforcement | None,
    ) -> "Header":
        plain = reinforcement is None or reinforcement.gamma == 0
        name = "none" if plain else str(reinforcement)
        return cls(teacher, data, name, dataset.views, dataset.classes)


def header_path(path: Path) -> Path:
    return path.with_suffix(".json")


def open_table(path: Path, expected: Header) -> Tensor:
    """The logits, float16, [views, images, C], mapped into memory.

    Raises: Refused if the table is absent, damaged, or not the expected one.
    """
    header = read_json(header_path(path))
    for name, value in asdict(expected).items():
        if (found := header.get(name)) != value:
            raise Refused(
                f"{path} does not fit: its {name} is {str(found)[:16]}, expected "
                f"{str(value)[:16]}; delete it and run `xkd tabulate_teacher` again"
            )
    try:
        mapped = np.load(path, mmap_mode="c")
    except (OSError, ValueError) as problem:
        raise Refused(
            f"{path} is damaged ({problem}); delete it and run `xkd tabulate_teacher` again"
        ) from None
    return torch.from_numpy(mapped)


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
    Raises: Refused if teacher or data are absent or damaged; SystemExit(75) after SIGTERM.
    """
    runtime = Runtime.of(EngineOptions(device=device))
    runtime.prepare()
    folder, dataset = layout.run(run), settings.dataset
    data, digest = load(layout.data(dataset.name)), data_digest(layout.data(dataset.name))
    images, labels, *_ = data.split("train")
    channels_last = runtime.layout == torch.channels_last
    train = Resident(images, labels, dataset, runtime.device, channels_last=channels_last)
    teacher = runtime.place(load_network(folder, settings.network, dataset))
    wanted = {out: reinforcement} | ({plain: Reinforcement(0.0)} if plain else {})
    parts = [
        Part(path, Header.of(weights_digest(folder), digest, dataset, kind), kind, len(labels))
        for path, kind in wanted.items()
    ]
    for part in parts:
        print(f"{part.path}: {part.header.views} views, {part.bytes / 1e6:.0f} MB", file=sys.stderr)
    with Stop() as stop:
        fill(teacher, train, parts, 1 if runtime.on_cuda else threads, stop)
    if stop.requested is not None:
        if stop.requested == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(RESUMABLE)
    for part in parts:
        part.publish()


class Part:
    """A table on its way: the file as far as it got, and which views it holds.

    Both survive a stop under hidden names; another teacher, or other data, starts them afresh.
    """

    def __init__(
        self, path: Path, header: Header, reinforcement: Reinforcement, images: int
    ) -> None:
        self.path, self.header, self.reinforcement = path, header, reinforcement
        self.shape = (header.views, images, header.classes)
        self.bytes = 2 * int(np.prod(self.shape))
        self._file, self._done, self._whose = (
            path.with_name(f".{path.stem}.{kind}") for kind in ("part.npy", "done.npy", "part.json")
        )

    def prepare(self) -> None:
        """Make the files, unless an earlier attempt left them."""
        content = {**asdict(self.header), "images": self.shape[1], "bytes": self.bytes}
        if self._whose.exists() and read_json(self._whose) == content:
            return
        for file, dtype, shape in (
            (self._file, np.float16, self.shape),
            (self._done, np.bool_, self.shape[:1]),
        ):
            with atomic(file) as temporary:
                np.lib.format.open_memmap(temporary, "w+", dtype, shape).flush()
        write_json(self._whose, content)

    def open(self) -> tuple[np.memmap, np.memmap]:
        """logits, [views, images, C], and done, [views]; writable, shared by all processes."""
        return np.load(self._file, mmap_mode="r+"), np.load(self._done, mmap_mode="r+")

    def publish(self) -> None:
        write_json(header_path(self.path), read_json(self._whose))
        os.replace(self._file, self.path)
        self._done.unlink()
        self._whose.unlink()


def fill(teacher: Network, train: Resident, parts: list[Part], processes: int, stop: Stop) -> None:
    """Work out all views that the parts still lack; returns early when asked to stop.

    Raises: Refused if a process died.
    """
    for part in parts:
        part.prepare()
    done = np.logical_and.reduce([part.open()[1] for part in parts])
    missing = np.flatnonzero(~done).tolist()
    if processes == 1 or len(missing) < 2:
        _fill_views(teacher, train, parts, missing, lambda: stop.requested is not None)
        return
    context, parent = multiprocessing.get_context("fork"), os.getpid()
    shares = [missing[first::processes] for first in range(processes)]
    workers = [
        context.Process(
            target=_fill_views,
            args=(teacher, train, parts, share, lambda: stop.requested or os.getppid() != parent),
        )
        for share in shares
        if share
    ]
    for worker in workers:
        worker.start()
    stop.on_request = lambda number: [worker.terminate() for worker in workers]
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise Refused(
            f"filling {parts[0].path} failed in a process (exit {workers[0].exitcode}); "
            "run the same command again, it continues"
        )


def _fill_views(teacher, train, parts, views, stopping) -> None:
    opened = [(part.reinforcement, *part.open()) for part in parts]
    reinforcement = next((kind for kind, *_ in opened if kind.gamma), None)
    count = len(train)
    for view in views:
        for first in range(0, count, BATCH):
            if stopping():
                return
            index = torch.arange(first, min(first + BATCH, count), device=train.labels.device)
            images, labels = train.batch(index, torch.full_like(index, view))
            answers = _answers(teacher, images, labels, reinforcement)
            for kind, logits, _ in opened:
                logits[view, first : first + len(index)] = answers[bool(kind.gamma)]
        for _, logits, done in opened:
            logits.flush()
            done[view] = True


def _answers(teacher, images, labels, reinforcement) -> dict[bool, np.ndarray]:
    """Logits on x (False), and on x* (True) if there is one; on the host, float16."""
    answers = {}
    if reinforcement is not None:
        images, plain = reinforce(teacher, images, labels, reinforcement)
        answers[False] = plain
    with torch.no_grad():
        answers[reinforcement is not None] = teacher(images).logits
    return {kind: logits.half().cpu().numpy() for kind, logits in answers.items()}
