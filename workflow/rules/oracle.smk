rule reinforce:
    """A teacher's answers to plain and reinforced images: logits, scores, x*, previews."""
    input:
        data=data_of,
        teacher=cell_of,
    output:
        f"{ROOT}/oracle/{{run}}/responses.json",
    log:
        f"logs/{PLAN.scale}/reinforce/{{run}}.log",
    conda:
        "../../envs/xkd.yaml"
    resources:
        gpu=lambda wildcards: questions_of(wildcards).gpu,
        device=lambda wildcards: device(questions_of(wildcards)),
        mem_mb=lambda wildcards, attempt: attempt * questions_of(wildcards).memory_mb,
        runtime=lambda wildcards, attempt: attempt * questions_of(wildcards).minutes,
    params:
        settings=lambda wildcards: CONFIG["oracle_inputs"],
        code=lambda wildcards: jobs.code_of_inspection(
            "answers", settings_of(wildcards)
        ),
    shell:
        "python -m xkd reinforce {wildcards.run} --device {resources.device} > {log} 2>&1"


rule tabulate_teacher:
    """A frozen teacher's logits for every augmented view, on x or on x*, for all its students."""
    input:
        data=data_of,
        teacher=cell_of,
    output:
        table=temp(f"{ROOT}/teachers/{{run}}/{{reinforcement}}.npy"),
        header=temp(f"{ROOT}/teachers/{{run}}/{{reinforcement}}.json"),
    log:
        f"logs/{PLAN.scale}/tabulate_teacher/{{run}}/{{reinforcement}}.log",
    conda:
        "../../envs/xkd.yaml"
    resources:
        gpu=lambda wildcards: tabulation_of(wildcards).gpu,
        device=lambda wildcards: device(tabulation_of(wildcards)),
        mem_mb=lambda wildcards, attempt: attempt * tabulation_of(wildcards).memory_mb,
        runtime=lambda wildcards, attempt: attempt * tabulation_of(wildcards).minutes,
    params:
        code=lambda wildcards: jobs.code_of_table(settings_of(wildcards)),
    shell:
        "python -m xkd tabulate_teacher {wildcards.run} --reinforcement {wildcards.reinforcement}"
        " --threads {threads} --device {resources.device}"
        " --out {output.table} > {log} 2>&1"
