import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from xkd.data.stream import EpochOrder, Normalisation, Resident, Stream
from xkd.plan.settings import DatasetSettings

CIFAR = DatasetSettings(
    name="cifar10",
    source="cifar10",
    classes=10,
    channels=3,
    size=32,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    pad=4,
    flip=True,
)
MNIST = DatasetSettings("mnist", "mnist", 10, 1, 28, (0.1307,), (0.3081,))


def pictures(settings: DatasetSettings, count: int) -> torch.Tensor:
    shape = (count, settings.channels, settings.size, settings.size)
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(7)).byte()


def resident(settings: DatasetSettings = CIFAR, count: int = 50, **options) -> Resident:
    return Resident(pictures(settings, count), torch.arange(count) % 10, settings, **options)


def as_pil(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def torchvision_view(image: torch.Tensor, settings: DatasetSettings, view: int) -> torch.Tensor:
    """The view as torchvision's own functions make it from a PIL image."""
    from torchvision.transforms import functional as tv

    crop, mirrored = divmod(view, 2) if settings.flip else (view, 0)
    row, column = divmod(crop, 2 * settings.pad + 1)
    cropped = tv.crop(tv.pad(as_pil(image), settings.pad), row, column, *[settings.size] * 2)
    turned = tv.hflip(cropped) if mirrored else cropped
    return tv.normalize(tv.to_tensor(turned), settings.mean, settings.std)


@pytest.mark.parametrize("settings", [CIFAR, replace(CIFAR, pad=2, flip=False)])
def test_every_view_equals_torchvision_pixel_by_pixel(settings):
    images = resident(settings, count=3)
    for index in range(3):
        view = torch.arange(settings.views)
        ours = images.view_images(torch.full_like(view, index), view)
        original = pictures(settings, 3)[index]
        theirs = torch.stack([torchvision_view(original, settings, int(v)) for v in view])
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_cifar_has_162_different_views():
    views = torch.arange(CIFAR.views)
    assert len(views) == 162
    assert len(resident().view_images(torch.zeros_like(views), views).unique(dim=0)) == 162


def test_without_augmentation_the_only_view_is_the_normalised_image():
    images = resident(MNIST)
    index = torch.tensor([4, 0, 49])
    ours, labels = images.batch(index, torch.zeros_like(index))
    plain = (pictures(MNIST, 50)[index].double() / 255 - 0.1307) / 0.3081
    torch.testing.assert_close(ours, plain.float(), rtol=0, atol=1e-6)
    assert torch.equal(ours, images.normalised(pictures(MNIST, 50)[index]))
    assert labels.tolist() == [4, 0, 9]


def test_the_middle_crop_is_the_image_that_evaluation_sees():
    middle = torch.full((50,), (4 * 9 + 4) * 2)
    augmented = resident().view_images(torch.arange(50), middle)
    assert torch.equal(augmented, Normalisation(CIFAR)(pictures(CIFAR, 50)))


def test_memory_format_and_stacked_seeds_change_no_value():
    index, view = next(iter(Stream(resident(), 16, seed=0).epoch(1)))
    plain, labels = resident().batch(index, view)
    last, _ = resident(channels_last=True).batch(index, view)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert plain.is_contiguous()
    assert torch.equal(last, plain)
    stacked, stacked_labels = resident().batch(torch.stack([index] * 2), torch.stack([view] * 2))
    assert torch.equal(stacked, torch.stack([plain, plain]))
    assert torch.equal(stacked_labels, torch.stack([labels, labels]))


def test_float64_batches_agree_with_the_exact_formula():
    images = resident(dtype=torch.float64).normalised(pictures(CIFAR, 50))
    mean, std = torch.tensor([CIFAR.mean, CIFAR.std], dtype=torch.float64)[:, :, None, None]
    exact = (pictures(CIFAR, 50).double() / 255 - mean) / std
    torch.testing.assert_close(images, exact, rtol=0, atol=1e-14)


def test_a_batch_never_asks_the_device_for_a_value():
    """Tensors on `meta` have no values: a hidden `.item()` or boolean index would raise."""
    images = Resident(
        pictures(CIFAR, 50).to("meta"), torch.zeros(50, device="meta"), CIFAR, device="meta"
    )
    index = torch.zeros(8, dtype=torch.int64, device="meta")
    batch, labels = images.batch(index, index)
    assert (batch.shape, labels.shape) == ((8, 3, 32, 32), (8,))


def test_a_seed_draws_the_same_epoch_in_any_company():
    alone = Stream(resident(), 16, seed=3).epoch(2)
    shared = resident()
    streams = [Stream(shared, 16, seed) for seed in (0, 3, 4)]
    together = [[stream.epoch(epoch) for stream in streams] for epoch in (1, 2)]
    assert same(together[1][1], alone)
    assert not same(together[1][0], alone)
    assert not same(together[0][1], alone)


def test_the_stream_neither_reads_nor_moves_the_global_generator():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = Stream(resident(), 16, seed=1).epoch(1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert same(Stream(resident(), 16, seed=1).epoch(1), first)


def test_order_and_views_of_a_seed_never_change():
    """Recorded once: different numbers here mean that every trained network would differ."""
    order = Stream(resident(), 16, seed=0).epoch(1)
    assert order.index[:6].tolist() == [21, 7, 24, 5, 10, 12]
    assert order.view[:6].tolist() == [109, 48, 94, 6, 78, 84]


def test_no_two_epochs_of_any_seed_share_a_generator_seed():
    first = {
        tuple(Stream(resident(), 16, seed).epoch(epoch).index.tolist())
        for seed in range(5)
        for epoch in range(1, 41)
    }
    assert len(first) == 200


def test_an_epoch_shows_every_image_once_and_keeps_the_last_partial_batch():
    order = Stream(resident(count=50), 16, seed=0).epoch(1)
    assert sorted(order.index.tolist()) == list(range(50))
    assert len(order) == 4
    assert order.sizes == [16, 16, 16, 2] == [len(index) for index, _ in order]


def test_a_whole_number_of_batches_has_no_empty_last_step():
    order = EpochOrder(torch.arange(48), torch.zeros(48), 16)
    assert (len(order), order.sizes, len(list(order))) == (3, [16] * 3, 3)


def test_views_are_uniform_and_half_of_them_are_mirrored():
    images = resident(count=50)
    views = torch.cat([Stream(images, 16, seed=0).epoch(epoch).view for epoch in range(1, 401)])
    assert views.min() >= 0
    assert views.max() < CIFAR.views
    count = len(views)  # 20,000: one standard deviation of a share 1/2 is 0.0035
    assert abs((views % 2).double().mean() - 0.5) < 4 * 0.5 / count**0.5
    spread = torch.bincount(views, minlength=162).double()
    chi_square = ((spread - count / 162) ** 2 / (count / 162)).sum()
    assert abs(chi_square - 161) < 4 * (2 * 161) ** 0.5


@pytest.mark.slow
def test_one_gather_is_ten_times_as_fast_as_pil_transforms():
    """Process time of one thread, interleaved; the peer is a DataLoader with PIL transforms."""
    from torch.utils.data import DataLoader
    from torchvision.transforms import (
        Compose,
        Normalize,
        RandomCrop,
        RandomHorizontalFlip,
        ToTensor,
    )

    images = pictures(CIFAR, 12_800)
    transform = Compose(
        [RandomCrop(32, 4), RandomHorizontalFlip(), ToTensor(), Normalize(CIFAR.mean, CIFAR.std)]
    )
    arrays = images.permute(0, 2, 3, 1).contiguous().numpy()

    class Peer(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(arrays)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return transform(Image.fromarray(arrays[index])), index % 10

    ours = Resident(images, torch.arange(12_800) % 10, CIFAR)
    peer, ratios = DataLoader(Peer(), 128, shuffle=True), []
    for epoch in range(1, 6):
        start = time.process_time()
        for _, _ in zip(range(20), peer, strict=False):
            pass
        middle = time.process_time()
        for _, (index, view) in zip(range(20), Stream(ours, 128, 0).epoch(epoch), strict=False):
            ours.batch(index, view)
        ratios.append((middle - start) / (time.process_time() - middle))
    assert np.median(ratios) >= 10


def same(one: EpochOrder, other: EpochOrder) -> bool:
    return torch.equal(one.index, other.index) and torch.equal(one.view, other.view)


def test_images_that_do_not_fill_a_batch_may_be_left_out_others_every_epoch():
    images = resident(count=50)
    orders = [Stream(images, 16, seed=0, drop_last=True).epoch(epoch) for epoch in (1, 2)]
    kept = Stream(images, 16, seed=0).epoch(1)
    assert (len(kept), kept.sizes) == (4, [16, 16, 16, 2])
    for order in orders:
        assert (len(order), order.sizes) == (3, [16] * 3)
        assert [len(index) for index, _ in order] == [16] * 3
    for (index, view), (wanted, seen) in zip(orders[0], kept, strict=False):
        assert torch.equal(index, wanted)
        assert torch.equal(view, seen)
    left_out = [set(order.index[48:].tolist()) for order in orders]
    assert left_out[0] != left_out[1]


def test_a_batch_that_is_never_full_is_kept():
    order = Stream(resident(count=10), 16, seed=0, drop_last=True).epoch(1)
    assert order.sizes == [10]
    assert len(list(order)) == 1
