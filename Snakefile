"""XKD: the tables and figures of papers on explainable knowledge distillation, regenerated.

What to run: config.yaml and workflow/papers/. How to run it: profiles/.
"""

import os
import sys

from snakemake.settings.enums import Quietness

sys.path.insert(0, f"{workflow.basedir}/workflow")


resource_scopes:
    gpu="local",


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/analysis.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/page.smk"


rule all:
    """All tables and figures of all papers, optional ones aside."""
    default_target: True
    input:
        [outputs_of(paper) for paper in CONFIG["papers"]],
        rules.page.output,


onstart:
    REPORTER.begin(Work.of(workflow.dag.needrun_jobs()))
    if Quietness.RULES in (workflow.output_settings.quiet or ()):
        REPORTER.replace(logger)


onsuccess:
    REPORTER.end()
    if "XKD_REPORT_FOLLOWS" not in os.environ:  # after the report
        made = [str(path) for job in workflow.dag.jobs for path in job.output]
        print("\n".join(closing(PLAN, LAYOUT, made)), file=sys.stderr)


onerror:
    REPORTER.end()
    print("\n".join(FAILURES.summary(sys.argv)), file=sys.stderr)
