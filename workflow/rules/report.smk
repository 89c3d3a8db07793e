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


rule le:
    """All tables and figures of the LE paper."""
    input:
        outputs_of("LE"),


rule oracle:
    """All tables and figures of the Oracle paper."""
    input:
        outputs_of("Oracle"),
