"""The plan of this config, the paths of its files, and the inputs that depend on wildcards."""

from dataclasses import asdict
from pathlib import Path
from shlex import quote

from xkd import config as conf
from xkd import jobs
from xkd.errors import Refused
from xkd.plan import Plan
from xkd.runs import CELL, NAME, Cell, Run
from snakemake.exceptions import WorkflowError


def read_plan():
    """The checked plan; a mistake in the config is one line, not a traceback."""
    try:
        settled = conf.settle(config, workflow.config_settings.overwrite_config)
        return settled, Plan(settled)
    except Refused as problem:
        raise WorkflowError(str(problem)) from None


SETTLED, PLAN = read_plan()
LAYOUT = PLAN.layout()
ROOT = str(LAYOUT.root)
CONFIG = conf.freeze(SETTLED, LAYOUT.root.parent / ".config")

# Jobs find the library, this Python, and the config of this very invocation, whoever edits
# config.yaml meanwhile. Inside a conda environment its own Python comes first.
PYTHON = "" if "--sdm" in sys.argv else f"PATH={quote(str(Path(sys.executable).parent))}:$PATH "
shell.prefix(
    f"set -euo pipefail; export {PYTHON}XKD_CONFIG={quote(str(CONFIG))} "
    f"PYTHONPATH={quote(f'{workflow.basedir}/workflow')}; "
)


wildcard_constraints:
    cell=CELL,
    run=rf"{CELL}/seed\d+",
    dataset=NAME,
    reinforcement=r"(gradient|sign|random)-[0-9.e+-]+",


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


def tables_of(wildcards):
    """The teacher's table of logits, where it pays to have one."""
    table = jobs.table(PLAN, settings_of(wildcards))
    return [str(LAYOUT.table(*table))] if table else []
