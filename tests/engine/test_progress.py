"""What a person sees while a cell trains."""

import io
import re

import pytest

from xkd.engine import progress
from xkd.engine.progress import Bars, Lines, Place, duration, scores, watch

RECORD = {"epoch": 3, "loss": 1.2344, "train_top1": 0.5, "test_top1": 0.25}


def epochs(lines: Lines, count: int) -> None:
    for epoch in range(1, count + 1):
        lines.epoch(0, Place(epoch, count, 0, 0, 1000), RECORD | {"epoch": epoch}, 0.5)


def test_a_short_run_leaves_one_line_in_the_log(capsys):
    epochs(Lines("digits/resnet8/ce"), 16)
    assert capsys.readouterr().err == (
        "digits/resnet8/ce: seed 0  epoch 16/16  loss 1.234  train 0.500  test 0.250  "
        "2000 images/s, 0 s left\n"
    )


def test_slow_epochs_have_a_line_each_with_the_time_left(capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0)
    epochs(Lines("c"), 3)
    lines = capsys.readouterr().err.splitlines()
    assert [re.search(r"epoch (\d)/3", line)[1] for line in lines] == ["1", "2", "3"]
    assert lines[0].endswith("1 s left")


def test_a_log_gets_lines_and_a_terminal_bars(monkeypatch):
    assert isinstance(watch("c"), Lines)
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    bars = watch("c")
    bars.step(0, Place(0, 4, 5, 10, 320))
    bars.epoch(1, Place(1, 4, 0, 0, 640), RECORD, 2.0)
    bars.say("something [odd]")
    bars.close()
    assert isinstance(bars, Bars)
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "c: something [odd]" in seen
    assert "epoch 1/4 step 5/10" in seen
    assert "320/s loss 1.234" in seen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_scores_name_the_split_they_belong_to():
    assert scores({"loss": 0.5, "holdout_top1": 0.75}) == "loss 0.500  holdout 0.750"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (300, "5 min"), (9000, "2.5 h")]
)
def test_durations_are_said_in_one_unit(seconds, text):
    assert duration(seconds) == text
