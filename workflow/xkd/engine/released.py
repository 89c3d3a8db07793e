"""Weights of other code bases: read without running their code, and brought under our names.

A file holds a state dict, plain or inside a training checkpoint. Whose names it has is said in the
config (`keys`):

    xkd          our own `weights.safetensors`
    torchvision  its ResNets, whose names are ours
    repdistiller CIFAR ResNets of RepDistiller, mdistiller, SAD and the Oracle release: our names.
                 In SAD and Oracle a block starts with the ReLU that ends the one before it: the
                 same function, but what they call outputs of blocks is signed. Ours never are.
    akamaster    `linear` and `shortcut`, as in akamaster's pytorch_resnet_cifar10 and in
                 kuangliu's pytorch-cifar; with shortcuts of type A where those have no weights
"""

import argparse
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xkd.errors import Refused
from xkd.files import reading
from xkd.networks import Network
from xkd.readers import read_tensors, unpickled

#: keys -> pairs of a pattern in their names, and what we write instead
KEYS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "akamaster": ((r"^linear\.", "fc."), (r"\.shortcut\.", ".downsample.")),
    "repdistiller": (),
    "torchvision": (),
    "xkd": (),
}
WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "network")
#: What training checkpoints hold beside the weights: plain containers of values, without code.
HARMLESS = [
    argparse.Namespace,
    np._core.multiarray.scalar,
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # its name before NumPy 2
    np.dtype,
    np.dtypes.Float32DType,
    np.dtypes.Float64DType,
]
COUNTERS = "num_batches_tracked"  # absent from older files, and of no effect here
LISTED = 12

Weights = dict[str, Tensor]


def read(path: Path) -> Weights:
    """The state dict in a file, names as they are but for a `module.` that all of them share.

    Args:
        path: `.safetensors`, or anything that `torch.save` wrote.
    Raises: Refused when the file is absent or damaged, holds a pickled network (whose code would
        have to run), or no state dict.
    """
    if not path.is_file():
        raise Refused(f"{path} is missing; put the file there, or name another")
    again = "is it a file of weights? if so, fetch it again"
    if path.suffix == ".safetensors":
        content = read_tensors(path, mend=again)
    else:
        with reading(path, again), path.open("rb") as file:
            try:
                with torch.serialization.safe_globals(HARMLESS):
                    content = unpickled(file)
            except pickle.UnpicklingError as problem:
                raise Refused(f"{path} {_pickled(str(problem))}") from None
    weights = _unwrap(content, path)
    if all(name.startswith("module.") for name in weights):  # nn.DataParallel
        weights = {name.removeprefix("module."): value for name, value in weights.items()}
    return weights


def _pickled(problem: str) -> str:
    """What to say of a pickle that holds more than tensors."""
    found = re.search(r"GLOBAL (\S+)", problem)
    if found is None:
        return "is damaged (no tensors can be read); is it a file of weights? if so, fetch it again"
    return (
        f"holds a pickled {found[1]}, and unpickling it would run code; where it was made, save "
        "torch.save(network.state_dict(), path) instead"
    )


def _unwrap(content: object, path: Path) -> Weights:
    inside = [content[name] for name in WRAPPERS if isinstance(content, dict) and name in content]
    for candidate in (*inside, content):
        if isinstance(candidate, dict) and candidate and _only_tensors(candidate.values()):
            _refuse_strange(candidate, path)
            return dict(candidate)
    found = type(content).__name__
    if isinstance(content, dict):
        found += f" with {', '.join(map(str, list(content)[:LISTED])) or 'nothing in it'}"
    raise Refused(
        f"{path}: found a {found}; expected a state dict, plain or under one of "
        f"{', '.join(WRAPPERS)}"
    )


def _only_tensors(values: Iterable[object]) -> bool:
    return all(isinstance(value, Tensor) for value in values)


def _refuse_strange(weights: dict[object, Tensor], path: Path) -> None:
    """Raises Refused for names that are no text, and for tensors that are not plain numbers."""
    for name, value in weights.items():
        if not isinstance(name, str):
            raise Refused(
                f"{path}: found a tensor named {name!r}, expected a state dict, whose names are "
                "text such as 'fc.weight'; save network.state_dict() where it was made"
            )
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            kind = "quantised" if value.is_quantized else str(value.layout).removeprefix("torch.")
            raise Refused(
                f"{path}: '{name}' is {'empty' if value.is_meta else kind}, expected plain "
                "(strided) numbers; save the network before it was converted"
            )
        if value.is_complex():
            raise Refused(f"{path}: '{name}' is {value.dtype}, expected real numbers")


def translate(weights: Weights, keys: str) -> Weights:
    """The same under our names."""
    renamed = {}
    for name, value in weights.items():
        for pattern, ours in KEYS[keys]:
            name = re.sub(pattern, ours, name)
        renamed[name] = value
    return renamed


def fill(network: Network, weights: Weights, keys: str, what: str) -> None:
    """Load weights with the names of `keys` into a network of ours.

    Args:
        what: the file and what it is taken for, for messages.
    Raises: Refused, and lists the parameters that are missing, left over, or of another shape.
    """
    ours, expected = translate(weights, keys), network.state_dict()
    missing, extra = _compared(ours, expected)
    if missing or extra:
        told = [f"missing: {_listed(missing)}"] if missing else []
        told += [f"not expected: {_listed(extra)}"] if extra else []
        raise Refused(f"{what}: {'; '.join(told)}; {_hint(weights, expected, missing, extra)}")
    other = [name for name, value in ours.items() if value.shape != expected[name].shape]
    if other:
        raise Refused(f"{what}: {_misshapen(network, ours, expected, other)}")
    network.load_state_dict({**expected, **ours})


def _compared(ours: Weights, expected: Weights) -> tuple[list[str], list[str]]:
    """Names that are missing, and names that are left over."""
    missing = [name for name in expected if name not in ours and not name.endswith(COUNTERS)]
    return missing, [name for name in ours if name not in expected]


def _hint(weights: Weights, expected: Weights, missing: list[str], extra: list[str]) -> str:
    """What may be wrong with the config, rather than with the file."""
    for keys in KEYS:
        if _compared(translate(weights, keys), expected) == ([], []):
            return f"with keys: {keys} all would fit"
    if not extra and all(".downsample." in name for name in missing):
        return "its shortcuts have no weights: give the network shortcut: A"
    if not missing and all(".downsample." in name for name in extra):
        return "its shortcuts have weights: give the network shortcut: B"
    return f"is it another network, or other keys than {', '.join(KEYS)}?"


def _misshapen(network: Network, ours: Weights, expected: Weights, names: list[str]) -> str:
    head = next(name for name, part in network.named_modules() if part is network.classifier)
    found, wanted = (len(weights[f"{head}.bias"]) for weights in (ours, expected))
    if all(name.startswith(f"{head}.") for name in names) and found != wanted:
        return f"found {found} classes, expected {wanted}; is it for another data set?"
    shapes = [f"{n} {list(ours[n].shape)}, expected {list(expected[n].shape)}" for n in names]
    return f"other shapes: {_listed(shapes)}; is it another width or stem?"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
