"""A trained surrogate, the target that it explains, and the images that both are asked about."""

from dataclasses import dataclass

import torch
from torch import Tensor

from xkd.analyses._network import TrainedNetwork
from xkd.analyses.base import Request
from xkd.data.dataset import Split
from xkd.errors import Refused
from xkd.evaluate import load_network
from xkd.explain import Subject
from xkd.measures.saliency import box_masks
from xkd.networks import Network
from xkd.networks.attentive import AttentiveResNet
from xkd.plan.runs import Run


@dataclass(frozen=True)
class Surrogate:
    """trained: the attentive student and its data; target: its teacher, frozen, on the device."""

    trained: TrainedNetwork
    target: Network

    @classmethod
    def of(cls, request: Request) -> "Surrogate":
        """Raises Refused for a run that is no attentive student, or is not complete."""
        trained, teacher = request.trained, request.settings.teacher
        if not isinstance(trained.network, AttentiveResNet) or teacher is None:
            raise Refused(
                f"{request.name} of {request.run}: its network is a "
                f"{type(trained.network).__name__}; expected a run of method 'attentive'"
            )
        folder = request.layout.run(Run(teacher.cell, teacher.seed_for(request.run.seed)))
        target = load_network(folder, teacher.network, request.settings.dataset)
        return cls(trained, target.to(trained.device))

    @property
    def split(self) -> Split:
        """The test images, from which a number is drawn."""
        return self.trained.data.split("test")

    def drawn(self, count: int, seed: int) -> Tensor:
        """Positions of randomly drawn test images, ascending; all of them where there are fewer."""
        total = len(self.split.labels)
        order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
        return order[:count].sort().values

    def images(self, chosen: Tensor) -> Tensor:
        """[B, channels, size, size], normalised, on the device."""
        return self.trained.normalised(self.split.images[chosen])

    def subject(self, chosen: Tensor, seed: int) -> Subject:
        """What explanations of these images may read."""
        size, boxes = self.trained.dataset.size, self.split.boxes
        objects = None
        if boxes is not None:
            objects = box_masks(boxes[chosen].to(self.trained.device), (size, size))
        batch = self.trained.batch
        return Subject(self.target, self.trained.network, objects, seed=seed, at_once=batch)
