"""Reinforced inputs against plain differentiation: what moves, how far, and on what it depends."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xkd.errors import Refused
from xkd.networks import Network, Output, resnet
from xkd.plan.settings import DatasetSettings, Reinforcement
from xkd.reinforce import bounds_of, reinforce


@pytest.fixture
def teacher() -> Network:
    torch.manual_seed(0)
    network = resnet.build(3, 8, 10, depth=8).double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(16, 3, 8, 8, dtype=torch.float64), torch.randint(10, (16,))


def losses(teacher: Network, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return F.cross_entropy(teacher(images).logits, labels, reduction="none")


def single_gradient(teacher: Network, image: Tensor, label: Tensor) -> Tensor:
    image = image[None].detach().requires_grad_()
    loss = F.cross_entropy(teacher(image).logits, label[None])
    return torch.autograd.grad(loss, image)[0][0]


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_gradient_step_equals_the_formula_on_every_sample_alone(teacher, batch):
    images, labels = batch
    found = reinforce(teacher, images, labels, Reinforcement(20.0))
    gradients = [single_gradient(teacher, *one) for one in zip(images, labels, strict=True)]
    close(found.images, images - 20 / 64 * images.abs() * torch.stack(gradients))
    assert (found.images - images).abs().max() > 1e-3


def test_gradient_step_equals_the_official_batch_mean_on_a_full_batch_of_64(teacher):
    torch.manual_seed(2)
    images = torch.randn(64, 3, 8, 8, dtype=torch.float64)
    labels = torch.randint(10, (64,))
    x = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(teacher(x).logits, labels), x)
    found = reinforce(teacher, images, labels, Reinforcement(0.5))
    close(found.images, images - 0.5 * images.abs() * gradient)


@pytest.mark.parametrize("kind", ["gradient", "sign"])
def test_no_image_depends_on_its_batch(teacher, batch, kind):
    images, labels = batch
    gamma = Reinforcement(20.0 if kind == "gradient" else 0.01, kind)
    together = reinforce(teacher, images, labels, gamma)
    parts = [reinforce(teacher, images[i], labels[i], gamma) for i in torch.arange(16).split(3)]
    close(torch.cat([part.images for part in parts]), together.images)
    close(torch.cat([part.logits for part in parts]), together.logits)


def test_sign_step_is_gamma_times_the_magnitude_of_every_pixel(teacher, batch):
    images, labels = batch
    found = reinforce(teacher, images, labels, Reinforcement(2 / 255, "sign"))
    gradients = [single_gradient(teacher, *one) for one in zip(images, labels, strict=True)]
    close(found.images, images - 2 / 255 * images.abs() * torch.stack(gradients).sign())
    close((found.images - images).abs(), 2 / 255 * images.abs())


@pytest.mark.parametrize("kind", ["gradient", "sign", "random"])
def test_gamma_zero_returns_the_images_themselves(teacher, batch, kind):
    images, labels = batch
    found = reinforce(teacher, images, labels, Reinforcement(0.0, kind))
    assert found.images is images
    assert torch.equal(found.logits, teacher(images).logits.detach())


@pytest.mark.parametrize(("kind", "gamma"), [("gradient", 5.0), ("sign", 0.002)])
def test_a_small_step_lowers_the_loss_of_every_sample(teacher, batch, kind, gamma):
    images, labels = batch
    found = reinforce(teacher, images, labels, Reinforcement(gamma, kind))
    before, after = losses(teacher, images, labels), losses(teacher, found.images, labels)
    assert (after < before).all()


def test_the_decrease_is_the_first_order_prediction(teacher, batch):
    images, labels = batch
    gamma = 1e-3
    found = reinforce(teacher, images, labels, Reinforcement(gamma))
    gradients = torch.stack(
        [single_gradient(teacher, *one) for one in zip(images, labels, strict=True)]
    )
    predicted = -gamma / 64 * (images.abs() * gradients.square()).sum((1, 2, 3))
    change = losses(teacher, found.images, labels) - losses(teacher, images, labels)
    torch.testing.assert_close(change, predicted, rtol=1e-3, atol=0)


def test_reinforcing_a_trained_teacher_repairs_its_mistakes():
    torch.manual_seed(0)
    images, labels = torch.randn(128, 3, 8, 8), torch.randint(10, (128,))
    teacher = resnet.build(3, 8, 10, depth=8)
    optimizer = torch.optim.SGD(teacher.parameters(), lr=0.05, momentum=0.9)
    for _ in range(12):
        optimizer.zero_grad()
        F.cross_entropy(teacher(images).logits, labels).backward()
        optimizer.step()
    teacher.eval()
    before = reinforce(teacher, images, labels, Reinforcement(50.0))
    after = teacher(before.images).logits
    accuracies = [(z.argmax(1) == labels).float().mean() for z in (before.logits, after)]
    assert accuracies[0] < 0.95
    assert accuracies[1] > accuracies[0] + 0.02


def test_the_random_control_goes_as_far_as_the_gradient_over_the_same_pixels(teacher, batch):
    images, labels = batch
    images[:, :, 0] = 0
    straight = reinforce(teacher, images, labels, Reinforcement(20.0)).images - images
    random = reinforce(teacher, images, labels, Reinforcement(20.0, "random")).images - images
    close(random.flatten(1).norm(dim=1), straight.flatten(1).norm(dim=1))
    assert (random[:, :, 0] == 0).all()
    cosines = F.cosine_similarity(random.flatten(1), straight.flatten(1))
    assert cosines.abs().max() < 0.5
    again = reinforce(teacher, images, labels, Reinforcement(20.0, "random")).images - images
    assert not torch.equal(random, again)


def test_the_random_control_leaves_an_image_of_zeros_alone(teacher):
    images, labels = torch.zeros(2, 3, 8, 8, dtype=torch.float64), torch.tensor([1, 2])
    found = reinforce(teacher, images, labels, Reinforcement(20.0, "random"))
    assert torch.equal(found.images, images)


def test_two_steps_are_one_step_after_the_other(teacher, batch):
    images, labels = batch
    gamma = Reinforcement(20.0)
    first = reinforce(teacher, images, labels, gamma)
    second = reinforce(teacher, first.images, labels, gamma)
    both = reinforce(teacher, images, labels, Reinforcement(20.0, steps=2))
    assert torch.equal(both.images, second.images)
    assert torch.equal(both.logits, first.logits)


def test_clipping_keeps_pixels_between_black_and_white(teacher, batch):
    _, labels = batch
    dataset = DatasetSettings("x", "x", 10, 3, 8, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    clipping = Reinforcement(50.0, clip=True)
    assert bounds_of(Reinforcement(50.0), dataset) is None
    low, high = bounds = bounds_of(clipping, dataset, dtype=torch.float64)
    torch.testing.assert_close(low.flatten(), torch.tensor([-2.5, -1.6, -1.0]).double())
    torch.testing.assert_close(high.flatten(), torch.tensor([2.5, 2.4, 7 / 3]).double())
    torch.manual_seed(3)
    images = low + (high - low) * torch.rand(16, 3, 8, 8).round().double()  # black and white
    free = reinforce(teacher, images, labels, Reinforcement(50.0)).images
    clipped = reinforce(teacher, images, labels, clipping, bounds).images
    assert ((free < low) | (free > high)).any()
    assert ((clipped >= low) & (clipped <= high)).all()
    inside = (free >= low) & (free <= high)
    assert torch.equal(clipped[inside], free[inside])


def test_teacher_and_images_are_left_as_they_were(teacher, batch):
    images, labels = batch
    copy = images.clone()
    state = {name: value.clone() for name, value in teacher.state_dict().items()}
    found = reinforce(teacher, images, labels, Reinforcement(20.0))
    assert not found.images.requires_grad
    assert not found.logits.requires_grad
    assert not images.requires_grad
    assert torch.equal(images, copy)
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(value, state[name]) for name, value in teacher.state_dict().items())


def test_reinforcement_works_where_gradients_are_off_and_parameters_frozen(teacher, batch):
    expected = reinforce(teacher, *batch, Reinforcement(20.0))
    with torch.no_grad():
        found = reinforce(teacher.requires_grad_(False), *batch, Reinforcement(20.0))
    assert torch.equal(found.images, expected.images)


def test_impossible_requests_are_refused(teacher, batch):
    with pytest.raises(ValueError, match="training mode"):
        reinforce(teacher.train(), *batch, Reinforcement(0.5))
    with pytest.raises(ValueError, match="steps is 0"):
        reinforce(teacher.eval(), *batch, Reinforcement(0.5, steps=0))
    with pytest.raises(ValueError, match="bounds are for clipping"):
        reinforce(teacher, *batch, Reinforcement(0.5, clip=True))
    with pytest.raises(Refused, match="unknown reinforcement 'sgn'; did you mean 'sign'"):
        reinforce(teacher, *batch, Reinforcement(0.5, "sgn"))


class Ramp(Network):
    """Two classes; the logits are ±x of one pixel, so that every gradient can be worked out."""

    def forward(self, images: Tensor) -> Output:
        x = images.flatten(1)
        return Output(torch.cat((x, -x), dim=1), (), x)


RAMP = DatasetSettings("x", "x", 2, 1, 1, mean=(0.5,), std=(0.25,))  # black is -2, white 2


def moved(x: float, reinforcement: Reinforcement) -> float:
    """x* of the single pixel x, whose class is the first."""
    image = torch.full((1, 1, 1, 1), x, dtype=torch.float64)
    bounds = bounds_of(reinforcement, RAMP, dtype=torch.float64)
    found = reinforce(Ramp().eval(), image, torch.tensor([0]), reinforcement, bounds)
    return float(found.images)


def slope(x: float) -> float:
    """CE = ln(1 + e^(-2x)), so g = -2 / (1 + e^(2x))."""
    return -2 / (1 + math.exp(2 * x))


def test_every_variant_by_hand_on_one_pixel():
    x = -0.5
    once = x - 64 / 64 * 0.5 * slope(x)  # -0.5 + 0.5 * 2 / (1 + e^-1) = 0.2311
    assert once == pytest.approx(0.2310586)
    assert moved(x, Reinforcement(64.0)) == pytest.approx(once)
    twice = once - abs(once) * slope(once)
    assert moved(x, Reinforcement(64.0, steps=2)) == pytest.approx(twice)
    assert moved(x, Reinforcement(0.1, "sign")) == pytest.approx(x + 0.1 * 0.5)
    assert moved(x, Reinforcement(640.0)) == pytest.approx(x + 10 * 0.5 * -slope(x))
    assert moved(x, Reinforcement(640.0, clip=True)) == pytest.approx(2.0)  # white
    assert abs(moved(x, Reinforcement(64.0, "random")) - x) == pytest.approx(once - x)


def test_clipping_comes_after_every_step_and_not_only_the_last():
    x = -1.9
    first = 2.0  # white, after clipping
    second = first - 20 * first * slope(first)
    assert moved(x, Reinforcement(64.0 * 20, steps=2, clip=True)) == pytest.approx(min(second, 2.0))
    below = moved(x, Reinforcement(64.0 * 20, steps=2))
    assert below > 2.5  # further than white, had it not been clipped


@pytest.mark.parametrize(
    ("reinforcement", "text"),
    [
        (Reinforcement(0.0), "gradient-0"),
        (Reinforcement(0.00784314, "sign"), "sign-0.00784314"),
        (Reinforcement(1e-7, "random"), "random-1e-07"),
        (Reinforcement(0.5, steps=2), "gradient-0.5-2steps"),
        (Reinforcement(0.5, clip=True), "gradient-0.5-clipped"),
        (Reinforcement(2.0, "sign", 12, True), "sign-2-12steps-clipped"),
    ],
)
def test_every_reinforcement_has_its_own_name_which_reads_back(reinforcement, text):
    assert str(reinforcement) == text
    assert Reinforcement.parse(text) == reinforcement


@pytest.mark.parametrize("text", ["gradient", "gradient--1", "sgn-1", "gradient-nan", "sign-1-x"])
def test_what_is_no_reinforcement_is_refused(text):
    with pytest.raises(Refused, match="is no reinforcement; expected, say"):
        Reinforcement.parse(text)
