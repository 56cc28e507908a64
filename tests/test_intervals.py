"""Intervals and verdicts against scipy, published numbers and simulation."""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats as reference

from analysis import intervals
from analysis.intervals import Interval

Floats = npt.NDArray[np.float64]


def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def interval_of(values: npt.ArrayLike, level: float = 0.95) -> Interval:
    mean = intervals.mean_of(values, generator())
    return intervals.square_and_add(mean.value, mean.n, mean.reach(level))


def test_few_seeds_have_the_t_interval_of_scipy() -> None:
    values = [0.91, 0.93, 0.94, np.nan, 0.97]
    known = np.array([0.91, 0.93, 0.94, 0.97])
    low, high = reference.t.interval(0.9, 3, known.mean(), reference.sem(known))
    found = interval_of(values, 0.9)
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((known.mean(), low, high, 4))


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.6], [0.5, 0.5, 0.5]])
def test_too_few_seeds_or_no_spread_at_all_have_no_interval(values: list[float]) -> None:
    found = interval_of(values)
    assert not found.known
    assert found.n == len(values)


def test_many_seeds_have_a_bootstrap_that_is_the_same_each_time() -> None:
    values = generator().exponential(size=25)
    first, again = interval_of(values), interval_of(values)
    assert first == again
    low, high = reference.t.interval(0.95, 24, values.mean(), reference.sem(values))
    assert first.high - first.mean > first.mean - first.low  # skewed to the right, as the data; t's is symmetric
    assert (first.low, first.high) == pytest.approx((low, high), abs=0.35 * (high - low))


def covered(draw: Callable[[int], Floats], truth: float, studies: int) -> float:
    """Share of studies whose interval holds the truth."""
    found = [interval_of(draw(study)) for study in range(studies)]
    return float(np.mean([i.low <= truth <= i.high for i in found]))


@pytest.mark.parametrize("n", [3, 5, 19])
def test_coverage_of_few_seeds(n: int) -> None:
    rng = generator()
    assert 0.93 < covered(lambda _: rng.normal(0.9, 0.01, n), 0.9, 2_000) < 0.97


@pytest.mark.parametrize("skewed", [False, True])
def test_coverage_of_many_seeds(skewed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 1_000)
    rng = generator()
    draw: Callable[[int], Floats] = partial(_skewed if skewed else _normal, rng)
    assert 0.93 < covered(draw, 1.0, 1_500) < 0.97


def _normal(rng: np.random.Generator, _study: int) -> Floats:
    return rng.normal(1.0, 0.3, 20)


def _skewed(rng: np.random.Generator, _study: int) -> Floats:
    return rng.gamma(2.0, 0.5, 20)  # skewness 1.4


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 30, 60])
def test_coverage_of_an_exponential(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 2_000)
    rng = generator()
    assert 0.93 < covered(lambda _: rng.exponential(1.0, n), 1.0, 3_000) < 0.97


def test_wilson_interval_is_that_of_scipy() -> None:
    low, high = intervals.wilson(np.array([0.0, 7.0, 10.0, 0.0]), np.array([10.0, 10.0, 10.0, 0.0]))
    for k, successes in enumerate((0, 7, 10)):
        known = reference.binomtest(successes, 10).proportion_ci(method="wilson")
        assert (low[k], high[k]) == pytest.approx((known.low, known.high))
    assert np.isnan(low[3])


@pytest.mark.parametrize("won", [0, 3, 8])
def test_clopper_pearson_is_that_of_scipy(won: int) -> None:
    known = reference.binomtest(won, 8).proportion_ci(method="exact")
    assert intervals.clopper_pearson(won, won, 8) == pytest.approx((known.low, known.high))


def test_a_tie_is_lost_at_the_low_end_and_won_at_the_high_end() -> None:
    low, high = intervals.clopper_pearson(3, 5, 8)
    assert low == pytest.approx(reference.binomtest(3, 8).proportion_ci(method="exact").low)
    assert high == pytest.approx(reference.binomtest(5, 8).proportion_ci(method="exact").high)


def test_welch_is_that_of_scipy() -> None:
    first, second = np.array([0.9, 0.92, 0.97, 0.95]), np.array([0.90, 0.85, 0.88])
    means = [intervals.mean_of(part, generator()) for part in (first, second)]
    found = intervals.welch(*means)
    known = reference.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    below, above = found.reach(0.95)
    assert (found.value - below, found.value + above) == pytest.approx((known.low, known.high))


def matched(only_first: int, only_second: int, images: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """One seed each: the first is right alone on some images, the second on others, both on the rest."""
    first, second = np.ones((1, images), dtype=bool), np.ones((1, images), dtype=bool)
    second[0, :only_first] = False
    first[0, only_first : only_first + only_second] = False
    return first, second


def test_matched_proportions_have_the_published_width() -> None:
    """R's PropCIs::diffpropci.mp(b = 40, c = 20, n = 160) prints -0.21601726 to -0.03089632."""
    error = intervals.discordance_error(*matched(40, 20, 160), paired=True)
    assert 2 * 1.959964 * error == pytest.approx(0.21601726 - 0.03089632, abs=1e-6)


@pytest.mark.parametrize("paired", [True, False])
def test_what_the_spread_over_seeds_holds_already_is_not_counted_twice(paired: bool) -> None:
    """Errors on other images with every seed: more seeds make them vanish, so the images keep hardly any."""
    first, second = generator().random((2, 8, 5_000)) < 0.9
    counted_twice = np.sqrt(2 * 0.9 * 0.1 / 8 / 5_000)
    assert intervals.discordance_error(first, second, paired) < 0.4 * counted_twice


@pytest.mark.parametrize("paired", [True, False])
def test_networks_that_never_disagree_still_have_an_error(paired: bool) -> None:
    same = np.ones((4, 360), dtype=bool)
    assert intervals.discordance_error(same, same, paired) == pytest.approx(1 / 362)


def test_an_interval_of_equal_seeds_is_that_of_the_images() -> None:
    right = np.zeros((5, 100), dtype=bool)
    right[:, :90] = True
    mean = intervals.mean_of(right.mean(axis=1), generator())
    images = intervals.effective_images(right)
    assert images == pytest.approx(100)
    found = intervals.square_and_add(mean.value, 5, mean.reach(0.95), intervals.share_reach(0.9, images))
    known = reference.binomtest(90, 100).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((known.low, known.high))
    assert intervals.effective_images(np.ones((5, 100), dtype=bool)) == 100


def test_seeds_that_err_on_other_images_count_as_more_images() -> None:
    right = generator().random((8, 5_000)) < 0.9
    assert intervals.effective_images(right) > 4 * 5_000


def test_residual_variance_is_that_of_a_two_way_table() -> None:
    table = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    fitted = table.mean(axis=0) + table.mean(axis=1, keepdims=True) - table.mean()
    by_hand = ((table - fitted) ** 2).sum() / 2 / 6  # (2 - 1) (3 - 1) degrees of freedom, 6 cells
    assert intervals.residual_variance(table) == pytest.approx(by_hand)
    assert intervals.residual_variance(table[:1]) == 0


def of(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 5)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (of(0.001, 0.03), "better"),
        (of(-0.03, -0.001), "worse"),
        (of(-0.03, 0.01), "cannot tell"),
        (of(-0.001, 0.0019), "equivalent"),
        (of(0.0001, 0.0019), "equivalent"),
        (of(0.0001, 0.0021), "better"),
        (of(-0.0001, 0.002), "cannot tell"),
        (Interval(0.5, np.nan, np.nan, 2), "cannot tell"),
    ],
)
def test_what_an_interval_says(found: Interval, verdict: str) -> None:
    assert intervals.decide(found, 0.002) == verdict


def gap_interval(values: Floats, image_error: float, level: float) -> Interval:
    mean = intervals.mean_of(values, generator())
    return intervals.square_and_add(mean.value, mean.n, mean.reach(level), intervals.normal_reach(image_error, level))


def holm_by_p(p: list[float]) -> list[bool]:
    """Holm (1979): the k-th smallest of m p values is compared with 0.05 / (m - k + 1), until the first that fails."""
    order, rejected = sorted(range(len(p)), key=p.__getitem__), [False] * len(p)
    for rank, place in enumerate(order):
        if p[place] > 0.05 / (len(p) - rank):
            break
        rejected[place] = True
    return rejected


def test_step_down_on_intervals_rejects_what_holm_rejects_by_p() -> None:
    rng, rejections = generator(), 0
    for _ in range(40):
        samples = [rng.normal(shift, 1, 6) for shift in (0, 0.8, 1.2, 1.6, 2, 3)]
        known = holm_by_p([float(reference.ttest_1samp(sample, 0).pvalue) for sample in samples])
        found = intervals.holm([partial(gap_interval, sample, 0.0) for sample in samples], margin=1e-9)
        assert [verdict != "cannot tell" for verdict, _ in found] == known
        rejections += sum(known)
    assert rejections > 80


def test_the_printed_interval_agrees_with_its_verdict() -> None:
    rng = generator()
    for _ in range(20):
        samples = [rng.normal(shift, 0.2, 5) for shift in (0, 0, 0.2, 0.5, 1)]
        pairs = [partial(gap_interval, sample, 0.02) for sample in samples]
        for interval, (verdict, level) in zip(pairs, intervals.holm(pairs, 0.45), strict=True):
            assert 0.95 <= level < 1
            assert intervals.decide(interval(level), 0.45) == verdict


def false_claims(truths: Floats, seeds: int, studies: int, margin: float, seed_sd: float) -> float:
    """Share of studies of len(truths) + 1 spaces in which any verdict is wrong; every pair is judged."""
    rng, wrong = np.random.default_rng(1), 0
    means = np.concatenate([[0.0], truths])
    for _ in range(studies):
        scores = means[:, None] + rng.normal(0, seed_sd, (len(means), seeds)) + rng.normal(0, seed_sd, seeds)
        pairs = [(a, b) for a in range(len(means)) for b in range(a)]
        verdicts = intervals.holm([partial(gap_interval, scores[a] - scores[b], 0.0) for a, b in pairs], margin)
        for (a, b), (verdict, _) in zip(pairs, verdicts, strict=True):
            gap = means[a] - means[b]
            true = {"better": gap > 0, "worse": gap < 0, "equivalent": abs(gap) < margin, "cannot tell": True}
            if not true[verdict]:
                wrong += 1
                break
    return wrong / studies


# Where mistakes come easiest: gaps of 0 (none is better), of just the margin (not equivalent), and both.
FAMILIES = {
    "all equal": (np.zeros(3), 0.01),
    "just not equivalent": (np.array([1.0, 2.0, 3.0]), 1.0),
    "mixed": (np.array([0.0, 1.0, 4.0]), 1.0),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_all_verdicts_of_a_study_hold_together_with_95_percent(family: str) -> None:
    truths, margin = FAMILIES[family]
    assert false_claims(truths, seeds=5, studies=1_500, margin=margin, seed_sd=0.3) < 0.062  # 5 % + 2 sd


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 10])
@pytest.mark.parametrize("spread", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_family_wise_error(family: str, spread: float, seeds: int) -> None:
    truths, margin = FAMILIES[family]
    assert false_claims(truths, seeds, studies=1_500, margin=margin, seed_sd=spread) < 0.062  # 5 % + 2 sd


def two_way(rng: np.random.Generator, seeds: int, images: int, logit: float, spread: float) -> npt.NDArray[np.bool_]:
    """Two networks (2, seeds, images): images differ in difficulty, to each network in its own way; so do seeds."""
    hard = rng.normal(0, 2, (1, 1, images)) + rng.normal(0, spread, (2, 1, images))
    luck = rng.normal(0, 0.2, (2, seeds, 1))
    chance = 1 / (1 + np.exp(-(logit + hard + luck + np.array([0.2, -0.2])[:, None, None])))
    return np.asarray(rng.random((2, seeds, images)) < chance)


@pytest.mark.parametrize("seeds", [3, 10])
def test_intervals_answer_for_new_seeds_and_new_images(seeds: int) -> None:
    """At least 94 % in studies of new seeds and new images; seeds alone would cover less."""
    rng, studies, images = generator(), 400, 1_000
    truth = two_way(rng, 100, 40_000, 3.0, 1.5).mean(axis=(1, 2))
    held = {"gap": 0, "score": 0, "seeds alone": 0}
    for _ in range(studies):
        right = two_way(rng, seeds, images, 3.0, 1.5)
        scores = right.mean(axis=2)
        difference = scores[0] - scores[1]
        error = intervals.discordance_error(right[0], right[1], paired=True)
        gap, alone = gap_interval(difference, error, 0.95), gap_interval(difference, 0.0, 0.95)
        mean = intervals.mean_of(scores[0], generator())
        share = intervals.share_reach(mean.value, intervals.effective_images(right[0]))
        score = intervals.square_and_add(mean.value, seeds, mean.reach(0.95), share)
        held["gap"] += gap.low <= truth[0] - truth[1] <= gap.high
        held["seeds alone"] += alone.known and alone.low <= truth[0] - truth[1] <= alone.high
        held["score"] += score.low <= truth[0] <= score.high
    assert held["gap"] / studies >= 0.94
    assert held["score"] / studies >= 0.94
    if seeds == 10:
        assert held["seeds alone"] / studies < 0.9


@pytest.mark.parametrize(
    ("gap", "deviation", "level", "known"),
    [
        (0.01, 0.01, 0.95, 9.938),
        (0.01, 0.02, 0.95, 33.367),
        (0.002, 0.0015, 0.95, 6.581),
        (0.01, 0.01, 0.99, 15.081),
    ],
)
def test_needed_seeds_are_those_of_statsmodels(gap: float, deviation: float, level: float, known: float) -> None:
    """`TTestPower().solve_power(gap / deviation, alpha=1 - level, power=0.8)` of statsmodels 0.15 gives `known`."""
    assert intervals.needed_seeds(gap, deviation, 0.0, level) == np.ceil(known)


def test_more_seeds_do_not_help_against_few_images() -> None:
    assert intervals.needed_seeds(0.01, 0.01, 0.01, 0.95) == np.inf
    images = intervals.needed_images(0.01, 0.01, 360, 0.95)
    assert images == np.ceil(360 * (1.959964 + 0.841621) ** 2)
    assert intervals.needed_seeds(0.01, 0.01, 0.01 * np.sqrt(360 / (1.2 * images)), 0.95) < 1_000


def test_needed_seeds_give_the_power_that_is_promised() -> None:
    n = int(intervals.needed_seeds(1.0, 1.0, 0.15, 0.95))
    rng = generator()
    means = rng.normal(1.0, 0.15, 2_000)[:, None] + rng.normal(0, 1.0, (2_000, n))
    found = [gap_interval(values, 0.15, 0.95).low > 0 for values in means]
    assert 0.76 < np.mean(found) < 0.86
