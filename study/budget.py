"""What each space may spend in the search, and what it has spent: trials, epochs, GPU time, and its part of the time.

Every budget is the same for every space, so a slow one cannot eat what belongs to another. What is spent is counted
from the epochs in the log. Whichever budget runs out first ends the search of a space; what it cuts off is interrupted.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final, Literal

from study.plan import Plan
from study.reference import is_late
from study.state import Run, State

Unit = Literal["trials", "epochs", "GPU time", "time"]
REASONS: Final[Mapping[Unit, str]] = {"epochs": "epoch budget", "GPU time": "GPU budget", "time": "time budget"}


class Budget:
    """The budgets of a search. `clock` gives seconds; a time budget counts from the first `start` of a session.

    The time is that of all slots, and each space has an equal part of it, of which its epochs' seconds are taken.
    """

    def __init__(self, plan: Plan, state: State, clock: Callable[[], float]) -> None:
        self._plan = plan
        self._state = state
        self._clock = clock
        self._deadline = math.inf
        self._before: dict[str, float] = {}  # seconds that a space had spent when this session began
        self._heard: dict[str, float] = {}  # when a run last said something

    @property
    def seconds(self) -> float | None:
        """The time budget of this session."""
        return self._plan.time_budget

    def start(self) -> None:
        """Let the time run, unless it does already."""
        if self._plan.time_budget is not None and self._deadline == math.inf:
            self._deadline = self._clock() + self._plan.time_budget
            self._before = {space: tally.seconds for space, tally in self._state.tallies["trial"].items()}

    def hear(self, run: Run) -> None:
        """Note that what `run` has spent until now is known."""
        self._heard[run.key] = self._clock()

    @property
    def time_is_up(self) -> bool:
        """Whether the search has no time left, whatever its spaces have spent."""
        return self._clock() >= self._deadline

    def is_late(self, space: str, slots: int) -> bool:
        """Whether so much of the time is over that the reference setting of `space` goes on (`study/reference.py`)."""
        if self._plan.time_budget is None or self._deadline == math.inf:
            return False
        tallies, tally = self._state.tallies["trial"], self._state.tallies["trial"][space]
        turns = max(1, len(tallies) / max(slots, 1))  # spaces wait for one another
        length = self._plan.max_epochs * turns * tally.seconds / max(tally.epochs, 1)
        spent = self._plan.time_budget - (self._deadline - self._clock())
        return is_late(spent, self._plan.time_budget, length)

    def used_up(self, space: str, slots: int) -> Unit | None:
        """Return which budget of `space` allows no further epoch, None while all do. Trials allow those begun."""
        spent = next((unit for unit, share in self._shares(space, slots).items() if share >= 1), None)
        return "time" if spent is None and self.time_is_up else spent

    def has_trials(self, space: str) -> bool:
        """Whether `space` may begin another trial as far as their number goes."""
        return len(self._state.tallies["trial"][space].runs) < self._state.trials

    def urgency(self, space: str, slots: int) -> tuple[float, int]:
        """Return what to order spaces by, the least first: how much of its budget it has spent, then its trials.

        What its running trials have been at since they last reported counts as spent, so that a slow one is not taken
        for a thrifty one.
        """
        shares = self._shares(space, slots, self._unheard(space))
        return max(shares.values(), default=0.0), len(self._state.tallies["trial"][space].runs)

    def _shares(self, space: str, slots: int, unheard: float = 0.0) -> dict[Unit, float]:
        """Return by unit which share of the budget is spent; trials are counted apart."""
        plan, tally = self._plan, self._state.tallies["trial"][space]
        shares: dict[Unit, float] = {}
        if plan.epoch_budget is not None:
            shares["epochs"] = tally.epochs / plan.epoch_budget
        if plan.gpu_budget is not None:
            shares["GPU time"] = (tally.gpu_seconds + unheard * self._state.gpus) / plan.gpu_budget
        if plan.time_budget is not None and self._deadline < math.inf:
            part = plan.time_budget * slots / len(self._state.tallies["trial"])
            shares["time"] = (tally.seconds - self._before[space] + unheard) / part
        return shares

    def _unheard(self, space: str) -> float:
        now = self._clock()
        running = [run for run in self._state.open_of("trial") if run.space == space and run.state == "running"]
        return sum(now - self._heard.get(run.key, now) for run in running)
