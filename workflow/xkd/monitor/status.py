"""How far the pipeline is: every job that a config asks for, and what its traces say of it.

Looks at files, locks, logs and SLURM's queue; never at the code. What is there counts as done, even
if an edit would make Snakemake do it again: `snakemake -n` tells that.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xkd.errors import Refused
from xkd.files import read_json
from xkd.monitor import pipeline, traces
from xkd.monitor.pipeline import Pipeline
from xkd.plan import jobs
from xkd.plan.declarations import declaration
from xkd.plan.grid import Plan
from xkd.plan.papers import ITEMS
from xkd.plan.runs import Cell, Layout, Run
from xkd.plan.settings import CellSettings
from xkd.wording import duration

STATES = ("done", "running", "queued", "failed", "stopped", "waiting")


@dataclass(frozen=True)
class Job:
    """One job of the pipeline.

    outputs: files that are there when it is done
    cells:   what it trains; of a teacher's table, its students
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
    def trained(self) -> tuple[CellSettings, ...]:
        """What it trains itself."""
        return self.cells if self.rule in ("train", "search") else ()


def status(plan: Plan, layout: Layout, logs: Path = Path("logs")) -> list[str]:
    """Lines for a terminal: how far all is and what comes next; jobs per rule and state; then
    those neither done nor waiting.
    """
    queue, working = traces.queue(), pipeline.read(layout)
    found = [_observed(job, layout, queue, working) for job in expected(plan, layout, logs)]
    counts = Counter((job.rule, job.state) for job in found)
    shown = [state for state in STATES if any(job.state == state for job in found)]
    done = sum(job.state == "done" for job in found)
    lines = [f"{layout.root}: {done} of {len(found)} jobs done{_at_work(working)}"]
    width = max(len(job.rule) for job in found)
    lines.append(" " * width + "".join(f"{state:>9}" for state in shown))
    for rule in dict.fromkeys(job.rule for job in found):
        row = "".join(f"{counts[rule, state] or '-':>9}" for state in shown)
        lines.append(f"{rule:{width}}{row}")
    lines += _next(plan, found)
    for state in STATES[1:-1]:
        for job in found:
            if job.state == state:
                lines.append(f"{state}: {job.rule} {job.subject}: {job.story}  [{job.log}]")
    return lines


def _at_work(working: Pipeline | None) -> str:
    """Which Snakemake is at work, and how long it will be."""
    if working is None:
        return ""
    left = "" if working.left is None else f", about {duration(working.left)} left"
    who = f"process {working.holder['pid']} on {working.holder['host']}"
    return f"; Snakemake ({who}) has done {working.done} of its {working.total}{left}"


def _next(plan: Plan, found: Sequence[Job]) -> list[str]:
    """Tables and figures that need the fewest jobs that are not done yet."""
    undone = {job.subject for job in found if job.state != "done" and job.rule != "prepare"}
    drawn = {job.subject for job in found if job.rule in ITEMS and job.state == "done"}
    missing = {}
    for item in plan.items.values():
        if item.optional or item.name in drawn:
            continue
        runs = plan.trainings(item)
        needed = {str(run.cell) for run in runs} | {str(cell.run(s)) for cell, s in item.analysed}
        missing[item.name] = len(needed & undone)
    if not missing:
        return []
    soonest = sorted(missing.items(), key=lambda pair: pair[1])[:3]
    told = [f"{name} ({count} job{'' if count == 1 else 's'} before it)" for name, count in soonest]
    return [f"next: {', '.join(told)}"]


def expected(plan: Plan, layout: Layout, logs: Path = Path("logs")) -> list[Job]:
    """Every job of the plan in the order of the pipeline, as many as Snakemake's but for `all`."""

    def job(rule: str, subject: object, *outputs: Path | str, cells: tuple = ()) -> Job:
        log = logs / plan.scale / rule / f"{subject}.log"
        return Job(rule, str(subject), log, tuple(map(Path, outputs)), cells)

    cells = _asked(plan, layout)
    trials = {trial for cell in cells if cell.search for _, trial in cell.search.trials}
    found = [
        job("prepare", name, layout.data(name) / "manifest.json")
        for name in dict.fromkeys(cell.dataset.name for cell in cells)
    ]
    students: dict[str, list[CellSettings]] = {}
    for cell in cells:
        if cell.search:
            tried = tuple(plan.cells[trial] for _, trial in cell.search.trials)
            found.append(job("search", cell.cell, layout.search(cell.cell), cells=tried))
        if cell.weights:
            found.append(job("import_weights", cell.cell, layout.manifest(cell.cell)))
        elif cell.cell not in trials:
            found.append(job("train", cell.cell, layout.manifest(cell.cell), cells=(cell,)))
            if table := jobs.table(plan, cell):
                students.setdefault("/".join(map(str, table)), []).append(cell)
    for subject, taught in students.items():  # temporary: there while a student needs it
        found.append(job("tabulate_teacher", subject, cells=tuple(taught)))
    items = [item for item in plan.items.values() if not item.optional]
    for item in items:
        for name in item.needs:
            for cell, seed in item.analysed:
                found += _analyses(name, cell.run(seed), layout, job)
    for item in items:
        if item.claims:
            found.append(job("judge", f"{item.kind}/{item.name}", jobs.claims_file(item, layout)))
    for item in items:
        found.append(job(item.kind, item.name, *layout.item(item.kind, item.name).values()))
    for paper in filter(plan.claimed, plan.config["papers"]):
        found.append(job("tables", f"{paper}_claims", *jobs.claims_page(paper, layout).values()))
    page = Job("page", "", logs / plan.scale / "page.log", (layout.root / "index.html",))
    found.append(page)
    order = list(dict.fromkeys(job.rule for job in found))
    unique = {(job.rule, job.subject): job for job in found}
    return sorted(unique.values(), key=lambda job: order.index(job.rule))


def _analyses(name: str, run: Run, layout: Layout, job: Callable[..., Job]) -> Iterator[Job]:
    """An analysis of a run, after those that it reads."""
    for read in declaration("analyses", name)["READS"]:
        if read not in ("data", "weights"):
            yield from _analyses(read, run, layout, job)
    yield job(name, run, jobs.analysis_card(name, run, layout))


def _done(job: Job, layout: Layout) -> bool:
    """Whether its outputs are there: a cell's with all seeds; a table's students, as it is not."""
    if job.rule == "tabulate_teacher":
        return all(_complete(settings, layout) for settings in job.cells)
    if not all(path.exists() for path in job.outputs):
        return False
    return job.rule != "train" or _complete(job.cells[0], layout)


def _complete(settings: CellSettings, layout: Layout) -> bool:
    """Whether a cell's manifest has all its seeds."""
    return len(seeds_there(settings, layout)) == len(settings.seeds)


def seeds_there(settings: CellSettings, layout: Layout) -> list[int]:
    """Seeds of a cell that its manifest has."""
    try:
        runs = read_json(layout.manifest(settings.cell))["runs"]
        return [seed for seed in settings.seeds if str(seed) in runs]
    except (Refused, KeyError, TypeError):
        return []


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


def _observed(
    job: Job, layout: Layout, queue: Mapping[str, traces.Queued], working: Pipeline | None
) -> Job:
    """The job with its state and story."""
    if _done(job, layout):
        return replace(job, state="done")
    if story := _locked(job, layout):
        return replace(job, state="running", story=story)
    if queued := queue.get(job.comment):
        if queued.state == "RUNNING":
            return replace(job, state="running", story=f"SLURM job {queued.id}, {queued.elapsed}")
        story = f"SLURM job {queued.id}: {queued.state} ({queued.reason})"
        return replace(job, state="queued", story=story)
    # an item has a rule of its name
    if working and {(job.rule, job.subject), (job.subject, "")} & working.running:
        return replace(job, state="running", story="started by Snakemake")
    told = traces.ending(job.log)
    if told is None and job.rule in ("judge", *ITEMS):
        told = traces.last_line(job.log)
    if told and not traces.resumable(told):
        return replace(job, state="failed", story=told)
    if story := _resumption(job.trained, layout):
        return replace(job, state="stopped", story=story)
    return job


def _locked(job: Job, layout: Layout) -> str:
    """What is under way, if somebody holds the lock of a cell that the job trains."""
    for settings in job.trained:
        if holder := traces.holder(layout.lock(settings.cell)):
            return _under_way(settings, layout, holder)
    return ""


def _under_way(settings: CellSettings, layout: Layout, holder: Mapping[str, Any]) -> str:
    """Seeds, epochs and time left, as the file beside the lock tells; and which process it is."""
    job = f"SLURM job {holder['job']}" if holder.get("job") else f"process {holder.get('pid')}"
    who = f"{job} on {holder.get('host')}, last sign of life {holder['age']:.0f} s ago"
    told = traces.progress(layout.progress(settings.cell))
    if told is None:
        return who
    ended = sum(epoch == epochs for epoch, epochs in told.epochs.values())
    story = [f"{told.of - len(told.seeds) + ended} of {told.of} seeds done"]
    for seed, (epoch, epochs) in told.epochs.items():
        if epoch < epochs:
            story.append(f"seed {seed} epoch {epoch:g}/{epochs}")
    if told.left is not None:
        story.append(f"{duration(told.left)} left")
    return ", ".join([*story, who])


def _resumption(cells: Sequence[CellSettings], layout: Layout) -> str | None:
    """Where checkpoints would continue; None if there are none."""
    return ", ".join(_checkpoints(cells, layout)) or None


def _checkpoints(cells: Sequence[CellSettings], layout: Layout) -> Iterator[str]:
    for cell in cells:
        for seed in cell.seeds:
            epoch = traces.checkpoint_epoch(layout.resume(Run(cell.cell, seed)))
            if epoch is not None:
                yield f"seed {seed} continues after epoch {epoch}"
