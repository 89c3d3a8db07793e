"""Weights of other code bases, brought under our names.

Whose names a file has is said in the config (`keys`):

    xkd          our own `weights.safetensors`
    torchvision  its ResNets, whose names are ours
    repdistiller CIFAR ResNets of RepDistiller, mdistiller, SAD and the Oracle release: our names.
                 In SAD and Oracle a block starts with the ReLU that ends the one before it: the
                 same function, but what they call outputs of blocks is signed. Ours never are.
    akamaster    `linear` and `shortcut`, as in akamaster's pytorch_resnet_cifar10 and in
                 kuangliu's pytorch-cifar; with shortcuts of type A where those have no weights

What wrappers put before all names (`module.`, `_orig_mod.`, `model.`, ...) is taken off.
"""

import re
from collections.abc import Iterator, Mapping

from xkd.engine.weight_files import LISTED, Weights
from xkd.errors import Refused
from xkd.networks import Network

#: keys -> pairs of a pattern in their names, and what we write instead
KEYS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "akamaster": ((r"^linear\.", "fc."), (r"\.shortcut\.", ".downsample.")),
    "repdistiller": (),
    "torchvision": (),
    "xkd": (),
}
COUNTERS = "num_batches_tracked"  # absent from older files, and of no effect here
COUNTED = ("total_ops", "total_params")  # what the profiler thop leaves behind


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
    expected = network.state_dict()
    weights = _without_prefix(weights, expected)
    ours = translate(weights, keys)
    missing, extra = _compared(ours, expected)
    if missing or extra:
        told = [f"missing: {_listed(missing)}"] if missing else []
        told += [f"not expected: {_listed(extra)}"] if extra else []
        raise Refused(f"{what}: {'; '.join(told)}; {_hint(weights, expected, missing, extra)}")
    other = [name for name, value in ours.items() if value.shape != expected[name].shape]
    if other:
        raise Refused(f"{what}: {_misshapen(network, ours, expected, other)}")
    network.load_state_dict({**expected, **ours})


def _without_prefix(weights: Weights, expected: Weights) -> Weights:
    """The weights under the shortest names by which, whosever they are, all of them fit.

    If there are none, only what torch itself puts before names is taken off.
    """
    weights = {
        re.sub(r"(^|\.)_orig_mod\.", r"\1", name): value  # torch.compile
        for name, value in weights.items()
        if name.rpartition(".")[2] not in COUNTED
    }
    shorter = list(_shortened(weights))
    for candidate in shorter:
        if any(_compared(translate(candidate, keys), expected) == ([], []) for keys in KEYS):
            return candidate
    parallel = len(shorter) > 1 and all(name.startswith("module.") for name in weights)
    return shorter[1] if parallel else weights


def _shortened(weights: Weights) -> Iterator[Weights]:
    """The weights, then without the first part of their names, as long as all of them share it."""
    yield weights
    while weights and len({name.partition(".")[0] for name in weights}) == 1:
        weights = {name.partition(".")[2]: value for name, value in weights.items()}
        yield weights


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
