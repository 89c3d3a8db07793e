rule reinforce:
    """A teacher's answers to plain and reinforced images: logits, scores, x*, previews."""
    input:
        data=data_of,
        teacher=cell_of,
    output:
        f"{ROOT}/oracle/{{run}}/responses.json",
    params:
        settings=lambda wildcards: SETTLED["oracle_inputs"],
        code=lambda wildcards: jobs.code_of_inspection("answers", settings_of(wildcards)),
    log:
        f"logs/{PLAN.scale}/reinforce/{{run}}.log",
    conda:
        "../../envs/xkd.yaml"
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=120,
    shell:
        "python -m xkd reinforce {wildcards.run} > {log} 2>&1"


rule tabulate_teacher:
    """A frozen teacher's logits for every augmented view, on x or on x*, for all its students."""
    input:
        data=data_of,
        teacher=cell_of,
    output:
        table=temp(f"{ROOT}/teachers/{{run}}/{{reinforcement}}.npy"),
        header=temp(f"{ROOT}/teachers/{{run}}/{{reinforcement}}.json"),
    params:
        code=lambda wildcards: jobs.code_of_table(settings_of(wildcards)),
    log:
        f"logs/{PLAN.scale}/tabulate_teacher/{{run}}/{{reinforcement}}.log",
    conda:
        "../../envs/xkd.yaml"
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=240,
    shell:
        "python -m xkd tabulate_teacher {wildcards.run} --reinforcement {wildcards.reinforcement}"
        " --out {output.table} > {log} 2>&1"
