"""Spaces as data: every one is sound, can be stored, and every hyperparameter is used by the trial."""

import json
import re
from typing import Any

import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution
from torch import nn

import models
from analysis.tables import TRIAL_COLUMNS
from models.conv import DILATED_KERNEL, satisfies_hybrid_rule
from study.config import Config
from study.policy import Policy
from study.sampler import Sampler
from study.space import Parameter, Space
from study.spaces import SPACES
from study.spaces.conv import DILATIONS

LR = Parameter("lr", FloatDistribution(1e-3, 1.0, log=True), "nuisance")


def make(*parameters: Parameter, **reference: object) -> Space:
    return Space("s", "resnet", "", (), parameters, reference)


@pytest.mark.parametrize("name", SPACES)
def test_the_reference_lies_inside_every_numeric_range_and_not_on_its_edge(name: str) -> None:
    for parameter in SPACES[name].to_json()["parameters"]:
        value = SPACES[name].reference.get(parameter["name"])
        if value is not None and parameter["type"] != "categorical":
            off = value == parameter["low"] == 0  # no smoothing, warm-up, dropout
            assert off or parameter["low"] < value < parameter["high"], parameter["name"]


# Reasons why a reference stands at the end of an ordered range.
AT_THE_END = {
    "stages": "four, as in the paper: a fifth would find nothing left to halve at 32 pixels",
    "kernel": "3 is the smallest kernel that sees a neighbour",
    "depth": "11 layers are the shallowest VGG",
}


@pytest.mark.parametrize("name", SPACES)
def test_the_reference_is_no_end_of_an_ordered_list_of_choices_without_a_reason(name: str) -> None:
    for parameter in SPACES[name].parameters:
        if not isinstance(parameter.distribution, CategoricalDistribution):
            continue
        choices: tuple[Any, ...] = parameter.distribution.choices
        if parameter.name in SPACES[name].reference and all(type(choice) in (int, float) for choice in choices):
            assert list(choices) == sorted(choices)
            at_end = SPACES[name].reference[parameter.name] in (choices[0], choices[-1])
            assert not at_end or parameter.name in AT_THE_END, parameter.name


HE_2016 = {
    **{"optimizer": "sgd", "sgd_lr": 0.1, "momentum_form": "classical", "momentum": 0.9},
    **{"decay": "weights", "weight_decay": 1e-4, "batch_size": 128, "schedule": "step"},
}
RESNET = {"stem": "3x3", "width": 16, "stages": 4, "blocks": 2, "norm": "batch", "activation": "relu"}
BARE = {"norm": "none", "activation": "relu"}
BATCH = {"norm": "batch", "activation": "relu"}
DENSE = {**BATCH, "dropout": 0.0}


def sgd(lr: float, batch_size: int) -> dict[str, object]:
    return {"optimizer": "sgd", "sgd_lr": lr, "batch_size": batch_size}


def adam(lr: float, batch_size: int) -> dict[str, object]:
    return {"optimizer": "adam", "adam_lr": lr, "batch_size": batch_size}


# Reference settings, written a second time, without what leaves the training as it is.
NOTHING = {
    **{"momentum_form": "none", "decay": "none", "schedule": "constant", "warm_up": 0.0, "label_smoothing": 0.0},
    **{"augmentation": "none", "mix": "none"},
}
LISTED: dict[str, dict[str, object]] = {
    "dehaze": {
        **{**BATCH, "body": "plain", "width": 16, "depth": 4, "skip": "input"},
        **{**adam(1e-3, 16), "loss": "mse"},
    },
    "mlp": {**BARE, "width": 512, "depth": 2, "dropout": 0.0, **adam(1e-3, 512)},
    "handwritten": {"width": 32, "kernel": 3, "form": "unfold", **HE_2016, "sgd_lr": 0.3, "batch_size": 64},
    "conv": {**BATCH, "width": 32, "depth": 3, "kernel": 3, **adam(1e-3, 512)},
    "dilated": {**BATCH, "width": 32, "dilations": "1-2-5", **adam(1e-3, 512)},
    "lenet": {
        **{"width": 6, "kernel": 5, "border": "padded", "pool": "avg", "norm": "none", "activation": "sigmoid"},
        **sgd(0.9, 256),
    },
    "plain_cnn": {**BARE, "width": 6, "kernel": 5, **adam(1e-3, 64)},
    "alexnet": {**BARE, "width": 24, "dropout": 0.5, **sgd(0.01, 128)},
    "vgg": {**BARE, "width": 16, "depth": 11, "dropout": 0.5, **sgd(0.05, 128)},
    "nin": {**BARE, "width": 24, "dropout": 0.5, **sgd(0.1, 128)},
    "googlenet": {**BARE, "stem": "7x7", "width": 16, "dropout": 0.0, **sgd(0.1, 128)},
    "plain": {**RESNET, **HE_2016},
    "resnet": {**RESNET, "shortcut": "norm", **HE_2016},
    "senet": {**RESNET, "squeeze": 16, **HE_2016},
    "densenet": {
        **{**DENSE, "stem": "3x3", "growth": 12, "blocks": "4-4-4-4", "bottleneck": True, "compression": 0.5},
        **sgd(0.1, 256),
    },
    "densenet_simple": {**DENSE, "growth": 32, "layers": 6, "hidden": 512, **HE_2016, "sgd_lr": 0.01},
}


@pytest.mark.parametrize("name", SPACES)
def test_a_reference_setting_is_that_of_its_source(name: str) -> None:
    reference = SPACES[name].reference
    assert {key: value for key, value in reference.items() if NOTHING.get(key, object) != value} == LISTED[name]


def test_exactly_the_patterns_that_leave_pixels_out_say_so() -> None:
    marked = {pattern: pattern.endswith(" grids") for pattern in DILATIONS}
    for pattern, grids in marked.items():
        dilations = [int(part) for part in pattern.removesuffix(" grids").split("-")]
        assert satisfies_hybrid_rule(dilations, DILATED_KERNEL) != grids, pattern
    assert set(marked.values()) == {False, True}


def sees_padding_alone(pattern: str, side: int) -> bool:
    """Whether a layer of the pattern has no pixel under its outer weights, on square images."""
    options = {"width": 2, "dilations": pattern, "norm": "none", "activation": "relu"}
    with torch.device("meta"):
        network = models.build("dilated", in_channels=1, num_classes=2, image_size=(side, side), **options)
        x, alone = torch.empty(1, 1, side, side), False
        for layer in network.children():
            alone |= isinstance(layer, nn.Conv2d) and layer.dilation[0] >= x.shape[2]
            x = layer(x)
    return alone


def test_the_description_says_from_which_size_on_every_dilation_sees_pixels() -> None:
    found = re.search(r"below (\d+) pixels", SPACES["dilated"].description)
    assert found is not None
    alone = [side for side in range(8, 33) if any(sees_padding_alone(pattern, side) for pattern in DILATIONS)]
    assert max(alone) + 1 == int(found[1])


@pytest.mark.parametrize("name", SPACES)
def test_no_hyperparameter_is_called_as_a_column_of_the_trials(name: str) -> None:
    assert not {parameter.name for parameter in SPACES[name].parameters} & set(TRIAL_COLUMNS)


@pytest.mark.parametrize("name", SPACES)
def test_a_space_survives_json_and_its_checksum_is_stable(name: str) -> None:
    stored = json.loads(json.dumps(SPACES[name].to_json()))
    assert stored == SPACES[name].to_json()
    assert len(stored["sha256"]) == 64


def test_the_checksum_notices_a_changed_range_but_not_a_changed_description() -> None:
    before = make(LR, lr=0.1).to_json()["sha256"]
    wider = Parameter("lr", FloatDistribution(1e-4, 1.0, log=True), "nuisance")
    assert make(wider, lr=0.1).to_json()["sha256"] != before
    assert Space("s", "resnet", "other words", (), (LR,), {"lr": 0.1}).to_json()["sha256"] == before


def test_what_cannot_be_a_space_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"reference lr = 2.0 lies outside"):
        make(LR, lr=2.0)
    with pytest.raises(ValueError, match="two hyperparameters are called 'lr'"):
        make(LR, LR, lr=0.1)
    momentum = Parameter("momentum", FloatDistribution(0.5, 0.9), "nuisance", {"optimizer": ("sgd",)})
    optimizer = Parameter("optimizer", CategoricalDistribution(("sgd", "adamw")), "nuisance")
    with pytest.raises(ValueError, match="does not stand before it"):
        make(momentum, optimizer, momentum=0.8, optimizer="sgd")
    with pytest.raises(ValueError, match="apply, in this order"):
        make(optimizer, momentum, optimizer="adamw", momentum=0.8)


def test_what_depends_on_something_that_does_not_apply_does_not_apply() -> None:
    stale = {**SPACES["resnet"].reference, "optimizer": "adam"}
    assert stale["momentum_form"] == "classical"
    assert not {"sgd_lr", "momentum_form", "momentum"} & set(SPACES["resnet"].active(stale))


def test_a_config_remembers_what_was_read() -> None:
    config = Config({"a": 1, "b": 2})
    assert config["a"] == 1
    assert config.unread == ["b"]
    with pytest.raises(KeyError):
        config["c"]


@pytest.mark.parametrize("name", SPACES)
def test_the_random_arm_keeps_to_ranges_and_conditions_and_reaches_every_choice(name: str) -> None:
    space, sampler = SPACES[name], Sampler(SPACES[name], seed=3, max_epochs=27, policy=Policy(random_share=1))
    configs = [sampler.suggest(index, trials=301)[1] for index in range(1, 301)]
    for config in configs:
        assert list(config) == space.active(config)
        assert all(p.contains(config[p.name]) for p in space.parameters if p.name in config)
    for parameter in space.parameters:
        if isinstance(parameter.distribution, CategoricalDistribution):
            found = {config[parameter.name] for config in configs if parameter.name in config}
            assert found == set(parameter.distribution.choices)
