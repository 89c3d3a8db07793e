"""Everything a cell needs to know, resolved from the config into plain values; imports no torch."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from math import cos, pi
from typing import Any, Literal

from xkd.errors import Refused
from xkd.files import plain
from xkd.plan.runs import Cell

#: Names of reinforcements: kind, gamma, steps, clipped.
REINFORCEMENT = r"(gradient|sign|random)-(\d[0-9.]*(?:e[+-]\d+)?)(?:-(\d+)steps)?(-clipped)?"

#: Parts of a teacher's answer that are maps of residual networks.
FEATURE_MAPS = frozenset({"features", "blocks", "preactivations"})


@dataclass(frozen=True)
class DatasetSettings:
    """One data set; sizes in pixels, normalisation on the [0, 1] scale."""

    name: str
    source: str  # a module of xkd.data.sources
    classes: int
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pad: int = 0  # zero-pad this many pixels, then crop back at random
    flip: bool = False  # mirror with probability 1/2
    holdout: int = 0  # class-balanced training images kept aside for searches (A3)
    holdout_seed: int = 0
    coarse: dict[str, tuple[str, ...]] | None = (
        None  # superclass: classes, where the source has none
    )
    folder: str | None = None  # below data_root, where it is not called as the source expects
    data_root: str = "data"  # where pictures that stay in their files are looked for
    # A random area of the picture, resized to `size`, in place of padding and cropping; training
    # pictures are then read from their files at every step.
    resized_crop: bool = False

    @property
    def views(self) -> int:
        """How many distinct augmented views one image has: (2·pad+1)² crops, twice if mirrored.

        Random areas have a view for every seed of their generator, far too many for a table.
        """
        if self.resized_crop:
            return 2**31
        return (2 * self.pad + 1) ** 2 * (2 if self.flip else 1)

    def content(self) -> dict[str, Any]:
        """What the prepared data set depends on: all but where the originals lie."""
        return {key: value for key, value in asdict(self).items() if key != "data_root"}


@dataclass(frozen=True)
class NetworkSettings:
    name: str
    family: str  # a module of xkd.networks
    options: dict[str, Any] = field(default_factory=dict)  # depth, shortcut, widths, ...
    # Mean and standard deviation that its images are to have, where not those of the data set.
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None


RISE, START = 0.3, 25  # of a one-cycle schedule: share of the epochs, and lr over the first rate


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum, and its schedule.

    Rate of epoch e of E, from 1: with "steps", multiplied by `decay` after each epoch in
    `milestones`; with "cosine", lr · (1 + cos(π·(e − 1) / E)) / 2 (Loshchilov & Hutter 2017, Eq. 5,
    without restarts); with "one_cycle", at s = (e − ½) / E, half a cosine from lr / 25 up to lr
    while s < 0.3, then half a cosine down to zero (Smith & Topin 2018, in steps of an epoch).
    """

    name: str
    epochs: int
    batch: int
    lr: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    milestones: tuple[int, ...] = ()  # 1-based: epochs up to and including it keep the old rate
    decay: float = 0.1
    schedule: Literal["steps", "cosine", "one_cycle"] = "steps"
    nesterov: bool = False
    drop_last: bool = False  # leave out the images that do not fill a batch, others every epoch
    clip: float | None = None  # longest gradient, over all weights together

    def lr_at(self, epoch: int) -> float:
        """Learning rate of a 1-based epoch."""
        if self.schedule == "cosine":
            return self.lr * (1 + cos(pi * (epoch - 1) / self.epochs)) / 2
        if self.schedule == "one_cycle":
            share = (epoch - 0.5) / self.epochs
            if share >= RISE:
                return self.lr * (1 + cos(pi * (share - RISE) / (1 - RISE))) / 2
            first = self.lr / START
            return first + (self.lr - first) * (1 - cos(pi * share / RISE)) / 2
        return self.lr * self.decay ** sum(epoch > milestone for milestone in self.milestones)

    def constant(self, name: str, epochs: int, lr: float) -> "Recipe":
        """The same at a constant rate."""
        return replace(self, name=name, epochs=epochs, lr=lr, schedule="steps", milestones=())


@dataclass(frozen=True)
class Reinforcement:
    """How the teacher's input is changed before it answers (Oracle, Eq. 2); see `xkd.reinforce`."""

    gamma: float  # sign: in normalised input units; else in units of 1/64 per sample (A44)
    kind: Literal["gradient", "sign", "random"] = "gradient"
    steps: int = 1
    clip: bool = False  # after every step, to what black and white are

    def __str__(self) -> str:
        steps = f"-{self.steps}steps" if self.steps > 1 else ""
        return f"{self.kind}-{self.gamma:g}{steps}{'-clipped' if self.clip else ''}"

    @classmethod
    def parse(cls, text: str) -> "Reinforcement":
        """The inverse of `str`. Raises Refused when `text` is no reinforcement."""
        found = re.fullmatch(REINFORCEMENT, text)
        if not found:
            raise Refused(
                f"'{text}' is no reinforcement; expected, say, gradient-0.5, sign-0.01 or "
                "gradient-0.5-2steps-clipped"
            )
        kind, gamma, steps, clip = found.groups()
        return cls(float(gamma), kind, int(steps or 1), bool(clip))

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Reinforcement":
        """Reinforcement by the options gamma, kind, steps and clip of a method."""
        asked = {key: options[key] for key in ("kind", "steps", "clip") if key in options}
        return cls(float(options["gamma"]), **asked)


@dataclass(frozen=True)
class TeacherNeeds:
    """Parts of the teacher's answer that a method reads; see `xkd.methods.base.TeacherAnswer`."""

    parts: tuple[str, ...] = ()
    reinforcement: Reinforcement | None = None

    @classmethod
    def of(cls, declaration: Mapping[str, Any], options: Mapping[str, Any]) -> "TeacherNeeds":
        """Needs of a method.

        Args:
            declaration: of its file, with `TEACHER` and `REINFORCES`.
            options: of the method.
        """
        parts = tuple(declaration["TEACHER"])
        return cls(parts, Reinforcement.of(options) if declaration["REINFORCES"] else None)

    @property
    def tabulable(self) -> bool:
        """Whether a table of logits serves instead of the teacher's forward pass."""
        return self.parts == ("logits",)

    @property
    def maps(self) -> bool:
        """Whether they include feature maps, which only residual networks have alike."""
        return not FEATURE_MAPS.isdisjoint(self.parts)


@dataclass(frozen=True)
class MethodSettings:
    name: str  # as in config, paths and tables
    uses: str  # a module of xkd.methods
    options: dict[str, Any] = field(
        default_factory=dict
    )  # hyper-parameters; `weights`: term -> factor
    needs: TeacherNeeds = TeacherNeeds()


@dataclass(frozen=True)
class TeacherSettings:
    """The trained run that teaches: fixed seed (A14), or the student's own seed when None."""

    cell: Cell
    network: NetworkSettings
    seed: int | None = 0

    def seed_for(self, student_seed: int) -> int:
        return student_seed if self.seed is None else self.seed


@dataclass(frozen=True)
class WeightsFile:
    """Weights that were trained elsewhere; see `xkd.engine.import_weights`."""

    file: str  # relative to the data root, or absolute
    keys: str  # whose names its parameters have
    expected_top1: float  # its accuracy on the test images, in [0, 1], as its authors say
    url: str | None = None  # where it may be fetched
    sha256: str | None = None  # the first digits of its digest
    # Normalisation of its training images, on the [0, 1] scale; None for that of the data set
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Search:
    """A hyper-parameter chosen on the hold-out split; its trials are cells of their own (A3)."""

    option: str  # of the method; `weights.<term>` for the factor of a loss term
    trials: tuple[tuple[float, Cell], ...]  # value, and the cell that tried it with one seed
    seed: int


@dataclass(frozen=True)
class CellSettings:
    """One training job: all seeds of a cell; or one file of weights that takes its place."""

    cell: Cell
    dataset: DatasetSettings
    network: NetworkSettings
    recipe: Recipe | None  # None where the weights come from a file
    method: MethodSettings
    teacher: TeacherSettings | None
    seeds: tuple[int, ...]
    holdout: bool = False  # train without the hold-out images and score on them, never on test
    search: Search | None = None  # before training, its winner goes into the method's options
    weights: WeightsFile | None = None  # imported, not trained

    def slice(self) -> dict[str, Any]:
        """What the weights depend on (seeds aside), for fingerprints and run cards."""
        content = asdict(self)
        del content["seeds"]
        for part in ("coarse", "folder", "data_root"):
            del content["dataset"][part]
        return {key: value for key, value in content.items() if (key, value) != ("weights", None)}

    def expectation(self) -> dict[str, Any]:
        """What the cell's manifest must say; not what a search has yet to decide."""
        content = self.slice()
        options = content["method"]["options"]
        if self.search:
            place, _, term = self.search.option.partition(".")
            del (options[place] if term else options)[term or place]
        return plain({"recipe": content["recipe"], "options": options})

    def draws_from(self, seed: int) -> int:
        """What a seed's initial weights, dropout and permutations are drawn from.

        The seed itself, except for a student of a network like its own under the same seed: what is
        born again starts afresh, not where its teacher did.
        """
        taught = self.teacher
        if not taught or taught.network != self.network or taught.seed_for(seed) != seed:
            return seed
        text = f"seed {seed} after {taught.cell}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])

    def with_option(self, option: str, value: float) -> "CellSettings":
        """The same cell with one option of its method, or factor of a loss term, decided."""
        options = {**self.method.options, "weights": dict(self.method.options["weights"])}
        place, _, term = option.partition(".")
        (options["weights"] if term else options)[term or place] = value
        return replace(self, method=replace(self.method, options=options), search=None)
