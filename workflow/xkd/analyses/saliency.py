"""Explanations of a target, its attentive surrogate's and others', and what each is worth.

Every explanation is asked about the class that the target predicts, on the same randomly drawn test
images; insertion and deletion are measured on the target. Everything goes to

    saliency.csv      one row per explanation: means over images
    saliency.npz      per image and explanation: scores and curves; some maps to look at
    agreement.json    how often the surrogate predicts what the target predicts; counts, parameters
"""

import csv
import io
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from xkd.analyses._surrogate import Surrogate
from xkd.analyses.base import Request
from xkd.errors import Refused
from xkd.explain import Subject, load, of_class, of_one_class
from xkd.files import atomic, write_json, write_text
from xkd.measures.perturbation import Curves, Protocol, area, curves
from xkd.measures.saliency import (
    average_drop,
    average_increase,
    explained_part,
    intensity,
    pointing_accuracy,
    pointing_hits,
    scaled,
)
from xkd.perturb import erased
from xkd.plan.declarations import declaration
from xkd.plan.validation import fill

READS = ("weights", "data")
OUTPUTS = {
    "saliency": "saliency.csv",
    "saliency_images": "saliency.npz",
    "agreement": "agreement.json",
}
OPTIONS = {
    "explanations": {
        "description": "files of xkd/explain/ with explanations of one class",
        "type": "array",
        "minItems": 1,
        "uniqueItems": True,
        "items": {"type": "string"},
        "files": "explain",
    },
    "options": {
        "description": "explanation -> its own options",
        "type": "object",
        "additionalProperties": {"type": "object"},
        "default": {},
    },
    "images": {
        "description": "test images, drawn at random once for all",
        "type": "integer",
        "minimum": 1,
        "default": 1000,
    },
    "step": {
        "description": "pixels inserted or deleted at a time",
        "type": "integer",
        "minimum": 1,
    },
    "blur": {
        "description": "side of the blur kernel, odd, in pixels",
        "type": "integer",
        "minimum": 1,
        "default": 11,
    },
    "sigma": {
        "description": "its standard deviation, in pixels",
        "type": "number",
        "exclusiveMinimum": 0,
        "default": 5.0,
    },
    "radius": {
        "description": "tolerance of the pointing game, in pixels",
        "type": "number",
        "minimum": 0,
        "default": 0.0,
    },
    "shown": {
        "description": "images whose maps and curves are kept to be drawn",
        "type": "integer",
        "minimum": 1,
        "default": 4,
    },
    "seed": {"description": "of every draw", "type": "integer", "minimum": 0, "default": 0},
}
#: Per explanation 2(N + 1) images for the curves; RISE and LIME ask about a thousand or two each.
COST = {"passes": "min(images, test) * (len(explanations) * 130 + 4000) / 3"}
DARK, BRIGHT = 0.02, 0.9  # means of an explanation network's maps outside are a collapse


class Scores(NamedTuple):
    """One explanation: per-image arrays [N], curves [N, steps + 1], maps of the first images."""

    arrays: dict[str, np.ndarray]
    curves: Curves
    row: dict[str, Any]
    maps: Tensor


@torch.no_grad()
def analyse(request: Request) -> None:
    """Write the three files; explanations that need what is not there are left out and named."""
    options = request.options
    surrogate = Surrogate.of(request)
    chosen = surrogate.drawn(options["images"], options["seed"])
    images, subject = surrogate.images(chosen), surrogate.subject(chosen, options["seed"])
    whole = subject.probabilities(images)
    classes = whole.argmax(1)
    labels = surrogate.split.labels[chosen].to(classes.device)
    protocol = Protocol(
        options["step"], options["blur"], options["sigma"], at_once=surrogate.trained.batch
    )
    found: dict[str, Scores] = {}
    for name in _there(request, subject):
        found[name] = _score(name, subject, images, classes, labels, protocol, request)
        row = found[name].row
        print(
            f"{name}: insertion {row['insertion']:.4f}, deletion {row['deletion']:.4f}, "
            f"intensity {row['intensity']:.3f}, {row['seconds']:.1f} s",
            flush=True,
        )
    write_json(request.output("agreement"), _agreement(surrogate, options["seed"]))
    arrays = _arrays(found, options["shown"])
    arrays |= {
        "chosen": chosen.numpy(),
        "classes": classes.cpu().numpy(),
        "labels": labels.cpu().numpy(),
        "images": surrogate.split.images[chosen[: options["shown"]]].movedim(1, -1).numpy(),
        "class_names": np.array(surrogate.trained.data.class_names),
    }
    with (
        atomic(request.output("saliency_images")) as temporary,
        temporary.open("wb") as file,
    ):
        np.savez_compressed(file, **arrays)
    write_text(request.output("saliency"), _table([scores.row for scores in found.values()]))


def _there(request: Request, subject: Subject) -> list[str]:
    """The wanted explanations that this data set allows.

    Raises: Refused for an explanation that is unknown or is of all classes only.
    """
    kept = []
    for name in request.options["explanations"]:
        if name not in of_one_class():
            raise Refused(
                f"analyses.{request.name}.explanations: found '{name}', expected some of "
                f"{', '.join(of_one_class())}"
            )
        if "objects" in declaration("explain", name)["SUBJECT"] and subject.objects is None:
            print(f"{name}: left out, since {request.settings.dataset.name} knows no objects")
        else:
            kept.append(name)
    return kept


def own_options(request: Request, name: str) -> dict[str, Any]:
    """An explanation's options of the analysis, defaults filled in. Raises Refused if they do not
    fit."""
    given = request.options["options"].get(name, {})
    properties = declaration("explain", name)["OPTIONS"]
    where = "analyses", request.name, "options", name
    return fill(given, properties, "config", *where)


def _score(
    name: str,
    subject: Subject,
    images: Tensor,
    classes: Tensor,
    labels: Tensor,
    protocol: Protocol,
    request: Request,
) -> Scores:
    """All measures of one explanation.

    Raises: Refused for an explanation network whose maps have collapsed.
    """
    began = time.monotonic()
    maps = of_class(subject, images, classes, name, **own_options(request, name))
    seconds = time.monotonic() - began
    visible = getattr(load(name), "intensities", lambda found: found)(maps)
    mean = float(visible.mean())
    if name == "explanation_net" and not DARK <= mean <= BRIGHT:
        raise Refused(
            f"{request.run}: the explanation network has collapsed: the mean of its maps is "
            f"{mean:.2g}, expected {DARK} to {BRIGHT}; train it with another seed or other weights"
        )
    measured = curves(subject.probabilities, images, maps, classes, protocol)
    of_class_ = classes[:, None]
    whole = subject.probabilities(images).gather(1, of_class_)[:, 0]
    part = subject.probabilities(explained_part(images, visible)).gather(1, of_class_)[:, 0]
    arrays = {
        "insertion": area(measured.insertion),
        "deletion": area(measured.deletion),
        "intensity": intensity(visible),
    }
    row = {
        "explanation": name,
        "images": len(images),
        **{key: float(values.double().mean()) for key, values in arrays.items()},
        "raw_intensity": mean,
        "average_drop": average_drop(whole, part),
        "average_increase": average_increase(whole, part),
        "pointing": float("nan"),
        "insertion_start": float(measured.insertion[:, 0].mean()),
        "insertion_end": float(measured.insertion[:, -1].mean()),
        "control": int(declaration("explain", name)["CONTROL"]),
        "seconds": seconds,
    }
    if subject.objects is not None:
        hits = pointing_hits(maps, subject.objects, request.options["radius"])
        row["pointing"] = pointing_accuracy(hits, labels)
        arrays["hit"] = hits
    kept = {key: values.cpu().numpy().astype(np.float32) for key, values in arrays.items()}
    return Scores(kept, measured, row, scaled(visible[: request.options["shown"]]))


def _arrays(found: Mapping[str, Scores], shown: int) -> dict[str, np.ndarray]:
    """By `<explanation>/<quantity>`; curves of all images in half precision, to be averaged."""
    arrays = {"explanations": np.array(list(found))}
    for name, scores in found.items():
        for key, values in scores.arrays.items():
            arrays[f"{name}/{key}"] = values
        for kind, values in scores.curves._asdict().items():
            arrays[f"{name}/{kind}_curve"] = values.numpy().astype(np.float16)
        arrays[f"{name}/maps"] = scores.maps.cpu().numpy().astype(np.float16)
    return arrays


def _agreement(surrogate: Surrogate, seed: int) -> dict[str, Any]:
    """Shares of all test images for which surrogate and target predict one class.

    `perturbed` is on the same images with parts erased, as explanations are scored and trained on.
    """
    batch, split = surrogate.trained.batch, surrogate.split
    student, target = surrogate.trained.network, surrogate.target
    same: dict[str, list[Tensor]] = {"plain": [], "perturbed": []}
    levels: list[list[Tensor]] = []
    right: dict[str, list[Tensor]] = {"student_top1": [], "target_top1": []}
    devices = [surrogate.trained.device] if surrogate.trained.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        for place in torch.arange(len(split.labels)).split(batch):
            images = surrogate.images(place)
            labels = split.labels[place].to(images.device)
            for kind, shown in (("plain", images), ("perturbed", erased(images))):
                answers = target(shown).logits.argmax(1)
                own = student.levels(shown)
                same[kind].append(own.logits.argmax(1) == answers)
                if kind == "plain":
                    by_level = student.level_logits(own)
                    levels.append([(z.argmax(1) == answers) for z in by_level])
                    right["student_top1"].append(own.logits.argmax(1) == labels)
                    right["target_top1"].append(answers == labels)

    def share(parts: list[Tensor]) -> float:
        return float(torch.cat(parts).double().mean())

    data = surrogate.trained.data
    return {
        "classes": len(data.class_names),
        "counts": {kind: len(data.split(kind).labels) for kind in ("train", "test")},
        **{key: share(parts) for key, parts in right.items()},
        **{key: share(parts) for key, parts in same.items()},
        "levels": [share(list(level)) for level in zip(*levels, strict=True)],
        "parameters": {
            "target": sum(p.numel() for p in target.parameters()),
            "student": sum(p.numel() for p in student.parameters()),
            "explainer": sum(p.numel() for p in student.explainer.parameters()),
        },
    }


def _table(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        shown = {k: f"{v:.7g}" if isinstance(v, float) else v for k, v in row.items()}
        writer.writerow(shown)
    return text.getvalue()
