"""How far the pipeline is: every job that a config asks for, and what its traces say of it.

Looks at files, locks, logs and SLURM's queue; never at the code. What is there counts as done, even
if an edit would make Snakemake do it again: `snakemake -n` tells that.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xkd.engine.progress import duration
from xkd.errors import Refused
from xkd.files import read_json
from xkd.monitor import traces
from xkd.plan import jobs
from xkd.plan.grid import Plan
from xkd.plan.runs import Cell, Layout, Run
from xkd.plan.settings import CellSettings

STATES = ("done", "running", "queued", "failed", "stopped", "waiting")


@dataclass(frozen=True)
class Job:
    """One job of the pipeline.

    outputs: files that are there when it is done
    cells:   what it trains
    story:   one line on what is under way, or why it failed
    """

    rule: str
    subject: str
    log: Path
    outputs: tuple[Path, ...]
    cells: tuple[CellSettings, ...] = ()
    state: str = "waiting"
    story: str = ""

    @property
    def comment(self) -> str:
        """What SLURM's queue calls it."""
        return f"rule_{self.rule}_wildcards_{self.subject}".replace("/", "_")

    @property
    def done(self) -> bool:
        """Whether its outputs are there; a cell's, with all seeds."""
        if not all(path.exists() for path in self.outputs):
            return False
        if self.rule != "train":
            return True
        try:
            seeds = read_json(self.outputs[0])["runs"]
        except (Refused, KeyError, TypeError):
            return False
        return all(str(seed) in seeds for seed in self.cells[0].seeds)


def status(plan: Plan, layout: Layout, logs: Path = Path("logs")) -> list[str]:
    """Lines for a terminal: jobs per rule and state; then those neither done nor waiting."""
    queue = traces.queue()
    found = [_observed(job, layout, queue) for job in expected(plan, layout, logs)]
    counts = Counter((job.rule, job.state) for job in found)
    shown = [state for state in STATES if any(job.state == state for job in found)]
    done = sum(job.state == "done" for job in found)
    lines = [f"{layout.root}: {done} of {len(found)} jobs done"]
    lines.append(" " * 14 + "".join(f"{state:>9}" for state in shown))
    for rule in dict.fromkeys(job.rule for job in found):
        row = "".join(f"{counts[rule, state] or '-':>9}" for state in shown)
        lines.append(f"{rule:14}{row}")
    for state in STATES[1:-1]:
        for job in found:
            if job.state == state:
                lines.append(f"{state}: {job.rule} {job.subject}: {job.story}  [{job.log}]")
    return lines


def expected(plan: Plan, layout: Layout, logs: Path = Path("logs")) -> list[Job]:
    """Every job of the plan in the order of the pipeline, tables of teachers' answers aside."""

    def job(rule: str, subject: object, *outputs: Path | str, cells: tuple = ()) -> Job:
        log = logs / plan.scale / rule / f"{subject}.log"
        return Job(rule, str(subject), log, tuple(map(Path, outputs)), cells)

    cells = _asked(plan, layout)
    trials = {trial for cell in cells if cell.search for _, trial in cell.search.trials}
    found = [
        job("prepare", name, layout.data(name) / "manifest.json")
        for name in dict.fromkeys(cell.dataset.name for cell in cells)
    ]
    for cell in cells:
        if cell.search:
            tried = tuple(plan.cells[trial] for _, trial in cell.search.trials)
            found.append(job("search", cell.cell, layout.search(cell.cell), cells=tried))
        if cell.weights:
            found.append(job("import_weights", cell.cell, layout.manifest(cell.cell)))
        elif cell.cell not in trials:
            found.append(job("train", cell.cell, layout.manifest(cell.cell), cells=(cell,)))
    items = [item for item in plan.items.values() if not item.optional]
    for item in items:
        for name in jobs.analyses_of(item):
            for cell, seed in item.analysed:
                run = cell.run(seed)
                found.append(job(name, run, jobs.analysis_card(name, run, layout)))
    for item in items:
        if item.claims:
            found.append(job("judge", f"{item.kind}/{item.name}", jobs.claims_file(item, layout)))
    for item in items:
        found.append(job(item.kind, item.name, *layout.item(item.kind, item.name).values()))
    for paper in filter(plan.claimed, plan.config["papers"]):
        pages = jobs.claims_page(paper, layout).values()
        found.append(job("tables", f"{paper}_claims", *pages))
    order = list(dict.fromkeys(job.rule for job in found))
    unique = {(job.rule, job.subject): job for job in found}
    return sorted(unique.values(), key=lambda job: order.index(job.rule))


def _asked(plan: Plan, layout: Layout) -> list[CellSettings]:
    """Cells that items need, directly or as teachers and trials; optional ones once begun."""
    waiting = [cell for item in plan.items.values() if not item.optional for cell in item.cells]
    found: set[Cell] = set()
    while waiting:
        cell = waiting.pop()
        if cell in found:
            continue
        found.add(cell)
        settings = plan.cells[cell]
        if settings.teacher:
            waiting.append(settings.teacher.cell)
        if settings.search:
            waiting.extend(trial for _, trial in settings.search.trials)
    return [s for cell, s in plan.cells.items() if cell in found or layout.cell(cell).exists()]


def _observed(job: Job, layout: Layout, queue: Mapping[str, traces.Queued]) -> Job:
    """The job with its state and story."""
    if job.done:
        return replace(job, state="done")
    for cell in job.cells:
        if holder := traces.holder(layout.cell(cell.cell) / ".resume" / "lock"):
            return replace(job, state="running", story=_under_way(job, holder))
    if queued := queue.get(job.comment):
        if queued.state == "RUNNING":
            return replace(job, state="running", story=f"SLURM job {queued.id}, {queued.elapsed}")
        story = f"SLURM job {queued.id}: {queued.state} ({queued.reason})"
        return replace(job, state="queued", story=story)
    told = traces.ending(job.log)
    if told is None and job.rule in ("judge", "tables", "figures"):
        told = traces.last_line(job.log)
    if told and not traces.resumable(told):
        return replace(job, state="failed", story=told)
    if story := _resumption(job.cells, layout):
        return replace(job, state="stopped", story=story)
    return job


def _under_way(job: Job, holder: Mapping[str, Any]) -> str:
    """Seeds, epochs and time left, as the log tells; who it is."""
    who = f"SLURM job {holder['job']}" if holder.get("job") else f"process {holder['pid']}"
    story = [f"{who} on {holder['host']}, last sign of life {holder['age']:.0f} s ago"]
    told = traces.progress(job.log)
    if job.rule == "train" and told.missing is not None:
        seeds = job.cells[0].seeds
        ended = sum(epoch == epochs for epoch, epochs in told.epochs.values())
        story.insert(0, f"{len(seeds) - len(told.missing) + ended} of {len(seeds)} seeds done")
        for seed, (epoch, epochs) in told.epochs.items():
            if epoch < epochs:
                story.insert(-1, f"seed {seed} epoch {epoch}/{epochs}")
        if (left := told.left()) is not None:
            story.insert(-1, f"{duration(left)} left")
    return ", ".join(story)


def _resumption(cells: Sequence[CellSettings], layout: Layout) -> str | None:
    """Where checkpoints would continue; None if there are none."""
    return ", ".join(_checkpoints(cells, layout)) or None


def _checkpoints(cells: Sequence[CellSettings], layout: Layout) -> Iterator[str]:
    for cell in cells:
        for seed in cell.seeds:
            epoch = traces.checkpoint_epoch(layout.resume(Run(cell.cell, seed)))
            if epoch is not None:
                yield f"seed {seed} continues after epoch {epoch}"
