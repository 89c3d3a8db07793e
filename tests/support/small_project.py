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
        for name in ("workflow", "envs"):
            hidden = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source / name, folder / name, ignore=hidden)
        for name in ("Snakefile", "pyproject.toml"):
            shutil.copy2(source / name, folder / name)
        if base:
            for name in ("results/demo/data", ".snakemake/metadata", "logs/demo/prepare"):
                shutil.copytree(source / name, folder / name)
            shutil.copy2(source / "config.yaml", folder / "config.yaml")
        else:
            text = yaml.safe_dump(small(yaml.safe_load((ROOT / "config.yaml").read_text())))
            (folder / "config.yaml").write_text(text)
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
            "from pathlib import Path; from xkd import config, plan, status;"
            "asked = plan.Plan(config.load(Path('config.yaml')));"
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


def small(config: dict) -> dict:
    """The demo with every rule, but little of each."""
    tables, figures, grids = config["tables"], config["figures"], config["experiments"]
    mlp, resnet = grids["le_table3"][0], grids["oracle_table4"][0]
    mlp["methods"] = ["ce", "label_smoothing"]
    resnet.update(datasets=["cifar10"], networks=["resnet20"], methods=["oracle"], seeds=[0, 1])
    grids["le_similarity"] = [
        grid for grid in grids["le_similarity"] if grid["datasets"] == ["mnist"]
    ]
    kept = ("le_table3", "oracle_table4", "le_similarity", "oracle_teacher20")
    label_smoothing = {**config["methods"]["label_smoothing"], "true_class": {"search": [0.8, 0.9]}}
    return {
        **config,
        "seeds": [0, 1],
        "engine": {**config["engine"], "teacher": "table"},
        "methods": {**config["methods"], "label_smoothing": label_smoothing},
        "experiments": {name: grids[name] for name in kept},
        "tables": {name: tables[name] for name in ("le_table3", "oracle_table4")},
        "figures": {name: figures[name] for name in ("le_figure1", "oracle_figure4")},
        "scales": {
            "demo": {
                **config["scales"]["demo"],
                "recipes": {
                    **config["scales"]["demo"]["recipes"],
                    "r_mlp": {"epochs": 8, "batch": 64, "lr": 0.05, "search_epochs": 2},
                },
                "replace": {
                    **dict.fromkeys(("mnist", "cifar10", "cifar100"), "digits"),
                    "resnet20": "resnet8",
                },
                "oracle_inputs": {"gradient": [0, 0.2, 0.5]},
                "clusters": {"points": 100, "embedding_seeds": 1, "gammas": [0, 0.5]},
            }
        },
    }


def wait_for(true: Callable[[], object], project: Project) -> None:
    """Raises TimeoutError, with what Snakemake printed, if it does not come true."""
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(project.printed)
        time.sleep(0.1)
