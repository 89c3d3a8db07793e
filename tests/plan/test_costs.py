"""What jobs ask a scheduler for."""

from dataclasses import replace
from pathlib import Path

import pytest

from xkd.engine import memory
from xkd.plan import config, costs, jobs
from xkd.plan.declarations import declaration
from xkd.plan.grid import Plan
from xkd.plan.runs import Cell

ROOT = Path(__file__).resolve().parents[2]
ENGINE = {"backend": "auto", "precision": "float32"}


@pytest.fixture(scope="module")
def paper() -> Plan:
    return Plan(config.load(ROOT / "config.yaml", ["scale=paper"]))


@pytest.fixture(scope="module")
def demo() -> Plan:
    return Plan(config.load(ROOT / "config.yaml"))


def cell(plan: Plan, text: str):
    return plan.settings(Cell.parse(text))


def test_resnet20_on_cifar_takes_the_arithmetic_that_is_known_of_it(paper):
    network = cell(paper, "cifar10/resnet20/ce_student").network
    dataset = paper.dataset("cifar10")
    # He et al. 2016 count 41 million multiply-adds with shortcut A.
    assert costs.forward_gflop(network, dataset) == pytest.approx(2 * 0.0406, rel=0.1)


def test_every_training_of_the_papers_wants_a_gpu_and_none_of_the_demo_does(paper, demo):
    trained = [s for s in paper.cells.values() if not s.holdout and not s.weights]
    trained = [s for s in trained if "digits" not in s.dataset.source]
    assert {costs.training(s, ENGINE).gpu for s in trained} == {1}
    assert {costs.training(s, ENGINE).gpu for s in demo.cells.values()} == {0}


@pytest.mark.parametrize("engine", [{"backend": "graph"}, {"precision": "tf32"}])
def test_what_only_a_gpu_can_do_asks_for_one(demo, engine):
    settings = next(iter(demo.cells.values()))
    assert costs.training(settings, {**ENGINE, **engine}).gpu == 1


def test_more_seeds_or_epochs_take_more_time_and_deeper_networks_more_memory(paper):
    small, large = (cell(paper, f"cifar10/{name}/ce_student") for name in ("resnet20", "resnet110"))
    time = [costs.training(s, ENGINE).minutes for s in (replace(small, seeds=(0,)), small, large)]
    assert time == sorted(set(time))
    assert costs.training(large, ENGINE).memory_mb > costs.training(small, ENGINE).memory_mb


def test_networks_that_are_trained_beside_the_student_take_time_and_memory_too(paper):
    alone = costs.training(cell(paper, "cifar100/resnet32/ce_online"), ENGINE)
    for method, networks in (("dml_online", 2), ("mcl_okd_online", 3), ("ffsd", 3)):
        found = costs.training(cell(paper, f"cifar100/resnet32/{method}"), ENGINE)
        assert found.minutes == pytest.approx(networks * alone.minutes, rel=0.35)
        assert found.memory_mb > alone.memory_mb


def test_a_search_takes_the_time_of_all_its_trials_and_the_memory_of_one(demo):
    settings = next(settings for settings in demo.cells.values() if settings.search)
    trials = [demo.settings(trial) for _, trial in settings.search.trials]
    found = costs.search(trials, ENGINE)
    assert found.minutes >= costs.STARTING + len(trials)
    assert found.memory_mb == costs.training(trials[0], ENGINE).memory_mb


@pytest.mark.parametrize(
    "text",
    ["cifar10/resnet14/ce", "mnist/mlp1024/ce", "cifar10/cnn8/ce", "cifar100/resnet56/ce_student"],
)
def test_the_engine_does_not_need_more_memory_than_a_job_asks_for(paper, text):
    settings = cell(paper, text)
    demand = costs.training(settings, ENGINE)
    images = 1e6 * costs.images_mb(settings.dataset)
    needed = memory.estimate(settings, None, images).total(demand.threads)
    assert needed <= 1e6 * demand.memory_mb


def test_time_for_clusters_grows_with_points_gammas_and_repetitions(paper):
    settings = cell(paper, "cifar100/resnet20/ce_teacher")
    cost = declaration("analyses", "clusters")["COST"]
    options = paper.analysis("clusters", settings.cell)
    full = costs.analysis(settings, cost, options)
    assert (full.gpu, full.threads) == (0, 4)
    for fewer in ({"points": 1000}, {"gammas": options["gammas"][:4]}, {"embedding_seeds": 1}):
        assert full.minutes > costs.analysis(settings, cost, {**options, **fewer}).minutes


def test_an_analysis_that_asks_the_network_costs_its_passes(paper):
    settings = cell(paper, "cifar100/resnet20/ce_teacher")
    cost = declaration("analyses", "responses")["COST"]
    options = paper.analysis("responses", settings.cell)
    once = costs.analysis(settings, cost, {**options, "gradient": [0.0], "sign": []})
    often = costs.analysis(settings, cost, {**options, "gradient": [0.0] * 40, "sign": []})
    assert often.minutes > once.minutes
    assert often.memory_mb > once.memory_mb  # logits of all of them


def test_a_network_that_is_not_known_here_is_given_enough(paper):
    settings = cell(paper, "cifar10/resnet20/ce_student")
    strange = replace(settings, network=replace(settings.network, family="strange", options={}))
    assert costs.training(strange, ENGINE).minutes > costs.training(settings, ENGINE).minutes


@pytest.mark.parametrize(
    ("name", "multiplications"), [("resnet18", 1.82e9), ("resnet34", 3.67e9), ("resnet50", 4.11e9)]
)
def test_imagenet_networks_take_the_arithmetic_that_torchvision_lists(paper, name, multiplications):
    network = paper.resolver.network(name, "imagenet")
    found = costs.forward_gflop(network, paper.dataset("imagenet"))
    assert found == pytest.approx(2e-9 * multiplications, rel=0.2)


def hours(settings, precision="bf16", **changed):
    return costs.gpu_hours(replace(settings, **changed), {**ENGINE, "precision": precision})


@pytest.mark.parametrize(
    ("text", "precision", "seconds"),
    [  # whole cells of five seeds that an H100 has trained; the third, an H200
        ("cifar10/resnet8/ce", "bf16", 170),
        ("cifar10/resnet8/le_gradcam", "bf16", 179),
        ("cifar10/resnet8/label_smoothing_printed", "bf16", 154),
        ("mnist/mlp1024/ce", "bf16", 70),
    ],
)
def test_gpu_hours_are_those_that_the_card_took(paper, text, precision, seconds):
    found, measured = hours(cell(paper, text), precision, seeds=(0, 1, 2, 3, 4))
    assert measured
    assert 3600 * found == pytest.approx(seconds, rel=0.1)


@pytest.mark.parametrize(
    ("text", "precision", "microseconds"),
    [  # per step and seed, five captured steps at once
        ("cifar10/resnet8/ce", "float32", 981),
        ("cifar10/resnet8/ce", "tf32", 902),
        ("cifar10/resnet8/ce", "bf16", 472),
        ("cifar10/resnet20/ce_teacher", "float32", 2532),
        ("cifar10/resnet20/ce_teacher", "bf16", 1060),
        ("mnist/mlp1024/ce", "float32", 61),
        ("mnist/mlp1024/le_grad", "float32", 117),
        ("cifar10/resnet8/le_grad", "float32", 5316),
    ],
)
def test_rates_of_steps_are_those_that_the_card_took(paper, text, precision, microseconds):
    settings = cell(paper, text)
    found, measured = hours(settings, precision, seeds=(0, 1, 2, 3, 4))
    steps = settings.recipe.epochs * -(
        -costs.IMAGES[settings.dataset.source][0] // settings.recipe.batch
    )
    per_step = (3600 * found - costs.rates.STARTING) / costs.rates.BESIDE / steps / 5
    assert measured
    assert 1e6 * per_step == pytest.approx(microseconds, rel=0.07)


def test_seeds_share_a_gpu_better_than_they_use_it_one_by_one(paper):
    settings = cell(paper, "cifar10/resnet8/ce")
    alone, five = (hours(settings, seeds=tuple(range(n)))[0] for n in (1, 5))
    assert alone < five < 3 * alone


@pytest.mark.parametrize(
    ("text", "precision"),
    [
        ("cifar100/resnet110/ce_teacher", "bf16"),  # deeper than what was timed
        ("cifar10/resnet8/ce", "float64"),
        ("cifar10/cnn6/ce", "bf16"),
        ("cifar10/resnet8/dml", "bf16"),
        ("cifar10/resnet8/hint/from-resnet26", "bf16"),  # its teacher runs at every step
    ],
)
def test_hours_of_what_was_never_timed_are_called_a_guess(paper, text, precision):
    assert hours(cell(paper, text), precision)[1] is False


def test_a_cell_that_asks_for_no_gpu_takes_none_of_its_hours(demo):
    assert {costs.gpu_hours(s, ENGINE) for s in demo.cells.values()} == {(0.0, True)}


def test_weights_that_are_imported_take_no_hours(paper):
    imported = next(settings for settings in paper.cells.values() if settings.weights)
    assert costs.gpu_hours(imported, ENGINE) == (0.0, True)


def test_photographs_keep_a_gpu_waiting_for_the_cores_that_decode_them(paper):
    settings = cell(paper, "imagenet/resnet18/kd_official/from-resnet34-torchvision")
    images = costs.IMAGES["imagenet_folder"][0] * settings.recipe.epochs
    assert hours(settings)[0] >= images / (costs.DECODED * costs.DECODERS) / 3600


def test_a_deeper_teacher_takes_longer_to_fill_a_table_and_gradients_four_passes(paper):
    small, large = (cell(paper, f"cifar10/{n}/ce_student") for n in ("resnet20", "resnet110"))
    assert costs.table_hours(large, ENGINE) > 4 * costs.table_hours(small, ENGINE)
    assert costs.table_hours(small, ENGINE, passes=4) == 4 * costs.table_hours(small, ENGINE)


def test_imagenet_is_not_held_in_memory_and_several_gpus_share_its_training(paper):
    settings = cell(paper, "imagenet/resnet18/kd_official/from-resnet34-torchvision")
    alone, shared = (costs.training(settings, {**ENGINE, "processes": n}) for n in (1, 4))
    assert (alone.gpu, shared.gpu) == (1, 4)
    assert shared.minutes < alone.minutes / 3
    assert alone.memory_mb < 64_000  # all training images alone would take 200 GB
    small = cell(paper, "cifar10/resnet8/ce")
    assert costs.training(small, {**ENGINE, "processes": 4}) == costs.training(small, ENGINE)


def test_teachers_of_imagenet_are_asked_at_every_step(paper):
    settings = cell(paper, "imagenet/resnet18/kd_official/from-resnet34-torchvision")
    for choice in ("auto", "table"):
        paper.config["engine"]["teacher"] = choice
        assert jobs.table(paper, settings) is None
    paper.config["engine"]["teacher"] = "auto"
    small = cell(paper, "tiny_imagenet/resnet18/kd_official/from-resnet18-ce_teacher")
    assert jobs.table(paper, small) is not None
