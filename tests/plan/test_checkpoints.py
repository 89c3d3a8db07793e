"""Mistakes in entries of weights from elsewhere are one line each."""

from pathlib import Path

import pytest
from fake_checkpoints import checkpoint, refused

MISTAKES = {
    "percent": ({"expected_top1": 69.26}, "expected_top1: found 69.26, expected at most 1"),
    "no accuracy": ({"expected_top1": None}, "expected_top1: found None, expected a number"),
    "no digest": ({"url": "https://example.org/a"}, "'sha256' is a dependency of 'url'"),
    "digest in capitals": ({"sha256": "ABCDEF01"}, "expected the first 8 to 64 digits"),
}


@pytest.mark.parametrize(("change", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_in_an_entry_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, change: dict, message: str
) -> None:
    known = checkpoint("none.pth", 0.5)
    known["released"]["files"]["digits"]["half_resnet8"].update(change)
    assert message in refused(tmp_path, capsys, "check", checkpoints=known)


def test_names_that_do_not_fit_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    known = checkpoint("none.pth", 0.5)
    files = known["released"]["files"]
    other = {"released": {**known["released"], "keys": "akamster"}}
    assert "keys: found 'akamster'" in refused(tmp_path, capsys, "check", checkpoints=other)
    other = {"released": {**known["released"], "files": {"digits": {"resnet8": {}}}}}
    assert "'file' is missing" in refused(tmp_path, capsys, "check", checkpoints=other)
    entry = files["digits"]["half_resnet8"]
    other = {"released": {**known["released"], "files": {"digits": {"resnet8": entry}}}}
    text = refused(tmp_path, capsys, "check", checkpoints=other)
    assert "unknown file 'digits/half_resnet8'" in text
    assert "known: digits/resnet8" in text
    other = {"released": {**known["released"], "files": {"digts": {"resnet8": entry}}}}
    assert "did you mean 'digits'?" in refused(tmp_path, capsys, "check", checkpoints=other)
    assert "a method has this name" in refused(
        tmp_path, capsys, "check", checkpoints={**known, "kd": known["released"]}
    )


def test_one_file_is_one_seed_and_no_teacher_of_searches(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    known = checkpoint("none.pth", 0.5)
    grid = {"datasets": ["cifar100"], "networks": ["resnet20"], "methods": ["released"]}
    text = refused(
        tmp_path, capsys, "check", checkpoints=known,
        **{"experiments.oracle_teacher20": [{**grid, "seeds": [0, 1]}]},
    )  # fmt: skip
    assert "found seeds 0, 1 of digits/half_resnet8/released, which is one file" in text
    grid |= {"methods": ["ban"], "teachers": ["oracle20"], "seeds": [0]}
    text = refused(
        tmp_path, capsys, "check", checkpoints=known,
        **{"experiments.oracle_teacher20": [grid]},
    )  # fmt: skip
    assert "a search needs a teacher that has not seen the hold-out images" in text
