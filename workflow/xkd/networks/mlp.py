"""The multi-layer perceptron of LE, Table 3: 784–1024–1024–10 on MNIST."""

from collections.abc import Sequence

from torch import Tensor, nn

from xkd.networks.base import Network, Output

OPTIONS = {
    "hidden": {
        "description": "widths of the hidden layers",
        "type": "array",
        "items": {"type": "integer", "minimum": 1},
        "minItems": 1,
        "default": [1024, 1024],
    },
    "dropout": {
        "description": "rate after each hidden ReLU (A29)",
        "type": "number",
        "minimum": 0,
        "exclusiveMaximum": 1,
        "default": 0,
    },
}
POOLED_HEAD = False


def build(
    channels: int,
    size: int,
    classes: int,
    *,
    hidden: Sequence[int] = (1024, 1024),
    dropout: float = 0.0,
) -> Network:
    """A perceptron on flattened images.

    Args:
        hidden: widths of the hidden layers.
        dropout: rate after each hidden ReLU, none on the input (A29), in [0, 1).
    """
    return MLP(channels * size**2, hidden, classes, dropout)


class MLP(Network):
    """Linear layers with ReLU between them; features are the hidden activations, after dropout."""

    pooled_head = POOLED_HEAD

    def __init__(
        self, inputs: int, hidden: Sequence[int], classes: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        entries = [inputs, *hidden[:-1]]
        self.hidden = nn.ModuleList(map(nn.Linear, entries, hidden))
        self.relus = nn.ModuleList(nn.ReLU() for _ in hidden)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.classifier = nn.Linear(hidden[-1], classes)

    def forward(self, images: Tensor) -> Output:
        x, features = images.flatten(1), []
        for linear, relu in zip(self.hidden, self.relus, strict=True):
            x = self.dropout(relu(linear(x)))
            features.append(x)
        return Output(self.classifier(x), tuple(features), x)
