"""The analysis `clusters`: rows and embeddings for every split and γ, the same on any cores."""

import csv
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from fake_cells import cell, prepared

from xkd.analyses.base import Request
from xkd.analyses.clusters import analyse
from xkd.errors import Refused
from xkd.files import digest, write_json
from xkd.measures.clusters import embed, silhouette
from xkd.plan.runs import Layout, Run

RUN = Run.parse("stripes/resnet8/ce/seed0")
ASKED = {
    "gammas": [0, 2],
    "splits": ["test", "train"],
    "points": 60,
    "perplexity": 5,
    "embedding_seeds": 2,
}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Answers of a teacher that separates its four classes the better, the larger γ is."""
    layout = Layout(tmp_path)
    prepared(layout)
    folder, answers = layout.analysis("responses", RUN), {}
    for gamma in (0, 2):
        scores = {}
        for number, (split, count) in enumerate((("test", 24), ("train", 70))):
            labels = np.arange(count) % 4
            noise = np.random.default_rng(number).normal(size=(count, 4))
            logits = ((1 + gamma) * np.eye(4)[labels] + noise).astype(np.float16)
            path = folder / f"gradient-{gamma}" / f"{split}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, logits=logits, labels=labels, coarse=labels // 2)
            scores[split] = {"top1": float((logits.argmax(1) == labels).mean())}
            scores.setdefault("digests", {})[path.name] = digest(path)
        answers[f"gradient-{gamma}"] = {"kind": "gradient", "gamma": gamma, **scores}
    names = {"class_names": list("abcd"), "coarse_names": ["ab", "cd"]}
    write_json(folder / "responses.json", {**names, "reinforcements": answers})
    digests = {"responses.json": digest(folder / "responses.json")}
    card = {"analysis": "responses", "run": str(RUN), "options": {}, "made_of": {}}
    card["digests"] = digests
    write_json(folder / "analysis.json", card)
    return layout


def cluster(layout: Layout, threads: int = 1, **options: object) -> None:
    """Carry the analysis out, with these options instead of the usual ones."""
    analyse(Request("clusters", RUN, cell(), layout, {**ASKED, **options}, threads))


def rows(layout: Layout) -> list[dict[str, str]]:
    return list(
        csv.DictReader((layout.analysis("clusters", RUN) / "clusters.csv").open(encoding="utf-8"))
    )


def test_every_split_gamma_space_and_seed_has_its_rows(layout: Layout) -> None:
    cluster(layout)
    found = rows(layout)
    # two metrics on logits and two seeds of the embedding, each for classes and superclasses
    assert len(found) == 2 * 2 * (2 + 2) * 2
    scores = {
        (r["split"], r["gamma"], r["space"], r["metric"], r["labels"], r["seed"]): r for r in found
    }
    assert len(scores) == len(found)
    with np.load(layout.analysis("responses", RUN) / "gradient-2/test.npz") as archive:
        logits, labels = archive["logits"].astype(np.float32), archive["labels"]
    one = scores["test", "2.0", "logits", "cosine", "super", ""]
    assert float(one["silhouette"]) == silhouette(logits, labels // 2, "cosine")
    assert float(one["top1"]) == (logits.argmax(1) == labels).mean()
    one = scores["test", "2.0", "embedding", "euclidean", "sub", "1"]
    assert float(one["silhouette"]) == silhouette(embed(logits, 1, 5), labels)
    plain = scores["test", "0.0", "logits", "euclidean", "sub", ""]
    strong = scores["test", "2.0", "logits", "euclidean", "sub", ""]
    assert float(strong["silhouette"]) > float(plain["silhouette"])


def test_figures_get_the_first_seed_and_the_first_split(layout: Layout) -> None:
    cluster(layout)
    with np.load(layout.analysis("clusters", RUN) / "embeddings.npz") as archive:
        arrays = dict(archive)
    assert {key for key in arrays if key.endswith("/embedding")} == {
        "gradient-0/embedding",
        "gradient-2/embedding",
    }
    assert arrays["gradient-0/embedding"].shape == (24, 2)
    assert arrays["labels"].tolist() == [i % 4 for i in range(24)]
    assert arrays["coarse"].tolist() == [i % 4 // 2 for i in range(24)]
    assert arrays["thumbnails"].shape == (2, 8, 8, 1)


def test_subsets_are_class_balanced(layout: Layout) -> None:
    cluster(layout, splits=["train"], points=40)
    with np.load(layout.analysis("clusters", RUN) / "embeddings.npz") as archive:
        assert np.bincount(archive["labels"]).tolist() == [10, 10, 10, 10]


def test_files_do_not_depend_on_the_number_of_processes(layout: Layout) -> None:
    written = []
    for threads in (1, 2):
        cluster(layout, threads)
        folder = layout.analysis("clusters", RUN)
        with np.load(folder / "embeddings.npz") as archive:
            arrays = {name: archive[name].tobytes() for name in archive.files}
        written.append(((folder / "clusters.csv").read_bytes(), arrays))
    assert written[0] == written[1]


@pytest.mark.parametrize("threads", [1, 2])
def test_too_few_points_for_the_perplexity_are_refused(layout: Layout, threads: int) -> None:
    with pytest.raises(Refused, match=r"perplexity 30 needs more than 30 points, found 24"):
        cluster(layout, threads, perplexity=30)
    assert not layout.analysis("clusters", RUN).exists()


def test_answers_that_are_missing_or_damaged_are_refused(layout: Layout) -> None:
    with pytest.raises(Refused, match=r"no answers for gradient-7; found gradient-0, gradient-2"):
        cluster(layout, gammas=[7])
    path = layout.analysis("responses", RUN) / "gradient-0/test.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(Refused, match=r"test\.npz is damaged"):
        cluster(layout)


def children(parent: int) -> list[int]:
    """Processes that this one has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def alive(process: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.faults
def test_processes_end_with_the_one_that_started_them(layout: Layout) -> None:
    code = (
        f"import sys; sys.path[:] = {[*sys.path, str(Path(__file__).parent)]!r}\n"
        "from pathlib import Path; from xkd.plan.runs import Layout\n"
        "from test_clusters import cluster\n"
        f"cluster(Layout(Path({str(layout.root)!r})), 2, embedding_seeds=500)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline()  # a first cloud is done, so the workers are there
    workers = children(process.pid)
    assert len(workers) >= 2
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    end = time.monotonic() + 30
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(alive, workers))
