"""What is explained, and what explanations of one class per image share.

Files of `xkd/explain/` that have

    of_class(subject, images, classes, **options) -> [B, H, W]

explain the logit or probability of one class per image; larger values count as more important.
`OPTIONS` are their options as JSON-schema properties. A map depends on its own image alone: random
numbers come from the subject's seed, never from the place in a batch or from earlier calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from xkd.errors import Refused
from xkd.networks import Network
from xkd.networks.attentive import AttentiveResNet


@dataclass(frozen=True)
class Subject:
    """What is explained, and what else an explanation may read.

    network:   whose prediction is explained; in evaluation mode, without gradient
    surrogate: an attentive student of it, where there is one
    objects:   true where the object of each image is, [B, H, W], where that is known
    seed:      of whatever is drawn
    at_once:   images per call of a network; maps do not depend on it
    """

    network: Network
    surrogate: AttentiveResNet | None = None
    objects: Tensor | None = None
    seed: int = 0
    at_once: int = 500

    def attentive(self, explanation: str) -> AttentiveResNet:
        """The surrogate. Raises Refused when there is none."""
        if self.surrogate is None:
            raise Refused(
                f"'{explanation}' reads the levels of an attentive student, and there is none; "
                "explain a run of method 'attentive'"
            )
        return self.surrogate

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """softmax of the network's logits, [M, C], for any number of images."""
        parts = [self.network(part).logits.softmax(1) for part in images.split(self.at_once)]
        return torch.cat(parts)


def enlarged(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps brought to the size of the image, bilinearly. maps: [B, h, w]. Returns: [B, H, W]."""
    return F.interpolate(
        maps.unsqueeze(1), size=tuple(size), mode="bilinear", align_corners=False
    ).squeeze(1)


def class_gradient(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """∂a_c/∂x for one class per image, [B, channels, H, W]; as many at once as the subject says.

    The network must be in evaluation mode.
    """
    found = []
    with torch.enable_grad():
        for some, chosen in zip(
            images.detach().split(subject.at_once), classes.split(subject.at_once), strict=True
        ):
            some = some.clone().requires_grad_()
            # As it is written: what compiled code saves for the way back serves once.
            scores = subject.network.forward(some).logits.gather(1, chosen[:, None])
            found.append(torch.autograd.grad(scores.sum(), some)[0])
    return torch.cat(found)
