"""A study as the checks read it: who ended, who reached full length, who is best, and their curves."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import stats
from analysis.intervals import Floats
from analysis.tables import StudyTables

Parameter = dict[str, Any]
Places = npt.NDArray[np.intp]

ENDED: Final = ("finished", "stopped", "diverged", "failed")
FEWEST_EPOCHS: Final = 10  # a shorter curve has no late part to look at
NEAR: Final = 0.005  # scores as near as this are equals, where final runs do not say how far seeds scatter
TOP: Final = 5  # the best trials of a space: so many, or a tenth of those that ended
SEEDS: Final = 3  # fewer give no interval


class Record:
    """The tables of a study, and of its repeats with another seed, cut as the checks need them.

    A trial that ASHA stopped counts among those that ended, and its curve as far as it goes; its score is never
    compared with one at full length.
    """

    def __init__(self, tables: StudyTables, repeats: Sequence[StudyTables] = ()) -> None:
        self.tables = tables
        self.repeats = tuple(repeats)
        self.plan = tables.plan
        self.spaces: list[str] = list(tables.plan["spaces"])
        self.max_epochs = int(tables.plan["max_epochs"])

    def parameters(self, space: str) -> list[Parameter]:
        """Hyperparameters of `space` as study.json has them."""
        found: list[Parameter] = self.plan["spaces"][space]["parameters"]
        return found

    @property
    def planned_trials(self) -> int:
        """Trials of each space, as last asked for."""
        sessions = self.tables.sessions
        return int(sessions["trials"].iloc[-1]) if len(sessions) else int(self.plan["trials"])

    @property
    def floor(self) -> float:
        """The score below which nothing was learned: twice chance, or a ninth of the way from chance to 1.

        Of a metric that is no fraction, chance itself: the PSNR of images that are left as they are.
        """
        chance = self.plan["metric"].get("chance")
        if chance is not None and self.plan["metric"]["unit"] != "fraction":
            return float(chance)
        return -math.inf if chance is None else min(2 * chance, chance + (1 - chance) / 9)

    @property
    def longer(self) -> int:
        """Epochs of a study that is longer, and long enough for the checks of curves."""
        return 2 * max(self.max_epochs, FEWEST_EPOCHS)

    @cached_property
    def _ended(self) -> dict[str, pd.DataFrame]:
        trials = self.tables.trials
        over = trials[trials["state"].isin(ENDED)]
        return {space: over[over["space"] == space] for space in self.spaces}

    @cached_property
    def _full(self) -> dict[str, pd.DataFrame]:
        full = stats.full_length(self.tables).sort_values("score", ascending=False, kind="stable")
        return {space: full[full["space"] == space] for space in self.spaces}

    def ended(self, space: str) -> pd.DataFrame:
        """Trials of `space` that ended, in whatever way."""
        return self._ended[space]

    def full(self, space: str) -> pd.DataFrame:
        """Trials of `space` with a score at full length, the best first."""
        return self._full[space]

    def top(self, space: str) -> pd.DataFrame:
        """The best trials of `space` at full length: 5, or a tenth of those that ended."""
        return self.full(space).head(max(TOP, math.ceil(len(self.ended(space)) / 10)))

    def infeasible(self, space: str) -> "pd.Series[bool]":
        """Which of `ended` diverged, failed, or learned nothing in the full length."""
        trials = self.ended(space)
        lost = trials["state"].isin(["diverged", "failed"])
        return lost | trials["trial"].isin(self.full(space).query("score < @self.floor")["trial"])

    @cached_property
    def winners(self) -> pd.DataFrame:
        """Winner of each space that has one: columns `trial`, `score`, `epochs_trained`, index `space`."""
        return stats.winners(self.tables).set_index("space")

    @property
    def scores(self) -> pd.Series:
        """Search scores of the winners that reached full length, by space: others do not compare."""
        return self.winners[self.winners["epochs_trained"] >= self.max_epochs]["score"]

    def finals(self, space: str) -> pd.DataFrame:
        """Finished final runs of the winner of `space`."""
        final = self.tables.final
        winner = self.winners["trial"].get(space)
        return final[(final["trial"] == winner) & (final["state"] == "finished")]

    def near(self, space: str) -> float:
        """The difference of scores that seeds alone make: sd over final runs, or half a point; NaN if unknown."""
        scores = self.finals(space)["val_score"].dropna()
        if len(scores) >= SEEDS:
            return float(scores.std())
        return NEAR if self.plan["metric"]["unit"] == "fraction" else math.nan

    def trials_for(self, full: int, space: str) -> int:
        """Return how many trials would bring `full` of them to full length, at the share seen so far."""
        share = max(len(self.full(space)), 1) / max(len(self.ended(space)), 1)
        return max(self.planned_trials + 1, math.ceil(full / share))

    @cached_property
    def _rows(self) -> "tuple[pd.Index, Places]":
        """Names of all trials, and the row of each epoch among them."""
        names = pd.Index(self.tables.trials["trial"])
        return names, names.get_indexer(pd.Index(self.tables.epochs["trial"]))

    def curves(self, trials: Sequence[str] | pd.Series, column: str) -> Floats:
        """Return `column` of the epochs as (trials, epochs); NaN where an epoch was not trained."""
        names, rows = self._rows
        wanted = np.full(len(names), -1)
        wanted[names.get_indexer(pd.Index(trials))] = np.arange(len(trials))
        return self._matrix(self.tables.epochs, wanted[rows], len(trials), column)

    def final_curves(self, finals: Sequence[str] | pd.Series, column: str) -> Floats:
        """Return `column` of the final runs' epochs as (finals, epochs)."""
        rows = pd.Index(finals).get_indexer(pd.Index(self.tables.final_epochs["final"]))
        return self._matrix(self.tables.final_epochs, rows, len(finals), column)

    def _matrix(self, epochs: pd.DataFrame, rows: "Places", count: int, column: str) -> Floats:
        epoch = epochs["epoch"].to_numpy()
        kept = (rows >= 0) & (epoch <= self.max_epochs)
        matrix = np.full((count, self.max_epochs), np.nan)
        matrix[rows[kept], epoch[kept] - 1] = epochs[column].to_numpy()[kept]
        return matrix
