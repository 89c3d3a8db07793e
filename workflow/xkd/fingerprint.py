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
from itertools import groupby
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent


def fingerprint(*modules: str) -> str:
    """Digest (16 hexadecimal digits) of the named `xkd` modules and all they import.

    A module that says `AFFECTS_RESULTS = False` (progress bars, locks, messages) is left out. The
    digest does not depend on the Python that computes it.
    """
    return _digest("".join(f"{name}\0{code}\0" for name, code in by_module(*modules).items()))


def by_module(*modules: str) -> dict[str, str]:
    """Digest of each module that `fingerprint` covers, by name, in alphabetical order.

    Two fingerprints differ exactly if these do, so they tell where two code versions part.
    """
    meanings = {module: _meaning(_file(module)) for module in sorted(closure(*modules))}
    return {module: _digest(text) for module, text in meanings.items() if text is not None}


def fingerprint_of_script(path: Path) -> str:
    """Digest of a script outside the package together with the `xkd` modules it imports."""
    return _digest(f"{_meaning(path)}\0{fingerprint(*_imports_of(path))}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _meaning(path: Path) -> str | None:
    """The syntax tree without comments and docstrings; None where nothing in it affects results."""
    if _declares_no_effect(_tree(path)):
        return None
    return canonical(_without_docstrings(_parse(path)))  # a tree of its own: it gets pruned


#: Say nothing that the rest of the tree does not: where a name stands, comments, a `u` before text.
REDUNDANT = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


def canonical(node: Any) -> str:
    """Text of a syntax tree, equal for every Python that can parse the code.

    `ast.dump` will not do: Python 3.12 gave functions and classes a field for type parameters, 3.13
    leaves empty fields out, and 3.12 splits the text of f-strings otherwise than 3.11. So fields
    that are empty are left out, and neighbouring pieces of an f-string are joined.
    """
    if isinstance(node, list):
        return f"[{','.join(map(canonical, node))}]"
    if not isinstance(node, ast.AST):
        return ascii(node)  # `repr` escapes what this Python's edition of Unicode cannot print
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.JoinedStr):
        fields["values"] = _joined(node.values)
    told = (
        f"{name}={canonical(value)}"
        for name, value in sorted(fields.items())
        if name not in REDUNDANT
        and (isinstance(node, ast.Constant) or (value is not None and value != []))
    )
    return f"{type(node).__name__}({','.join(told)})"


def _joined(pieces: list[ast.expr]) -> list[ast.expr]:
    """Pieces of an f-string, no two of plain text in a row and none of them empty."""
    joined: list[ast.expr] = []
    for plain, group in groupby(pieces, lambda piece: isinstance(piece, ast.Constant)):
        some = list(group)
        if plain:
            text = "".join(piece.value for piece in some)
            some = [ast.Constant(text)] if text else []
        joined += some
    return joined


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
    found = {}
    for node in _body(module, class_name):
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and target.id.isupper() and value is not None:
            try:
                found[target.id] = ast.literal_eval(value)
            except ValueError:
                continue
    return found


def opaque(module: str, class_name: str | None = None) -> list[str]:
    """Upper-case constants of a module, or of a class in it, that are no plain literals."""
    names = {
        target.id
        for node in _body(module, class_name)
        for target in (node.targets if isinstance(node, ast.Assign) else [_target(node)])
        if isinstance(target, ast.Name) and target.id.isupper()
    }
    return sorted(names - literals(module, class_name).keys())


def classes(module: str) -> list[str]:
    """Names of the classes that a module defines."""
    return [node.name for node in _tree(_file(module)).body if isinstance(node, ast.ClassDef)]


def _body(module: str, class_name: str | None) -> list[ast.stmt]:
    """Statements of a module, or of a class in it; none if there is no such class."""
    body = _tree(_file(module)).body
    if class_name is None:
        return body
    found = [n.body for n in body if isinstance(n, ast.ClassDef) and n.name == class_name]
    return found[0] if found else []


def _target(node: ast.stmt) -> ast.expr | None:
    """What an annotated assignment gives a value to."""
    return node.target if isinstance(node, ast.AnnAssign) and node.value else None


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
    """Commit of the project's working tree, with `+changes` if files differ from it.

    `unknown` where the project is no repository of its own: one that merely surrounds it, as when
    an archive was unpacked inside another project, has commits that say nothing of this code.
    """
    root = PACKAGE.parent.parent
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return "unknown"
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit + ("+changes" if changes else "")


def _git(folder: Path, *command: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *command],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    ).stdout.strip()
