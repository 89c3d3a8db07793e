"""How a teacher's logits cluster as its inputs are reinforced: Oracle, Figures 3 and 4."""

import csv
import signal
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from xkd.analyses.base import Request
from xkd.errors import Refused
from xkd.files import atomic, read_json, verify
from xkd.measures.clusters import balanced_subset, cluster_scores
from xkd.plan.settings import Reinforcement
from xkd.readers import read_npz

READS = ("responses", "data")
OUTPUTS = {"clusters": "clusters.csv", "embeddings": "embeddings.npz"}
OPTIONS = {
    "gammas": {
        "description": "reinforcements whose responses are clustered",
        "type": "array",
        "uniqueItems": True,
        "items": {"type": "number", "minimum": 0},
        "within": "responses.gradient",
    },
    "splits": {
        "description": "images that are clustered; the first split is drawn",
        "type": "array",
        "minItems": 1,
        "uniqueItems": True,
        "items": {"enum": ["test", "train"]},
        "within": "responses.splits",
    },
    "points": {
        "description": "at most so many images, class-balanced, the same for every γ",
        "type": "integer",
        "minimum": 10,
        "above": "perplexity",
    },
    "perplexity": {"description": "of t-SNE", "type": "number", "minimum": 2},
    "embedding_seeds": {
        "description": "t-SNE embeddings of each cloud of points",
        "type": "integer",
        "minimum": 1,
    },
}
#: t-SNE of ten thousand points takes a minute on one core.
COST = {
    "threads": "min(4, len(gammas) * len(splits) * embedding_seeds)",
    "core_minutes": "len(gammas) * len(splits) * embedding_seeds"
    " * min(points, max(train, test)) / 10000",
    "memory_mb": "threads * (500 + 0.05 * min(points, max(train, test)))",
}
COLUMNS = ("kind", "gamma", "split", "space", "metric", "labels", "seed", "silhouette", "top1")


class Clustered(NamedTuple):
    """One cloud of points: a row per silhouette; its embedding, [points, 2], if it is one.

    chosen: which images of the split; sub, coarse: their classes and superclasses (or None).
    """

    rows: list[dict[str, object]]
    embedding: NDArray | None
    chosen: NDArray
    sub: NDArray
    coarse: NDArray | None


def analyse(request: Request) -> None:
    """Write `clusters.csv`, a silhouette a row, and `embeddings.npz`: seed 0, the first split.

    Clouds of points are worked on side by side, each by a process; bits do not depend on how many.

    Raises: Refused if responses are missing or damaged, or there are too few points.
    """
    options, folder = request.options, request.read("responses")
    responses = read_json(folder / "responses.json")
    splits = options["splits"]
    reinforcements = [Reinforcement(float(gamma)) for gamma in options["gammas"]]
    clouds = list(product(splits, reinforcements, [None, *range(options["embedding_seeds"])]))
    work = (
        delayed(cluster)(folder, responses, *cloud, options["points"], options["perplexity"])
        for cloud in clouds
    )
    rows: list[dict[str, object]] = []
    arrays: dict[str, NDArray] = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    done = Parallel(n_jobs=request.threads, return_as="generator")(work)
    for (split, reinforcement, seed), found in zip(clouds, done, strict=True):
        rows += found.rows
        space = "logits" if seed is None else f"embedding {seed}"
        print(f"{split}, {reinforcement}, {space}: {len(found.chosen)} points", flush=True)
        if split == splits[0] and seed == 0:
            arrays[f"{reinforcement}/embedding"] = found.embedding.astype(np.float32)
            arrays |= {"labels": found.sub, "points": found.chosen}
            if found.coarse is not None:
                arrays["coarse"] = found.coarse
    arrays["split"] = np.array(splits[0])
    arrays["class_names"] = np.array(responses["class_names"])
    arrays["coarse_names"] = np.array(responses["coarse_names"] or [])
    arrays.update(_thumbnails(request, arrays, splits[0]))
    with atomic(request.output("embeddings")) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    with (
        atomic(request.output("clusters")) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def _leave(number: int, frame: FrameType | None) -> None:
    """End by an exception, on which joblib ends its processes; they would outlive a mere death."""
    raise SystemExit(128 + number)


def cluster(
    folder: Path,
    responses: Mapping[str, Any],
    split: str,
    reinforcement: Reinforcement,
    seed: int | None,
    points: int,
    perplexity: float,
) -> Clustered:
    """Scores of the logits (seed None) or of one embedding, on one core.

    Args:
        folder: of the teacher's answers; responses: what `responses.json` in it says.
    """
    answers = _read(folder, reinforcement, split, responses)
    chosen = balanced_subset(answers["labels"], points)
    labels = {"sub": answers["labels"][chosen]}
    if "coarse" in answers:
        labels = {"super": answers["coarse"][chosen], **labels}
    logits = answers["logits"][chosen].astype(np.float32)
    with threadpool_limits(1):
        scores, embedding = cluster_scores(logits, labels, seed, perplexity)
    known = {"kind": reinforcement.kind, "gamma": reinforcement.gamma, "split": split}
    top1 = responses["reinforcements"][str(reinforcement)][split]["top1"]
    rows = [{**known, **row, "top1": top1} for row in scores]
    return Clustered(rows, embedding, chosen, labels["sub"], labels.get("super"))


def _read(
    folder: Path, reinforcement: Reinforcement, split: str, responses: Mapping[str, Any]
) -> dict[str, NDArray]:
    """Answers that match the manifest's digest."""
    if (known := responses["reinforcements"].get(str(reinforcement))) is None:
        raise Refused(
            f"{folder}: no answers for {reinforcement}; found "
            f"{', '.join(responses['reinforcements'])}; run the analysis 'responses' again"
        )
    path = verify(folder / str(reinforcement) / f"{split}.npz", known["digests"][f"{split}.npz"])
    return read_npz(path, ("logits", "labels"))


def _thumbnails(request: Request, arrays: dict[str, NDArray], split: str) -> dict[str, NDArray]:
    """One image per superclass (or class), and which of the points it is."""
    from xkd.data.dataset import load

    groups = arrays.get("coarse", arrays["labels"])
    first = np.array([np.flatnonzero(groups == group)[0] for group in np.unique(groups)])
    images = load(request.layout.data(request.run.cell.dataset)).split(split).images
    pixels = images[arrays["points"][first]].movedim(1, -1).numpy()
    return {"thumbnails": pixels, "thumbnail_points": first}
