"""Weights in bfloat16 for a step under autocast: all of them by one copy, and their gradients back.

Autocast casts every weight where a layer first uses it, and every gradient on its way back: two
launches a layer on a GPU, 22 in a ResNet-8. The same roundings take two launches here.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

#: Layers that autocast computes in bfloat16. Batch norm keeps its weights as they are.
LAYERS = (nn.Linear, nn.Conv2d)


class _Cast(torch.autograd.Function):
    """Copies in bfloat16; gradients are copied to float32. Bits as of a cast for each alone."""

    @staticmethod
    def forward(context: Any, *weights: Tensor) -> tuple[Tensor, ...]:
        context.set_materialize_grads(False)  # None stays None: such a weight is not updated
        return tuple(copies(weights, torch.bfloat16))

    @staticmethod
    def backward(context: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        wide = iter(copies([g for g in gradients if g is not None], torch.float32))
        return tuple(None if gradient is None else next(wide) for gradient in gradients)


def copies(tensors: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Tensors in another number format and the same memory layout."""
    made = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    if made:
        torch._foreach_copy_(made, list(tensors))
    return made


@contextlib.contextmanager
def rounded(module: nn.Module) -> Iterator[None]:
    """Every linear and convolutional layer computes with bfloat16 copies of its trained weights.

    Gradients reach the weights through the copies, one for every weight, however many layers share
    it. The weights themselves stay as they are, for whoever reads them. Frozen ones are left to
    autocast.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, LAYERS)]
    found = {id(weight): weight for layer in layers for weight in _trained(layer).values()}
    made = dict(zip(found, _Cast.apply(*found.values()), strict=True)) if found else {}
    for layer in layers:
        copied = {name: made[id(weight)] for name, weight in _trained(layer).items()}
        layer.forward = partial(_compute, layer, copied)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # and the class's own shows again


def _compute(layer: nn.Module, copied: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """What the layer's class computes, with the copies in place of its weights."""
    own = dict(layer._parameters)
    layer._parameters.update(copied)
    try:
        return type(layer).forward(layer, x)
    finally:
        layer._parameters.update(own)


def _trained(layer: nn.Module) -> dict[str, nn.Parameter]:
    named = layer.named_parameters(recurse=False)
    return {name: weight for name, weight in named if weight.requires_grad}
