"""The networks of the sources: parameters and shapes as printed, and the same answers as other implementations."""

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.googlenet import Inception as TorchvisionInception

import models
from models.choices import normed
from models.conv import satisfies_hybrid_rule
from models.googlenet import Inception

# Printed by the sources, except those marked "ours": the sources print no number, ours pins the network.
PARAMETERS = {
    "A-resnet18": 11_173_962,
    "A-densenet": 1_000_618,
    "B-handwritten": 1_290,
    "B-handwritten-loop": 1_290,
    "B-handwritten-torch": 1_290,
    "B-conv": 94_986,
    "B-dilated": 94_986,
    "B-residual-toy": 19_818,  # ours
    "B-resnet18": 11_173_962,
    "B-plain18": 11_000_138,  # ours: less than ResNet-18 by its 1x1 convolutions and their batch norm
    "B-dehaze": 10_323,  # ours
    "B-mlp": 1_841_162,  # ours
    "C-plain-cnn": 62_278,
    "C-resnet18": 11_184_650,  # ours: D's with two more input channels
    "C-densenet": 16_367_562,  # ours
    "C-se-resnet18": 11_260_354,  # ours
    "D-lenet": 61_706,
    "D-lenet-bn": 44_878,
    "D-alexnet": 46_764_746,
    "D-vgg11": 128_806_154,
    "D-nin": 1_992_166,  # ours
    "D-googlenet": 5_977_530,  # ours
    "D-resnet18": 11_178_378,
    "D-densenet": 758_226,
    "E-resnet18": 11_223_140,  # ours
}

STAGES = ["64x56x56", "64x56x56", "128x28x28", "256x14x14", "512x7x7", "512x1x1", "10"]
# Shapes that occur in this order; others may stand between.
SHAPES = {
    "A-resnet18": ["64x32x32", "64x32x32", "128x16x16", "256x8x8", "512x4x4", "10"],
    "B-handwritten": ["32x30x30", "10"],
    "B-handwritten-loop": ["32x30x30", "10"],
    "B-handwritten-torch": ["32x30x30", "10"],
    "B-conv": ["32x30x30", "64x28x28", "128x26x26", "128x1x1", "10"],
    "B-dilated": ["32x30x30", "64x26x26", "128x16x16", "128x1x1", "10"],
    "B-dehaze": [*["16x100x200"] * 15, "3x100x200"],
    "C-plain-cnn": ["6x28x28", "6x14x14", "16x10x10", "16x5x5", "16x5x5", "400", "120", "84", "10"],
    "C-resnet18": ["64x16x16", "64x8x8", "64x8x8", "128x4x4", "256x2x2", "512x1x1", "10"],
    "C-densenet": ["32x16x16", "32x8x8", "224x8x8", "64x8x8", "448x8x8", "28672", "512", "10"],
    "C-se-resnet18": ["64x32x32", "64x32x32", "128x16x16", "256x8x8", "512x4x4", "512x1x1", "10"],
    "D-lenet": ["6x28x28", "6x14x14", "16x10x10", "16x5x5", "400", "120", "84", "10"],
    "D-lenet-bn": ["6x24x24", "6x12x12", "16x8x8", "16x4x4", "256", "120", "84", "10"],
    "D-alexnet": [
        *("96x54x54", "96x26x26", "256x26x26", "256x12x12", "384x12x12", "384x12x12", "256x12x12", "256x5x5"),
        *("6400", "4096", "4096", "10"),
    ],
    "D-vgg11": ["64x112x112", "128x56x56", "256x28x28", "512x14x14", "512x7x7", "25088", "4096", "4096", "10"],
    "D-nin": ["96x54x54", "96x26x26", "256x26x26", "256x12x12", "384x12x12", "384x5x5", "10x5x5", "10x1x1", "10"],
    "D-googlenet": ["64x24x24", "192x12x12", "480x6x6", "832x3x3", "1024", "10"],
    "D-resnet18": STAGES,
    "D-densenet": [
        *("64x56x56", "192x56x56", "96x28x28", "224x28x28", "112x14x14", "240x14x14", "120x7x7", "248x7x7", "10"),
    ],
    "E-resnet18": ["64x30x30", "64x15x15", "64x15x15", "128x8x8", "256x4x4", "512x2x2", "512x1x1", "100"],
}


def on_meta(name: str) -> nn.Module:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return models.reference(name).build()


def shapes(network: nn.Module, x: Tensor) -> list[str]:
    """Shapes that the modules give, in the order in which they finish, without the images."""
    found: list[str] = []
    for module in network.modules():
        module.register_forward_hook(lambda _module, _inputs, y: found.append("x".join(map(str, y.shape[1:]))))
    network(x)
    return found


def test_every_reference_has_a_number_here() -> None:
    assert list(PARAMETERS) == list(models.REFERENCES)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_reference_has_the_parameters_of_its_source(name: str) -> None:
    assert models.count_parameters(on_meta(name)) == PARAMETERS[name]


@pytest.mark.parametrize("name", SHAPES)
def test_a_reference_has_the_shapes_of_its_source_layer_by_layer(name: str) -> None:
    found = iter(shapes(on_meta(name), torch.empty(2, *models.reference(name).input_shape, device="meta")))
    assert [shape for shape in SHAPES[name] if shape in found] == SHAPES[name]


def test_resnet_18_for_a_hundred_classes_has_the_parameters_of_a_and_b() -> None:
    options = models.reference("A-resnet18").options
    network = models.build("resnet", in_channels=3, num_classes=100, image_size=(32, 32), **options)
    assert models.count_parameters(network) == 11_220_132


def test_the_layers_of_c_have_the_parameters_that_it_lists() -> None:
    def sizes(name: str) -> list[int]:
        leaves = (module for module in on_meta(name).modules() if not any(module.children()))
        return [models.count_parameters(leaf) for leaf in leaves if models.count_parameters(leaf)]

    assert sizes("C-plain-cnn") == [456, 2416, 272, 48120, 10164, 850]
    found = sizes("C-resnet18")
    assert found[:2] == [9472, 128]
    assert found[-1] == 5130
    assert {36928, 73856, 147584, 295168, 590080, 1180160, 2359808} <= set(found)


RESNET_18 = {"width": 64, "stages": 4, "blocks": 2, "norm": "batch", "activation": "relu"}
LENET = {"width": 6, "kernel": 5, "pool": "avg", "activation": "sigmoid"}
BATCH = {"norm": "batch", "activation": "relu"}
BARE = {"norm": "none", "activation": "relu"}
DENSE = {**BATCH, "compression": 0.5, "dropout": 0.0}
# Network, options, image and classes of every reference, written a second time: a slip in one of the two is seen.
LISTED: dict[str, tuple[str, dict[str, Any], tuple[int, int, int], int | None]] = {
    "A-resnet18": ("resnet", {**RESNET_18, "stem": "3x3", "shortcut": "norm"}, (3, 32, 32), 10),
    "A-densenet": (
        "densenet",
        {**DENSE, "stem": "3x3", "growth": 12, "blocks": "6-12-24-16", "bottleneck": True},
        (3, 32, 32),
        10,
    ),
    "B-handwritten": ("handwritten", {"width": 32, "kernel": 3, "form": "unfold"}, (3, 32, 32), 10),
    "B-handwritten-loop": ("handwritten", {"width": 32, "kernel": 3, "form": "loop"}, (3, 32, 32), 10),
    "B-handwritten-torch": ("handwritten", {"width": 32, "kernel": 3, "form": "torch"}, (3, 32, 32), 10),
    "B-conv": ("conv", {**BATCH, "width": 32, "kernel": 3, "depth": 3}, (3, 32, 32), 10),
    "B-dilated": ("dilated", {**BATCH, "width": 32, "dilations": "1-2-5"}, (3, 32, 32), 10),
    "B-residual-toy": (
        "resnet",
        {**BATCH, "width": 32, "stages": 1, "blocks": 1, "stem": "3x3", "shortcut": "norm"},
        (3, 32, 32),
        10,
    ),
    "B-resnet18": ("resnet", {**RESNET_18, "stem": "3x3", "shortcut": "norm"}, (3, 32, 32), 10),
    "B-plain18": ("plain", {**RESNET_18, "stem": "3x3"}, (3, 32, 32), 10),
    "B-dehaze": ("dehaze", {**BATCH, "body": "plain", "width": 16, "depth": 4, "skip": "input"}, (3, 100, 200), None),
    "B-mlp": ("mlp", {**BARE, "width": 512, "depth": 2, "dropout": 0.0}, (3, 32, 32), 10),
    "C-plain-cnn": ("plain_cnn", {**BARE, "width": 6, "kernel": 5}, (3, 32, 32), 10),
    "C-resnet18": ("resnet", {**RESNET_18, "stem": "7x7", "shortcut": "bare"}, (3, 32, 32), 10),
    "C-densenet": (
        "densenet_simple",
        {**BATCH, "growth": 32, "layers": 6, "hidden": 512, "dropout": 0.0},
        (3, 32, 32),
        10,
    ),
    "C-se-resnet18": ("senet", {**RESNET_18, "stem": "3x3", "squeeze": 16}, (3, 32, 32), 10),
    "D-lenet": ("lenet", {**LENET, "border": "padded", "norm": "none"}, (1, 28, 28), 10),
    "D-lenet-bn": ("lenet", {**LENET, "border": "valid", "norm": "batch"}, (1, 28, 28), 10),
    "D-alexnet": ("alexnet", {**BARE, "width": 96, "dropout": 0.5}, (1, 224, 224), 10),
    "D-vgg11": ("vgg", {**BARE, "width": 64, "depth": 11, "dropout": 0.5}, (1, 224, 224), 10),
    "D-nin": ("nin", {**BARE, "width": 96, "dropout": 0.5}, (1, 224, 224), 10),
    "D-googlenet": ("googlenet", {**BARE, "stem": "7x7", "width": 64, "dropout": 0.0}, (1, 96, 96), 10),
    "D-resnet18": ("resnet", {**RESNET_18, "stem": "7x7", "shortcut": "bare"}, (1, 224, 224), 10),
    "D-densenet": (
        "densenet",
        {**DENSE, "stem": "7x7", "growth": 32, "blocks": "4-4-4-4", "bottleneck": False},
        (1, 224, 224),
        10,
    ),
    "E-resnet18": ("resnet", {**RESNET_18, "stem": "3x3-valid", "shortcut": "bare"}, (3, 32, 32), 100),
}


@pytest.mark.parametrize("name", models.REFERENCES)
def test_a_reference_is_the_one_of_its_source(name: str) -> None:
    found = models.REFERENCES[name]
    assert (found.network, dict(found.options), found.input_shape, found.classes) == LISTED[name]


def test_an_unknown_reference_answers_with_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"'D-lenett'.*A-resnet18, .*E-resnet18"):
        models.reference("D-lenett")


def copied(theirs: nn.Module, ours: nn.Module) -> nn.Module:
    """`theirs` with the state of `ours`: both list the same layers in the same order."""
    mine = list(ours.state_dict().values())
    theirs.load_state_dict(dict(zip(theirs.state_dict(), mine, strict=True)))
    return theirs.eval()


def assert_same_answers(ours: nn.Module, theirs: nn.Module, channels: int, size: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, channels, size, size)
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
    ours.eval()
    torch.testing.assert_close(copied(theirs, ours)(x), ours(x), atol=1e-4, rtol=1e-4)


def test_resnet_18_answers_as_torchvisions() -> None:
    options = {**models.reference("C-resnet18").options, "shortcut": "norm"}
    ours = models.build("resnet", in_channels=3, num_classes=10, image_size=(64, 64), **options)
    assert_same_answers(ours, torchvision.models.resnet18(num_classes=10), 3, 64)


def test_densenet_with_bottlenecks_answers_as_torchvisions() -> None:
    options: dict[str, Any] = {"growth": 8, "blocks": "2-3-2", "bottleneck": True, "compression": 0.5, "stem": "7x7"}
    options |= {"norm": "batch", "activation": "relu", "dropout": 0.0}
    ours = models.build("densenet", in_channels=3, num_classes=10, image_size=(64, 64), **options)
    theirs = torchvision.models.DenseNet(8, (2, 3, 2), num_init_features=16, num_classes=10)
    assert_same_answers(ours, theirs, 3, 64)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_convolutions_of_vgg_answer_as_torchvisions(norm: str) -> None:
    options: dict[str, Any] = {"width": 8, "depth": 16, "norm": norm, "activation": "relu", "dropout": 0.5}
    network = models.build("vgg", in_channels=3, num_classes=10, image_size=(64, 64), **options)
    ours = network.get_submodule("0")
    widths = [8, 8, "M", 16, 16, "M", 32, 32, 32, "M", 64, 64, 64, "M", 64, 64, 64, "M"]
    assert_same_answers(ours, torchvision.models.vgg.make_layers(widths, norm == "batch"), 3, 64)


def test_an_inception_block_answers_as_torchvisions() -> None:
    def convolution(channels_in: int, channels: int, kernel_size: int, padding: int = 0) -> nn.Sequential:
        if channels == 5:  # torchvision's branch of 5x5 has 3x3, a slip that it keeps for its weights
            kernel_size, padding = 5, 2
        return nn.Sequential(nn.Conv2d(channels_in, channels, kernel_size, padding=padding), nn.ReLU())

    branches = (4, 6, 8, 2, 5, 3)
    theirs = TorchvisionInception(7, *branches, conv_block=convolution)
    assert_same_answers(Inception(7, branches, normed("none", "relu")), theirs, 7, 9)


RULE = [
    ([1, 2, 5], 3, True),  # M_3 = 5, M_2 = 2
    ([2, 4, 6], 3, False),  # common divisor 2; M_2 = 4
    ([1, 1, 1], 3, True),
    ([2, 2, 2], 3, False),
    ([1, 2, 9], 3, False),  # M_3 = 9, M_2 = max(5, -5, 2)
    ([1, 2, 9], 5, True),
    ([1, 3, 9], 3, True),  # M_2 = 3
    ([1, 2, 5, 1, 2, 5], 3, True),  # two teeth of a saw
    ([5, 1], 3, False),  # a tooth of 5 alone
    ([1, 2, 2], 3, True),  # one tooth: it does not fall
    ([1], 3, True),
    ([2], 3, False),
]


@pytest.mark.parametrize(("dilations", "kernel", "valid"), RULE)
def test_the_rule_of_hybrid_dilated_convolution(dilations: list[int], kernel: int, valid: bool) -> None:
    assert satisfies_hybrid_rule(dilations, kernel) == valid


def seen(dilations: list[int], kernel: int) -> set[int]:
    """Offsets of the input that one output depends on, along one axis."""
    offsets = {0}
    for dilation in dilations:
        taps = [dilation * (tap - kernel // 2) for tap in range(kernel)]
        offsets = {offset + tap for offset in offsets for tap in taps}
    return offsets


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_tooth_from_1_that_obeys_the_rule_leaves_no_pixel_out(kernel: int) -> None:
    teeth = [[1, b, c, d] for b in range(1, 6) for c in range(b, 10) for d in range(c, 16)]
    obeying = [tooth for tooth in teeth if satisfies_hybrid_rule(tooth, kernel)]
    assert 10 < len(obeying) < len(teeth)
    for tooth in obeying:
        offsets = seen(tooth, kernel)
        assert offsets == set(range(min(offsets), max(offsets) + 1)), tooth


def test_the_offered_example_that_breaks_the_rule_does_leave_pixels_out() -> None:
    assert 1 not in seen([2, 4, 6], 3)


def test_a_pattern_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="must be of at least one layer"):
        satisfies_hybrid_rule([], 3)
