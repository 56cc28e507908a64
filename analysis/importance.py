"""Which hyperparameters decide who is among the best: PED-ANOVA on all trials, those that ASHA stopped included.

Watanabe, Bansal and Hutter 2023 (arXiv:2304.10255): the distribution of a hyperparameter among the best trials against
that among all. It asks only who is among the best, so a stopped trial need not have a score at full length, only one
that would not have been among the best. `docs/statistics.md` says what is estimated and when it is refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array
from scipy.special import ndtr

from analysis import stats, wording
from analysis.intervals import Floats
from analysis.tables import StudyTables, searched

GRID: Final = 50  # places on which a continuous range is counted
FEWEST_BEST: Final = 5  # trials among the best; with fewer, chance alone decides
FEWEST_TRIALS: Final = 20  # so that these five are at most a quarter of all
RESAMPLES: Final = 200  # of the bootstrap, and of the permutations
TARGETS: Final = {"best": 0.1, "half": 0.5}  # share of the trials that are among "the best"

COLUMNS: Final = ("space", "target", "epoch", "parameter", "importance", "low", "high", "null", "best", "reached", "n")


@dataclass(frozen=True)
class Standing:
    """How the trials of a space stand at one epoch: `trials`, the best first, `key` (N,), smaller is better and equal
    where they tie, and `reached`, how many have a score there.
    """

    trials: pd.DataFrame
    key: npt.NDArray[np.int64]
    reached: int

    def best(self, target: str) -> int:
        """Return how many trials are the best: that share of all, at least `FEWEST_BEST`."""
        return max(FEWEST_BEST, int(np.ceil(TARGETS[target] * len(self.key))))

    def refusal(self, target: str) -> str:
        """Return why nothing can be said about the best, or nothing."""
        ended = wording.count(len(self.key), "ended trial")
        if len(self.key) < FEWEST_TRIALS:
            return f"{ended}; it needs {FEWEST_TRIALS}, so that {FEWEST_BEST} of them can be called the best"
        if self.reached < self.best(target):
            return (
                f"{self.reached} of {ended} got so far, fewer than the best {self.best(target)}: stopping hid the rest"
            )
        return ""


def standing(tables: StudyTables, space: str, epoch: int) -> Standing:
    """Return how the ended trials of `space` stand at `epoch`.

    Those with a score there come first, by it. Below them those that ASHA stopped, who came furthest first, then by
    score; last who diverged or failed. Trials that were cut off before are left out: nobody knows where they stand.
    """
    trials = tables.trials[tables.trials["space"] == space]
    at = tables.epochs.loc[tables.epochs["epoch"] == epoch].set_index("trial")["val_score"]
    there = trials["trial"].map(at)
    lost = trials["state"].isin(["diverged", "failed"])
    known = there.notna() | lost | (trials["state"] == "stopped")
    far = np.where(there.notna(), np.inf, np.where(lost, -1.0, trials["epochs_trained"]))
    score = there.fillna(trials["score"]).mask(lost & there.isna()).fillna(-np.inf)
    table = trials.assign(_far=far, _score=score)[known].sort_values(["_far", "_score"], ascending=False, kind="stable")
    ordered = table[["_far", "_score"]].to_numpy()
    changes = (ordered[1:] != ordered[:-1]).any(axis=1)
    key = np.concatenate([np.zeros(min(1, len(ordered)), dtype=np.int64), np.cumsum(changes)])
    return Standing(table.drop(columns=["_far", "_score"]), key, int(there.notna().sum()))


def epochs_compared(tables: StudyTables) -> list[int]:
    """Return the epochs at which trials are compared: the rungs, and full length."""
    return [*(rung for rung in tables.plan["rungs"] if rung < tables.plan["max_epochs"]), tables.plan["max_epochs"]]


@lru_cache(maxsize=1)  # a report asks several times
def importances(tables: StudyTables) -> pd.DataFrame:
    """Return `COLUMNS`: a row per space, target, epoch and hyperparameter.

    `importance` is the share of the variance of being among the best that the hyperparameter explains on its own,
    `low` and `high` its 95 % interval over the trials, `null` the 95 % quantile where chance alone decides who is among
    the best. `best` of `n` trials are the best, `reached` have a score at that epoch. The target `best` is asked at
    every epoch compared, `half` at the last that half of the trials reached. Where `refusals` has a reason there are no
    rows.
    """
    parts = [part for space in tables.plan["spaces"] for part in _of_space(tables, space)]
    return pd.DataFrame([row for part in parts for row in part], columns=list(COLUMNS))


def _of_space(tables: StudyTables, space: str) -> Iterator[list[dict[str, Any]]]:
    rankings = {epoch: standing(tables, space, epoch) for epoch in epochs_compared(tables)}
    for epoch, ranking in rankings.items():
        if not ranking.refusal("best"):
            yield _rows(tables, space, "best", epoch, ranking)
    whole = [epoch for epoch, ranking in rankings.items() if not ranking.refusal("half")]
    if whole:
        yield _rows(tables, space, "half", whole[-1], rankings[whole[-1]])


def refusals(tables: StudyTables) -> dict[str, str]:
    """Return why there is no importance at full length, for each space without one."""
    last = tables.plan["max_epochs"]
    found = {space: standing(tables, space, last).refusal("best") for space in tables.plan["spaces"]}
    return {space: reason for space, reason in found.items() if reason}


def _rows(tables: StudyTables, space: str, target: str, epoch: int, ranking: Standing) -> list[dict[str, Any]]:
    best, n = ranking.best(target), len(ranking.key)
    weights = resamples(n, stats.generator())
    among = among_best(ranking.key, weights, best)
    chance = stats.generator().permuted(np.tile(among[0], (RESAMPLES, 1)), axis=1)
    drawn = [np.ascontiguousarray(part.T) for part in (among, weights, chance)]  # (N, B), as sparse counting wants it
    rows = []
    for parameter in searched(tables.plan, space):
        places = _places(parameter, ranking)
        if places is None:
            continue
        kind = parameter["type"] == "categorical"
        top, every, by_chance = ((places.T @ part).T for part in drawn)
        found = explained(top, every, among.sum(axis=1) / n, n, kind, one_width=True)
        null = explained(by_chance, every[:1], chance.sum(axis=1) / n, n, kind)
        low, high = np.quantile(found[1:], (0.025, 0.975))
        rows.append(
            {
                **{"space": space, "target": target, "epoch": epoch, "parameter": parameter["name"]},
                **{
                    "importance": min(1.0, found[0]),
                    "low": min(low, found[0], 1.0),
                    "high": min(1.0, max(high, found[0])),
                },
                **{"null": float(np.quantile(null, 0.95)), "best": best, "reached": ranking.reached, "n": n},
            }
        )
    return rows


def _places(parameter: Mapping[str, Any], ranking: Standing) -> csr_array | None:
    """Return in which cell each trial lies, (N, cells), a row of zeros where the hyperparameter does not apply; None
    where it has a single value.
    """
    cells, size = grid_cells(parameter, ranking.trials[parameter["name"]])
    there = np.flatnonzero(cells >= 0)
    ones = np.ones(len(there), dtype=np.float32)
    return csr_array((ones, (there, cells[there])), shape=(len(cells), size)) if size > 1 else None


def resamples(n: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return how often each of `n` trials is drawn, (1 + RESAMPLES, n): once each, then as n draws with replacement."""
    drawn = rng.integers(n, size=(RESAMPLES, n)) + n * np.arange(RESAMPLES)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * n).reshape(RESAMPLES, n)
    return np.concatenate([np.ones((1, n)), counts]).astype(np.float32)


def among_best(key: npt.NDArray[np.int64], weights: npt.NDArray[np.float32], best: int) -> npt.NDArray[np.float32]:
    """Return how much of each of `weights` (B, N) is among the first `best` of its row; those that tie for the last
    places share them.
    """
    groups = np.add.reduceat(weights, np.flatnonzero(np.diff(key, prepend=-1)), axis=1)
    taken = (best - (groups.cumsum(axis=1) - groups)).clip(0, groups)
    share = np.divide(taken, groups, out=np.zeros_like(groups), where=groups > 0)
    return np.asarray(weights * share[:, key], dtype=np.float32)


def grid_cells(parameter: Mapping[str, Any], values: "pd.Series[Any]") -> tuple[npt.NDArray[np.int64], int]:
    """Return the cell of the grid in which each value lies, -1 where the hyperparameter does not apply, and the number
    of cells: the choices, the whole numbers, or at most `GRID` places of a range (a logarithmic one in its logarithm).
    """
    if parameter["type"] == "categorical":
        choices = {choice: cell for cell, choice in enumerate(parameter["choices"])}
        return values.map(choices).fillna(-1).to_numpy(dtype=np.int64), len(choices)
    low, high, size = parameter["low"], parameter["high"], GRID
    if low == high:
        return np.zeros(len(values), dtype=np.int64), 1
    if parameter["type"] == "int":
        width = high - low + 1
        size = min(GRID, int(np.ceil(np.log2(width))) + 1 if parameter["log"] else width)
    numbers = values.to_numpy(dtype=float)
    if parameter["log"]:
        low, high, numbers = np.log(low), np.log(high), np.log(numbers)
    cells = np.ceil((numbers - low) / (high - low) * (size - 1) - 0.5)
    return np.where(np.isnan(cells), -1, cells.clip(0, size - 1)).astype(np.int64), size


def explained(
    best: npt.NDArray[Any],
    every: npt.NDArray[Any],
    share: npt.NDArray[Any],
    n: int,
    categorical: bool,
    one_width: bool = False,
) -> Floats:
    """Return the share of the variance of being among the best that one hyperparameter explains on its own, (B,).

    `best` (B, cells) and `every` (B or 1, cells) count the best and all trials in each cell, `share` (B,) is that of
    the best in all `n` trials. Where the hyperparameter does not apply to all, those to which it does are compared, and
    weigh as in conditional PED-ANOVA (arXiv:2601.20800). PED-ANOVA's own unit is this times 1 / share - 1; Optuna's,
    times share^2, too. `one_width`: the kernels of the first row serve all, since a trial drawn twice is no reason for
    narrower ones.
    """
    alike, known = best.sum(axis=1), every.sum(axis=1)
    usable = (alike > 0) & (known > 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        densities = [_of_choices(part) if categorical else _of_range(part, one_width) for part in (best, every)]
        top, local = (density + 1e-12 for density in densities)
        divergence = (local * (top / local - 1) ** 2).sum(axis=1)
        weight = (alike / (share * n)) ** 2 / (known / n)
        found = weight * divergence * share / (1 - share)
    return np.asarray(np.where(usable, found, 0.0), dtype=float)


def _of_choices(counts: npt.NDArray[Any]) -> Floats:
    """Return the smoothed shares of the choices, (B, choices), as Optuna's Parzen estimator has them."""
    n, choices = counts.sum(axis=1, keepdims=True), counts.shape[1]
    prior = 1 / ((counts > 0).sum(axis=1, keepdims=True) + 1)
    return np.asarray(((counts + n * prior) / (1 + choices * prior) + 1 / choices) / (n + 1))


def _of_range(counts: npt.NDArray[Any], one_width: bool) -> Floats:
    """Return the density on the cells of a range, (B, cells): a normal kernel on each trial, cut at the ends, with the
    width of Scott's rule, and one wide kernel over all, as Optuna's Parzen estimator has it.
    """
    counts = counts.astype(float)
    n, cells = counts.sum(axis=1), np.arange(counts.shape[1], dtype=float)
    mean = counts @ cells / n
    deviation = np.sqrt((counts * (cells - mean[:, None]) ** 2).sum(axis=1) / np.maximum(1, n - 1))
    upto = counts.cumsum(axis=1)
    low = (upto >= np.maximum(n // 4, 1)[:, None]).argmax(axis=1)
    high = (upto > (n * 3 // 4)[:, None]).argmax(axis=1)
    width = np.maximum(1.059 * np.minimum((high - low) / 1.34, deviation) * n**-0.2, 0.5 / 1.64)
    width = width[:1] if one_width and n[0] else width
    wide = np.diff(ndtr((np.append(cells, len(cells)) - 0.5 - cells[-1] / 2) / len(cells)))
    wide /= wide.sum()
    return np.asarray((np.matmul(counts[:, None], _kernels(len(cells), width))[:, 0] + wide) / (n[:, None] + 1))


def _kernels(size: int, widths: npt.NDArray[Any]) -> Floats:
    """Return the share of each cell in a normal distribution around each cell, cut at both ends of the range, (widths,
    means, cells).
    """
    cells = np.arange(size)
    below = ndtr((np.arange(-size, size) + 0.5) / widths[:, None])  # at all distances of an edge from a mean
    inside = below[:, (2 * size - 1) - cells] - below[:, (size - 1) - cells]
    return np.asarray(np.diff(below, axis=1)[:, (size - 1) + cells - cells[:, None]] / inside[..., None])


def main_epoch(found: pd.DataFrame) -> int:
    """Return the last epoch at which `found`, rows of `importances` of one space, knows the best."""
    return int(found.loc[found["target"] == "best", "epoch"].max())


def deciding(tables: StudyTables, space: str) -> tuple[int, list[str]]:
    """Return the last epoch at which the best of `space` are known, and its hyperparameters, the most important first.

    The numbers of `importances`, without resampling; 0 and none where they are refused.
    """
    for epoch in reversed(epochs_compared(tables)):
        ranking = standing(tables, space, epoch)
        if ranking.refusal("best"):
            continue
        once = np.ones((1, len(ranking.key)), dtype=np.float32)
        among, found = among_best(ranking.key, once, ranking.best("best")), {}
        for parameter in searched(tables.plan, space):
            places = _places(parameter, ranking)
            share = among.sum(axis=1) / len(ranking.key)
            kind = parameter["type"] == "categorical"
            if places is not None:
                found[parameter["name"]] = explained(among @ places, once @ places, share, len(ranking.key), kind)[0]
        return epoch, sorted(found, key=lambda name: -found[name])
    return 0, []


def above_chance(tables: StudyTables, space: str) -> tuple[int, list[str]]:
    """Return as `deciding` does, but only the hyperparameters that stand above chance by the rows of `importances`."""
    found = importances(tables)
    best = found[(found["space"] == space) & (found["target"] == "best")]
    last = best[best["epoch"] == best["epoch"].max()].sort_values("importance", ascending=False, kind="stable")
    told = last[last["importance"] > last["null"]]
    return int(last["epoch"].max()) if len(last) else 0, told["parameter"].to_list()
