"""The structure of the library: imports run downwards, never in a circle, and rooms stay small."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "workflow" / "xkd"
#: From the ground up; a module imports from its own floor and from those below.
FLOORS = (
    (
        "errors",
        "fingerprint",
        "files",
        "losses",
        "perturb",
        "wording",
        "similarity",
        "contrast",
        "warm",
        "download",
        "readers",
    ),
    ("plan", "measures"),
    ("networks", "data", "search"),
    ("records", "explain", "reinforce"),
    ("evaluate", "methods", "analyses"),
    ("engine", "report"),
    ("bench", "monitor", "inspection"),
    ("verbs",),
    ("__main__",),
)
LONGEST = 300  # lines


def modules() -> dict[str, Path]:
    files = (path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*.py"))
    return {str(f.with_suffix("")).replace("/", ".").removesuffix(".__init__"): f for f in files}


MODULES = modules()


def imports(module: str) -> set[str]:
    """Modules that one imports when it runs, wherever in its text; not for annotations alone."""
    tree = ast.parse((PACKAGE.parent / MODULES[module]).read_text(encoding="utf-8"))
    skipped = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and getattr(branch.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped or not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif node.module:
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            inside = parts & MODULES.keys()
            found |= inside
            if parts - inside:
                found.add(node.module)
    return (found & MODULES.keys()) - {module}


def floor(module: str) -> int:
    wing = [*module.split("."), "__main__"][1]
    return next(number for number, wings in enumerate(FLOORS) if wing in wings)


@pytest.mark.parametrize("module", sorted(m for m in MODULES if m != "xkd"))
def test_imports_run_downwards(module: str) -> None:
    above = {one for one in imports(module) if one != "xkd" and floor(one) > floor(module)}
    assert not above, f"{module} stands on floor {floor(module)} and imports {sorted(above)}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: imports(module) for module in MODULES}
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in sorted(graph[module]):
                walk(other, (*path, module))
            done.add(module)

    for module in graph:
        walk(module, ())


def test_the_plan_and_the_monitor_import_no_torch() -> None:
    wings = [m for m in MODULES if m.split(".")[1:2] in (["plan"], ["monitor"])]
    code = f"import sys, {', '.join(sorted(wings))}; sys.exit('torch' in sys.modules)"
    environment = {"PYTHONPATH": str(PACKAGE.parent), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.name)
def test_files_are_short_enough_to_be_read_at_a_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_library_rules_and_schemas_name_no_paper() -> None:
    names = [path.parent.name for path in PACKAGE.parent.glob("papers/*/paper.yaml")]
    places = [
        *PACKAGE.rglob("*.py"),
        *PACKAGE.parent.glob("rules/*"),
        *PACKAGE.parent.glob("schemas/*"),
    ]
    places += [*PACKAGE.parent.glob("scripts/*.py"), ROOT / "Snakefile"]
    for path in places:
        text = path.read_text(encoding="utf-8")
        for name in names:
            for item in ("table", "figure"):
                assert f"{name}_{item}" not in text, f"{path} names an item of {name}"
            if not (PACKAGE / "methods" / f"{name}.py").exists():  # nor a method, by that name
                assert f'"{name}"' not in text, f"{path} names the paper {name}"
