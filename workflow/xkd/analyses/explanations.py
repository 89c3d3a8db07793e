"""What a trained network's explanations say about its classes: LE, Figures 1 and 2.

Figure 1 shows e^1 … e^C of a few test images; Figure 2 averages cos(e^a, e^b) over all test images.
"""

from collections.abc import Sequence

import numpy as np
import torch

from xkd.analyses._network import TrainedNetwork
from xkd.analyses.base import Request
from xkd.errors import Refused, unknown
from xkd.explain import explain
from xkd.files import atomic
from xkd.measures.class_similarity import mean_similarity, pair_ranks
from xkd.plan.declarations import declaration
from xkd.plan.settings import CellSettings
from xkd.similarity import class_similarity, similarity_matrix

SHOWN = 4  # images of Figure 1 (A38)
READS = ("weights", "data")
OUTPUTS = {"explanations": "explanations.npz", "similarity": "class_similarity.npz"}
OPTIONS = {
    "explanation": {
        "description": "a file of xkd/explain/",
        "type": "string",
        "registry": "explain",
    },
    "pairs": {
        "description": "classes named as alike: shown first, and ranked",
        "type": "array",
        "items": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "string"}},
        "default": [],
    },
}
COST = {"passes": "classes * test"}


def analyse(request: Request) -> None:
    """Write `explanations.npz` and `class_similarity.npz`."""
    trained, settings = request.trained, request.settings
    pairs, method = request.options["pairs"], request.options["explanation"]
    for name in (name for pair in pairs for name in pair):
        if name not in trained.data.class_names:
            where = f"analyses.explanations.pairs of {settings.dataset.name}"
            raise Refused(f"{where}: {unknown('class', name, trained.data.class_names)}")
    for key, arrays in (
        ("explanations", _grid(trained, method, settings, pairs)),
        ("similarity", _similarity(trained, method, settings, pairs)),
    ):
        with atomic(request.output(key)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)


def _grid(
    trained: TrainedNetwork, method: str, settings: CellSettings, pairs: Sequence[Sequence[str]]
) -> dict[str, np.ndarray]:
    """Images, the explanations of all their classes, and the cosines to the true class's."""
    part = trained.data.split("test")
    chosen = _shown(trained, pairs)
    images = trained.normalised(part.images[chosen])
    labels = part.labels[chosen].to(trained.device)
    maps = explain(trained.network, trained.network(images), images, method)
    side, channels = _side(maps.shape[-1], settings)
    cosines = class_similarity(maps, labels)
    # The picture sums over channels; the cosines compare all of them (A23).
    drawn = maps.unflatten(-1, (channels, side, side)).sum(2)
    return {
        "images": part.images[chosen].movedim(1, -1).numpy(),
        "maps": drawn.float().cpu().numpy(),
        "cosines": cosines.float().cpu().numpy(),
        "labels": labels.cpu().numpy(),
        "class_names": np.array(trained.data.class_names),
        "signed": np.array(not declaration("explain", method)["RECTIFIED"]),
        **_about(settings, method),
    }


def _shown(trained: TrainedNetwork, pairs: Sequence[Sequence[str]]) -> torch.Tensor:
    """Correctly classified test images, one per class, the classes named in pairs first (A38)."""
    part = trained.data.split("test")
    with torch.no_grad():
        answers = [
            trained.network(trained.normalised(images)).logits.argmax(1)
            for images in part.images.split(trained.batch)
        ]
    right = torch.cat(answers).cpu() == part.labels
    names = list(trained.data.class_names)
    wanted = [names.index(name) for pair in reversed(pairs) for name in reversed(pair)]
    order = list(dict.fromkeys([*wanted, *range(len(names))]))
    draw = torch.Generator().manual_seed(0)
    chosen = []
    for label in order:
        among = (right & (part.labels == label)).nonzero()[:, 0]
        if len(among) and len(chosen) < SHOWN:
            chosen.append(among[torch.randint(len(among), (), generator=draw)])
    return torch.stack(chosen)


def _similarity(
    trained: TrainedNetwork, method: str, settings: CellSettings, pairs: Sequence[Sequence[str]]
) -> dict[str, np.ndarray]:
    """Mean class similarity over all test images, and the rank of each named pair."""
    part = trained.data.split("test")

    def batches():
        for first in range(0, len(part.labels), trained.batch):
            images = trained.normalised(part.images[first : first + trained.batch])
            maps = explain(trained.network, trained.network(images), images, method)
            yield similarity_matrix(maps).cpu().numpy()

    matrix = mean_similarity(batches())
    ranks = pair_ranks(matrix, trained.data.class_names, pairs)
    for rank in ranks:
        print(f"{rank.first}-{rank.second}: {rank.similarity:.3f}, rank {rank.rank} of {rank.of}")
    return {
        "similarity": matrix,
        "class_names": np.array(trained.data.class_names),
        "pairs": np.array([[rank.first, rank.second] for rank in ranks]).reshape(-1, 2),
        "ranks": np.array([rank.rank for rank in ranks]),
        "pair_count": np.array([rank.of for rank in ranks]),
        **_about(settings, method),
    }


def _about(settings: CellSettings, method: str) -> dict[str, np.ndarray]:
    return {
        "explanation": np.array(method),
        "dataset": np.array(settings.dataset.name),
        "network": np.array(settings.network.name),
        "method": np.array(settings.method.name),
    }


def _side(entries: int, settings: CellSettings) -> tuple[int, int]:
    """Side and channels of a map with that many entries: of the image, or of the last features."""
    data = settings.dataset
    if entries == data.channels * data.size**2:
        return data.size, data.channels
    return round(entries**0.5), 1
