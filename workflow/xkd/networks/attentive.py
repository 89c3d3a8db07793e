"""Attentive ResNets: surrogates of a network that explain its predictions (Lee & Kim 2021).

A residual trunk whose every stage l ends in spatial attention, with a class map per stage:

    A_l = sigmoid( conv( [ mean_k F_l ; max_k F_l ] ) )       Woo et al. 2018, Eq. 3
    G_l = A_l ⊙ F_l, which the next stage reads
    M_l = head_l(G_l),   z_l = mean over positions of M_l,    z_L are the logits

and an explanation network that makes one saliency map of the maps M_l[c] and A_l of all levels.
The article's equations are lost; what stands here is our reading of it, choice by choice in the
README of its folder.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xkd.losses import at_least_float32
from xkd.networks import imagenet_resnet, resnet
from xkd.networks.base import Network, Output
from xkd.networks.resnet import ResNet

OPTIONS = {
    "trunk": {
        "description": "family of the residual trunk",
        "enum": ["resnet", "imagenet_resnet"],
        "default": "resnet",
    },
    "depth": {
        "description": "of the trunk",
        "enum": [8, 14, 20, 26, 32, 38, 44, 50, 56, 110, 164, 18, 34, 101],
    },
    "widths": {
        "description": "channels of the three stages of a CIFAR trunk",
        "type": "array",
        "items": {"type": "integer", "minimum": 1},
        "minItems": 3,
        "maxItems": 3,
        "default": [16, 32, 64],
    },
    "stem": {
        "description": "of an ImageNet trunk",
        "enum": ["cifar", "imagenet"],
        "default": "cifar",
    },
    "head_width": {
        "description": "channels within the lower levels' heads; null: 16, above 32 pixels 64",
        "type": ["integer", "null"],
        "minimum": 1,
        "default": None,
    },
    "explainer_width": {
        "description": "channels of the explanation network; null: 16, above 32 pixels 32",
        "type": ["integer", "null"],
        "minimum": 1,
        "default": None,
    },
    "explainer_bias": {
        "description": "first bias of e: at -1 maps start near 0.27, at 1 near 0.73",
        "type": "number",
        "default": -1.0,
    },
}
POOLED_HEAD = True

SMALL = 32  # pixels; images up to it take the narrower heads
NARROW = 8  # maps of at most so many pixels a side get attention by 3×3 instead of 7×7


class Levels(NamedTuple):
    """One forward pass, level by level, from the first stage to the last.

    logits:     z_L, [B, C]
    features:   G_l, [B, K_l, H_l, W_l]
    attentions: A_l, [B, 1, H_l, W_l], in (0, 1)
    plain:      F_l, before attention
    """

    logits: Tensor
    features: tuple[Tensor, ...]
    attentions: tuple[Tensor, ...]
    plain: tuple[Tensor, ...]


def build(
    channels: int,
    size: int,
    classes: int,
    *,
    depth: int,
    trunk: str = "resnet",
    widths: Sequence[int] = (16, 32, 64),
    stem: str = "cifar",
    head_width: int | None = None,
    explainer_width: int | None = None,
    explainer_bias: float = -1.0,
) -> Network:
    """An attentive ResNet, its explanation network included.

    Args:
        channels, size: of the images; attention kernels depend on the size.
        trunk: family of the trunk; depth, widths, stem: its options.
        head_width, explainer_width: None takes 16 for images up to 32 pixels, 64 and 32 above.
        explainer_bias: first bias of the explanation network's output.
    Raises: Refused for a depth that the trunk's family does not have.
    """
    if trunk == "resnet":
        body = resnet.build(channels, size, classes, depth=depth, widths=widths)
    else:
        body = imagenet_resnet.build(channels, size, classes, depth=depth, stem=stem)
    small = size <= SMALL
    first = -(-size // 4) if trunk == "imagenet_resnet" and stem == "imagenet" else size
    head_width = head_width or (16 if small else 64)
    explainer_width = explainer_width or (16 if small else 32)
    return AttentiveResNet(body, first, head_width, explainer_width, explainer_bias)


class AttentiveResNet(Network):
    """A ResNet with attention, a head per level and an explanation network.

    `forward` is the classifier alone. Heads and explanation network come in by `level_logits`,
    `class_maps` and `explain`; they are stored with the trunk, since they are valid for it only.
    """

    pooled_head = POOLED_HEAD

    def __init__(
        self, body: ResNet, side: int, head_width: int, explainer_width: int, bias: float = -1.0
    ) -> None:
        """side: of the first stage's maps, in pixels; every later stage halves it, rounded up."""
        super().__init__()
        self.body = body
        widths = [self._width(name) for name in body.stages]
        sides = [-(-side // 2**level) for level in range(len(widths))]
        self.attentions = nn.ModuleList(SpatialAttention(3 if s <= NARROW else 7) for s in sides)
        self.heads = nn.ModuleList(Head(w, head_width, body.fc.out_features) for w in widths[:-1])
        self.explainer = ExplanationNetwork(len(widths), explainer_width, bias)

    def _width(self, stage: str) -> int:
        return self.body.get_submodule(stage)[-1].last_norm.num_features

    @property
    def classifier(self) -> nn.Linear:
        return self.body.fc

    @property
    def stages(self) -> list[str]:
        """Names of the submodules that end in F1, F2, ..."""
        return [f"body.{name}" for name in self.body.stages]

    def forward(self, images: Tensor) -> Output:
        """Features are F0 and the attentive G1, G2, ...; a last convolution is not named, since
        Grad-CAM at it has no closed form behind attention."""
        stem, levels, blocks = self._pass(images)
        embedding = levels.features[-1].mean((2, 3))
        return Output(levels.logits, (stem, *levels.features), embedding, blocks)

    def levels(self, images: Tensor) -> Levels:
        """images: [B, channels, size, size], normalised."""
        return self._pass(images)[1]

    def _pass(self, images: Tensor) -> tuple[Tensor, Levels, tuple[Tensor, ...]]:
        body = self.body
        stem = x = body.maxpool(body.relu(body.bn1(body.conv1(images))))
        features, attentions, plain, blocks = [], [], [], []
        for name, attend in zip(body.stages, self.attentions, strict=True):
            for block in body.get_submodule(name):
                x = block(x).output
                blocks.append(x)
            plain.append(x)
            attentions.append(attend(x))
            x = attentions[-1] * x
            features.append(x)
        logits = body.fc(x.mean((2, 3)))
        levels = Levels(logits, tuple(features), tuple(attentions), tuple(plain))
        return stem, levels, tuple(blocks)

    def level_logits(self, levels: Levels) -> tuple[Tensor, ...]:
        """z_1, ..., z_L, each [B, C]."""
        lower = zip(self.heads, levels.features, strict=False)
        return (*(head(features) for head, features in lower), levels.logits)

    def class_maps(self, levels: Levels, classes: Tensor) -> tuple[Tensor, ...]:
        """M_l[c] of one class per image, [B, 1, H_l, W_l] each; their means are z_l[c].

        Args:
            classes: c, [B], int64.
        """
        hidden = [head.hidden(g) for head, g in zip(self.heads, levels.features, strict=False)]
        outputs = [*(head.output for head in self.heads), self.body.fc]
        return tuple(
            torch.einsum("bk,bkhw->bhw", linear.weight[classes], part).unsqueeze(1)
            + linear.bias[classes].view(-1, 1, 1, 1)
            for linear, part in zip(outputs, (*hidden, levels.features[-1]), strict=True)
        )

    def explain(self, levels: Levels, classes: Tensor, size: Sequence[int]) -> Tensor:
        """Saliency of one class per image before its sigmoid: e_c(x), [B, H, W].

        Args:
            classes: c, [B], int64.
            size: (H, W) of the images.
        """
        maps = self.class_maps(levels, classes)
        return self.explainer(maps, levels.attentions, size)


class SpatialAttention(nn.Module):
    """sigmoid( conv_k×k( [ mean over channels ; max over channels ] ) )   Woo et al. 2018, §3.2."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2)

    def forward(self, features: Tensor) -> Tensor:
        """features: [B, K, h, w]. Returns: [B, 1, h, w], in (0, 1)."""
        summary = [features.mean(1, keepdim=True), features.amax(1, keepdim=True)]
        return self.conv(torch.cat(summary, dim=1)).sigmoid()


class Head(nn.Module):
    """Class logits of a lower level: conv3×3–BN–ReLU, mean over positions, linear layer.

    The mean before the linear layer gives what a mean of class maps would, without C maps. A bare
    1×1 head on the first stage stays at chance.
    """

    def __init__(self, channels_in: int, width: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.output = nn.Linear(width, classes)

    def hidden(self, features: Tensor) -> Tensor:
        """[B, width, h, w]; the linear layer applied at every position makes class maps of it."""
        return F.relu(self.norm(self.conv(features)))

    def forward(self, features: Tensor) -> Tensor:
        return self.output(self.hidden(features).mean((2, 3)))


class ExplanationNetwork(nn.Module):
    """A decoder from the last level up to the image, as in a U-Net.

        u_l = [ M_l[c] / (max |M_l[c]| + 10⁻⁶) ; A_l ],    the normaliser a constant
        h_L = lat_L(u_L),   h_l = lat_l(u_l) + up(h_{l+1}),   h_l ← h_l + conv3×3(ReLU(h_l))
        e_c = up( conv3×3(ReLU(h_1)) ) at the size of the image;   E_c = sigmoid(e_c)

    up is bilinear. The last bias starts at −1 unless said, so that E starts near 0.27.
    """

    def __init__(self, levels: int, width: int, bias: float = -1.0) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(2, width, 3, padding=1) for _ in range(levels))
        self.blocks = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(levels))
        self.output = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.constant_(self.output.bias, bias)

    def forward(
        self, maps: Sequence[Tensor], attentions: Sequence[Tensor], size: Sequence[int]
    ) -> Tensor:
        """maps: M_l[c]; attentions: A_l, each [B, 1, H_l, W_l]. Returns: e, [B, H, W]."""
        above = None
        levels = list(zip(maps, attentions, self.laterals, self.blocks, strict=True))
        for class_map, attention, lateral, block in reversed(levels):
            peak = class_map.detach().abs().amax((2, 3), keepdim=True)
            hidden = lateral(torch.cat([class_map / (peak + 1e-6), attention], dim=1))
            if above is not None:
                hidden = hidden + _enlarged(above, hidden.shape[2:])
            above = hidden + block(F.relu(hidden))
        return at_least_float32(_enlarged(self.output(F.relu(above)), size)[:, 0])


def _enlarged(maps: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)
