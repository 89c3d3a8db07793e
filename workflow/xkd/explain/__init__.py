"""Explanations of every class at once: which parts of the image speak for a logit (LE, §4)."""

from collections.abc import Callable

from torch import Tensor

from xkd.errors import Refused, unknown
from xkd.explain import gradcam, gradients
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
