"""What to try next in one space: the reference setting, what earlier studies gave, then random trials and a model's.

Fed by the events of the log. Each suggestion has a random generator of its own, seeded by (study seed, space, index),
so a replayed study suggests what an uninterrupted one would have. The model is a matter of the policy:

- `gp`: of `CANDIDATES` random configurations the one of which `study/surrogate.py` expects the greatest improvement.
  It is told the scores at rungs and at full length; a trial that diverged or failed is worse than all of them.
- `tpe`: Optuna's TPE.

What TPE is told: a trial of full length is COMPLETE with its score, which here is what it is judged by
(`Policy.standing`); a diverged or failed one (an error, too large for the memory, hung) is PRUNED and marked
infeasible, so TPE learns to keep away. What it is told when ASHA stops trials is a matter of the policy
too:

- `pruned`: a stopped trial is PRUNED with its scores at the rungs, so TPE ranks it below every complete one and among
  the pruned by how far it came.
- `last`: it is COMPLETE with its last score, as if that were one of full length.
- `rung-rank`: every trial is COMPLETE with the place that successive halving would give it, knowing all scores of the
  moment when the trial ends: the rungs that it would have passed, and the share of scores at the next one that it
  beats. So a trial that was let pass for want of others ranks below those that have beaten it since.
"""

import hashlib
import math
import warnings
from bisect import bisect_left, bisect_right, insort
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any, Final, NamedTuple

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.policy import Model, Policy
from study.space import Parameter, Space
from study.surrogate import Seen, Surrogate

optuna.logging.set_verbosity(optuna.logging.ERROR)

# Every argument written out: Optuna changes its defaults between versions (constant_liar and multivariate in 5.0).
TPE: Final[dict[str, Any]] = {
    "n_startup_trials": 0,  # random trials are the start-up, and they are counted as such
    "n_ei_candidates": 24,
    "multivariate": True,
    "group": True,  # conditional hyperparameters stay in the joint model
    "constant_liar": True,  # running trials repel: slots are asked in parallel
}
DEFAULT: Final = Policy()
CANDIDATES: Final = 300


class History(NamedTuple):
    """How many ended trials a model looks at, and how many of them are the best of all; the others are the last."""

    looks_at: int
    best: int


HISTORY: Final[dict[Model, History]] = {
    "tpe": History(100, 10),  # those that TPE calls good: a tenth of what it sees
    "gp": History(50, 25),
}


def model_settings(policy: Policy) -> dict[str, Any]:
    """Return the model and its settings in plain types, as study.json keeps them."""
    own = {"candidates": CANDIDATES} if policy.model == "gp" else {**TPE, "stopped": policy.stopped}
    return {"model": policy.model, policy.model: {**own, **HISTORY[policy.model]._asdict()}}


def seed_of(*parts: Any) -> int:
    """Return a seed below 2**31 that depends on every part and on nothing else."""
    digest = hashlib.sha256("|".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:4]) & 0x7FFFFFFF


@dataclass
class _Trial:
    """What is known of a suggested trial: its place in the order, its configuration, its scores at rungs, its end."""

    number: int
    config: Mapping[str, Any]
    scores: dict[int, float] = field(default_factory=dict)
    state: TrialState = TrialState.RUNNING
    full: float | None = None  # its score at full length
    value: float | None = None  # what TPE is told that it reached
    infeasible: bool = False
    frozen: FrozenTrial | None = None  # the same for Optuna, once it has ended and was asked for

    @property
    def rank(self) -> tuple[int, int, float, int]:
        """What ended trials are ordered by, the best first: complete, pruned by how far they came, infeasible."""
        if self.infeasible:
            return 2, 0, 0.0, self.number
        if self.value is not None:
            return 0, 0, -self.value, self.number
        epoch, score = max(self.scores.items(), default=(-1, 0.0))
        return 1, -epoch, -score, self.number


class Sampler:
    """Suggestions for one space; `warm` are configurations of earlier studies. Scores are maximised.

    The model looks at every trial that is running and, as `HISTORY` says, at the best of all that were told and at the
    last ones: see `docs/decisions.md`. The rest is forgotten, so a suggestion costs the same after 10,000 trials.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        max_epochs: int,
        warm: Sequence[Mapping[str, Any]] = (),
        policy: Policy = DEFAULT,
    ) -> None:
        self._space = space
        self._seed = seed
        self._max_epochs = max_epochs
        self._policy = policy
        self._warm = warm
        self._rungs: dict[float, list[float]] = {}  # scores at each, at full length under infinity, the worst first
        self._count = 0
        self._running: dict[str, _Trial] = {}
        self._stopped: dict[str, _Trial] = {}
        self._best: list[_Trial] = []  # sorted, the best first
        self._last: list[tuple[int, _Trial]] = []  # a heap, the oldest first

    def suggest(self, index: int, trials: int) -> tuple[str, dict[str, Any]]:
        """Return origin and configuration of trial `index` of `trials`; nothing is recorded until `add`."""
        if index == 0:
            return "reference", dict(self._space.reference)
        if index <= len(self._warm):
            return "warm", dict(self._warm[index - 1])
        seed = seed_of(self._seed, self._space.name, index)
        if self._policy.is_random(index - len(self._warm), trials, len(self._warm)):
            return "random", draw(self._space, np.random.default_rng(seed))
        return self._policy.model, self._of_gp(seed) if self._policy.model == "gp" else self._of_tpe(seed)

    def _of_gp(self, seed: int) -> dict[str, Any]:
        """Return the best of random configurations by what the surrogate expects of them."""
        generator = np.random.default_rng(seed)
        drawn = [draw(self._space, generator) for _ in range(CANDIDATES)]
        seen = [self._shown(trial) for trial in self._seen()]
        if not any(trial.scores or trial.failed for trial in seen):
            return drawn[0]
        surrogate = Surrogate(self._space, self._max_epochs, seen)
        return drawn[int(surrogate.expected_improvement(drawn).argmax())]

    def _shown(self, trial: _Trial) -> Seen:
        scores = trial.scores if trial.full is None else {**trial.scores, self._max_epochs: trial.full}
        return Seen(trial.config, scores, trial.infeasible)

    def _seen(self) -> list[_Trial]:
        """Return the trials that the model looks at, in the order in which they were suggested."""
        seen = [*self._running.values(), *self._best, *(trial for _, trial in self._last)]
        return sorted(seen, key=lambda trial: trial.number)

    def _of_tpe(self, seed: int) -> dict[str, Any]:
        """Ask TPE on a study made for it: what is known changes by events alone."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group=True
            sampler = optuna.samplers.TPESampler(seed=seed, **TPE)
        study = optuna.create_study(direction="maximize", sampler=sampler, storage=_Known(self.history()))
        return ask(study.ask(), self._space)

    def history(self) -> list[FrozenTrial]:
        """What TPE is told of the trials that it looks at, in the order in which they were suggested."""
        return [self._frozen(trial) for trial in self._seen()]

    def add(self, trial: str, config: Mapping[str, Any]) -> None:
        """Take in a suggested trial as running."""
        self._running[trial] = _Trial(self._count, config)
        self._count += 1

    def report(self, trial: str, epoch: int, score: float) -> None:
        """Take in a score at a rung."""
        self._running[trial].scores[epoch] = score
        insort(self._rungs.setdefault(epoch, []), score)

    def tell(self, trial: str, state: str, score: float | None) -> None:
        """Take in the end of a trial; `score` at full length, for a finished one alone."""
        ended = self._running.pop(trial)
        ended.infeasible = state in ("diverged", "failed")
        if state in ("finished", "stopped"):
            ended.full = score if state == "finished" else None
            ended.value = self._value(ended)
        else:  # what it reached cannot be relied on
            for epoch, known in ended.scores.items():
                self._rungs[epoch].pop(bisect_left(self._rungs[epoch], known))
        ended.state = TrialState.PRUNED if ended.value is None else TrialState.COMPLETE
        if state == "stopped":
            self._stopped[trial] = ended
        insort(self._best, ended, key=lambda trial: trial.rank)
        looked_at = HISTORY[self._policy.model]
        if len(self._best) > looked_at.best:
            worst = self._best.pop()
            heappush(self._last, (worst.number, worst))
        if len(self._last) > looked_at.looks_at - looked_at.best:
            heappop(self._last)

    def take_up(self, trial: str) -> None:
        """Take in that a stopped trial goes on after all."""
        again = self._running[trial] = self._stopped.pop(trial)
        ended = [known for known in (*self._best, *(known for _, known in self._last)) if known is not again]
        ended.sort(key=lambda known: known.rank)
        best = HISTORY[self._policy.model].best
        self._best, rest = ended[:best], ended[best:]
        self._last = [(known.number, known) for known in rest]
        heapify(self._last)
        again.state, again.value, again.frozen = TrialState.RUNNING, None, None

    def _value(self, trial: _Trial) -> float | None:
        """Return what TPE is told `trial` has reached; None: it was pruned."""
        if trial.full is not None:
            insort(self._rungs.setdefault(math.inf, []), trial.full)
        if self._policy.stopped == "pruned":
            return trial.full
        reached: dict[float, float] = dict(trial.scores.items())
        if trial.full is not None:
            reached[math.inf] = trial.full
        if self._policy.stopped == "last" or not reached:
            return reached[max(reached)] if reached else None
        return self._standing(reached)

    def _standing(self, reached: Mapping[float, float]) -> float:
        """Return the number of rungs that these scores would pass now, and the share of the next that they beat."""
        standing = 0.0
        for passed, rung in enumerate(sorted(reached)):
            known = self._rungs[rung]
            better = len(known) - bisect_right(known, reached[rung])
            standing = passed + 1 - (better + 0.5) / len(known)
            if better >= max(1, len(known) // self._policy.reduction_factor):
                break
        return standing

    def _frozen(self, trial: _Trial) -> FrozenTrial:
        if trial.frozen is not None:
            return trial.frozen
        frozen = create_trial(
            state=trial.state,
            value=trial.value,
            params=dict(trial.config),
            distributions={p.name: p.distribution for p in self._space.parameters if p.name in trial.config},
            intermediate_values=dict(trial.scores),
            constraints={"infeasible": 1.0} if trial.infeasible else None,
        )
        frozen.number = trial.number + 1  # TPE goes by the order; the trial that it is asked for will have 0
        trial.frozen = frozen if frozen.state.is_finished() else None
        return frozen


class _Known(InMemoryStorage):
    """A storage that shows `trials` as they are. Adding them would copy each, which takes longer than TPE itself."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        super().__init__()
        self._known = trials

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        known = [trial for trial in self._known if states is None or trial.state in states]
        return known + super().get_all_trials(study_id, deepcopy, states)


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
