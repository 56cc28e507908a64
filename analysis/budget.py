"""What another budget would have said: who is ahead after fewer epochs or fewer trials, and how soon a target is
reached.

Curves are validation scores of the final runs of the winners; of the test split there are no curves.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import gammaln

from analysis import stats
from analysis.intervals import Floats
from analysis.tables import StudyTables

MOST_TRIALS: Final = 1_000  # up to here "few trials" are looked at
BLOCK: Final = 100  # of these at a time


def mean_curves(tables: StudyTables) -> pd.DataFrame:
    """Return the mean validation score of each winner's final runs: a row per epoch, a column per space.

    Only at epochs that all of its runs have: missing elsewhere, so that no mean is one of survivors.
    """
    runs = stats.winning_finals(tables)[["final", "space"]]
    rows = runs.merge(tables.final_epochs, on="final")
    cells = rows.groupby(["epoch", "space"], sort=True)["val_score"].agg(["mean", "count"]).reset_index()
    whole = cells["count"] == cells["space"].map(runs["space"].value_counts())
    return cells[whole].pivot_table(index="epoch", columns="space", values="mean")


def lead(curves: pd.DataFrame, first: str, second: str) -> tuple[float, list[int]]:
    """Return from which epoch on `first` is ahead to the end, and the epochs at which the two curves have crossed.

    The first epoch is NaN where `first` is not ahead at the end, or where the curves are missing. A crossing is the
    first epoch at which the other one is ahead; equal scores cross nothing.
    """
    if first not in curves or second not in curves:
        return np.nan, []
    gap = (curves[first] - curves[second]).dropna()
    gap = gap[gap != 0]
    ahead, epochs = gap.to_numpy() > 0, [int(epoch) for epoch in gap.index]
    crossings = [epoch for epoch, turn in zip(epochs[1:], ahead[1:] != ahead[:-1], strict=True) if turn]
    if not len(ahead) or not ahead[-1]:
        return np.nan, crossings
    return float(crossings[-1] if crossings else epochs[0]), crossings


def expected_best(scores: Floats, k: npt.NDArray[np.int64]) -> Floats:
    """Return the expected best of `k` (K,) scores drawn with replacement from `scores` (N,) (Dodge et al. 2019,
    arXiv:1909.03004).
    """
    # The chance that all k are among the i smallest is the k-th power of i / N, by logarithms in a fifth of the time.
    share = np.log(np.arange(1, len(scores)) / len(scores))
    return _mean_of_best(scores, k, lambda block: share * block[:, None])


def unbiased_best(scores: Floats, k: npt.NDArray[np.int64]) -> Floats:
    """Return the expected best of `k` (K,) different ones of `scores` (N,), k <= N, whose mean over studies is right
    (Tang et al. 2020, arXiv:2004.13705); `expected_best` is a little below, and varies less.
    """
    i, n = np.arange(1, len(scores)), len(scores)

    def chance(block: npt.NDArray[np.int64]) -> Floats:  # that all k are among the i smallest: (i over k) / (N over k)
        left = i - block[:, None]
        logs = gammaln(i + 1) - gammaln(np.maximum(left, 0) + 1) - (gammaln(n + 1) - gammaln(n - block[:, None] + 1))
        return np.asarray(np.where(left < 0, -np.inf, logs))

    return _mean_of_best(scores, k, chance)


def _mean_of_best(
    scores: Floats, k: npt.NDArray[np.int64], log_chance: Callable[[npt.NDArray[np.int64]], Floats]
) -> Floats:
    """Return the mean of the best, (K,), from the logarithm of the chance that all k are among the i smallest scores,
    i from 1 to N - 1: (k, i).
    """
    ranked = np.sort(scores)
    blocks = np.split(k, range(BLOCK, len(k), BLOCK))  # one matrix (K, N) of a long study would be gigabytes
    return np.concatenate([ranked[-1] - np.exp(log_chance(block)) @ np.diff(ranked) for block in blocks])


def best_of_k(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `k`, `low`, `high`, `n`: bounds of the expected best score of k random trials, k <= n / 2 and
    `MOST_TRIALS`.

    From the random arm alone, whose trials are independent. A stopped trial has no score at full length: `random_arm`
    has what it is counted with. Spaces with fewer than two such trials have no row.
    """
    parts = [_best_of_k(tables, space) for space in tables.plan["spaces"]]
    return pd.concat(parts, ignore_index=True)


def _best_of_k(tables: StudyTables, space: str) -> pd.DataFrame:
    arm = random_arm(tables, space)
    k = np.arange(1, min(len(arm) // 2, MOST_TRIALS) + 1)
    ends = {end: expected_best(arm[end].to_numpy(), k) for end in ("low", "high")} if len(k) else {}
    columns = ["space", "k", "low", "high", "n"]
    return pd.DataFrame({"space": space, "k": k, **ends, "n": len(arm)}, columns=columns)


def random_arm(tables: StudyTables, space: str) -> pd.DataFrame:
    """Return the ended trials of the random arm of `space`, with `low` and `high`: what each would have scored at full
    length, at least and at most.

    A stopped trial has at least its best so far. At most it has the worst score at full length of the random arm or of
    those that were ahead of it where it stopped, the higher of both, as if training on had kept the order; `high` is
    missing where there is neither. A diverged or failed trial has chance.
    """
    trials = tables.trials
    ended = trials["state"].isin(["finished", "stopped", "diverged", "failed"])
    arm = trials[(trials["space"] == space) & (trials["origin"] == "random") & ended]
    stopped = arm["state"] == "stopped"
    full = arm["trial"].isin(stats.full_length(tables)["trial"])
    chance = float(tables.plan["metric"].get("chance") or 0.0)
    floor = arm["score"].where(full, arm["best_score"].where(stopped, chance)).fillna(chance)
    highest = np.fmax(arm.loc[full, "score"].min(), arm["trial"].map(_worst_ahead(tables, space)))
    ceiling = floor.where(~stopped, np.maximum(floor, highest))
    return arm.assign(low=floor, high=ceiling)


def _worst_ahead(tables: StudyTables, space: str) -> dict[str, float]:
    """Return for each trial of `space` that ASHA judged the worst score at full length among those that were ahead of
    it at its last rung, whoever suggested them; NaN where there is none.
    """
    whole = stats.full_length(tables).set_index("trial")["score"]
    judged = tables.decisions.drop_duplicates(["trial", "epoch"], keep="last")
    judged = judged[judged["trial"].isin(tables.trials.loc[tables.trials["space"] == space, "trial"])]
    found: dict[str, float] = {}
    for _, rung in judged.groupby("epoch"):  # a later rung takes the place of an earlier one
        ahead = rung[rung["trial"].isin(whole.index)].sort_values("score")
        worst = np.minimum.accumulate(whole[ahead["trial"]].to_numpy()[::-1])[::-1]  # of this one and all above
        place = np.searchsorted(ahead["score"], rung["score"])
        found |= {
            trial: worst[first] if first < len(worst) else np.nan
            for trial, first in zip(rung["trial"], place, strict=True)
        }
    return found


def ahead_with_few_trials(bounds: pd.DataFrame, first: str, second: str) -> list[int]:
    """Return the numbers of random trials with which `first` is surely expected ahead of `second`: bounds apart."""
    table = bounds.pivot_table(index="k", columns="space", values=["low", "high"], sort=False)
    if ("low", first) not in table or ("high", second) not in table:
        return []
    return [int(k) for k in table.index[table[("low", first)] > table[("high", second)]]]


def target_score(tables: StudyTables, share: float = 0.95) -> float:
    """Return the score that lies `share` of the way from chance to the best mean validation score of a winner's
    final runs; NaN where there are none.
    """
    chance = float(tables.plan["metric"].get("chance") or 0.0)
    return chance + share * (float(mean_curves(tables).max().max()) - chance)


def time_to_target(tables: StudyTables, target: float) -> pd.DataFrame:
    """Return when each final run of a winner first had a validation score of `target`: a row per final run.

    `space`, `final`, `seed`, `reached`, `epochs`, `seconds`: up to that epoch, its own included, or, where it is not
    reached, all that was trained: then the true time is longer (censored).
    """
    runs = stats.winning_finals(tables)
    rows = [
        {"space": run.space, "final": run.final, "seed": run.seed, **_first_time(tables, str(run.final), target)}
        for run in runs.itertuples()
    ]
    return pd.DataFrame(rows, columns=["space", "final", "seed", "reached", "epochs", "seconds"])


def _first_time(tables: StudyTables, final: str, target: float) -> dict[str, object]:
    curve = tables.final_epochs[tables.final_epochs["final"] == final].sort_values("epoch")
    hit = np.flatnonzero(curve["val_score"] >= target)
    until = curve.iloc[: hit[0] + 1] if len(hit) else curve
    epochs = int(until["epoch"].iloc[-1]) if len(until) else 0
    return {"reached": bool(len(hit)), "epochs": epochs, "seconds": float(until["seconds"].sum())}


def speed(tables: StudyTables, target: float) -> pd.DataFrame:
    """Return how fast each winner's final runs reach `target`: `space`, `n`, `reached`, `epochs`, `seconds`.

    `epochs` and `seconds` are Kaplan-Meier medians, which count a run that did not get there as later than all that
    did by then; missing where fewer than half got there.
    """
    runs = time_to_target(tables, target)
    rows = [
        {
            "space": space,
            "n": len(mine),
            "reached": int(mine["reached"].sum()),
            **{name: kaplan_meier_median(mine[name], mine["reached"]) for name in ("epochs", "seconds")},
        }
        for space, mine in runs.groupby("space", sort=False)
    ]
    return pd.DataFrame(rows, columns=["space", "n", "reached", "epochs", "seconds"])


def winner_costs(tables: StudyTables) -> pd.DataFrame:
    """Return what each winner costs: a row per space with final runs.

    `parameters`, `multiply_adds` of its network; `train_seconds`, the mean of its final runs; `images_per_second`, the
    median over their epochs; and, as in `speed`, `reached` of `n`, `epochs` and `seconds` to the target.
    """
    runs = stats.winning_finals(tables)
    if runs.empty:
        return pd.DataFrame()
    sizes = tables.trials.set_index("trial")[["parameters", "multiply_adds"]]
    means = runs.groupby("space", sort=False).agg(winner=("trial", "first"), train_seconds=("train_seconds", "mean"))
    epochs = runs[["final", "space"]].merge(tables.final_epochs, on="final")
    means["images_per_second"] = epochs.groupby("space")["images_per_second"].median()
    found = means.join(sizes, on="winner").reset_index()
    return found.merge(speed(tables, target_score(tables)), on="space", how="left")


def kaplan_meier(times: npt.ArrayLike, reached: npt.ArrayLike) -> list[tuple[float, float, bool]]:
    """Return each time at which a run got there or ended without, the share estimated to be there from then on, and
    whether one ended without.
    """
    time, event = np.asarray(times, dtype=float), np.asarray(reached, dtype=bool)
    left, steps = 1.0, []
    for moment in np.unique(time):
        now = time == moment
        left *= 1 - float((event & now).sum()) / float((time >= moment).sum())
        steps.append((float(moment), 1 - left, bool((now & ~event).any())))
    return steps


def kaplan_meier_median(times: npt.ArrayLike, reached: npt.ArrayLike) -> float:
    """Return the first time by which the Kaplan-Meier estimate has half of the runs there; NaN if none."""
    there = (moment for moment, share, _ in kaplan_meier(times, reached) if share >= 0.5 - 1e-12)
    return next(there, np.nan)
