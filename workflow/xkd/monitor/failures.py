"""What a run of Snakemake says at its end when jobs failed: which, why, and how to go on."""

import logging
import re
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from xkd.monitor import traces


class Failure(NamedTuple):
    """rule and log of a job; said: what Snakemake, or SLURM, knows of the reason."""

    rule: str
    log: str
    said: str


class Failures(logging.Handler):
    """Hears from Snakemake's logger which jobs fail for good, however quiet the terminal is."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[int, Failure] = {}  # by Snakemake's number
        self.statuses: dict[str, int] = {}  # log of a job -> exit status of its command

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        if event == "job_error":
            log = record.log[0] if record.log else ""
            self.jobs[record.jobid] = Failure(record.rule_name, log, record.rule_msg or "")
        elif event == "job_finished":
            self.jobs.pop(record.job_id, None)  # a later attempt went well
        elif ended := re.search(
            r"> (\S+) 2>&1' "
            r"(?:returned non-zero exit status (\d+)|died with <Signals\.\w+: (\d+)>)",
            str(record.msg),
        ):
            self.statuses[ended[1]] = int(ended[2]) if ended[2] else 128 + int(ended[3])

    def line(self, number: int) -> str:
        """One failed job by Snakemake's number: what it was, why, and where its log is."""
        job = self.jobs[number]
        return f"{_name(job)}: {self._reason(job)}  [{job.log}]"

    def summary(self, command: Sequence[str]) -> list[str]:
        """Lines for a terminal: every job that failed, and how to continue.

        Args:
            command: the `sys.argv` of this Snakemake.
        """
        lines = [f"  {self.line(number)}" for number in self.jobs]
        plural = "" if len(lines) == 1 else "s"
        failed = f"{len(lines)} job{plural} failed; everything that did not need them is kept:"
        head = [failed, *lines] if lines else ["stopped; what is done is kept"]
        return ["", *head, f"to continue: {_typed(command)}"]

    def _reason(self, job: Failure) -> str:
        """By the scheduler, by the job's own last words, by its exit status."""
        log = Path(job.log)
        killed = _signal(self.statuses.get(job.log, 0))
        told = traces.ending(log) or killed or traces.last_line(log)
        return "; ".join(part for part in (_scheduler(job.said), told) if part) or "no reason given"


def _signal(status: int) -> str:
    """The signal that ended a job, by its exit status; empty if none did."""
    try:
        number = signal.Signals(status - 128)
    except ValueError:
        return ""
    return f"ended by {number.name}" + ("; out of memory?" if number == signal.SIGKILL else "")


def _scheduler(said: str) -> str:
    """What SLURM says of a failed job, unless it is merely that it failed."""
    if refused := re.search(r"The error message was '(.*?)'\.$", said, re.DOTALL | re.MULTILINE):
        return " ".join(refused[1].replace("sbatch: error: ", "").split())
    state = re.search(r"SLURM-job '(\d+)' failed, SLURM status is: '(.*?)'", said)
    return f"SLURM job {state[1]}: {state[2]}" if state and state[2] != "FAILED" else ""


def _name(job: Failure) -> str:
    """`train digits/resnet8/ce`; a table's or figure's rule is its name already."""
    return " ".join([job.rule, *re.findall(rf"/{re.escape(job.rule)}/(.+)\.log$", job.log)])


def _typed(command: Sequence[str]) -> str:
    """A command as somebody would type it."""
    program, *arguments = command
    if Path(program).name == "__main__.py":
        program = f"python -m {Path(program).parent.name}"
    return f"{program} {shlex.join(arguments)}".strip()
