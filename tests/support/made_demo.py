"""A small demo made by commands: data, cells, a search, a teacher's table, analyses."""

from pathlib import Path

from xkd.__main__ import main
from xkd.plan import config
from xkd.plan.grid import Plan
from xkd.plan.runs import Layout

ROOT = Path(__file__).resolve().parents[2]
#: The demo with two short epochs, and two seeds where an experiment has none of its own.
SMALL = (
    "seeds=[0, 1]",
    "recipes={r_mlp: {epochs: 2, search_epochs: 1}, r_res: {epochs: 3, milestones: [1]}, "
    "r_kd: {epochs: 3, milestones: [1]}}",
    "analyses.responses={gradient: [0, 0.2, 0.5, 5], keep: [5]}",
    "analyses.clusters={gammas: [0, 5], points: 60, perplexity: 5, embedding_seeds: 1}",
)
CE = "digits/mlp256/ce"
GRAD = "digits/mlp256/le_grad"
SEARCHED = "digits/mlp256/label_smoothing"
TEACHER = "digits/half_resnet20/ce"
STUDENT = "digits/half_resnet14/kd/from-half_resnet20"
PEERS = "digits/half_resnet8/dml"
ASKED = "digits/half_resnet8/ce_teacher"


class Made:
    """The results of the commands; `xkd(...)` is one more, in the same folder and config."""

    def __init__(self, folder: Path) -> None:
        self.results = folder / "results"
        self.layout = Layout(self.results / "demo")
        self.plan = Plan(config.load(ROOT / "config.yaml", SMALL))

    def options(self) -> list[str]:
        found = ["--results", str(self.results), "--config", str(ROOT / "config.yaml")]
        for one in SMALL:
            found += ["--set", one]
        return found

    def xkd(self, verb: str, *arguments: object) -> int:
        return main([verb, *map(str, arguments), *self.options()])

    def run(self, cell: str, seed: int = 0) -> Path:
        return self.layout.root / "runs" / cell / f"seed{seed}"


def analyses() -> list[tuple[str, ...]]:
    return [
        ("analyse", "responses", f"{ASKED}/seed0"),
        ("analyse", "clusters", f"{ASKED}/seed0"),
        ("analyse", "explanations", f"{GRAD}/seed0"),
    ]


def make(folder: Path) -> Made:
    """Run the commands one after another."""
    made = Made(folder)
    table = made.layout.root / "teachers" / TEACHER / "seed0" / "gradient-0.npy"
    for command in (
        ("prepare", "digits"),
        ("train", CE),
        ("train", GRAD),
        ("search", SEARCHED),
        ("train", SEARCHED),
        ("train", TEACHER),
        ("tabulate_teacher", f"{TEACHER}/seed0", "--out", table),
        ("train", STUDENT, "--table", table),
        ("train", PEERS),
        ("train", ASKED),
        *analyses(),
    ):
        assert made.xkd(*command) == 0, command
    return made
