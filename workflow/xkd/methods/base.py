"""The method contract: what a training method is to the engine.

A method is a module written for *one* seed. It owns the student (and whatever else it trains:
adaptors, a peer), receives a batch, and returns the student's logits with named, unweighted loss
terms. The engine adds the terms with the stage's weights and knows no method by name.

To add one: a file `xkd/methods/<name>.py` with a class `Method`, and an entry in `config.yaml`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from xkd.errors import Refused
from xkd.networks import Network
from xkd.plan.settings import Recipe


class TeacherAnswer(NamedTuple):
    """What the frozen teacher says about a batch; evaluation mode, no gradient.

    logits:   [B, C]; of the reinforced images where the method asks for reinforcement
    features: F0-F3 as in `networks.Output`; empty unless the method needs features
    blocks:   block outputs; empty unless the method needs features
    """

    logits: Tensor
    features: tuple[Tensor, ...] = ()
    blocks: tuple[Tensor, ...] = ()


class Batch(NamedTuple):
    """images: [B, channels, size, size], augmented and normalised; labels: [B], int64."""

    images: Tensor
    labels: Tensor
    teacher: TeacherAnswer | None = None


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
class BuildContext:
    """What a method may need to build its parts.

    classes:          number of classes C
    spawn:            makes another network like the student, from an independent initialisation
    teacher_features: shapes (channels, h, w) of the teacher's F0-F3; empty without teacher
    teacher_blocks:   likewise of every residual block
    student_features, student_blocks: of the student
    """

    classes: int
    spawn: Callable[[], Network]
    student_features: tuple[tuple[int, ...], ...] = ()
    student_blocks: tuple[tuple[int, ...], ...] = ()
    teacher_features: tuple[tuple[int, ...], ...] = ()
    teacher_blocks: tuple[tuple[int, ...], ...] = ()


class BaseMethod(nn.Module):
    """Base of every method.

    The class attributes are plain literals: the config check reads them without importing torch.
    """

    #: Hyper-parameters as JSON-schema properties; one without `default` is required. `weights` is
    #: an option of every method and not listed.
    OPTIONS: ClassVar[dict[str, Any]] = {}
    #: Loss term -> default factor; the names are all the terms the method can return.
    WEIGHTS: ClassVar[dict[str, float]] = {}
    #: What it asks of a teacher: "nothing", "logits" (may come from a table) or "features".
    #: With an option `gamma`, the logits are those of the reinforced images.
    TEACHER: ClassVar[str] = "nothing"
    #: Option of the student's network, such as a dropout rate -> the option of the method it takes.
    NETWORK: ClassVar[dict[str, str]] = {}

    def __init__(self, student: Network, context: BuildContext, options: Mapping[str, Any]) -> None:
        """options: all of `OPTIONS` and `weights`, defaults filled in, lookups resolved."""
        super().__init__()
        self.student = student
        self.options = dict(options)
        # A term of weight zero counts as unlisted: it is neither computed nor added.
        self.weights = {term: factor for term, factor in options["weights"].items() if factor}
        if self.TEACHER == "features":
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

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        """Logits, and the terms listed in the stage's weights (others may be left out)."""
        raise NotImplementedError

    def _require_feature_maps(self, context: BuildContext) -> None:
        student, teacher = len(context.student_blocks), len(context.teacher_blocks)
        if not (student and teacher):
            name = type(self).__module__.rpartition(".")[2]
            raise Refused(
                f"method '{name}' compares feature maps of residual networks; found {student} "
                f"residual blocks in the student and {teacher} in the teacher; choose other "
                "networks, or a method that needs only logits"
            )
