rule prepare:
    """One compact, checked file per data set, from the original files."""
    output:
        data=f"{ROOT}/data/{{dataset}}/data.safetensors",
        manifest=f"{ROOT}/data/{{dataset}}/manifest.json",
    log:
        f"{LOGS}/prepare/{{dataset}}.log",
    conda:
        "../../envs/xkd.yaml"
    resources:
        **asked(preparing),
    params:
        settings=lambda wildcards: PLAN.dataset(wildcards.dataset).content(),
        code=lambda wildcards: jobs.code_of_data(PLAN.dataset(wildcards.dataset)),
    shell:
        "python -m xkd prepare {wildcards.dataset} > {log} 2>&1"
