"""Networks: published sizes, named features, torchvision's weights, ReLUs that can be explained."""

import pytest
import torch
from torch import nn

from xkd.errors import Refused
from xkd.explain._gradients import GuidedReLU, guided_relus
from xkd.networks import Network, Output, base, build, imagenet_resnet, mlp, plane_cnn, resnet
from xkd.plan.settings import DatasetSettings, NetworkSettings

DEPTHS = (8, 14, 20, 26, 32, 56, 110)
RESNETS = {  # (shortcut, classes): trainable parameters by depth
    ("B", 10): (78042, 175258, 272474, 369690, 466906, 855770, 1730714),
    ("B", 100): (83892, 181108, 278324, 375540, 472756, 861620, 1736564),
    ("A", 10): (75290, 172506, 269722, 366938, 464154, 853018, 1727962),
    ("A", 100): (81140, 178356, 275572, 372788, 470004, 858868, 1733812),
}
IMAGENET_RESNETS = {  # (depth, stem): trainable parameters for 100, 200 and 1000 classes
    (18, "cifar"): (11220132, 11271432, 11681832),
    (18, "imagenet"): (11227812, 11279112, 11689512),
    (34, "cifar"): (21328292, 21379592, 21789992),
    (34, "imagenet"): (21335972, 21387272, 21797672),
    (50, "cifar"): (23705252, 23910152, 25549352),
    (50, "imagenet"): (23712932, 23917832, 25557032),
    (101, "cifar"): (42697380, 42902280, 44541480),
    (101, "imagenet"): (42705060, 42909960, 44549160),
}
FAMILIES = {  # one small member of each kind, for 8×8 images of one channel
    "resnet8": (resnet, {"depth": 8}),
    "resnet14_a": (resnet, {"depth": 14, "shortcut": "A", "dropout": 0.1}),
    "cnn6": (plane_cnn, {"convolutions": 6}),
    "cnn8": (plane_cnn, {"convolutions": 8}),
    "cnn10": (plane_cnn, {"convolutions": 10}),
    "mlp": (mlp, {"hidden": [32, 16], "dropout": 0.1}),
    "resnet18": (imagenet_resnet, {"depth": 18}),
    "resnet50": (imagenet_resnet, {"depth": 50, "stem": "imagenet"}),
}


@pytest.fixture(params=FAMILIES)
def small(request: pytest.FixtureRequest) -> Network:
    torch.manual_seed(0)
    family, options = FAMILIES[request.param]
    return family.build(channels=1, size=8, classes=10, **options)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize(("shortcut", "classes"), RESNETS)
def test_cifar_resnets_have_the_published_number_of_parameters(shortcut, classes):
    with torch.device("meta"):
        networks = [resnet.build(3, 32, classes, depth=d, shortcut=shortcut) for d in DEPTHS]
    assert tuple(map(parameters, networks)) == RESNETS[shortcut, classes]


@pytest.mark.parametrize(("depth", "stem"), IMAGENET_RESNETS)
def test_imagenet_resnets_have_the_published_number_of_parameters(depth, stem):
    with torch.device("meta"):
        networks = [
            imagenet_resnet.build(3, 224, classes, depth=depth, stem=stem)
            for classes in (100, 200, 1000)
        ]
    assert tuple(map(parameters, networks)) == IMAGENET_RESNETS[depth, stem]


@pytest.mark.parametrize(("convolutions", "count"), [(6, 82778), (8, 327962), (10, 2487850)])
def test_plain_cnns_have_the_parameters_of_the_plane_networks(convolutions, count):
    with torch.device("meta"):
        network = plane_cnn.build(3, 32, 10, convolutions=convolutions)
    assert parameters(network) == count
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == convolutions


def test_mlp_on_mnist_has_the_published_number_of_parameters():
    assert parameters(mlp.build(1, 28, 10)) == 1863690


def test_resnet_features_halve_in_size_and_double_in_channels():
    output = resnet.build(3, 32, 10, depth=14)(torch.randn(2, 3, 32, 32))
    shapes = [tuple(feature.shape[1:]) for feature in output.features]
    assert shapes == [(16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8)]
    assert len(output.blocks) == 6
    assert output.embedding.shape == (2, 64)
    assert output.last_conv.shape == (2, 64, 8, 8)
    assert torch.equal(output.blocks[-1], output.features[-1])


def test_imagenet_stem_reduces_224_pixels_to_a_last_map_of_7():
    with torch.device("meta"):
        network = imagenet_resnet.build(3, 224, 1000, depth=18, stem="imagenet")
        output = network(torch.empty(1, 3, 224, 224))
        small = imagenet_resnet.build(3, 64, 200, depth=18)(torch.empty(1, 3, 64, 64))
    assert [feature.shape[-1] for feature in output.features] == [56, 56, 28, 14, 7]
    assert [feature.shape[-1] for feature in small.features] == [64, 64, 32, 16, 8]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_network_takes_small_grey_images_and_answers_the_contract(name):
    family, options = FAMILIES[name]
    network = family.build(channels=1, size=8, classes=7, **options)
    output = network(torch.randn(3, 1, 8, 8))
    assert output.logits.shape == (3, 7)
    assert output.embedding.shape == (3, network.classifier.in_features)
    assert all((feature >= 0).all() for feature in (*output.features, *output.blocks))
    assert network.pooled_head == family.POOLED_HEAD
    expected = network.classifier(output.embedding)
    torch.testing.assert_close(output.logits, expected, rtol=0, atol=0)


def test_pooled_heads_average_the_last_feature_and_enter_the_named_batch_norm(small):
    if not small.pooled_head:
        assert small.last_norm is None
        return
    entered = []
    small.last_norm.register_forward_hook(lambda module, inputs, output: entered.append(inputs[0]))
    output = small(torch.randn(3, 1, 8, 8))
    assert len(entered) == 1
    assert torch.equal(entered[0], output.last_conv)
    assert torch.equal(output.features[-1].mean((2, 3)), output.embedding)


def test_channels_last_changes_the_memory_but_not_the_function():
    torch.manual_seed(0)
    network, images = resnet.build(3, 16, 10, depth=8).eval(), torch.randn(4, 3, 16, 16)
    expected = network(images)
    network = network.to(memory_format=torch.channels_last)
    output = network(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(output.logits, expected.logits)
    assert output.features[-1].is_contiguous(memory_format=torch.channels_last)


def test_every_relu_is_a_module_used_once(small):
    counts = dict.fromkeys((m for m in small.modules() if type(m) is nn.ReLU), 0)

    def count(module: nn.Module, inputs: object, output: object) -> None:
        counts[module] += 1

    for relu in counts:
        relu.register_forward_hook(count)
    small(torch.randn(2, 1, 8, 8))
    assert set(counts.values()) == {1}


def test_no_network_hides_a_functional_relu_from_guided_backpropagation(small):
    assert hidden_relus(small) == 0


def test_a_functional_relu_would_be_found():
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.relu = nn.Conv2d(1, 4, 3), nn.ReLU()

        def forward(self, images):
            return Output(self.relu(self.layer(images)).relu().mean((2, 3)), (), images)

    assert hidden_relus(Functional()) == 1


def hidden_relus(network: nn.Module) -> int:
    """ReLUs in the graph of a forward pass that the guided rule has not replaced."""
    with guided_relus(network):
        modules = sum(isinstance(m, GuidedReLU) for m in network.modules())
        output = network(torch.randn(2, 1, 8, 8))
    nodes, waiting = set(), [output.logits.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            waiting.extend(following for following, _ in node.next_functions)
    names = [type(node).__name__ for node in nodes]
    assert names.count("_GuidedRuleBackward") == modules
    clipping = ("Relu", "Threshold", "Clamp", "Where", "Maximum")
    return sum(any(word in name for word in clipping) for name in names)


def test_dropout_acts_on_the_three_stages_in_training_only():
    torch.manual_seed(0)
    network, images = resnet.build(3, 16, 10, depth=8, dropout=0.5), torch.randn(8, 3, 16, 16)
    output = network(images)
    for stage, block in zip(output.features[1:], output.blocks, strict=True):
        dropped = (stage == 0) & (block > 0)
        assert 0.4 < dropped.sum() / (block > 0).sum() < 0.6
        kept = stage > 0
        torch.testing.assert_close(stage[kept], 2 * block[kept])
    output = network.eval()(images)
    assert torch.equal(output.features[-1], output.blocks[-1])


def test_mlp_dropout_follows_every_hidden_layer_in_training_only():
    torch.manual_seed(0)
    network, images = mlp.build(1, 8, 10, hidden=[400, 400], dropout=0.5), torch.randn(8, 1, 8, 8)
    assert all(0.65 < (h == 0).float().mean() < 0.85 for h in network(images).features)
    output = network.eval()(images)
    assert torch.equal(output.logits, network(images).logits)


def test_convolutions_start_from_kaiming_normal_by_fan_out():
    torch.manual_seed(0)
    network = resnet.build(3, 32, 10, depth=8)
    weight = network.layer3[0].conv1.weight  # 32 to 64 channels
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    # Normal, not uniform: the fourth moment of a uniform distribution would be 1.8.
    assert (weight / weight.std()).pow(4).mean().item() == pytest.approx(3, rel=0.05)


def test_the_same_seed_gives_the_same_network_and_another_seed_another():
    networks = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        networks.append(resnet.build(1, 8, 10, depth=8).state_dict())
    same, other = (
        [torch.equal(a, b) for a, b in zip(networks[0].values(), n.values(), strict=True)]
        for n in networks[1:]
    )
    assert all(same)
    assert not all(other)


@pytest.mark.parametrize("depth", [18, 50])
def test_torchvision_weights_load_and_give_the_same_logits(depth):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    theirs = getattr(models, f"resnet{depth}")(num_classes=10).eval()
    ours = imagenet_resnet.build(3, 64, 10, depth=depth, stem="imagenet").eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(images).logits, theirs(images))


def test_settings_and_extra_options_reach_the_family():
    dataset = DatasetSettings("digits", "digits", 10, 1, 8, (0.5,), (0.5,))
    network = build(NetworkSettings("resnet8", "resnet", {"depth": 8}), dataset, dropout=0.25)
    assert network.dropout.p == 0.25
    assert network.conv1.in_channels == 1


@pytest.mark.parametrize("depth", [2, 9, 18])
def test_a_depth_that_is_not_6n_plus_2_is_refused(depth):
    with pytest.raises(Refused, match=f"depth {depth} is not of the form 6n\\+2"):
        resnet.build(3, 32, 10, depth=depth)


def test_unknown_sizes_and_stems_are_refused():
    with pytest.raises(Refused, match="depth 20"):
        imagenet_resnet.build(3, 32, 10, depth=20)
    with pytest.raises(Refused, match="unknown stem 'cifr'; did you mean 'cifar'"):
        imagenet_resnet.build(3, 32, 10, depth=18, stem="cifr")
    with pytest.raises(Refused, match="7 convolutions"):
        plane_cnn.build(3, 32, 10, convolutions=7)


def test_wide_resnets_with_a_narrow_stem_have_the_published_number_of_parameters():
    """ResNet8x4 and ResNet32x4: the first block projects although it keeps the size."""
    with torch.device("meta"):
        built = [
            resnet.build(3, 32, 100, depth=depth, widths=(64, 128, 256), stem_width=32)
            for depth in (8, 32)
        ]
    assert [parameters(network) for network in built] == [1_233_540, 7_433_860]
    projection = built[0].layer1[0].downsample[0]
    assert (projection.kernel_size, projection.stride) == ((1, 1), (1, 1))


RESIDUAL = [name for name, (family, _) in FAMILIES.items() if family in (resnet, imagenet_resnet)]


@pytest.mark.parametrize("small", RESIDUAL, indirect=True)
def test_pre_activations_become_the_features_by_a_relu_and_are_absent_unless_asked_for(small):
    small.eval()  # without dropout
    images = torch.randn(2, 1, 8, 8)
    plain, output = small(images), small(images, preactivations=True)
    assert plain.preactivations == ()
    assert len(output.preactivations) == len(output.features) - 1
    for total, feature in zip(output.preactivations, output.features[1:], strict=True):
        assert (total < 0).any()
        assert torch.equal(total.relu(), feature)
    assert torch.equal(plain.logits, output.logits)


@pytest.mark.parametrize("small", RESIDUAL, indirect=True)
def test_gradients_are_the_same_with_and_without_pre_activations(small):
    images = torch.randn(2, 1, 8, 8)
    found = []
    for asked in (False, True):
        torch.manual_seed(1)  # of dropout
        small.zero_grad()
        small(images, preactivations=asked).logits.square().sum().backward()
        found.append([weight.grad.clone() for weight in small.parameters()])
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("small", RESIDUAL, indirect=True)
def test_a_trunk_and_a_branch_make_the_whole(small):
    small.eval()
    images = torch.randn(2, 1, 8, 8)
    whole, parts = small(images), small.branch(small.trunk(images))
    assert torch.equal(whole.logits, parts.logits)
    assert all(map(torch.equal, whole.features, parts.features))
    assert all(map(torch.equal, whole.blocks, parts.blocks))


def test_networks_of_one_width_may_share_a_trunk():
    torch.manual_seed(0)
    one, other = (resnet.build(1, 8, 10, depth=8).eval() for _ in range(2))
    images = torch.randn(2, 1, 8, 8)
    other.conv1.weight.requires_grad_(False)
    trunk = one.trunk(images)
    logits = other.branch(trunk).logits
    logits.sum().backward()
    assert one.conv1.weight.grad is not None
    assert other.conv1.weight.grad is None
    assert torch.equal(other.branch(other.trunk(images)).logits, other(images).logits)


def test_every_normalising_layer_counts_the_batches_it_was_trained_on_as_torchs_does(small):
    norms = [module for module in small.modules() if isinstance(module, nn.BatchNorm2d)]
    theirs = [nn.BatchNorm2d(norm.num_features) for norm in norms]
    small.train()
    if frozen := norms[1:2]:
        frozen[0].eval()
        theirs[1].eval()
    images = torch.randn(4, 1, 8, 8)
    for _ in range(3):
        small(images)
        for one in theirs:
            one(torch.randn(2, one.num_features, 2, 2))
    small.eval()(images)
    counted = [int(norm.num_batches_tracked) for norm in norms]
    assert counted == [int(one.num_batches_tracked) for one in theirs]


def test_batch_normalisation_is_torchs_bit_for_bit():
    ours, theirs = base.BatchNorm2d(3), nn.BatchNorm2d(3)
    images = torch.randn(8, 3, 5, 5)
    for training in (True, True, False):
        outputs = [norm.train(training)(images) for norm in (ours, theirs)]
        assert torch.equal(*outputs)
    assert torch.equal(ours.running_mean, theirs.running_mean)
    assert torch.equal(ours.running_var, theirs.running_var)
