"""The plan of a frozen config, which never changes: read once in a process and its forks."""

from functools import cache
from pathlib import Path

from xkd.plan import config
from xkd.plan.grid import Plan


@cache
def plan(path: Path) -> Plan:
    """Of a file that `config.freeze` wrote and named after its content."""
    return Plan(config.load(path), name=str(path))
