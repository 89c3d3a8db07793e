"""Fingerprints: formulas count, comments do not, and nothing that is used is forgotten."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xkd import fingerprint

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "workflow" / "xkd"


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


def test_digests_of_modules_differ_where_their_code_does(package: Path) -> None:
    before = fingerprint.by_module("xkd.a")
    (package / "b.py").write_text("def f(x):\n    return x + 2\n")
    forget()
    after = fingerprint.by_module("xkd.a")
    assert list(after) == ["xkd", "xkd.a", "xkd.b"]
    assert [name for name in after if after[name] != before[name]] == ["xkd.b"]


def test_a_module_that_affects_nothing_has_no_digest(package: Path) -> None:
    (package / "b.py").write_text("AFFECTS_RESULTS = False\n\ndef f(x):\n    return x + 1\n")
    forget()
    assert list(fingerprint.by_module("xkd.a")) == ["xkd", "xkd.a"]


#: Whatever Pythons have told differently: type parameters, f-strings, empty fields, odd characters.
ODD = """
class A(B, metaclass=C):
    x: int
    async def f(self, /, a, *b: str, c=None, **d) -> None:
        return f"{a!r:>{c}}" f"two" "three {b}" f"{d:%Y-%m}" f"" f"{{}}" u"four" f"{a=}"
    def g(self): ...
try:
    z = {**x, "\N{GREEK SMALL LETTER GAMMA}": -1.5e-07j, None: b"\\0", "\U0001fae8": ...}
except* (E, F) as e:
    del z[1:2, ::-1]
match z:
    case {"k": [1, *rest], **more} if rest: lambda: (yield)
"""
SUPPORTED = ("3.11", "3.12", "3.13")


def interpreter(release: str) -> str | None:
    """A Python of this release: this one, one that pyenv made, or one that is found by its name."""
    if sys.version.startswith(f"{release}."):
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    made = sorted(pyenv.glob(f"versions/{release}.*/bin/python"))
    return str(made[-1]) if made else shutil.which(f"python{release}")


@pytest.mark.parametrize("release", SUPPORTED)
def test_fingerprint_is_the_same_for_every_supported_python(release: str, tmp_path: Path) -> None:
    if (python := interpreter(release)) is None:
        pytest.skip(f"no Python {release} on this machine")
    (odd := tmp_path / "odd.py").write_text(ODD, encoding="utf-8")
    found = sorted(path for path in PACKAGE.rglob("*.py") if path.stem != "__init__")
    modules = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in found]
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); "
        "from xkd.fingerprint import fingerprint, fingerprint_of_script as script; "
        "print(fingerprint(*sys.argv[3:]), script(Path(sys.argv[2])))"
    )
    command = [python, "-B", "-I", "-c", code, str(ROOT / "workflow"), str(odd), *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    forget()
    ours = fingerprint.fingerprint(*modules), fingerprint.fingerprint_of_script(odd)
    assert done.stdout.split() == list(ours)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 1.0"),
        ("x = None", "x = ()"),
        ("return_ = {None: 1}", "return_ = {**1}"),
        ("def f(a, b=1): pass", "def f(a=1, b=1): pass"),
        ("def f(*, a, b=1): pass", "def f(*, a=1, b): pass"),
        ("x = f'{a}b'", "x = f'{a}{b}'"),
        ("x = f'{a!r}'", "x = f'{a!s}'"),
        ("x = 'a', 'b'", "x = 'a,b'"),
        ("async def f(): await g()", "def f(): g()"),
        ("from a import b", "from .a import b"),
    ],
)
def test_code_that_means_something_else_has_another_text(one: str, other: str) -> None:
    assert fingerprint.canonical(ast.parse(one)) != fingerprint.canonical(ast.parse(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [("x = 'ab'", "x = 'a' u'b'"), ("x = f'a{b}cd'", "x = f'a' f'{b}c' 'd'"), ("x=(1)", "x = 1 #")],
)
def test_code_that_means_the_same_has_the_same_text(one: str, other: str) -> None:
    assert fingerprint.canonical(ast.parse(one)) == fingerprint.canonical(ast.parse(other))


def git(folder: Path, *command: str) -> str:
    settings = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    command = ("git", *settings, "-C", str(folder), *command)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed project whose library is taken for ours."""
    project = tmp_path / "project"
    (project / "workflow" / "xkd").mkdir(parents=True)
    (project / "workflow" / "xkd" / "a.py").write_text("X = 1\n")
    monkeypatch.setattr(fingerprint, "PACKAGE", project / "workflow" / "xkd")
    git(tmp_path, "init", "-q", str(project))
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "First")
    return project


def test_commit_is_the_projects_and_says_if_files_differ_from_it(repository: Path) -> None:
    commit = git(repository, "rev-parse", "--short=12", "HEAD")
    assert fingerprint.git_commit() == commit
    (repository / "workflow" / "xkd" / "a.py").write_text("X = 2\n")
    assert fingerprint.git_commit() == f"{commit}+changes"


def test_commit_of_a_surrounding_repository_is_not_taken_for_ours(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = repository / "third_party" / "project" / "workflow" / "xkd"
    inner.mkdir(parents=True)
    monkeypatch.setattr(fingerprint, "PACKAGE", inner)
    assert fingerprint.git_commit() == "unknown"


def test_config_and_plan_import_no_torch() -> None:
    code = "import sys, xkd.plan.jobs; sys.exit('torch' in sys.modules)"
    environment = {"PYTHONPATH": str(ROOT / "workflow"), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
