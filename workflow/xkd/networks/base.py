"""Answers of every network, so that methods and explanations need not know which one it is."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Output(NamedTuple):
    """One forward pass. Every feature is taken after its ReLU, but for the pre-activations.

    logits:    [B, C]
    features:  F0 (stem), F1, F2, F3 (one per stage), each [B, channels, h, w]; of an MLP the hidden
               layers, [B, D]
    embedding: F4, what the last linear layer reads, [B, D]
    blocks:    output of every residual block, [B, channels, h, w]; empty where there are none
    last_conv: raw output of the last convolution, before its batch norm (Grad-CAM variant G2);
               None where there is no convolution
    preactivations: sums that enter the last ReLU of every stage, shaped as F1, F2, F3; empty unless
               they were asked for
    """

    logits: Tensor
    features: tuple[Tensor, ...]
    embedding: Tensor
    blocks: tuple[Tensor, ...] = ()
    last_conv: Tensor | None = None
    preactivations: tuple[Tensor, ...] = ()


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that leaves its counter of batches to `Network.count_batch`.

    Files of weights have the counter, as torch's do. Nothing reads it, since the momentum of the
    running statistics is fixed; and every layer's own addition would be a launch of its own.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, C, h, w]; the same shape."""
        statistics = self.running_mean, self.running_var
        return F.batch_norm(
            x, *statistics, self.weight, self.bias, self.training, self.momentum, self.eps
        )


class Network(nn.Module):
    """A classifier with named features.

    Every ReLU is an `nn.ReLU` module of its own, used once: guided backpropagation depends on it.
    It may work in place; captum, which hooks modules, wants that switched off.
    """

    classifier: nn.Linear
    #: The last feature map is averaged over positions and fed to `classifier` directly, so that
    #: Grad-CAM of every class has a closed form. False for MLPs and hidden fully connected heads.
    pooled_head: bool = False
    #: The batch norm that `Output.last_conv` enters, where the head is pooled.
    last_norm: nn.BatchNorm2d | None = None

    def forward(self, images: Tensor) -> Output:
        """Answer to images, [B, channels, size, size], normalised.

        Residual networks take `preactivations=True` as well, and then copy what their last ReLUs
        overwrite; and they consist of two parts that can be called on their own:

            trunk(images)    the pass up to F1, as `resnet.Trunk`
            branch(trunk)    from there to the `Output`; the trunk may be that of another network
        """
        raise NotImplementedError

    def count_batch(self) -> None:
        """Advance the counters of all layers that normalise by this batch; one launch on a GPU.

        For the `forward` of a network with layers of the class above.
        """
        norms = [module for module in self.modules() if isinstance(module, BatchNorm2d)]
        if counters := [norm.num_batches_tracked for norm in norms if norm.training]:
            torch._foreach_add_(counters, 1)
