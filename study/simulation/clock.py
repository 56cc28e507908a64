"""A search under a simulated clock: slots, epochs that take their time, and what the search knew when."""

import heapq
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from study.simulation.curves import Curve, Problem


class Task(NamedTuple):
    """A trial to go on with after `epochs` epochs."""

    key: str
    config: dict[str, Any]
    seed: int
    epochs: int


class Search(Protocol):
    """A search policy at work. `next` gives what a free slot shall do, None while there is nothing. `standing` is what
    a trial with the given scores, one of each epoch, is chosen by in the end.
    """

    def next(self) -> Task | None: ...

    def standing(self, scores: Sequence[float]) -> float: ...

    def report(self, key: str, epoch: int, score: float, seconds: float) -> bool: ...


class Moment(NamedTuple):
    """After so many epochs and seconds, the regret of the trial that would be chosen; `trials` begun."""

    epochs: int
    seconds: float
    regret: float
    trials: int


class Choice:
    """The trial that would be retrained if the search ended now: the one that stands best, whatever the length.

    With the last score for `standing` so does Ray's `get_best_result`. It is kinder to a search that has just begun
    than `study.final.winners`, which asks for the full length first; where trials of full length are the best ones the
    two agree.
    """

    def __init__(self, standing: Callable[[Sequence[float]], float]) -> None:
        self._standing = standing
        self._scores: dict[str, list[float]] = {}
        self._results: dict[str, tuple[float, int]] = {}
        self.key: str | None = None

    def report(self, key: str, epoch: int, score: float) -> bool:
        """Take in a score, NaN for a trial that diverged; return whether another trial is chosen now."""
        before = self.key
        if np.isfinite(score):
            scores = self._scores.setdefault(key, [])
            scores.append(score)
            self._results[key] = (self._standing(scores), epoch)
        else:
            self._results.pop(key, None)
        if key == before or before is None:
            self.key = max(self._results, key=self._results.__getitem__, default=None)
        elif key in self._results and self._results[key] > self._results[before]:
            self.key = key
        return self.key != before


def simulate(search: Search, problem: Problem, slots: int, epochs: int) -> list[Moment]:
    """Run a search with so many slots until `epochs` are spent; return the moments at which the choice changed."""
    running: list[tuple[float, int, int, Task]] = []
    curves: dict[str, Curve] = {}
    clock, spent, free, order = 0.0, 0, slots, 0
    chosen, moments = Choice(search.standing), []
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
