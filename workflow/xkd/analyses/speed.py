"""How long an explanation of one image takes, beside the target's own inference.

Batch 1, one after another in every round, so that whatever else the machine does meets all of them
alike; medians of the rounds after some to warm up. Every entry includes finding the class that is
explained. Slow ones (RISE, LIME, integrated gradients) come in fewer rounds.
"""

import csv
import io
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from xkd.analyses._surrogate import Surrogate
from xkd.analyses.base import Request
from xkd.analyses.saliency import own_options
from xkd.explain import Subject, of_class
from xkd.explain.gradcam import map_of
from xkd.explain.last_level import map_of_level
from xkd.files import write_text
from xkd.plan.declarations import declaration

READS = ("weights", "data")
OUTPUTS = {"speed": "speed.csv"}
OPTIONS = {
    "explanations": {
        "description": "timed beside those that are always timed",
        "type": "array",
        "uniqueItems": True,
        "items": {"type": "string"},
        "files": "explain",
        "default": ["rise", "lime"],
    },
    "options": {
        "description": "explanation -> its own options",
        "type": "object",
        "additionalProperties": {"type": "object"},
        "default": {},
    },
    "rounds": {"description": "timed", "type": "integer", "minimum": 1, "default": 200},
    "slow_rounds": {
        "description": "timed, of the explanations that ask many times",
        "type": "integer",
        "minimum": 1,
        "default": 5,
    },
    "warmup": {"description": "before them", "type": "integer", "minimum": 0, "default": 20},
}
COST = {"passes": "20 * rounds + len(explanations) * slow_rounds * 8000"}


class Entry(NamedTuple):
    """name: of an explanation or of a network alone; run: on one image; slow: fewer rounds."""

    name: str
    run: Callable[[Tensor], object]
    slow: bool = False


@torch.no_grad()
def analyse(request: Request) -> None:
    """Write `speed.csv`: seconds (median), frames a second, ratio to the target's inference."""
    surrogate, options = Surrogate.of(request), request.options
    chosen = surrogate.drawn(options["rounds"] + options["warmup"], seed=0)
    images = surrogate.images(chosen).split(1)
    entries = _entries(request, surrogate)
    seconds: dict[str, list[float]] = {entry.name: [] for entry in entries}
    for number in range(options["warmup"] + options["rounds"]):
        image = images[number % len(images)]
        for entry in entries:
            timed = number - options["warmup"]
            # Slow ones are warmed up by one call, then timed now and then among the rest.
            if entry.slow and number and not _due(timed, options["rounds"], options["slow_rounds"]):
                continue
            began = _clock(image)
            entry.run(image)
            if timed >= 0:
                seconds[entry.name].append(_clock(image) - began)
    base = median(seconds["inference"])
    rows = []
    for name, times in seconds.items():
        typical = median(times)
        rows.append([name, len(times), typical, 1 / typical, base / typical])
        print(f"{name}: {1e3 * typical:.3f} ms, {base / typical:.4g} of the target's speed")
    device = surrogate.trained.device
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["explanation", "rounds", "seconds", "fps", "ratio", "hardware", "threads"])
    writer.writerows([*row, hardware, torch.get_num_threads()] for row in rows)
    write_text(request.output("speed"), text.getvalue())


def _due(timed: int, rounds: int, wanted: int) -> bool:
    """Whether one of `wanted` evenly spread rounds has come."""
    return timed >= 0 and timed * wanted // rounds > (timed - 1) * wanted // rounds


def _entries(request: Request, surrogate: Surrogate) -> list[Entry]:
    target, student = surrogate.target, surrogate.trained.network
    subject = Subject(target, student, at_once=surrogate.trained.batch)

    def predicted(image: Tensor) -> Tensor:
        return target(image).logits.argmax(1)

    def explain_own(image: Tensor) -> Tensor:
        levels = student.levels(image)
        return student.explain(levels, levels.logits.argmax(1), image.shape[2:])

    def explain_target(image: Tensor) -> Tensor:
        classes = predicted(image)
        return student.explain(student.levels(image), classes, image.shape[2:])

    def last_level(image: Tensor) -> Tensor:
        levels = student.levels(image)
        return map_of_level(student, levels, levels.logits.argmax(1), image.shape[2:])

    def gradcam(image: Tensor) -> Tensor:
        output = target(image)
        return map_of(target, output, output.logits.argmax(1), image.shape[2:])

    def other(name: str) -> Entry:
        own, slow = own_options(request, name), declaration("explain", name)["MANY"]
        return Entry(name, lambda x: of_class(subject, x, predicted(x), name, **own), slow)

    return [
        Entry("inference", predicted),
        Entry("student", lambda image: student(image).logits.argmax(1)),
        Entry("explanation_net", explain_own),
        Entry("explanation_net_of_target", explain_target),
        Entry("last_level", last_level),
        Entry("gradcam", gradcam),
        *map(other, request.options["explanations"]),
    ]


def _clock(image: Tensor) -> float:
    """Seconds, once an accelerator has done what it was given."""
    if image.is_cuda:
        torch.cuda.synchronize(image.device)
    return time.perf_counter()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
