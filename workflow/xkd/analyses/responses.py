"""A teacher's answers to plain and reinforced images: Oracle, Tables 1-3 and Figures 3-4.

Images are not augmented, and x* is made from the true labels. Everything goes to one folder:

    responses.json                 scores of every reinforcement and split
    <kind>-<gamma>/test.npz        logits, labels and coarse labels; likewise train.npz
    <kind>-<gamma>/images.safetensors   x* (float16, normalised), for the gammas to keep
    <kind>-<gamma>/preview.png     image, difference, x* where answers change most
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xkd.analyses._network import TrainedNetwork
from xkd.analyses._preview import draw_preview
from xkd.analyses.base import Request
from xkd.evaluate import run_metrics, save_tensors
from xkd.files import atomic, digest, write_json
from xkd.measures.calibration import ece, reliability, top1
from xkd.measures.entropy import mean_entropy_bits
from xkd.plan.settings import Reinforcement
from xkd.reinforce import bounds_of, correcting_steps, matching_step, reinforce

READS = ("weights", "data")
OUTPUTS = {"responses": "responses.json"}
OPTIONS = {
    "gradient": {
        "description": "γ of x* = x − (γ/64)·|x|·g; 0 leaves the images as they are",
        "type": "array",
        "uniqueItems": True,
        "items": {"type": "number", "minimum": 0},
    },
    "sign": {
        "description": "γ′ of x* = x − γ′·|x|·sign(g)",
        "type": "array",
        "uniqueItems": True,
        "items": {"type": "number", "minimum": 0},
    },
    "keep": {
        "description": "the γ of `gradient` whose reinforced images are stored",
        "type": "array",
        "uniqueItems": True,
        "items": {"type": "number", "minimum": 0},
        "within": "responses.gradient",
    },
    "splits": {
        "description": "images that are answered",
        "type": "array",
        "minItems": 1,
        "uniqueItems": True,
        "items": {"enum": ["test", "train"]},
    },
}
COST = {"passes": "(train + test) * (len(gradient) + len(sign))"}
KEPT = 3e9  # bytes of reinforced images per split; all there are, but on ImageNet


def analyse(request: Request) -> None:
    """Write the folder described above, `responses.json` last.

    Splits without images, or whose images stay in their files, are left out. Scores are those of
    float32 logits, which are rounded to float16 afterwards; on the test images as they are the run
    has been scored before, and keeps these scores: a pass in another arrangement, or on another
    device, may round a tie otherwise.
    """
    trained, keep = request.trained, set(request.options["keep"])
    known = run_metrics(request.layout.run(request.run))
    splits = [s for s in request.options["splits"] if len(trained.data.split(s).images)]
    manifest = request.output("responses")
    answers: dict[str, Any] = {}
    for reinforcement in reinforcements(request.options):
        folder = manifest.parent / str(reinforcement)
        stored = reinforcement.kind == "gradient" and reinforcement.gamma in keep
        scores: dict[str, Any] = {"kind": reinforcement.kind, "gamma": reinforcement.gamma}
        digests, images = {}, {}
        for split in splits:
            found = answer_split(trained, split, reinforcement, keep_images=stored)
            scored = score(found["logits"], found["labels"])
            scored["logit_step"] = matching_step(found.pop("correcting"), scored["top1"])
            if split == "test" and reinforcement.gamma == 0:
                scored |= {name: known[name] for name in scored.keys() & known.keys()}
            found["logits"] = found["logits"].astype(np.float16)
            path = folder / f"{split}.npz"
            with atomic(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **{k: v for k, v in found.items() if k != "images"})
            digests[path.name] = digest(path)
            scores[split] = scored
            if stored:
                images[split] = found["images"]
        if stored:
            path = folder / "images.safetensors"
            save_tensors(images, path)
            digests[path.name] = digest(path)
        if reinforcement.gamma:
            draw_preview(trained, reinforcement, folder / "preview.png", str(request.run))
        answers[str(reinforcement)] = {**scores, "digests": digests}
        plain = answers.get("gradient-0", scores)
        print(
            f"{reinforcement}: "
            + ", ".join(f"{s} {plain[s]['top1']:.4f} -> {scores[s]['top1']:.4f}" for s in splits)
        )
    write_json(
        manifest,
        {
            "teacher": str(request.run),
            "dataset": request.settings.dataset.name,
            "network": request.settings.network.name,
            "class_names": trained.data.class_names,
            "coarse_names": trained.data.coarse_names,
            "reinforcements": answers,
        },
    )


def reinforcements(options: Mapping[str, Any]) -> list[Reinforcement]:
    """Every way in which the images are changed."""
    return [
        Reinforcement(float(gamma), kind)
        for kind in ("gradient", "sign")
        for gamma in options[kind]
    ]


def answer_split(
    trained: TrainedNetwork, split: str, reinforcement: Reinforcement, keep_images: bool = False
) -> dict[str, Any]:
    """Logits (float32, [N, C]) on the reinforced images of a split, with its labels; "correcting",
    [N], the steps that would correct the logits on the images as they are.

    Args:
        keep_images: also return "images", x* of the first as float16 [n, channels, size, size].
    """
    part = trained.data.split(split)
    bounds = bounds_of(reinforcement, trained.dataset, trained.device)
    logits: list[Tensor] = []
    correcting: list[Tensor] = []
    images: list[Tensor] = []
    for first in range(0, len(part.labels), trained.batch):
        chosen = slice(first, first + trained.batch)
        plain = trained.normalised(part.images[chosen])
        labels = part.labels[chosen].to(trained.device)
        changed = reinforce(trained.network, plain, labels, reinforcement, bounds)
        with torch.no_grad():
            same = reinforcement.gamma == 0
            answer = changed.logits if same else trained.network(changed.images).logits
        logits.append(answer.float().cpu())
        correcting.append(correcting_steps(changed.logits.float(), labels).cpu())
        if keep_images and sum(kept.nbytes for kept in images) < KEPT:
            images.append(changed.images.half().cpu())
    found: dict[str, Any] = {"logits": torch.cat(logits).numpy(), "labels": part.labels.numpy()}
    found["correcting"] = torch.cat(correcting)
    if part.coarse is not None:
        found["coarse"] = part.coarse.numpy()
    if keep_images:
        found["images"] = torch.cat(images)
    return found


def score(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Accuracy, calibration (raw, T = 1; 20 and 15 bins, A47) and entropy (bits, T = 4; T = 1)."""
    confidence, correct = top1(logits, labels)
    return {
        "top1": float(correct.mean()),
        "ece": ece(confidence, correct, 20),
        "ece15": ece(confidence, correct, 15),
        "entropy_bits": mean_entropy_bits(logits),
        "entropy_bits_t1": mean_entropy_bits(logits, 1.0),
        "reliability": reliability(confidence, correct, 20),
    }
