"""What modules declare about themselves in literals, read from their syntax trees without import.

The config learns a method's options, a network's, an explanation's and an analysis's this way, and
Snakemake starts without torch.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from xkd.errors import Refused, unknown
from xkd.fingerprint import PACKAGE, docstring, literals

__all__ = ["PACKAGE", "docstring", "literals"]

#: Kind of module -> what a declaration holds where the module says nothing.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "methods": {
        "OPTIONS": {},
        "WEIGHTS": {},
        "TEACHER": (),
        "REINFORCES": False,
        "WHOLE_BATCH": False,
        "NEEDS": (),
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


def declaration(package: str, name: str) -> dict[str, Any]:
    """Upper-case literals of `xkd/<package>/<name>.py` (of its class Method, if it is a method).

    Raises: Refused for a name without a file.
    """
    if name not in known_modules(package):
        raise Refused(unknown(NOUNS[package], name, known_modules(package)))
    module = f"xkd.{package.replace('/', '.')}.{name}"
    found = literals(module, "Method" if package == "methods" else None)
    declared = {**DEFAULTS[package], **found}
    for schema in declared.get("OPTIONS", {}).values():
        if "registry" in schema:
            schema["enum"] = sorted(registered(schema["registry"]))
    return declared


def registered(package: str) -> dict[str, tuple[str, ...]]:
    """Files of `xkd/<package>/` that an option may name -> what each needs of a network.

    A file is registered by a literal NEEDS, such as ("pooled_head",), or () for any network.
    """
    files = {name: literals(f"xkd.{package}.{name}") for name in known_modules(package)}
    return {name: found["NEEDS"] for name, found in files.items() if "NEEDS" in found}


def file_of(package: str, name: str) -> Path:
    """The file of a declared module."""
    return PACKAGE / package / f"{name}.py"
