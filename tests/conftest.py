"""Shared by all tests: the library on the path, one thread, small synthetic material."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workflow"))
