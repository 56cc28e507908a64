"""Statistics over several data sets against scipy, Demsar's table and the formulas written out."""

import numpy as np
import pytest
from scipy import stats as reference

from analysis import several


def grid(sets: int, seeds: int = 7) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {f"data{number}": rng.normal(number / 10, 0.05, seeds) for number in range(sets)}


def test_interquartile_mean_is_the_trimmed_mean_of_scipy() -> None:
    scores = grid(3)
    found = several.interquartile_mean(scores, np.random.default_rng(0))
    assert found.mean == pytest.approx(reference.trim_mean(np.concatenate(list(scores.values())), 0.25))
    assert found.n == 21
    assert found == several.interquartile_mean(scores, np.random.default_rng(0))
    rng = np.random.default_rng(5)
    by_hand = [
        reference.trim_mean(np.concatenate([rng.choice(part, len(part)) for part in scores.values()]), 0.25)
        for _ in range(800)
    ]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(by_hand, [0.025, 0.975])), abs=0.008)


# Six runs on each of four data sets, and what rliable 1.2.0 (Agarwal et al. 2021, their own package) says of them.
FIRST = {
    "a": np.array([0.85, 0.95, 0.87, 0.96, 0.66, 0.82]),
    "b": np.array([0.79, 0.71, 0.87, 0.78, 0.97, 0.81]),
    "c": np.array([0.73, 0.62, 0.82, 0.91, 0.73, 0.78]),
    "d": np.array([0.83, 0.69, 0.69, 0.92, 0.60, 0.81]),
}
RLIABLE_MEAN, RLIABLE_LOW, RLIABLE_HIGH = 0.8016666666666666, 0.755, 0.84583333  # 20,000 resamples
RLIABLE_PROFILE = {0.5: 1.0, 0.7: 0.79166667, 0.8: 0.54166667, 0.9: 0.20833333}


def test_interquartile_mean_and_profile_are_those_of_rliable() -> None:
    found = several.interquartile_mean(FIRST, np.random.default_rng(0))
    assert found.mean == pytest.approx(RLIABLE_MEAN)
    assert (found.low, found.high) == pytest.approx((RLIABLE_LOW, RLIABLE_HIGH), abs=0.003)
    profile = several.performance_profile(FIRST, np.array(list(RLIABLE_PROFILE)))
    assert profile == pytest.approx(list(RLIABLE_PROFILE.values()))
    by_hand = [np.mean([score > t for part in FIRST.values() for score in part]) for t in RLIABLE_PROFILE]
    assert profile == pytest.approx(by_hand)


def test_performance_profile_is_the_share_above() -> None:
    scores = {"a": np.array([0.1, 0.5]), "b": np.array([0.5, 0.6, 0.9])}
    found = several.performance_profile(scores, np.array([0.0, 0.5, 0.7]))
    assert found == pytest.approx([1.0, (0 + 2 / 3) / 2, (0 + 1 / 3) / 2])


@pytest.mark.parametrize(("architectures", "q"), [(3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_difference_has_the_q_of_demsars_table(architectures: int, q: float) -> None:
    rng = np.random.default_rng(2)
    scores = {f"d{n}": {f"m{k}": float(rng.normal(k, 1)) for k in range(architectures)} for n in range(12)}
    found = several.critical_difference(scores)
    width = np.sqrt(architectures * (architectures + 1) / (6 * 12))
    assert found.critical_difference == pytest.approx(q * width, rel=5e-4)
    table = np.array([list(row.values()) for row in scores.values()])
    assert found.p == pytest.approx(reference.friedmanchisquare(*table.T).pvalue)
    ranks = 1 + (table[:, None, :] > table[:, :, None]).sum(axis=2).mean(axis=0)  # how many are better, no ties
    assert list(found.ranks.values()) == pytest.approx(list(ranks))
    assert found.data_sets == 12


def test_one_data_set_is_refused_with_the_reason() -> None:
    one = grid(1)
    with pytest.raises(ValueError, match=r"needs at least 2 data sets, but there are 1 \(data0\).*not independent"):
        several.interquartile_mean(one, np.random.default_rng(0))
    with pytest.raises(ValueError, match="performance profile"):
        several.performance_profile(one, np.array([0.5]))
    rows = {f"d{n}": {"a": 0.1, "b": 0.2, "c": 0.3} for n in range(9)}
    with pytest.raises(ValueError, match="needs at least 10"):
        several.critical_difference(rows)
    with pytest.raises(ValueError, match="d9 do not fit"):
        several.critical_difference({**rows, "d9": {"a": 0.1, "b": 0.2}})
    with pytest.raises(ValueError, match="three or more"):
        several.critical_difference({f"d{n}": {"a": 0.1, "b": 0.2} for n in range(10)})
