"""The result page: everything that came out, in one file that needs nothing else."""


rule page:
    """Verdicts first, then items, runs, curves, provenance, and what is missing."""
    input:
        [outputs_of(paper) for paper in CONFIG["papers"]],
    output:
        f"{ROOT}/index.html",
    log:
        f"{LOGS}/page.log",
    localrule: True
    conda:
        "../../envs/xkd.yaml"
    params:
        shown=[
            jobs.item_description(PLAN, item)
            for paper in CONFIG["papers"]
            for item in PLAN.items_of(paper)
        ],
        code=jobs.code_of_page(),
    shell:
        "python -m xkd page > {log} 2>&1"


rule reference:
    """The same page of the small files of complete runs in results/reference/."""
    input:
        sorted(map(str, Path("results/reference").glob("**/run.yaml"))),
    output:
        "results/reference/index.html",
    log:
        "logs/reference/page.log",
    localrule: True
    conda:
        "../../envs/xkd.yaml"
    params:
        code=jobs.code_of_page(),
    shell:
        "python -m xkd page --reference > {log} 2>&1"
