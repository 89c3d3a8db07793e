"""Copied to a project under test as `sitecustomize`: makes training wait where a test wants it.

While a file `hold` lies in the project, `xkd train` stops after its hundredth step, leaves a file
`held.<SLURM job>` that tells what it saw, and waits for the file to go, or for a signal. So jobs
take as long as a test needs, and no processor time.

It leaves a checkpoint at every epoch, not every minute, for on SLURM a signal is not to be relied
on: the `srun` around a job gets it as well and then kills the job at once, perhaps before the job
has written what it was going to write.
"""

import os
import sys
import time
from pathlib import Path

STEPS = 100

if sys.orig_argv[1:4] == ["-m", "xkd", "train"]:
    from xkd.engine.options import EngineOptions
    from xkd.engine.stopping import Stop

    given = EngineOptions.__init__

    def often(self: EngineOptions, **options: object) -> None:
        given(self, **{"checkpoint_minutes": 0, **options})

    EngineOptions.__init__ = often

    look = Stop.requested.fget
    steps = 0

    def requested(self: Stop) -> int | None:
        global steps
        steps += 1
        while steps >= STEPS and Path("hold").exists() and look(self) is None:
            job = os.environ.get("SLURM_JOB_ID", "none")
            Path(f"held.{job}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "unset"))
            time.sleep(0.05)
        return look(self)

    Stop.requested = property(requested)
