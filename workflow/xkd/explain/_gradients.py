"""Explanations in the space of the input: gradients of every logit with respect to the image.

A perceptron of ReLUs is linear around its input, so its gradients are products of weights with the
rows of inactive units struck out; they come from the activations of the forward pass at hand. Other
networks run once more, with batch norm in evaluation mode: under batch statistics a logit depends
on the whole batch, and the explanation of one image would not be defined (A26).

Maps are [B, C, P] with P = channels · size², signed, not summed over channels (A23).
"""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from xkd.networks import Network, Output
from xkd.networks.mlp import MLP


@torch.no_grad()
def mlp_gradients(
    weights: Sequence[Tensor], active: Sequence[Tensor], guided: bool = False
) -> Tensor:
    """Gradients of all logits of a ReLU perceptron, without a backward pass.

        J = ((W_L ⊙ m_{L-1}) W_{L-1} ⊙ m_{L-2}) ⋯ W_1,   m_l = 1[hidden layer l > 0]

    Args:
        weights: W_1 ... W_L, each [..., out, in].
        active: m_1 ... m_{L-1}, each [..., B, width], boolean.
        guided: also cut negative signals at every ReLU.
    Returns: [..., B, C, inputs]; leading dimensions, such as stacked seeds, are carried along.
    """
    *earlier, last = weights
    signal = last.unsqueeze(-3)  # [..., 1, C, width]
    for weight, mask in zip(reversed(earlier), reversed(active), strict=True):
        signal = signal * mask.unsqueeze(-2)  # [..., B, C, width]
        if guided:
            signal = signal.relu()
        rows = signal.shape[-3:-1]
        signal = (signal.flatten(-3, -2) @ weight).unflatten(-2, rows)
    return signal


def linear_pieces(network: MLP, output: Output) -> tuple[list[Tensor], list[Tensor]]:
    """Weights of all layers, and which hidden units were active: what `mlp_gradients` takes."""
    # Active dropout belongs to the explained pass; only its constant factor 1/(1-rate) is left out.
    weights = [layer.weight for layer in (*network.hidden, network.classifier)]
    return weights, [hidden > 0 for hidden in output.features]


def backward_per_class(network: Network, images: Tensor) -> Tensor:
    """One forward and C backward passes to the input; parameters receive no gradient.

    On a CPU this takes half to two thirds of the time of one backward pass over C-fold replicated
    images, and a C-th of its memory.
    """
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        output = network.forward(images)  # as it is written: what compiled code saves serves once
        scores = output.logits.sum(dim=0)  # [C]; images stay independent in evaluation
        maps = [
            torch.autograd.grad(score, images, retain_graph=True)[0] for score in scores.unbind()
        ]
    return torch.stack(maps, dim=1).flatten(2)


@contextlib.contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode, and every module as it was afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def guided_relus(network: nn.Module) -> Iterator[None]:
    """Every `nn.ReLU` of the network with the guided backward rule, for forward passes inside."""
    relus = [module for module in network.modules() if type(module) is nn.ReLU]
    for relu in relus:
        relu.__class__ = GuidedReLU
    try:
        yield
    finally:
        for relu in relus:
            relu.__class__ = nn.ReLU


class GuidedReLU(nn.ReLU):
    """A ReLU whose backward signal is masked by its input and by its own sign."""

    def forward(self, x: Tensor) -> Tensor:
        return _GuidedRule.apply(x)


class _GuidedRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        y = x.relu()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, signal: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(signal.relu(), y, 0)  # signal where y > 0
