"""What a result depends on: a digest of the code really used, package versions, git commit.

Snakemake does not notice edits in imported modules, so every computing rule carries
`fingerprint(...)` in its `params`. It covers the import closure of the modules a job uses, found in
their syntax trees: formulas count, comments and docstrings do not.
"""

import ast
import hashlib
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def fingerprint(*modules: str) -> str:
    """Digest (16 hexadecimal digits) of the named `xkd` modules and all they import.

    A module that says `AFFECTS_RESULTS = False` (progress bars, locks, messages) is left out.
    """
    digest = hashlib.sha256()
    for module in sorted(closure(*modules)):
        if (meaning := _meaning(_file(module))) is not None:
            digest.update(f"{module}\0{meaning}\0".encode())
    return digest.hexdigest()[:16]


def fingerprint_of_script(path: Path) -> str:
    """Digest of a script outside the package together with the `xkd` modules it imports."""
    imported = fingerprint(*_imports_of(path))
    return hashlib.sha256(f"{_meaning(path)}\0{imported}".encode()).hexdigest()[:16]


@cache
def _meaning(path: Path) -> str | None:
    """The syntax tree without comments and docstrings; None where nothing in it affects results."""
    if _declares_no_effect(_tree(path)):
        return None
    return ast.dump(_without_docstrings(_parse(path)))  # a tree of its own: it gets pruned


def closure(*modules: str) -> set[str]:
    """The named modules, the packages around them, and every `xkd` module they import in turn."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        if "." in module:
            waiting.append(module.rpartition(".")[0])
        waiting.extend(_imports(module))
    return found


@cache
def _imports(module: str) -> frozenset[str]:
    """`xkd` modules that this one imports anywhere, also inside functions."""
    return _imports_of(_file(module))


def _imports_of(path: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(name for name in names if name.split(".")[0] == "xkd" and _exists(name))


def _file(module: str) -> Path:
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _exists(module: str) -> bool:
    return _file(module).is_file()


@cache
def _tree(path: Path) -> ast.Module:
    return _parse(path)


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def literals(module: str, class_name: str | None = None) -> dict[str, object]:
    """Upper-case constants of a module, or of a class in it, that are plain literals.

    This is how the config learns a method's options without importing torch.
    """
    body = _tree(_file(module)).body
    if class_name:
        body = next(
            node.body for node in body if isinstance(node, ast.ClassDef) and node.name == class_name
        )
    found = {}
    for node in body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and target.id.isupper() and value is not None:
            try:
                found[target.id] = ast.literal_eval(value)
            except ValueError:
                continue
    return found


def docstring(path: Path) -> str:
    """Of a Python file; empty if it has none."""
    return ast.get_docstring(_tree(path)) or ""


def _declares_no_effect(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "AFFECTS_RESULTS"
        and isinstance(node.value, ast.Constant)
        and node.value.value is False
        for node in tree.body
    )


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return tree


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide numbers."""
    found = {"python": platform.python_version()}
    for package in ("torch", "torchvision", "numpy", "scikit-learn", "safetensors", "snakemake"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def git_commit() -> str:
    """Commit of the working tree, `+changes` if it differs from it, `unknown` outside git."""
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(PACKAGE), *command],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for command in (
                ["rev-parse", "--short=12", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no"],
            )
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit + ("+changes" if changes else "")
