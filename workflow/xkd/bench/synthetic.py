"""What is timed: cells like the papers', on synthetic images, trained by the engine itself."""

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from xkd import methods, networks
from xkd.bench.measuring import Clock, Effort
from xkd.data.stream import Normalisation, Resident
from xkd.engine.cell_data import CellData
from xkd.engine.options import EngineOptions
from xkd.engine.runtime import Runtime
from xkd.engine.teacher import ForwardTeacher, TableTeacher, TeacherSource
from xkd.engine.training import Training
from xkd.evaluate import Scored
from xkd.networks import Network
from xkd.plan.declarations import declaration
from xkd.plan.runs import Cell
from xkd.plan.settings import (
    CellSettings,
    DatasetSettings,
    MethodSettings,
    NetworkSettings,
    Recipe,
    TeacherNeeds,
    TeacherSettings,
)

CIFAR10 = DatasetSettings(
    "cifar10", "cifar10", 10, 3, 32,
    (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), pad=4, flip=True,
)  # fmt: skip
MNIST = DatasetSettings("mnist", "mnist", 10, 1, 28, (0.1307,), (0.3081,))
RESNET8 = NetworkSettings("resnet8", "resnet", {"depth": 8})
RESNET20 = NetworkSettings("resnet20", "resnet", {"depth": 20})
MLP = NetworkSettings("mlp1024", "mlp", {"hidden": [1024, 1024]})
# Rates are low: labels are random, and nothing shall diverge. They do not change the time.
LE_RESNET = Recipe("le_resnet", epochs=2, batch=128, lr=0.01, weight_decay=1e-4)
LE_MLP = Recipe("le_mlp", epochs=2, batch=16, lr=0.01)
ORACLE = Recipe("oracle", epochs=2, batch=64, lr=0.01, weight_decay=2.5e-4)


@dataclass(frozen=True)
class Scale:
    """images: of each data set, scored: of its test split; batch: instead of the recipes'."""

    images: int = 50_000
    scored: int = 500
    batch: int | None = None
    effort: Effort = field(default_factory=Effort)


FULL = Scale()
QUICK = Scale(images=5_000, effort=Effort(seconds=1, per_round=0.05, sessions=1))


class Steps:
    """The engine's steps of one seed, epoch after epoch, without scoring in between."""

    def __init__(self, training: Training, stage: int = 0) -> None:
        """stage: train an epoch of this stage of the method, time and again: the first of those
        with the most loss terms, because some methods begin without their teacher.
        """
        self.training = training
        epochs = [epoch for epoch in training.schedule if epoch.stage == stage]
        training.epoch = max(epochs, key=lambda epoch: len(epoch.weights)).epoch - 1

    def __call__(self) -> None:
        training = self.training
        if training.order is None or training.position == len(training.batches):
            training.begin_epoch()
        training.advance()


class BenchCells:
    """Synthetic data sets, tables and cells, made when a row asks for them and then kept."""

    def __init__(
        self, device: str = "cpu", scale: Scale | None = None, clock: Clock | None = None
    ) -> None:
        self.device, self.scale, self.clock = device, scale or Scale(), clock or Clock()
        self.pictures, self.table = cache(self._pictures), cache(self._table)
        self._cell_data: dict[Any, CellData] = {}

    def runtime(self, precision: str = "float32", **options: Any) -> Runtime:
        return Runtime.of(EngineOptions(device=self.device, precision=precision, **options))

    def settings(
        self,
        uses: str,
        network: NetworkSettings = RESNET8,
        recipe: Recipe | None = None,
        **chosen: Any,
    ) -> CellSettings:
        """A cell of five seeds: a perceptron on MNIST, or a ResNet on CIFAR-10.

        A method that needs a teacher has one like the student.

        Args:
            recipe: LE's for the network by default.
            chosen: options of the method over its defaults; LE has no warm-up unless chosen.
        """
        taught_by = network
        if methods.load(uses).FAMILY == "attentive":
            network = NetworkSettings(f"attentive_{network.name}", "attentive", network.options)
        dataset, usual = (MNIST, LE_MLP) if network.family == "mlp" else (CIFAR10, LE_RESNET)
        recipe = recipe or usual
        method, declared = methods.load(uses), declaration("methods", uses)
        options = {name: schema.get("default") for name, schema in method.OPTIONS.items()}
        short = {"warmup": 0 if uses == "le" else 1, "first_epochs": 1}
        options |= {name: value for name, value in short.items() if name in options}
        options |= {"weights": dict(method.WEIGHTS)} | chosen
        teacher = None
        if method.TEACHER:
            teacher = TeacherSettings(Cell(dataset.name, taught_by.name, "ce"), taught_by)
        return CellSettings(
            Cell(dataset.name, network.name, uses, teacher and teacher.cell.slug),
            dataset,
            network,
            replace(recipe, batch=self.scale.batch or recipe.batch),
            MethodSettings(uses, uses, options, TeacherNeeds.of(declared, options)),
            teacher,
            seeds=(0, 1, 2, 3, 4),
        )

    def network(self, settings: CellSettings, seed: int = 0) -> Network:
        """Freshly initialised, as anybody would: float32, channels first, on the CPU."""
        torch.manual_seed(seed)
        return networks.build(settings.network, settings.dataset)

    def cell_data(self, dataset: DatasetSettings, runtime: Runtime) -> CellData:
        """Resident images, shared by all cells of the same layout and number format."""
        key = (dataset, runtime.layout, runtime.dtype)
        if key not in self._cell_data:
            images, labels = self.pictures(dataset)
            place = (runtime.device, runtime.dtype, runtime.layout == torch.channels_last)
            scored = slice(self.scale.scored)
            self._cell_data[key] = CellData(
                Resident(images, labels, dataset, *place),
                torch.arange(len(labels), device=runtime.device),
                Scored(
                    "test",
                    images[scored].clone().to(runtime.device),
                    labels[scored].to(runtime.device),
                    Normalisation(dataset, *place),
                ),
                "synthetic",
            )
        return self._cell_data[key]

    def smaller(self, steps: int) -> "BenchCells":
        """Another one, for epochs of some 128 images times `steps`."""
        batch = self.scale.batch or LE_RESNET.batch
        return BenchCells(self.device, replace(self.scale, images=batch * steps))

    def warm(self, settings: CellSettings) -> None:
        """Make images and table now, so that processes forked later share them."""
        self.pictures(settings.dataset)
        self.cell_data(settings.dataset, self.runtime())
        if settings.method.needs.tabulable:
            self.table(settings.dataset, self.runtime().device)

    def teacher(self, settings: CellSettings, runtime: Runtime) -> TeacherSource | None:
        """Untrained and frozen; looked up in a table of the usual size wherever logits will do."""
        if not (needs := settings.method.needs).parts:
            return None
        theirs = replace(settings, network=settings.teacher.network)
        network = self.network(theirs, seed=99).eval().requires_grad_(False)
        if not needs.tabulable:
            return ForwardTeacher(network, needs, settings.dataset, runtime)
        logits = self.table(settings.dataset, runtime.device)
        rows = torch.arange(logits.shape[1], device=runtime.device)
        return TableTeacher(network, logits, rows, runtime)

    def training(self, settings: CellSettings, precision: str, **options: Any) -> Training:
        """Seed 0 at its start; the process is prepared as the engine prepares it."""
        runtime = self.runtime(precision, **options)
        runtime.prepare()
        cell_data = self.cell_data(settings.dataset, runtime)
        return Training(settings, 0, cell_data, self.teacher(settings, runtime), runtime)

    def steps(
        self,
        settings: CellSettings,
        precision: str = "float32",
        stage: int = 0,
        compiled: bool = False,
    ) -> Steps:
        return Steps(self.training(settings, precision, compile=compiled), stage)

    def _pictures(self, dataset: DatasetSettings) -> tuple[Tensor, Tensor]:
        """Noise, uint8 [N, C, H, W], and labels, [N]."""
        generator = torch.Generator().manual_seed(0)
        shape = (self.scale.images, dataset.channels, dataset.size, dataset.size)
        images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
        return images, torch.randint(dataset.classes, shape[:1], generator=generator)

    def _table(self, dataset: DatasetSettings, device: torch.device) -> Tensor:
        """Logits, float16, [views, N, C]; the same for every view."""
        shape = (dataset.views, self.scale.images, dataset.classes)
        return torch.empty(shape, dtype=torch.float16, device=device).copy_(torch.randn(shape[1:]))
