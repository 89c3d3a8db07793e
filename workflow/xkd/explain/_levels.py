"""Maps of an attentive student's levels, without its explanation network."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xkd.explain._subject import Subject, enlarged
from xkd.measures.saliency import scaled


@torch.no_grad()
def level_maps(subject: Subject, explanation: str, images: Tensor, classes: Tensor) -> list[Tensor]:
    """Of every level minmax( up( ReLU(M_l[c]) ⊙ A_l ) ), first to last, each [B, H, W].

    A map that is zero everywhere counts as zero, not as one.

    Raises: Refused when the subject has no attentive student.
    """
    student = subject.attentive(explanation)
    maps: list[list[Tensor]] = []
    for some, chosen in zip(
        images.split(subject.at_once), classes.split(subject.at_once), strict=True
    ):
        levels = student.levels(some)
        pairs = zip(student.class_maps(levels, chosen), levels.attentions, strict=True)
        maps.append([shown(m, a, some.shape[2:]) for m, a in pairs])
    return [torch.cat(level) for level in zip(*maps, strict=True)]


def shown(class_map: Tensor, attention: Tensor, size: Sequence[int]) -> Tensor:
    """minmax( up( ReLU(M[c]) ⊙ A ) ) of one level, [B, H, W].

    Args:
        class_map: M[c]; attention: A, both [B, 1, h, w].
        size: (H, W).
    """
    large = enlarged((class_map.relu() * attention)[:, 0], size)
    return torch.where(large.amax(dim=(1, 2), keepdim=True) > 0, scaled(large), 0.0)
