"""ASHA: who goes on at a rung. One object per space; plain Python, fed by the event log.

Asynchronous successive halving in its stopping form (Li et al. 2020, arXiv 1810.05934), with four rules of its own:

- A trial goes on iff it is among the best 1/`reduction_factor` of the scores known at the rung, its own included. The
  first arrival makes a quota of one, so it goes on; the second must beat it. (Ray compares with a percentile of the
  others, which lets 46 % of 8 trials pass at a factor of 4.)
- Ties go to the earlier arrival, so that a rung full of dead networks at chance lets one of them pass, not all.
- Decisions fall at exact rungs only; an epoch between two rungs decides nothing and is recorded nowhere.
- The score of a failed trial is taken back. A non-finite score never enters a rung: the caller ends such a trial.
"""

import math
from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Literal

Action = Literal["continue", "stop"]


@dataclass(frozen=True)
class Decision:
    """What was decided and the numbers behind it: the score to beat (None: nothing to compare) and how many."""

    action: Action
    cutoff: float | None
    compared: int


class Asha:
    """Rungs of one space. A higher score is better."""

    def __init__(self, rungs: tuple[int, ...], reduction_factor: int) -> None:
        self._reduction_factor = reduction_factor
        self._scores: dict[int, dict[str, float]] = {rung: {} for rung in rungs}
        self._ranked: dict[int, list[float]] = {rung: [] for rung in rungs}  # the same, the worst first

    def judge(self, trial: str, epoch: int, score: float) -> Decision | None:
        """Decide on `trial` with `score` after `epoch`, or return None between rungs. Records nothing."""
        if not math.isfinite(score):
            raise ValueError(f"{trial} has the score {score} in epoch {epoch}; a non-finite score is never judged")
        if epoch not in self._scores:
            return None
        others = self._ranked[epoch]
        if trial in self._scores[epoch]:
            others = sorted(value for name, value in self._scores[epoch].items() if name != trial)
        compared = len(others) + 1
        quota = max(1, compared // self._reduction_factor)
        cutoff = others[-quota] if len(others) >= quota else None
        goes_on = cutoff is None or score > cutoff
        return Decision("continue" if goes_on else "stop", cutoff, compared)

    def record(self, trial: str, epoch: int, score: float) -> None:
        """Keep a score that was judged, so that later arrivals are compared with it."""
        self._take_out(epoch, trial)
        self._scores[epoch][trial] = score
        insort(self._ranked[epoch], score)

    def retract(self, trial: str) -> None:
        """Take back every score of `trial`, which failed: what it reached cannot be relied on."""
        for rung in self._scores:
            self._take_out(rung, trial)

    def _take_out(self, rung: int, trial: str) -> None:
        known = self._scores[rung].pop(trial, None)
        if known is not None:
            ranked = self._ranked[rung]
            ranked.pop(bisect_left(ranked, known))

    def scores(self, rung: int) -> dict[str, float]:
        """Scores at `rung` by trial, in the order of arrival."""
        return dict(self._scores[rung])


def rungs(max_epochs: int, reduction_factor: int, grace_epochs: int) -> tuple[int, ...]:
    """Return the epochs at which ASHA decides: `grace_epochs` times powers of the factor, below `max_epochs`."""
    found = []
    rung = grace_epochs
    while rung < max_epochs:
        found.append(rung)
        rung *= reduction_factor
    return tuple(found)
