"""Readers of arrays, tensors and tables: any failure is one line, and sizes are looked at first.

Libraries trust what a file says of itself: a megabyte may unpack to gigabytes, and then the system
ends whatever is running. So the sizes in an archive's directory are added up before it is unpacked.
"""

import os
import zipfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xkd.files import AGAIN, reading

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

AFFECTS_RESULTS = False
FREE = 64 * 2**20  # bytes that anything may unpack to
COMPRESSED = 100  # times its size, at most, that an archive of arrays unpacks to
STORED = 4  # likewise one that torch wrote, which compresses nothing


def read_npz(path: Path, needed: Iterable[str] = (), mend: str = AGAIN) -> dict[str, NDArray]:
    """All arrays of an archive.

    Raises: Refused when it is absent, damaged, far larger than its file, or lacks a needed array.
    """
    path = Path(path)
    with reading(path, mend), path.open("rb") as file:
        look_at_size(file, COMPRESSED)
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        _require(needed, arrays)
    return arrays


def map_npy(path: Path, mode: str = "r", mend: str = AGAIN) -> np.memmap:
    """One array, mapped into memory. Raises Refused when the file is absent or damaged."""
    with reading(path, mend):
        mapped = np.load(path, mmap_mode=mode, allow_pickle=False)
        if not isinstance(mapped, np.memmap):
            raise ValueError("it is no plain array")
    return mapped


def read_tensors(path: Path, needed: Iterable[str] = (), mend: str = AGAIN) -> "dict[str, Tensor]":
    """All tensors of a safetensors file, mapped into memory, on the CPU.

    Raises: Refused when the file is absent, damaged, or lacks a needed tensor.
    """
    from safetensors.torch import load_file

    with reading(path, mend):
        tensors = load_file(path)
        _require(needed, tensors)
    return tensors


def read_csv(path: Path, needed: Iterable[str] = (), mend: str = AGAIN) -> "pd.DataFrame":
    """A table. Raises Refused when the file is absent, damaged, or lacks a needed column."""
    import pandas as pd

    with reading(path, mend):
        frame = pd.read_csv(path)
        _require(needed, frame.columns)
    return frame


def unpickled(file: IO[bytes]) -> Any:
    """What `torch.save` wrote: tensors and plain containers, on the CPU; no code is run.

    Call under `reading`. Raises: whatever torch raises for a file that is damaged or holds more.
    """
    import torch

    look_at_size(file, STORED)
    return torch.load(file, map_location="cpu", weights_only=True)


def look_at_size(file: IO[bytes], times: float) -> None:
    """Raises ValueError when a zip archive would unpack to many times its size on the disk."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if zipfile.is_zipfile(file):
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > max(FREE, times * size):
            raise ValueError(f"{size / 1e6:.1f} MB that would unpack to {unpacked / 1e6:.0f} MB")
    file.seek(0)


def _require(needed: Iterable[str], found: Collection[str]) -> None:
    """Raises ValueError with the names that are not there."""
    if absent := [name for name in needed if name not in found]:
        raise ValueError(
            f"it lacks {', '.join(absent)}; found {', '.join(map(str, found)) or 'none'}"
        )
