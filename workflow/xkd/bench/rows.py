"""What is measured on a CPU, row by row: whose steps are compared, and what the engine promises."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from xkd import methods
from xkd.bench import cells, peers
from xkd.bench.ground import CIFAR10, LE_MLP, MLP, MNIST, ORACLE, RESNET8, RESNET20, Ground
from xkd.bench.measuring import PEER, Apart, Figure, Step, Target, compare, in_turns
from xkd.data.stream import Stream
from xkd.settings import CellSettings, NetworkSettings

HOW = (
    "Synthetic images; one thread. Every side is a process of its own, all take turns, and their "
    "processor times are compared."
)
Figures = dict[str, Figure]


@dataclass(frozen=True)
class Row:
    """How to find out about some targets: one figure for each. slow: not for a quick look."""

    measure: Callable[[Ground, Mapping[str, Target]], Figures]
    targets: Mapping[str, Target]
    slow: bool = False

    def __call__(self, ground: Ground) -> Figures:
        return self.measure(ground, self.targets)


def contest(
    ground: Ground, targets: Mapping[str, Target], sides: Mapping[str, Callable[[], Step]]
) -> Figures:
    """sides: how to make the steps of the peer and of every target's candidate."""
    apart = {name: Apart(build) for name, build in sides.items()}
    return compare(in_turns(apart, ground.scale.effort), targets)


# ----------------------------------------------------------------------------------------- steps


def batches(ground: Ground, targets: Mapping[str, Target]) -> Figures:
    """Nothing but batches: DataLoader and PIL, against one gather."""
    settings = ground.settings("ce")
    resident = ground.material(CIFAR10, ground.runtime()).train
    plan = peers.endless(Stream(resident, settings.recipe.batch, 0).epoch(1))
    sides = {
        PEER: lambda: partial(next, loaded(ground, settings)),
        "gather": lambda: lambda: resident.batch(*next(plan)),
    }
    return contest(ground, targets, sides)


def step(network: NetworkSettings, ground: Ground, targets: Mapping[str, Target]) -> Figures:
    """A step of cross-entropy, batch included; one candidate for every precision."""
    mlp = network is MLP
    settings = ground.settings(
        "ce", network, **({"recipe": LE_MLP, "dataset": MNIST} if mlp else {})
    )
    ground.warm(settings)
    sides = {precision: partial(ground.steps, settings, precision) for precision in targets}
    return contest(ground, targets, {PEER: partial(naive, ground, settings), **sides})


def le_gradcam(ground: Ground, targets: Mapping[str, Target]) -> Figures:
    """What explanations in closed form add to a step of cross-entropy."""
    sides = {PEER: ground.settings("ce"), "gradcam": ground.settings("le", explanation="gradcam")}
    return engine_contest(ground, targets, sides)


def le_gradcam_loop(ground: Ground, targets: Mapping[str, Target]) -> Figures:
    """Introspective learning from the loader to the update, against explanations by captum."""
    settings = ground.settings("le", explanation="gradcam")
    ground.warm(settings)
    sides = {
        PEER: partial(naive, ground, settings, peers.GradCam),
        "gradcam": partial(ground.steps, settings),
    }
    return contest(ground, targets, sides)


def le_grad(ground: Ground, targets: Mapping[str, Target]) -> Figures:
    """Input gradients of the perceptron; no loader on either side."""
    settings = {
        name: ground.settings("le", MLP, LE_MLP, MNIST, explanation="grad", bfloat16_maps=bf16)
        for name, bf16 in (("float32", False), ("bf16_maps", True))
    }
    ground.warm(settings["float32"])
    sides = {name: partial(ground.steps, settings[name]) for name in targets}
    peer = partial(resident, ground, settings["float32"], peers.InputGradients)
    return contest(ground, targets, {PEER: peer, **sides})


def teacher_table(ground: Ground, targets: Mapping[str, Target]) -> Figures:
    """Students of a frozen teacher whose answers lie in a table."""
    sides = {name: ground.settings(name, recipe=ORACLE) for name in ("kd", "oracle")}
    return engine_contest(ground, targets, {PEER: ground.settings("ce", recipe=ORACLE), **sides})


def oracle_step(ground: Ground, targets: Mapping[str, Target]) -> Figures:
    """The Oracle authors' step; no loader on either side."""
    settings = ground.settings("oracle", recipe=ORACLE)
    ground.warm(settings)
    teacher = ground.network(settings, seed=99)
    published = partial(peers.PublishedOracle, teacher=teacher)
    sides = {
        PEER: partial(resident, ground, settings, published),
        "table": partial(ground.steps, settings),
    }
    return contest(ground, targets, sides)


def every_method(ground: Ground, targets: Mapping[str, Target]) -> Figures:
    """Time of a step over that of cross-entropy; two processes at a time, for memory's sake."""
    figures = {}
    for name, target in targets.items():
        uses, stage, chosen = METHODS[name]
        settings = ground.settings(uses, **chosen)
        ground.warm(settings)
        sides = {
            PEER: partial(ground.steps, ground.settings("ce")),
            name: partial(ground.steps, settings, stage=stage),
        }
        figures |= contest(ground, {name: target}, sides)
    return figures


# ----------------------------------------------------------------------------------------- sides


def engine_contest(
    ground: Ground, targets: Mapping[str, Target], cells: Mapping[str, CellSettings]
) -> Figures:
    """Steps of the engine against steps of the engine."""
    for settings in cells.values():
        ground.warm(settings)
    sides = {name: partial(ground.steps, settings) for name, settings in cells.items()}
    return contest(ground, targets, sides)


def naive(
    ground: Ground, settings: CellSettings, peer: Callable[..., peers.Vanilla] = peers.Vanilla
) -> Step:
    """A peer's step, from the loader to the update."""
    return steps_of(peer, ground, settings, loaded(ground, settings))


def resident(ground: Ground, settings: CellSettings, peer: Callable[..., peers.Vanilla]) -> Step:
    """A peer's step on batches that are ready, so that the loader does not count."""
    train = ground.material(settings.dataset, ground.runtime()).train
    plan = list(Stream(train, settings.recipe.batch, 0).epoch(1))[:4]
    ready = [train.batch(*step) for step in plan]
    ready = [(images.contiguous(), labels) for images, labels in ready]
    return steps_of(peer, ground, settings, peers.endless(ready))


def steps_of(
    peer: Callable[..., peers.Vanilla],
    ground: Ground,
    settings: CellSettings,
    source: Iterator[tuple[Tensor, Tensor]],
) -> Step:
    stepper = peer(ground.network(settings), recipe=settings.recipe)

    def step() -> None:
        images, labels = next(source)
        stepper(images.detach(), labels)

    return step


def loaded(ground: Ground, settings: CellSettings) -> Iterator[tuple[Tensor, Tensor]]:
    pictures = peers.Pictures(*ground.pictures(settings.dataset), settings.dataset)
    return peers.endless(peers.loader(pictures, settings.recipe.batch))


# ------------------------------------------------------------------------------------------ rows

#: name -> (file of the method, stage, options), for everything that a step may cost
METHODS = {
    **{name: (name, 0, {}) for name in methods.known() if name not in ("ce", "le", "hint", "fsp")},
    **{
        f"le ({explanation})": ("le", 0, {"explanation": explanation})
        for explanation in ("gradcam", "gradcam_last_conv", "grad", "grad_input", "guided_bp")
    },
    **{f"{name} (first stage)": (name, 0, {}) for name in ("hint", "fsp")},
    **{f"{name} (then)": (name, 1, {}) for name in ("hint", "fsp")},
}

ROWS = {
    "batch": Row(
        batches, {"gather": Target("augmented CIFAR batch", "DataLoader and PIL", "speed", 10)}
    ),
    "resnet8_step": Row(
        partial(step, RESNET8),
        {
            "float32": Target("ResNet-8 step", "naive loop", "speed", 1.5),
            "bf16": Target("ResNet-8 step, bf16", "naive loop, float32", "speed", 2.2),
        },
    ),
    "resnet20_step": Row(
        partial(step, RESNET20),
        {
            "float32": Target("ResNet-20 step", "naive loop", "speed", 1.5),
            "bf16": Target("ResNet-20 step, bf16", "naive loop, float32", "speed", 2.2),
        },
    ),
    "mlp_step": Row(
        partial(step, MLP), {"float32": Target("MNIST MLP step", "naive loop", "speed", 1.35)}
    ),
    "le_gradcam": Row(
        le_gradcam, {"gradcam": Target("LE(Grad-CAM) step, ResNet-8", "CE step", "cost", 1.05)}
    ),
    "le_gradcam_loop": Row(
        le_gradcam_loop,
        {"gradcam": Target("LE(Grad-CAM) step, ResNet-8", "naive loop, captum's way", "speed")},
    ),
    "le_grad_mlp": Row(
        le_grad,
        {
            "float32": Target("LE(Grad) step, MLP", "c backward passes", "speed", 2),
            "bf16_maps": Target("LE(Grad) step, MLP, bf16 maps", "c backward passes", "speed", 2),
        },
    ),
    "teacher_table": Row(
        teacher_table,
        {
            "kd": Target("KD step from the table, ResNet-8", "CE step", "cost", 1.05),
            "oracle": Target("Oracle step from the table, ResNet-8", "CE step", "cost", 1.05),
        },
    ),
    "oracle_step": Row(
        oracle_step,
        {"table": Target("Oracle step from the table, ResNet-8", "authors' step", "speed", 2)},
    ),
    "five_seeds": Row(
        cells.five_on_two_cores,
        {
            "procs": Target(
                "five ResNet-8 on two cores, wall", "one by one, 2 threads", "speed", 1.3
            )
        },
        slow=True,
    ),
    "memory": Row(
        cells.memory,
        {"procs": Target("memory of five ResNet-20 on CIFAR-10", "all at work", "memory", 3)},
        slow=True,
    ),
    "methods": Row(
        every_method,
        {name: Target(f"{name} step, ResNet-8", "CE step", "cost") for name in METHODS},
        slow=True,
    ),
}
