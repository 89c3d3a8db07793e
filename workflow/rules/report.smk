"""One rule per item, named after it, so that `snakemake le_table6` draws just that one."""

for item in PLAN.items.values():
    # `script:` is read here, and again when the job runs, where Snakemake itself sets `rule`.
    globals()["rule"] = item.name

    rule:
        name:
            item.name
        input:
            **jobs.item_inputs(PLAN, item, LAYOUT),
        output:
            **{
                form: (
                    report(
                        path,
                        caption="../report/item.rst",
                        category=item.entry["paper"],
                        subcategory=item.entry["number"],
                        labels={"item": item.entry["number"], "form": form},
                    )
                    if form in ("html", "png")
                    else path
                )
                for form, path in LAYOUT.item(item.kind, item.name).items()
            },
        log:
            f"logs/{PLAN.scale}/{item.kind}/{item.name}.log",
        localrule: True
        conda:
            "../../envs/xkd.yaml"
        params:
            item=jobs.item_description(PLAN, item),
            code=jobs.code_of_drawing(item),
        script:
            script_of(rule)


rule judge:
    """Do the claims about an item hold: differences over paired seeds, and their intervals."""
    input:
        unpack(claims_of),
    output:
        f"{ROOT}/{{kind}}/{{item}}_claims.csv",
    log:
        f"logs/{PLAN.scale}/judge/{{kind}}/{{item}}.log",
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


for paper in filter(PLAN.claimed, ("LE", "Oracle")):

    rule:
        """All claims of a paper on one page."""
        name:
            f"{paper.lower()}_claims"
        input:
            [str(jobs.claims_file(item, LAYOUT)) for item in PLAN.claimed(paper)],
        output:
            **{
                form: (
                    report(
                        path,
                        caption="../report/claims.rst",
                        category="Claims",
                        labels={"item": paper, "form": form},
                    )
                    if form == "html"
                    else path
                )
                for form, path in jobs.claims_page(paper, LAYOUT).items()
            },
        log:
            f"logs/{PLAN.scale}/tables/{paper.lower()}_claims.log",
        localrule: True
        conda:
            "../../envs/xkd.yaml"
        params:
            paper=paper,
            scale=PLAN.scale,
            shown=[jobs.item_description(PLAN, item) for item in PLAN.claimed(paper)],
            code=jobs.code_of_claims("claims"),
        script:
            "../scripts/claims.py"


rule le:
    """All tables and figures of the LE paper."""
    input:
        outputs_of("LE"),


rule oracle:
    """All tables and figures of the Oracle paper."""
    input:
        outputs_of("Oracle"),
