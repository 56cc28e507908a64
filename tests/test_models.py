"""Every network of the registry: shapes, gradients, determinism, formats; and the counts that the papers print."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import models
from models.resnet import BasicBlock
from study.spaces import SPACES

SIZES = [(1, 8), (3, 32)]


def small(name: str, channels: int, size: int, classes: int = 10) -> nn.Module:
    """The network in the reference setting of its space, narrow."""
    space = next(space for space in SPACES.values() if space.network == name)
    architecture = {parameter.name: space.reference[parameter.name] for parameter in space.architecture}
    torch.manual_seed(0)
    shape: dict[str, Any] = {"in_channels": channels, "num_classes": classes, "image_size": (size, size)}
    return models.build(name, **shape, **{**architecture, "width": 8})


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize(("channels", "size"), SIZES)
@pytest.mark.parametrize("name", models.MODELS)
def test_it_gives_finite_logits_and_every_parameter_gets_a_gradient(
    name: str, channels: int, size: int, classes: int
) -> None:
    network = small(name, channels, size, classes)
    logits = network(torch.randn(4, channels, size, size))
    assert logits.shape == (4, classes)
    assert torch.isfinite(logits).all()
    F.cross_entropy(logits, torch.tensor([0, 1, 0, 1])).backward()  # type: ignore[no-untyped-call]
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("name", models.MODELS)
def test_in_evaluation_an_answer_does_not_depend_on_the_other_images_nor_on_the_call(name: str) -> None:
    network = small(name, 3, 32).eval()
    images = torch.randn(6, 3, 32, 32)
    together = network(images)
    assert torch.equal(together, network(images))
    assert torch.allclose(together[2:3], network(images[2:3]), atol=1e-5)


@pytest.mark.parametrize("name", models.MODELS)
def test_channels_last_and_a_state_dict_round_trip_change_nothing(name: str) -> None:
    network, images = small(name, 3, 32).eval(), torch.randn(2, 3, 32, 32)
    other = small(name, 3, 32).eval()
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    other.load_state_dict(network.state_dict())
    last = other.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    assert torch.allclose(network(images), last, atol=1e-5)


@pytest.mark.parametrize(("name", "classes", "parameters"), [("resnet", 10, 11_173_962), ("resnet", 100, 11_220_132)])
def test_resnet_18_has_the_parameters_that_references_a_and_b_count(name: str, classes: int, parameters: int) -> None:
    network = models.build(name, in_channels=3, num_classes=classes, image_size=(32, 32), width=64, blocks=2)
    assert models.count_parameters(network) == parameters


def test_plain_is_resnet_without_what_belongs_to_its_shortcuts() -> None:
    shape: dict[str, Any] = {"in_channels": 3, "num_classes": 10, "image_size": (32, 32), "width": 64, "blocks": 2}
    resnet, plain = models.build("resnet", **shape), models.build("plain", **shape)
    shortcuts = sum(p.numel() for key, p in resnet.named_parameters() if "shortcut" in key)
    assert shortcuts == 64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)
    assert models.count_parameters(resnet) - models.count_parameters(plain) == shortcuts


def test_a_block_with_zero_weights_passes_its_input_through_the_shortcut_alone() -> None:
    images = torch.rand(2, 8, 4, 4)
    with_shortcut, without = BasicBlock(8, 8, 1, True).eval(), BasicBlock(8, 8, 1, False).eval()
    for block in (with_shortcut, without):
        nn.init.zeros_(block.conv2.weight)
    assert torch.equal(with_shortcut(images), images)
    assert torch.equal(without(images), torch.zeros_like(images))


def test_a_block_computes_what_the_paper_draws() -> None:
    block, x = BasicBlock(4, 8, 2, True).eval(), torch.randn(2, 4, 8, 8)
    assert block.shortcut is not None
    inner = F.relu(block.bn1(F.conv2d(x, block.conv1.weight, stride=2, padding=1)))
    expected = F.relu(block.bn2(F.conv2d(inner, block.conv2.weight, padding=1)) + block.shortcut(x))
    assert torch.allclose(block(x), expected)


def test_an_unknown_network_answers_with_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"'resnext'.*plain, resnet"):
        models.build("resnext", in_channels=1, num_classes=2, image_size=(8, 8))
