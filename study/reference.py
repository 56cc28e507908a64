"""When the reference setting goes on whatever its rank. Tuning is measured against it, at full length.

To train it first would be a full length spent on one that rarely wins, to leave it to its rank might mean never. So it
may pause as all may until half of any budget of its space is spent, or all but two full lengths in each slot. Known
from the log alone: a study that was killed decides as an uninterrupted one would have. A budget of time is of a session
alone, so there the session's own clock counts.
"""

from collections.abc import Iterable
from typing import NamedTuple


class Spent(NamedTuple):
    """What is spent of a budget, how much it is, and what a full length takes in all slots, in the budget's unit."""

    spent: float
    budget: float
    length: float


def is_late(spent: float, budget: float, length: float) -> bool:
    """Whether so much is spent that the reference setting goes on; see `Spent`."""
    return spent >= min(budget / 2, budget - 2 * length)


def is_due(begun: int, trials: int, budgets: Iterable[Spent]) -> bool:
    """Whether the reference setting goes on, `begun` of `trials` of its space having begun."""
    return 2 * begun >= trials or any(is_late(*budget) for budget in budgets)
