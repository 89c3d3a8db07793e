"""Reading and checking `config.yaml`: every mistake becomes one line, before anything is computed.

Order of precedence: config.yaml, then the scale's overlay, then what the command line says.
Imports no torch: Snakemake reads this at every start.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from copy import deepcopy
from difflib import get_close_matches
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

from xkd.errors import Refused, unknown
from xkd.files import parse_yaml, read_json, write_text
from xkd.fingerprint import PACKAGE, literals

SCHEMA = PACKAGE.parent / "schemas" / "config.schema.yaml"
PUBLISHED = PACKAGE.parent / "published"
SCRIPTS = PACKAGE.parent / "scripts"


def load(path: Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The effective, checked config of a file; `overrides` are `key=value` in YAML.

    A `.json` file is a config that `freeze` wrote: it has been checked and needs no YAML library.
    """
    path = Path(path)
    if path.suffix == ".json":
        return read_json(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Refused(f"{path} is missing; run from the project's folder, or name it") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise Refused(f"{path} cannot be read: {problem}") from None
    overwrite: dict[str, Any] = {}
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals:
            raise Refused(f"'{item}': expected key=value, for example scale=paper")
        merge(overwrite, nest(key, parse(value, f"'{item}'")))
    return effective(parse(text, str(path)), overwrite, name=str(path))


def parse(text: str, where: str) -> Any:
    """YAML, safely. Raises Refused, with the place, for what is none."""
    import yaml

    try:
        return parse_yaml(text)
    except (yaml.YAMLError, ValueError) as problem:  # ValueError: a date that is none
        raise Refused(f"{where}: not valid YAML: {' '.join(str(problem).split())}") from None


def nest(dotted: str, value: Any) -> dict[str, Any]:
    """`nest("recipes.r_res.epochs", 2)` is `{"recipes": {"r_res": {"epochs": 2}}}`."""
    for key in reversed(dotted.split(".")):
        value = {key: value}
    return value


def typed(value: Any) -> Any:
    """Numbers and truth values back from the strings that Snakemake makes of nested `--config`."""
    if isinstance(value, Mapping):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [typed(item) for item in value]
    return parse(value, f"--config '{value}'") if isinstance(value, str) else value


def effective(
    config: Any, overwrite: Mapping[str, Any] = {}, name: str = "config.yaml"
) -> dict[str, Any]:
    """Lay the scale and then `overwrite` over the config; check the result.

    Raises Refused with file, key, found, expected.
    """
    if not isinstance(config, Mapping):
        raise Refused(f"{name}: found {type(config).__name__}, expected a mapping of settings")
    validate(config, _schema(), name)  # also what the scale is going to hide
    config = merge(deepcopy(dict(config)), overwrite)
    scales = config["scales"]
    if config["scale"] not in scales:
        raise Refused(f"{name}: scale: {unknown('scale', config['scale'], scales)}")
    overlay = {k: v for k, v in scales[config["scale"]].items() if k != "replace"}
    config = merge(merge(config, overlay), overwrite)
    validate(config, _schema(), name)
    _check_finite(config, name)
    return config


def _check_finite(value: Any, name: str, *where: str) -> None:
    """Refuse .nan and .inf, which YAML knows and every comparison lets pass."""
    if isinstance(value, float) and not isfinite(value):
        raise Refused(f"{name}: {'.'.join(where)}: found {value}, expected a finite number")
    if isinstance(value, Mapping | list):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            _check_finite(item, name, *where, str(key))


def merge(base: dict[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `overlay` over `base`, mapping by mapping; anything else is replaced. Changes `base`."""
    for key, value in overlay.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict) and "by" not in value:
            merge(base[key], value)
        else:
            base[key] = deepcopy(value)
    return base


def freeze(config: Mapping[str, Any], folder: Path) -> Path:
    """Keep the effective config for the jobs, under its own digest, so that it never changes."""
    text = json.dumps(config, indent=1, ensure_ascii=False, sort_keys=False) + "\n"
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        write_text(path, text)
    return path


def export(path: Path) -> None:
    """Let the jobs of this process, on whatever machine, find the frozen config."""
    os.environ["XKD_CONFIG"] = str(path)


def exported() -> Path | None:
    """The frozen config of the process that started this one, if one did."""
    return Path(os.environ["XKD_CONFIG"]) if "XKD_CONFIG" in os.environ else None


def validate(content: Any, schema: Mapping[str, Any], name: str, *where: str) -> None:
    """Raise Refused for the first mismatch: `config.yaml: recipes.r_or.lr: found …, expected …`."""
    from jsonschema import Draft202012Validator

    refuse_infinite(content, name, *where)
    problems = sorted(Draft202012Validator(schema).iter_errors(content), key=lambda e: list(e.path))
    if problems:
        raise Refused(f"{name}: {_one_line(problems[0], where)}")


def refuse_infinite(content: Any, name: str, *where: str) -> None:
    """Schemas let `.inf` and `.nan` pass for numbers. Raises Refused for the first."""
    if isinstance(content, float) and not math.isfinite(content):
        raise Refused(f"{name}: {'.'.join(where)}: found {content}, expected a finite number")
    if isinstance(content, Mapping | list | tuple):
        keyed = content.items() if isinstance(content, Mapping) else enumerate(content)
        for key, value in keyed:
            refuse_infinite(value, name, *where, str(key))


def _one_line(problem: Any, where: tuple[str, ...]) -> str:
    path = ".".join([*where, *map(str, problem.absolute_path)]) or "(top level)"
    found, rule, limit = problem.instance, problem.validator, problem.validator_value
    if rule == "additionalProperties":
        known = problem.schema.get("properties", {})
        extra = next(key for key in found if key not in known)
        return f"{path}: {unknown('key', extra, known)}"
    if rule == "required":
        missing = next(key for key in limit if key not in found)
        near = get_close_matches(missing, list(found), n=1)
        hint = f"; is '{near[0]}' a misspelling?" if near else ""
        return f"{path}: '{missing}' is missing{hint}"
    if rule == "enum":
        return f"{path}: found {found!r}, expected one of {', '.join(map(str, limit))}"
    expected = {
        "type": f"a {' or '.join([limit] if isinstance(limit, str) else limit)}"
        if rule == "type"
        else "",
        "minimum": f"at least {limit}",
        "maximum": f"at most {limit}",
        "exclusiveMinimum": f"more than {limit}",
        "exclusiveMaximum": f"less than {limit}",
        "pattern": problem.schema.get(
            "description",
            "a name of lower-case letters, digits, '_' and '.'"
            if "a-z" in str(limit)
            else "a single line of text",
        ),
        "minItems": f"at least {limit} entries",
        "maxItems": f"at most {limit} entries",
        "uniqueItems": "no entry twice",
        "minLength": "some text",
    }.get(rule, problem.message)
    return f"{path}: found {found!r}, expected {expected}"


@cache
def _schema() -> dict[str, Any]:
    return parse_yaml(SCHEMA.read_text(encoding="utf-8"))


# ------------------------------------------------------------------- what modules say of themselves


#: What a method's file need not say; see `xkd.methods.base.BaseMethod`.
METHOD_DEFAULTS: Mapping[str, Any] = {
    "OPTIONS": {},
    "WEIGHTS": {},
    "TEACHER": (),
    "REINFORCES": False,
    "WHOLE_BATCH": False,
    "FAMILY": None,
    "NETWORK": {},
}


@cache
def known_modules(package: str) -> tuple[str, ...]:
    """Files of `xkd/<package>/` that a config may name."""
    files = (PACKAGE / package).glob("*.py")
    return tuple(sorted(f.stem for f in files if f.stem not in ("__init__", "base")))


def method_declaration(uses: str) -> dict[str, Any]:
    """The literals that `xkd/methods/<uses>.py` declares, read from its syntax tree."""
    if uses not in known_modules("methods"):
        raise Refused(unknown("method file", uses, known_modules("methods")))
    declared = {**METHOD_DEFAULTS, **literals(f"xkd.methods.{uses}", "Method")}
    for schema in declared["OPTIONS"].values():
        if "registry" in schema:
            schema["enum"] = sorted(registry(schema["registry"]))
    return declared


def registry(package: str) -> dict[str, tuple[str, ...]]:
    """Files of `xkd/<package>/` that an option may name -> what each needs of a network.

    A file is registered by a literal NEEDS, such as ("pooled_head",), or () for any network.
    """
    files = {name: literals(f"xkd.{package}.{name}") for name in known_modules(package)}
    needs = {name: found["NEEDS"] for name, found in files.items() if "NEEDS" in found}
    return {**literals(f"xkd.{package}").get("NEEDS", {}), **needs}


def family_declaration(family: str) -> dict[str, Any]:
    """OPTIONS and POOLED_HEAD of `xkd/networks/<family>.py`."""
    if family not in known_modules("networks"):
        raise Refused(unknown("network family", family, known_modules("networks")))
    return {"OPTIONS": {}, "POOLED_HEAD": False, **literals(f"xkd.networks.{family}")}


def fill(options: Mapping[str, Any], properties: Mapping[str, Any], name: str, *where: str) -> dict:
    """Options with defaults filled in, checked against JSON-schema `properties`.

    Raises Refused for unknown, missing, mistyped or out-of-range options.
    """
    filled = {k: deepcopy(p["default"]) for k, p in properties.items() if "default" in p}
    filled = merge(filled, options)
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": dict(properties),
    }
    validate(filled, schema, name, *where)
    return filled


def look_up(value: Any, names: Mapping[str, str]) -> Any:
    """Resolve `{by: network, resnet20: 0.2, default: 0.5}`, at any depth, for one cell.

    Args:
        names: dataset, network and teacher (its network) of the cell.
    Raises: Refused when neither the name nor `default` is there.
    """
    if not isinstance(value, Mapping):
        return value
    if "by" not in value:
        return {key: look_up(item, names) for key, item in value.items()}
    if value["by"] not in ("dataset", "network", "teacher"):
        raise Refused(f"by: found {value['by']!r}, expected one of dataset, network, teacher")
    name = names.get(value["by"], "")
    for key in (name, "default"):
        if key in value:
            return look_up(value[key], names)
    raise Refused(f"no value for {value['by']} '{name}', and no default")
