rule import_weights:
    """Weights trained elsewhere, under our names; refused if they do not score as they should."""
    input:
        data=data_of,
        weights=weights_of,
    output:
        f"{ROOT}/runs/{{cell}}/cell.json",
    log:
        f"logs/{PLAN.scale}/import_weights/{{cell}}.log",
    wildcard_constraints:
        cell=IMPORTED,
    conda:
        "../../envs/xkd.yaml"
    resources:
        gpu=lambda wildcards: arrival_of(wildcards).gpu,
        device=lambda wildcards: device(arrival_of(wildcards)),
        mem_mb=lambda wildcards, attempt: attempt * arrival_of(wildcards).memory_mb,
        runtime=lambda wildcards, attempt: attempt * arrival_of(wildcards).minutes,
    params:
        settings=lambda wildcards: settings_of(wildcards).slice(),
        code=lambda wildcards: jobs.code_of_import(settings_of(wildcards)),
    shell:
        "python -m xkd import_weights {wildcards.cell} --device {resources.device} > {log} 2>&1"


rule search:
    """All trials of a search in one job, and the winner on the hold-out split."""
    input:
        data=data_of,
        teachers=trial_teachers_of,
    output:
        f"{ROOT}/runs/{{cell}}/search.json",
    log:
        f"logs/{PLAN.scale}/search/{{cell}}.log",
    conda:
        "../../envs/xkd.yaml"
    threads: lambda wildcards: search_of(wildcards).threads
    resources:
        gpu=lambda wildcards: search_of(wildcards).gpu,
        device=lambda wildcards: device(search_of(wildcards)),
        mem_mb=lambda wildcards, attempt: attempt * search_of(wildcards).memory_mb,
        runtime=lambda wildcards, attempt: attempt * search_of(wildcards).minutes,
    params:
        trials=lambda wildcards: trials_of(wildcards),
        code=lambda wildcards: jobs.code_of_search(settings_of(wildcards)),
        precision=CONFIG["engine"]["precision"],
    shell:
        "python -m xkd search {wildcards.cell} --threads {threads} --device {resources.device}"
        " > {log} 2>&1"


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
    log:
        f"logs/{PLAN.scale}/train/{{cell}}.log",
    wildcard_constraints:
        cell=TRAINED,
    conda:
        "../../envs/xkd.yaml"
    threads: lambda wildcards: training_of(wildcards).threads
    resources:
        gpu=lambda wildcards: training_of(wildcards).gpu,
        device=lambda wildcards: device(training_of(wildcards)),
        mem_mb=lambda wildcards, attempt: attempt * training_of(wildcards).memory_mb,
        runtime=lambda wildcards, attempt: attempt * training_of(wildcards).minutes,
    params:
        seeds=lambda wildcards: settings_of(wildcards).seeds,
        settings=lambda wildcards: settings_of(wildcards).slice(),
        code=lambda wildcards: jobs.code_of_training(settings_of(wildcards)),
        precision=CONFIG["engine"]["precision"],
        table=lambda wildcards, input: f"--table {input.table}" if input.table else "",
        launcher=lambda wildcards: jobs.launcher(PLAN, settings_of(wildcards)),
    shell:
        "python -m {params.launcher}xkd train {wildcards.cell} --threads {threads} --device {resources.device}"
        " {params.table} > {log} 2>&1"
