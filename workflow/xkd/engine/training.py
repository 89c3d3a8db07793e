"""The training of one seed, a step at a time. The only training loop, and it knows no method."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from xkd.data.stream import EpochOrder, Stream
from xkd.engine.build import build_method
from xkd.engine.casts import rounded
from xkd.engine.cell_data import CellData
from xkd.engine.optimisers import Moments, Optimiser, like, weight_of
from xkd.engine.runtime import Runtime
from xkd.engine.schedule import EpochSettings, epoch_settings
from xkd.engine.teacher import TeacherSource
from xkd.errors import Refused
from xkd.evaluate import accuracy
from xkd.methods.base import BaseMethod, Batch, StepOutput
from xkd.plan.settings import CellSettings


def select(terms: Mapping[str, Tensor], names: Iterable[str], method: BaseMethod) -> list[Tensor]:
    """The loss terms that are weighed, in order.

    Raises: Refused if the method did not return one that its WEIGHTS name.
    """
    names = list(names)
    try:
        return [terms[name] for name in names]
    except KeyError as missing:
        file = type(method).__module__.replace(".", "/")
        raise Refused(
            f"workflow/{file}.py: forward returned the terms {', '.join(terms) or 'none'}, and "
            f"WEIGHTS weigh {', '.join(names)}: there is no term {missing}; use the same names"
        ) from None


class Diverged(Refused):
    """The loss of one seed is no longer a number."""


class Training:
    """One seed of a cell; a backend calls `begin_epoch`, `advance` for every batch, `end_epoch`.

    Attributes:
        method:   the student and whatever else is trained
        schedule: every epoch of the training
        epoch:    epochs completed
        position: steps completed in the epoch under way
        order:    images and views of the epoch under way, None between epochs
        batches:  those of every step, as this process sees them
        history:  one dict per completed epoch, named as in `history.csv`
        seconds:  duration of every completed epoch, scoring included
    """

    def __init__(
        self,
        settings: CellSettings,
        seed: int,
        cell_data: CellData,
        teacher: TeacherSource | None,
        runtime: Runtime,
    ) -> None:
        torch.manual_seed(settings.draws_from(seed))
        self.settings, self.seed, self.runtime = settings, seed, runtime
        self.cell_data, self.teacher = cell_data, teacher
        known = teacher and teacher.network, cell_data.train.labels
        self.method = runtime.place(build_method(settings, *known))
        if runtime.compile:
            self.method.student.compile()
        self.schedule = epoch_settings(self.method.stages(settings.recipe), settings.recipe)
        self.epoch = self.position = 0
        self.order: EpochOrder | None = None
        self.history: list[dict[str, float | str]] = []
        self.seconds: list[float] = []
        # What `step` returned, [steps, K]; valid up to `position`. One tensor for all epochs: many
        # small ones, kept between blocks that come and go, would let the heap grow for hours.
        self.rows: Tensor | None = None
        self.names: list[str] = []  # of their entries
        self.moments: Moments = {}  # of the current stage
        self.shared: Moments = {}  # under the cell's recipe, across stages
        self.generator = runtime.generator  # of dropout and random permutations
        # Captured steps read rate and factors from the device; a CPU is quicker with a number.
        self.rate = torch.zeros((), device=runtime.device) if runtime.on_cuda else None
        # d loss / d loss, which captured steps share; any other has torch import sympy for a second
        self.one: Tensor | None = None
        self.terms: list[str] = []
        # Factors of every set of terms, each in one place as long as captured steps may read it.
        self.places: dict[tuple[str, ...], Tensor] = {}
        self._entered: int | None = None  # the stage that `optimiser` belongs to
        self._spent = 0.0  # seconds of the epoch under way before this process

    @property
    def finished(self) -> bool:
        return self.epoch == len(self.schedule)

    @property
    def current(self) -> EpochSettings:
        """The epoch under way, or the next one."""
        return self.schedule[self.epoch]

    def begin_epoch(self, position: int = 0) -> None:
        """Draw order and views, set learning rate and factors; start a stage where one starts.

        Args:
            position: steps of it that have been completed already.
        """
        current = self.current
        if self._entered != current.stage:
            self.enter_stage()
        self._set(current)
        recipe = current.recipe
        stream = Stream(self.cell_data.train, recipe.batch, self.seed, recipe.drop_last)
        self.order = stream.epoch(current.epoch)
        self.batches = [self.part(index, view) for index, view in self.order]
        self.cell_data.train.expect(self.batches[position:])
        self.position = position
        self.method.train()
        self.start_clock()

    def start_clock(self) -> None:
        """From here on, time counts as that of the epoch under way."""
        self._began = time.monotonic()

    def _set(self, current: EpochSettings) -> None:
        """Learning rate and factors of the loss terms; in place where they are on the device."""
        self.optimiser.rate = current.lr if self.rate is None else self.rate.fill_(current.lr)
        factors = torch.tensor(list(current.weights.values()), dtype=self.runtime.dtype)
        self.terms = list(current.weights)
        place = torch.empty_like(factors, device=self.runtime.device)
        self.factors = self.places.setdefault(tuple(self.terms), place).copy_(factors)

    def enter_stage(self) -> None:
        """A fresh optimiser; under the cell's recipe it takes over the running averages so far."""
        current = self.current
        wanted = {id(weight) for weight in self.method.trained(current.name)}
        self.moments = {} if current.own else self.shared
        chosen = {}
        for name, weight in self.method.named_parameters():
            weight.requires_grad_(id(weight) in wanted)
            weight.grad = None
            if weight.requires_grad:
                chosen[name] = weight
        groups = self.method.groups(current.name)
        self.optimiser = Optimiser(chosen, self.moments, current.recipe, current.lr, groups)
        self._entered = current.stage

    def part(self, index: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """What this process sees of a step; all of it."""
        return index, view

    def advance(self) -> None:
        """The next step of the epoch under way."""
        row = self.step(*self.batches[self.position])
        if self.rows is None or self.rows.shape != (len(self.batches), len(row)):
            self.rows = row.new_empty(len(self.batches), len(row))
        self.rows[self.position] = row
        self.position += 1

    def step(self, index: Tensor, view: Tensor) -> Tensor:
        """One update from the images `index` seen as `view`, both [B].

        Returns: what the epoch's record needs, [K]: terms, loss, number of correct answers, meters.
            Nothing is read back to the host here.
        """
        train = self.cell_data.train
        images, labels = train.batch(index, view)
        strong = train.strong_images(index) if self.method.STRONG_VIEW else None
        answer = self.teacher and self.teacher.answer(images, labels, index, view, strong)
        with self.runtime.autocast():
            batch = Batch(images, labels, answer, index, strong)
            result = self.ask(batch, self.current.name)
        terms = select(result.terms, self.terms, self.method)
        loss = self.weighted(terms)
        self.optimiser.forget_gradients()
        self.backward(loss)
        self.optimiser.step()
        with torch.no_grad():
            self.method.after_update(batch)
        correct = (result.logits.detach().argmax(1) == labels).sum(dtype=loss.dtype)
        self.names = [*self.terms, "loss", "correct", *result.meters]
        with torch.no_grad():
            return torch.stack([*terms, loss, correct, *result.meters.values()])

    def weighted(self, terms: list[Tensor]) -> Tensor:
        """The loss: the sum of all terms, each times its factor."""
        if len(terms) == 1:
            return terms[0] * self.factors[0]  # the same, in fewer launches
        return (torch.stack(terms) * self.factors).sum()

    def ask(self, batch: Batch, stage: str) -> StepOutput:
        """The method's answer to a batch."""
        if not self.runtime.rounds_at_once:
            return self.method(batch, stage)
        with rounded(self.method):
            return self.method(batch, stage)

    def backward(self, loss: Tensor) -> None:
        """Leave the gradient of the step's loss, a scalar, with the weights."""
        loss.backward(self.one)

    def end_epoch(self, accuracy: float | None = None) -> None:
        """Read the meters, score the student, add a line to the history.

        Args:
            accuracy: on the scored images, where a backend knows it already.

        Raises: Diverged, with step and learning rate, if the loss of any step was not finite; the
            history then ends with the epoch before; or if the method says that the epoch failed.
        """
        current = self.current
        record = {"epoch": current.epoch, "stage": current.name, "lr": current.lr}
        record |= self.summary()
        if reason := self.method.failure(current.name, record):
            raise Diverged(f"seed {self.seed}: {reason}, at epoch {current.epoch}")
        record[f"{self.cell_data.score.name}_top1"] = self.score() if accuracy is None else accuracy
        self.history.append(record)
        self.seconds.append(self._spent + time.monotonic() - self._began)
        self._spent, self.position, self.order = 0.0, 0, None
        self.epoch += 1

    def score(self) -> float:
        """The student's accuracy on the images of the curve."""
        with self.runtime.autocast():
            return accuracy(self.method.student, self.cell_data.score)

    def state(self) -> dict[str, Any]:
        """All that a later process needs to continue to the same bits; between any two steps.

        Raises: Diverged if the epoch under way has met a loss that is not a number.
        """
        rows = self.rows[: self.position].clone().cpu() if self.position else torch.empty(0)
        if len(rows):
            self.check_finite(rows)
        spent = self._spent + time.monotonic() - self._began if self.order else 0.0
        return {
            "epoch": self.epoch,
            "position": self.position if self.order else None,
            "weights": self.method.state_dict(),
            "moments": self.moments,
            "shared_moments": self.shared,
            "random": self.generator.get_state(),
            "rows": rows,
            "names": self.names,
            "history": self.history,
            "seconds": self.seconds,
            "spent": spent,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.epoch = state["epoch"]
        self.history, self.seconds = state["history"], state["seconds"]
        self.method.load_state_dict(state["weights"])
        weights = dict(self.method.named_parameters())
        for name, saved in state["shared_moments"].items():
            self.shared[name] = like(weights[weight_of(name)], saved)
        started = state["position"] is not None
        if not self.finished and (started or not self.current.first):
            self.enter_stage()
            for name, saved in state["moments"].items():
                self.moments[name].copy_(saved)
        if started:
            self.begin_epoch(state["position"])
            self.names = state["names"]
            if len(rows := state["rows"]):
                self.rows = rows.new_empty(len(self.batches), rows.shape[1]).to(self.runtime.device)
                self.rows[: len(rows)] = rows
            self._spent = state["spent"]
        self.generator.set_state(state["random"])

    def summary(self) -> dict[str, float]:
        """Means over the samples of the epoch: loss, its terms, accuracy, the method's meters."""
        rows = self.rows[: self.position].double().cpu()  # the only read of the epoch
        self.check_finite(rows)
        seen = rows.new_tensor(self.order.sizes)
        means = (rows * seen[:, None]).sum(0) / seen.sum()
        means = dict(zip(self.names, means.tolist(), strict=True))
        correct = rows[:, self.names.index("correct")].sum() / seen.sum()
        terms = {f"loss_{term}": means.pop(term) for term in self.terms}
        del means["correct"]
        return {"loss": means.pop("loss"), **terms, "train_top1": correct.item(), **means}

    def check_finite(self, rows: Tensor) -> None:
        """rows: [steps, K]. Raises Diverged if a loss among them is not a number."""
        losses = rows[:, self.names.index("loss")]
        bad = (~losses.isfinite()).nonzero()
        if len(bad):
            step = int(bad[0])
            raise Diverged(
                f"seed {self.seed}: the loss became {losses[step]:g} at epoch "
                f"{self.current.epoch}, step {step + 1} of {len(self.order)}, "
                f"learning rate {self.current.lr:g}"
            )
