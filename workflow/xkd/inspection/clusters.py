"""How a teacher's logits cluster as its inputs are reinforced: Oracle, Figures 3 and 4."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xkd.analysis.clusters import balanced_subset, cluster_scores
from xkd.artifacts import atomic, read_json, verify
from xkd.errors import Refused
from xkd.runs import Layout, Run
from xkd.settings import Reinforcement

COLUMNS = ("kind", "gamma", "split", "space", "metric", "labels", "seed", "silhouette", "top1")


def cluster_answers(
    run: Run,
    layout: Layout,
    *,
    gammas: Sequence[float],
    split: str,
    points: int,
    perplexity: float,
    embedding_seeds: int,
) -> None:
    """Write `clusters.csv`, a silhouette a row, and `embeddings.npz`, of the first t-SNE seed.

    Args:
        points: at most this many images, class-balanced, the same for every gamma.
    Raises: Refused if answers are missing or damaged, or there are too few points.
    """
    responses = read_json(layout.responses(run))
    rows: list[dict[str, object]] = []
    arrays: dict[str, np.ndarray] = {}
    for gamma in gammas:
        reinforcement = Reinforcement(float(gamma))
        answers = _read(layout.responses(run).parent, reinforcement, split, responses)
        chosen = balanced_subset(answers["labels"], points)
        logits = answers["logits"][chosen].astype(np.float32)
        labels = {"sub": answers["labels"][chosen]}
        if "coarse" in answers:
            labels = {"super": answers["coarse"][chosen], **labels}
        scores, embeddings = cluster_scores(logits, labels, range(embedding_seeds), perplexity)
        known = {"kind": reinforcement.kind, "gamma": gamma, "split": split}
        top1 = responses["reinforcements"][str(reinforcement)][split]["top1"]
        rows += [{**known, **row, "top1": top1} for row in scores]
        arrays[f"{reinforcement}/embedding"] = embeddings[0].astype(np.float32)
        arrays["labels"], arrays["points"] = labels["sub"], chosen
        if "super" in labels:
            arrays["coarse"] = labels["super"]
        print(f"{reinforcement}: {len(chosen)} points embedded {embedding_seeds} times", flush=True)
    arrays["class_names"] = np.array(responses["class_names"])
    arrays["coarse_names"] = np.array(responses["coarse_names"] or [])
    arrays.update(_thumbnails(layout, run, arrays, split))
    folder = layout.clusters(run)
    with atomic(folder / "embeddings.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    with (
        atomic(folder / "clusters.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def _read(
    folder: Path, reinforcement: Reinforcement, split: str, responses: dict
) -> dict[str, np.ndarray]:
    """Answers that match the manifest's digest."""
    if (known := responses["reinforcements"].get(str(reinforcement))) is None:
        raise Refused(
            f"{folder}: no answers for {reinforcement}; found "
            f"{', '.join(responses['reinforcements'])}; run the rule 'reinforce' again"
        )
    path = verify(folder / str(reinforcement) / f"{split}.npz", known["digests"][f"{split}.npz"])
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def _thumbnails(
    layout: Layout, run: Run, arrays: dict[str, np.ndarray], split: str
) -> dict[str, np.ndarray]:
    """One image per superclass (or class), and which of the points it is."""
    from xkd.data.dataset import load

    groups = arrays.get("coarse", arrays["labels"])
    first = np.array([np.flatnonzero(groups == group)[0] for group in np.unique(groups)])
    images = load(layout.data(run.cell.dataset)).split(split).images
    pixels = images[arrays["points"][first]].movedim(1, -1).numpy()
    return {"thumbnails": pixels, "thumbnail_points": first}
