"""The frozen teacher's answers: looked up in a table, or asked anew at every step."""

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from xkd.engine.cell_data import CellData
from xkd.engine.options import EngineOptions
from xkd.engine.runtime import Runtime
from xkd.engine.table_file import Header, open_table
from xkd.errors import Refused
from xkd.evaluate import load_network, weights_digest
from xkd.methods.base import TeacherAnswer
from xkd.networks import Network, Output
from xkd.plan.runs import Layout, Run
from xkd.plan.settings import CellSettings, DatasetSettings, TeacherNeeds
from xkd.reinforce import bounds_of, reinforce


class TeacherSource(Protocol):
    """network: the teacher itself, frozen; its shapes are what a method may need to know."""

    network: Network

    def answer(
        self,
        images: Tensor,
        labels: Tensor,
        index: Tensor,
        view: Tensor,
        strong: Tensor | None = None,
    ) -> TeacherAnswer:
        """To a batch as the student sees it.

        Args:
            images, labels, strong: of the batch, as in `methods.base.Batch`.
            index, view: where they come from, [B], as in `data.stream.EpochOrder`.
        """
        ...


class ForwardTeacher:
    """A forward pass per batch; for reinforced inputs two, and a backward pass to the images."""

    def __init__(
        self, network: Network, needs: TeacherNeeds, dataset: DatasetSettings, runtime: Runtime
    ) -> None:
        self.network = runtime.place(network)
        self.needs, self.runtime = needs, runtime
        # Copies of what an in-place ReLU would overwrite are made only where they are read.
        self.more = {"preactivations": True} if "preactivations" in needs.parts else {}
        self.bounds = bounds_of(needs.reinforcement, dataset, runtime.device, runtime.dtype)

    def answer(
        self,
        images: Tensor,
        labels: Tensor,
        index: Tensor,
        view: Tensor,
        strong: Tensor | None = None,
    ) -> TeacherAnswer:
        if self.needs.parts == ("ask",):
            return TeacherAnswer(ask=self.ask)
        reinforcement = self.needs.reinforcement
        with self.runtime.autocast():
            if reinforcement is not None and reinforcement.gamma:
                changed = reinforce(self.network, images, labels, reinforcement, self.bounds)
                images = changed.images
            with torch.no_grad():
                output = self.network(images, **self.more)
                more = {} if strong is None else {"strong_logits": self.network(strong).logits}
        made = {**more, "ask": self.ask}
        parts = {p: made[p] if p in made else getattr(output, p) for p in self.needs.parts}
        return TeacherAnswer(**parts)

    @torch.no_grad()
    def ask(self, images: Tensor) -> Output:
        """Output for images of a method's own making, as they are."""
        with self.runtime.autocast():
            return self.network(images)


class TableTeacher:
    """Logits of every view of every training image, worked out beforehand.

    Args:
        logits: float16, [views, training images, C]; mapped into memory, or on the device.
        rows: position of each of the cell's images among all training images, [N].
    """

    def __init__(self, network: Network, logits: Tensor, rows: Tensor, runtime: Runtime) -> None:
        self.network = network
        self.logits, self.rows, self.dtype = logits, rows, runtime.dtype

    def answer(
        self,
        images: Tensor,
        labels: Tensor,
        index: Tensor,
        view: Tensor,
        strong: Tensor | None = None,
    ) -> TeacherAnswer:
        return TeacherAnswer(self.logits[view, self.rows[index]].to(self.dtype))


class Teachers:
    """The teacher of every seed of a cell: one for all, or each seed's own (A14).

    Args:
        path: of the table; None lets the teacher answer at every step.
    """

    def __init__(
        self,
        settings: CellSettings,
        layout: Layout,
        path: Path | None,
        cell_data: CellData,
        runtime: Runtime,
        options: EngineOptions,
    ) -> None:
        self.settings, self.layout, self.cell_data = settings, layout, cell_data
        self.runtime = runtime
        self.path = _path(settings, path, options)
        self._ready: dict[int, TeacherSource] = {}

    @property
    def kind(self) -> str:
        if not self.settings.method.needs.parts:
            return "none"
        return "forward" if self.path is None else "table"

    def describe(self) -> str:
        """The choice, for the log: table or forward pass, views and bytes."""
        if self.kind != "table":
            return "asked at every step"
        views, size = self.settings.dataset.views, self.path.stat().st_size
        return f"looked up in a table of {views} views, {size / 1e6:.1f} MB"

    @property
    def bytes(self) -> int:
        """What the table takes; one that is mapped from the disk takes nothing."""
        on_device = self.kind == "table" and self.runtime.on_cuda
        return self.path.stat().st_size if on_device and self.path.exists() else 0

    def __call__(self, seed: int) -> TeacherSource | None:
        """The teacher of a student's seed, verified; loaded once."""
        if self.kind == "none":
            return None
        chosen = self.settings.teacher.seed_for(seed)
        if chosen not in self._ready:
            self._ready[chosen] = self._load(chosen)
        return self._ready[chosen]

    def _load(self, seed: int) -> TeacherSource:
        settings, needs = self.settings, self.settings.method.needs
        run = self.layout.run(Run(settings.teacher.cell, seed))
        network = load_network(run, settings.teacher.network, settings.dataset)
        if self.path is None:
            return ForwardTeacher(network, needs, settings.dataset, self.runtime)
        expected = Header.of(
            weights_digest(run), self.cell_data.digest, settings.dataset, needs.reinforcement
        )
        logits = open_table(self.path, expected).to(self.runtime.device)
        return TableTeacher(network, logits, self.cell_data.rows, self.runtime)


def _path(settings: CellSettings, path: Path | None, options: EngineOptions) -> Path | None:
    """The table to use, if any. Raises Refused where one is demanded that cannot be had."""
    needs = settings.method.needs
    usable = needs.tabulable and settings.teacher.seed is not None
    usable = usable and not settings.dataset.resized_crop  # hardly a view is seen twice
    if options.teacher == "table" and usable and path is None:
        raise Refused(
            f"engine teacher 'table', but no table of {settings.teacher.cell} was given; run "
            "`xkd tabulate_teacher` first, or take teacher 'auto'"
        )
    return path if usable and options.teacher != "forward" else None
