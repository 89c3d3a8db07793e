"""What a person sees while a cell trains."""

import io
import re

import pytest

from xkd.engine import progress
from xkd.engine.progress import Bars, Lines, Place, ProgressFile, scores, watch
from xkd.monitor import traces
from xkd.wording import duration

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


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time that `progress` sees, to be changed."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_file_beside_the_lock_tells_seeds_epochs_and_time_left(tmp_path, clock):
    path = tmp_path / "progress.json"
    lines = Lines("c", ProgressFile(path))
    lines.begin([1, 2], of=3)
    assert traces.progress(path).left is None
    clock[0] += 10
    lines.epoch(1, Place(1, 4, 0, 0, 100), RECORD, 10.0)
    found = traces.progress(path)
    assert (found.seeds, found.of, found.epochs) == ((1, 2), 3, {1: (1.0, 4)})
    assert found.left == pytest.approx(7 * 10, abs=1)  # three epochs of one seed, four of the other
    clock[0] += 10
    lines.epoch(2, Place(1, 4, 0, 0, 100), RECORD, 10.0)
    assert traces.progress(path).left == pytest.approx(6 * 10, abs=1)
    lines.close()
    assert list(tmp_path.iterdir()) == []


def test_a_seed_that_continues_is_not_credited_with_its_earlier_epochs(tmp_path, clock):
    path = tmp_path / "progress.json"
    lines = Lines("c", ProgressFile(path))
    lines.begin([0], of=1)
    clock[0] += 10
    lines.epoch(0, Place(6, 8, 0, 0, 100), RECORD, 10.0)
    assert traces.progress(path).left == pytest.approx(2 * 10, abs=1)


def test_within_a_long_epoch_the_file_tells_fractions_every_two_seconds(tmp_path, clock):
    path = tmp_path / "progress.json"
    lines = Lines("c", ProgressFile(path))
    lines.begin([0], of=1)
    lines.step(0, Place(0, 4, 1, 10, 100))
    assert traces.progress(path).epochs == {}  # not yet two seconds
    clock[0] += 5
    lines.step(0, Place(0, 4, 5, 10, 100))
    assert traces.progress(path).epochs == {0: (0.5, 4)}


def test_training_does_not_stop_for_a_progress_file_that_cannot_be_written(tmp_path, clock, capsys):
    (tmp_path / "file").touch()
    lines = Lines("c", ProgressFile(tmp_path / "file" / "progress.json"))
    lines.begin([0], of=1)
    clock[0] += 30
    lines.epoch(0, Place(4, 4, 0, 0, 100), RECORD, 10.0)
    lines.close()
    assert "epoch 4/4" in capsys.readouterr().err
