"""How long a step takes on a GPU: the rates measured on one card, and ratios between methods.

    seconds of a step of n seeds = max( alone, n · shared ) · method

One seed's captured step is `alone` on the card; of several at once each takes `shared` of it. Both
are in proportion to the numbers that the convolutions put out (which batch norm and ReLU read and
write again and again), or, of a perceptron in small batches, to its weights.

Measured on an NVIDIA H100 80GB on 26 November 2026 (torch 2.11.0): ResNet-8 and ResNet-20 in
batches of 128, the MLP in batches of 16. The fit is within 6 % of both ResNets.
"""

from typing import NamedTuple

AFFECTS_RESULTS = False


class Rate(NamedTuple):
    """Picoseconds a step and seed: per number put out for an image, or per weight."""

    shared: float
    alone: float


#: By precision: per number that the convolutions put out, for every image of the batch.
CONVOLUTIONS = {"float32": Rate(93.8, 169), "tf32": Rate(81.9, 106), "bf16": Rate(42.1, 85)}
#: Per weight, batches of 16; bf16 is as fast, as a whole cell showed.
PERCEPTRON = Rate(32.7, 77.3)
PERCEPTRON_PRECISIONS = ("float32", "bf16")
DOUBLE = 2.0  # float64 in multiples of float32: a guess
SMALLEST, LARGEST = 80_000, 210_000  # numbers per image: between ResNet-8 and ResNet-20 of CIFAR
SEEDS = 5  # at once, at most
RESNET_BATCH, PERCEPTRON_BATCH = 128, 16
#: Floating-point operations per second that dense layers reach; wide networks are bound by them.
FLOPS = {"float32": 40e12, "tf32": 200e12, "bf16": 300e12, "float64": 40e12}
BESIDE = 1.044  # scoring and what lies between epochs, in multiples of the steps
STARTING = 15.0  # seconds a cell: imports, images to the card, captures, predictions

#: (file of the method, what it explains with) -> steps of cross-entropy, measured on the card; KD
#: from a table, and label smoothing, on an H200 (`results/bench`, `results/reference`).
ON_THE_CARD = {
    ("ce", None): 1.0, ("le", "gradcam"): 1.08, ("kd", None): 1.03, ("label_smoothing", None): 1.0,
}  # fmt: skip
LE_GRAD = {"mlp": 1.92, "resnet": 5.42}  # of LE(Grad), by family
#: Likewise by method on a CPU (`results/bench/cpu.md`): a guess for a GPU.
ON_A_CPU = {
    "at": 1.51, "dml": 2.01, "dropout": 1.23, "fitnet": 1.35, "fsp": 1.4, "hint": 1.28, "sad": 1.95,
    "cat_kd": 1.29, "reviewkd": 2.33, "crd": 1.93, "mlkd": 2.66, "mcl_okd": 3.21, "ffsd": 4.02,
}  # fmt: skip
LE_ON_A_CPU = {
    "gradcam_signed": 1.08, "gradcam_last_conv": 1.11, "grad": 5.73, "grad_input": 5.60,
    "guided_bp": 6.08,
}  # fmt: skip


def method_ratio(uses: str, explanation: str | None, family: str) -> tuple[float, bool]:
    """Time of a step in multiples of cross-entropy's, and whether the card has shown it.

    A method that is listed nowhere adds a loss to the forward pass and hence next to nothing.

    Args:
        uses: file of the method; explanation: its option, None where it has no such option.
        family: of the network.
    """
    if (uses, explanation) in ON_THE_CARD:
        return ON_THE_CARD[uses, explanation], True
    if (uses, explanation) == ("le", "grad") and family in LE_GRAD:
        return LE_GRAD[family], True
    if explanation is not None:
        return LE_ON_A_CPU.get(explanation, max(LE_ON_A_CPU.values())), False
    return ON_A_CPU.get(uses, 1.0), False
