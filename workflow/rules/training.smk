rule import_weights:
    """Weights trained elsewhere, under our names; refused if they do not score as they should."""
    input:
        data=data_of,
        weights=weights_of,
    output:
        f"{ROOT}/runs/{{cell}}/cell.json",
    log:
        f"{LOGS}/import_weights/{{cell}}.log",
    wildcard_constraints:
        cell=IMPORTED,
    conda:
        "../../envs/xkd.yaml"
    resources:
        **asked(importing),
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
        f"{LOGS}/search/{{cell}}.log",
    conda:
        "../../envs/xkd.yaml"
    threads: lambda wildcards: searching(wildcards).threads
    resources:
        **asked(searching),
    params:
        trials=lambda wildcards: trials_of(wildcards),
        code=lambda wildcards: jobs.code_of_search(settings_of(wildcards)),
        precision=CONFIG["engine"]["precision"],
    shell:
        "python -m xkd search {wildcards.cell} --threads {threads} --device {resources.device}"
        " > {log} 2>&1"


rule tabulate_teacher:
    """A frozen teacher's logits for every augmented view, on x or on x*, for all its students."""
    input:
        data=data_of,
        teacher=cell_of,
    output:
        table=temp(f"{ROOT}/teachers/{{run}}/{{reinforcement}}.npy"),
        header=temp(f"{ROOT}/teachers/{{run}}/{{reinforcement}}.json"),
    log:
        f"{LOGS}/tabulate_teacher/{{run}}/{{reinforcement}}.log",
    conda:
        "../../envs/xkd.yaml"
    resources:
        **asked(tabulating),
    params:
        code=lambda wildcards: jobs.code_of_table(settings_of(wildcards)),
    shell:
        "python -m xkd tabulate_teacher {wildcards.run} --reinforcement {wildcards.reinforcement}"
        " --threads {threads} --device {resources.device}"
        " --out {output.table} > {log} 2>&1"


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
        f"{LOGS}/train/{{cell}}.log",
    wildcard_constraints:
        cell=TRAINED,
    conda:
        "../../envs/xkd.yaml"
    threads: lambda wildcards: training(wildcards).threads
    resources:
        **asked(training),
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
