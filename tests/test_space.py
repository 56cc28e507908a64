"""Spaces as data: every one is sound, can be stored, and every hyperparameter is used by the trial."""

import json

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from analysis.tables import TRIAL_COLUMNS
from models.conv import DILATED_KERNEL, satisfies_hybrid_rule
from study.config import Config
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


def test_exactly_the_patterns_that_leave_pixels_out_say_so() -> None:
    marked = {pattern: pattern.endswith(" grids") for pattern in DILATIONS}
    for pattern, grids in marked.items():
        dilations = [int(part) for part in pattern.removesuffix(" grids").split("-")]
        assert satisfies_hybrid_rule(dilations, DILATED_KERNEL) != grids, pattern
    assert set(marked.values()) == {False, True}


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
    space, sampler = SPACES[name], Sampler(SPACES[name], seed=3)
    configs = [sampler.suggest(index, random_trials=300)[1] for index in range(1, 301)]
    for config in configs:
        assert list(config) == space.active(config)
        assert all(p.contains(config[p.name]) for p in space.parameters if p.name in config)
    for parameter in space.parameters:
        if isinstance(parameter.distribution, CategoricalDistribution):
            found = {config[parameter.name] for config in configs if parameter.name in config}
            assert found == set(parameter.distribution.choices)
