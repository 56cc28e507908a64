"""Every network of the registry: shapes, gradients, determinism, formats, sizes; each hyperparameter counts."""

import inspect
import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import models
from models.resnet import BasicBlock
from study.sampler import Sampler
from study.space import Parameter, Space
from study.spaces import SPACES
from tests.conftest import architecture, narrow, shape_for

HYPERPARAMETERS = [(space, p) for space in SPACES.values() for p in space.architecture if p.role != "fixed"]


def space_of(name: str) -> Space:
    """The space that varies the network `name`."""
    return next(space for space in SPACES.values() if space.network == name)


def make(name: str, shape: tuple[int, int, int], classes: int = 10, **changes: Any) -> nn.Module:
    """The network in the reference setting of its space, narrow, with changes."""
    space = space_of(name)
    options = {**architecture(space, narrow(space, dict(space.reference))), **changes}
    torch.manual_seed(0)
    return models.build(name, **shape_for(space.task, shape[0], shape[1:], classes), **options)


def answer_shape(name: str, images: tuple[int, ...], classes: int = 10) -> tuple[int, ...]:
    """The shape of what a network answers to images (N, C, H, W)."""
    return images if name in models.RESTORERS else (images[0], classes)


def small(name: str, channels: int, size: int, classes: int = 10) -> nn.Module:
    return make(name, (channels, size, size), classes)


@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 8, 10), (3, 32, 2), (3, 8, 100)])
@pytest.mark.parametrize("name", models.MODELS)
def test_it_gives_finite_logits_and_every_parameter_gets_a_gradient(
    name: str, channels: int, size: int, classes: int
) -> None:
    network = small(name, channels, size, classes)
    answers = network(torch.randn(4, channels, size, size))
    assert answers.shape == answer_shape(name, (4, channels, size, size), classes)
    assert torch.isfinite(answers).all()
    F.cross_entropy(answers.flatten(1), torch.tensor([0, 1, 0, 1])).backward()  # type: ignore[no-untyped-call]
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("name", models.MODELS)
def test_multiply_adds_are_half_of_what_torch_counts(name: str) -> None:
    network = small(name, 3, 32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, 3, 32, 32))
    assert models.multiply_adds(network, (3, 32, 32)) == counter.get_total_flops() // 2 > 0


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


@pytest.mark.parametrize("name", models.MODELS)
def test_bfloat16_gives_nearly_the_same(name: str) -> None:
    network, images = small(name, 3, 32).eval(), torch.randn(4, 3, 32, 32)
    expected = network(images)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(images).float()
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("name", models.MODELS)
def test_a_space_offers_exactly_the_hyperparameters_that_its_network_takes(name: str) -> None:
    signature = inspect.signature(models.MODELS[name])
    taken = set(signature.parameters) - {"in_channels", "num_classes", "image_size"}
    assert taken == {parameter.name for parameter in space_of(name).architecture}
    assert all(parameter.default is inspect.Parameter.empty for parameter in signature.parameters.values())


@pytest.mark.parametrize(("space", "parameter"), HYPERPARAMETERS, ids=lambda value: getattr(value, "name", None))
def test_every_hyperparameter_of_an_architecture_changes_the_network(space: Space, parameter: Parameter) -> None:
    stored = parameter.to_json()
    values = stored["choices"] if stored["type"] == "categorical" else (stored["low"], stored["high"])
    networks = [make(space.network, (3, 28, 28), **{parameter.name: value}) for value in (values[0], values[-1])]
    counts = [models.count_parameters(network) for network in networks]
    answers = []
    for network in networks if counts[0] == counts[1] else ():
        torch.manual_seed(0)  # images, and what dropout leaves out
        answers.append(network(torch.randn(4, 3, 28, 28)))
    assert counts[0] != counts[1] or not torch.allclose(*answers)


@pytest.mark.parametrize("space", SPACES)
def test_the_smallest_images_that_a_network_states_pass_and_smaller_ones_are_refused(space: str) -> None:
    sampler, wanted = Sampler(SPACES[space], seed=1, max_epochs=27), SPACES[space].network
    for index in range(6):
        config = narrow(SPACES[space], sampler.suggest(index, trials=13)[1])
        options = architecture(SPACES[space], config)
        with pytest.raises(ValueError, match=r"at least (\d+)x\1 pixels, not 0x9") as refused:
            make(wanted, (1, 0, 9), **options)
        found = re.search(r"at least (\d+)x", str(refused.value))
        assert found is not None
        smallest = int(found[1])
        assert smallest <= 8  # the digits
        with pytest.raises(ValueError, match=f"at least {smallest}x{smallest}"):
            make(wanted, (1, 9, smallest - 1), **options)
        for size in ((smallest, smallest), (smallest, 11)):
            answers = make(wanted, (1, *size), **options)(torch.randn(4, 1, *size))
            assert answers.shape == answer_shape(wanted, (4, 1, *size))


def test_plain_is_resnet_without_what_belongs_to_its_shortcuts() -> None:
    resnet, plain = (models.reference(name).build() for name in ("B-resnet18", "B-plain18"))
    shortcuts = sum(p.numel() for key, p in resnet.named_parameters() if "shortcut" in key)
    assert shortcuts == 64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)
    assert models.count_parameters(resnet) - models.count_parameters(plain) == shortcuts


def test_a_block_with_zero_weights_passes_its_input_through_the_shortcut_alone() -> None:
    images = torch.rand(2, 8, 4, 4)
    with_shortcut, without = (BasicBlock(8, 8, 1, shortcut, "batch", "relu").eval() for shortcut in ("norm", None))
    for block in (with_shortcut, without):
        nn.init.zeros_(block.conv2.weight)
    assert torch.equal(with_shortcut(images), images)
    assert torch.equal(without(images), torch.zeros_like(images))


@pytest.mark.parametrize(("name", "classes"), [("dehaze", 10), ("lenet", None)])
def test_a_network_is_told_of_classes_if_it_has_them_and_not_else(name: str, classes: int | None) -> None:
    with pytest.raises(ValueError, match=rf"{name} gives (images|logits), .*num_classes, which is {classes}"):
        models.build(name, in_channels=1, num_classes=classes, image_size=(8, 8))


def test_a_residual_body_takes_convolutions_in_twos_and_a_dilated_one_sees_further() -> None:
    options: dict[str, Any] = {"width": 8, "skip": "none", "norm": "none", "activation": "relu", "depth": 2}
    with pytest.raises(ValueError, match=r"depth is 3, .*Take 4"):
        models.build("dehaze", in_channels=1, image_size=(9, 9), **{**options, "depth": 3}, body="residual")
    image, seen = torch.zeros(1, 1, 33, 33), {}
    image[0, 0, 16, 16] = 1
    for body in ("plain", "dilated"):
        torch.manual_seed(0)
        network = models.build("dehaze", in_channels=1, image_size=(33, 33), **options, body=body)
        apart = (network(image) - network(torch.zeros_like(image)))[0, 0, 16].abs() > 0
        seen[body] = int(apart.nonzero().max()) - 16
    assert seen["plain"] <= 4  # four convolutions, one pixel each
    assert 4 < seen["dilated"] <= 1 + 1 + 2 + 1


def test_an_unknown_network_answers_with_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"'resnext'.*plain, plain_cnn, resnet"):
        models.build("resnext", in_channels=1, num_classes=2, image_size=(8, 8))
