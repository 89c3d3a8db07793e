"""A device that the host cannot reach: what a captured CUDA graph demands, found on any machine.

Everything that a step reads is moved to torch's `meta` device, which has shapes and no numbers.
Inside `unreachable`, whoever reads a tensor that stayed on the host, makes one of the host's
numbers, or asks for a number back, is told so. On a GPU each of them would end a capture.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = torch.device("meta")
ASK_BACK = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2")
LITERALS = (torch.tensor, torch.as_tensor, torch.from_numpy)


class _Operations(TorchDispatchMode):
    """strict: refuse; in any case leave out updates of weights, which `meta` does not know."""

    def __init__(self, strict: bool) -> None:
        super().__init__()
        self.strict = strict

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        options, name = options or {}, operation.overloadpacket.__name__
        if name.startswith("_fused_"):
            return None
        if self.strict:
            given = [v for v in tree_leaves((arguments, options)) if isinstance(v, torch.Tensor)]
            on_host = [t for t in given if t.device != DEVICE and t.ndim]
            assert not on_host, f"{name} reads a tensor of the host, {tuple(on_host[0].shape)}"
            assert name not in ASK_BACK, f"{name} asks the device for numbers"
        return operation(*arguments, **options)


class _Literals(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        assert function not in LITERALS, f"{function.__name__} copies numbers of the host"
        return function(*arguments, **(options or {}))


@contextlib.contextmanager
def warming_up() -> Iterator[None]:
    """What comes before a capture: the host may be reached."""
    with _Operations(strict=False):
        yield


@contextlib.contextmanager
def unreachable() -> Iterator[None]:
    """Within it, AssertionError for whatever would end a capture."""
    with _Literals(), _Operations(strict=True):
        yield


def moved(thing: Any, seen: dict[int, Any] | None = None) -> Any:
    """The same with all its tensors on the device; objects of ours and modules in place."""
    seen = {} if seen is None else seen
    if id(thing) in seen:
        return seen[id(thing)][1]
    if isinstance(thing, torch.Tensor):
        new = thing.detach().to(DEVICE)
        if isinstance(thing, nn.Parameter):
            new = nn.Parameter(new, requires_grad=thing.requires_grad)
        seen[id(thing)] = thing, new
        return new
    if isinstance(thing, tuple):
        parts = [moved(part, seen) for part in thing]
        return type(thing)(*parts) if hasattr(thing, "_fields") else tuple(parts)
    seen[id(thing)] = thing, thing
    if isinstance(thing, list):
        thing[:] = [moved(part, seen) for part in thing]
    elif isinstance(thing, dict):
        thing |= {name: moved(part, seen) for name, part in thing.items()}
    elif isinstance(thing, nn.Module) or type(thing).__module__.startswith("xkd."):
        for name, part in list(getattr(thing, "__dict__", {}).items()):
            if (new := moved(part, seen)) is not part:
                vars(thing)[name] = new
    return thing


def no_autocast(*_: Any, **__: Any) -> contextlib.AbstractContextManager:
    """In place of torch.autocast, which does not know the device."""
    return contextlib.nullcontext()
