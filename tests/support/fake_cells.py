"""Cells small enough to train in a test: striped 8x8 images, a narrow ResNet-8, four epochs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from xkd import methods
from xkd.engine.cell import train_cell
from xkd.engine.options import EngineOptions
from xkd.files import digest, write_json
from xkd.plan.runs import Cell, Layout, Run
from xkd.plan.settings import (
    CellSettings,
    DatasetSettings,
    MethodSettings,
    NetworkSettings,
    Recipe,
    TeacherNeeds,
    TeacherSettings,
)

STRIPES = DatasetSettings(
    "stripes", "digits", 4, 1, 8, (0.5,), (0.25,), pad=1, flip=True, holdout=16
)
NARROW = NetworkSettings("resnet8", "resnet", {"depth": 8, "widths": [4, 6, 8]})
ATTENTIVE = NetworkSettings(
    "attentive8", "attentive", {"depth": 8, "widths": [4, 6, 8], "explainer_bias": 1.0}
)
SMALL = NetworkSettings("mlp16", "mlp", {"hidden": [16, 12]})
RECIPE = Recipe("r", epochs=4, batch=20, lr=0.05, weight_decay=1e-3, milestones=(2,))
CODE = "0123456789abcdef"


def prepared(layout: Layout, train: int = 70, test: int = 24) -> Path:
    """A prepared data set whose classes are four frequencies of stripes under noise."""
    random = np.random.default_rng(0)
    folder = layout.data("stripes")
    folder.mkdir(parents=True)
    tensors = {}
    for name, count in (("train", train), ("test", test)):
        labels = np.arange(count) % 4
        wave = np.cos(np.pi * np.arange(8) * (labels[:, None] + 1) / 5)[:, None, :, None]
        images = 128 + 60 * wave + random.normal(0, 30, (count, 1, 8, 8))
        tensors[f"{name}_images"] = images.clip(0, 255).astype(np.uint8)
        tensors[f"{name}_labels"] = labels.astype(np.int16)
    tensors["holdout"] = np.arange(0, 16, dtype=np.int32)
    (folder / "data.safetensors").write_bytes(safetensors.numpy.save(tensors))
    write_json(
        folder / "manifest.json",
        {
            "name": "stripes",
            "class_names": list("abcd"),
            "coarse_names": None,
            "digests": {"data.safetensors": digest(folder / "data.safetensors")},
        },
    )
    return folder


def options_of(uses: str, **chosen: Any) -> dict[str, Any]:
    """Defaults, and something small for an option without."""
    method = methods.load(uses)
    small = {"minimum": 1, "exclusiveMinimum": 0.5}
    filled = {
        name: schema.get("default", next((v for k, v in small.items() if k in schema), None))
        for name, schema in method.OPTIONS.items()
    }
    short = {"first_epochs": 1} if "first_epochs" in filled else {}
    return {**filled, "weights": dict(method.WEIGHTS), **short, **chosen}


def cell(
    uses: str = "ce",
    seeds: tuple[int, ...] = (0, 1),
    network: NetworkSettings | None = None,
    recipe: Recipe = RECIPE,
    taught_by: int | None = 0,
    **chosen: Any,
) -> CellSettings:
    """A cell of the striped data; methods that need a teacher get the one of `teacher()`.

    Without a network, the student is of the family that the method trains.
    """
    network = network or {None: NARROW, "attentive": ATTENTIVE}[methods.load(uses).FAMILY]
    options = options_of(uses, **chosen)
    declared = {"TEACHER": (method := methods.load(uses)).TEACHER, "REINFORCES": method.REINFORCES}
    needs = TeacherNeeds.of(declared, options)
    teacher = None
    if method.TEACHER:
        above = teacher_settings()
        teacher = TeacherSettings(above.cell, above.network, taught_by)
    return CellSettings(
        Cell("stripes", network.name, uses, teacher and teacher.cell.slug),
        STRIPES,
        network,
        recipe,
        MethodSettings(uses, uses, options, needs),
        teacher,
        seeds,
    )


def teacher_settings(seeds: tuple[int, ...] = (0,)) -> CellSettings:
    settings = cell("ce", seeds)
    return replace(settings, cell=replace(settings.cell, network="teacher8"))


def train(settings: CellSettings, layout: Layout, table: Path | None = None, **options: Any) -> int:
    """As `xkd train` does; options: of the engine."""
    return train_cell(
        settings,
        data=layout.data("stripes"),
        layout=layout,
        code=CODE,
        table=table,
        options=EngineOptions(**{"backend": "loop", **options}),
    )


def files(settings: CellSettings, layout: Layout, seed: int) -> dict[str, bytes]:
    """Content of every file of a run that must not depend on when and where it was trained."""
    folder = layout.run(Run(settings.cell, seed))
    names = ("weights.safetensors", "history.csv", "predictions.npz", "metrics.json")
    return {name: (folder / name).read_bytes() for name in names}


def again(settings: CellSettings, layout: Layout) -> None:
    """Forget that the cell is complete."""
    for seed in settings.seeds:
        (layout.run(Run(settings.cell, seed)) / "run.yaml").unlink()


class Fading(methods.load("ce")):
    """With a second loss term, in odd epochs only."""

    def stages(self, recipe):
        stage = super().stages(recipe)[0]
        extra = {1: 1.0, 2: 0.0, 3: 0.5, 4: 0.0}
        return [replace(stage, weights=lambda epoch: {"ce": 1.0, "decay": extra[epoch]})]

    def forward(self, batch, stage):
        result = super().forward(batch, stage)
        result.terms["decay"] = 1e-3 * result.logits.square().mean()
        return result
