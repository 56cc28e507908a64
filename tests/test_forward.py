"""What every network computes and how its weights start, against a plain spelling by torch's functions alone."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import models
from data_utils.images import Task
from models.choices import ACTIVATIONS
from models.counting import multiply_adds
from models.layers import FORMS, BatchNorm
from tests.conftest import shape_for


class Spelling:
    """A network's state, taken in order by plain functions. `training` says how batch norm and dropout behave."""

    def __init__(self, state: dict[str, Tensor], training: bool) -> None:
        self._state: Iterator[Tensor] = (v for key, v in state.items() if not key.endswith("num_batches_tracked"))
        self.training = training

    def conv(self, x: Tensor, bias: bool = True, **how: Any) -> Tensor:
        return F.conv2d(x, next(self._state), next(self._state) if bias else None, **how)

    def linear(self, x: Tensor) -> Tensor:
        return F.linear(x, next(self._state), next(self._state))

    def batch(self, x: Tensor) -> Tensor:
        weight, bias, mean, variance = (next(self._state) for _ in range(4))
        return F.batch_norm(x, mean, variance, weight, bias, training=self.training)

    def drop(self, x: Tensor, share: float) -> Tensor:
        return F.dropout(x, share, self.training)

    def spent(self) -> bool:
        return next(self._state, None) is None


def mlp(s: Spelling, x: Tensor) -> Tensor:
    x = x.flatten(1)
    for _ in range(2):
        x = s.drop(F.gelu(s.linear(x)), 0.3)
    return s.linear(x)


def handwritten(s: Spelling, x: Tensor) -> Tensor:
    x = s.conv(x)
    return s.linear(s.batch(x).relu().mean(dim=(2, 3)))


def conv(s: Spelling, x: Tensor) -> Tensor:
    for _ in range(4):
        x = s.batch(s.conv(x)).tanh()
    return s.linear(x.mean(dim=(2, 3)))


def dilated(s: Spelling, x: Tensor) -> Tensor:
    for dilation in (1, 2, 5):
        x = s.batch(s.conv(x, dilation=dilation)).relu()
    return s.linear(x.mean(dim=(2, 3)))


def lenet(s: Spelling, x: Tensor) -> Tensor:
    x = F.avg_pool2d(s.conv(x, padding=2).sigmoid(), 2)
    x = F.avg_pool2d(s.conv(x).sigmoid(), 2).flatten(1)
    return s.linear(s.linear(s.linear(x).sigmoid()).sigmoid())


def lenet_bn(s: Spelling, x: Tensor) -> Tensor:
    for _ in range(2):
        x = F.max_pool2d(s.batch(s.conv(x)).tanh(), 2)
    x = x.flatten(1)
    for _ in range(2):
        x = s.batch(s.linear(x)).tanh()
    return s.linear(x)


def plain_cnn(s: Spelling, x: Tensor) -> Tensor:
    for _ in range(2):
        x = F.max_pool2d(s.conv(x).relu(), 2)
    x = s.conv(x).relu().flatten(1)
    return s.linear(s.linear(s.linear(x).relu()).relu())


def alexnet(s: Spelling, x: Tensor, window: int = 3, **first: int) -> Tensor:
    x = F.max_pool2d(s.conv(x, True, **(first or {"stride": 4, "padding": 1})).relu(), window, 2)
    x = F.max_pool2d(s.conv(x, padding=2).relu(), window, 2)
    for _ in range(3):
        x = s.conv(x, padding=1).relu()
    x = F.max_pool2d(x, window, 2).flatten(1)
    for _ in range(2):
        x = s.drop(s.linear(x).relu(), 0.3)
    return s.linear(x)


def alexnet_small(s: Spelling, x: Tensor) -> Tensor:
    return alexnet(s, x, 2, stride=1, padding=1)


def alexnet_of_64(s: Spelling, x: Tensor) -> Tensor:
    return alexnet(s, x, 2, stride=2, padding=1)


def vgg(s: Spelling, x: Tensor) -> Tensor:
    for layers in (2, 2, 3, 3, 3):
        for _ in range(layers):
            x = F.silu(s.batch(s.conv(x, padding=1)))
        x = F.max_pool2d(x, 2, ceil_mode=True)
    x = x.flatten(1)
    for _ in range(2):
        x = s.drop(F.silu(s.linear(x)), 0.3)
    return s.linear(x)


def nin(s: Spelling, x: Tensor, window: int = 3, **first: int) -> Tensor:
    for how in (first or {"stride": 4}, {"padding": 2}, {"padding": 1}):
        x = s.conv(s.conv(s.conv(x, True, **how).relu()).relu()).relu()
        x = F.max_pool2d(x, window, 2)
    x = s.drop(x, 0.3)
    return s.conv(s.conv(s.conv(x, padding=1).relu()).relu()).relu().mean(dim=(2, 3))


def nin_small(s: Spelling, x: Tensor) -> Tensor:
    return nin(s, x, 2, stride=1, padding=1)


def nin_of_64(s: Spelling, x: Tensor) -> Tensor:
    return nin(s, x, 2, stride=2, padding=1)


def googlenet(s: Spelling, x: Tensor) -> Tensor:
    x = F.max_pool2d(s.conv(x, stride=2, padding=3).relu(), 3, 2, 1)
    x = s.conv(s.conv(x).relu(), padding=1).relu()
    for blocks in (2, 5, 2):
        x = F.max_pool2d(x, 3, 2, 1)
        for _ in range(blocks):
            one = s.conv(x).relu()
            three = s.conv(s.conv(x).relu(), padding=1).relu()
            five = s.conv(s.conv(x).relu(), padding=2).relu()
            x = torch.cat([one, three, five, s.conv(F.max_pool2d(x, 3, 1, 1)).relu()], dim=1)
    return s.linear(s.drop(x.mean(dim=(2, 3)), 0.3))


def residual(s: Spelling, x: Tensor, channels: int, bias: bool, shortcut: bool) -> Tensor:
    """Four stages of two blocks on what the stem gave; a bare shortcut has a bias and no batch norm."""
    for stage, stride in enumerate((1, 2, 2, 2)):
        for step in (stride, 1):
            y = s.batch(s.conv(x, bias, stride=step, padding=1)).relu()
            y = s.batch(s.conv(y, bias, padding=1))
            if shortcut and x.shape[1] != channels * 2**stage:
                x = s.conv(x, bias, stride=step)
                x = x if bias else s.batch(x)
            x = (y + x if shortcut else y).relu()
    return s.linear(x.mean(dim=(2, 3)))


def resnet(s: Spelling, x: Tensor) -> Tensor:
    return residual(s, s.batch(s.conv(x, False, padding=1)).relu(), 8, bias=False, shortcut=True)


def resnet_of_c(s: Spelling, x: Tensor) -> Tensor:
    x = F.max_pool2d(s.batch(s.conv(x, stride=2, padding=3)).relu(), 3, 2, 1)
    return residual(s, x, 8, bias=True, shortcut=True)


def resnet_of_e(s: Spelling, x: Tensor) -> Tensor:
    return residual(s, F.max_pool2d(s.batch(s.conv(x)).relu(), 2), 8, bias=True, shortcut=True)


def plain(s: Spelling, x: Tensor) -> Tensor:
    return residual(s, s.batch(s.conv(x, False, padding=1)).relu(), 8, bias=False, shortcut=False)


def senet(s: Spelling, x: Tensor) -> Tensor:
    x = s.batch(s.conv(x, False, padding=1)).relu()
    for stage, stride in enumerate((1, 2, 2, 2)):
        for step in (stride, 1):
            first = s.batch(x).relu()
            y = s.conv(first, False, stride=step, padding=1)
            y = s.conv(s.batch(y).relu(), False, padding=1)
            squeezed = s.conv(y.mean(dim=(2, 3), keepdim=True)).relu()
            assert squeezed.shape[1] == 2 * 2**stage
            y = y * s.conv(squeezed).sigmoid()
            x = y + (s.conv(first, False, stride=step) if x.shape != y.shape else x)
    return s.linear(x.mean(dim=(2, 3)))


def dense(s: Spelling, x: Tensor, bottleneck: bool, bias: bool, share: float = 0.0) -> Tensor:
    y = s.batch(x).relu()
    if bottleneck:
        y = s.batch(s.conv(y, bias)).relu()
    return torch.cat([x, s.drop(s.conv(y, bias, padding=1), share)], dim=1)


def densenet(s: Spelling, x: Tensor, bottleneck: bool = True) -> Tensor:
    if bottleneck:
        x = s.conv(x, False, padding=1)
    else:
        x = F.max_pool2d(s.batch(s.conv(x, stride=2, padding=3)).relu(), 3, 2, 1)
    for block, layers in enumerate((2, 3, 2)):
        for _ in range(layers):
            x = dense(s, x, bottleneck, not bottleneck, 0.3)
        if block < 2:
            x = F.avg_pool2d(s.conv(s.batch(x).relu(), not bottleneck), 2)
    return s.linear(s.batch(x).relu().mean(dim=(2, 3)))


def densenet_of_d(s: Spelling, x: Tensor) -> Tensor:
    return densenet(s, x, bottleneck=False)


def densenet_simple(s: Spelling, x: Tensor) -> Tensor:
    x = F.max_pool2d(s.batch(s.conv(x, stride=2, padding=3)), 2).relu()
    for _ in range(2):
        x = dense(s, x, bottleneck=True, bias=True)
    x = s.conv(s.batch(x), padding=1)
    for _ in range(2):
        x = dense(s, x, bottleneck=True, bias=True)
    return s.linear(s.drop(s.linear(x.flatten(1)).relu(), 0.3))


def dehaze(s: Spelling, x: Tensor) -> Tensor:
    y = s.batch(s.conv(x, padding=1)).relu()
    for dilation in (1, 2, 5, 1):
        y = s.batch(s.conv(y, padding=dilation, dilation=dilation)).relu()
    return x + s.conv(y, padding=1)


def dehaze_plain(s: Spelling, x: Tensor) -> Tensor:
    for _ in range(3):
        x = F.silu(s.conv(x, padding=1))
    return s.conv(x, padding=1)


def dehaze_residual(s: Spelling, x: Tensor) -> Tensor:
    x = s.batch(s.conv(x, padding=1)).relu()
    for _ in range(2):
        y = s.batch(s.conv(x, False, padding=1)).relu()
        x = (x + s.batch(s.conv(y, False, padding=1))).relu()
    return s.conv(x, padding=1)


BARE = {"norm": "none", "activation": "relu"}
BATCH = {"norm": "batch", "activation": "relu"}
RESNET = {**BATCH, "width": 8, "stages": 4, "blocks": 2, "stem": "3x3"}
SILU = {"norm": "none", "activation": "silu"}
LENET = {"width": 3, "kernel": 5}
DENSE = {**BATCH, "growth": 4, "blocks": "2-3-2", "compression": 0.5, "dropout": 0.3}
# The spelling, the network, the side of its images, its options.
CASES: list[tuple[Callable[[Spelling, Tensor], Tensor], str, int, dict[str, Any]]] = [
    (mlp, "mlp", 8, {"width": 16, "depth": 2, "norm": "none", "activation": "gelu", "dropout": 0.3}),
    *((handwritten, "handwritten", 32, {"width": 8, "kernel": 5, "form": form}) for form in FORMS),
    (conv, "conv", 32, {"width": 4, "depth": 4, "kernel": 5, "norm": "batch", "activation": "tanh"}),
    (dilated, "dilated", 32, {**BATCH, "width": 4, "dilations": "1-2-5"}),
    (dehaze, "dehaze", 12, {**BATCH, "body": "dilated", "width": 8, "depth": 4, "skip": "input"}),
    (dehaze_plain, "dehaze", 8, {"body": "plain", "width": 8, "depth": 2, "skip": "none", **SILU}),
    (dehaze_residual, "dehaze", 8, {**BATCH, "body": "residual", "width": 8, "depth": 4, "skip": "none"}),
    (lenet, "lenet", 28, {**LENET, "border": "padded", "pool": "avg", "norm": "none", "activation": "sigmoid"}),
    (lenet_bn, "lenet", 28, {**LENET, "border": "valid", "pool": "max", "norm": "batch", "activation": "tanh"}),
    (plain_cnn, "plain_cnn", 32, {**BARE, **LENET}),
    (alexnet, "alexnet", 65, {**BARE, "width": 12, "dropout": 0.3}),
    (alexnet_of_64, "alexnet", 64, {**BARE, "width": 12, "dropout": 0.3}),
    (alexnet_small, "alexnet", 47, {**BARE, "width": 12, "dropout": 0.3}),
    (vgg, "vgg", 40, {"width": 4, "depth": 16, "norm": "batch", "activation": "silu", "dropout": 0.3}),
    (nin, "nin", 67, {**BARE, "width": 12, "dropout": 0.3}),
    (nin_of_64, "nin", 66, {**BARE, "width": 12, "dropout": 0.3}),
    (nin_small, "nin", 32, {**BARE, "width": 12, "dropout": 0.3}),
    (googlenet, "googlenet", 64, {**BARE, "stem": "7x7", "width": 8, "dropout": 0.3}),
    (resnet, "resnet", 16, {**RESNET, "shortcut": "norm"}),
    (resnet_of_c, "resnet", 64, {**RESNET, "stem": "7x7", "shortcut": "bare"}),
    (resnet_of_e, "resnet", 32, {**RESNET, "stem": "3x3-valid", "shortcut": "bare"}),
    (plain, "plain", 16, RESNET),
    (senet, "senet", 16, {**RESNET, "squeeze": 4}),
    (densenet, "densenet", 16, {**DENSE, "stem": "3x3", "bottleneck": True}),
    (densenet_of_d, "densenet", 64, {**DENSE, "stem": "7x7", "bottleneck": False}),
    (densenet_simple, "densenet_simple", 16, {**BATCH, "growth": 4, "layers": 2, "hidden": 16, "dropout": 0.3}),
]


def drawn(name: str, size: int, options: dict[str, Any], channels: int = 2) -> nn.Module:
    torch.manual_seed(0)
    task: Task = "restoration" if name in models.RESTORERS else "classification"
    return models.build(name, **shape_for(task, channels, (size, size), 5), **options)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize(("spelling", "name", "size", "options"), CASES, ids=[case[0].__name__ for case in CASES])
def test_a_network_computes_what_its_source_lists(
    spelling: Callable[[Spelling, Tensor], Tensor], name: str, size: int, options: dict[str, Any], training: bool
) -> None:
    network, x = drawn(name, size, options).double().train(training), torch.randn(4, 2, size, size).double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | BatchNorm):
            for values, low, high in ((module.weight, 0.5, 1.5), (module.bias, -0.5, 0.5)):
                nn.init.uniform_(values, low, high)
            module.running_mean.uniform_(-0.5, 0.5)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    spelled = Spelling({key: value.clone() for key, value in network.state_dict().items()}, training)
    answers = []
    for compute in (network, lambda images: spelling(spelled, images)):
        torch.manual_seed(1)  # what dropout leaves out
        answers.append(compute(x))
    assert spelled.spent()
    assert answers[0].std() > 0
    torch.testing.assert_close(answers[0], answers[1], atol=1e-9, rtol=1e-6)


def test_every_network_is_spelled() -> None:
    assert {case[1] for case in CASES} == set(models.MODELS)


XAVIER = {"alexnet", "googlenet", "lenet", "nin", "vgg"}  # as D does


def spread(name: str, layer: nn.Conv2d | nn.Linear) -> tuple[float, float]:
    """The standard deviation that the weights of a layer start with, and the most that they can be."""
    window = math.prod(layer.weight.shape[2:])
    fan_in, fan_out = layer.weight.shape[1] * window, layer.weight.shape[0] * window
    if name in XAVIER:
        return math.sqrt(2 / (fan_in + fan_out)), math.sqrt(6 / (fan_in + fan_out))
    if name == "densenet" and isinstance(layer, nn.Conv2d):  # He et al. 2015, as A does
        return math.sqrt(2 / fan_in), math.inf
    return math.sqrt(1 / (3 * fan_in)), math.sqrt(1 / fan_in)  # torch's own start


@pytest.mark.parametrize(("name", "size", "options"), [case[1:] for case in CASES], ids=[c[0].__name__ for c in CASES])
def test_weights_start_with_the_spread_of_their_source(name: str, size: int, options: dict[str, Any]) -> None:
    layers = [layer for layer in drawn(name, size, options, 3).modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    large = [layer for layer in layers if layer.weight.numel() >= 400]
    assert large or name == "handwritten"  # its convolution is by hand: tests/test_layers.py
    for layer in large:
        deviation, most = spread(name, layer)
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.12), layer
        assert layer.weight.abs().max() <= most * (1 + 1e-6)


@pytest.mark.parametrize(("name", "smallest_printed"), [("alexnet", 65), ("nin", 67)])
def test_no_size_of_image_costs_more_than_the_printed_form_at_224(name: str, smallest_printed: int) -> None:
    def cost(size: int) -> tuple[int, int]:
        options = {**BARE, "width": 12, "dropout": 0.5}
        with torch.device("meta"):
            network = models.build(name, in_channels=3, num_classes=10, image_size=(size, size), **options)
        return models.count_parameters(network), multiply_adds(network, (3, size, size))

    printed = cost(224)
    for size in (8, 32, 47, 48, 64, smallest_printed - 1, smallest_printed):
        found = cost(size)
        assert found[0] <= printed[0], size
        assert found[1] <= printed[1], size


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_where_the_plain_cnn_pools_first_values_and_gradients_are_those_of_the_usual_order(activation: str) -> None:
    network = drawn("plain_cnn", 32, {"norm": "batch", "activation": activation, **LENET})
    assert isinstance(network, nn.Sequential)
    layers = list(network)
    for place, (first, second) in enumerate(itertools.pairwise(network)):
        if isinstance(first, nn.MaxPool2d) and isinstance(second, nn.ReLU):
            layers[place : place + 2] = [second, first]
    usual, x = nn.Sequential(*layers), torch.randn(4, 2, 32, 32)
    assert (usual[2] is not network[2]) == (activation == "relu")
    gradients = []
    for one in (network, usual):
        outputs = one(x)
        gradients.append([outputs, *torch.autograd.grad(outputs.square().sum(), list(network.parameters()))])
    assert all(torch.equal(first, second) for first, second in zip(*gradients, strict=True))
