"""What to try next in one space: the reference setting, then a random arm, then TPE.

An in-memory Optuna study, fed by the events of the log. Each suggestion has a random generator of its own, seeded by
(study seed, space, index), so a replayed study suggests what an uninterrupted one would have.

What Optuna is told: a trial of full length is COMPLETE with its score; a trial that ASHA stopped is PRUNED with its
scores at the rungs, so TPE ranks it below every complete one and among the pruned by how far it came; a diverged or
failed one (an error, too large for the memory, hung) is PRUNED and marked infeasible, so TPE learns to keep away.
"""

import hashlib
import warnings
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from study.space import Parameter, Space

optuna.logging.set_verbosity(optuna.logging.ERROR)

# Every argument written out: Optuna changes its defaults between versions (constant_liar and multivariate in 5.0).
TPE: Final[dict[str, Any]] = {
    "n_startup_trials": 0,  # the random arm is the start-up, and it is counted as such
    "n_ei_candidates": 24,
    "multivariate": True,
    "group": True,  # conditional hyperparameters stay in the joint model
    "constant_liar": True,  # running trials repel: slots are asked in parallel
}
RANDOM_SHARE: Final = 0.5

_TOLD: Final = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.PRUNED,
}


def seed_of(*parts: Any) -> int:
    """Return a seed below 2**31 that depends on every part and on nothing else."""
    digest = hashlib.sha256("|".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:4]) & 0x7FFFFFFF


def random_arm(trials: int) -> int:
    """Number of random trials among the first `trials` of a space, the reference not counted."""
    return round((trials - 1) * RANDOM_SHARE)


class Sampler:
    """Suggestions for one space. Scores are maximised."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._study = optuna.create_study(direction="maximize")
        self._numbers: dict[str, int] = {}

    def suggest(self, index: int, random_trials: int) -> tuple[str, dict[str, Any]]:
        """Return origin and configuration of trial `index`; nothing is recorded until `add`."""
        if index == 0:
            return "reference", dict(self._space.reference)
        seed = seed_of(self._seed, self._space.name, index)
        if index <= random_trials:
            return "random", _draw(self._space, np.random.default_rng(seed))
        return "tpe", self._ask(seed)

    def _ask(self, seed: int) -> dict[str, Any]:
        """Ask TPE on a copy: the study itself changes by events alone."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group=True
            sampler = optuna.samplers.TPESampler(seed=seed, **TPE)
        copy = optuna.create_study(direction="maximize", sampler=sampler)
        copy.add_trials(self._study.get_trials(deepcopy=False))
        trial = copy.ask()
        config: dict[str, Any] = {}
        for parameter in self._space.parameters:
            if parameter.applies(config):
                config[parameter.name] = _suggest(trial, parameter)
        return config

    def add(self, trial: str, config: Mapping[str, Any]) -> None:
        """Take in a suggested trial as running."""
        distributions = {p.name: p.distribution for p in self._space.parameters if p.name in config}
        self._numbers[trial] = len(self._numbers)
        self._study.add_trial(create_trial(state=TrialState.RUNNING, params=dict(config), distributions=distributions))

    def report(self, trial: str, epoch: int, score: float) -> None:
        """Take in a score at a rung."""
        self._live(trial).report(score, epoch)

    def tell(self, trial: str, state: str, score: float | None) -> None:
        """Take in the end of a trial; `score` at full length, for a finished one alone."""
        live = self._live(trial)
        live.set_constraint("infeasible", 1.0 if state in ("diverged", "failed") else -1.0)
        value = score if state == "finished" else None
        self._study.tell(self._numbers[trial], value, _TOLD[state])

    def _live(self, trial: str) -> optuna.Trial:
        frozen = self._study.get_trials(deepcopy=False)[self._numbers[trial]]
        return optuna.Trial(self._study, frozen._trial_id)


def _suggest(trial: optuna.Trial, parameter: Parameter) -> Any:
    name, distribution = parameter.name, parameter.distribution
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


def _draw(space: Space, generator: np.random.Generator) -> dict[str, Any]:
    """Draw one configuration: every hyperparameter that applies, independently and uniformly on its scale."""
    config: dict[str, Any] = {}
    for parameter in space.parameters:
        if parameter.applies(config):
            config[parameter.name] = _draw_one(parameter.distribution, generator)
    return config


def _draw_one(distribution: BaseDistribution, generator: np.random.Generator) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(generator.integers(len(distribution.choices)))]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    if isinstance(distribution, IntDistribution):
        if distribution.log:  # equal mass to the logarithm of each integer's cell
            return min(int(high), int(np.exp(generator.uniform(np.log(low), np.log(high + 1)))))
        return int(generator.integers(int(low), int(high) + 1))
    if distribution.log:
        return float(np.exp(generator.uniform(np.log(low), np.log(high))))
    return float(generator.uniform(low, high))
