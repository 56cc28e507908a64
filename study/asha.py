"""ASHA: who goes on at a rung. One object per space; plain Python, fed by the event log.

Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934). With `pausing` in the form of the paper: a trial
that was stopped is taken up again as soon as it is among the best, because worse ones have come after it. Without, in
its stopping form. Four rules of its own:

- A trial goes on iff it is among the best 1/`reduction_factor` of the scores known at the rung, its own included.
  Without `pausing` the first arrival makes a quota of one, so it goes on; the second must beat it. With it nobody goes
  on for want of others. (Ray compares with a percentile of the others, which lets 46 % of 8 trials pass at a factor
  of 4.)
- Ties go to the earlier arrival, so that a rung full of dead networks at chance lets one of them pass, not all.
- Decisions fall at exact rungs only; an epoch between two rungs decides nothing and is recorded nowhere.
- The score of a failed trial is taken back; with `pausing` a diverged one's too, so that its place is free for one that
  paused. A non-finite score never enters a rung: the caller ends such a trial.
"""

import math
from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Literal, NamedTuple

Action = Literal["continue", "stop"]
Place = tuple[float, int]  # a score and minus the number of its arrival: the greater, the better


@dataclass(frozen=True)
class Decision:
    """What was decided and the numbers behind it: the score to beat (None: nothing to compare) and how many."""

    action: Action
    cutoff: float | None
    compared: int


class Promotion(NamedTuple):
    """A paused trial that may go on from its rung."""

    trial: str
    epoch: int
    decision: Decision


class Asha:
    """Rungs of one space. A higher score is better."""

    def __init__(self, rungs: tuple[int, ...], reduction_factor: int, *, pausing: bool = False) -> None:
        self._reduction_factor = reduction_factor
        self._pausing = pausing
        self._places: dict[int, dict[str, Place]] = {rung: {} for rung in rungs}
        self._ranked: dict[int, list[Place]] = {rung: [] for rung in rungs}  # the same, the worst first
        self._paused: dict[int, list[tuple[Place, str]]] = {rung: [] for rung in rungs}  # who may be taken up, so too
        self._arrivals = 0

    def judge(self, trial: str, epoch: int, score: float) -> Decision | None:
        """Decide on `trial` with `score` after `epoch`, or return None between rungs. Records nothing."""
        if not math.isfinite(score):
            raise ValueError(f"{trial} has the score {score} in epoch {epoch}; a non-finite score is never judged")
        if epoch not in self._places:
            return None
        others = self._ranked[epoch]
        if trial in self._places[epoch]:
            others = sorted(place for name, place in self._places[epoch].items() if name != trial)
        compared = len(others) + 1
        quota = max(0 if self._pausing else 1, compared // self._reduction_factor)
        cutoff = others[-quota][0] if 0 < quota <= len(others) else None
        goes_on = quota > 0 and (cutoff is None or score > cutoff)
        return Decision("continue" if goes_on else "stop", cutoff, compared)

    def record(self, trial: str, epoch: int, score: float) -> None:
        """Keep a score that was judged, so that later arrivals are compared with it."""
        self._take_out(epoch, trial)
        self._arrivals += 1
        place = score, -self._arrivals
        self._places[epoch][trial] = place
        insort(self._ranked[epoch], place)

    def pause(self, trial: str, epoch: int) -> None:
        """Note that `trial` was stopped at the rung `epoch`."""
        if self._pausing:
            insort(self._paused[epoch], (self._places[epoch][trial], trial))

    def promotion(self, least: int = 0) -> Promotion | None:
        """Return the paused trial to go on with, the furthest first: the best of its rung that pause, if it is among
        the best 1/`reduction_factor` of all there, or the best `least`.
        """
        for rung in reversed(self._paused):
            if not self._paused[rung]:
                continue
            (place, trial), ranked = self._paused[rung][-1], self._ranked[rung]
            quota = max(least, len(ranked) // self._reduction_factor)
            if len(ranked) - bisect_left(ranked, place) <= quota:
                cutoff = ranked[-quota - 1][0] if len(ranked) > quota else None
                return Promotion(trial, rung, Decision("continue", cutoff, len(ranked)))
        return None

    def whatever_its_rank(self, trial: str, epoch: int) -> Promotion:
        """Return that `trial`, which paused at `epoch`, goes on with no score to beat."""
        return Promotion(trial, epoch, Decision("continue", None, len(self._ranked[epoch])))

    def take_up(self, trial: str, epoch: int) -> None:
        """Note that `trial`, which paused at `epoch`, goes on."""
        self._paused[epoch].remove((self._places[epoch][trial], trial))

    def retract(self, trial: str) -> None:
        """Take back every score of `trial`, which failed: what it reached cannot be relied on."""
        for rung in self._places:
            self._take_out(rung, trial)

    def _take_out(self, rung: int, trial: str) -> None:
        known = self._places[rung].pop(trial, None)
        if known is not None:
            ranked = self._ranked[rung]
            ranked.pop(bisect_left(ranked, known))

    def scores(self, rung: int) -> dict[str, float]:
        """Scores at `rung` by trial, in the order of arrival."""
        return {trial: score for trial, (score, _) in self._places[rung].items()}


def rungs(max_epochs: int, reduction_factor: int, grace_epochs: int) -> tuple[int, ...]:
    """Return the epochs at which ASHA decides: `grace_epochs` times powers of the factor, below `max_epochs`."""
    found = []
    rung = grace_epochs
    while rung < max_epochs:
        found.append(rung)
        rung *= reduction_factor
    return tuple(found)
