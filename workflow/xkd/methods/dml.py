"""DML: two networks teach each other (Zhang et al. 2018; LE, Table 4).

    L = Σ_{n = 1, 2} [ CE(p_n, y) + λ · KL( sg(p_m) ‖ p_n ) ],   m the other network

λ, the weight of `kl`, is 0.1 in LE and 1 in the original; T = 1. Either network takes the other's
predictions as constants, so the sum trains each by its own loss. Both predict before either is
updated (A30). The student is network 1, which is reported; network 2 starts from an initialisation
of its own, and leaves the same files, named `-peer`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from xkd.losses import cross_entropy, kl_divergence
from xkd.methods.base import BaseMethod, Batch, BuildContext, StepOutput
from xkd.networks import Network


class Method(BaseMethod):
    """Terms are sums over both networks: one weight serves both."""

    OPTIONS: ClassVar = {}
    PASSES: ClassVar = 2
    WEIGHTS: ClassVar = {"ce": 1.0, "kl": 0.1}

    def __init__(self, student: Network, context: BuildContext, options: Mapping[str, Any]) -> None:
        super().__init__(student, context, options)
        self.peer = context.spawn()

    @property
    def others(self) -> dict[str, Network]:
        return {"peer": self.peer}

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        own, peer = (network(batch.images).logits for network in (self.student, self.peer))
        terms = {}
        if self.wants("ce"):
            terms["ce"] = cross_entropy(own, batch.labels) + cross_entropy(peer, batch.labels)
        if self.wants("kl"):
            terms["kl"] = kl_divergence(own, peer) + kl_divergence(peer, own)
        peer_top1 = (peer.argmax(dim=1) == batch.labels).float().mean()
        return StepOutput(own, terms, {"peer_top1": peer_top1})
