"""The figures of the related methods, from a few invented runs."""

from types import SimpleNamespace

import pandas as pd
import pytest
from synthetic_results import LABELS, ROOT, item, runs, script

from xkd.files import write_yaml
from xkd.plan import config
from xkd.report import published

cost, gap = script("related_cost"), script("related_last_minus_best")
CELLS = {
    "cifar100/resnet20/ce_rkd": 0.69,
    "cifar100/resnet20/kd_rkd/from-resnet56-ce_rkd": 0.71,
    "cifar100/resnet20/crd/from-resnet56-ce_rkd": 0.712,
    "cifar100/resnet20/crd/from-resnet110-ce_rkd": 0.715,
}
NAMES = {
    **LABELS,
    "methods": {
        "ce_rkd": "CE",
        "kd_rkd": "KD",
        "crd": "CRD",
        "dist": "DIST",
        "reviewkd": "ReviewKD",
    },
}


def timed(seconds: dict[str, float], device: str = "cpu, procs") -> pd.DataFrame:
    frame = runs(CELLS, seeds=2)
    return frame.assign(seconds=frame.method.map(seconds), device=device)


SECONDS = {"ce_rkd": 10.0, "kd_rkd": 10.5, "crd": 33.0}


def test_costs_are_times_over_that_of_cross_entropy_for_every_pair():
    frame = cost.measured(timed(SECONDS)).set_index(["teacher", "method"])
    assert frame.cost["resnet56", "ce_rkd"] == 1
    assert frame.cost["resnet56", "kd_rkd"] == pytest.approx(1.05)
    assert frame.cost["resnet110", "crd"] == pytest.approx(3.3)
    assert frame["mean"]["resnet110", "crd"] == pytest.approx(0.715)
    assert frame["std"]["resnet56", "crd"] == pytest.approx(0.002)
    assert ("resnet110", "kd_rkd") not in frame.index


def test_times_of_another_machine_are_no_cost():
    mixed = timed(SECONDS)
    mixed.loc[mixed.method == "crd", "device"] = "NVIDIA H100, graph"
    frame = cost.measured(mixed).set_index(["teacher", "method"])
    assert frame.cost.loc[["resnet56"]].isna().tolist() == [False, False, True]


def test_times_come_from_the_cards_of_the_runs(tmp_path):
    frame, files = runs(CELLS, seeds=2), []
    for number, cell in enumerate(CELLS):
        for seed in (0, 1):
            folder = tmp_path / cell / f"seed{seed}"
            folder.mkdir(parents=True)
            engine = {"device": "cpu", "backend": "loop"}
            card = {"run": f"{cell}/seed{seed}", "seconds": number + 10 * seed, "engine": engine}
            write_yaml(folder / "run.yaml", {**card, "files": {}})
        files.append(tmp_path / cell / "cell.json")
    found = cost.timed(frame, files)
    assert found.seconds.tolist() == [0, 10, 1, 11, 2, 12, 3, 13]
    assert set(found.device) == {"cpu, loop"}


def test_both_figures_can_be_drawn(tmp_path):
    entry = {**item("demo", labels=NAMES), "methods": list(NAMES["methods"])}
    figures = {
        "cost": cost.draw(cost.measured(timed(SECONDS)), entry),
        "gap": gap.draw(gap.measured(runs(CELLS, seeds=2)), entry),
    }
    for name, figure in figures.items():
        output = SimpleNamespace(**{k: tmp_path / f"{name}.{k}" for k in ("csv", "pdf", "png")})
        cost.plots.save(figure, pd.DataFrame(), output)
        assert output.png.stat().st_size > 5_000
        assert output.pdf.stat().st_size > 5_000


def test_the_gap_is_best_minus_last():
    frame = gap.measured(runs(CELLS, seeds=2))
    assert frame.gap.tolist() == pytest.approx([0.002] * 4)
    assert len(frame) == 4


@pytest.mark.parametrize("name", ["related_offline", "related_online"])
def test_printed_numbers_have_the_networks_and_methods_of_the_tables(name):
    settings = config.load(ROOT / "config.yaml", ["scale=paper"])
    labels = {
        kind: {key: entry["label"] for key, entry in settings[kind].items()}
        for kind in ("datasets", "networks", "methods")
    }
    grids = settings["experiments"][name]
    shown = {method for grid in grids for method in grid["methods"]}
    networks = {network for grid in grids for network in grid["networks"]}
    file = ROOT / f"workflow/papers/related/published/{name}.csv"
    printed = published.load(file, labels, prefer=shown)
    students = printed[~printed.is_teacher]
    assert set(students.network) <= networks
    known = set(students.method) & shown
    assert len(known) >= {"related_offline": 11, "related_online": 3}[name], known
    assert set(printed.metric) == {"top1"}  # what stands beside the last and the best epoch
    assert printed.value.between(0.6, 0.85).all()
