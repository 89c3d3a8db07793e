"""Plausible invented results, so that tables and figures can be drawn without any training."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

from xkd.files import write_json
from xkd.measures.calibration import reliability
from xkd.plan.runs import Cell

ROOT = Path(__file__).resolve().parents[2]
PAPERS = ROOT / "workflow" / "papers"


def printed_file(name: str) -> Path:
    """The CSV of published numbers whose name begins so."""
    return next(PAPERS.glob(f"*/published/{name}*.csv"))


LABELS = {
    "datasets": {
        "digits": "Digits",
        "mnist": "MNIST",
        "cifar10": "CIFAR-10",
        "cifar100": "CIFAR-100",
        "tiny_imagenet": "Tiny-ImageNet",
        "imagenet": "ImageNet",
    },
    "networks": {
        "mlp1024": "MLP1024",
        **{f"cnn{depth}": f"CNN-{depth}" for depth in (6, 8, 10)},
        **{f"resnet{d}": f"ResNet{d}" for d in (8, 14, 18, 20, 26, 32, 34, 50, 56, 101, 110)},
    },
    "methods": {
        "ce": "CE",
        "dropout": "Dropout",
        "label_smoothing": "Label Smoothing",
        "confidence_penalty": "Confidence Penalty",
        "kd": "KD",
        "dkd": "DKD",
        "at": "AT",
        "fitnet": "FitNet",
        "sad": "SAD",
        "oracle": "Oracle",
        "hint": "Hint",
        "at_kd": "AT+KD",
        "fsp_kd": "FSP+KD",
        "takd": "TAKD",
        "dml": "DML",
        "ban": "BAN",
        "ban_l": "BAN+L",
        "cwtm": "CWTM",
        "cwtm_permut": "CWTM-Permut",
        "cwtm_random": "CWTM-Random",
        "dkpp": "DKPP",
        "le_grad": "LE(Grad)",
        "le_gradcam": "LE(Grad-CAM)",
        "le_grad_input": "LE(Grad*Input)",
        "le_guided_bp": "LE(GuidedBP)",
        "le_permut": "LE-Permut",
        "le_uniform": "LE-Uniform",
    },
}


#: What a demo says of a cell of its own.
DIFFERS = {
    "digits/resnet14/ce": [["data", "dataset", "digits", "cifar10"], ["recipe", "epochs", 5, 160]]
}
NOTICE = "demo: other data and training than the paper's, not comparable with it"


def item(scale: str = "paper", **more: object) -> dict:
    return {
        "title": "A table",
        "caption": "What it shows.",
        "scale": scale,
        "differs": DIFFERS if scale == "demo" else {},
        "labels": LABELS,
    } | more


def script(name: str) -> ModuleType:
    """The script that draws an item as a module; its Snakemake part does not run."""
    alone = ROOT / "workflow" / "scripts" / "table.py"
    path = next(PAPERS.glob(f"*/[tf]*/{name}.py"), alone)
    spec = importlib.util.spec_from_file_location(f"scripts_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def runs(cells: dict[str, float], seeds: int = 5, spread: float = 0.002) -> pd.DataFrame:
    """cells: cell -> mean accuracy; the seeds lie evenly around it with sample s.d. `spread`."""
    rows = []
    offsets = np.arange(seeds) - (seeds - 1) / 2
    offsets = offsets / offsets.std(ddof=1) * spread if seeds > 1 else offsets
    for text, mean in cells.items():
        cell = Cell.parse(text)
        for seed, offset in enumerate(offsets):
            top1 = mean + offset
            rows.append(
                {
                    "dataset": cell.dataset,
                    "network": cell.network,
                    "method": cell.method,
                    "teacher": cell.teacher,
                    "seed": seed,
                    "parameters": 272_474,
                    "fingerprint": "c0de-5e77",
                    "differs": cell.dataset == "digits",
                    "top1": top1,
                    "best_top1": top1 + 0.002,
                }
            )
    frame = pd.DataFrame(rows)  # as `results.read_cells` gives it: no teacher is None, never NaN
    return frame.assign(teacher=frame.teacher.astype(object).where(frame.teacher.notna(), None))


def write_cell(folder: Path, text: str, metrics: dict[int, dict], prints: dict[int, str]) -> Path:
    """A `cell.json` as training writes it."""
    cell = Cell.parse(text)
    content = {
        "cell": text,
        "dataset": cell.dataset,
        "network": cell.network,
        "method": cell.method,
        "teacher": cell.teacher,
        "recipe": {},
        "parameters": 272_474,
        "runs": {
            str(seed): {"fingerprint": prints[seed], "metrics": metrics[seed], "digests": {}}
            for seed in metrics
        },
    }
    path = folder / text / "cell.json"
    path.parent.mkdir(parents=True)
    write_json(path, content)
    return path


def responses(teachers: dict[str, float], gammas: tuple[float, ...] = (0, 0.5, 1)) -> pd.DataFrame:
    """teachers: `cifar100/resnet20` -> accuracy on x; x* grows with gamma, then falls a little."""
    rows = []
    for order, (text, accuracy) in enumerate(teachers.items()):
        dataset, network = text.split("/")
        versions = [("gradient", gamma) for gamma in gammas] + [("sign", 2 / 255)]
        for kind, gamma in versions:
            gain = 1.0 if kind == "sign" else 1.6 * gamma / (gamma + 0.4) / (1 + gamma / 12)
            for split in ("test", "train"):
                start = accuracy + (0.09 if split == "train" else 0)
                top1 = min(0.995, start + 0.21 * gain * (1 - start) / 0.31)
                bound = 3.3 if dataset == "cifar10" else 6.6
                rows.append(
                    {
                        "dataset": dataset,
                        "network": network,
                        "method": "ce",
                        "teacher": None,
                        "differs": dataset == "digits",
                        "seed": 0,
                        "parameters": 272_474,
                        "reinforcement": f"{kind}-{gamma:g}",
                        "kind": kind,
                        "gamma": gamma,
                        "split": split,
                        "top1": top1,
                        "ece": 0.066 - 0.03 * gain,
                        "ece15": 0.065 - 0.03 * gain,
                        "entropy_bits": bound * (0.82 - 0.05 * order) * (1 - 0.035 * gain),
                        "reliability": _bins(top1, seed=order),
                    }
                )
    return pd.DataFrame(rows)


def _bins(top1: float, seed: int) -> dict[str, list]:
    draw = np.random.default_rng(seed)
    confidence = 1 - draw.beta(0.6, 3.2, size=4000) * (1.4 - top1)
    correct = draw.random(4000) < np.clip(confidence**1.6, 0, 1)
    return reliability(confidence, correct, 20)
