"""`python -m xkd` at its edges: what it is given, and who reads what it prints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xkd import __main__ as xkd

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
