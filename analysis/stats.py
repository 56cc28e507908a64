"""Statistics: tables of a study -> small tables. Nothing here draws, and nothing averages over survivors of
ASHA.

Scores are fractions in [0, 1] unless the plan's metric says otherwise; a larger score is better.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import (
    ndtri,
    stdtrit,
)  # scipy.stats would take a second to import for the same two quantiles

from analysis.tables import StudyTables

LEVEL = 0.95
SMALLEST_SAMPLE = 3  # below it a t interval is too wide to be of use and too easily misread: points only

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its interval; `low` and `high` are NaN where `n` is too small for one."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def known(self) -> bool:
        """Whether there is an interval at all."""
        return bool(np.isfinite(self.low))


def t_interval(values: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """Return the mean of `values` (n,), missing ones left out, with Student's t interval where n >= 3."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    n = len(known)
    mean = float(known.mean()) if n else np.nan
    if n < SMALLEST_SAMPLE:
        return Interval(mean, np.nan, np.nan, n)
    half = float(stdtrit(n - 1, (1 + level) / 2) * known.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def wilson(successes: Floats, n: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return the ends of Wilson's interval of a proportion, element by element; NaN where `n` is 0."""
    z2 = float(ndtri((1 + level) / 2)) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        share = successes / n
        centre = (share + z2 / (2 * n)) / (1 + z2 / n)
        half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def full_length(tables: StudyTables) -> pd.DataFrame:
    """Return the trials whose score was measured at full length: the only ones that compare as equals."""
    trials = tables.trials
    longest = trials["epochs_trained"] >= tables.plan["max_epochs"]
    known: pd.DataFrame = trials[longest & (trials["state"] == "finished") & trials["score"].notna()]
    return known


def winners(tables: StudyTables) -> pd.DataFrame:
    """Return a row per space that has a winner: `space`, `trial`, `score`, `retrained`.

    Chosen for final runs: the one whose final runs have the highest mean validation score, or, before they
    are done, the highest score of the search. Nothing chosen yet: the best trial at full length. Never by the
    test split.
    """
    found = [_winner(tables, space) for space in tables.plan["spaces"]]
    columns = ["space", "trial", "score", "retrained"]
    return pd.DataFrame([row for row in found if row is not None], columns=columns)


def _winner(tables: StudyTables, space: str) -> dict[str, Any] | None:
    chosen = tables.chosen[tables.chosen["space"] == space]
    candidates = chosen if len(chosen) else full_length(tables).query("space == @space")
    if not len(candidates):
        return None
    done = tables.final[(tables.final["state"] == "finished") & tables.final["trial"].isin(chosen["trial"])]
    means = done.groupby("trial", sort=False)["val_score"].mean()
    best = candidates.sort_values("score", ascending=False, kind="stable").iloc[0]
    trial = str(means.idxmax()) if means.notna().any() else str(best["trial"])
    score = float(candidates.set_index("trial")["score"][trial])
    return {"space": space, "trial": trial, "score": score, "retrained": bool(len(done))}


def spending(tables: StudyTables) -> pd.DataFrame:
    """Return a row per space: trials by state, epochs and seconds spent, and epochs saved by stopping.

    `epochs_saved` counts what the stopped trials did not train; a failed or an unfinished trial saves
    nothing.
    """
    return pd.DataFrame([_spent(tables, space) for space in tables.plan["spaces"]])


def _spent(tables: StudyTables, space: str) -> dict[str, Any]:
    trials = tables.trials[tables.trials["space"] == space]
    states = trials["state"].value_counts()
    stopped = trials[trials["state"] == "stopped"]
    final = tables.final[tables.final["space"] == space]
    return {
        "space": space,
        "trials": len(trials),
        **{state: int(states.get(state, 0)) for state in ("finished", "stopped", "diverged", "failed", "interrupted")},
        "running": int(states.get("running", 0)),
        "epochs": int(trials["epochs_trained"].sum()),
        "epochs_planned": len(trials) * tables.plan["max_epochs"],
        "epochs_saved": int((tables.plan["max_epochs"] - stopped["epochs_trained"]).sum()),
        "seconds": float(trials["train_seconds"].sum()),
        "final_runs": len(final),
        "final_epochs": int(final["epochs_trained"].sum()),
        "final_seconds": float(final["train_seconds"].sum()),
    }


def at_risk(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `epoch`, `at_risk`: how many trials of the space have a row for that epoch, from 1 to
    the last.
    """
    spaces = tables.epochs["trial"].map(tables.trials.set_index("trial")["space"])
    counts = tables.epochs.assign(space=spaces).groupby(["space", "epoch"]).size()
    every = pd.MultiIndex.from_product(
        [tables.plan["spaces"], range(1, tables.plan["max_epochs"] + 1)], names=["space", "epoch"]
    )
    return counts.reindex(every, fill_value=0).rename("at_risk").reset_index()


def incumbent(tables: StudyTables) -> pd.DataFrame:
    """Return the best score so far among trials at full length: `space`, `trial`, `epochs_spent`, `score`,
    `best`.

    A row per such trial, in the order in which they finished; `epochs_spent` counts every epoch logged for
    the space until then, those of stopped and failed trials too. The last row of a space repeats the best at
    the whole budget.
    """
    parts = [_incumbent(tables, space) for space in tables.plan["spaces"]]
    return pd.concat(parts, ignore_index=True)


def _incumbent(tables: StudyTables, space: str) -> pd.DataFrame:
    trials = tables.trials[tables.trials["space"] == space]
    epochs = tables.epochs[tables.epochs["trial"].isin(trials["trial"])].reset_index(drop=True)
    spent = pd.Series(np.arange(1, len(epochs) + 1)).groupby(epochs["trial"]).max()
    full = full_length(tables).query("space == @space")[["space", "trial", "score"]]
    full = full.assign(epochs_spent=full["trial"].map(spent)).sort_values("epochs_spent")
    full["best"] = full["score"].cummax()
    if len(full):
        end = {"space": space, "epochs_spent": len(epochs), "best": full["best"].iloc[-1]}
        full = pd.concat([full, pd.DataFrame([end])], ignore_index=True)
    return full[["space", "trial", "epochs_spent", "score", "best"]].astype({"epochs_spent": "int64"})


def winning_finals(tables: StudyTables) -> pd.DataFrame:
    """Return the rows of `.final` that belong to the winner of their space."""
    return tables.final[tables.final["trial"].isin(winners(tables)["trial"])]


def test_intervals(tables: StudyTables) -> dict[str, Interval]:
    """Return the t interval of the test score over the final runs of each space's winner; spaces without are
    left out.
    """
    tested = winning_finals(tables).dropna(subset="test_score")
    return {str(space): t_interval(rows["test_score"]) for space, rows in tested.groupby("space", sort=False)}


def gaps(tables: StudyTables) -> pd.DataFrame:
    """Return a row per pair of spaces: `first`, `second`, `gap`, `low`, `high`, `n`, `level`; the better one
    first.

    Paired over the seeds that both have (the same number is the same seed). With k pairs each interval has
    level 1 - 0.05 / k (Bonferroni), so that all of them hold together with 95 %.
    """
    tested = winning_finals(tables).dropna(subset="test_score")
    scores = tested.pivot_table(index="seed", columns="space", values="test_score", sort=False)
    pairs = list(combinations(scores.columns, 2))
    rows = [_gap(scores, first, second, 1 - (1 - LEVEL) / len(pairs)) for first, second in pairs]
    return pd.DataFrame(rows, columns=["first", "second", "gap", "low", "high", "n", "level"])


def _gap(scores: pd.DataFrame, first: str, second: str, level: float) -> dict[str, Any]:
    difference = (scores[first] - scores[second]).dropna().to_numpy()
    if difference.sum() < 0:
        first, second, difference = second, first, -difference
    found = t_interval(difference, level)
    ends = {"gap": found.mean, "low": found.low, "high": found.high, "n": found.n, "level": level}
    return {"first": first, "second": second, **ends}
