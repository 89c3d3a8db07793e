"""XKD: the tables and figures of papers on explainable knowledge distillation, regenerated.

What to run: config.yaml and workflow/papers/. How to run it: profiles/.
"""

import sys

sys.path.insert(0, f"{workflow.basedir}/workflow")


resource_scopes:
    gpu="local",


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/analysis.smk"
include: "workflow/rules/report.smk"


rule all:
    """All tables and figures of all papers, optional ones aside."""
    default_target: True
    input:
        [outputs_of(paper) for paper in CONFIG["papers"]],


onsuccess:
    shell("python -m xkd where")


onerror:
    print("\n".join(FAILURES.summary(sys.argv)), file=sys.stderr)
