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
