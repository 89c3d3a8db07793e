"""`auto` asks the machine whether seeds side by side gain anything."""

import pytest
import yaml
from fake_cells import cell, files, prepared, train

from xkd.engine.backends import trial
from xkd.plan.runs import Layout, Run


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path)
    prepared(layout)
    return layout


def card(settings, layout) -> dict:
    text = (layout.run(Run(settings.cell, 0)) / "run.yaml").read_text()
    return yaml.safe_load(text)["engine"]


def trained(layout, **options) -> dict:
    settings = cell(seeds=(0, 1))
    train(settings, layout, **{"backend": "auto", "threads": 2, **options})
    return card(settings, layout)


@pytest.mark.parametrize(("gain", "backend"), [(0.9, "loop"), (1.09, "loop"), (1.8, "procs")])
def test_a_long_job_goes_side_by_side_only_where_that_gains(layout, monkeypatch, gain, backend):
    monkeypatch.setattr(trial, "FROM_STEPS", 32)  # 2 seeds x 4 epochs x 4 steps
    monkeypatch.setattr(trial, "gain", lambda job, at_once: gain)
    found = trained(layout)
    assert found["backend"] == backend
    assert f"2 at once take {gain:.2f} times the steps of one" in found["why"]


@pytest.mark.parametrize(("least", "options"), [(33, {}), (1, {"backend": "procs"})])
def test_short_jobs_and_chosen_backends_are_not_tried(layout, monkeypatch, least, options):
    monkeypatch.setattr(trial, "FROM_STEPS", least)
    monkeypatch.setattr(trial, "gain", lambda job, at_once: pytest.fail("tried"))
    assert trained(layout, **options)["backend"] == "procs"


def test_a_trial_measures_and_leaves_the_training_as_it_is(layout, monkeypatch):
    settings = cell("le", (0, 1), warmup=1)
    train(settings, layout, backend="loop")
    expected = files(settings, layout, 1)
    for folder in settings.seeds:
        (layout.run(Run(settings.cell, folder)) / "run.yaml").unlink()
    gains = []
    measure = trial.gain
    monkeypatch.setattr(trial, "FROM_STEPS", 1)
    monkeypatch.setattr(trial, "SECONDS", 0.2)
    monkeypatch.setattr(trial, "gain", lambda *given: gains.append(measure(*given)) or gains[-1])
    train(settings, layout, backend="auto", threads=2)
    assert gains[0] > 0
    assert files(settings, layout, 1) == expected


def test_a_trial_that_fails_leaves_the_choice_and_the_message_to_the_job(layout, monkeypatch):
    monkeypatch.setattr(trial, "FROM_STEPS", 1)
    monkeypatch.setattr(trial, "_try", lambda *_: None)
    assert trained(layout) == card(cell(), layout)
    assert card(cell(), layout)["why"] == "2 seeds on 2 threads"
