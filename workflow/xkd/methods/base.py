"""The method contract: what a training method is to the engine.

A method is a module written for *one* seed. It owns the student (and whatever else it trains:
adaptors, a peer), receives a batch, and returns the student's logits with named, unweighted loss
terms. The engine adds the terms with the stage's weights and knows no method by name.

To add one: a file `xkd/methods/<name>.py` with a class `Method`, and an entry in `config.yaml`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from xkd.errors import Refused
from xkd.networks import Network, Output
from xkd.plan.settings import FEATURE_MAPS, Recipe


class TeacherAnswer(NamedTuple):
    """Answer of the frozen teacher to a batch, in evaluation mode and without gradient.

    Only the parts that the method declares in `TEACHER` are filled.

    logits:         [B, C]; of the reinforced images where the method declares `REINFORCES`
    embedding:      F4, what the classifier reads, [B, D]
    features:       F0-F3 as in `networks.Output`
    blocks:         block outputs, likewise
    preactivations: sums that enter the last ReLU of every stage, [B, channels, h, w]
    strong_logits:  of `Batch.strong`, [B, C]
    ask:            its whole output for images of the method's own making, without gradient; where
                    nothing else is declared, the teacher is not asked about the batch
    """

    logits: Tensor | None = None
    embedding: Tensor | None = None
    features: tuple[Tensor, ...] = ()
    blocks: tuple[Tensor, ...] = ()
    preactivations: tuple[Tensor, ...] = ()
    strong_logits: Tensor | None = None
    ask: Callable[[Tensor], Output] | None = None


class Batch(NamedTuple):
    """One step's images.

    images: [B, channels, size, size], augmented and normalised
    labels: [B], int64
    index:  which of the N training images they are, [B], int64, in [0, N)
    strong: another, strong view of each image (`xkd.data.strong`), as `images`; where the method
            declares `STRONG_VIEW`
    """

    images: Tensor
    labels: Tensor
    teacher: TeacherAnswer | None = None
    index: Tensor | None = None
    strong: Tensor | None = None


class StepOutput(NamedTuple):
    """logits: [B, C], of the student; terms: scalar losses; meters: scalars, without gradient."""

    logits: Tensor
    terms: dict[str, Tensor]
    meters: Mapping[str, Tensor] = MappingProxyType({})


@dataclass(frozen=True)
class Stage:
    """A stretch of epochs with the same loss terms.

    weights: term -> factor, or a function of the 1-based epoch within the stage that gives them.
             A term that the stage does not list is neither computed nor added.
    recipe:  None continues the cell's recipe, optimiser and momentum; another recipe starts a fresh
             optimiser with its own schedule, counted from 1 within the stage.
    """

    name: str
    epochs: int
    weights: Mapping[str, float] | Callable[[int], Mapping[str, float]]
    recipe: Recipe | None = None

    def weights_at(self, epoch: int) -> Mapping[str, float]:
        return self.weights(epoch) if callable(self.weights) else self.weights


@dataclass(frozen=True)
class Group:
    """Parameters that are updated by other rules than the rest; see `BaseMethod.groups`.

    optimiser:    "sgd" with the recipe's momentum, or "adam" with torch's betas and epsilon
    lr:           rate of the first epoch, scaled by the schedule as the recipe's own
    weight_decay: added to the gradient as weight_decay · w, by Adam too (L2, not AdamW)

    None takes the recipe's value.
    """

    parameters: Sequence[nn.Parameter]
    optimiser: Literal["sgd", "adam"] = "sgd"
    lr: float | None = None
    weight_decay: float | None = None


@dataclass(frozen=True)
class BuildContext:
    """What a method may need to build its parts.

    classes:           number of classes C
    spawn:             makes another network like the student, from an independent initialisation
    student_features:  shapes (channels, h, w) of the student's F0-F3
    student_blocks:    likewise of every residual block
    student_embedding: length D of the student's F4
    teacher_features, teacher_blocks, teacher_embedding: likewise; empty and 0 without teacher
    teacher_weight:    of the teacher's classifier, [C, D], a constant
    teacher_bias:      [C], likewise
    train_labels:      of the images that `Batch.index` counts, [N], int64
    """

    classes: int
    spawn: Callable[[], Network]
    student_features: tuple[tuple[int, ...], ...] = ()
    student_blocks: tuple[tuple[int, ...], ...] = ()
    student_embedding: int = 0
    teacher_features: tuple[tuple[int, ...], ...] = ()
    teacher_blocks: tuple[tuple[int, ...], ...] = ()
    teacher_embedding: int = 0
    teacher_weight: Tensor | None = None
    teacher_bias: Tensor | None = None
    train_labels: Tensor | None = None


class BaseMethod(nn.Module):
    """Base of every method.

    The class attributes are plain literals: the config check reads them without importing torch.
    """

    #: Hyper-parameters as JSON-schema properties; one without `default` is required. `weights` is
    #: an option of every method and not listed.
    OPTIONS: ClassVar[dict[str, Any]] = {}
    #: Loss term -> default factor; the names are all the terms the method can return.
    WEIGHTS: ClassVar[dict[str, float]] = {}
    #: Parts of the `TeacherAnswer` that it reads; () without a teacher. Where they are the logits
    #: alone, a table may serve instead of the teacher's forward pass.
    TEACHER: ClassVar[tuple[str, ...]] = ()
    #: The teacher's logits are those of images reinforced by the options gamma, kind, steps, clip.
    REINFORCES: ClassVar[bool] = False
    #: Reads `Batch.strong`.
    STRONG_VIEW: ClassVar[bool] = False
    #: Its result depends on which images share a batch, or on a bank of all images, beyond batch
    #: norm: several processes, each with a part of every batch, would train something else.
    WHOLE_BATCH: ClassVar[bool] = False
    #: Passes of a step through networks like the student, for the scheduler: how much work it is.
    PASSES: ClassVar[float] = 1
    #: Properties that the student's network must have, such as ("pooled_head",): a mean over the
    #: positions of its last map, in front of the classifier.
    NEEDS: ClassVar[tuple[str, ...]] = ()
    #: Family of networks that its student must be of; None where any will do.
    FAMILY: ClassVar[str | None] = None
    #: Option of the student's network, such as a dropout rate -> the option of the method it takes.
    NETWORK: ClassVar[dict[str, str]] = {}

    def __init__(self, student: Network, context: BuildContext, options: Mapping[str, Any]) -> None:
        """options: all of `OPTIONS` and `weights`, defaults filled in, lookups resolved."""
        super().__init__()
        self.student = student
        self.options = dict(options)
        # A term of weight zero counts as unlisted: it is neither computed nor added.
        self.weights = {term: factor for term, factor in options["weights"].items() if factor}
        if FEATURE_MAPS & set(self.TEACHER):
            self._require_feature_maps(context)

    @property
    def others(self) -> dict[str, Network]:
        """Networks that are trained beside the student, by the names that their files will bear."""
        return {}

    def stages(self, recipe: Recipe) -> list[Stage]:
        """The training, stage by stage; by default one stage with the configured weights."""
        return [Stage("train", recipe.epochs, self.weights)]

    def wants(self, term: str) -> bool:
        """Whether any stage adds this term, so that it is worth computing."""
        return term in self.weights

    def trained(self, stage: str) -> Iterable[nn.Parameter]:
        """Parameters that the stage's optimiser updates; by default all of the method's."""
        return self.parameters()

    def groups(self, stage: str) -> Sequence[Group]:
        """Those of the trained parameters that do not follow the stage's recipe in everything."""
        return ()

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        """Logits, and the terms listed in the stage's weights (others may be left out)."""
        raise NotImplementedError

    def failure(self, stage: str, record: Mapping[str, float | str]) -> str | None:
        """Reason why an epoch has failed, by its line of the history; None where it has not.

        Training ends there, and the seed leaves no results.
        """
        return None

    def after_update(self, batch: Batch) -> None:
        """Changes buffers that no optimiser updates, such as banks, in place.

        The engine calls it after every update of the weights. Registered buffers are part of
        checkpoints and of nothing else that a run leaves.
        """

    def _require_feature_maps(self, context: BuildContext) -> None:
        student, teacher = len(context.student_blocks), len(context.teacher_blocks)
        if not (student and teacher):
            name = type(self).__module__.rpartition(".")[2]
            raise Refused(
                f"method '{name}' compares feature maps of residual networks; found {student} "
                f"residual blocks in the student and {teacher} in the teacher; choose other "
                "networks, or a method that needs only logits"
            )
