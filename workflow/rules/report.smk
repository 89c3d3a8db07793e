"""One rule per item, named after it, so that `snakemake ITEM` draws just that one."""

for item in PLAN.items.values():

    rule:
        name:
            item.name
        input:
            **jobs.item_inputs(PLAN, item, LAYOUT),
        output:
            **{
                form: shown(
                    path,
                    form,
                    item.paper["label"],
                    item.entry["number"],
                    "../report/item.rst",
                )
                for form, path in LAYOUT.item(item.kind, item.name).items()
            },
        log:
            f"{LOGS}/{item.kind}/{item.name}.log",
        localrule: True
        conda:
            "../../envs/xkd.yaml"
        params:
            item=jobs.item_description(PLAN, item),
            code=jobs.code_of_drawing(item),
            script=script_of(item),
        script:
            "{params.script}"


rule judge:
    """Do the claims about an item hold: differences over paired seeds, and their intervals."""
    input:
        unpack(claims_of),
    output:
        f"{ROOT}/{{kind}}/{{item}}_claims.csv",
    log:
        f"{LOGS}/judge/{{kind}}/{{item}}.log",
    wildcard_constraints:
        kind="tables|figures",
        item=CLAIMED,
    localrule: True
    conda:
        "../../envs/xkd.yaml"
    params:
        item=lambda wildcards: jobs.item_description(PLAN, PLAN.items[wildcards.item]),
        code=jobs.code_of_claims("judge"),
    script:
        "../scripts/judge.py"


for paper in filter(PLAN.claimed, CONFIG["papers"]):

    rule:
        """All claims of a paper on one page."""
        name:
            f"{paper}_claims"
        input:
            [str(jobs.claims_file(item, LAYOUT)) for item in PLAN.claimed(paper)],
        output:
            **{
                form: shown(
                    path,
                    form,
                    "Claims",
                    CONFIG["papers"][paper]["label"],
                    "../report/claims.rst",
                )
                for form, path in jobs.claims_page(paper, LAYOUT).items()
            },
        log:
            f"{LOGS}/tables/{paper}_claims.log",
        localrule: True
        conda:
            "../../envs/xkd.yaml"
        params:
            paper=CONFIG["papers"][paper]["label"],
            scale=PLAN.scale,
            shown=[jobs.item_description(PLAN, item) for item in PLAN.claimed(paper)],
            code=jobs.code_of_claims("claims"),
        script:
            "../scripts/claims.py"


for paper in CONFIG["papers"]:

    rule:
        """All tables and figures of a paper."""
        name:
            paper
        input:
            outputs_of(paper),
