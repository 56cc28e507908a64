"""Statistics over several data sets: interquartile mean, performance profile, critical difference.

Each asks for a table of scores with axes data sets, seeds: seeds of one data set are not independent problems, so with
one data set every function here refuses and says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis.intervals import LEVEL, RESAMPLES, Floats, Interval

FEWEST_RANKED: Final = 10  # data sets; with fewer, the ranks can hardly tell anything (Demsar 2006, section 3.2)


def _check(scores: Mapping[str, Floats], fewest: int, what: str) -> None:
    """Refuse scores that are not of enough data sets: `scores` maps a data set to its scores, (seeds,)."""
    if len(scores) < fewest:
        raise ValueError(
            f"{what} needs at least {fewest} data sets, but there are {len(scores)} ({', '.join(scores) or 'none'}): "
            "seeds of one data set are not independent problems. Use the mean with its interval over seeds."
        )


def interquartile_mean(
    scores: Mapping[str, Floats], rng: np.random.Generator, level: float = LEVEL, resamples: int = RESAMPLES
) -> Interval:
    """Return the mean of the middle half of all scores, with the percentile interval of a bootstrap that draws seeds
    within each data set (Agarwal et al. 2021, arXiv:2108.13264).

    `scores` maps a data set to its scores (seeds,), on a scale that the data sets share. Raises ValueError for fewer
    than two data sets.
    """
    _check(scores, 2, "The interquartile mean")
    drawn = [part[rng.integers(len(part), size=(resamples, len(part)))] for part in scores.values()]
    low, high = np.quantile(_middle(np.concatenate(drawn, axis=1)), [(1 - level) / 2, (1 + level) / 2])
    pooled = np.concatenate(list(scores.values()))
    return Interval(float(_middle(pooled[None])[0]), float(low), float(high), len(pooled))


def _middle(values: Floats) -> Floats:
    """Return the mean of each row (rows, n) without its lowest and highest quarter, rounded down as rliable does."""
    cut = values.shape[1] // 4
    return np.asarray(np.sort(values, axis=1)[:, cut : values.shape[1] - cut].mean(axis=1))


def performance_profile(scores: Mapping[str, Floats], thresholds: Floats) -> Floats:
    """Return, for each threshold (T,), the share of runs above it, as a mean over data sets (Agarwal et al. 2021).

    Raises ValueError for fewer than two data sets: with one it is 1 minus the distribution function of its seeds.
    """
    _check(scores, 2, "A performance profile")
    return np.asarray(np.mean([(part[:, None] > thresholds).mean(axis=0) for part in scores.values()], axis=0))


@dataclass(frozen=True)
class RankTest:
    """Mean rank of each architecture (1 is the best), Friedman's p, and by how much mean ranks must differ."""

    ranks: dict[str, float]
    p: float
    critical_difference: float
    data_sets: int


def critical_difference(scores: Mapping[str, Mapping[str, float]], level: float = LEVEL) -> RankTest:
    """Return Friedman's test and Nemenyi's critical difference (Demsar 2006, JMLR 7:1-30).

    `scores` maps a data set to the score of each architecture, one number each; ties share their rank. Raises
    ValueError for fewer than ten data sets, or where an architecture lacks a data set.
    """
    from scipy.stats import friedmanchisquare, rankdata, studentized_range  # here: a second of import

    _check({name: np.empty(0) for name in scores}, FEWEST_RANKED, "A critical difference")
    names = list(next(iter(scores.values())))
    lacking = [data for data, row in scores.items() if set(row) != set(names)]
    if lacking or len(names) < 3:
        raise ValueError(
            f"Ranks compare three or more architectures ({', '.join(names)}) on the same data sets; "
            f"{', '.join(lacking) or 'these'} do not fit. Leave out what is not complete."
        )
    table = np.array([[row[name] for name in names] for row in scores.values()])  # (data sets, architectures)
    ranks = rankdata(-table, axis=1).mean(axis=0)
    sets, count = table.shape
    same = np.ptp(table, axis=1).max() == 0
    q = float(studentized_range.ppf(level, count, np.inf)) / np.sqrt(2)
    return RankTest(
        dict(zip(names, map(float, ranks), strict=True)),
        1.0 if same else float(friedmanchisquare(*table.T).pvalue),
        q * float(np.sqrt(count * (count + 1) / (6 * sets))),
        sets,
    )
