rule prepare:
    """One compact, checked file per data set, from the original files."""
    output:
        data=f"{ROOT}/data/{{dataset}}/data.safetensors",
        manifest=f"{ROOT}/data/{{dataset}}/manifest.json",
    log:
        f"logs/{PLAN.scale}/prepare/{{dataset}}.log",
    conda:
        "../../envs/xkd.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: attempt * preparation_of(wildcards).memory_mb,
        runtime=lambda wildcards, attempt: attempt * preparation_of(wildcards).minutes,
    params:
        settings=lambda wildcards: PLAN.dataset(wildcards.dataset).content(),
        code=lambda wildcards: jobs.code_of_data(PLAN.dataset(wildcards.dataset)),
    shell:
        "python -m xkd prepare {wildcards.dataset} > {log} 2>&1"
