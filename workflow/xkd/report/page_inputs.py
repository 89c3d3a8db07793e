"""Test images that a teacher answers rightly once they are reinforced, and those it then misses."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xkd.errors import Refused
from xkd.files import read_json
from xkd.plan.grid import Plan
from xkd.plan.runs import Layout, Run
from xkd.readers import read_npz

MOST = 12  # images of each list; the counts are of all
PLAIN = "gradient-0"


def describe(plan: Plan, run: Run, layout: Layout) -> dict[str, Any] | None:
    """One teacher's images by reinforcement; None where its responses are not there or damaged.

    Returns: teacher; steps, one per reinforcement by growing gamma: kind, gamma, top1, repaired and
        broken (counts), images (index, true, before, after, repaired, x and x* as PNG).
    """
    folder = layout.analysis("responses", run)
    try:
        content = read_json(folder / "responses.json")
        kinds = content["reinforcements"]
        labels, before = _answers(folder / PLAIN / "test.npz")
        images = _Images(plan, run, layout)
        steps = [
            _step(folder / key, kinds[key], content["class_names"], labels, before, images)
            for key in sorted(kinds, key=lambda key: (kinds[key]["kind"], kinds[key]["gamma"]))
            if kinds[key]["gamma"] and "test" in kinds[key]
        ]
    except (Refused, OSError, KeyError, ValueError):
        return None
    plain = kinds[PLAIN]["test"]["top1"]
    return {"teacher": str(run), "cell": str(run.cell), "plain": plain, "steps": steps}


def _answers(path: Path) -> tuple[NDArray, NDArray]:
    """Labels and predicted classes, [N] each."""
    arrays = read_npz(path, ("labels", "logits"))
    return arrays["labels"], arrays["logits"].argmax(1)


def _step(
    folder: Path,
    scores: Mapping[str, Any],
    names: list[str],
    labels: NDArray,
    before: NDArray,
    images: "_Images",
) -> dict[str, Any]:
    _, after = _answers(folder / "test.npz")
    repaired = np.flatnonzero((before != labels) & (after == labels))
    broken = np.flatnonzero((before == labels) & (after != labels))
    shown = [(index, True) for index in repaired[:MOST]]
    shown += [(index, False) for index in broken[:MOST]]
    changed = images.changed(folder / "images.safetensors", [index for index, _ in shown])
    return {
        "kind": scores["kind"],
        "gamma": scores["gamma"],
        "top1": scores["test"]["top1"],
        "repaired": len(repaired),
        "broken": len(broken),
        "images": [
            {
                "index": int(index),
                "true": names[labels[index]],
                "before": names[before[index]],
                "after": names[after[index]],
                "repaired": good,
                "plain": images.plain(index),
                "changed": changed.get(index, ""),
            }
            for index, good in shown
        ],
    }


class _Images:
    """Test images of a data set as PNG, once each; empty where they stay in their files."""

    def __init__(self, plan: Plan, run: Run, layout: Layout) -> None:
        self.path = layout.data(run.cell.dataset) / "data.safetensors"
        self.settings = plan.dataset(run.cell.dataset)
        self.made: dict[int, str] = {}

    def plain(self, index: int) -> str:
        if index not in self.made:
            found = self._rows(self.path, "test_images", [index])
            self.made[index] = _png(found[0]) if len(found) else ""
        return self.made[index]

    def changed(self, path: Path, indices: list[int]) -> dict[int, str]:
        """Reinforced images, where they were kept: normalised values back on [0, 255]."""
        rows = self._rows(path, "test", indices).astype(np.float32)
        if not len(rows):
            return {}
        mean, std = (
            np.reshape(value, (-1, 1, 1)) for value in (self.settings.mean, self.settings.std)
        )
        pixels = np.clip((rows * std + mean) * 255, 0, 255).round().astype(np.uint8)
        return dict(zip(indices, map(_png, pixels), strict=True))

    @staticmethod
    def _rows(path: Path, name: str, indices: list[int]) -> NDArray:
        from safetensors import safe_open

        if not path.is_file() or not indices:
            return np.zeros((0, 1, 1, 1), np.uint8)
        with safe_open(path, "numpy") as file:
            names = file.keys()
            if name not in names:
                return np.zeros((0, 1, 1, 1), np.uint8)
            part = file.get_slice(name)
            return np.stack([part[int(index) : int(index) + 1][0] for index in indices])


def _png(image: NDArray) -> str:
    """[channels, h, w], uint8, as a data URI."""
    from PIL import Image

    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
