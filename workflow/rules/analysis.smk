rule cluster:
    """t-SNE embeddings and silhouettes of a teacher's answers, over gamma."""
    input:
        f"{ROOT}/oracle/{{run}}/responses.json",
    output:
        scores=f"{ROOT}/analysis/clusters/{{run}}/clusters.csv",
        embeddings=f"{ROOT}/analysis/clusters/{{run}}/embeddings.npz",
    log:
        f"logs/{PLAN.scale}/cluster/{{run}}.log",
    conda:
        "../../envs/xkd.yaml"
    threads: lambda wildcards: clustering_of(wildcards).threads
    resources:
        mem_mb=lambda wildcards, attempt: attempt * clustering_of(wildcards).memory_mb,
        runtime=lambda wildcards, attempt: attempt * clustering_of(wildcards).minutes,
    params:
        settings=CONFIG["clusters"],
        code=lambda wildcards: jobs.code_of_inspection(
            "clusters", settings_of(wildcards)
        ),
    shell:
        "python -m xkd cluster {wildcards.run} --threads {threads} > {log} 2>&1"


rule explain:
    """One explanation per class of some test images, and class similarity over all of them."""
    input:
        data=data_of,
        cell=cell_of,
    output:
        grid=f"{ROOT}/analysis/explanations/{{run}}/explanations.npz",
        similarity=f"{ROOT}/analysis/explanations/{{run}}/class_similarity.npz",
    log:
        f"logs/{PLAN.scale}/explain/{{run}}.log",
    conda:
        "../../envs/xkd.yaml"
    resources:
        gpu=lambda wildcards: explanation_of(wildcards).gpu,
        device=lambda wildcards: device(explanation_of(wildcards)),
        mem_mb=lambda wildcards, attempt: attempt * explanation_of(wildcards).memory_mb,
        runtime=lambda wildcards, attempt: attempt * explanation_of(wildcards).minutes,
    params:
        pairs=lambda wildcards: CONFIG["class_pairs"].get(
            settings_of(wildcards).dataset.name
        ),
        code=lambda wildcards: jobs.code_of_inspection(
            "explanations", settings_of(wildcards)
        ),
    shell:
        "python -m xkd explain {wildcards.run} --device {resources.device} > {log} 2>&1"
