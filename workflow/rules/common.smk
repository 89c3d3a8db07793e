"""The plan of this config, the paths of its files, and the inputs that depend on wildcards."""

import os
import re
import signal
from functools import partial
from os.path import relpath
from pathlib import Path
from shlex import quote

import psutil

from xkd.errors import Refused
from xkd.monitor import pipeline
from xkd.monitor.failures import Failures
from xkd.monitor.logger import Reporter, Work
from xkd.monitor.outcome import closing
from xkd.monitor.targets import Translator
from xkd.plan import config as conf
from xkd.plan import costs, declarations, jobs
from xkd.plan.grid import Plan
from xkd.plan.runs import CELL, NAME, Cell, Run
from xkd.plan.settings import REINFORCEMENT
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger


def read_plan():
    """The checked config, its plan, and where it is kept; a mistake is a line, not a traceback.

    A job on a cluster starts Snakemake anew, and keeps to the config that it was submitted with.
    """
    given = workflow.config_settings
    here, beside = Path(conf.CONFIG), Path(workflow.basedir) / conf.CONFIG
    try:
        if workflow.remote_exec and conf.exported():
            effective = conf.load(conf.exported())
        else:
            effective = conf.load(
                here if here.exists() else beside,
                overlays=map(Path, given.configfiles),
                values=conf.typed(given.config),
            )
        plan = Plan(effective)
        return (
            effective,
            plan,
            conf.freeze(effective, plan.layout().root.parent / ".config"),
        )
    except Refused as problem:
        raise WorkflowError(str(problem)) from None


def close(number, frame):
    """End as after Ctrl-C: jobs leave checkpoints, and Snakemake takes its lock away."""
    for job in psutil.Process().children(recursive=True):
        job.send_signal(number)
    signal.raise_signal(signal.SIGINT)


# A terminal that is closed tells the first process of its session alone.
if workflow.is_main_process and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
    signal.signal(signal.SIGHUP, close)


CONFIG, PLAN, FROZEN = read_plan()
LAYOUT = PLAN.layout()
ROOT, LOGS = str(LAYOUT.root), f"logs/{PLAN.scale}"
ANALYSES = [
    name
    for name in declarations.known_modules("analyses")
    if name in CONFIG["analyses"]
]
conf.export(FROZEN)
if workflow.is_main_process and (killed := pipeline.unlock(LAYOUT.root.parent)):
    logger.warning(
        f"Process {killed}, a Snakemake that was killed, left its lock: removed."
    )
FAILURES = Failures()
REPORTER = Reporter(PLAN, LAYOUT, FAILURES)
logger.addHandler(FAILURES)
logger.addHandler(REPORTER)
logger.addFilter(
    Translator(PLAN, LAYOUT, lambda: [rule.name for rule in workflow.rules])
)

# Jobs find the library, this Python with what it was told to find, and the config of this very
# invocation, whoever edits config.yaml meanwhile. A conda environment has a Python and packages of
# its own. Braces are doubled once more, because Snakemake formats the prefix.
PYTHON, FOUND = (
    f"PATH={quote(str(Path(sys.executable).parent))}:$PATH ",
    "${{PYTHONPATH:+:$PYTHONPATH}}",
)
if workflow.deployment_settings.deployment_method:
    PYTHON = FOUND = ""
# Snakemake puts this Python into the commands of `script:` as it stands, spaces and all.
if Path(sys.executable).exists():
    sys.executable = quote(sys.executable)
    if "XKD_WARM" in os.environ:
        sys.executable += " -m xkd.warm --script"
shell.prefix(
    f"set -euo pipefail; export {PYTHON}XKD_CONFIG={quote(str(FROZEN))} "
    f"PYTHONPATH={quote(f'{workflow.basedir}/workflow')}{FOUND}; "
)


# Cells whose weights come from a file; nothing at all if there are none.
IMPORTED = "|".join(re.escape(str(cell)) for cell in PLAN.imported()) or "(?!)"
TRAINED = rf"(?!(?:{IMPORTED})/){CELL}"


wildcard_constraints:
    cell=CELL,
    run=rf"{CELL}/seed\d+",
    dataset=NAME,
    reinforcement=REINFORCEMENT,


def settings_of(wildcards):
    """Settings of the cell or run that the wildcards name."""
    if hasattr(wildcards, "cell"):
        cell = Cell.parse(wildcards.cell)
    else:
        cell = Run.parse(wildcards.run).cell
    return PLAN.settings(cell)


def data_of(wildcards):
    """Manifest of the prepared data set."""
    return str(LAYOUT.data(settings_of(wildcards).dataset.name) / "manifest.json")


def cell_of(wildcards):
    """Manifest of the cell that a run belongs to."""
    return str(LAYOUT.manifest(settings_of(wildcards).cell))


def teachers_of(wildcards):
    """Manifest of the teacher's cell, if there is a teacher."""
    teacher = settings_of(wildcards).teacher
    return [str(LAYOUT.manifest(teacher.cell))] if teacher else []


def trials_of(wildcards):
    """Settings of everything that a search tries."""
    search = settings_of(wildcards).search
    return [PLAN.settings(cell).slice() for _, cell in search.trials] if search else []


def trial_teachers_of(wildcards):
    """Manifests of the trials' teachers, who have not seen the hold-out images either."""
    search = settings_of(wildcards).search
    taught = (
        [PLAN.settings(cell).teacher for _, cell in search.trials] if search else []
    )
    return sorted({str(LAYOUT.manifest(teacher.cell)) for teacher in taught if teacher})


def weights_of(wildcards):
    """The file of an imported cell; one that may be fetched is the job's own affair."""
    settings = settings_of(wildcards)
    return [] if settings.weights.url else [str(jobs.weights_file(PLAN, settings))]


def searches_of(wildcards):
    """The search that decides a hyper-parameter, if one is searched."""
    settings = settings_of(wildcards)
    return [str(LAYOUT.search(settings.cell))] if settings.search else []


def tables_of(wildcards):
    """The teacher's table of logits, where it pays to have one.

    Tables are temporary. When one is made again for one student, Snakemake calls its other students
    back too; they find their seeds complete and train nothing.
    """
    table = jobs.table(PLAN, settings_of(wildcards))
    return [str(LAYOUT.table(*table))] if table else []


def headers_of(wildcards):
    """What the teacher's table says of itself."""
    return [table.removesuffix(".npy") + ".json" for table in tables_of(wildcards)]


# ----------------------------------------------------------------- what jobs need from a scheduler


def asked(cost):
    """The resources of a rule. cost: from wildcards to a `costs.Demand`.

    Jobs that are too short to queue for a GPU compute on the CPU; every attempt gets more.
    """
    return {
        "gpu": lambda wildcards: cost(wildcards).gpu,
        "device": lambda wildcards: "auto" if cost(wildcards).gpu else "cpu",
        "mem_mb": lambda wildcards, attempt: attempt * cost(wildcards).memory_mb,
        "runtime": lambda wildcards, attempt: attempt * cost(wildcards).minutes,
    }


def preparing(wildcards):
    return costs.preparation(PLAN.dataset(wildcards.dataset))


def training(wildcards):
    return costs.training(settings_of(wildcards), CONFIG["engine"])


def searching(wildcards):
    trials = [PLAN.settings(cell) for _, cell in settings_of(wildcards).search.trials]
    return costs.search(trials, CONFIG["engine"])


def importing(wildcards):
    return costs.arrival(settings_of(wildcards))


def tabulating(wildcards):
    return costs.tabulation(settings_of(wildcards))


def analysing(name, wildcards):
    """What one run of an analysis costs."""
    cost = declarations.declaration("analyses", name)["COST"]
    return costs.analysis(settings_of(wildcards), cost, options_of(name, wildcards))


# ------------------------------------------------------------------------------ analyses and items


def options_of(name, wildcards):
    """Options of an analysis for the run that the wildcards name."""
    return PLAN.analysis(name, Run.parse(wildcards.run).cell)


def analysis_inputs(name, wildcards):
    """Files that an analysis of a run reads."""
    return jobs.analysis_inputs(name, Run.parse(wildcards.run), LAYOUT)


def analysis_code(name, wildcards):
    return jobs.code_of_analysis(
        name, settings_of(wildcards), options_of(name, wildcards)
    )


def outputs_of(paper):
    """Files of all items of a paper that are not optional."""
    found = [
        path
        for item in PLAN.items_of(paper)
        for path in LAYOUT.item(item.kind, item.name).values()
    ]
    return found + (
        list(jobs.claims_page(paper, LAYOUT).values()) if PLAN.claimed(paper) else []
    )


def script_of(item):
    """The file that draws an item, relative to these rules where the project holds it."""
    path = (item.files.script or jobs.SCRIPTS / "table.py").resolve()
    rules = Path(workflow.basedir) / "workflow" / "rules"
    inside = path.is_relative_to(Path(workflow.basedir))
    return relpath(path, rules) if inside else str(path)


def shown(path, form, category, number, caption):
    """A file of an item, in Snakemake's report if it is one that people look at."""
    if form not in ("html", "png"):
        return path
    return report(
        path,
        caption=caption,
        category=category,
        subcategory=number,
        labels={"item": number, "form": form},
    )


# Items about which a paper claims something; nothing at all if there are none.
CLAIMED = (
    "|".join(re.escape(name) for name, item in PLAN.items.items() if item.claims)
    or "(?!)"
)


def claims_of(wildcards):
    """What an item's claims are judged by."""
    return jobs.claim_inputs(PLAN, PLAN.items[wildcards.item], LAYOUT)
