"""What a job asks a scheduler for: GPU, cores, memory, time; estimated from the config alone.

    arithmetic   A = passes · images · forward pass, a backward pass counting as two
    on a CPU     max(A / CPU_GFLOPS, steps · layers · CPU_LAYER_SECONDS) per core
    on a GPU     max(A / GPU_GFLOPS, steps · layers · LAYER_SECONDS), the latter for launches
    memory       process + images + seeds at once · (activations + weights)
    GPU hours    `gpu_hours`, from the rates that were measured on a card (`xkd.plan.rates`)

Rough on purpose: it places jobs on machines and never enters a result. Time has a margin of three;
whoever needs more is stopped with a checkpoint, and the next attempt continues with a longer limit.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from xkd.plan import rates
from xkd.plan.arithmetic import forward_gflop, layers
from xkd.plan.declarations import declaration
from xkd.plan.settings import CellSettings, DatasetSettings, NetworkSettings

AFFECTS_RESULTS = False

#: Training and test images of the sources.
IMAGES: Mapping[str, tuple[int, int]] = {
    "digits": (1_300, 500),
    "mnist": (60_000, 10_000),
    "cifar10": (50_000, 10_000),
    "cifar100": (50_000, 10_000),
    "tiny_imagenet": (100_000, 10_000),
    "imagenet_folder": (1_300_000, 50_000),
    "located_digits": (6_000, 300),
    "cub200": (5_994, 5_794),
    "stanford_cars": (8_144, 8_041),
    "fgvc_aircraft": (6_667, 3_333),
}
UNKNOWN = (100_000, 10_000)  # images of a source that is not listed
CPU_GFLOPS = 8  # one core on small convolutions, its neighbours busy
LAYER_SECONDS = 150e-6  # launches of a layer on a GPU, forward, backward and update, one seed
CPU_LAYER_SECONDS = 0.7e-3  # the same of a small layer on one core
GPU_GFLOPS = 5_000  # a GPU of the last generations, in float32
ASKED_AT_ONCE = 250  # images per pass of a network that is not trained
DECODED = 100  # photographs per second and core
DECODERS = 8  # cores per process that trains on photographs
WORTH_A_GPU = 600  # seconds on one core; what is shorter does not queue for a GPU
MARGIN = 3
STARTING = 15  # minutes for imports, file systems and a loaded machine
PROCESS_MB = 1_200  # Python, torch, its libraries
CUDA_MB = 3_000  # and those of CUDA, in the host's memory


@dataclass(frozen=True)
class Demand:
    """Of one job.

    minutes: the limit to ask for at the first attempt
    seconds: what it should take, without margin and start, on all its threads or its GPU
    """

    gpu: int
    threads: int
    memory_mb: int
    minutes: int
    seconds: float = 0.0


def preparation(data: DatasetSettings) -> Demand:
    """Read, checked and written: images are in memory three times, photographs decoded by one core.

    Those that stay in their files are not read.
    """
    train, test = _images(data)
    count = test if data.resized_crop else train + test
    memory = PROCESS_MB + 3e-6 * count * data.channels * data.size**2
    seconds = count / DECODED if data.channels == 3 and data.size > 32 else 0
    return Demand(0, 1, ceil(memory), ceil(STARTING + MARGIN * seconds / 60))


def training(settings: CellSettings, engine: Mapping[str, Any]) -> Demand:
    """All seeds of a cell.

    Args:
        engine: that section of the config; a backend or precision that only a GPU has wants one,
            and `processes` share a cell whose images stay in their files.
    """
    network, data, seeds = settings.network, settings.dataset, len(settings.seeds)
    students = declaration("methods", settings.method.uses)["PASSES"]
    taught = settings.teacher and forward_gflop(settings.teacher.network, data)
    # As if there were no table, and inputs reinforced.
    passes = 3 * (students * forward_gflop(network, data) + (taught or 0))
    images = _images(data)[0]
    gflop = passes * images * settings.recipe.epochs * seeds
    steps = settings.recipe.epochs * ceil(images / settings.recipe.batch) * seeds
    processes = team(settings, engine)
    threads = (
        DECODERS * processes if data.resized_crop else 1 if gflop / CPU_GFLOPS < 300 else seeds
    )
    at_once = 1 if data.resized_crop else threads
    needs_cuda = engine["backend"] == "graph" or engine["precision"] == "tf32"
    memory = images_mb(data) + at_once * students * seed_mb(settings, settings.recipe.batch)
    if settings.method.needs.tabulable and not data.resized_crop:
        memory += 2e-6 * data.views * images * data.classes  # the teacher's table, float16
    launched = steps * students * len(layers(network, data))
    if processes == 1:
        return _demand(gflop, launched, memory, threads, needs_cuda)
    memory = processes * (memory + PROCESS_MB + CUDA_MB)
    alone = _demand(gflop / processes, launched, memory, threads, needs_cuda)
    return replace(alone, gpu=processes * alone.gpu)


def gpu_hours(settings: CellSettings, engine: Mapping[str, Any]) -> tuple[float, bool]:
    """Hours of a GPU that the training of a cell takes, at the rates of one H100.

    Steps are captured, all seeds train at once, and teachers' tables lie ready (`table_hours`).

    Returns: hours, 0 for imported weights and where a cell does not ask for a GPU; and whether the
        rate was measured, for its kind of network, precision, batch size and method. Otherwise the
        hours are a guess.
    """
    if settings.weights or not training(settings, engine).gpu:
        return 0.0, True
    recipe, data, seeds = settings.recipe, settings.dataset, len(settings.seeds)
    family, options = settings.network.family, settings.method.options
    ratio, known = rates.method_ratio(settings.method.uses, options.get("explanation"), family)
    work, needs = (data, recipe.batch, seeds, engine["precision"]), settings.method.needs
    step, measured = _step_seconds(settings.network, *work)
    if settings.teacher and (data.resized_crop or not needs.tabulable):
        passes = 3 if needs.reinforcement else 1  # of three in a training step
        asked, _ = _step_seconds(settings.teacher.network, *work)
        ratio, known = ratio + passes / 3 * asked / step, False
    images = _images(data)[0]
    seconds = rates.BESIDE * ratio * step * recipe.epochs * ceil(images / recipe.batch)
    if data.resized_crop:  # photographs are decoded by the cores beside the GPU
        seconds = max(seconds, images * recipe.epochs * seeds / (DECODED * DECODERS))
    return (rates.STARTING + seconds) / 3600, measured and known


def table_hours(settings: CellSettings, engine: Mapping[str, Any], passes: int = 1) -> float:
    """Hours of a GPU for a teacher's answers to every view of the training images: a guess.

    passes: forward passes per view; 4 where images are reinforced by a gradient.
    """
    data, batch = settings.dataset, rates.RESNET_BATCH
    step, _ = _step_seconds(settings.network, data, batch, 1, engine["precision"])
    return passes / 3 * step * ceil(data.views * _images(data)[0] / batch) / 3600


def _step_seconds(
    network: NetworkSettings, data: DatasetSettings, batch: int, seeds: int, precision: str
) -> tuple[float, bool]:
    """Of cross-entropy, all seeds together; and whether such a network was timed at this size."""
    columns = zip(*layers(network, data), strict=True)
    products, outputs = (sum(column) for column in columns)
    if network.family == "mlp":
        rate, work = rates.PERCEPTRON, products * max(1, batch / rates.PERCEPTRON_BATCH)
        timed = batch == rates.PERCEPTRON_BATCH and precision in rates.PERCEPTRON_PRECISIONS
    else:
        slower = rates.DOUBLE if precision == "float64" else 1.0
        rate = rates.CONVOLUTIONS.get(precision, rates.CONVOLUTIONS["float32"])
        work = slower * outputs * batch
        timed = (
            (network.family, batch) == ("resnet", rates.RESNET_BATCH)
            and precision in rates.CONVOLUTIONS
            and rates.SMALLEST < outputs < rates.LARGEST
        )
    moved = 1e-12 * work * max(rate.alone, seeds * rate.shared)
    computed = 3 * 2 * products * batch * seeds / rates.FLOPS[precision]
    return max(moved, computed), timed and seeds <= rates.SEEDS


def team(settings: CellSettings, engine: Mapping[str, Any]) -> int:
    """Processes that train a cell together: several only where images stay in their files."""
    return engine.get("processes", 1) if settings.dataset.resized_crop else 1


def search(trials: Iterable[CellSettings], engine: Mapping[str, Any]) -> Demand:
    """One trial after another, each on one core."""
    demands = [training(trial, engine) for trial in trials]
    return Demand(
        max(demand.gpu for demand in demands),
        1,
        max(demand.memory_mb for demand in demands),
        STARTING + sum(demand.minutes - STARTING for demand in demands),
    )


def tabulation(settings: CellSettings) -> Demand:
    """A teacher's answers to every view of every training image."""
    return _asking(settings, settings.dataset.views * _images(settings.dataset)[0])


def arrival(settings: CellSettings) -> Demand:
    """Answers of weights from elsewhere to the test images."""
    return _asking(settings, _images(settings.dataset)[1])


def analysis(settings: CellSettings, cost: Mapping[str, str], options: Mapping[str, Any]) -> Demand:
    """Of one run of an analysis, from the expressions that its file declares as `COST`.

        passes         images that pass through the network, forward and back
        core_minutes   of work besides; threads: among which it is shared; memory_mb: besides

    Expressions know `train` and `test` (numbers of images), `classes`, the options of the analysis,
    and len, min, max.
    """
    train, test = _images(settings.dataset)
    names = {**options, "train": train, "test": test, "classes": settings.dataset.classes}

    def value(key: str, default: float) -> float:
        known = {"__builtins__": {}, "len": len, "min": min, "max": max, **names}
        return eval(cost[key], known) if key in cost else default

    passes, threads = value("passes", 0), int(value("threads", 1))
    names["threads"] = threads
    demand = _asking(settings, passes) if passes else Demand(0, 1, PROCESS_MB, STARTING)
    minutes = MARGIN * value("core_minutes", 0) / threads
    memory = demand.memory_mb + value("memory_mb", 0)
    return Demand(demand.gpu, threads, ceil(memory), ceil(demand.minutes + minutes))


def _asking(settings: CellSettings, images: int) -> Demand:
    """Forward, and backward to the images, for so many of them."""
    network, data = settings.network, settings.dataset
    gflop = 3 * forward_gflop(network, data) * images
    steps = ceil(images / ASKED_AT_ONCE)
    logits_mb = 4e-6 * images * data.classes
    memory = 2 * images_mb(data) + seed_mb(settings, ASKED_AT_ONCE) + logits_mb
    return _demand(gflop, steps * len(layers(network, data)), memory, 1, False)


def _demand(gflop: float, launched: float, memory: float, threads: int, needs_cuda: bool) -> Demand:
    """launched: layers, over all steps."""
    gpu = needs_cuda or gflop / CPU_GFLOPS > WORTH_A_GPU
    if gpu:
        seconds = max(gflop / GPU_GFLOPS, launched * LAYER_SECONDS)
    else:
        seconds = max(gflop / CPU_GFLOPS, launched * CPU_LAYER_SECONDS) / threads
    memory += PROCESS_MB + CUDA_MB * gpu
    minutes = ceil(STARTING + MARGIN * seconds / 60)
    return Demand(int(gpu), threads, ceil(memory), minutes, seconds)


def seed_mb(settings: CellSettings, batch: int) -> float:
    """What is kept for the backward pass of a batch, twice for the gradients; weights are small.

    Convolution, normalisation and ReLU keep an output each.
    """
    outputs = sum(outputs for _, outputs in layers(settings.network, settings.dataset))
    if settings.network.options.get("depth") in (50, 101):
        outputs *= 3  # bottlenecks
    return 100 + 2 * 3 * 4e-6 * outputs * batch


def images_mb(data: DatasetSettings) -> float:
    """All training images as bytes, padded and mirrored; or those for testing, if in files."""
    train, test = _images(data)
    if data.resized_crop:
        return 1e-6 * test * data.channels * data.size**2
    return 1e-6 * (1 + data.flip) * train * data.channels * (data.size + 2 * data.pad) ** 2


def _images(data: DatasetSettings) -> tuple[int, int]:
    return IMAGES.get(data.source, UNKNOWN)
