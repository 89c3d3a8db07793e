"""Weights from elsewhere become an ordinary run: fetched, renamed, loaded, and put to the test."""

from pathlib import Path

import numpy as np
import torch

from xkd import networks
from xkd.data.dataset import load
from xkd.download import download as fetch
from xkd.engine import outputs, released, weight_files
from xkd.engine.cell_data import data_digest
from xkd.engine.options import EngineOptions
from xkd.engine.runtime import Runtime
from xkd.errors import Refused
from xkd.evaluate import Predictions, Scored, metrics, predict
from xkd.files import digest, plain
from xkd.networks import Network
from xkd.plan.runs import Layout, Run
from xkd.plan.settings import CellSettings, WeightsFile
from xkd.records.lock import locked

TOLERANCE = 0.002  # of accuracy: other rounding, another library, a few images of ten thousand


def import_weights(
    settings: CellSettings,
    *,
    data: Path,
    layout: Layout,
    code: str,
    file: Path,
    download: bool = False,
    threads: int = 1,
    device: str = "auto",
) -> None:
    """Make the cell of a file: seed 0, whose folder is that of a trained run without a history.

    Args:
        settings: its `weights` say what the file is; data: folder of the prepared data set.
        code: digest of the source code that results depend on.
        file: where it lies, or is to be put if it may be fetched.
    Raises: Refused if the file is absent, damaged or another one, does not fit the network, or does
        not score on the test images what its authors say. Nothing is written then.
    """
    torch.set_num_threads(threads)
    run = Run(settings.cell, settings.seeds[0])
    folder = layout.run(run)
    with locked(layout.lock(settings.cell), f"cell {settings.cell}"):
        outputs.sweep(layout, settings.cell)
        found = obtain(file, settings.weights, download)
        fingerprint = outputs.fingerprint(settings, code, data_digest(data), found, "float32")
        network = networks.build(settings.network, settings.dataset)
        if not outputs.complete(folder, fingerprint):
            what = f"{file} as {settings.network.name} for {settings.dataset.name}"
            released.fill(network, weight_files.read(file), settings.weights.keys, what)
            predictions = answers(network, settings, data, device)
            top1 = check(predictions, settings, file)
            outputs.write_imported(
                network,
                predictions,
                folder,
                {
                    "run": str(run),
                    "fingerprint": fingerprint,
                    "settings": plain(settings.slice()),
                    "source": {"file": str(file), "sha256": found, "url": settings.weights.url},
                    **outputs.circumstances(),
                },
            )
            expected = settings.weights.expected_top1
            print(f"{what}: {top1:.2%} of the test images correct, {expected:.2%} expected")
        parameters = sum(weight.numel() for weight in network.parameters())
        outputs.write_manifest(settings, layout, parameters)


def obtain(file: Path, weights: WeightsFile, download: bool) -> str:
    """Fetch the file where it is absent and may be fetched; its SHA-256.

    Raises: Refused, and says which file to put where, if it cannot be had or is another one.
    """
    if not file.is_file() and weights.url:
        put = f"put {weights.url} there (its SHA-256 begins with {weights.sha256})"
        if not download:
            raise Refused(f"{file} is missing; {put}, or allow download: true")
        print(f"fetching {weights.url}", flush=True)
        try:
            fetch(weights.url, file)
        except Refused as problem:
            raise Refused(f"{file} is missing and cannot be fetched ({problem}); {put}") from None
        if not (found := digest(file)).startswith(weights.sha256):
            file.unlink()
            raise Refused(
                f"{weights.url} is another file: its SHA-256 begins with {found[:8]}, expected "
                f"{weights.sha256}; correct `sha256` under `checkpoints`"
            )
    if not file.is_file():
        raise Refused(f"{file} is missing; put it there, or correct `file` under `checkpoints`")
    found = digest(file)
    if weights.sha256 and not found.startswith(weights.sha256):
        raise Refused(
            f"{file} is another file: its SHA-256 begins with {found[: len(weights.sha256)]}, "
            f"expected {weights.sha256}; delete it, or correct `sha256` under `checkpoints`"
        )
    return found


def answers(network: Network, settings: CellSettings, data: Path, device: str) -> Predictions:
    """To all test images."""
    runtime = Runtime.of(EngineOptions(device=device))
    runtime.prepare()
    split = Scored.of(load(data), "test", settings.dataset, runtime.device)
    return predict(runtime.place(network), split)


def check(predictions: Predictions, settings: CellSettings, file: Path) -> float:
    """The accuracy, once it is what its authors say.

    Raises: Refused if it differs by more than 0.2 points, or an answer is not a number.
    """
    if not np.isfinite(predictions.logits).all():
        raise Refused(f"{file}: answers are not numbers; are the weights damaged?")
    found, expected = metrics(predictions)["top1"], settings.weights.expected_top1
    if abs(found - expected) > TOLERANCE + 1e-9:
        raise Refused(
            f"{file}: {found:.2%} of the test images of {settings.dataset.name} are correct, "
            f"expected {expected:.2%} ± {TOLERANCE:.1%}; check the normalisation (mean: and std: "
            f"beside file:, if its images had others than datasets.{settings.dataset.name}), the "
            f"type of the shortcuts (networks.{settings.network.name}: shortcut), the order of the "
            "classes, and expected_top1 itself"
        )
    return found
