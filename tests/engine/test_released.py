"""Weights of other code bases, against small networks written the way those code bases write them.

A wrong name, order or shortcut shows as other logits: every miniature has random weights and random
running statistics.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from xkd.engine import released
from xkd.errors import Refused
from xkd.networks import Network, imagenet_resnet, resnet
from xkd.plan import config

WIDTHS, CLASSES = (4, 8, 16), 5


# ------------------------------------------------------------- the other code bases, in miniature


class SignedBlock(nn.Module):
    """SAD and Oracle: the ReLU of the block before comes first, the output is signed."""

    def __init__(self, inner: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride > 1:
            projection = nn.Conv2d(inner, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return y + (x if self.downsample is None else self.downsample(x))


class OracleResNet(nn.Module):
    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        inner = WIDTHS[0]
        for number, width in enumerate(WIDTHS, start=1):
            stage = [SignedBlock(inner, width, 1 if number == 1 else 2)]
            stage += [SignedBlock(width, width, 1) for _ in range(blocks - 1)]
            setattr(self, f"layer{number}", nn.Sequential(*stage))
            inner = width
        self.fc = nn.Linear(inner, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)))))
        return self.fc(F.adaptive_avg_pool2d(F.relu(x), 1).flatten(1))


class AkamasterBlock(nn.Module):
    def __init__(self, inner: int, width: int, stride: int, option: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut, self.quarter = nn.Sequential(), 0
        if stride > 1 and option == "A":
            self.quarter = width // 4
        elif stride > 1:
            projection = nn.Conv2d(inner, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.quarter:
            skip = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.quarter, self.quarter))
        else:
            skip = self.shortcut(x)
        return F.relu(y + skip)


class AkamasterResNet(nn.Module):
    def __init__(self, blocks: int, option: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        inner = WIDTHS[0]
        for number, width in enumerate(WIDTHS, start=1):
            stage = [AkamasterBlock(inner, width, 1 if number == 1 else 2, option)]
            stage += [AkamasterBlock(width, width, 1, option) for _ in range(blocks - 1)]
            setattr(self, f"layer{number}", nn.Sequential(*stage))
            inner = width
        self.linear = nn.Linear(inner, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(F.avg_pool2d(x, x.shape[3]).flatten(1))


def ours(blocks: int, shortcut: str = "B", classes: int = CLASSES) -> Network:
    depth = 6 * blocks + 2
    return resnet.build(3, 8, classes, depth=depth, widths=WIDTHS, shortcut=shortcut)


def theirs_torchvision() -> nn.Module:
    return pytest.importorskip("torchvision.models").resnet18(num_classes=CLASSES)


def our_resnet18() -> Network:
    return imagenet_resnet.build(3, 64, CLASSES, depth=18, stem="imagenet")


PAIRS: Mapping[str, tuple[str, Callable[[], nn.Module], Callable[[], Network]]] = {
    "oracle": ("repdistiller", lambda: OracleResNet(2), lambda: ours(2)),
    "akamaster-a": ("akamaster", lambda: AkamasterResNet(2, "A"), lambda: ours(2, "A")),
    "akamaster-b": ("akamaster", lambda: AkamasterResNet(1, "B"), lambda: ours(1)),
    "torchvision": ("torchvision", theirs_torchvision, our_resnet18),
}


def shaken(network: nn.Module, seed: int) -> nn.Module:
    """Every weight and every running statistic random, in double precision and evaluation mode."""
    torch.manual_seed(seed)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.is_floating_point():
            value.normal_(std=0.3)
    return network.double().eval()


def images(pair: str = "") -> Tensor:
    size = 64 if pair == "torchvision" else 8
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(7)).double()


def same(found: Tensor, expected: Tensor) -> None:
    assert expected.std() > 1e-3  # or it would say nothing
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


# -------------------------------------------------------------------------------------- key maps


@pytest.mark.parametrize("pair", PAIRS)
def test_their_weights_give_their_logits(pair: str) -> None:
    keys, theirs, build = PAIRS[pair]
    source, target = shaken(theirs(), 1), build().double().eval()
    released.fill(target, source.state_dict(), keys, "file")
    same(target(images(pair)).logits, source(images(pair)))


@pytest.mark.parametrize("pair", PAIRS)
def test_our_weights_under_their_names_come_back_unchanged(pair: str) -> None:
    keys, theirs, build = PAIRS[pair]
    before, source, after = shaken(build(), 2), theirs().double().eval(), build().double().eval()
    blank = torch.empty(0)
    their_name = {
        next(iter(released.translate({name: blank}, keys))): name for name in source.state_dict()
    }
    exported = {their_name[name]: value for name, value in before.state_dict().items()}
    source.load_state_dict(exported)  # strict: these are exactly their names
    released.fill(after, exported, keys, "file")
    same(source(images(pair)), before(images(pair)).logits)
    assert torch.equal(after(images(pair)).logits, before(images(pair)).logits)


def test_blocks_are_after_their_relu_where_theirs_are_signed() -> None:
    source, target = shaken(OracleResNet(2), 3), ours(2).double().eval()
    released.fill(target, source.state_dict(), "repdistiller", "file")
    signed = source.layer1(source.bn1(source.conv1(images())))
    assert (signed < 0).any()
    same(target(images()).features[1], F.relu(signed))


def test_zeros_behind_all_channels_would_be_another_function() -> None:
    source, target = shaken(AkamasterResNet(1, "A"), 4), ours(1, "A").double().eval()
    released.fill(target, source.state_dict(), "akamaster", "file")
    for module in target.modules():
        if isinstance(module, resnet.PaddedShortcut):
            pad = (0, 0, 0, 0, 0, module.missing)
            module.forward = lambda x, pad=pad: F.pad(x[:, :, ::2, ::2], pad)
    assert (target(images()).logits - source(images())).abs().max() > 0.01


def test_the_schema_knows_the_same_keys() -> None:
    schema = yaml.safe_load((config.SCHEMAS / "config.schema.yaml").read_text(encoding="utf-8"))
    entry = schema["properties"]["checkpoints"]["additionalProperties"]["properties"]
    assert sorted(entry["keys"]["enum"]) == sorted(released.KEYS)


def test_counters_that_old_files_lack_are_not_missed() -> None:
    weights = ours(1).state_dict()
    bare = {name: value for name, value in weights.items() if not name.endswith("tracked")}
    assert len(bare) < len(weights)
    target = ours(1)
    released.fill(target, bare, "repdistiller", "file")
    assert torch.equal(target.fc.weight, weights["fc.weight"])


# ------------------------------------------------------------------------- what stands before names

PREFIXES = {
    "parallel": "module.",
    "compiled": "_orig_mod.",
    "compiled, then parallel": "module._orig_mod.",
    "parallel, then compiled": "_orig_mod.module.",
    "Lightning": "model.",
    "a wrapper's own": "backbone.net.",
}


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
@pytest.mark.parametrize("keys", ["repdistiller", "akamaster"])
def test_what_wrappers_put_before_all_names_is_taken_off(prefix: str, keys: str) -> None:
    theirs = AkamasterResNet(1, "B") if keys == "akamaster" else OracleResNet(1)
    weights = shaken(theirs, 1).state_dict()
    target = ours(1)
    released.fill(target, {prefix + name: v for name, v in weights.items()}, keys, "file")
    assert torch.equal(target.conv1.weight, weights["conv1.weight"].float())


def test_a_compiled_part_and_a_profilers_counts_do_not_disturb() -> None:
    weights = ours(1).state_dict()
    odd = {name.replace("layer2.", "layer2._orig_mod."): value for name, value in weights.items()}
    odd |= {"total_ops": torch.zeros(1), "layer1.0.total_params": torch.zeros(1)}
    target = ours(1)
    released.fill(target, odd, "repdistiller", "file")
    assert all(torch.equal(v, weights[name]) for name, v in target.state_dict().items())


def test_prefixes_that_do_not_help_are_kept_in_messages() -> None:
    weights = {f"net.{name}": v for name, v in ours(1).state_dict().items() if "fc" not in name}
    text = refusal(ours(1), weights)
    assert "not expected: net.conv1.weight" in text


# ---------------------------------------------------------------------------------- what fits not


def refusal(network: Network, weights: Mapping[str, Tensor], keys: str = "repdistiller") -> str:
    with pytest.raises(Refused) as refused:
        released.fill(network, dict(weights), keys, "teacher.pth as resnet8 for cifar100")
    text = str(refused.value)
    assert text.startswith("teacher.pth as resnet8 for cifar100: ")
    assert "\n" not in text
    return text


def test_missing_and_extra_keys_are_listed() -> None:
    weights = ours(1).state_dict()
    weights["head.bias"] = weights.pop("fc.bias")
    text = refusal(ours(1), weights)
    assert "missing: fc.bias; not expected: head.bias; is it another network" in text


def test_long_lists_are_cut() -> None:
    text = refusal(ours(1), ours(2).state_dict())
    assert "not expected: layer1.1.conv1.weight, " in text
    assert "and 24 more; is it another network" in text  # 3 blocks of 12 values, 12 of them shown


def test_other_keys_that_would_fit_are_named() -> None:
    theirs = AkamasterResNet(1, "B").state_dict()
    assert "with keys: akamaster all would fit" in refusal(ours(1), theirs)


def test_shortcuts_of_the_other_type_are_named() -> None:
    text = refusal(ours(1), AkamasterResNet(1, "A").state_dict(), "akamaster")
    assert "give the network shortcut: A" in text
    text = refusal(ours(1, "A"), AkamasterResNet(1, "B").state_dict(), "akamaster")
    assert "give the network shortcut: B" in text


def test_another_number_of_classes_is_named() -> None:
    text = refusal(ours(1, classes=100), ours(1, classes=10).state_dict())
    assert "found 10 classes, expected 100" in text


def test_other_shapes_are_listed() -> None:
    wide = resnet.build(3, 8, CLASSES, depth=8, widths=(4, 8, 32))
    text = refusal(ours(1), wide.state_dict())
    assert "other shapes: layer3.0.conv1.weight [32, 8, 3, 3], expected [16, 8, 3, 3]" in text


def repdistiller(depth: int, filters: tuple[int, ...], classes: int = 100) -> dict[str, Tensor]:
    """Names and shapes of a RepDistiller checkpoint; filters: of the stem and of the stages."""
    weights: dict[str, Tensor] = {}

    def norm(name: str, width: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            weights[f"{name}.{part}"] = torch.rand(width)
        weights[f"{name}.num_batches_tracked"] = torch.tensor(7)

    stem, *stages = filters
    weights["conv1.weight"] = torch.rand(stem, 3, 3, 3)
    norm("bn1", stem)
    inner = stem
    for number, width in enumerate(stages, start=1):
        for block in range((depth - 2) // 6):
            at = f"layer{number}.{block}"
            for place in (1, 2):
                width_in = inner if place == 1 else width
                weights[f"{at}.conv{place}.weight"] = torch.rand(width, width_in, 3, 3)
                norm(f"{at}.bn{place}", width)
            if inner != width:
                weights[f"{at}.downsample.0.weight"] = torch.rand(width, inner, 1, 1)
                norm(f"{at}.downsample.1", width)
            inner = width
    weights["fc.weight"], weights["fc.bias"] = torch.rand(classes, inner), torch.rand(classes)
    return weights


@pytest.mark.parametrize(
    ("name", "depth", "filters", "parameters"),
    [
        ("resnet56", 56, (16, 16, 32, 64), 861_620),
        ("resnet110", 110, (16, 16, 32, 64), 1_736_564),
        ("resnet32x4", 32, (32, 64, 128, 256), 7_433_860),
    ],
)
def test_the_released_teachers_of_related_methods_fit_the_networks_that_the_config_names(
    name, depth, filters, parameters
):
    settings = config.load(Path(__file__).resolve().parents[2] / "config.yaml", ["scale=paper"])
    entry = {k: v for k, v in settings["networks"][name].items() if k not in ("label", "recipe")}
    assert entry.pop("family") == "resnet"
    network = resnet.build(3, 32, 100, **entry)
    weights = repdistiller(depth, filters)
    released.fill(network, weights, "repdistiller", "file")
    assert sum(p.numel() for p in network.parameters()) == parameters
    for key, value in network.state_dict().items():
        assert torch.equal(value, weights[key]), key
    files = settings["checkpoints"]["repdistiller"]["files"]["cifar100"]
    assert 0.7 < files[name]["expected_top1"] < 0.8
