"""What is measured on a CPU, row by row: whose steps are compared, and what the engine promises."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from xkd import methods
from xkd.bench import operations, peers, synthetic, whole_cells
from xkd.bench.measuring import PEER, Build, Effort, Figure, Target, compare, in_sessions
from xkd.bench.sides import convolutions, engine, gathered, loaded, naive, products, ready
from xkd.bench.synthetic import MLP, ORACLE, RESNET8, RESNET20, BenchCells
from xkd.engine.runtime import has_compiler
from xkd.plan.settings import NetworkSettings

HOW = (
    "Synthetic images in batches of 128 on CIFAR (64 for teachers' tables) and 16 on MNIST; one "
    "thread. Every side has a process of its own, and a new one in each of three sessions; all "
    "take turns, and their processor times are compared; where it says wall, the time on the clock."
)
SCALE, QUICK = synthetic.FULL, synthetic.QUICK
SECONDS = QUICK_SECONDS = math.inf
Sides = Mapping[str, Build]


@dataclass(frozen=True)
class Row:
    """How to find out about some targets: one figure for each, unless the machine cannot tell.

    slow: not for a quick look
    """

    measure: Callable[[BenchCells, Mapping[str, Target]], dict[str, Figure]]
    targets: Mapping[str, Target]
    slow: bool = False

    def __call__(self, cells: BenchCells) -> dict[str, Figure]:
        return self.measure(cells, self.targets)


def contest(sides: Callable[[BenchCells], Sides]) -> Callable[..., dict[str, Figure]]:
    """A row's measurement, from its sides: the peer, and a candidate for every target."""
    return lambda cells, targets: decide(cells.scale.effort, targets, sides(cells))


def decide(effort: Effort, targets: Mapping[str, Target], sides: Sides) -> dict[str, Figure]:
    """Time the sides, and compare."""
    return compare(in_sessions(sides, effort), targets)


# ----------------------------------------------------------------------------------------- sides


def batch(cells: BenchCells) -> Sides:
    settings = cells.settings("ce")
    return {PEER: loaded(cells, settings), "gather": gathered(cells, settings)}


def step(network: NetworkSettings, *precisions: str) -> Callable[[BenchCells], Sides]:
    """Cross-entropy, from the loader or the gathered batch to the update."""

    def sides(cells: BenchCells) -> Sides:
        settings = cells.settings("ce", network)
        candidates = {p: engine(cells, settings, p) for p in precisions}
        return {PEER: naive(cells, settings), **candidates}

    return sides


def le_gradcam(cells: BenchCells) -> Sides:
    """What explanations in closed form add to cross-entropy."""
    explained = cells.settings("le", explanation="gradcam")
    return {PEER: engine(cells, cells.settings("ce")), "gradcam": engine(cells, explained)}


def le_gradcam_loop(cells: BenchCells) -> Sides:
    """Introspective learning, loader and all."""
    settings = cells.settings("le", explanation="gradcam")
    return {PEER: naive(cells, settings, peers.GradCam), "gradcam": engine(cells, settings)}


def le_grad_mlp(cells: BenchCells) -> Sides:
    """No loader on either side."""
    exact, rounded = (
        cells.settings("le", MLP, explanation="grad", bfloat16_maps=bf16) for bf16 in (False, True)
    )
    return {
        PEER: ready(cells, exact, peers.InputGradients),
        "float32": engine(cells, exact),
        "bf16_maps": engine(cells, rounded),
    }


def floor_convolutions(cells: BenchCells) -> Sides:
    """How much of a step nobody can save without other convolutions."""
    settings = cells.settings("ce", RESNET20)
    return {PEER: convolutions(cells, settings), "resnet20": engine(cells, settings)}


def floor_maps(cells: BenchCells) -> Sides:
    """How much of LE(Grad) nobody can save without other matrix products."""
    settings = cells.settings("le", MLP, explanation="grad")
    return {PEER: products(cells, settings), "le_grad": engine(cells, settings)}


def teacher_table(cells: BenchCells) -> Sides:
    """What a student pays for a teacher whose answers lie in a table."""
    sides = {PEER: "ce", "kd": "kd", "oracle": "oracle"}
    return {
        name: engine(cells, cells.settings(uses, recipe=ORACLE)) for name, uses in sides.items()
    }


def oracle_step(cells: BenchCells) -> Sides:
    """No loader on either side."""
    settings = cells.settings("oracle", recipe=ORACLE)
    published = partial(peers.PublishedOracle, teacher=cells.network(settings, seed=99))
    return {PEER: ready(cells, settings, published), "table": engine(cells, settings)}


def compiled(cells: BenchCells, targets: Mapping[str, Target]) -> dict[str, Figure]:
    """What torch.compile gains, by precision; nothing can be said where it finds no compiler."""
    if not has_compiler():
        return {}
    settings, figures = cells.settings("ce", RESNET20), {}
    for precision, target in targets.items():
        sides = {
            PEER: engine(cells, settings, precision),
            precision: engine(cells, settings, precision, compiled=True),
        }
        figures |= decide(cells.scale.effort, {precision: target}, sides)
    return figures


def every_method(
    cells: BenchCells, targets: Mapping[str, Target], network: NetworkSettings = RESNET8
) -> dict[str, Figure]:
    """Each against cross-entropy, two processes at a time for memory's sake."""
    effort = replace(cells.scale.effort, seconds=cells.scale.effort.seconds / 5, sessions=1)
    figures = {}
    for name, target in targets.items():
        uses, stage, options = METHODS[name]
        sides = {
            PEER: engine(cells, cells.settings("ce", network)),
            name: engine(cells, cells.settings(uses, network, **options), stage=stage),
        }
        figures |= decide(effort, {name: target}, sides)
    return figures


# ------------------------------------------------------------------------------------------ rows

#: Name -> file of the method, stage, options: for every kind of step that there is.
METHODS: dict[str, tuple[str, int, dict[str, Any]]] = {
    **{
        name: (name, 0, {})
        for name in methods.known()
        if name not in ("ce", "fsp", "hint", "le", "attentive")
    },
    "kd, standardised": ("kd", 0, {"standardise": True}),
    **{
        f"{name}, {stage} stage": (name, position, {})
        for name in ("fsp", "hint")
        for position, stage in enumerate(("first", "second"))
    },
    **{
        f"attentive, {stage}": ("attentive", position, {})
        for position, stage in enumerate(("student", "explanation"))
    },
    **{
        f"le, {explanation}": ("le", 0, {"explanation": explanation})
        for explanation in ("gradcam", "gradcam_last_conv", "grad", "grad_input", "guided_bp")
    },
}

#: Those that are measured on the networks of their own papers as well.
RELATED = ("kd, standardised", "dist", "cat_kd", "reviewkd", "crd", "mlkd", "mlkd_weak")
RELATED += ("mcl_okd", "ffsd")

ROWS = {
    "batch": Row(
        contest(batch),
        {"gather": Target("augmented CIFAR batch", "DataLoader and PIL", "speed", 10)},
    ),
    "resnet8_step": Row(
        contest(step(RESNET8, "float32", "bf16")),
        {
            "float32": Target("ResNet-8 step", "naive loop", "speed", 1.5),
            "bf16": Target("ResNet-8 step, bf16", "naive loop, float32", "speed", 2.2),
        },
    ),
    "resnet20_step": Row(
        contest(step(RESNET20, "float32", "bf16")),
        {
            "float32": Target("ResNet-20 step", "naive loop", "speed", 1.5),
            "bf16": Target("ResNet-20 step, bf16", "naive loop, float32", "speed", 2.2),
        },
    ),
    "mlp_step": Row(
        contest(step(MLP, "float32")),
        {"float32": Target("MNIST MLP step", "naive loop", "speed", 1.35)},
    ),
    "le_gradcam": Row(
        contest(le_gradcam),
        {"gradcam": Target("LE(Grad-CAM) step, ResNet-8", "CE step", "cost", 1.05)},
    ),
    "le_gradcam_loop": Row(
        contest(le_gradcam_loop),
        {"gradcam": Target("LE(Grad-CAM) step, ResNet-8", "naive loop, captum's way", "speed")},
    ),
    "le_grad_mlp": Row(
        contest(le_grad_mlp),
        {
            "float32": Target("LE(Grad) step, MLP", "c backward passes", "speed", 2),
            "bf16_maps": Target("LE(Grad) step, MLP, bf16 maps", "c backward passes", "speed", 2),
        },
    ),
    "teacher_table": Row(
        contest(teacher_table),
        {
            "kd": Target("KD step from the table, ResNet-8", "CE step", "cost", 1.05),
            "oracle": Target("Oracle step from the table, ResNet-8", "CE step", "cost", 1.05),
        },
    ),
    "oracle_step": Row(
        contest(oracle_step),
        {"table": Target("Oracle step from the table, ResNet-8", "authors' step", "speed", 2)},
    ),
    "floor_convolutions": Row(
        contest(floor_convolutions),
        {"resnet20": Target("ResNet-20 step", "its convolutions alone", "cost")},
    ),
    "floor_maps": Row(
        contest(floor_maps),
        {"le_grad": Target("LE(Grad) step, MLP", "the matrix products of its maps", "cost")},
    ),
    "five_seeds": Row(
        whole_cells.five_on_two_cores,
        {"procs": Target("five ResNet-8, two cores, wall", "in turn, two threads", "speed", 1.3)},
        slow=True,
    ),
    "memory": Row(
        whole_cells.memory,
        {"5": Target("five ResNet-20 on CIFAR-10", "all in memory", "memory", 3)},
        slow=True,
    ),
    "launches": Row(operations.count, operations.TARGETS, slow=True),
    "compiled": Row(
        compiled,
        {
            "float32": Target("ResNet-20 step, compiled", "the same as it is", "speed"),
            "bf16": Target("ResNet-20 step, bf16, compiled", "the same as it is", "speed"),
        },
        slow=True,
    ),
    "methods": Row(
        every_method,
        {name: Target(f"{name} step, ResNet-8", "CE step", "cost") for name in METHODS},
        slow=True,
    ),
    "related_methods": Row(
        partial(every_method, network=RESNET20),
        {name: Target(f"{name} step, ResNet-20", "CE step", "cost") for name in RELATED},
        slow=True,
    ),
}
