"""XKD: every table and figure of two papers on explainable knowledge distillation.

What to run is said in config.yaml, how to run it in workflow/profiles/.
"""

import sys

sys.path.insert(0, f"{workflow.basedir}/workflow")


configfile: "config.yaml"


resource_scopes:
    gpu="local",


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/oracle.smk"
include: "workflow/rules/analysis.smk"
include: "workflow/rules/report.smk"


rule all:
    """Everything: all tables and figures of both papers."""
    default_target: True
    input:
        rules.le.input,
        rules.oracle.input,


onsuccess:
    shell("python -m xkd where")


onerror:
    print("\n".join(FAILURES.summary(sys.argv)), file=sys.stderr)
