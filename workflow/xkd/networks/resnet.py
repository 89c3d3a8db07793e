"""CIFAR ResNets (He et al. 2016, §4.2), and the residual trunk shared with `imagenet_resnet`."""

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from xkd.errors import Refused
from xkd.networks.base import BatchNorm2d, Network, Output

OPTIONS = {
    "depth": {
        "description": "6n+2: three stages of n blocks of two convolutions",
        "enum": [8, 14, 20, 26, 32, 38, 44, 50, 56, 110, 164],
    },
    "shortcut": {
        "description": "where the shape changes: A pads with zeros, B projects (A6)",
        "enum": ["A", "B"],
        "default": "B",
    },
    "widths": {
        "description": "channels of the three stages",
        "type": "array",
        "items": {"type": "integer", "minimum": 1},
        "minItems": 3,
        "maxItems": 3,
        "default": [16, 32, 64],
    },
    "stem_width": {
        "description": "channels of the stem; 0: as many as the first stage has",
        "type": "integer",
        "minimum": 0,
        "default": 0,
    },
    "dropout": {
        "description": "rate of element-wise dropout at the end of each stage (A29)",
        "type": "number",
        "minimum": 0,
        "exclusiveMaximum": 1,
        "default": 0,
    },
}
POOLED_HEAD = True


def build(
    channels: int,
    size: int,
    classes: int,
    *,
    depth: int,
    shortcut: str = "B",
    widths: Sequence[int] = (16, 32, 64),
    stem_width: int = 0,
    dropout: float = 0.0,
) -> Network:
    """A CIFAR ResNet of depth 6n+2.

    Args:
        channels, size: of the images; any size will do.
        shortcut: where the shape changes, "B" projects (1×1 convolution and batch norm; A6), "A"
            takes every other pixel and pads with zero channels, without parameters.
        widths: channels of the three stages.
        stem_width: channels of the stem, where they are not those of the first stage; its first
            block then has a projected or padded shortcut, too.
        dropout: rate of element-wise dropout on F1, F2 and F3 (A29), in [0, 1).
    Raises: Refused unless depth is 8, 14, 20, ...
    """
    if depth < 8 or depth % 6 != 2:
        raise Refused(f"resnet: depth {depth} is not of the form 6n+2; take 8, 14, 20, 26, 32, ...")
    stem = nn.Conv2d(channels, stem_width or widths[0], 3, padding=1, bias=False)
    blocks = [depth // 6] * 3
    return ResNet(stem, None, BasicBlock, blocks, widths, classes, shortcut, dropout)


class BlockOutput(NamedTuple):
    """Output of a block after its ReLU, raw output of its last convolution, sum before the ReLU."""

    output: Tensor
    last_conv: Tensor
    total: Tensor | None


class Trunk(NamedTuple):
    """First part of a forward pass: features from F0 on, and the rest as in `Output` so far."""

    features: tuple[Tensor, ...]
    blocks: tuple[Tensor, ...]
    sums: tuple[Tensor, ...]
    last_conv: Tensor | None = None


class BasicBlock(nn.Module):
    """ReLU( conv3×3–BN–ReLU–conv3×3–BN + shortcut )."""

    expansion = 1

    def __init__(self, channels_in: int, width: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = BatchNorm2d(width)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = BatchNorm2d(width)
        self.downsample = shortcut
        self.relu2 = nn.ReLU(inplace=True)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn2

    def forward(self, x: Tensor, keep: bool = False) -> BlockOutput:
        """keep: copy the sum before the last ReLU overwrites it."""
        last_conv = self.conv2(self.relu1(self.bn1(self.conv1(x))))
        total = self.bn2(last_conv).add_(self.downsample(x))
        kept = total.clone() if keep else None
        return BlockOutput(self.relu2(total), last_conv, kept)


class PaddedShortcut(nn.Module):
    """Type A: every `stride`-th pixel, and zeros for the missing channels, half on either side.

    He et al. do not say where the zeros go; this is where released weights have them (akamaster).
    """

    def __init__(self, missing: int, stride: int) -> None:
        super().__init__()
        self.missing, self.stride = missing, stride

    def forward(self, x: Tensor) -> Tensor:
        kept = x[:, :, :: self.stride, :: self.stride]
        before = self.missing // 2
        return F.pad(kept, (0, 0, 0, 0, before, self.missing - before))


class Projection(nn.Conv2d):
    """A 1×1 convolution of some stride, without bias.

    On CPUs with AVX-512, oneDNN's gradient with respect to such weights (3.x, channels last) writes
    beyond its memory where fewer than 16 channels come in and images have some 50 pixels or more.
    There the kept pixels are taken first, which leaves a convolution of stride 1: the same sums.
    """

    NARROW, SMALL = 16, 32  # channels from which, and side in pixels up to which, all is well

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cpu and self.in_channels < self.NARROW and max(x.shape[2:]) > self.SMALL:
            rows, columns = self.stride
            return F.conv2d(x[:, :, ::rows, ::columns], self.weight)
        return super().forward(x)


def make_shortcut(kind: str, channels_in: int, channels_out: int, stride: int) -> nn.Module:
    """Identity where the shape stays, else type A or B."""
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    if kind == "A":
        return PaddedShortcut(channels_out - channels_in, stride)
    projection = Projection(channels_in, channels_out, stride)
    return nn.Sequential(projection, BatchNorm2d(channels_out))


class ResNet(Network):
    """Stem, stages of residual blocks, mean over positions, linear layer.

    Features are those that the next stage reads: the stem after its pooling, the stages after their
    dropout. Parameters are named as in torchvision, whose weights therefore load.
    """

    pooled_head = POOLED_HEAD

    def __init__(
        self,
        stem: nn.Conv2d,
        pool: nn.Module | None,
        block: type[nn.Module],
        blocks: Sequence[int],
        widths: Sequence[int],
        classes: int,
        shortcut: str = "B",
        dropout: float = 0.0,
    ) -> None:
        """pool: follows the stem's ReLU; blocks, widths: number and inner channels, per stage."""
        super().__init__()
        self.conv1 = stem
        self.bn1 = BatchNorm2d(stem.out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = pool or nn.Identity()
        self.stages = [f"layer{number}" for number in range(1, len(blocks) + 1)]
        channels_in = stem.out_channels
        for name, count, width in zip(self.stages, blocks, widths, strict=True):
            stage = nn.Sequential()
            for position in range(count):
                stride = 2 if position == 0 and name != "layer1" else 1
                channels_out = width * block.expansion
                skip = make_shortcut(shortcut, channels_in, channels_out, stride)
                stage.append(block(channels_in, width, stride, skip))
                channels_in = channels_out
            self.add_module(name, stage)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.fc = nn.Linear(channels_in, classes)
        self._initialise()

    def _initialise(self) -> None:
        """Kaiming normal, fan-out, for convolutions; the rest as torch has it (BN 1 and 0)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def classifier(self) -> nn.Linear:
        return self.fc

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.get_submodule(self.stages[-1])[-1].last_norm

    def forward(self, images: Tensor, preactivations: bool = False) -> Output:
        """preactivations: fill them in, at the price of a copy per stage."""
        self.count_batch()
        return self.branch(self.trunk(images, preactivations), preactivations)

    def trunk(self, images: Tensor, preactivations: bool = False) -> Trunk:
        """The pass up to F1, which several networks may share."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self._stage(self.stages[0], Trunk((x,), (), ()), preactivations)

    def branch(self, trunk: Trunk, preactivations: bool = False) -> Output:
        """The pass from there on; `trunk` may be another network's of the same widths."""
        for name in self.stages[1:]:
            trunk = self._stage(name, trunk, preactivations)
        features, blocks, sums, last_conv = trunk
        embedding = features[-1].mean((2, 3))
        return Output(self.fc(embedding), features, embedding, blocks, last_conv, sums)

    def share_trunk(self, other: "ResNet") -> None:
        """Takes over another network's modules up to F1, in place of its own."""
        for name in ("conv1", "bn1", self.stages[0]):
            self.add_module(name, other.get_submodule(name))

    def _stage(self, name: str, before: Trunk, preactivations: bool) -> Trunk:
        stage, x, outputs = self.get_submodule(name), before.features[-1], []
        for position, block in enumerate(stage, start=1):
            is_last = position == len(stage)
            x, last_conv, total = block(x, preactivations and is_last)
            outputs.append(x)
        x = self.dropout(x)
        sums = (*before.sums, total) if preactivations else ()
        return Trunk((*before.features, x), (*before.blocks, *outputs), sums, last_conv)
