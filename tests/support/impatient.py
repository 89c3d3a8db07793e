"""Snakemake that looks after its SLURM jobs every second, not after 40 seconds and up to 3 minutes.

Otherwise it is the one that users run.
"""

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, seconds: None)

if __name__ == "__main__":
    main()
