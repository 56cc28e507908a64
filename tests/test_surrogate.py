"""The surrogate: what it expects of configurations it has not seen, given scores of trials at different epochs."""

from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.optimize import check_grad
from scipy.stats import spearmanr

from study.sampler import draw
from study.space import Parameter, Space, position
from study.spaces import SPACES
from study.surrogate import Seen, Surrogate

EPOCHS = 27
SPACE = SPACES["plain_cnn"]


def drawn(count: int, seed: int, space: Space = SPACE) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    return [draw(space, generator) for _ in range(count)]


def place(config: dict[str, Any], name: str) -> float:
    """Where the hyperparameter `name` lies in its range, 0 to 1."""
    parameter = next(p for p in SPACE.parameters if p.name == name)
    return position(parameter, config[name])


def smoothing(config: dict[str, Any]) -> float:
    return place(config, "label_smoothing")


def chosen(seen: list[Seen], configs: list[dict[str, Any]], share: float = 0.1) -> list[dict[str, Any]]:
    """Return the best `share` of `configs` by what the surrogate expects."""
    order = np.argsort(-Surrogate(SPACE, EPOCHS, seen).expected_improvement(configs))
    return [configs[index] for index in order[: int(share * len(configs))]]


def test_it_tells_configurations_apart_that_it_has_not_seen() -> None:
    """Of some twenty hyperparameters three matter; noise has a third of the spread that they bring."""
    generator = np.random.default_rng(0)

    def worth(config: dict[str, Any]) -> float:
        slow = config["optimizer"] == "sgd"
        return float(-4 * (smoothing(config) - 0.7) ** 2 + (config["norm"] == "batch") - slow * smoothing(config) / 2)

    seen = [Seen(c, {EPOCHS: worth(c) + generator.normal(0, 0.2)}, failed=False) for c in drawn(60, seed=1)]
    new = drawn(300, seed=2)
    found = Surrogate(SPACE, EPOCHS, seen).expected_improvement(new)
    assert spearmanr(found, [worth(config) for config in new])[0] > 0.8


def test_early_scores_mislead_it_no_longer_once_enough_trials_came_to_full_length() -> None:
    """Who starts slowly is the better in the end: half of the trials show it, those that were stopped the contrary."""
    configs = drawn(48, seed=3)
    whole = [Seen(c, {1: 1 - smoothing(c), 8: 0.5, EPOCHS: 1 + smoothing(c)}, failed=False) for c in configs[:24]]
    stopped = [Seen(c, {1: 1 - smoothing(c)}, failed=False) for c in configs[24:]]
    new = drawn(300, seed=4)
    assert np.mean([smoothing(c) for c in chosen([*whole, *stopped], new)]) > 0.85
    assert np.mean([smoothing(c) for c in chosen(stopped, new)]) < 0.2  # nothing but early scores: those count


def test_stopped_trials_add_to_what_it_knows() -> None:
    configs = drawn(60, seed=5)
    whole = [Seen(c, {1: smoothing(c) / 2, EPOCHS: 1 + smoothing(c)}, failed=False) for c in configs[:5]]
    stopped = [Seen(c, {1: smoothing(c) / 2}, failed=False) for c in configs[5:]]
    new = drawn(300, seed=6)
    best = [np.mean([smoothing(c) for c in chosen(seen, new)]) for seen in (whole, [*whole, *stopped])]
    assert best[1] > 0.85
    assert best[1] > best[0]


def test_it_keeps_away_from_what_fails_however_good_its_early_scores() -> None:
    configs = drawn(40, seed=7)
    seen = [
        Seen(c, {1: 0.9}, failed=True) if c["norm"] == "batch" else Seen(c, {1: 0.5, EPOCHS: 0.6}, failed=False)
        for c in configs
    ]
    new = drawn(300, seed=8)
    assert sum(c["norm"] == "batch" for c in chosen(seen, new)) <= 3  # of 30; a third of all


def test_it_expects_nothing_more_where_a_trial_is_under_way() -> None:
    configs, new = drawn(20, seed=9), drawn(50, seed=10)
    seen = [Seen(c, {EPOCHS: smoothing(c)}, failed=False) for c in configs]
    free = Surrogate(SPACE, EPOCHS, seen).expected_improvement(new)
    best = int(free.argmax())
    taken = Surrogate(SPACE, EPOCHS, [*seen, Seen(new[best], {}, failed=False)]).expected_improvement(new)
    assert free[best] > 0
    assert taken[best] == pytest.approx(0, abs=1e-12)
    assert (taken <= free + 1e-12).all()


def test_any_monotonic_scale_of_the_scores_gives_the_same() -> None:
    configs, new = drawn(20, seed=11), drawn(50, seed=12)
    linear = [Seen(c, {3: smoothing(c)}, failed=False) for c in configs]
    steep = [Seen(c, {3: float(np.exp(20 * smoothing(c)))}, failed=False) for c in configs]
    one, other = (Surrogate(SPACE, EPOCHS, seen).expected_improvement(new) for seen in (linear, steep))
    assert one == pytest.approx(other)


ODD = Space(
    name="odd",
    network="plain_cnn",
    description="Ranges of one value, and a hyperparameter that rarely applies.",
    architecture=(
        Parameter("only", CategoricalDistribution(("a",)), "fixed"),
        Parameter("one", IntDistribution(3, 3), "fixed"),
        Parameter("same", FloatDistribution(0.1, 0.1, log=True), "fixed"),
        Parameter("switch", CategoricalDistribution((True, False)), "scientific"),
        Parameter("when", FloatDistribution(1e-3, 1.0, log=True), "scientific", {"switch": (True,)}),
    ),
    training=(),
    reference={"only": "a", "one": 3, "same": 0.1, "switch": False},
)


@pytest.mark.parametrize("space", [*SPACES.values(), ODD], ids=lambda space: space.name)
@pytest.mark.parametrize("max_epochs", [1, 27])
@pytest.mark.parametrize(
    "scores", [[{}], [{1: 0.5}], [{1: 0.5}, {1: 0.5}, {1: 0.5}]], ids=["failed alone", "one score", "equal scores"]
)
def test_it_answers_whatever_the_space_and_however_little_it_knows(
    space: Space, max_epochs: int, scores: list[dict[int, float]]
) -> None:
    configs = drawn(len(scores), seed=13, space=space)
    seen = [Seen(config, known, failed=not known) for config, known in zip(configs, scores, strict=True)]
    found = Surrogate(space, max_epochs, seen).expected_improvement(drawn(20, seed=14, space=space))
    assert np.isfinite(found).all()
    assert (found >= 0).all()


def test_the_gradient_of_its_loss_is_that_of_finite_differences() -> None:
    configs = drawn(15, seed=15)
    seen = [Seen(c, {1: smoothing(c), 3: smoothing(c) ** 2, EPOCHS: 1.0 + i % 4}, False) for i, c in enumerate(configs)]
    surrogate = Surrogate(SPACE, EPOCHS, seen)
    at = surrogate._prior + np.random.default_rng(0).normal(0, 0.5, len(surrogate._prior))
    off = check_grad(lambda x: surrogate._loss(x)[0], lambda x: surrogate._loss(x)[1], at)
    assert off < 1e-4 * np.linalg.norm(surrogate._loss(at)[1])
