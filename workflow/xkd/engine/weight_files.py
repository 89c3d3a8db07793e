"""Files of weights, read without running their code: a state dict, plain or in a checkpoint."""

import argparse
import collections
import datetime
import pathlib
import pickle
import re
import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from xkd.errors import Refused

WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "network")
#: What training checkpoints hold beside the weights: plain containers of values, without code.
HARMLESS = [
    argparse.Namespace,
    collections.defaultdict,
    datetime.date,
    datetime.datetime,
    datetime.timedelta,
    dict,
    list,
    pathlib.PosixPath,
    (pathlib.PosixPath, "pathlib._local.PosixPath"),  # its name in Python 3.13
    np._core.multiarray.scalar,
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # its name before NumPy 2
    np._core.multiarray._reconstruct,
    (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
    np.ndarray,
    np.dtype,
    *(getattr(np.dtypes, f"{kind}{bits}DType") for kind in ("Int", "UInt") for bits in (8, 16, 32)),
    np.dtypes.Int64DType,
    np.dtypes.UInt64DType,
    np.dtypes.BoolDType,
    np.dtypes.Float16DType,
    np.dtypes.Float32DType,
    np.dtypes.Float64DType,
]
#: How files begin that come instead of weights, and what to do about them.
BEGINNINGS = (
    (
        rb"version https://git-lfs",
        "is a pointer of Git LFS, not the file: run `git lfs pull` there",
    ),
    (
        rb"\s*<(!doctype|html|\?xml)",
        "is a web page, not weights: open its address in a browser, save the file itself",
    ),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "is compressed: unpack it first"),
    (rb"\x89HDF", "is a file of HDF5: save a state dict by torch.save instead"),
    (rb"\x93NUMPY", "is an array of NumPy: save a state dict by torch.save instead"),
)
FETCH = "fetch it again"
SAVE = "where it was made, save torch.save(network.state_dict(), path) instead"
HEAD = 512  # bytes by which a file is recognised
LISTED = 12
PACKED = 20  # times its size that a file may unpack to; torch does not compress at all

Weights = dict[str, Tensor]


def read(path: Path) -> Weights:
    """The state dict in a file, names as they are there.

    Args:
        path: of the safetensors format, or anything that `torch.save` wrote; found by content.
    Raises: Refused when the file is absent, damaged or something else, holds a pickled network
        (whose code would have to run), or no state dict of ordinary tensors.
    """
    content = _content(path, _recognised(path))
    weights = {name: _tensor(value) for name, value in _unwrapped(content, path).items()}
    for name, value in weights.items():
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            kind = "quantised" if value.is_quantized else str(value.layout).removeprefix("torch.")
            raise Refused(f"{path}: {name} is {kind}; expected dense numbers; {SAVE}")
    return weights


def _recognised(path: Path) -> str:
    """`safetensors` or `torch`. Raises Refused, by name, for what is something else."""
    if path.is_dir():
        raise Refused(f"{path} is a folder; name the file of weights in it")
    if not path.is_file():
        raise Refused(f"{path} is missing; put the file there, or name another")
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise Refused(f"{path} is empty; {FETCH}")
    for beginning, what in BEGINNINGS:
        if re.match(beginning, head, re.IGNORECASE):
            raise Refused(f"{path} {what}")
    header = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header < path.stat().st_size:
        return "safetensors"
    if tarfile.is_tarfile(path):
        raise Refused(f"{path} is a tar archive: unpack it first")
    if head.startswith(b"PK"):
        _check_archive(path)
        return "torch"
    return "safetensors" if path.suffix == ".safetensors" else "torch"


def _check_archive(path: Path) -> None:
    """Raises Refused for a zip archive that torch did not write, or that unpacks to far more."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as problem:
        raise Refused(f"{path} is damaged ({_line(problem)}); {FETCH}") from None
    names = {member.filename.rpartition("/")[2] for member in members}
    unpacked, size = sum(member.file_size for member in members), path.stat().st_size
    if "constants.pkl" in names:
        raise Refused(f"{path} is TorchScript, a program; {SAVE}")
    if "data.pkl" not in names:
        known = "NumPy" if names and all(name.endswith(".npy") for name in names) else "zip"
        raise Refused(f"{path} is an archive of {known}, not of torch: unpack it, or {SAVE}")
    if unpacked > PACKED * size:
        raise Refused(
            f"{path} would unpack to {unpacked / 1e6:.0f} MB from {size / 1e6:.1f} MB, which no "
            f"weights do; {FETCH}"
        )


def _content(path: Path, kind: str) -> object:
    """What the file holds; readers of foreign bytes fail in every way there is.

    Their messages are not passed on where they could advise to run the code of a file.
    """
    try:
        if kind == "safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged files, to whom to report them
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        if found := re.search(r"GLOBAL (\S+)", str(problem)):
            raise Refused(
                f"{path} holds a pickled {found[1][:80]}, and unpickling it would run code; {SAVE}"
            ) from None
        if found := re.search(r"but got <class '(\S+)'>", str(problem)):
            raise Refused(
                f"{path} holds a {found[1][:80]} beside weights, or instead; {SAVE}"
            ) from None
        reason = "not understood by the reader of weights"
    except Exception as problem:
        reason = _line(problem)
        if "weights_only" in reason:
            reason = type(problem).__name__
    raise Refused(f"{path} is damaged, or no file of weights ({reason}); {FETCH}")


def _unwrapped(content: object, path: Path) -> Mapping[str, object]:
    """The state dict: under a usual name, or the only one there is, or the content itself."""
    inside = content if isinstance(content, Mapping) else {}
    named = [inside[name] for name in WRAPPERS if name in inside]
    others = [value for value in inside.values() if _is_state_dict(value)]
    for candidate in (*named, content, *(others if len(others) == 1 else [])):
        if _is_state_dict(candidate):
            return candidate
    found = f"a {type(content).__name__}"
    if isinstance(content, Mapping):
        keys = ", ".join(str(name)[:80] for name in list(content)[:LISTED])
        found += f" with {keys or 'nothing in it'}"
    raise Refused(
        f"{path}: found {' '.join(found.split())}; expected a state dict, plain or under one of "
        f"{', '.join(WRAPPERS)}"
    )


def _is_state_dict(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) for name in value)
        and all(isinstance(part, Tensor) or _is_numbers(part) for part in value.values())
    )


def _is_numbers(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub"


def _tensor(value: object) -> Tensor:
    return value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))


def _line(problem: BaseException) -> str:
    lines = str(problem).strip().splitlines()
    return lines[0][:200] if lines else type(problem).__name__
