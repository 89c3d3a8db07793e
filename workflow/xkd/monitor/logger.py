"""What a terminal shows of a run of Snakemake: a line for every cell and item that is finished.

[ 93/178  11:38  ~7 min left]  LE(Grad-CAM) · ResNet14/2 · Digits: 94.48 ± 1.19 % (5 seeds)
"""

import logging
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from xkd.errors import Refused
from xkd.files import read_json
from xkd.monitor.failures import Failures
from xkd.monitor.pipeline import Writer
from xkd.plan import names
from xkd.plan.grid import Plan
from xkd.plan.runs import Cell, Layout
from xkd.wording import duration, spread

AFFECTS_RESULTS = False
OVERHEAD = 6.0  # seconds of every job: Python, torch, files
MARGIN = 3.0  # of the time limits that rules ask for, see `plan.costs`


@dataclass(frozen=True)
class Work:
    """A job that is to be done. subject: its wildcards; minutes: the limit that its rule asks for.

    shortest: the least of all limits, that of a job which takes next to no time
    """

    rule: str
    subject: str
    minutes: float = 0.0
    shortest: float = 0.0

    @property
    def weight(self) -> float:
        """About how many seconds it takes; right in proportion, not in itself."""
        return OVERHEAD + 60 * max(0.0, self.minutes - self.shortest) / MARGIN

    @classmethod
    def of(cls, jobs: Iterable[Any]) -> dict[int, "Work"]:
        """Snakemake's jobs by their numbers."""
        limits = {}
        for job in jobs:
            limit = job.resources.get("runtime", 0)
            limits[job] = float(limit) if isinstance(limit, int | float) else 0.0
        shortest = min((limit for limit in limits.values() if limit), default=0.0)
        return {
            job.jobid: cls(
                job.rule.name, "/".join(map(str, job.wildcards_dict.values())), limit, shortest
            )
            for job, limit in limits.items()
        }


class Reporter(logging.Handler):
    """Turns the events of Snakemake's logger into lines, and into the state for `xkd status`."""

    def __init__(
        self, plan: Plan, layout: Layout, failures: Failures, out: TextIO | None = None
    ) -> None:
        super().__init__()
        self.plan, self.layout, self.failures, self.out = plan, layout, failures, out
        self.writer = Writer(layout)
        self.works: Mapping[int, Work] = {}
        self._running: dict[int, Work] = {}
        self._finished: list[int] = []  # not told yet
        self._weight = 0.0  # of what is done
        self._began = time.monotonic()
        self._done, self._total = 0, 0

    def begin(self, works: Mapping[int, Work]) -> None:
        """Before the first job: everything that is to be done."""
        self.works, self._total = works, len(works)
        self._began = time.monotonic()
        self.writer.begin()
        self._write()

    def replace(self, logger: logging.Logger) -> None:
        """From now on let others write no more than warnings and errors to the terminal."""
        for handler in logger.handlers:
            streams = isinstance(handler, logging.StreamHandler)
            if streams and not isinstance(handler, logging.FileHandler):
                handler.addFilter(lambda record: record.levelno >= logging.WARNING)

    def end(self) -> None:
        self.writer.end()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._hear(record)
        except Exception:  # a line that cannot be written must not stop the work
            self.handleError(record)

    def _hear(self, record: logging.LogRecord) -> None:
        if not self.works:  # a dry run, or a job on a cluster
            return
        event = getattr(record, "event", None)
        if event == "job_started":
            started = {job: self.works[job] for job in record.jobs if job in self.works}
            self._running |= started
        elif event == "job_finished":
            self._running.pop(record.job_id, None)
            self._finished.append(record.job_id)
            return  # the numbers come with the next event
        elif event == "job_error":
            self._running.pop(record.jobid, None)
            self._say("FAILED " + self.failures.line(record.jobid))
        elif event == "progress":
            self._done, self._total = record.done, record.total
            finished, self._finished = self._finished, []
            known = [self.works[job] for job in finished if job in self.works]
            self._weight += sum(work.weight for work in known)
            for line in filter(None, map(self.describe, known)):
                self._say(line)
        else:
            return
        self._write()

    def left(self) -> float | None:
        """Seconds until all is done: what is left over, in proportion to what was done."""
        if not self._weight:
            return None
        total = sum(work.weight for work in self.works.values())
        return (total - self._weight) * (time.monotonic() - self._began) / self._weight

    def describe(self, work: Work) -> str:
        """A finished job in one line; nothing for one that nobody waits for."""
        if work.rule in ("train", "import_weights"):
            return self._cell(Cell.parse(work.subject))
        if work.rule == "search":
            return self._search(Cell.parse(work.subject))
        if work.rule in self.plan.items:
            item = self.plan.items[work.rule]
            form = "html" if item.kind == "tables" else "png"
            path = self.layout.item(item.kind, item.name)[form]
            return f"{item.paper['label']} {item.entry['number']}: {path}"
        if work.rule == "prepare":
            return f"data set {work.subject} is prepared"
        return ""

    def _cell(self, cell: Cell) -> str:
        try:
            runs = read_json(self.layout.manifest(cell))["runs"]
            scores = [run["metrics"]["top1"] for run in runs.values()]
            seeds = f"{len(scores)} seed{'s' if len(scores) > 1 else ''}"
            return f"{names.title(self.plan, cell)}: {spread(scores)} ({seeds})"
        except (Refused, KeyError, TypeError, AttributeError, IndexError):
            return f"{names.title(self.plan, cell)}: finished"

    def _search(self, cell: Cell) -> str:
        try:
            found = read_json(self.layout.search(cell))
            return f"{names.title(self.plan, cell)}: {found['option']} {found['winner']:g} chosen"
        except (Refused, KeyError, TypeError, ValueError):
            return f"{names.title(self.plan, cell)}: searched"

    def _say(self, line: str) -> None:
        width = len(str(self._total))
        left = self.left()
        rest = f"  ~{duration(left)} left" if left else ""
        head = f"[{self._done:{width}}/{self._total}  {time.strftime('%H:%M')}{rest}]"
        print(f"{head}  {line}", file=self.out or sys.stderr, flush=True)

    def _write(self) -> None:
        running = [(work.rule, work.subject) for work in self._running.values()]
        self.writer.write(self._done, self._total, running, self.left())
