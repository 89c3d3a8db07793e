"""A picture of what reinforcement does: image, difference and x* of some test images."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from xkd.analyses._network import TrainedNetwork
from xkd.files import atomic
from xkd.plan.settings import Reinforcement
from xkd.reinforce import bounds_of, reinforce

IMAGES = 8


def draw_preview(trained: TrainedNetwork, reinforcement: Reinforcement, path: Path) -> None:
    """Columns: the first test image of each of the first classes. Rows: x, x* − x, x*.

    Under each column stands the teacher's confidence in the true class, on x and on x*. Differences
    are summed over channels and share one symmetric scale.
    """
    part = trained.data.split("test")
    classes = part.labels.unique()[:IMAGES]
    chosen = torch.stack([(part.labels == label).nonzero()[0, 0] for label in classes])
    plain = trained.normalised(part.images[chosen])
    labels = part.labels[chosen].to(trained.device)
    bounds = bounds_of(reinforcement, trained.dataset, trained.device)
    changed = reinforce(trained.network, plain, labels, reinforcement, bounds)
    with torch.no_grad():
        answers = (changed.logits, trained.network(changed.images).logits)
    before, after = (logits.softmax(1).gather(1, labels[:, None])[:, 0].cpu() for logits in answers)
    difference = (changed.images - plain).sum(1).cpu().numpy()
    limit = float(np.abs(difference).max()) or 1.0
    rows = [_pixels(trained, plain), difference, _pixels(trained, changed.images)]

    figure = Figure(figsize=(1.2 * len(chosen) + 0.9, 4.6), layout="constrained", dpi=110)
    axes = figure.subplots(3, len(chosen), squeeze=False)
    for row, (name, images) in enumerate(zip(("x", "x* − x", "x*"), rows, strict=True)):
        scale = {"cmap": "gray", "vmin": 0, "vmax": 1}
        if row == 1:
            scale = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
        for axis, image in zip(axes[row], images, strict=True):
            picture = axis.imshow(image, interpolation="nearest", **scale)
            axis.set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11)
        if row == 1:
            figure.colorbar(picture, ax=list(axes[1]), shrink=0.85, label="normalised units")
    for column, axis in enumerate(axes[2]):
        axis.set_xlabel(f"{before[column]:.2f} → {after[column]:.2f}", fontsize=9)
        name = trained.data.class_names[int(labels[column])]
        axes[0, column].set_title(name, fontsize=9)
    figure.suptitle(
        f"Reinforced inputs, {reinforcement.kind}, γ = {reinforcement.gamma:g}; "
        "below: confidence in the true class",
        fontsize=10,
    )
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _pixels(trained: TrainedNetwork, images: Tensor) -> np.ndarray:
    """Normalised images back to [0, 1] for display: [N, H, W] if grey, else [N, H, W, 3]."""
    settings = trained.normalised
    pixels = ((images - settings.shift) / settings.scale / 255).clamp(0, 1)
    pixels = pixels.movedim(1, -1).cpu().numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
