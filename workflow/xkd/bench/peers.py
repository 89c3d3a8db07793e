"""Peers: the same work the way the field writes it.

Every image passes through PIL and torchvision's transforms, one at a time and in no other process,
so that all the time it takes is on the books; losses and accuracies are read after every step;
explanations and reinforced inputs come from automatic differentiation, batch by batch. Networks are
ours, in torch's default memory format.
"""

from collections.abc import Iterable, Iterator

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from xkd.networks import Network
from xkd.plan.settings import DatasetSettings, Recipe

# ------------------------------------------------------------------------------------------ data


def augmentation(dataset: DatasetSettings) -> transforms.Compose:
    """The training transforms of mdistiller, RepDistiller and torchdistill on CIFAR."""
    steps = []
    if dataset.pad:
        steps.append(transforms.RandomCrop(dataset.size, padding=dataset.pad))
    if dataset.flip:
        steps.append(transforms.RandomHorizontalFlip())
    normalise = transforms.Normalize(dataset.mean, dataset.std)
    return transforms.Compose([*steps, transforms.ToTensor(), normalise])


class Pictures(Dataset):
    """As `torchvision.datasets.CIFAR10` and `MNIST` keep and hand out their images."""

    def __init__(self, images: Tensor, labels: Tensor, dataset: DatasetSettings) -> None:
        self.data = images.movedim(1, -1).squeeze(-1).contiguous().numpy()  # [N, H, W(, C)]
        self.targets = labels.tolist()
        self.transform = augmentation(dataset)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


def loader(pictures: Pictures, batch: int) -> DataLoader:
    """RepDistiller's `get_cifar100_dataloaders`, but for its workers."""
    return DataLoader(pictures, batch_size=batch, shuffle=True, num_workers=0)


def endless(batches: Iterable) -> Iterator:
    while True:
        yield from batches


# ----------------------------------------------------------------------------------------- steps


class Meter:
    """A running average, as in the ImageNet example of PyTorch that most loops descend from."""

    def __init__(self) -> None:
        self.sum = self.count = 0.0

    def update(self, value: float, count: int) -> None:
        self.sum += value * count
        self.count += count


def accuracy(logits: Tensor, labels: Tensor, topk: tuple[int, ...]) -> list[Tensor]:
    """Precision at k in percent, as in the same example."""
    hits = logits.topk(max(topk), dim=1).indices.t().eq(labels.expand(max(topk), -1))
    return [hits[:k].reshape(-1).float().sum() * (100 / len(labels)) for k in topk]


class Vanilla:
    """Cross-entropy: RepDistiller's `helper/loops.py:train_vanilla`, mdistiller's `Vanilla`."""

    def __init__(self, network: Network, recipe: Recipe) -> None:
        self.network = network.train()
        self.optimiser = torch.optim.SGD(
            network.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay
        )
        self.losses, self.top1, self.top5 = Meter(), Meter(), Meter()

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        logits, loss = self.loss(images, labels)
        top1, top5 = accuracy(logits, labels, (1, 5))
        self.losses.update(loss.item(), len(images))
        self.top1.update(top1.item(), len(images))
        self.top5.update(top5.item(), len(images))
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(images).logits
        return logits, F.cross_entropy(logits, labels)


class Introspective(Vanilla):
    """LE, Alg. 1, with explanations by automatic differentiation, one class after another."""

    def __init__(
        self, network: Network, recipe: Recipe, alpha: float = 0.9, ce: float = 0.1
    ) -> None:
        super().__init__(network, recipe)
        self.alpha, self.ce = alpha, ce

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits, maps = self.explained(images)
        targets = self.targets(maps, labels)
        explanation = -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()
        return logits, explanation + self.ce * F.cross_entropy(logits, labels)

    def targets(self, maps: list[Tensor], labels: Tensor) -> Tensor:
        """LE, Eq. 6. maps: of every class, each [B, ...]; returns [B, C]."""
        maps = torch.stack([one.detach().flatten(1) for one in maps], dim=1)  # [B, C, P]
        rows = torch.arange(len(labels))
        true = maps[rows, labels].unsqueeze(1)
        similarity = F.cosine_similarity(maps, true, dim=2) + 1
        similarity[rows, labels] = 0
        targets = (1 - self.alpha) * similarity / similarity.sum(dim=1, keepdim=True)
        targets[rows, labels] = self.alpha
        return targets

    def explained(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits, [B, C], and the explanation of every class, each [B, ...]."""
        raise NotImplementedError


class InputGradients(Introspective):
    """LE(Grad) by C backward passes through the graph of one forward pass."""

    def explained(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        images.requires_grad_()
        logits = self.network(images).logits
        scores = logits.sum(dim=0)
        return logits, [torch.autograd.grad(s, images, retain_graph=True)[0] for s in scores]


class GradCam(Introspective):
    """LE(Grad-CAM) by `captum.attr.LayerGradCam`: per class a forward pass and its gradient."""

    def explained(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        logits = self.network(images).logits
        return logits, [self.attribute(images, target) for target in range(logits.shape[1])]

    def attribute(self, images: Tensor, target: int) -> Tensor:
        """Class `target`'s map at the output of the last block, [B, 1, h, w]."""
        output = self.network(images)
        layer = output.features[-1]
        (gradient,) = torch.autograd.grad(output.logits[:, target].sum(), layer)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        return F.relu((weights * layer).sum(dim=1, keepdim=True))


class PublishedOracle(Vanilla):
    """The Oracle authors' step: their teacher is in evaluation mode, but not frozen.

    So both of its forward passes are recorded, the backward pass to the image also fills the
    gradients of its weights, which nobody reads, and the student's image asks for a gradient too.
    """

    def __init__(
        self,
        network: Network,
        teacher: nn.Module,
        recipe: Recipe,
        gamma: float = 0.5,
        temperature: float = 2.0,
    ) -> None:
        super().__init__(network, recipe)
        self.teacher = teacher.eval().requires_grad_(True)
        self.gamma, self.temperature = gamma, temperature

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        images.requires_grad_()
        F.cross_entropy(self.teacher(images).logits, labels).backward()  # a batch mean (A44)
        reinforced = images - self.gamma * images.abs() * images.grad
        answer = self.teacher(reinforced.detach()).logits.detach()
        logits = self.network(images).logits
        soft, softened = (z / self.temperature for z in (answer, logits))
        oracle = F.kl_div(softened.log_softmax(1), soft.softmax(1), reduction="batchmean")
        ce = F.cross_entropy(logits, labels)
        return logits, ce + self.temperature**2 * oracle
