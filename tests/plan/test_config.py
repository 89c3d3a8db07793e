"""The config: what it asks for, and what it answers to mistakes, in one line each."""

import json
from collections import Counter
from pathlib import Path

import pytest

from xkd.errors import Refused
from xkd.plan import cell_checks, declarations, jobs, resolve
from xkd.plan import config as conf
from xkd.plan.grid import Plan
from xkd.plan.jobs import item_description

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config.yaml"


def plan(*sets: str) -> Plan:
    return Plan(conf.load(CONFIG, sets), name="config.yaml")


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_the_config_is_sound_at_every_scale(scale: str) -> None:
    assert plan(f"scale={scale}").items


def test_both_scales_draw_the_same_items() -> None:
    assert list(plan("scale=demo").items) == list(plan("scale=paper").items)


def test_command_line_wins_over_the_scale() -> None:
    effective = conf.load(CONFIG, ["recipes.r_res.epochs=13"])
    assert effective["recipes"]["r_res"]["epochs"] == 13
    assert effective["recipes"]["r_mlp"]["epochs"] == 8  # the demo's, untouched


def test_frozen_config_is_read_back_unchanged(tmp_path: Path) -> None:
    effective = conf.load(CONFIG)
    path = conf.freeze(effective, tmp_path)
    assert conf.load(path) == effective
    assert conf.freeze(effective, tmp_path) == path


MISTAKES = {
    "wrong type": ("recipes.r_res.lr=fast", "recipes.r_res.lr: found 'fast', expected a number"),
    "misspelt key": ("recipes.r_res.epocs=3", "unknown key 'epocs'; did you mean 'epochs'?"),
    "out of range": ("recipes.r_res.momentum=1.5", "found 1.5, expected less than 1"),
    "unknown scale": ("scale=papr", "unknown scale 'papr'; did you mean 'paper'?"),
    "unknown method file": ("methods.ce.uses=cee", "unknown method file 'cee'; did you mean 'ce'?"),
    "unknown option": (
        "methods.kd_equal.temprature=3",
        "methods.kd_equal: unknown option 'temprature'; did you mean 'temperature'?",
    ),
    "option out of range": (
        "methods.kd_equal.temperature=0",
        "methods.kd_equal.temperature: found 0, expected more than 0",
    ),
    "gamma that is no number": (
        "methods.oracle.gamma=.nan",
        "methods.oracle.gamma: found nan, exp",
    ),
    "gamma that is text": (
        "methods.oracle_sign.gamma=much",
        "gamma: found 'much', expected a number",
    ),
    "negative gamma to ask": (
        "analyses.responses.gradient=[0, -1]",
        "analyses.responses.gradient.1: found -1",
    ),
    "infinite gamma to ask": (
        "analyses.clusters.gammas=[.inf]",
        "analyses.clusters.gammas.0: found inf",
    ),
    "no step": ("methods.oracle_two_steps.steps=0", "steps: found 0, expected at least 1"),
    "unknown kind of step": ("methods.oracle.kind=sgn", "kind: found 'sgn', expected one of grad"),
    "negative gamma": ("methods.oracle.gamma=-1", "methods.oracle.gamma: found -1"),
    "unknown loss term": ("methods.kd_equal.weights.kl=1", "unknown weight 'kl'; known: ce, kd"),
    "seed twice": ("seeds=[0, 0]", "seeds: found [0, 0], expected no entry twice"),
    "unknown network": (
        "experiments.le_table2=[{datasets: [cifar10], networks: [resnet55], methods: [ce]}]",
        "unknown network 'resnet55'; did you mean 'resnet56'?",
    ),
    "unknown data set": (
        "experiments.le_table2=[{datasets: [cifar], networks: [resnet14], methods: [ce]}]",
        "unknown dataset 'cifar'",
    ),
    "missing teacher": (
        "experiments.le_table2=[{datasets: [cifar10], networks: [resnet14], methods: [kd_equal]}]",
        "method 'kd_equal' needs a teacher",
    ),
    "published as nobody": (
        "methods.dropout_printed.published_as=dropuot",
        "methods.dropout_printed.published_as: unknown method 'dropuot'; did you mean 'dropout'?",
    ),
    "unknown recipe": ("networks.resnet14.recipe=r_rse", "unknown recipe 'r_rse'"),
    "an explanation that is none": (
        "analyses.saliency.explanations=[random, cornr]",
        "analyses.saliency.explanations.1: found 'cornr', expected one of centre, ",
    ),
    "cosine with milestones": (
        "recipes.r_res.schedule=cosine",
        "recipes.r_res.milestones: found 1, expected none under schedule: cosine",
    ),
    "nesterov without momentum": (
        "recipes.r_res={nesterov: true, momentum: 0}",
        "recipes.r_res.nesterov: found true, expected false where momentum is 0",
    ),
    "late milestone": ("recipes.r_res.milestones=[99]", "milestones: found 99, expected less than"),
    "warm-up longer than training": (
        "methods.le_gradcam.warmup=200",
        "warmup: found 200, expected less than",
    ),
    "Grad-CAM of a perceptron": (
        "experiments.le_table2=[{datasets: [mnist], networks: [mlp1024], methods: [le_gradcam]}]",
        "methods.le_gradcam.explanation: 'gradcam' needs a network with a pooled head",
    ),
    "dropout where there is none": (
        "experiments.le_table1="
        "[{datasets: [cifar10], networks: [cnn8], methods: [dropout_printed]}]",
        "sets 'dropout' of its network, and networks of family 'plane_cnn' have",
    ),
    "feature maps of a plain network": (
        "experiments.le_table1="
        "[{datasets: [cifar10], networks: [cnn8], methods: [hint], teachers: [resnet26]}]",
        "compares feature maps of residual networks, and 'cnn8' is none; choose ResNets",
    ),
    "search without a hold-out": (
        "datasets.digits.holdout=0",
        "keeps none; set datasets.digits.holdout to some images of each class, say 1000",
    ),
    "teacher of a teacherless method": ("teachers.same.teacher=same", "method 'ce_teacher' has"),
    "unbalanced hold-out": ("datasets.digits.holdout=201", "holdout: found 201, expected a mult"),
    "normalisation of other channels": ("datasets.digits.mean=[0.1, 0.2]", "found 2 values"),
    "unknown published table": ("tables.le_table2.published=le_table9", "unknown published table"),
    "a claim about nobody": (
        "tables.le_table2.claims=[{best_first: [le_gradcam, [ce, dropuot]], says: so}]",
        "tables.le_table2.claims.0.best_first: unknown method 'dropuot'; did you mean 'dropout'?",
    ),
    "a claim that bites its tail": (
        "tables.le_table2.claims=[{best_first: [ce, [dropout, ce]], says: so}]",
        "tables.le_table2.claims.0.best_first: found 'ce' twice, expected it once",
    ),
    "a claim of one": (
        "figures.le_figure3.claims=[{best_first: [ce], says: so}]",
        "claims.0.best_first: found ['ce'], expected at least 2 entries",
    ),
    "a claim of number": (
        "figures.le_figure3.claims=[{best_first: [ce, 3], says: so}]",
        "claims.0.best_first.1: found 3, expected text or a list",
    ),
    "a claim without words": (
        "tables.le_table2.claims=[{best_first: [le_gradcam, ce]}]",
        "tables.le_table2.claims.0: 'says' is missing",
    ),
    "a misspelt claim": (
        "tables.le_table2.claims=[{best_frist: [le_gradcam, ce], says: so}]",
        "tables.le_table2.claims.0: unknown key 'best_frist'; did you mean 'best_first'?",
    ),
    "shell in a name": ("datasets={'x; rm -rf ~': {}}", "datasets"),
    "shell in an item's name": (
        "tables={'x; rm -rf ~': {paper: le, number: '1', title: t}}",
        "tables: found 'x; rm -rf ~', expected a name of lower-case letters",
    ),
    "an item outside the results": (
        "figures={../../etc: {paper: le, number: '1', title: t, script: le_figure3}}",
        "figures: found '../../etc', expected a name of lower-case letters",
    ),
    "a script from elsewhere": ("tables.le_table2.script=../evil", "script: found '../evil'"),
    "markup in a caption": (
        'tables.le_table2.title="t\\n\\n.. raw:: html"',
        "expected a single line of text",
    ),
    "points for no t-SNE": (
        "analyses.clusters.points=30",
        "clusters.points: found 30, expected more than 30",
    ),
    "split that nobody asks": (
        "analyses.responses.splits=[test]",
        "analyses.clusters.splits: found train, expected some of analyses.responses.splits: test",
    ),
    "a gamma that nobody asks": (
        "analyses.clusters.gammas=[7]",
        "analyses.clusters.gammas: found 7",
    ),
    "lookup without default": ("methods.le_grad.warmup={by: dataset, mnist: 1}", "no default"),
    "a lookup of nobody": (
        "methods.le_grad.warmup={by: dataset, mnst: 1, default: 2}",
        "methods.le_grad.warmup: unknown data set 'mnst'; did you mean 'mnist'?",
    ),
    "infinity": ("methods.kd.temperature=.inf", "temperature: found inf, expected a finite number"),
    "pairs of no data set": (
        "analyses.explanations.pairs.cifar=[[a, b]]",
        "analyses.explanations.pairs: unknown data set 'cifar'",
    ),
    "an analysis of no file": ("analyses.clustres={}", "unknown analysis 'clustres'; did you mean"),
    "an item of no analysis": (
        "tables.oracle_table1.needs=[response]",
        "unknown analysis 'response'",
    ),
    "a paper that is not there": (
        "papers=[el]",
        "unknown paper 'el'; known: attentive, le, oracle, related, or a folder",
    ),
    "papers that are no list": ("papers=le", "papers: found 'le', expected a list of names"),
    "a key twice": (
        "recipes.r_res={epochs: 3, epochs: 4}",
        "'epochs' stands on line 1 and again on",
    ),
    "an item of no paper": (
        "tables.mine={number: '1', title: t, experiment: le_table2}",
        "tables.mine: 'paper' is missing",
    ),
    "unknown backend": ("engine.backend=gpu", "engine.backend: found 'gpu', expected one of auto"),
    "depth of no ResNet": ("networks.resnet14.depth=15", "networks.resnet14.depth: found 15"),
}


@pytest.mark.parametrize(("change", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_that_names_the_key(change: str, message: str) -> None:
    with pytest.raises(Refused) as refused:
        plan(change)
    text = str(refused.value)
    assert message in text
    assert "\n" not in text
    written = (str(CONFIG), "config.yaml", "the command line", "workflow/papers/", f"'{change}'")
    assert text.startswith(written)


def test_endless_chain_of_teachers_is_refused() -> None:
    to_a, to_b = (f"{{network: resnet8, method: kd_equal, teacher: {end}}}" for end in "ab")
    grid = "{datasets: [cifar10], networks: [resnet8], methods: [kd_equal], teachers: [a]}"
    with pytest.raises(Refused, match="chain of teachers never ends: a -> b -> a"):
        plan(f"teachers={{a: {to_b}, b: {to_a}}}", f"experiments.oracle_table4=[{grid}]")


def test_values_are_looked_up_for_teacher_and_network() -> None:
    value = {"by": "teacher", "a": {"by": "network", "b": 1, "default": 2}, "default": 3}
    assert conf.look_up(value, {"teacher": "a", "network": "b"}) == 1
    assert conf.look_up(value, {"teacher": "a", "network": "c"}) == 2
    assert conf.look_up(value, {"teacher": "d", "network": "b"}) == 3


def test_oracle_settings_are_those_of_the_run_records() -> None:
    cells = plan("scale=paper").cells
    found = {
        cell.network: (
            settings.method.options["gamma"],
            settings.method.options["weights"]["ce"],
            settings.recipe.lr_at(149),
            round(settings.recipe.lr_at(150), 6),
        )
        for cell, settings in cells.items()
        if cell.dataset == "cifar100"
        and cell.method == "oracle"
        and settings.teacher.cell.network == cell.network
    }
    assert found == {
        "resnet20": (0.2, 1.0, 0.05, 0.005),
        "resnet32": (0.5, 0.8, 0.05, 0.005),
        "resnet56": (0.2, 0.5, 0.05, 0.005),
        "resnet110": (0.2, 0.1, 0.05, 0.005),
    }


def test_introspective_settings_are_the_papers() -> None:
    cells = {str(cell): settings for cell, settings in plan("scale=paper").cells.items()}
    cifar, mnist = cells["cifar10/resnet14/le_gradcam"], cells["mnist/mlp1024/le_grad"]
    options = {"explanation": "gradcam", "alpha": 0.9, "warmup": 32, "spread": "similarity"}
    assert {name: cifar.method.options[name] for name in options} == options
    assert cifar.method.options["weights"] == {"explanation": 1.0, "ce": 0.1}
    assert (cifar.recipe.epochs, cifar.recipe.batch, cifar.recipe.lr_at(80)) == (160, 128, 0.1)
    assert cifar.recipe.lr_at(81) == pytest.approx(0.01)
    assert cifar.recipe.lr_at(121) == pytest.approx(0.001)
    assert (mnist.recipe.epochs, mnist.recipe.batch, mnist.recipe.lr) == (50, 16, 0.01)
    assert mnist.method.options["warmup"] == 10


def test_a_search_tries_every_value_without_the_hold_out_images() -> None:
    cells = plan("scale=paper").cells
    searched = next(s for c, s in cells.items() if str(c) == "cifar10/resnet14/ban/from-resnet14")
    assert [value for value, _ in searched.search.trials] == [1, 2, 5, 10, 20]
    for value, cell in searched.search.trials:
        trial = cells[cell]
        assert str(cell) == f"cifar10/resnet14/ban/fit-temperature-{value}/from-resnet14"
        assert trial.method.options["temperature"] == value
        assert trial.holdout
        assert len(trial.seeds) == 1
        assert cells[trial.teacher.cell].holdout  # nor has its teacher seen them
    assert searched.with_option("temperature", 5).method.options["temperature"] == 5


def test_trials_of_mnist_train_as_long_as_what_they_choose_for() -> None:
    trials = [s for c, s in plan("scale=paper").cells.items() if c.trial and c.dataset == "mnist"]
    assert {trial.recipe.epochs for trial in trials} == {50}


def test_assistants_are_trained_for_every_seed() -> None:
    cells = {str(cell): settings for cell, settings in plan("scale=paper").cells.items()}
    student = cells["cifar10/resnet14/takd/from-resnet20-kd"]
    assistant = cells[str(student.teacher.cell)]
    assert student.teacher.seed is None
    assert assistant.seeds == (0, 1, 2, 3, 4)
    assert str(assistant.teacher.cell) == "cifar10/resnet26/ce"


def test_cells_shared_by_items_are_trained_once() -> None:
    whole = plan("scale=paper")
    shown = [cell for item in whole.items.values() for cell in item.cells]
    assert len(set(shown)) < len(shown)
    assert set(shown) <= set(whole.cells)


def test_items_of_le_train_as_many_networks_as_the_paper() -> None:
    """(new final runs, new trials), item after item, as in the paper; where ours differ, why."""
    whole, counted, found = plan("scale=paper"), set(), {}
    for name in [f"le_table{number}" for number in range(1, 7)] + ["le_figure3"]:
        fresh = whole.trainings(whole.items[name]) - counted
        counted |= fresh
        trials = sum(run.cell.trial is not None for run in fresh)
        found[name] = len(fresh) - trials, trials
    assert found == {
        "le_table1": (1 + 2 * 6 * 5, 0),
        # three regularisers a second time, with the printed winner
        "le_table2": (2 * 5 * 5 + 2 * 3 * 5, 2 * (4 + 4 + 7)),
        "le_table3": (5 * 5, 4 + 4 + 7),
        # the trials of born-again networks need a teacher that has not seen the hold-out images
        "le_table4": (2 * 5 + 2 * 2 * 5, 2 * 2 * 5 + 2),
        # ResNet14's students of ResNet26 are the assistants of ResNet8
        "le_table5": (1 + 2 * 4 * 5 + 2 * 5 + 5, 0),
        "le_table6": (3 * 5 + 2 * 5, 0),
        "le_figure3": (3 * 2 * 5, 0),
    }


def test_two_epochs_of_the_papers_are_a_sound_config() -> None:
    reduced = ROOT / "workflow" / "overlays" / "two_epochs.yaml"
    asked = conf.load(CONFIG, ["scale=paper"], overlays=[reduced])
    assert {cell.recipe.epochs for cell in Plan(asked).cells.values() if cell.recipe} == {1, 2}


def test_variants_of_oracle_share_neither_tables_nor_fingerprints() -> None:
    asked = plan("scale=paper")
    item = asked.items["oracle_variants"]
    assert item.optional
    taught = {s.method.name: s for s in map(asked.settings, item.cells) if s.teacher}
    assert taught.keys() == {
        "oracle_gamma0",
        "oracle_random",
        "oracle",
        "oracle_clipped",
        "oracle_logits",
        "oracle_two_steps",
        "oracle_sign",
    }
    tables = {str(asked.layout().table(*jobs.table(asked, s))) for s in taught.values()}
    folder = "results/paper/teachers/cifar100/resnet20/ce_teacher/seed0"
    assert tables == {
        f"{folder}/{name}.npy"
        for name in (
            "gradient-0",
            "gradient-0.2",
            "gradient-0.2-2steps",
            "gradient-0.2-clipped",
            "random-0.2",
            "sign-0.00784314",
        )
    }
    slices = [json.dumps({**s.slice(), "cell": 0}, sort_keys=True) for s in taught.values()]
    assert len(set(slices)) == len(taught)
    headers = {str(s.method.needs.reinforcement) for s in taught.values()}
    assert len(headers) == len(tables)  # a step of the logits starts from those of plain images
    recipes = {(s.recipe.name, s.method.options["temperature"]) for s in taught.values()}
    assert recipes == {("r_or", 2)}


OFFICIAL = ("dkd_official", "at_official", "fitnet_official", "kd_official", "sad_official")
EQUAL = ("dkd_equal", "at_equal", "fitnet_equal", "kd_equal", "sad_equal")


def trained(asked: Plan, *items: str) -> Counter:
    """(data set, method) -> runs of these items, each cell's seeds once; their teachers as well."""
    grids = [grid for name in items for grid in asked.items[name].runs]
    runs = {(cell, seed) for cell, seeds in grids for seed in seeds}
    for cell in {cell for cell, _ in runs}:
        if taught := asked.settings(cell).teacher:
            runs.add((taught.cell, taught.seed))
    return Counter((cell.dataset, cell.method) for cell, _ in runs)


def test_oracle_table_4_and_figure_5_have_the_runs_that_the_paper_implies() -> None:
    """Four teachers per data set; three seeds of 4 (CIFAR-10) and 16 (CIFAR-100) pairs."""
    found = trained(plan("scale=paper"), "oracle_table4", "oracle_figure5", "oracle_figure5_equal")
    for dataset, pairs in (("cifar10", 4), ("cifar100", 16)):
        assert found[dataset, "ce_teacher"] == 4
        assert sum(found[dataset, m] for m in (*OFFICIAL, "oracle")) == pairs * 6 * 3
        assert sum(found[dataset, m] for m in (*EQUAL, "oracle")) == pairs * 6 * 3
        assert found[dataset, "oracle_gamma0"] == pairs * 3
        assert found[dataset, "ce_student"] == 4 * 3
    known = ("ce_teacher", "ce_student", *OFFICIAL, *EQUAL, "oracle_gamma0", "oracle")
    assert {method for _, method in found} == set(known)


def test_oracle_figure_1b_is_a_slice_of_figure_5() -> None:
    asked = plan("scale=paper")
    slice_, whole = (dict(asked.items[f"oracle_figure{number}"].runs) for number in ("1b", "5"))
    assert slice_.items() <= whole.items()
    assert {cell.network for cell in slice_} == {"resnet20"}
    assert sum(map(len, slice_.values())) == 4 * 5 * 3


@pytest.mark.parametrize(
    ("item", "teachers"),
    [
        ("oracle_table3", {"cifar10": 4, "cifar100": 4}),
        ("oracle_entropy", {"cifar10": 4, "cifar100": 4}),
        ("oracle_figure3", {"cifar100": 1}),
        ("oracle_figure4", {"cifar100": 1}),
        ("oracle_reliability", {"cifar100": 1}),
    ],
)
def test_items_about_teachers_train_nothing_but_those_of_table_4(
    item: str, teachers: dict[str, int]
) -> None:
    asked = plan("scale=paper")
    found = trained(asked, item)
    assert found == {(dataset, "ce_teacher"): n for dataset, n in teachers.items()}
    students = map(asked.settings, asked.items["oracle_table4"].cells)
    assert set(asked.items[item].cells) <= {s.teacher.cell for s in students if s.teacher}


def test_every_oracle_item_is_there_and_looks_at_its_files() -> None:
    items = {name: i for name, i in plan().items.items() if i.entry["paper"] == "oracle"}
    numbers = {item.entry["number"] for item in items.values()}
    assert numbers >= {"Table 1", "Table 3", "Table 4", "Figure 1b", "Figure 3", "Figure 4"}
    assert numbers >= {"Figure 5", "Figure 5, equal"}
    for name in ("oracle_table1", "oracle_table3"):
        assert "responses" in items[name].needs
    for name in ("oracle_figure3", "oracle_figure4"):
        assert "clusters" in items[name].needs


def test_data_sets_that_are_left_out_take_their_rows_along_and_are_named() -> None:
    whole, less = plan("scale=paper"), plan("scale=paper", "without=[cifar10]")
    assert not [cell for cell in less.cells if cell.dataset == "cifar10"]
    kept = {cell for cell in whole.cells if cell.dataset != "cifar10"}
    assert kept == less.cells.keys()
    assert "le_table2" not in less.items, "nothing is left of it"
    assert less.items["le_table6"].left_out == ("cifar10",)
    described = item_description(less, less.items["le_table6"])
    assert described["left_out"] == ["CIFAR-10"]
    assert less.items["le_table3"] == whole.items["le_table3"]
    with pytest.raises(Refused, match=r"without: unknown data set 'cifar1'; did you mean"):
        plan("without=[cifar1]")


OWN = {  # options of a method that only look like those of others
    "gamma": {"type": "number", "default": 3.0},
    "warmup": {"type": "integer", "default": 900},
    "explanation": {"type": "string", "default": "gradcam"},
    "spread": {"type": "string", "default": "wide"},
}


def declaring(monkeypatch, uses: str, **more: object) -> None:
    """Let a method's file declare more than it does."""
    declare = declarations.declaration

    def declared(package: str, name: str) -> dict:
        found = declare(package, name)
        return {**found, **more} if (package, name) == ("methods", uses) else found

    for module in (resolve, cell_checks):
        monkeypatch.setattr(module, "declaration", declared)


def test_options_mean_what_their_own_method_declares_and_nothing_else(monkeypatch) -> None:
    options = declarations.declaration("methods", "kd")["OPTIONS"] | OWN
    declaring(monkeypatch, "kd", OPTIONS=options)
    made = plan(
        "scale=paper",
        "methods.own={label: Own, uses: kd}",
        "experiments.le_table3=[{datasets: [mnist], networks: [mlp1024], methods: [own],"
        " teachers: [resnet26]}]",
    )
    (cell,) = (cell for cell in made.cells.values() if cell.method.name == "own")
    assert cell.method.needs.reinforcement is None
    assert {name: cell.method.options[name] for name in OWN} == {
        name: schema["default"] for name, schema in OWN.items()
    }


def test_only_a_method_that_declares_it_reinforces() -> None:
    cells = plan("scale=paper").cells.values()
    reinforced = {c.method.uses for c in cells if c.method.needs.reinforcement is not None}
    assert reinforced == {"oracle"}


def test_an_option_below_a_number_of_the_recipe_is_refused_above_it(monkeypatch) -> None:
    late = {"start": {"type": "integer", "below": "epochs", "default": 900}}
    declaring(monkeypatch, "dml", OPTIONS=late)
    with pytest.raises(Refused, match=r"start: found 900, expected less than the 160 epochs of "):
        plan("scale=paper")


def test_an_explanation_is_judged_only_where_something_is_explained() -> None:
    grid = "experiments.le_table3=[{datasets: [mnist], networks: [mlp1024], methods: [le_cam]}]"
    cam = "methods.le_cam={label: L, uses: le, explanation: gradcam, warmup: 1, spread: %s}"
    with pytest.raises(
        Refused, match="'gradcam' needs a network with a pooled head, and 'mlp1024'"
    ):
        plan("scale=paper", grid, cam % "similarity")
    assert plan("scale=paper", grid, cam % "uniform").items


def test_explanations_are_the_registered_ones() -> None:
    with pytest.raises(Refused, match="explanation: found 'gradcan', expected one of grad, grad_i"):
        plan("methods.le_gradcam.explanation=gradcan")


def test_methods_that_need_whole_batches_are_refused_to_processes_that_share_them(
    monkeypatch,
) -> None:
    declaring(monkeypatch, "sad", WHOLE_BATCH=True)
    assert plan("scale=paper").items
    assert plan("scale=paper", "engine.processes=2", "without=[imagenet]").items, (
        "several processes share a cell only on streamed pictures"
    )
    with pytest.raises(Refused, match="compares the images of a whole batch, and 2 processes"):
        plan("scale=paper", "engine.processes=2")


def test_a_change_of_one_entry_changes_no_other() -> None:
    """YAML's aliases are copied: whatever the file shares, a setting belongs to its entry alone."""
    before, after = plan(), plan("methods.le_gradcam.warmup.digits=3")
    changed = {
        cell.method for cell, s in before.cells.items() if after.cells[cell].method != s.method
    }
    assert changed == {"le_gradcam"}


def test_the_same_change_is_the_same_however_it_is_written(tmp_path: Path) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("seeds: [0, 1.0]\nrecipes: { r_res: { epochs: 7.0, lr: 1e-1 } }\n")
    values = {"seeds": [0, 1], "recipes": {"r_res": {"epochs": 7, "lr": 0.1}}}
    ways = [
        conf.load(CONFIG, ["seeds=[0,1]", "recipes.r_res.epochs=7", "recipes.r_res.lr=0.1"]),
        conf.load(CONFIG, overlays=[overlay]),
        conf.load(CONFIG, values=values),
    ]
    slices = [
        json.dumps([(str(c), s.seeds, s.slice()) for c, s in Plan(way).cells.items()])
        for way in ways
    ]
    assert slices[0] == slices[1] == slices[2]


def test_a_fault_in_an_overlay_is_reported_as_the_overlays(tmp_path: Path) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("recipes:\n  r_res:\n    lr: fast\n")
    with pytest.raises(Refused, match=r"mine\.yaml: recipes\.r_res\.lr: found 'fast'"):
        conf.load(CONFIG, overlays=[overlay])
    overlay.write_text("recipes:\n  r_res:\n    lr: 1\n    lr: 2\n")
    with pytest.raises(Refused, match=r"mine\.yaml: 'lr' stands on line 3 and again on line 4"):
        conf.load(CONFIG, overlays=[overlay])
