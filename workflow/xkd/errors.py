"""Errors meant for people: one line that says what, where, found, expected and how to mend it."""

from collections.abc import Iterable
from difflib import get_close_matches


class Refused(Exception):
    """The request cannot be carried out as asked; the message is the whole story, on one line."""


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """`unknown method 'fitnets'; did you mean 'fitnet'? known: at, fitnet, kd`."""
    known = sorted(known)
    near = get_close_matches(str(name), known, n=1)
    hint = f" did you mean '{near[0]}'?" if near else ""
    return f"unknown {kind} '{name}';{hint} known: {', '.join(known)}"
