"""Dropout: cross-entropy, while hidden activations are zeroed at random (Srivastava et al. 2014).

LE, §5.1, drops neurons of the last layer of each block-layer: the network drops single entries of
its stage outputs, or of its hidden layers (A29).
"""

from typing import ClassVar

from xkd.methods import ce


class Method(ce.Method):
    OPTIONS: ClassVar = {
        "rate": {
            "description": "probability of zeroing an activation; LE tries 0.1, 0.25, 0.5, 0.75",
            "type": "number",
            "minimum": 0,
            "exclusiveMaximum": 1,
            "default": 0.1,
        }
    }
    WEIGHTS: ClassVar = {"ce": 1.0}
    NETWORK: ClassVar = {"dropout": "rate"}
