"""Plain CNNs of LE, Table 1, laid out as the plane networks of TAKD (Mirzadeh et al. 2020; A7)."""

from torch import Tensor, nn

from xkd.errors import Refused
from xkd.networks.base import BatchNorm2d, Network, Output

OPTIONS = {
    "convolutions": {"description": "CNN-6, CNN-8 or CNN-10", "enum": [6, 8, 10]},
}
POOLED_HEAD = False

#: convolutions -> (channels of each stage's convolutions, width of the hidden layer or None)
LAYOUTS = {
    6: (((16, 16), (32, 32), (64, 64)), None),
    8: (((16, 16), (32, 32), (64, 64), (128, 128)), 64),
    10: (((32, 32), (64, 64), (128, 128), (256, 256, 256, 256)), 128),
}


def build(channels: int, size: int, classes: int, *, convolutions: int) -> Network:
    """CNN-6, CNN-8 or CNN-10.

    Args:
        size: of the images; below 32 a pooling is left out once the map is down to one pixel.
    Raises: Refused for another number of convolutions.
    """
    if convolutions not in LAYOUTS:
        raise Refused(f"plane_cnn: {convolutions} convolutions; expected 6, 8 or 10")
    return PlaneCNN(channels, size, classes, *LAYOUTS[convolutions])


class PlaneCNN(Network):
    """Stages of conv3×3–BN–ReLU, each followed by a 2×2 max-pool; one or two linear layers.

    Features: F0 after the first ReLU, then the last ReLU of every stage, before its pooling.
    """

    pooled_head = POOLED_HEAD

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int,
        layout: tuple[tuple[int, ...], ...],
        hidden: int | None,
    ) -> None:
        super().__init__()
        self.groups, self.pools = nn.ModuleList(), nn.ModuleList()
        for widths in layout:
            stage = nn.ModuleList()
            for width in widths:
                stage.append(ConvUnit(channels, width))
                channels = width
            self.groups.append(stage)
            self.pools.append(nn.MaxPool2d(2) if size > 1 else nn.Identity())
            size = max(size // 2, 1)
        flat = channels * size**2
        self.hidden = nn.Sequential(nn.Linear(flat, hidden), nn.ReLU()) if hidden else nn.Identity()
        self.classifier = nn.Linear(hidden or flat, classes)

    def forward(self, images: Tensor) -> Output:
        self.count_batch()
        x, features = images, []
        for stage, pool in zip(self.groups, self.pools, strict=True):
            for unit in stage:
                x, last_conv = unit(x)
                if not features:
                    features.append(x)
            features.append(x)
            x = pool(x)
        embedding = self.hidden(x.flatten(1))
        logits = self.classifier(embedding)
        return Output(logits, tuple(features), embedding, last_conv=last_conv)


class ConvUnit(nn.Module):
    """Convolution with bias, batch norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.bn = BatchNorm2d(channels_out)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The unit's output, and that of its convolution."""
        convolved = self.conv(x)
        return self.relu(self.bn(convolved)), convolved
