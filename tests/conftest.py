"""Shared by all tests: the library on the path, and one thread, as every job of the pipeline has.

Bits depend on the number of threads, and threads that wait for each other on a busy machine crawl.
"""

import os
import sys
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workflow"))
