"""MCL-OKD: peers that share a trunk contrast their embeddings mutually (Yang et al. 2021).

    L = Σ_m CE(p_m, y) + KL_3( sg(ā) ‖ a_M ) + 0.025 · Σ_{m ≠ n} NCE(bank_m → v_n)

M = 4 peers share the stem and the first stage; ā is the mean of all their logits, a_M's included,
and KL_3 has the factor T² = 9. The last peer is the student, the only one that is distilled (B7).
v_m is a linear map of the peer's F4 to 128 numbers of unit length, NCE is that of `xkd.contrast`
with K = 256 and τ = 0.1. All peers share a list of negatives; Z is worked out for every batch and
ordered pair anew, unlike in CRD. Gradient reaches anchors alone; banks are updated after the
weights.

The other peers leave their own files, each a whole network of the shared trunk and its own branch
(B10). The meter `mean_top1` is the accuracy of the mean of all logits.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xkd.contrast import Bank, Negatives, contrast_loss, partition, similarities, unit
from xkd.losses import cross_entropy, soft_target_loss
from xkd.methods.base import BaseMethod, Batch, BuildContext, StepOutput
from xkd.networks import Network


class Method(BaseMethod):
    OPTIONS: ClassVar = {
        "peers": {
            "description": "M, networks that share a trunk, the student among them",
            "type": "integer",
            "minimum": 2,
            "default": 4,
        },
        "temperature": {
            "description": "T, softens the mean of the logits and the last peer's alike",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 3.0,
        },
        "negatives": {
            "description": "K, images of other classes in the list of every image",
            "type": "integer",
            "minimum": 1,
            "default": 256,
        },
        "contrast_temperature": {
            "description": "τ of the contrast",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 0.1,
        },
        "width": {
            "description": "length of the compared embeddings",
            "type": "integer",
            "minimum": 1,
            "default": 128,
        },
    }
    WEIGHTS: ClassVar = {"ce": 1.0, "kl": 1.0, "contrast": 0.025}
    PASSES: ClassVar = 3
    NEEDS: ClassVar = ("pooled_head",)
    WHOLE_BATCH: ClassVar = True

    def __init__(self, student: Network, context: BuildContext, options: Mapping[str, Any]) -> None:
        super().__init__(student, context, options)
        peers, width = self.options["peers"], self.options["width"]
        labels, embedding = context.train_labels, context.student_embedding
        self.peers = nn.ModuleList(context.spawn() for _ in range(peers - 1))
        for peer in self.peers:
            peer.share_trunk(student)
        self.heads = nn.ModuleList(nn.Linear(embedding, width) for _ in range(peers))
        self.banks = nn.ModuleList(Bank(len(labels), width) for _ in range(peers))
        self.negatives = Negatives(labels, self.options["negatives"])

    @property
    def others(self) -> dict[str, Network]:
        return {f"peer{number}": peer for number, peer in enumerate(self.peers)}

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        trunk = self.student.trunk(batch.images)
        outputs = [network.branch(trunk) for network in (*self.peers, self.student)]
        logits = [output.logits for output in outputs]
        mean = torch.stack(logits).mean(dim=0).detach()
        terms = {}
        if self.wants("ce"):
            terms["ce"] = sum(cross_entropy(each, batch.labels) for each in logits)
        if self.wants("kl"):
            terms["kl"] = soft_target_loss(logits[-1], mean, self.options["temperature"])
        if self.wants("contrast"):
            pairs = zip(self.heads, outputs, strict=True)
            anchors = [unit(head(output.embedding)) for head, output in pairs]
            index = torch.cat([batch.index[:, None], self.negatives(batch.labels)], dim=1)
            terms["contrast"] = self.contrast(anchors, index)
            self._seen = [anchor.detach() for anchor in anchors]
        mean_top1 = (mean.argmax(dim=1) == batch.labels).float().mean()
        return StepOutput(logits[-1], terms, {"mean_top1": mean_top1})

    def contrast(self, anchors: Sequence[Tensor], index: Tensor) -> Tensor:
        """Σ_{m ≠ n} NCE(bank_m → v_n).

        Args:
            anchors: v of every peer, [B, width], of unit length.
            index: the image itself and its negatives, [B, K + 1].
        """
        images, temperature = len(self.negatives.labels), self.options["contrast_temperature"]
        losses = []
        for m, bank in enumerate(self.banks):
            others = torch.stack([anchor for n, anchor in enumerate(anchors) if n != m])
            numerators = similarities(bank.rows, others, index, temperature)
            constants = partition(numerators, images)
            pairs = zip(numerators, constants, strict=True)
            losses += [contrast_loss(*pair, images) for pair in pairs]
        return sum(losses)

    def after_update(self, batch: Batch) -> None:
        if self.wants("contrast"):
            for bank, anchors in zip(self.banks, self._seen, strict=True):
                bank.update(batch.index, anchors)
