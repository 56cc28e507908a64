"""What Ray itself would do: OptunaSearch with ASHAScheduler, both as they come, driven without a cluster.

They are Ray's own objects, told what Tune's controller tells them: every result goes to the scheduler, then to the
searcher unless the scheduler stops the trial; a trial that ends is complete with its last result, stopped or not. Ray
is imported here and in `study/tune.py` alone; the simulator alone imports this.
"""

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from study.sampler import ask, seed_of
from study.simulation.clock import Task
from study.space import Space


class RayPair:
    """A search by Ray's defaults: TPE after ten random trials, rungs at 1, 4, 16 ..., a quarter goes on.

    The reference setting is the first point to evaluate. A diverged trial goes on at `chance`, as its accuracy would.
    """

    def __init__(self, space: Space, max_epochs: int, seed: int, chance: float) -> None:
        def define(trial: optuna.Trial) -> None:
            ask(trial, space)

        self._chance, self._seed = chance, seed
        self._searcher = OptunaSearch(
            define, metric="score", mode="max", seed=seed, points_to_evaluate=[dict(space.reference)]
        )
        self._scheduler = ASHAScheduler(metric="score", mode="max", max_t=max_epochs)
        self._trials: dict[str, Any] = {}
        np.random.seed(seed)  # noqa: NPY002  Ray draws brackets from it, of which there is one

    def next(self) -> Task:
        """Return a new trial."""
        key = f"ray-{len(self._trials):04d}"
        config = self._searcher.suggest(key)
        trial = self._trials[key] = SimpleNamespace(trial_id=key)
        self._scheduler.on_trial_add(None, trial)
        return Task(key, config, seed_of(self._seed, key), epochs=0)

    def standing(self, scores: Sequence[float]) -> float:
        """Return the last score, as `get_best_result` does."""
        return scores[-1]

    def report(self, key: str, epoch: int, score: float, seconds: float) -> bool:
        """Take in a result as Tune's controller does; return whether the trial goes on."""
        del seconds
        trial = self._trials[key]
        result = {"score": score if math.isfinite(score) else self._chance, "training_iteration": epoch}
        if self._scheduler.on_trial_result(None, trial, result) == TrialScheduler.CONTINUE:
            self._searcher.on_trial_result(key, result)
            return True
        self._scheduler.on_trial_complete(None, trial, result)
        self._searcher.on_trial_complete(key, result)
        return False
