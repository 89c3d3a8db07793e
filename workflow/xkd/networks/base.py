"""Answers of every network, so that methods and explanations need not know which one it is."""

from typing import NamedTuple

from torch import Tensor, nn


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
