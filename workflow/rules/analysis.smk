"""One rule per file of workflow/xkd/analyses/, named after it."""

for name in ANALYSES:

    rule:
        """An analysis of a trained network; its file says of what."""
        name:
            name
        input:
            unpack(partial(analysis_inputs, name)),
        output:
            **jobs.analysis_outputs(name, "{run}", LAYOUT),
            analysis=jobs.analysis_card(name, "{run}", LAYOUT),
        log:
            f"{LOGS}/{name}/{{run}}.log",
        conda:
            "../../envs/xkd.yaml"
        threads: lambda wildcards, analysis=name: analysing(analysis, wildcards).threads
        resources:
            **asked(partial(analysing, name)),
        params:
            analysis=name,
            options=partial(options_of, name),
            code=partial(analysis_code, name),
        shell:
            "python -m xkd analyse {params.analysis} {wildcards.run} --threads {threads}"
            " --device {resources.device} > {log} 2>&1"
