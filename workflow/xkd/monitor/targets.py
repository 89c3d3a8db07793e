"""Misspelt targets of Snakemake, answered in one line with the nearest name."""

import logging
import re
from collections.abc import Callable, Iterable

from xkd.errors import Refused, unknown
from xkd.plan.grid import Plan
from xkd.plan.runs import Cell, Layout, Run

AFFECTS_RESULTS = False


class Translator(logging.Filter):
    """Puts one line in place of Snakemake's words on a target that no rule makes.

    Args:
        rules: returns the names of all rules, once they are known.
    """

    def __init__(self, plan: Plan, layout: Layout, rules: Callable[[], Iterable[str]]) -> None:
        super().__init__()
        self.plan, self.layout, self.rules = plan, layout, rules

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "event", None) == "error" and (line := self.line(str(record.msg))):
            record.msg = line
        return True

    def line(self, message: str) -> str | None:
        """What to say instead of a message of Snakemake's; None if it says it well itself."""
        if missing := re.search(r"No rule to produce (\S+)", message):
            return self.missing(missing[1])
        if refused := re.search(r"^\s*Refused: (.*)$", message, re.MULTILINE):
            return refused[1]
        return None

    def missing(self, target: str) -> str:
        """Why there is no rule for a target."""
        if "/" not in target:
            return f"{unknown('target', target, self.rules())}; `xkd cells` lists cells"
        root = re.escape(self.layout.root.as_posix())
        if found := re.match(rf"{root}/(?:runs|teachers|analysis/[^/]+)/(.+)/[^/]+$", target):
            subject = found[1]
            of_run = re.fullmatch(r".+/seed\d+", subject)
            try:
                self.plan.settings(Run.parse(subject).cell if of_run else Cell.parse(subject))
            except Refused as problem:
                return str(problem)
        return f"no rule makes {target}; `snakemake --list` names the rules, `xkd cells` the cells"
