"""YAML as configs need it: no key twice, no shared nodes, and numbers such as `1e-4` as numbers."""

import re
from functools import cache
from typing import Any

from xkd.errors import Refused

DEPTH = 100  # of nested lists and mappings; a config has six
EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")


def parse(text: str, where: str) -> Any:
    """The content of a YAML text, in which no two places share an object.

    Aliases (`*name`) and merge keys (`<<`) are copied. YAML 1.1 takes `1e-4` for text; here it is a
    number.

    Args:
        where: the text comes from, for messages.
    Raises: Refused, with the place, for text that is not YAML, a key that stands twice in a
        mapping, or content that contains itself.
    """
    import yaml

    try:
        return _copied(yaml.load(text, Loader=_loader()), where)
    except _Twice as problem:
        raise Refused(f"{where}: {problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as problem:  # ValueError: no such date
        raise Refused(f"{where}: not valid YAML: {' '.join(str(problem).split())}") from None


class _Twice(Exception):
    """A key stands twice in one mapping."""


@cache
def _loader() -> type:
    """PyYAML's safe loader, by its C library where it is there, which is ten times faster."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: dict[Any, int] = {}
            for key, _ in node.value:
                if key.tag == "tag:yaml.org,2002:merge":
                    continue
                line, name = key.start_mark.line + 1, key.value
                if isinstance(name, str) and name in seen:
                    raise _Twice(
                        f"'{name}' stands on line {seen[name]} and again on line {line} of one "
                        "mapping; expected it once"
                    )
                if isinstance(name, str):
                    seen[name] = line
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+0123456789"))
    return Loader


def _copied(value: Any, where: str, depth: int = 0) -> Any:
    """The content without shared lists and mappings."""
    if depth > DEPTH:
        raise Refused(
            f"{where}: nested more than {DEPTH} levels deep; does an alias contain itself?"
        )
    if isinstance(value, dict):
        return {key: _copied(item, where, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item, where, depth + 1) for item in value]
    return value
