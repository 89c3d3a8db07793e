"""Images with parts of them erased: what explanations are scored on, and networks that explain
are trained on.

Erased is either blurred beyond recognition or set to zero, which in normalised units is the mean
colour of the data set. The blur is that of the reference code of RISE (Petsiuk et al. 2018).
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

SIZE, SIGMA = 11, 5.0  # of RISE's kernel
CUT = 4.0  # SciPy's gaussian_filter reaches this many standard deviations


@cache
def blur_kernel(size: int = SIZE, sigma: float = SIGMA, truncated: bool = False) -> Tensor:
    """Weights of the blur, [size, size], float64, sum 1.

        K = k kᵀ,   k_j = Σ_o g(o) · 1[reflect(j + o) = c],   g(o) ∝ exp( −o² / 2σ² ), |o| ≤ 4σ

    with c the middle. It is what `scipy.ndimage.gaussian_filter` makes of an array with a single
    one in its middle, as RISE's code builds it: tails that leave the array are folded back, so that
    at 11 pixels and σ = 5 the kernel is nearly flat (1/121 = 0.0083; 0.0088 in the middle, 0.0077
    in a corner).

    Args:
        size: k, odd, in pixels; sigma: σ > 0, in pixels.
        truncated: a Gaussian cut at the kernel's edge and scaled to sum 1 instead.
    Raises: ValueError if the size is even or not positive, or σ ≤ 0.
    """
    if size < 1 or size % 2 == 0 or not sigma > 0:
        raise ValueError(
            f"blur of {size} pixels, sigma {sigma}; expected an odd size and sigma > 0"
        )
    middle = size // 2
    reach = middle if truncated else int(CUT * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1)
    gauss = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    gauss /= gauss.sum()
    place = (middle + offsets) % (2 * size)  # where a one in the middle is seen, before folding
    place = torch.where(place < size, place, 2 * size - 1 - place)
    line = torch.zeros(size, dtype=torch.float64).index_add_(0, place, gauss)
    return torch.outer(line, line)


@cache
def _kernel_on(
    device: torch.device, dtype: torch.dtype, size: int, sigma: float, truncated: bool
) -> Tensor:
    """`blur_kernel`, copied to a device once: a captured step cannot wait for a copy."""
    return blur_kernel(size, sigma, truncated).to(device, dtype)


def blurred(
    images: Tensor, size: int = SIZE, sigma: float = SIGMA, truncated: bool = False
) -> Tensor:
    """Images after a convolution of every channel with `blur_kernel`, padded with zeros.

    In normalised units zero is the mean colour, to which borders therefore fade.

    Args:
        images: [B, channels, H, W].
    Returns: as images.
    """
    kernel = _kernel_on(images.device, images.dtype, size, sigma, truncated)
    channels = images.shape[1]
    return F.conv2d(
        images, kernel.expand(channels, 1, size, size), padding=size // 2, groups=channels
    )


def mixed(images: Tensor, others: Tensor, masks: Tensor) -> Tensor:
    """x ⊙ m + y ⊙ (1 − m): the image where the mask is 1, the other where it is 0.

    Args:
        images, others: x and y, [B, channels, H, W]; others may be 0-dimensional.
        masks: m in [0, 1], [B, H, W]; all channels of a pixel share its value.
    Returns: [B, channels, H, W].
    """
    masks = masks.unsqueeze(1)
    return images * masks + others * (1 - masks)


def pixel_ranks(maps: Tensor, seed: int = 0) -> Tensor:
    """Place of every pixel when the largest value comes first, rows first, [B, H·W], int64.

    Pixels with equal values come in a random order, which depends on the seed and the size of the
    map alone: the same for every image and explanation, and for any batch.

    Args:
        maps: [B, H, W], finite.
    Raises: ValueError if a value is not finite.
    """
    values = maps.detach().flatten(1)
    if not values.isfinite().all():
        raise ValueError("a map has values that are not finite; expected numbers")
    count = values.shape[1]
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(count, generator=generator).to(values.device)
    order = shuffled[values[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    places = torch.arange(count, device=values.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def enlarged_grids(grids: Tensor, size: tuple[int, int], offsets: Tensor) -> Tensor:
    """Small grids drawn large, each shifted by an offset of its own: RISE's way to make masks.

    A cell becomes ⌈H/s⌉ × ⌈W/s⌉ pixels; the grid is enlarged bilinearly to s + 1 times as many, and
    an H × W part is cut out of it.

    Args:
        grids: [N, s, s].
        size: (H, W).
        offsets: of the part, [N, 2], int64, each below ⌈H/s⌉ and ⌈W/s⌉.
    Returns: [N, H, W], within the range of the grids.
    """
    cells = grids.shape[1]
    cell = [-(-side // cells) for side in size]
    large = F.interpolate(
        grids[:, None],
        size=[(cells + 1) * side for side in cell],
        mode="bilinear",
        align_corners=False,
    )[:, 0]
    rows, columns = (
        offsets[:, axis, None] + torch.arange(side, device=grids.device)
        for axis, side in enumerate(size)
    )
    number = torch.arange(len(grids), device=grids.device)
    return large[number[:, None, None], rows[:, :, None], columns[:, None, :]]


def total_variation(maps: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, across plus down; scalar.

    Args:
        maps: [B, H, W].
    """
    across, down = maps.diff(dim=2).abs().mean(), maps.diff(dim=1).abs().mean()
    return across + down


GRIDS = (3, 5, 8)  # cells a side of coarse noise
SHARPNESS = (8.0, 200.0)  # of masks


def random_masks(count: int, size: tuple[int, int], device: torch.device | str) -> Tensor:
    """Masks that keep a random share of the pixels, in fine grain or in blobs, with soft edges.

        m = sigmoid( k (rank(g) / HW − t) ),   t ~ U(0, 1) per image

    g is uniform noise, of pixels or of 3, 5 or 8 cells a side enlarged with a random offset; k is 8
    or 200. All choices are even draws per image from torch's global generator of the device.

    Returns: [count, H, W], in (0, 1).
    """

    def choice(number: int) -> Tensor:
        return torch.randint(number, (count, 1, 1), device=device)

    noise = [torch.rand(count, *size, device=device)]
    for cells in GRIDS:
        drawn = torch.rand(count, 2, device=device).unbind(1)
        within = [share * -(-side // cells) for share, side in zip(drawn, size, strict=True)]
        offsets = torch.stack(within, dim=1).long()
        noise.append(enlarged_grids(torch.rand(count, cells, cells, device=device), size, offsets))
    kind = choice(len(noise))
    chosen = sum(one * (kind == number) for number, one in enumerate(noise)).flatten(1)
    rank = chosen.argsort(dim=1).argsort(dim=1) / chosen.shape[1]
    keep = torch.rand(count, 1, device=device)
    sharpness = torch.where(choice(2)[:, 0] == 1, SHARPNESS[1], SHARPNESS[0])
    return torch.sigmoid(sharpness * (rank - keep)).view(count, *size)


@torch.no_grad()
def erased(images: Tensor) -> Tensor:
    """Images with a random share of their pixels blurred or, by a fair coin per image, set to zero.

    u = x ⊙ m + z b ⊙ (1 − m),   b = blur(x),   z ∈ {0, 1},   m as from `random_masks`
    """
    coin = torch.randint(2, (len(images), 1, 1, 1), device=images.device)
    masks = random_masks(len(images), tuple(images.shape[2:]), images.device).to(images.dtype)
    return mixed(images, coin * blurred(images), masks)
