"""Explanations: which parts of the image speak for a logit (LE, §4). One file each, found by name.

A file declares in literals

    LABEL      as figures call it
    NEEDS      what it needs of a network: ("pooled_head",) where only such networks have it in
               closed form; () for any
    RECTIFIED  whether its maps end in a ReLU, and so never go below zero
    ONE_CLASS  whether it has `of_class`; then also
    OPTIONS    of `of_class`, as JSON-schema properties
    SUBJECT    what it reads beside the network: ("surrogate",) or ("objects",)
    CONTROL    whether it ignores the network
    MANY       whether it asks the network about many images for each explanation

and has one or both of

    all_classes(network, output, images)              of every class, [B, C, P]
    of_class(subject, images, classes, **options)     of one class per image, [B, H, W]
"""

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from torch import Tensor

from xkd.errors import Refused, unknown
from xkd.explain._subject import Subject
from xkd.networks import Network, Output
from xkd.plan.declarations import declaration, known_modules

__all__ = ["Subject", "explain", "load", "of_class", "of_one_class", "require_explainable"]


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
    if not hasattr(load(explanation), "all_classes"):
        raise Refused(f"'{explanation}' explains one class per image, not all of them at once")
    return load(explanation).all_classes(network, output, images)


def of_one_class() -> tuple[str, ...]:
    """Names of the explanations of one class per image."""
    names = known_modules("explain")
    return tuple(name for name in names if declaration("explain", name)["ONE_CLASS"])


def of_class(
    subject: Subject, images: Tensor, classes: Tensor, explanation: str, **options: Any
) -> Tensor:
    """Explanations of one class per image.

    Args:
        images: [B, channels, H, W], normalised.
        classes: [B], int64.
        explanation: one of `of_one_class()`; options: its `OPTIONS`.
    Returns: [B, H, W], without gradient; larger counts as more important.
    Raises: Refused for an explanation that is unknown, is of all classes only, or needs what is
        not there.
    """
    require_explainable(subject.network, explanation)
    if not declaration("explain", explanation)["ONE_CLASS"]:
        raise Refused(
            f"'{explanation}' explains all classes at once and not one class per image; for one "
            f"there are {', '.join(of_one_class())}"
        )
    return load(explanation).of_class(subject, images, classes, **options).detach()


def require_explainable(network: Network, explanation: str) -> None:
    """Raises Refused if the explanation is unknown, or has no closed form for this network."""
    if "pooled_head" in getattr(load(explanation), "NEEDS", ()) and not network.pooled_head:
        raise Refused(
            f"'{explanation}' has no closed form for {type(network).__name__}, whose last map is "
            "not averaged over positions before the classifier; take a ResNet, or 'grad'"
        )
