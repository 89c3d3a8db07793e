"""Explanations: which parts of the image speak for a logit (LE, §4). One file each, found by name.

A file declares in literals

    LABEL      as figures call it
    NEEDS      what it needs of a network: ("pooled_head",) where only such networks have it in
               closed form; () for any
    RECTIFIED  whether its maps end in a ReLU, and so never go below zero

and has `all_classes(network, output, images)`: explanations of every class, [B, C, P].
"""

from functools import cache
from importlib import import_module
from types import ModuleType

from torch import Tensor

from xkd.errors import Refused, unknown
from xkd.networks import Network, Output
from xkd.plan.declarations import known_modules


@cache
def load(explanation: str) -> ModuleType:
    """The module `xkd/explain/<explanation>.py`. Raises Refused for an unknown name."""
    if explanation not in known_modules("explain"):
        raise Refused(unknown("explanation", explanation, known_modules("explain")))
    return import_module(f"xkd.explain.{explanation}")


def explain(network: Network, output: Output, images: Tensor, explanation: str) -> Tensor:
    """Explanations of the logits of all classes.

    Args:
        network: left as it is found: modes, running statistics and gradients included.
        output: of `network(images)`; Grad-CAM and a perceptron's gradients explain this very pass.
        images: [B, channels, size, size], normalised.
        explanation: name of a file of `xkd/explain/`.
    Returns: [B, C, P], without gradient; P = h·w of the last feature map for Grad-CAM, rows first,
        channels · size² for gradients.
    Raises: Refused for an unknown explanation, or one that the network has no closed form for.
    """
    require_explainable(network, explanation)
    return load(explanation).all_classes(network, output, images)


def require_explainable(network: Network, explanation: str) -> None:
    """Raises Refused if the explanation is unknown, or has no closed form for this network."""
    if "pooled_head" in getattr(load(explanation), "NEEDS", ()) and not network.pooled_head:
        raise Refused(
            f"'{explanation}' has no closed form for {type(network).__name__}, whose last map is "
            "not averaged over positions before the classifier; take a ResNet, or 'grad'"
        )
