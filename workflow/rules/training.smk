rule train:
    """All seeds of a cell in one job; seeds that are complete are not trained again."""
    input:
        data=data_of,
        teacher=teachers_of,
        table=tables_of,
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
