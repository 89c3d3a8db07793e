"""Content against a JSON schema: mistakes in one line, numbers in the type of the schema."""

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from difflib import get_close_matches
from typing import Any

from xkd.errors import Refused, unknown

#: Where a value was written: from its place, `("recipes", "r_or", "lr")`, to the name of a file.
Origin = Callable[..., str]


def validate(content: Any, schema: Mapping[str, Any], origin: Origin | str, *where: str) -> Any:
    """The content with numbers coerced, see `coerce`.

    Raises: Refused for the first mismatch: `config.yaml: recipes.r_or.lr: found …, expected …`.
    """
    from jsonschema import Draft202012Validator

    named = origin if callable(origin) else lambda *place: origin
    refuse_infinite(content, named, *where)
    problems = sorted(Draft202012Validator(schema).iter_errors(content), key=lambda e: list(e.path))
    if problems:
        place = (*where, *map(str, problems[0].absolute_path))
        raise Refused(f"{named(*place)}: {_one_line(problems[0], where)}")
    return coerce(content, schema, schema)


def coerce(content: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Valid content with every number as the schema types it: `2.0` epochs are 2, a rate 0 is 0.0.

    Results are known by their settings, and the same number must not have two spellings.
    """
    schema = _resolved(schema, root)
    kind = schema.get("type")
    if isinstance(content, Mapping):
        properties, rest = schema.get("properties", {}), schema.get("additionalProperties")
        rest = rest if isinstance(rest, Mapping) else {}
        return {key: coerce(v, properties.get(key, rest), root) for key, v in content.items()}
    if isinstance(content, list):
        return [coerce(item, schema.get("items", {}), root) for item in content]
    if isinstance(content, bool) or not isinstance(content, int | float):
        return content
    if kind == "integer":
        return int(content)
    return float(content) if kind == "number" else content


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The definition that a `$ref` into the same schema means."""
    while "$ref" in schema:
        found: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def refuse_infinite(content: Any, named: Origin, *where: str) -> None:
    """Refuse `.inf` and `.nan`, which YAML knows and schemas let pass for numbers."""
    if isinstance(content, float) and not math.isfinite(content):
        place = ".".join(where)
        raise Refused(f"{named(*where)}: {place}: found {content}, expected a finite number")
    if isinstance(content, Mapping | list | tuple):
        keyed = content.items() if isinstance(content, Mapping) else enumerate(content)
        for key, value in keyed:
            refuse_infinite(value, named, *where, str(key))


def fill(
    options: Mapping[str, Any], properties: Mapping[str, Any], origin: Origin | str, *where: str
) -> dict[str, Any]:
    """Options with defaults filled in, checked against JSON-schema `properties`.

    Raises: Refused for unknown, missing, mistyped or out-of-range options.
    """
    filled = {k: deepcopy(p["default"]) for k, p in properties.items() if "default" in p}
    filled.update(deepcopy(dict(options)))
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": dict(properties),
    }
    return validate(filled, schema, origin, *where)


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
    if rule == "type":
        return f"{path}: found {found!r}, expected {_typed(limit)}"
    expected = {
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
        "minItems": f"at least {limit} {'entry' if limit == 1 else 'entries'}",
        "maxItems": f"at most {limit} entries",
        "uniqueItems": "no entry twice",
        "minLength": "some text",
    }.get(rule, problem.message)
    return f"{path}: found {found!r}, expected {expected}"


def _typed(kinds: str | list[str]) -> str:
    """`an array`, `a string or a mapping`."""
    words = {"array": "a list", "object": "a mapping", "string": "text", "integer": "an integer"}
    names = [kinds] if isinstance(kinds, str) else kinds
    return " or ".join(words.get(kind, f"a {kind}") for kind in names)
