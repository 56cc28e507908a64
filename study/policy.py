"""How a search spends its epochs: who is tried at random, where ASHA decides and by what, what TPE is told of it.

The defaults are what won in simulation: docs/search.md has the figures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from study.asha import rungs

Stopped = Literal["pruned", "last", "rung-rank"]
Model = Literal["tpe", "gp"]


@dataclass(frozen=True)
class Policy:
    """A search policy. What `model` and `stopped` mean is said at the head of `study/sampler.py`.

    `random_share` of the trials, the reference setting not counted, are random, the rest the model's. The first
    `start_up` are random, then both take turns; None: all random ones come first.
    At a rung one of `reduction_factor` trials goes on. The first rung is at the full length divided by `first_rung`,
    rounded up. With `pausing`, who was stopped there goes on later if the trials that came after it were worse.
    A trial is judged by the mean score of the last `averaged` of its epochs, a share of them, at least one. With
    `reference_first` the reference setting goes on at every rung; without, and with `pausing`, it may pause as all may
    until it is due (`study/reference.py`).
    """

    random_share: float = 0.5
    model: Model = "gp"
    start_up: int | None = 20
    reduction_factor: int = 2
    first_rung: int = 27
    stopped: Stopped = "pruned"
    pausing: bool = True
    averaged: float = 0.25
    reference_first: bool = False

    def rungs(self, max_epochs: int) -> tuple[int, ...]:
        """Return the epochs at which ASHA decides in trials of `max_epochs`."""
        return rungs(max_epochs, self.reduction_factor, math.ceil(max_epochs / self.first_rung))

    def random_trials(self, trials: int) -> int:
        """Return the number of random trials among the first `trials` of a space, the reference not counted."""
        return round((trials - 1) * self.random_share)

    def is_random(self, number: int, trials: int, warm: int) -> bool:
        """Whether the `number`-th trial of a search, counted from 1, is random. A space has `trials` in all, of which
        the reference setting and `warm` ones are not counted; those that a resume adds are the model's.
        """
        count = trials - 1 - warm
        random = min(self.random_trials(trials), count)
        first = random if self.start_up is None else min(random, self.start_up)
        if number <= first:
            return True
        if number > count:
            return False
        left = random - first  # for the `count - first` others, evenly spread
        return (number - first) * left % (count - first) < left

    def standing(self, scores: Sequence[float]) -> float:
        """Return what a trial with these `scores`, one of each epoch, is judged by."""
        last = max(1, int(len(scores) * self.averaged))
        return sum(scores[-last:]) / last


# What held for studies whose study.json does not say: of all, and later of the last two.
FIRST_POLICY = Policy(
    random_share=0.5,
    model="tpe",
    start_up=None,
    reduction_factor=3,
    first_rung=9,
    stopped="pruned",
    pausing=False,
    averaged=0,
    reference_first=True,
)
