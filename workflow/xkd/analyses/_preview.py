"""A picture of what reinforcement does to the images whose answers change most."""

from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from torch import Tensor

from xkd.analyses._network import TrainedNetwork
from xkd.files import atomic
from xkd.plan.settings import Reinforcement
from xkd.reinforce import bounds_of, reinforce

IMAGES = 8
LOOKED_AT = 500  # test images from the start of the split, among which these are chosen
LEAST, MOST = 1e-3, 0.5  # of a difference in normalised units: one scale for every picture


class Seen(NamedTuple):
    """Images before and after, [N, channels, size, size], and the probabilities of each, [N, C]."""

    indices: Tensor
    labels: Tensor
    plain: Tensor
    changed: Tensor
    before: Tensor
    after: Tensor


def draw_preview(
    trained: TrainedNetwork, reinforcement: Reinforcement, path: Path, teacher: str
) -> None:
    """Columns: the images whose answers change most. Rows: x, x* − x, x*.

    Below a column: the predicted classes on x and on x*, ✓ where right, and the confidence in the
    true class. Differences are summed over channels; all pictures share one scale, linear near zero
    and logarithmic beyond, so that steps of any size compare.
    """
    seen = _most_changed(trained, reinforcement)
    difference = (seen.changed - seen.plain).sum(1).cpu().numpy()
    rows = [_pixels(trained, seen.plain), difference, _pixels(trained, seen.changed)]
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever a user's matplotlibrc says
        figure = _draw(trained, seen, rows)
        figure.suptitle(
            f"{teacher}: inputs reinforced, {reinforcement.kind}, γ = {reinforcement.gamma:g}\n"
            f"{len(seen.labels)} of {_looked_at(trained)} test images, whose answers change most",
            fontsize=10,
        )
        with atomic(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def _looked_at(trained: TrainedNetwork) -> int:
    return min(LOOKED_AT, len(trained.data.split("test").labels))


def _most_changed(trained: TrainedNetwork, reinforcement: Reinforcement) -> Seen:
    """Those whose predicted class changes first, then by the change of the true class's share."""
    part = trained.data.split("test")
    bounds = bounds_of(reinforcement, trained.dataset, trained.device)
    found = []
    for indices in torch.arange(_looked_at(trained)).split(trained.batch):
        plain = trained.normalised(part.images[indices])
        labels = part.labels[indices].to(trained.device).long()
        changed = reinforce(trained.network, plain, labels, reinforcement, bounds)
        with torch.no_grad():
            after = trained.network(changed.images).logits
        shares = [logits.detach().softmax(1).cpu() for logits in (changed.logits, after)]
        found.append(Seen(indices, labels.cpu(), plain, changed.images, *shares))
        found = [_top(Seen(*map(torch.cat, zip(*found, strict=True))))]
    return found[0]


def _top(seen: Seen) -> Seen:
    places = torch.arange(len(seen.labels))
    moved = (seen.after - seen.before)[places, seen.labels].abs()
    score = moved + 2.0 * (seen.before.argmax(1) != seen.after.argmax(1))
    order = score.argsort(descending=True, stable=True)[:IMAGES]
    return Seen(*(part[order.to(part.device)] for part in seen))


def _draw(trained: TrainedNetwork, seen: Seen, rows: list[np.ndarray]) -> Figure:
    figure = Figure(figsize=(1.2 * len(seen.labels) + 1.1, 5.1), layout="constrained", dpi=110)
    axes = figure.subplots(3, len(seen.labels), squeeze=False)
    for row, (name, images) in enumerate(zip(("x", "x* − x", "x*"), rows, strict=True)):
        scale = {"cmap": "gray", "vmin": 0, "vmax": 1}
        if row == 1:
            scale = {"cmap": "RdBu_r", "norm": SymLogNorm(LEAST, vmin=-MOST, vmax=MOST)}
        for axis, image in zip(axes[row], images, strict=True):
            picture = axis.imshow(image, interpolation="nearest", **scale)
            axis.set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11)
        if row == 1:
            bar = figure.colorbar(picture, ax=list(axes[1]), shrink=0.9, label="normalised units")
            bar.set_ticks([-0.1, -0.01, 0, 0.01, 0.1], labels=["−0.1", "−0.01", "0", "0.01", "0.1"])
            bar.ax.minorticks_off()
    names = trained.data.class_names
    for column, (axis, label) in enumerate(zip(axes[2], seen.labels, strict=True)):
        said = [shares[column].argmax() for shares in (seen.before, seen.after)]
        words = " → ".join(f"{names[int(k)]} {'✓' if k == label else '✗'}" for k in said)
        shares = [float(part[column, label]) for part in (seen.before, seen.after)]
        axis.set_xlabel(f"{words}\n{shares[0]:.2f} → {shares[1]:.2f}", fontsize=8)
        title = f"{names[int(label)]}  (#{int(seen.indices[column])})"
        axes[0, column].set_title(title, fontsize=8)
    return figure


def _pixels(trained: TrainedNetwork, images: Tensor) -> np.ndarray:
    """Normalised images back to [0, 1] for display: [N, H, W] if grey, else [N, H, W, 3]."""
    settings = trained.normalised
    pixels = ((images - settings.shift) / settings.scale / 255).clamp(0, 1)
    pixels = pixels.movedim(1, -1).cpu().numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
