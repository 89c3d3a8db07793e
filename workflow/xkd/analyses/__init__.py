"""What trained networks are asked after training: one analysis a file, found by its name.

A file declares in literals, which are read without importing it,

    READS     what it needs besides the run itself: "data", "weights", or other analyses
    OUTPUTS   key -> file; tables and figures that need the analysis get these files by their keys
    OPTIONS   JSON-schema properties of its section under `analyses:` in the config; `within` names
              an option (`analysis.option`) whose list holds every value, `above` a smaller option
    COST      what a scheduler is to be told; see `xkd.plan.costs.analysis`

and has `analyse(request)`, which writes the outputs; see `base.Request`. To add one: the file here,
and an entry under `analyses:`.
"""
