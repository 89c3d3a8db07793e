"""`python -m xkd` at its edges: what it is given, and who reads what it prints."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from xkd import __main__ as xkd
from xkd import __version__
from xkd.monitor.status import expected
from xkd.plan import config
from xkd.plan.grid import Plan
from xkd.verbs import VERBS

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess:
    environment = {"PYTHONPATH": str(ROOT / "workflow"), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "xkd", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, **options
    )


def test_a_reader_who_has_had_enough_sees_no_traceback() -> None:
    """As `xkd check | head -1` does."""
    reader, writer = os.pipe()
    os.close(reader)
    done = run("check", stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "seeds=[0"], "xkd check: 'seeds=[0': not valid YAML: "),
        (["--set", "seeds"], "xkd check: 'seeds': expected key=value, for example scale=paper"),
        (["--config", "nowhere.yaml"], "xkd check: nowhere.yaml is missing; run from the project"),
        (["--config", "nowhere.json"], "xkd check: nowhere.json is missing; "),
        (["--config", "."], "xkd check: . cannot be read: "),
    ],
)
def test_a_config_that_cannot_be_read_is_one_line(arguments, message, capsys) -> None:
    assert xkd.main(["check", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith(message)
    assert told.count("\n") == 1


def test_names_that_a_shell_would_run_are_only_words(tmp_path, capsys) -> None:
    for verb, subject in (
        ("prepare", "x; rm -rf ~"),
        ("train", "x; rm -rf ~/resnet8/ce"),
        ("train", "$(touch a)/b/c"),
        ("train", "../../etc/passwd"),
    ):
        assert xkd.main([verb, subject, "--results", str(tmp_path / "results")]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_every_verb_explains_its_arguments_and_gives_an_example_that_it_understands(capsys) -> None:
    for verb in VERBS:
        with pytest.raises(SystemExit) as ended:
            xkd.main([verb.name, "--help"])
        assert ended.value.code == 0
        told = capsys.readouterr().out
        assert f"example: xkd {verb.name}" in " ".join(told.split())
        parsed = xkd.parser().parse_args(shlex.split(verb.example))
        assert parsed.verb == verb.name
        if verb.subject:
            assert len(verb.subject.partition(": ")[2]) > 5, verb.name


ORDER = ("check", "cells", "train", "inspect", "bench")


def test_verbs_stand_in_the_order_of_use(capsys) -> None:
    assert xkd.main([]) == 2
    told = capsys.readouterr().out
    places = [
        told.index(f"\n    {verb} ") for verb in ("check", "cells", "train", "inspect", "bench")
    ]
    assert places == sorted(places)


def test_a_misspelt_verb_is_answered_with_the_nearest(capsys) -> None:
    assert xkd.main(["chek"]) == 2
    assert capsys.readouterr().err.startswith("xkd: unknown verb 'chek'; did you mean 'check'?")


def test_version_and_commit_are_told(capsys) -> None:
    with pytest.raises(SystemExit):
        xkd.main(["--version"])
    assert capsys.readouterr().out.startswith(f"xkd {__version__} (")


def test_cells_are_listed_by_a_part_or_a_pattern(capsys, tmp_path) -> None:
    where = ["--config", str(ROOT / "config.yaml"), "--results", str(tmp_path)]
    assert xkd.main(["cells", "mlp256/label_smoothing", *where]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "digits/mlp256/label_smoothing" in [line.split()[0] for line in lines]
    assert all("0 of 5 there" in line for line in lines)
    assert not any("/fit" in line for line in lines)
    assert xkd.main(["cells", "*/ce", *where]) == 0
    assert all(line.split()[0].endswith("/ce") for line in capsys.readouterr().out.splitlines())
    assert xkd.main(["cells", "mlp256/label_smoothing", "--trials", *where]) == 0
    assert len(capsys.readouterr().out.splitlines()) > len(lines)
    assert xkd.main(["cells", "half_resnet14/le_gradcm", *where]) == 2
    assert "did you mean 'half_resnet14/le_gradcam'?" in capsys.readouterr().err


def test_overlays_are_laid_over_the_config_as_snakemake_does(capsys, tmp_path) -> None:
    overlay, more = tmp_path / "overlay.yaml", tmp_path / "more.yaml"
    overlay.write_text("seeds: [0]\nrecipes: { r_mlp: { lr: 0.5 } }\n")
    more.write_text("recipes: { r_mlp: { lr: 0.25 } }\n")
    where = ["--config", str(ROOT / "config.yaml"), "--configfile", str(overlay), str(more)]
    assert xkd.main(["trace", "recipes.r_mlp.lr", *where]) == 0
    assert "0.25" in capsys.readouterr().out
    assert xkd.main(["trace", "recipes.r_mlp.lr", *where, "--set", "recipes.r_mlp.lr=0.125"]) == 0
    assert "0.125" in capsys.readouterr().out
    assert xkd.main(["check", "--configfile", str(tmp_path / "nowhere.yaml")]) == 2
    assert "nowhere.yaml is missing" in capsys.readouterr().err


def test_check_counts_what_all_needs_and_prints_hours(capsys, tmp_path) -> None:
    where = ["--config", str(ROOT / "config.yaml"), "--results", str(tmp_path)]
    assert xkd.main(["check", *where]) == 0
    lines = capsys.readouterr().out.splitlines()
    plan = Plan(config.load(ROOT / "config.yaml"))
    wanted = {run for i in plan.items.values() if not i.optional for run in plan.trainings(i)}
    jobs = len(expected(plan, plan.layout(tmp_path))) + 1
    assert f"{len(wanted)} runs, {jobs} jobs and about " in lines[0]
    table = next(line for line in lines if line.split()[:1] == ["le_table2"])
    assert table.endswith(" core h")
    counted = [line for line in lines if line.split()[:1] and line.split()[0] in plan.items]
    fresh = sum(
        int(one) for line in counted if "optional" not in line for one in line.split()[-4:-3]
    )
    assert len(counted) == len(plan.items)
    assert fresh <= len(wanted)


def test_at_the_scale_of_the_papers_hours_are_those_of_a_gpu(capsys, tmp_path) -> None:
    where = ["--config", str(ROOT / "config.yaml"), "--results", str(tmp_path)]
    assert xkd.main(["check", "--set", "scale=paper", *where]) == 0
    assert " GPU h" in capsys.readouterr().out.splitlines()[0]


def test_commands_that_compute_say_what_came_out_and_where(capsys, tmp_path) -> None:
    where = ["--config", str(ROOT / "config.yaml"), "--results", str(tmp_path)]
    assert xkd.main(["train", "digits/mlp256/ce", *where]) == 2
    assert "run `xkd prepare digits` first" in capsys.readouterr().err
    assert xkd.main(["prepare", "digits", *where]) == 0
    told = capsys.readouterr().out
    assert told.startswith("digits: 1,297 train, 200 holdout, 500 test images of 10 classes  ")
    assert str(tmp_path / "demo" / "data" / "digits") in told
    small = ["--set", "seeds=[0, 1]", "--set", "recipes.r_mlp.epochs=2"]
    assert xkd.main(["train", "digits/mlp256/ce", *where, *small]) == 0
    told = capsys.readouterr().out.strip()
    assert told.startswith("digits/mlp256/ce: test ")
    assert "± " in told
    assert told.endswith(f"(seeds 0-1)  {tmp_path / 'demo' / 'runs' / 'digits' / 'mlp256' / 'ce'}")
    assert xkd.main(["analyse", "explanations", "digits/mlp256/le_grad/seed0", *where]) == 2
    assert "run `xkd train digits/mlp256/le_grad` first" in capsys.readouterr().err
