"""Strong views: every operation against Pillow's, and what is drawn at random."""

import numpy as np
import pytest
import torch
from fake_data import CIFAR10, DIGITS
from PIL import Image, ImageEnhance, ImageOps
from torch._subclasses.fake_tensor import FakeTensorMode

from xkd.data import strong
from xkd.data.stream import Resident

SIZE = 32
NAMES = list(strong.RANGES)


def enhanced(kind):
    return lambda image, v: kind(image).enhance(v)


def affine(*matrix):
    return lambda image, v: image.transform(
        image.size, Image.AFFINE, [entry(v) if callable(entry) else entry for entry in matrix]
    )


def slope(v):
    return v


def shift(v):
    return v * SIZE


PILLOW = {
    "autocontrast": lambda image, v: ImageOps.autocontrast(image),
    "brightness": enhanced(ImageEnhance.Brightness),
    "colour": enhanced(ImageEnhance.Color),
    "contrast": enhanced(ImageEnhance.Contrast),
    "equalise": lambda image, v: ImageOps.equalize(image),
    "identity": lambda image, v: image,
    "posterise": lambda image, v: ImageOps.posterize(image, int(v)),
    "rotate": lambda image, v: image.rotate(v),
    "sharpness": enhanced(ImageEnhance.Sharpness),
    "shear_x": affine(1, slope, 0, 0, 1, 0),
    "shear_y": affine(1, 0, 0, slope, 1, 0),
    "solarise": lambda image, v: ImageOps.solarize(image, v),
    "translate_x": affine(1, 0, shift, 0, 1, 0),
    "translate_y": affine(1, 0, 0, 0, 1, shift),
}


def pictures(count: int) -> np.ndarray:
    """Smooth ones, of which every other spans a part of the range; uint8, [N, S, S, 3]."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, 4, 4, 3), np.uint8)
    large = [Image.fromarray(c).resize((SIZE, SIZE), Image.BICUBIC) for c in coarse]
    found = np.stack([np.asarray(image) for image in large])
    found[::2] = found[::2] // 3 + 60
    return found


def as_tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).movedim(-1, 1).double()


@pytest.mark.parametrize("name", NAMES)
def test_every_operation_is_pillows(name):
    """To one step of brightness, for rounding in between; geometry to the very pixel, but for
    lines where a coordinate falls between two."""
    images, (low, high) = pictures(12), strong.RANGES[name]
    v = torch.linspace(low + 0.01 * (high - low), high - 0.013 * (high - low), len(images))
    chosen = torch.full((len(images),), NAMES.index(name))
    found = strong.transformed(as_tensor(images), chosen, v)
    expected = as_tensor(
        np.stack(
            [
                np.asarray(PILLOW[name](Image.fromarray(image), float(amount)))
                for image, amount in zip(images, v.tolist(), strict=True)
            ]
        )
    )
    off = (found - expected).abs()
    if name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y"):
        assert (off > 0).double().mean() < 0.005
    else:
        assert off.max() <= 1
        assert (off > 0).double().mean() < 0.02
    assert torch.equal(found, found.round())
    assert 0 <= found.min() <= found.max() <= 255


def test_images_of_a_batch_get_operations_of_their_own():
    images = as_tensor(pictures(len(NAMES)))
    v = torch.tensor([(low + high) / 2 for low, high in strong.RANGES.values()])
    together = strong.transformed(images, torch.arange(len(NAMES)), v)
    for place in range(len(NAMES)):
        alone = strong.transformed(images[place][None], torch.tensor([place]), v[place][None])
        assert torch.equal(together[place], alone[0])


def test_the_square_is_grey_where_it_covers_and_leaves_the_rest():
    torch.manual_seed(0)
    images = torch.full((400, 3, SIZE, SIZE), 7.0)
    found = strong.with_square(images, torch.full((400,), 0.5))
    grey = torch.tensor(strong.GREY)[:, None, None]
    covered = (found == grey).all(dim=1)
    assert torch.equal(covered, (found != 7).any(dim=1))
    for square in covered:
        rows, columns = square.any(1).sum(), square.any(0).sum()
        assert square.sum() == rows * columns
        assert 0 < max(rows, columns) <= SIZE // 2 + 1
    assert covered.double().mean() > 0.15


def test_strong_views_of_grey_images_stay_grey_images():
    torch.manual_seed(0)
    images = torch.randint(256, (50, 1, 8, 8)).float()
    found = strong.StrongViews()(images)
    assert found.shape == images.shape
    assert torch.equal(found, found.round())


def test_every_operation_is_drawn_and_views_differ_every_time():
    torch.manual_seed(0)
    seen = torch.zeros(len(NAMES))
    original = strong.transformed

    def count(images, chosen, magnitude):
        seen.index_add_(0, chosen, torch.ones(len(chosen)))
        ranges = torch.tensor(list(strong.RANGES.values()))[chosen]
        assert ((ranges[:, 0] <= magnitude) & (magnitude <= ranges[:, 1])).all()
        return original(images, chosen, magnitude)

    strong.transformed = count
    try:
        images, views = as_tensor(pictures(100)), strong.StrongViews()
        one, other = views(images), views(images)
    finally:
        strong.transformed = original
    assert (seen > 5).all()
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("settings", "channels", "size"), [(CIFAR10, 3, 32), (DIGITS, 1, 8)])
def test_strong_images_are_normalised_views_of_the_images_asked_for(settings, channels, size):
    images = torch.randint(256, (20, channels, size, size), dtype=torch.uint8)
    resident = Resident(images, torch.zeros(20), settings)
    found = resident.strong_images(torch.arange(5))
    assert found.shape == (5, channels, size, size)
    scale = torch.tensor(settings.std)[:, None, None]
    pixels = 255 * (found * scale + torch.tensor(settings.mean)[:, None, None])
    torch.testing.assert_close(pixels, pixels.round(), rtol=0, atol=1e-3)


def test_strong_views_read_nothing_on_the_host():
    views = strong.StrongViews()
    with FakeTensorMode(allow_non_fake_inputs=True):
        views(torch.randint(256, (4, 3, SIZE, SIZE)).float())
