"""What a method computes, as its file and the formulas that it uses say in their docstrings."""

import ast
from collections.abc import Iterator
from pathlib import Path

from xkd.fingerprint import PACKAGE

FORMULAS = ("xkd.losses", "xkd.similarity", "xkd.reinforce")


def equation(uses: str) -> list[str]:
    """Lines: the docstrings of a method's module and class, then the formulas that it imports."""
    path = PACKAGE / "methods" / f"{uses}.py"
    tree = _tree(path)
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Method"]
    lines = [f"workflow/xkd/methods/{uses}.py"]
    for node in (tree, *classes):
        if text := ast.get_docstring(node):
            lines += [*text.splitlines(), ""]
    for module, name in _used(tree):
        for formula in _formulas(module, name):
            lines.append(f"{name}: {formula}")
    return [line.rstrip() for line in lines if line or lines[-1] is not line]


def _used(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Functions that a module imports from the formulas, in its order."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module in FORMULAS:
            for alias in node.names:
                yield node.module, alias.name


def _formulas(module: str, name: str) -> Iterator[str]:
    """Indented lines with an equals sign, in a function's docstring."""
    tree = _tree(PACKAGE / f"{module.removeprefix('xkd.')}.py")
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            for line in (ast.get_docstring(node) or "").partition("Args:")[0].splitlines():
                if line.startswith("    ") and "=" in line:
                    yield " ".join(line.split())


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
