"""A disk that is full, or cannot be written to, in every stage that writes."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from disks import full, read_only, small_disk
from stages import STAGES, content

from xkd.errors import Refused
from xkd.files import atomic
from xkd.plan.runs import Layout

EARLIER = "earlier results are untouched"


def refused(stage: str, layout: Layout) -> str:
    """What a stage says that cannot do its work: one line, and no word of Python."""
    with pytest.raises(Refused) as caught:
        STAGES[stage].run(layout)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("spare", [0, 4096], ids="{} bytes left".format)
@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk(
    stage: str, spare: int, until: Callable, expect_the_same: Callable, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        layout = until(stage, disk / "results")
        before = content(layout)
        with full(disk, spare):
            message = refused(stage, layout)
        assert "no space left on the device; free some and run the same command" in message
        assert before.items() <= content(layout).items(), "nothing that was finished is lost"
        assert not [path for path in layout.root.rglob("*.part")], "no litter"
        STAGES[stage].run(layout)
        expect_the_same(layout, after=stage)


def test_a_disk_that_fills_up_at_any_moment_of_training(
    until: Callable, expect_the_same: Callable, tmp_path: Path
) -> None:
    stopped = 0
    with small_disk(tmp_path / "disk") as disk:
        layout = until("train", disk / "results")
        for spare in range(8 << 10, 120 << 10, 8 << 10):
            with full(disk, spare), contextlib.suppress(Refused):
                STAGES["train"].run(layout)
                break
            stopped += 1
        assert 3 <= stopped < 14, "some attempts stopped at a checkpoint, some at an output"
        expect_the_same(layout, after="train")


@pytest.mark.parametrize("stage", STAGES)
def test_results_that_are_read_only(stage: str, until: Callable, expect_the_same: Callable) -> None:
    layout = until(stage)
    before = content(layout)
    with read_only(layout.root):
        message = refused(stage, layout)
    assert "the file system is read-only; choose a writable results folder" in message
    assert content(layout) == before
    STAGES[stage].run(layout)
    expect_the_same(layout, after=stage)


def test_a_folder_that_vanishes_while_a_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "mount" / "file"
    atomic_file = atomic(path)
    atomic_file.__enter__().write_text("half")
    path.parent.rename(tmp_path / "gone")
    with pytest.raises(Refused, match="its folder vanished meanwhile"):
        atomic_file.__exit__(None, None, None)


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(Refused, match="a file, not a folder"), atomic(tmp_path / "results" / "a"):
        pass


def test_a_folder_where_a_file_should_be(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(Refused, match="a folder is in its place"), atomic(tmp_path / "a") as part:
        part.write_text("")
