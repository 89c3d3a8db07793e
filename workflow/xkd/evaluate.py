"""What a trained network answers: predictions of a split, and the numbers made of them."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from xkd import networks
from xkd.data.dataset import PreparedData
from xkd.data.stream import Normalisation
from xkd.errors import Refused
from xkd.files import atomic, read_json, reading, verify
from xkd.measures.calibration import ece, top1
from xkd.networks import Network, Output
from xkd.plan.settings import DatasetSettings, NetworkSettings
from xkd.readers import read_npz, read_tensors
from xkd.records import cards

# Images of 32x32 per forward pass, fewer of larger ones; answers do not depend on it. On a CPU no
# more than a training batch, so that activations find room where those of training were.
BATCH, GPU_BATCH = 125, 2500
ARRAYS = ("labels", "predicted", "confidence", "logits")  # of every file of predictions
WIDEST = 256  # embeddings with more entries (the MLP's 1024) are not stored


class Scored(NamedTuple):
    """A split to answer, on the device: images uint8, [N, C, H, W]; labels int64, [N].

    name: of the column in the history: `test`, or `holdout` during a search
    """

    name: str
    images: Tensor
    labels: Tensor
    normalised: Normalisation

    @classmethod
    def of(
        cls,
        data: PreparedData,
        name: str,
        settings: DatasetSettings,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "Scored":
        """A split of prepared data, brought to the device as bytes."""
        split = data.split(name)
        images = split.images.to(device, copy=True)  # so that the file's mapping can go
        return cls(name, images, split.labels.to(device), Normalisation(settings, device, dtype))


class Predictions(NamedTuple):
    """Of all N images of a split, in the order of the data set.

    logits: [N, C], float32 or float64; embedding: [N, D]; labels: [N], int64; all on the CPU
    """

    labels: NDArray
    logits: NDArray
    embedding: NDArray


def predict(network: Network, split: Scored) -> Predictions:
    """Answers to the split's images as they are, in evaluation mode."""
    outputs = [(out.logits.float(), out.embedding.float()) for out, _ in _answers(network, split)]
    logits, embedding = (torch.cat(parts).cpu().numpy() for parts in zip(*outputs, strict=True))
    return Predictions(split.labels.cpu().numpy(), logits, embedding)


def accuracy(network: Network, split: Scored) -> float:
    """Fraction of the split's images whose largest logit is that of their label."""
    return int(count_right(network, split)) / len(split.labels)


def count_right(network: Network, split: Scored) -> Tensor:
    """How many images are classified correctly, int64; stays on the device."""
    right = [(out.logits.argmax(1) == labels).sum() for out, labels in _answers(network, split)]
    return torch.stack(right).sum()


def _answers(network: Network, split: Scored) -> Iterator[tuple[Output, Tensor]]:
    """Outputs and labels, batch by batch; the network is left in the mode it was found in."""
    training = network.training
    network.eval()
    batch = at_once(GPU_BATCH if split.images.is_cuda else BATCH, split.images.shape[-1])
    with torch.no_grad():
        for first in range(0, len(split.labels), batch):
            chosen = slice(first, first + batch)
            yield network(split.normalised(split.images[chosen])), split.labels[chosen]
    network.train(training)


def at_once(images: int, size: int) -> int:
    """How many images of `size` pixels take the room of so many of 32, none of them fewer than 8.

    Smaller images take their number, for which everything has been measured.
    """
    return max(8, images * 32**2 // max(size, 32) ** 2)


def metrics(predictions: Predictions) -> dict[str, float]:
    """Accuracy, negative log-likelihood in nats, and calibration error (20 bins; 15 bins)."""
    confidence, correct = top1(predictions.logits, predictions.labels)
    logits = predictions.logits.astype(np.float64)
    largest = logits.max(1, keepdims=True)
    normaliser = largest[:, 0] + np.log(np.exp(logits - largest).sum(1))
    true = logits[np.arange(len(logits)), predictions.labels]
    return {
        "top1": float(correct.mean()),
        "nll": float((normaliser - true).mean()),
        "ece": ece(confidence, correct, 20),
        "ece15": ece(confidence, correct, 15),
    }


def save_predictions(predictions: Predictions, path: Path) -> None:
    """Everything that tables and figures start from; the same bytes for the same predictions.

    Arrays: labels, predicted [N]; confidence [N], of the predicted class at T = 1; logits [N, C]
    and embedding [N, D], rounded to float16 (the embedding is left out where D > 256).
    """
    confidence, _ = top1(predictions.logits, predictions.labels)
    small = np.uint8 if predictions.logits.shape[1] <= 256 else np.uint16
    arrays = {
        "labels": predictions.labels.astype(small),
        "predicted": predictions.logits.argmax(1).astype(small),
        "confidence": confidence.astype(np.float32),
        "logits": predictions.logits.astype(np.float16),
    }
    if predictions.embedding.shape[1] <= WIDEST:
        arrays["embedding"] = predictions.embedding.astype(np.float16)
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            undated = zipfile.ZipInfo(f"{name}.npy")  # np.savez would write today's date
            with archive.open(undated, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def load_predictions(path: Path) -> dict[str, NDArray]:
    """Raises Refused when the file is absent or damaged."""
    return read_npz(path, ARRAYS, "delete it and train its cell again")


def save_network(network: Network, path: Path) -> None:
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    save_tensors(weights, path)


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """As safetensors. In bytes, since the library's own file writer hides why a disk refused."""
    with atomic(path) as temporary:
        temporary.write_bytes(save(tensors))


def load_network(run: Path, network: NetworkSettings, dataset: DatasetSettings) -> Network:
    """The trained network of a run's folder, frozen and in evaluation mode, on the CPU.

    Raises: Refused if the run is not complete, the weights are damaged (their digest differs from
        the run card's) or belong to another network.
    """
    path = verify(run / "weights.safetensors", weights_digest(run))
    weights, loaded = read_tensors(path), networks.build(network, dataset)
    try:
        loaded.load_state_dict(weights)
    except RuntimeError as problem:
        found = str(problem).splitlines()[-1].strip()
        raise Refused(
            f"{path} does not hold a {network.name} for {dataset.name}: {found}"
        ) from None
    return loaded.eval().requires_grad_(False)


def run_metrics(run: Path) -> dict[str, Any]:
    """What a run scored when it was completed.

    Raises: Refused if it is not complete, or the file is damaged.
    """
    expected = cards.read(run)["files"]["metrics.json"]
    return read_json(verify(run / "metrics.json", expected))


def weights_digest(run: Path) -> str:
    """SHA-256 of the weights, from the run card. Raises Refused when the run is not complete."""
    with reading(run / "run.yaml"):
        return cards.read(run)["files"]["weights.safetensors"]
