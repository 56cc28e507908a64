"""What to try next in one space: the reference setting, then a random arm, then TPE.

An in-memory Optuna study, fed by the events of the log. Each suggestion has a random generator of its own, seeded by
(study seed, space, index), so a replayed study suggests what an uninterrupted one would have.

What TPE is told: a trial of full length is COMPLETE with its score; a diverged one, or one too large for the memory, is
PRUNED and marked infeasible, so TPE learns to keep away; a failed one is FAIL and teaches nothing. Of a trial that ASHA
stopped, and with it of the others, TPE is told what the policy says:

- `pruned`: it is PRUNED with its scores at the rungs. TPE ranks it below every complete one, and among the pruned by how
  far it came.
- `last`: it is COMPLETE with its last score, as if that were the score at full length.
- `rung-rank`: all are COMPLETE with the place that successive halving would give them today: who would not be among the
  best at a rung, with all scores known there by now, stands at that rung, by its rank in it. So one that came early and
  was let pass for want of others ranks below those that have beaten it since.
"""

import copy
import hashlib
import math
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
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.policy import Policy
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

DEFAULT: Final = Policy()

_TOLD: Final = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "too_large": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def seed_of(*parts: Any) -> int:
    """Return a seed below 2**31 that depends on every part and on nothing else."""
    digest = hashlib.sha256("|".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:4]) & 0x7FFFFFFF


class Sampler:
    """Suggestions for one space. Scores are maximised."""

    def __init__(self, space: Space, seed: int, policy: Policy = DEFAULT) -> None:
        self._space = space
        self._seed = seed
        self._policy = policy
        self._scores: dict[float, dict[int, float]] = {}  # at each rung and, under infinity, at full length
        self._study = optuna.create_study(direction="maximize")
        self._numbers: dict[str, int] = {}

    def suggest(self, index: int, random_trials: int) -> tuple[str, dict[str, Any]]:
        """Return origin and configuration of trial `index`; nothing is recorded until `add`."""
        if index == 0:
            return "reference", dict(self._space.reference)
        seed = seed_of(self._seed, self._space.name, index)
        if index <= random_trials:
            return "random", draw(self._space, np.random.default_rng(seed))
        return "tpe", self._ask(seed)

    def _ask(self, seed: int) -> dict[str, Any]:
        """Ask TPE on a copy: the study itself changes by events alone."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group=True
            sampler = optuna.samplers.TPESampler(seed=seed, **TPE)
        asked = optuna.create_study(direction="maximize", sampler=sampler)
        asked.add_trials(self._told())
        return ask(asked.ask(), self._space)

    def add(self, trial: str, config: Mapping[str, Any]) -> None:
        """Take in a suggested trial as running."""
        distributions = {p.name: p.distribution for p in self._space.parameters if p.name in config}
        self._numbers[trial] = len(self._numbers)
        self._study.add_trial(create_trial(state=TrialState.RUNNING, params=dict(config), distributions=distributions))

    def report(self, trial: str, epoch: int, score: float) -> None:
        """Take in a score at a rung."""
        self._live(trial).report(score, epoch)
        self._scores.setdefault(epoch, {})[self._numbers[trial]] = score

    def tell(self, trial: str, state: str, score: float | None) -> None:
        """Take in the end of a trial; `score` at full length, for a finished one alone."""
        live = self._live(trial)
        live.set_constraint("infeasible", 1.0 if state in ("diverged", "too_large") else -1.0)
        value, number = score if state == "finished" else None, self._numbers[trial]
        self._study.tell(number, value, _TOLD[state])
        if value is not None:
            self._scores.setdefault(math.inf, {})[number] = value
        elif state != "stopped":  # what it reached cannot be relied on
            for scores in self._scores.values():
                scores.pop(number, None)

    def _told(self) -> list[FrozenTrial]:
        """Return all trials as TPE is to see them."""
        trials = self._study.get_trials(deepcopy=False)
        if self._policy.stopped == "pruned":
            return trials
        rank = standings(self._scores, self._policy.reduction_factor) if self._policy.stopped == "rung-rank" else {}
        return [_complete(trial, rank.get(trial.number)) for trial in trials]

    def _live(self, trial: str) -> optuna.Trial:
        frozen = self._study.get_trials(deepcopy=False)[self._numbers[trial]]
        return optuna.Trial(self._study, frozen._trial_id)


def standings(scores: Mapping[float, Mapping[int, float]], reduction_factor: int) -> dict[int, float]:
    """Return where each trial stands: the number of rungs it would have passed, and the share of the next it beats.

    `scores` are those of each rung, and of the full length, by trial. To pass a rung is to be among its best 1 /
    `reduction_factor`, or its best, with every score known there.
    """
    found: dict[int, float] = {}
    through = {trial for known in scores.values() for trial in known}
    for passed, rung in enumerate(sorted(scores)):
        order = sorted(scores[rung], key=scores[rung].__getitem__, reverse=True)
        found |= {trial: passed + 1 - (place + 0.5) / len(order) for place, trial in enumerate(order) if trial in through}
        through &= set(order[: max(1, len(order) // reduction_factor)])
    return found


def _complete(trial: FrozenTrial, value: float | None) -> FrozenTrial:
    """Return an ended trial as if it were complete, with `value` or else its last score; others as they are."""
    infeasible = any(value > 0 for value in trial.constraints.values())
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED) or infeasible:
        return trial
    told = copy.copy(trial)
    told.state, told.value = TrialState.COMPLETE, trial.value if value is None else value
    return told


def ask(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """Have Optuna choose every hyperparameter of `space` that applies, in order."""
    config: dict[str, Any] = {}
    for parameter in space.parameters:
        if parameter.applies(config):
            config[parameter.name] = _suggest(trial, parameter)
    return config


def _suggest(trial: optuna.Trial, parameter: Parameter) -> Any:
    name, distribution = parameter.name, parameter.distribution
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


def draw(space: Space, generator: np.random.Generator) -> dict[str, Any]:
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
