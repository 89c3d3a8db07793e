rule search:
    """All trials of a search in one job, and the winner on the hold-out split."""
    input:
        data=data_of,
        teachers=trial_teachers_of,
    output:
        f"{ROOT}/runs/{{cell}}/search.json",
    params:
        trials=lambda wildcards: trials_of(wildcards),
        code=lambda wildcards: jobs.code_of_search(settings_of(wildcards)),
        precision=SETTLED["engine"]["precision"],
    log:
        f"logs/{PLAN.scale}/search/{{cell}}.log",
    conda:
        "../../envs/xkd.yaml"
    threads: lambda wildcards: jobs.threads(settings_of(wildcards))
    resources:
        gpu=1,
        mem_mb=lambda wildcards: jobs.memory_mb(settings_of(wildcards)),
        runtime=lambda wildcards, attempt: attempt * jobs.minutes(settings_of(wildcards)),
    shell:
        "python -m xkd search {wildcards.cell} --threads {threads} > {log} 2>&1"


rule train:
    """All seeds of a cell in one job; seeds that are complete are not trained again."""
    input:
        data=data_of,
        teacher=teachers_of,
        table=tables_of,
        header=headers_of,
        search=searches_of,
    output:
        f"{ROOT}/runs/{{cell}}/cell.json",
    params:
        seeds=lambda wildcards: settings_of(wildcards).seeds,
        settings=lambda wildcards: settings_of(wildcards).slice(),
        code=lambda wildcards: jobs.code_of_training(settings_of(wildcards)),
        precision=SETTLED["engine"]["precision"],
        table=lambda wildcards, input: f"--table {input.table}" if input.table else "",
    log:
        f"logs/{PLAN.scale}/train/{{cell}}.log",
    conda:
        "../../envs/xkd.yaml"
    threads: lambda wildcards: jobs.threads(settings_of(wildcards))
    resources:
        gpu=1,
        mem_mb=lambda wildcards: jobs.memory_mb(settings_of(wildcards)),
        runtime=lambda wildcards, attempt: attempt * jobs.minutes(settings_of(wildcards)),
    shell:
        "python -m xkd train {wildcards.cell} --threads {threads} {params.table} > {log} 2>&1"
