"""The plan of this config, the paths of its files, and the inputs that depend on wildcards."""

import re
from pathlib import Path
from shlex import quote

from xkd.plan import config as conf
from xkd.plan import costs, jobs
from xkd.errors import Refused
from xkd.monitor.failures import Failures
from xkd.plan.grid import Plan
from xkd.plan.runs import CELL, NAME, Cell, Run
from xkd.plan.settings import REINFORCEMENT
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger


def command_line_config():
    """What the command line adds to config.yaml: files first, then single values."""
    said = {}
    for file in workflow.config_settings.configfiles:
        conf.merge(said, load_configfile(file))
    return conf.merge(said, conf.typed(workflow.config_settings.config))


def read_plan():
    """The checked config, its plan, and where it is kept; a mistake is a line, not a traceback.

    A job on a cluster starts Snakemake anew, and keeps to the config that it was submitted with.
    """
    try:
        if workflow.remote_exec and conf.exported():
            settled = conf.load(conf.exported())
        else:
            settled = conf.effective(
                conf.merge(dict(config), command_line_config()), command_line_config()
            )
        plan = Plan(settled)
        return (
            settled,
            plan,
            conf.freeze(settled, plan.layout().root.parent / ".config"),
        )
    except Refused as problem:
        raise WorkflowError(str(problem)) from None


CONFIG, PLAN, CONFIG = read_plan()
LAYOUT = PLAN.layout()
ROOT = str(LAYOUT.root)
conf.export(CONFIG)
FAILURES = Failures()
logger.addHandler(FAILURES)

# Jobs find the library, this Python, and the config of this very invocation, whoever edits
# config.yaml meanwhile. Inside a conda environment its own Python comes first.
PYTHON = (
    ""
    if "--sdm" in sys.argv
    else f"PATH={quote(str(Path(sys.executable).parent))}:$PATH "
)
shell.prefix(
    f"set -euo pipefail; export {PYTHON}XKD_CONFIG={quote(str(CONFIG))} "
    f"PYTHONPATH={quote(f'{workflow.basedir}/workflow')}; "
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


# ---------------------------------------------------------------- what the jobs ask a scheduler for


def device(demand):
    """Where a job computes: what is too short to queue for a GPU leaves it to others."""
    return "auto" if demand.gpu else "cpu"


def preparation_of(wildcards):
    return costs.preparation(PLAN.dataset(wildcards.dataset))


def training_of(wildcards):
    return costs.training(settings_of(wildcards), CONFIG["engine"])


def search_of(wildcards):
    trials = [PLAN.settings(cell) for _, cell in settings_of(wildcards).search.trials]
    return costs.search(trials, CONFIG["engine"])


def arrival_of(wildcards):
    return costs.arrival(settings_of(wildcards))


def tabulation_of(wildcards):
    return costs.tabulation(settings_of(wildcards))


def questions_of(wildcards):
    return costs.questions(settings_of(wildcards), len(PLAN.reinforcements()))


def explanation_of(wildcards):
    return costs.explanation(settings_of(wildcards))


def clustering_of(wildcards):
    return costs.clustering(settings_of(wildcards), CONFIG["clusters"])


def outputs_of(*papers):
    """Files of all items of these papers that are not optional."""
    return [
        path
        for item in PLAN.items.values()
        if item.entry["paper"] in papers and not item.optional
        for path in LAYOUT.item(item.kind, item.name).values()
    ] + [
        path
        for paper in papers
        if PLAN.claimed(paper)
        for path in jobs.claims_page(paper, LAYOUT).values()
    ]


# Items about which a paper claims something; nothing at all if there are none.
CLAIMED = (
    "|".join(re.escape(name) for name, item in PLAN.items.items() if item.claims)
    or "(?!)"
)


def claims_of(wildcards):
    """What an item's claims are judged by."""
    return jobs.claim_inputs(PLAN, PLAN.items[wildcards.item], LAYOUT)


def script_of(name):
    """The file that draws an item, relative to these rules."""
    item = PLAN.items[name]
    return f"../scripts/{item.kind}/{item.script}.py"
