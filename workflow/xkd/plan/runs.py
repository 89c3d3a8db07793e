"""Who a run is, and where it lives: the only place that builds or reads paths under `results/`.

A run is (data set, network, method, teacher, seed); without its seed it is a *cell*, and one job
trains one cell. A teacher or a baseline is simply a run without teacher.

    runs/cifar10/resnet14/kd/from-resnet26/seed0/
    runs/cifar10/resnet14/le_gradcam/seed3/

A search tries values on the hold-out split, in cells of their own that never see a test image:

    runs/cifar10/resnet14/dropout/fit-rate-0.25/seed0/     one value
    runs/cifar10/resnet14/ce/fit/seed0/                    a teacher for such trials
"""

import re
from dataclasses import dataclass
from pathlib import Path

from xkd.errors import Refused

NAME = r"[a-z0-9][a-z0-9_.]*"  # data sets, networks, methods: one path segment, safe in a shell
SLUG = rf"{NAME}(?:-{NAME})?"  # a teacher: its network, and its method unless that is `ce`
TRIAL = rf"fit(?:-{NAME}-[0-9.e+-]+)?"  # trained on the `fit` split: what training keeps of it
CELL = rf"{NAME}/{NAME}/{NAME}(?:/{TRIAL})?(?:/from-{SLUG})?"  # wildcard of the rules that train


@dataclass(frozen=True, order=True)
class Cell:
    """All seeds of one (data set, network, method, teacher)."""

    dataset: str
    network: str
    method: str
    teacher: str | None = None  # slug: `resnet26`, or `resnet20-kd` if not trained by plain `ce`
    trial: str | None = None  # `fit`, or `fit-rate-0.25`: without the hold-out images

    def __str__(self) -> str:
        parts = [self.dataset, self.network, self.method, self.trial]
        parts.append(f"from-{self.teacher}" if self.teacher else None)
        return "/".join(part for part in parts if part)

    @classmethod
    def parse(cls, text: str) -> "Cell":
        """The inverse of `str`. Raises Refused when `text` is not a cell."""
        if not re.fullmatch(CELL, text):
            raise Refused(
                f"'{text}' is not a cell; expected dataset/network/method[/from-teacher], "
                "for example cifar10/resnet14/kd/from-resnet26"
            )
        dataset, network, method, *rest = text.split("/")
        teacher = next((part[5:] for part in rest if part.startswith("from-")), None)
        trial = next((part for part in rest if not part.startswith("from-")), None)
        return cls(dataset, network, method, teacher, trial)

    @property
    def slug(self) -> str:
        """What a student's path calls this cell when it is the teacher."""
        return self.network if self.method == "ce" else f"{self.network}-{self.method}"

    def run(self, seed: int) -> "Run":
        return Run(self, seed)


@dataclass(frozen=True, order=True)
class Run:
    """One seed of a cell."""

    cell: Cell
    seed: int

    def __str__(self) -> str:
        return f"{self.cell}/seed{self.seed}"

    @classmethod
    def parse(cls, text: str) -> "Run":
        """The inverse of `str`. Raises Refused when `text` is not a run."""
        found = re.fullmatch(r"(.+)/seed(\d+)", text)
        if not found:
            raise Refused(f"'{text}' is not a run; expected a cell followed by /seed<number>")
        return cls(Cell.parse(found[1]), int(found[2]))


@dataclass(frozen=True)
class Layout:
    """Every path under `results/<scale>/`, relative to the project or absolute as `root` is."""

    root: Path

    def data(self, dataset: str) -> Path:
        """Folder of a prepared data set: `data.safetensors` and `manifest.json`."""
        return self.root / "data" / dataset

    def cell(self, cell: Cell) -> Path:
        return self.root / "runs" / str(cell)

    def manifest(self, cell: Cell) -> Path:
        """`cell.json`: the seeds that are complete, with their digests; written last."""
        return self.cell(cell) / "cell.json"

    def run(self, run: Run) -> Path:
        return self.root / "runs" / str(run)

    def search(self, cell: Cell) -> Path:
        """`search.json`: what a searched cell's trials scored, and the value that won."""
        return self.cell(cell) / "search.json"

    def code(self, digest: str) -> Path:
        """The digest of every module behind the digest of some code."""
        return self.root / ".code" / f"{digest}.json"

    def lock(self, cell: Cell) -> Path:
        """Held by the process that writes a cell."""
        return self.cell(cell) / ".resume" / "lock"

    def progress(self, cell: Cell) -> Path:
        """How far that process is; beside its lock."""
        return self.cell(cell) / ".resume" / "progress.json"

    def pipeline(self) -> Path:
        """What the Snakemake that works here is doing; beside its own lock."""
        return self.root / ".pipeline" / "state.json"

    def resume(self, run: Run) -> Path:
        """Checkpoint of an unfinished run; no rule declares it, so Snakemake leaves it alone."""
        return self.cell(run.cell) / ".resume" / f"seed{run.seed}.pt"

    def table(self, teacher: Run, reinforcement: object) -> Path:
        """A frozen teacher's logits for every view; temporary."""
        return self.root / "teachers" / str(teacher) / f"{reinforcement}.npy"

    def analysis(self, name: str, run: "Run | str") -> Path:
        """Folder of what an analysis leaves about a run."""
        return self.root / "analysis" / name / str(run)

    def analysis_card(self, name: str, run: "Run | str") -> Path:
        """The file in which an analysis of a run is described; written last."""
        return self.analysis(name, run) / "analysis.json"

    def item(self, kind: str, name: str) -> dict[str, str]:
        """Files of a table or figure, by form."""
        forms = ("csv", "md", "tex", "html") if kind == "tables" else ("csv", "pdf", "png")
        return {form: str(self.root / kind / f"{name}.{form}") for form in forms}
