"""Augmented training batches: images stay on the device as bytes, one gather makes a batch.

Zero-padding by p pixels, cropping back and mirroring give an image only (2p+1)² · 2 distinct views
(162 at p = 4), so a view is a number, and an epoch is a list of (image, view). The crop at row oy
and column ox of the padded image, then mirrored if `flip`, has the number

    view = ((2p+1) · oy + ox) · 2 + flip         or, where nothing is mirrored, (2p+1) · oy + ox
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor

from xkd.data.strong import StrongViews
from xkd.plan.settings import DatasetSettings


class Normalisation:
    """Network input from bytes: (x / 255 − mean) / std per channel, as one multiply-add.

    Args:
        dtype: float32, or float64 to compare implementations; half precision is autocast's.
        channels_last: memory format of the result.
    """

    def __init__(
        self,
        settings: DatasetSettings,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> None:
        mean, std = torch.tensor([settings.mean, settings.std], dtype=torch.float64)
        self.scale = (1 / (255 * std)).to(device, dtype)[:, None, None]
        self.shift = (-mean / std).to(device, dtype)[:, None, None]
        self.format = torch.channels_last if channels_last else torch.contiguous_format

    def __call__(self, images: Tensor) -> Tensor:
        """images: uint8, [B, C, H, W] or with more leading axes, on any device; same shape here."""
        pixels = images.flatten(0, -4).to(
            self.scale.device, self.scale.dtype, memory_format=self.format
        )
        torch.addcmul(self.shift, pixels, self.scale, out=pixels)
        return pixels.unflatten(0, images.shape[:-3])


class Images(Protocol):
    """Training images: `Resident` below, or `xkd.data.folder.Folder`.

    views: distinct views of one image; labels: int64, [N], on the device; nbytes: of memory
    """

    views: int
    labels: Tensor
    nbytes: int

    def __len__(self) -> int: ...
    def expect(self, steps: Sequence[tuple[Tensor, Tensor]]) -> None: ...
    def batch(self, index: Tensor, view: Tensor) -> tuple[Tensor, Tensor]: ...
    def strong_images(self, index: Tensor) -> Tensor: ...


class Resident:
    """Training images on the device, padded and mirrored once; all seeds of a cell share one.

    It holds no random state, and its tensors may lie in shared memory. Keeping the mirror images
    as well doubles the memory (480 MB for CIFAR) and halves the time of a batch on a CPU.

    Args:
        images: uint8, [N, C, H, W]; labels: [N].
        settings: its `pad`, `flip`, `mean` and `std` are used.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        settings: DatasetSettings,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> None:
        count, channels, height, width = images.shape
        pad, self.views = settings.pad, settings.views
        self.padded = torch.zeros(
            (count, 1 + settings.flip, height + 2 * pad, width + 2 * pad, channels),
            dtype=torch.uint8,
            device=device,
        )
        inner = self.padded[:, :, pad : pad + height, pad : pad + width]
        inner[:, 0] = images.movedim(1, -1)
        if settings.flip:
            inner[:, 1] = inner[:, 0].flip(-2)
        self.labels = labels.to(device, torch.int64)
        self.normalised = Normalisation(settings, device, dtype, channels_last)
        self.strengthen = StrongViews(device)
        # The window that begins at any pixel of any image, without copying one: [N, P, H, W, C].
        image, _, row, column, channel = self.padded.stride()
        corners = _corners(settings, height + 2 * pad, width + 2 * pad)
        self._windows = self.padded.as_strided(
            (count, int(corners.max()) + 1, height, width, channels),
            (image, column, row, column, channel),
        )
        self._corners = corners.to(device)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def nbytes(self) -> int:
        return self.padded.nbytes

    def expect(self, steps: Sequence[tuple[Tensor, Tensor]]) -> None:
        """See `xkd.data.folder`; here everything is at hand."""

    def batch(self, index: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised views of images, and their labels.

        Args:
            index, view: int64, [B] (or [S, B] for S seeds at once), on the device.
        Returns: [B, C, H, W] and int64 [B], or with a leading S. Shapes depend on shapes only and
            the host never waits, so that a CUDA graph can hold it.
        """
        return self.view_images(index, view), self.labels[index]

    def view_images(self, index: Tensor, view: Tensor) -> Tensor:
        """The images of `batch` alone, for instance to fill a teacher's table."""
        return self.normalised(self._bytes(index, view))

    def strong_images(self, index: Tensor) -> Tensor:
        """Strong views of images, in views of their own; [B, C, H, W] for an index of [B].

        Draws from torch's global generator of the device.
        """
        view = torch.randint(self.views, index.shape, device=index.device)
        pictures = self._bytes(index, view).to(self.normalised.scale.dtype)
        return self.normalised(self.strengthen(pictures))

    def _bytes(self, index: Tensor, view: Tensor) -> Tensor:
        """Views as they are stored, uint8, [..., C, H, W]."""
        return self._windows[index, self._corners[view]].movedim(-1, -3)


def _corners(settings: DatasetSettings, height: int, width: int) -> Tensor:
    """Where each view begins: a pixel of the padded image, counted through it and its mirror image.

    Looked up, since to work it out from a view's number would take a GPU eight launches a step.

    Args:
        height, width: of the padded image.
    Returns: int64, one for every view.
    """
    mirrors, offsets = 1 + settings.flip, 2 * settings.pad + 1
    view = torch.arange(mirrors * offsets**2)
    crop, mirrored = view // mirrors, view % mirrors
    row, column = crop // offsets, crop % offsets
    # The mirror image of the crop at column ox is the crop at 2p − ox of the mirror image.
    column = torch.where(mirrored == 1, offsets - 1 - column, column)
    return (mirrored * height + row) * width + column


@dataclass(frozen=True)
class EpochOrder:
    """One epoch: which image in which view, in order. index, view: int64, [N].

    drop_last: images that do not fill a batch are left out, unless there are no others.
    """

    index: Tensor
    view: Tensor
    batch: int
    drop_last: bool = False

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.sizes)

    @property
    def sizes(self) -> list[int]:
        """Images in each step; the last may be smaller than `batch`, never empty."""
        full, rest = divmod(len(self.index), self.batch)
        left_out = self.drop_last and full > 0
        return [self.batch] * full + [rest] * (rest > 0 and not left_out)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(index, view) of each step, each [B]: what `Resident.batch` takes."""
        steps = self.index.split(self.batch), self.view.split(self.batch)
        return islice(zip(*steps, strict=True), len(self))


class Stream:
    """One seed's order and views.

    An epoch depends on the seed and its number alone: not on torch's global generator, on other
    seeds of the cell, or on epochs drawn before. Resuming needs no more than the epoch's number.

    Args:
        images: those it runs over, here or in a folder; every one occurs once an epoch.
        batch: images per step; a smaller last step is kept unless `drop_last`.
    """

    def __init__(self, images: Images, batch: int, seed: int, drop_last: bool = False) -> None:
        self.images, self.batch, self.seed, self.drop_last = images, batch, seed, drop_last

    def epoch(self, number: int) -> EpochOrder:
        """The order of a 1-based epoch, on the device of the labels."""
        generator = torch.Generator().manual_seed(_mixed(self.seed, number))
        count, device = len(self.images), self.images.labels.device
        order = torch.randperm(count, generator=generator)
        view = torch.randint(self.images.views, (count,), generator=generator)
        return EpochOrder(order.to(device), view.to(device), self.batch, self.drop_last)


def _mixed(seed: int, epoch: int) -> int:
    """A generator seed of 32 bits, different for every (seed, epoch), both below 65,536.

    Torch's CPU generator reads no more than 32 bits; the odd factor (Knuth's multiplicative hash)
    maps them one to one and keeps small seeds away from those used to initialise networks.
    """
    return (seed * 65536 + epoch) * 2654435761 % 2**32
