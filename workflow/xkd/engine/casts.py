"""Weights in bfloat16 for a step under autocast: all of them by one copy, and their gradients back.

Autocast casts every weight where a layer first uses it, and every gradient on its way back: two
launches a layer on a GPU, 22 in a ResNet-8. The same roundings take two launches here.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

#: Layers whose operations autocast computes in bfloat16. Batch norm keeps its weights as they are.
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


def rounded_weights(module: nn.Module) -> dict[str, Tensor]:
    """bfloat16 copies of the trained weights and biases that autocast would cast, by name.

    Gradients reach the weights through the copies. Frozen weights are left to autocast.
    """
    found = {
        f"{name}.{own}" if name else own: weight
        for name, layer in module.named_modules()
        if isinstance(layer, LAYERS)
        for own, weight in layer.named_parameters(recurse=False)
        if weight.requires_grad
    }
    return dict(zip(found, _Cast.apply(*found.values()), strict=True)) if found else {}
