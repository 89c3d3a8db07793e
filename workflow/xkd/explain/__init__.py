"""Explanations of every class at once: which parts of the image speak for a logit (LE, §4)."""

import ast
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

from xkd.errors import Refused, unknown
from xkd.explain import gradcam, gradients
from xkd.explain._subject import Subject
from xkd.networks import Network, Output

EXPLANATIONS: dict[str, Callable[[Network, Output, Tensor], Tensor]] = {
    "grad": gradients.grad,
    "grad_input": gradients.grad_input,
    "guided_bp": gradients.guided_bp,
    "gradcam": lambda network, output, images: gradcam.gradcam(network, output),
    "gradcam_signed": lambda network, output, images: gradcam.gradcam(network, output, False),
    "gradcam_last_conv": lambda network, output, images: gradcam.gradcam_last_conv(network, output),
}

#: What each needs of a network; see `xkd.plan.config.registry`.
NEEDS = {
    "grad": (),
    "grad_input": (),
    "guided_bp": (),
    "gradcam": ("pooled_head",),
    "gradcam_signed": ("pooled_head",),
    "gradcam_last_conv": ("pooled_head",),
}


def explain(network: Network, output: Output, images: Tensor, explanation: str) -> Tensor:
    """Explanations of the logits of all classes.

    Args:
        network: left as it is found: modes, running statistics and gradients included.
        output: of `network(images)`; Grad-CAM and a perceptron's gradients explain this very pass.
        images: [B, channels, size, size], normalised.
        explanation: a key of `EXPLANATIONS`.
    Returns: [B, C, P], without gradient; P = h·w of the last feature map for Grad-CAM, rows first,
        channels · size² for the others.
    Raises: Refused for an unknown explanation, or one that the network has no closed form for.
    """
    require_explainable(network, explanation)
    return EXPLANATIONS[explanation](network, output, images)


def require_explainable(network: Network, explanation: str) -> None:
    """Raises Refused if the explanation is unknown, or has no closed form for this network."""
    if explanation not in EXPLANATIONS:
        raise Refused(unknown("explanation", explanation, EXPLANATIONS))
    if explanation.startswith("gradcam") and not network.pooled_head:
        raise Refused(
            f"'{explanation}' has no closed form for {type(network).__name__}, whose last map is "
            "not averaged over positions before the classifier; take a ResNet, or 'grad'"
        )


def load(name):
    return import_module(f"xkd.explain.{name}")


FOLDER = Path(__file__).parent


@cache
def of_one_class() -> tuple[str, ...]:
    """Names of the files that have `of_class`, read from their syntax trees."""
    return tuple(
        path.stem
        for path in sorted(FOLDER.glob("[a-z]*.py"))
        if any(
            isinstance(node, ast.FunctionDef) and node.name == "of_class"
            for node in ast.parse(path.read_text(encoding="utf-8")).body
        )
    )


def of_class(
    subject: Subject, images: Tensor, classes: Tensor, explanation: str, **options: Any
) -> Tensor:
    """Explanations of one class per image.

    Args:
        images: [B, channels, H, W], normalised.
        classes: [B], int64.
        explanation: name of a file of `xkd/explain/` that has `of_class`; options: its `OPTIONS`.
    Returns: [B, H, W], without gradient; larger counts as more important.
    Raises: Refused for an explanation that is unknown, of all classes only, or needs what is not
        there.
    """
    if explanation not in of_one_class() and (FOLDER / f"{explanation}.py").exists():
        raise Refused(
            f"'{explanation}' explains all classes at once and not one class per image; known for "
            f"one: {', '.join(of_one_class())}"
        )
    module = load(explanation)
    return module.of_class(subject, images, classes, **options).detach()
