"""Fingerprints: formulas count, comments do not, and nothing that is used is forgotten."""

import subprocess
import sys
from pathlib import Path

import pytest

from xkd import fingerprint

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small package in the library's place: a imports b, c stands alone."""
    folder = tmp_path / "xkd"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Package."""\n')
    (folder / "a.py").write_text("from xkd.b import f\n\nX = f(1)\n")
    (folder / "b.py").write_text('def f(x):\n    """Doc."""\n    return x + 1  # why\n')
    (folder / "c.py").write_text("Y = 2\n")
    monkeypatch.setattr(fingerprint, "PACKAGE", folder)
    forget()
    yield folder
    forget()


def forget() -> None:
    """Files are read once per process; tests that edit them start over."""
    for remembered in (fingerprint._imports, fingerprint._tree, fingerprint._meaning):
        remembered.cache_clear()


def after(package: Path, name: str, text: str) -> bool:
    """Whether the fingerprint of `xkd.a` changes when a file gets this text."""
    before = fingerprint.fingerprint("xkd.a")
    (package / name).write_text(text)
    forget()
    return fingerprint.fingerprint("xkd.a") != before


def test_comment_docstring_and_layout_do_not_count(package: Path) -> None:
    assert not after(package, "b.py", 'def f(x):\n    """Other words."""\n\n    return (x + 1)\n')


def test_a_formula_in_an_imported_module_counts(package: Path) -> None:
    assert after(package, "b.py", "def f(x):\n    return x + 2\n")


def test_a_module_that_is_not_imported_does_not_count(package: Path) -> None:
    assert not after(package, "c.py", "Y = 3\n")


def test_a_module_that_says_it_affects_nothing_does_not_count(package: Path) -> None:
    (package / "b.py").write_text("AFFECTS_RESULTS = False\n\ndef f(x):\n    return x + 1\n")
    forget()
    assert not after(package, "b.py", "AFFECTS_RESULTS = False\n\ndef f(x):\n    return x + 5\n")


@pytest.mark.parametrize(
    "module", ["xkd.engine.cell", "xkd.engine.table", "xkd.analyses.responses", "xkd.data.prepare"]
)
def test_closure_holds_everything_that_is_really_imported(module: str) -> None:
    code = f"import sys, {module}; print(*[m for m in sys.modules if m.split('.')[0] == 'xkd'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT / "workflow"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) <= fingerprint.closure(module)


def test_config_and_plan_import_no_torch() -> None:
    code = "import sys, xkd.plan.jobs; sys.exit('torch' in sys.modules)"
    environment = {"PYTHONPATH": str(ROOT / "workflow"), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
