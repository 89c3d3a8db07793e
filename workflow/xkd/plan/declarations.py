"""What modules declare about themselves in literals, read from their syntax trees without import.

The config learns a method's options, a network's, an explanation's and an analysis's this way, and
Snakemake starts without torch.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from xkd.errors import Refused, unknown
from xkd.fingerprint import PACKAGE, classes, docstring, literals, opaque

__all__ = ["PACKAGE", "docstring", "literals"]

#: Kind of module -> what a declaration holds where the module says nothing.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "methods": {
        "OPTIONS": {},
        "WEIGHTS": {},
        "TEACHER": (),
        "REINFORCES": False,
        "STRONG_VIEW": False,
        "WHOLE_BATCH": False,
        "NEEDS": (),
        "PASSES": 1,
        "FAMILY": None,
        "NETWORK": {},
    },
    "networks": {"OPTIONS": {}, "POOLED_HEAD": False},
    "explain": {
        "LABEL": "",
        "OPTIONS": {},
        "NEEDS": (),
        "RECTIFIED": False,
        "ONE_CLASS": False,
        "SUBJECT": (),
        "CONTROL": False,
        "MANY": False,
    },
    "analyses": {"READS": (), "OUTPUTS": {}, "OPTIONS": {}, "COST": {}},
    "data/sources": {},
}
NOUNS = {
    "methods": "method file",
    "networks": "network family",
    "explain": "explanation",
    "analyses": "analysis",
    "data/sources": "source",
}


@cache
def known_modules(package: str) -> tuple[str, ...]:
    """Files of `xkd/<package>/` that a config may name: all but `base` and `_...`."""
    files = (PACKAGE / package).glob("*.py")
    return tuple(sorted(f.stem for f in files if f.stem != "base" and f.stem[0] != "_"))


@cache
def declaration(package: str, name: str) -> Mapping[str, Any]:
    """Upper-case literals of `xkd/<package>/<name>.py` (of its class Method, if it is a method).

    Raises: Refused for a name without a file.
    """
    if name not in known_modules(package):
        raise Refused(unknown(NOUNS[package], name, known_modules(package)))
    module = f"xkd.{package.replace('/', '.')}.{name}"
    _check_contract(package, name, module)
    found = literals(module, "Method" if package == "methods" else None)
    declared = {**DEFAULTS[package], **found}
    for schema in declared.get("OPTIONS", {}).values():
        if "registry" in schema:
            schema["enum"] = sorted(registered(schema["registry"]))
        if "files" in schema:
            schema["items"]["enum"] = list(known_modules(schema["files"]))
    return declared


def _check_contract(package: str, name: str, module: str) -> None:
    """Refuse a file that does not declare itself as its kind has to, with what is wrong in it."""
    path = f"workflow/xkd/{package}/{name}.py"
    inside = "Method" if package == "methods" else None
    if inside and inside not in (found := classes(module)):
        others = f"found {', '.join(found)}" if found else "found no class"
        raise Refused(f"{path}: {others}, expected `class Method(BaseMethod):`")
    for constant in opaque(module, inside):
        if constant in DEFAULTS[package]:
            raise Refused(
                f"{path}: {constant} is no plain literal, and it is read without importing the "
                "file; write numbers, texts, lists and mappings out in place of names and calls"
            )
    if inside and not literals(module, inside).get("WEIGHTS"):
        raise Refused(
            f"{path}: class Method declares no WEIGHTS; expected the terms that `forward` returns "
            'with their factors, such as WEIGHTS = {"ce": 1.0}'
        )


def registered(package: str) -> dict[str, tuple[str, ...]]:
    """Files of `xkd/<package>/` that an option may name -> what each needs of a network.

    A file is registered by a literal NEEDS, such as ("pooled_head",), or () for any network.
    """
    files = {name: literals(f"xkd.{package}.{name}") for name in known_modules(package)}
    return {name: found["NEEDS"] for name, found in files.items() if "NEEDS" in found}


def file_of(package: str, name: str) -> Path:
    """The file of a declared module."""
    return PACKAGE / package / f"{name}.py"
