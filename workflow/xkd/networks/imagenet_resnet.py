"""ResNet18/34/50/101 (He et al. 2016, §4.1) with the stem of ImageNet or of CIFAR.

Own code, but every parameter has torchvision's name and place, so that its pretrained weights load
into `stem: imagenet`; strides sit in the 3×3 convolution of a bottleneck, as there.
"""

from torch import Tensor, nn

from xkd.errors import Refused, unknown
from xkd.networks.base import BatchNorm2d, Network
from xkd.networks.resnet import BasicBlock, BlockOutput, ResNet

OPTIONS = {
    "depth": {"description": "ResNet18, 34, 50 or 101", "enum": [18, 34, 50, 101]},
    "stem": {
        "description": "cifar: 3x3 of stride 1; imagenet: 7x7 of stride 2 and max-pool (A8)",
        "enum": ["cifar", "imagenet"],
        "default": "cifar",
    },
}
POOLED_HEAD = True

WIDTHS = (64, 128, 256, 512)


class Bottleneck(nn.Module):
    """ReLU( conv1×1–BN–ReLU–conv3×3–BN–ReLU–conv1×1–BN + shortcut ); its end is 4 × as wide."""

    expansion = 4

    def __init__(self, channels_in: int, width: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        channels_out = width * self.expansion
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = BatchNorm2d(channels_out)
        self.downsample = shortcut
        self.relu3 = nn.ReLU()

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn3

    def forward(self, x: Tensor, keep: bool = False) -> BlockOutput:
        """Nothing works in place here, so `keep` costs nothing."""
        inner = self.relu1(self.bn1(self.conv1(x)))
        inner = self.relu2(self.bn2(self.conv2(inner)))
        last_conv = self.conv3(inner)
        total = self.bn3(last_conv) + self.downsample(x)
        return BlockOutput(self.relu3(total), last_conv, total if keep else None)


TRUNKS = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}


def build(channels: int, size: int, classes: int, *, depth: int, stem: str = "cifar") -> Network:
    """A ResNet of four stages, 64 to 512 channels wide.

    Args:
        channels, size: of the images; any size will do.
        stem: "imagenet", 7×7 of stride 2 and a 3×3 max-pool of stride 2, or "cifar", 3×3 of
            stride 1 without pooling, for small images (A8).
    Raises: Refused for another depth or stem.
    """
    if depth not in TRUNKS:
        raise Refused(f"imagenet_resnet: depth {depth}; expected one of 18, 34, 50, 101")
    if stem == "imagenet":
        first = nn.Conv2d(channels, WIDTHS[0], 7, stride=2, padding=3, bias=False)
        pool = nn.MaxPool2d(3, stride=2, padding=1)
    elif stem == "cifar":
        first = nn.Conv2d(channels, WIDTHS[0], 3, padding=1, bias=False)
        pool = None
    else:
        raise Refused("imagenet_resnet: " + unknown("stem", stem, ["cifar", "imagenet"]))
    block, blocks = TRUNKS[depth]
    return ResNet(first, pool, block, blocks, WIDTHS, classes)
