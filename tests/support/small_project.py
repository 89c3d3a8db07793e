"""A copy of the project in small, and Snakemake working in it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from cluster import Cluster

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
IMPATIENT = HERE / "impatient.py"
CELL = "digits/mlp1024/ce"
MANIFEST = f"results/demo/runs/{CELL}/cell.json"
PROFILE = "profiles/slurm"
LOCAL = "profiles/default"
PATIENCE = 240.0  # seconds; generous, for machines that are busy with something else


class Project:
    """A folder that tests may run and spoil.

    Args:
        folder: to be made.
        base: a project whose prepared data to take over, with what Snakemake knows of them.
    """

    def __init__(self, folder: Path, base: "Project | None" = None) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen] = []
        source = base.folder if base else ROOT
        for name in ("workflow", "envs", "profiles"):
            hidden = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source / name, folder / name, ignore=hidden)
        for name in ("Snakefile", "pyproject.toml"):
            shutil.copy2(source / name, folder / name)
        if base:
            for name in ("results/demo/data", ".snakemake/metadata", "logs/demo/prepare"):
                shutil.copytree(source / name, folder / name)
            shutil.copy2(source / "config.yaml", folder / "config.yaml")
        else:
            shutil.copy2(ROOT / "config.yaml", folder / "config.yaml")
            make_small(folder)
        shutil.copy2(HERE / "hold.py", folder / "workflow" / "sitecustomize.py")

    def start(
        self,
        *arguments: str,
        cluster: "Cluster | None" = None,
        profile: str | None = PROFILE,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen:
        """Snakemake, on a cluster or here; what it prints goes to the file `printed`.

        Args:
            environment: all of it; on a cluster, what to add to the cluster's.
        """
        command = [sys.executable]
        if cluster is None:
            command += ["-m", "snakemake", "--workflow-profile", LOCAL, "--cores", "2"]
        else:
            command += [str(IMPATIENT)]
            command += ["--workflow-profile", profile, "--latency-wait", "10"] if profile else []
        if cluster or environment is None:
            environment = dict(cluster.environment if cluster else os.environ) | (environment or {})
            environment.pop("PYTHONPATH", None)
        with (self.folder / "printed").open("w") as printed:
            process = subprocess.Popen(
                [*command, *arguments],
                cwd=self.folder,
                env=environment,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # what Ctrl-C means to hit, and no more
                # A shell's background jobs ignore Ctrl-C, and so would all that they start.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        self.started.append(process)
        return process

    def abandon(self) -> None:
        """End whatever was started and still runs, for a test that failed in the midst of it."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def run(self, *arguments: str, **where: Any) -> tuple[int, str]:
        """As `start`, and wait; exit status and what was printed."""
        return self.end(self.start(*arguments, **where))

    def end(self, process: subprocess.Popen) -> tuple[int, str]:
        """Wait for Snakemake; exit status and what was printed."""
        try:
            status = process.wait(PATIENCE)
        finally:
            process.kill()
        return status, self.printed

    @property
    def printed(self) -> str:
        return (self.folder / "printed").read_text()

    def hold(self) -> None:
        """From now on training waits half-way."""
        (self.folder / "hold").touch()

    def release(self) -> None:
        (self.folder / "hold").unlink()

    def held(self, number: int = 1) -> dict[str, str]:
        """Wait until so many jobs wait half-way; SLURM job -> GPUs that it sees."""
        wait_for(lambda: len(list(self.folder.glob("held.*"))) >= number, self)
        found = sorted(self.folder.glob("held.*"))
        return {path.suffix[1:]: path.read_text() for path in found}

    def status(self, cluster: "Cluster") -> list[str]:
        """The lines of `xkd status`."""
        code = (
            "from pathlib import Path; from xkd.monitor import status;"
            "from xkd.plan import config, grid;"
            "asked = grid.Plan(config.load(Path('config.yaml')));"
            "print(*status.status(asked, asked.layout()), sep='\\n')"
        )
        environment = {**cluster.environment, "PYTHONPATH": "workflow"}
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    def files(self, names: Iterable[str] = ("weights.safetensors", "history.csv")) -> dict:
        """Content of files that must not depend on when and where they were made."""
        root = self.folder / "results"
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.name in names
        }

    def log(self, cell: str = CELL) -> str:
        return (self.folder / f"logs/demo/train/{cell}.log").read_text()


def make_small(folder: Path) -> None:
    """Reduce a project's config and papers to a demo with every rule, but little of each."""
    folders = folder / "workflow" / "papers"
    files = {"config": folder / "config.yaml"}
    files |= {name: folders / name / "paper.yaml" for name in ("le", "oracle")}
    content = {name: yaml.safe_load(path.read_text("utf-8")) for name, path in files.items()}
    config, le, oracle = content.values()
    mlp = {**le["experiments"]["le_table3"][0], "methods": ["ce", "label_smoothing"]}
    grid = {**oracle["experiments"]["oracle_table4"][0], "networks": ["resnet20"]}
    grid |= {"datasets": ["cifar10"], "methods": ["oracle"], "seeds": [0, 1]}
    alike = [g for g in le["experiments"]["le_similarity"] if g["datasets"] == ["mnist"]]
    le["experiments"] = {"le_table3": [mlp], "le_similarity": alike}
    le["methods"]["label_smoothing"]["true_class"] = {"search": [0.8, 0.9]}
    le["tables"] = {"le_table3": le["tables"]["le_table3"]}
    le["figures"] = {"le_figure1": le["figures"]["le_figure1"]}
    teacher = oracle["experiments"]["oracle_teacher20"]
    oracle["experiments"] = {"oracle_table4": [grid], "oracle_teacher20": teacher}
    oracle["tables"] = {"oracle_table4": oracle["tables"]["oracle_table4"]}
    oracle["figures"] = {"oracle_figure4": oracle["figures"]["oracle_figure4"]}
    for paper in (le, oracle):
        paper.pop("scales", None)
    le["teachers"].pop("assistant20")  # its network would be replaced
    demo = config["scales"]["demo"]
    demo["recipes"]["r_mlp"] = {"epochs": 8, "batch": 64, "lr": 0.05, "search_epochs": 2}
    demo["replace"] = dict.fromkeys(("mnist", "cifar10", "cifar100"), "digits")
    demo["replace"]["resnet20"] = "resnet8"
    demo["analyses"] = {
        "responses": {"gradient": [0, 0.2, 0.5]},
        "clusters": {"points": 100, "embedding_seeds": 1, "gammas": [0, 0.5]},
    }
    config |= {"papers": ["le", "oracle"], "seeds": [0, 1], "scales": {"paper": {}, "demo": demo}}
    config["engine"]["teacher"] = "table"
    for name, path in files.items():
        path.write_text(yaml.safe_dump(content[name], sort_keys=False, allow_unicode=True))


def wait_for(true: Callable[[], object], project: Project) -> None:
    """Raises TimeoutError, with what Snakemake printed, if it does not come true."""
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(project.printed)
        time.sleep(0.1)
