"""Errors meant for people: one line that says what, where, found, expected and how to mend it."""

import os
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class Refused(Exception):
    """The request cannot be carried out as asked; the message is the whole story, on one line."""


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """`unknown method 'fitnets'; did you mean 'fitnet'? known: at, fitnet, kd`."""
    known = sorted(known)
    near = get_close_matches(str(name), known, n=1)
    hint = f" did you mean '{near[0]}'?" if near else ""
    return f"unknown {kind} '{name}';{hint} known: {', '.join(known)}"


def setting(text: str) -> str:
    """`--set scale=paper`, or `--config scale=paper` for those who work with Snakemake.

    These are in Snakemake itself, or in a job of it, which finds its config by XKD_CONFIG.
    """
    program = Path(sys.argv[0])
    snakemake = "snakemake" in (program.name, program.parent.name) or "XKD_CONFIG" in os.environ
    return f"{'--config' if snakemake else '--set'} {text}"
