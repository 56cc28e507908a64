"""Intervals of means over seeds and over test images, and the verdicts that are read off them: plain numbers in,
plain numbers out.

An interval of a test score answers for two samples, the seeds and the test images. Each has its own reach around the
mean, and the two are put together by square-and-add (Zou and Donner 2008, Statistics in Medicine
27:1693-1702). So seeds that agree
to the last image do not make an interval of width zero: the images still are a sample. The seeds' part is Student's t
from 3 seeds on and the bootstrap-t (Efron 1982) from 20 on; below 3 there is no interval, only points.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, nctdtr, ndtri, stdtrit  # scipy.stats would take a second to import for the same

LEVEL: Final = 0.95
SMALLEST_SAMPLE: Final = 3  # below it a t interval is too wide to be of use and too easily misread: points only
BOOTSTRAP_SAMPLE: Final = 20  # below it the bootstrap of a mean covers too rarely
RESAMPLES: Final = 20_000
POWER: Final = 0.8
MOST_SEEDS: Final = 1_000  # nobody trains more

Floats = npt.NDArray[np.float64]
Reach = tuple[float, float]  # how far an interval goes below and above its mean
Verdict = Literal["better", "worse", "equivalent", "cannot tell"]


@dataclass(frozen=True)
class Interval:
    """A mean with its interval; `low` and `high` are NaN where there is none: `n` is too small, or nothing varies."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def known(self) -> bool:
        """Whether there is an interval at all."""
        return bool(np.isfinite(self.low))


@dataclass(frozen=True)
class Mean:
    """A mean over `n` seeds, its standard error and degrees of freedom; `reach` tells its interval at any level.

    `studentized` holds the sorted t values of the resamples, (RESAMPLES,), or nothing where Student's t is used.
    """

    value: float
    error: float
    freedom: float
    n: int
    studentized: Floats

    def reach(self, level: float) -> Reach:
        """Return how far the interval goes below and above the mean; NaN where `n` is too small for one."""
        if self.n < SMALLEST_SAMPLE:
            return np.nan, np.nan
        if len(self.studentized):
            low, high = np.quantile(self.studentized, [(1 - level) / 2, (1 + level) / 2])
            return float(high * self.error), float(-low * self.error)
        half = float(stdtrit(self.freedom, (1 + level) / 2) * self.error) if self.error else 0.0
        return half, half


def mean_of(values: npt.ArrayLike, rng: np.random.Generator) -> Mean:
    """Return the mean of `values` (n,), missing ones left out; `rng` draws the resamples where n >= 20."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    n = len(known)
    value = float(known.mean()) if n else np.nan
    error = float(known.std(ddof=1) / np.sqrt(n)) if n > 1 and np.ptp(known) else 0.0
    resampled = n >= BOOTSTRAP_SAMPLE and error > 0
    return Mean(value, error, n - 1, n, _studentized(known, rng) if resampled else np.empty(0))


def _studentized(values: Floats, rng: np.random.Generator) -> Floats:
    """Return the t values of resamples of `values`, sorted; the few resamples without spread have none."""
    drawn = values[rng.integers(len(values), size=(RESAMPLES, len(values)))]
    error = drawn.std(axis=1, ddof=1) / np.sqrt(len(values))
    shift = drawn.mean(axis=1) - values.mean()
    spread = error > 1e-12 * np.ptp(values)
    return np.sort(shift[spread] / error[spread])


def welch(first: Mean, second: Mean) -> Mean:
    """Return the difference of two means over seeds that are not shared (Welch 1947)."""
    parts = np.array([first.error**2, second.error**2])
    total = float(parts.sum())
    freedom = total**2 / float((parts**2 / np.array([first.freedom, second.freedom])).sum()) if total else np.inf
    return Mean(first.value - second.value, float(np.sqrt(total)), freedom, min(first.n, second.n), np.empty(0))


def normal_reach(error: float, level: float) -> Reach:
    """Return the reach of the normal interval of a mean with this standard error."""
    half = float(ndtri((1 + level) / 2)) * error
    return half, half


def square_and_add(value: float, n: int, *reaches: Reach) -> Interval:
    """Return the interval of a mean with several independent sources of noise; NaN where nothing varies at all."""
    below, above = (float(np.sqrt(sum(reach[side] ** 2 for reach in reaches))) for side in (0, 1))
    if not below + above > 0:
        return Interval(value, np.nan, np.nan, n)
    return Interval(value, value - below, value + above, n)


def wilson(successes: Floats, n: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return the ends of Wilson's interval of a proportion, element by element; NaN where `n` is 0."""
    z2 = float(ndtri((1 + level) / 2)) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        share = successes / n
        centre = (share + z2 / (2 * n)) / (1 + z2 / n)
        half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def residual_variance(seen: npt.NDArray[Any]) -> float:
    """Return the part of a mean's variance that comes from seeds and images changing together; 0 for one seed.

    `seen` (seeds, images) is what each seed makes of each image. The spread over seeds holds this part already, and so
    does that over images: taken away from the latter, it counts once (two-way analysis of variance).
    """
    seeds, images = seen.shape
    if seeds < 2:
        return 0.0
    rest = seen - seen.mean(axis=0) - seen.mean(axis=1, keepdims=True) + seen.mean()
    return float((rest**2).sum() / ((seeds - 1) * (images - 1)) / (seeds * images))


def discordance_error(first: npt.NDArray[Any], second: npt.NDArray[Any], paired: bool) -> float:
    """Return the standard error, over test images, of the gap between two networks that see the same images.

    `first` and `second` (seeds, images) say who is right where. It is that of matched proportions on means over seeds,
    with the pseudo-images of Agresti and Min (2005, Statistics in Medicine 24:729-740), so it is above 0 where the two
    never disagree, without what the seeds' spread holds already.
    """
    gap = first.mean(axis=0) - second.mean(axis=0)
    count = len(gap) + 2
    square = (float((gap**2).sum()) + 1) / count
    whole = (square - (float(gap.sum()) / count) ** 2) / count
    if paired:
        rest = residual_variance(first.astype(float) - second)
    else:
        rest = residual_variance(first.astype(float)) + residual_variance(second.astype(float))
    return float(np.sqrt(max(whole - rest, 1 / count**2)))


def effective_images(right: npt.NDArray[Any]) -> float:
    """Return how many images, seen by one seed, tell as much as these, (seeds, images): at most seeds x images.

    The variance of a share over that of its part that all seeds have in common, as for samples in clusters.
    """
    seeds, images = right.shape
    share = float(right.mean())
    common = float(right.mean(axis=0).var()) / images - residual_variance(right.astype(float))
    one = share * (1 - share)
    return float(images * seeds) if common * images * seeds < one else one / common if one else float(images)


def share_reach(share: float, images: float, level: float = LEVEL) -> Reach:
    """Return the reach of Wilson's interval of a share of `images` images."""
    low, high = wilson(np.array([share * images]), np.array([images], dtype=float), level)
    return max(0.0, share - float(low[0])), max(0.0, float(high[0]) - share)


def clopper_pearson(low: float, high: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the ends of the exact interval of a proportion of which `low` to `high` of `n` are known to count."""
    tail = (1 - level) / 2
    bottom = float(betaincinv(low, n - low + 1, tail)) if low > 0 else 0.0
    top = float(betaincinv(high + 1, n - high, 1 - tail)) if high < n else 1.0
    return bottom, top


def decide(found: Interval, margin: float) -> Verdict:
    """Return what an interval of a gap says: all of it within `margin` of 0 is equivalent, all on one side decides."""
    if not found.known:
        return "cannot tell"
    if -margin < found.low and found.high < margin:
        return "equivalent"
    if found.low > 0:
        return "better"
    return "worse" if found.high < 0 else "cannot tell"


def holm(
    intervals: Sequence[Callable[[float], Interval]], margin: float, level: float = LEVEL
) -> list[tuple[Verdict, float]]:
    """Return the verdict of each pair and the level at which it was judged; together they hold with `level`.

    Holm's step-down (1979) on intervals: with m pairs still open, each is judged by its interval at the level
    1 - (1 - level) / m; those that decide are closed, and the rest is judged again, until none decides. A difference
    or an equivalence that is wrong needs an interval that misses the truth.
    """
    judged: list[tuple[Verdict, float]] = [("cannot tell", level)] * len(intervals)
    still = list(range(len(intervals)))
    while still:
        strict = 1 - (1 - level) / len(still)
        for pair in still:
            judged[pair] = decide(intervals[pair](strict), margin), strict
        left = [pair for pair in still if judged[pair][0] == "cannot tell"]
        if len(left) == len(still):
            break
        still = left
    return judged


def needed_seeds(gap: float, deviation: float, image_error: float, level: float) -> float:
    """Return the seeds with which a true `gap` is told from 0 in 80 % of studies; inf where 1,000 are too few.

    `deviation` is the standard deviation of the differences over seeds, `image_error` what more seeds do not change.
    """
    n = np.arange(SMALLEST_SAMPLE, MOST_SEEDS + 1, dtype=float)
    enough = np.flatnonzero(power(gap, n, deviation, image_error, level) >= POWER)
    return float(n[enough[0]]) if len(enough) else np.inf


def power(gap: float, n: Floats, deviation: float, image_error: float, level: float) -> Floats:
    """Return the share of studies with `n` seeds in which a true `gap` is told from 0, element by element.

    That of the t test (noncentral t); with an image error, at Satterthwaite's degrees of freedom.
    """
    seeds = deviation**2 / n
    error = np.sqrt(seeds + image_error**2)
    half = np.sqrt(stdtrit(n - 1, (1 + level) / 2) ** 2 * seeds + (ndtri((1 + level) / 2) * image_error) ** 2)
    if not deviation:
        return np.asarray(gap > half, dtype=float)
    missed = nctdtr((n - 1) * (error**2 / seeds) ** 2, abs(gap) / error, half / error)
    # Here and there, where the gap is many errors wide, scipy 1.17 gives NaN.
    return np.asarray(np.where(np.isnan(missed), abs(gap) > half, 1 - missed))


def detectable_gap(n: int, deviation: float, image_error: float, level: float) -> float:
    """Return the smallest true gap that is told from 0 in 80 % of studies with `n` seeds; NaN below 3 seeds."""
    if n < SMALLEST_SAMPLE:
        return np.nan
    low, high, seeds = 0.0, 1.0, np.array([float(n)])
    for _ in range(50):
        middle = (low + high) / 2
        enough = power(middle, seeds, deviation, image_error, level)[0] >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return high


def needed_images(gap: float, image_error: float, images: int, level: float) -> int:
    """Return the test images with which a true `gap` is told from 0 in 80 % of studies of very many seeds."""
    reach = float(ndtri((1 + level) / 2) + ndtri(POWER)) * image_error
    return int(np.ceil(images * (reach / gap) ** 2))
