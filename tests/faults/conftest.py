"""One undisturbed run of the pipeline in miniature, and copies of it to be spoilt."""

import shutil
from collections.abc import Callable
from pathlib import Path

import fake_cells
import pytest
from stages import STAGES, content

from xkd.plan.runs import Layout


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("faults")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """All stages, one after another."""
    layout = Layout(tmp_path_factory.mktemp("undisturbed"))
    fake_cells.prepared(layout)
    for stage in STAGES.values():
        stage.run(layout)
    return layout


@pytest.fixture
def until(undisturbed: Layout, tmp_path: Path) -> Callable[..., Layout]:
    """A place where all was done but a stage and what follows it."""

    def make(stage: str, root: Path | None = None) -> Layout:
        root = root or tmp_path / "Ergebnisse – é"
        shutil.copytree(undisturbed.root, root, dirs_exist_ok=True)
        names = list(STAGES)
        for name in names[names.index(stage) :]:
            for folder in STAGES[name].folders:
                shutil.rmtree(root / folder)
        return Layout(root)

    return make


@pytest.fixture
def whole(undisturbed: Layout, tmp_path: Path) -> Layout:
    """A place where all was done."""
    shutil.copytree(undisturbed.root, tmp_path / "whole")
    return Layout(tmp_path / "whole")


@pytest.fixture
def expect_the_same(undisturbed: Layout) -> Callable[[Layout], None]:
    """That the remaining stages lead to the undisturbed run's files, byte for byte."""

    def expect(layout: Layout, after: str | None = None) -> None:
        names = list(STAGES)
        for name in names[names.index(after) + 1 :] if after else ():
            STAGES[name].run(layout)
        found, known = content(layout), content(undisturbed)
        assert found.keys() == known.keys()
        assert [name for name in known if found[name] != known[name]] == []

    return expect
