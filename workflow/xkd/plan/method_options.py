"""Options of the config's methods, held against what their files declare, used or not."""

from collections.abc import Mapping
from typing import Any

from xkd.plan.resolve import NO_OPTIONS, Resolver


def check_method_options(resolver: Resolver, name: str, entry: Mapping[str, Any]) -> None:
    """Refuse options and weights of a method that its file does not declare, used or not."""
    declared = resolver.declaration(name)
    for option, value in entry.items():
        if option in NO_OPTIONS:
            continue
        if option == "weights":
            for term in () if "by" in value else value:
                resolver.known("weight", term, declared["WEIGHTS"], "methods", name, "weights")
            continue
        resolver.known("option", option, declared["OPTIONS"], "methods", name)
        if not isinstance(value, Mapping):
            schema = declared["OPTIONS"][option]
            resolver.fill({option: value}, {option: schema}, "methods", name)
