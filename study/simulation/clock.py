"""A study under a simulated clock."""

import heapq
from typing import Any, NamedTuple, Protocol

import numpy as np

from study.simulation.curves import Problem


class Task(NamedTuple):
    """A trial to go on with after `epochs` epochs."""

    key: str
    config: dict[str, Any]
    seed: int
    epochs: int


class Search(Protocol):
    """A search policy at work. `next` gives what a free slot shall do, None while there is nothing."""

    def next(self) -> Task | None: ...

    def report(self, key: str, epoch: int, score: float, seconds: float) -> bool: ...


class Moment(NamedTuple):
    """After so many epochs and seconds, the regret of the trial that would be chosen; `trials` begun."""

    epochs: int
    seconds: float
    regret: float
    trials: int


class _Chosen:
    """The trial that would be retrained, as `study.final.winners` chooses: the longest, of these the best."""

    def __init__(self) -> None:
        self._results: dict[str, tuple[int, float]] = {}
        self.key: str | None = None

    def report(self, key: str, epoch: int, score: float) -> bool:
        """Take in a score; return whether another trial is chosen now."""
        before = self.key
        if np.isfinite(score):
            self._results[key] = (epoch, score)
            if self.key is None or self._results[key] > self._results[self.key]:
                self.key = key
        elif self._results.pop(key, None) is not None and key == self.key:
            self.key = max(self._results, key=self._results.__getitem__, default=None)
        return self.key != before


def simulate(search: Search, problem: Problem, slots: int, epochs: int) -> list[Moment]:
    """Run a search with so many slots until `epochs` are spent; return the moments at which the choice changed."""
    running: list[tuple[float, int, int, Task]] = []
    curves, worths = {}, {}
    clock, spent, free, order = 0.0, 0, slots, 0
    chosen, moments = _Chosen(), []
    while spent < epochs:
        while free and (task := search.next()) is not None:
            curves[task.key] = problem.curve(task.config, task.seed)
            order, free = order + 1, free - 1
            heapq.heappush(running, (clock + curves[task.key].seconds, order, task.epochs + 1, task))
        if not running:
            break
        clock, _, epoch, task = heapq.heappop(running)
        curve, spent = curves[task.key], spent + 1
        score = float(curve.scores[epoch - 1])
        goes_on = search.report(task.key, epoch, score, curve.seconds)
        if chosen.report(task.key, epoch, score):
            worth = curves[chosen.key].worth if chosen.key else problem.usual
            moments.append(Moment(spent, clock, problem.regret(worth), len(curves)))
        if goes_on and epoch < problem.max_epochs:
            order += 1
            heapq.heappush(running, (clock + curve.seconds, order, epoch + 1, task))
        else:
            free += 1
    return [*moments, Moment(spent, clock, moments[-1].regret if moments else 1.0, len(curves))]
