"""What another budget would have said: by hand, by enumeration, by statsmodels' numbers."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis import budget
from analysis.tables import StudyTables
from tests.sample_run import MAX_EPOCHS, SampleRun


def curves(first: list[float], second: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"first": first, "second": second}, index=range(1, len(first) + 1))


@pytest.mark.parametrize(
    ("first", "second", "since", "crossings"),
    [
        ([0.2, 0.3, 0.4], [0.1, 0.2, 0.3], 1, []),
        ([0.2, 0.3, 0.4], [0.3, 0.2, 0.3], 2, [2]),
        ([0.4, 0.3, 0.4], [0.3, 0.3, 0.3], 1, []),
        ([0.1, 0.4, 0.3, 0.5], [0.2, 0.2, 0.4, 0.4], 4, [2, 3, 4]),
        ([0.4, 0.2], [0.3, 0.3], np.nan, [2]),
        ([0.3, 0.3], [0.3, 0.3], np.nan, []),
    ],
)
def test_who_is_ahead_from_when(first: list[float], second: list[float], since: float, crossings: list[int]) -> None:
    found = budget.lead(curves(first, second), "first", "second")
    assert found[0] == pytest.approx(since, nan_ok=True)
    assert found[1] == crossings
    assert budget.lead(curves(first, second), "first", "unknown")[1] == []


def test_curves_are_means_only_where_every_seed_is(tmp_path: Path) -> None:
    tables = analysis.read(SampleRun(trials=2).write(tmp_path))
    rows = tables.final_epochs
    first = str(tables.final["final"].iloc[0])
    cut = rows[(rows["final"] != first) | (rows["epoch"] <= 5)]
    found = budget.mean_curves(replace(tables, final_epochs=cut))
    assert found["resnet"].dropna().index.max() == 5
    assert found["densenet"].dropna().index.max() == MAX_EPOCHS
    mine = rows.merge(tables.final[["final", "space"]]).query("space == 'resnet' and epoch == 2")
    assert found["resnet"][2] == pytest.approx(mine["val_score"].mean())


def test_expected_best_is_that_of_all_draws() -> None:
    scores = np.array([0.3, 0.9, 0.5, 0.5])
    known = [np.mean([max(drawn) for drawn in product(scores, repeat=k)]) for k in (1, 2, 3)]
    assert budget.expected_best(scores, np.array([1, 2, 3])) == pytest.approx(known)


def with_random_arm(folder: Path) -> StudyTables:
    """Five random trials between the reference and one of TPE's; at full length two of them, 9 of 9 epochs. Where the
    fourth trial was stopped, all others at full length were ahead of it.
    """
    tables = analysis.read(SampleRun(spaces=("resnet",), trials=7, final=False, accidents=False).write(folder))
    trials = tables.trials
    trials["origin"] = ["reference", *["random"] * 5, "tpe"]
    trials["state"] = ["finished", "finished", "finished", "stopped", "diverged", "failed", "finished"]
    trials["epochs_trained"] = [9, 9, 9, 3, 2, 0, 9]
    trials["score"] = [0.99, 0.7, 0.9, 0.5, np.nan, np.nan, 0.99]
    trials["best_score"] = [0.99, 0.7, 0.9, 0.6, 0.3, np.nan, 0.99]
    return replace(tables, decisions=judged(tables, [0.6, 0.6, 0.6, 0.5, np.nan, np.nan, 0.6]))


def judged(tables: StudyTables, scores: list[float]) -> pd.DataFrame:
    """Decisions at epochs 1, all alike, and 3, on the trials with a score there."""
    table = pd.DataFrame({"trial": tables.trials["trial"], "epoch": 3, "score": scores}).dropna()
    return pd.concat([table.assign(epoch=1, score=0.1), table], ignore_index=True)


def test_best_of_k_bounds_what_stopping_hid(tmp_path: Path) -> None:
    found = budget.best_of_k(with_random_arm(tmp_path))
    assert found["k"].to_list() == [1, 2]  # half of the 5 random ones
    low, high = [0.7, 0.9, 0.6, 0.1, 0.1], [0.7, 0.9, 0.7, 0.1, 0.1]
    assert found["low"].to_list() == pytest.approx([np.mean(low), np.mean([max(a) for a in product(low, repeat=2)])])
    assert found["high"].to_list() == pytest.approx([np.mean(high), np.mean([max(a) for a in product(high, repeat=2)])])


@pytest.mark.parametrize(
    ("at_the_rung", "most"),
    [
        ([0.6, 0.6, 0.6, 0.5, np.nan, np.nan, 0.6], 0.7),  # all were ahead: the worst of them, and of the random ones
        ([0.6, 0.4, 0.6, 0.5, np.nan, np.nan, 0.4], 0.9),  # the worst at the end was behind it
        ([0.5, 0.4, 0.4, 0.5, np.nan, np.nan, 0.4], 0.99),  # only the reference was ahead, by coming first
        ([0.4, 0.4, 0.4, 0.5, np.nan, np.nan, 0.4], 0.7),  # none was: the worst of the random ones
    ],
)
def test_a_stopped_trial_has_at_most_what_those_ahead_of_it_came_to(
    tmp_path: Path, at_the_rung: list[float], most: float
) -> None:
    tables = with_random_arm(tmp_path)
    found = budget.random_arm(replace(tables, decisions=judged(tables, at_the_rung)), "resnet")
    assert found["high"].to_list() == pytest.approx([0.7, 0.9, most, 0.1, 0.1])


def test_without_a_random_trial_at_full_length_those_ahead_are_the_bound(tmp_path: Path) -> None:
    tables = with_random_arm(tmp_path)
    tables.trials.loc[1:2, "state"] = "stopped"
    assert budget.random_arm(tables, "resnet")["high"].to_list() == pytest.approx([0.99, 0.99, 0.99, 0.1, 0.1])
    behind = replace(tables, decisions=judged(tables, [0.4, 0.7, 0.6, 0.5, np.nan, np.nan, 0.4]))
    assert budget.random_arm(behind, "resnet")["high"].isna().to_list() == [True, True, True, False, False]
    assert budget.best_of_k(behind)["high"].isna().all()


def test_a_trial_that_was_taken_up_is_compared_where_it_was_stopped_last(tmp_path: Path) -> None:
    tables = with_random_arm(tmp_path)
    early = judged(tables, [0.6, 0.4, 0.6, 0.5, np.nan, np.nan, 0.4])
    later = early[early["epoch"] == 3].assign(epoch=6, score=[0.8, 0.8, 0.8, 0.7, 0.6])
    found = budget.random_arm(replace(tables, decisions=pd.concat([later, early])), "resnet")  # at the first rung: 0.9
    assert found["high"].iloc[2] == pytest.approx(0.7)


def test_few_trials_decide_only_where_the_bounds_are_apart() -> None:
    rows = [("a", 1, 0.5, 0.6), ("a", 2, 0.7, 0.9), ("b", 1, 0.3, 0.4), ("b", 2, 0.6, 0.8), ("b", 3, 0.7, 0.8)]
    bounds = pd.DataFrame(rows, columns=["space", "k", "low", "high"])
    assert budget.ahead_with_few_trials(bounds, "a", "b") == [1]
    assert budget.ahead_with_few_trials(bounds, "b", "a") == []
    assert budget.ahead_with_few_trials(bounds, "a", "c") == []


def test_time_to_target_counts_who_does_not_get_there(tmp_path: Path) -> None:
    tables = analysis.read(SampleRun(spaces=("resnet",), trials=2, seeds=3).write(tmp_path))
    steps = {"seed1": [0.1, 0.5, 0.8], "seed2": [0.1, 0.2, 0.3], "seed3": [0.9, 0.2, 0.3]}
    epochs = tables.final_epochs[tables.final_epochs["epoch"] <= 3].copy()
    for seed, scores in steps.items():
        epochs.loc[epochs["final"].str.endswith(seed), ["val_score", "seconds"]] = [[s, 2.0] for s in scores]
    tables = replace(tables, final_epochs=epochs)
    runs = budget.time_to_target(tables, 0.5)
    assert runs[["reached", "epochs", "seconds"]].to_numpy().tolist() == [
        [True, 2, 4.0],
        [False, 3, 6.0],
        [True, 1, 2.0],
    ]
    assert budget.speed(tables, 0.5).iloc[0].to_list() == ["resnet", 3, 2, 2.0, 4.0]
    nobody = budget.speed(tables, 0.95).iloc[0]
    assert nobody["reached"] == 0
    assert nobody[["epochs", "seconds"]].isna().all()
    assert budget.target_score(tables, 0.5) == pytest.approx(0.1 + 0.5 * ((0.8 + 0.3 + 0.3) / 3 - 0.1))


@pytest.mark.parametrize(
    ("times", "reached", "median"),
    [
        ([2, 3, 4], [1, 1, 1], 3),
        ([2, 3, 4], [1, 0, 1], 4),  # after 2: 2/3; the run lost at 3 leaves one, which gets there at 4
        ([5, 5, 5, 5], [1, 1, 0, 0], 5),
        ([5, 5, 5, 5, 5], [1, 1, 0, 0, 0], np.nan),
        ([6, 8, 8, 2, 6, 7, 9], [1, 1, 0, 0, 1, 1, 1], 7),
    ],
)
def test_kaplan_meier_median_by_hand(times: list[float], reached: list[int], median: float) -> None:
    assert budget.kaplan_meier_median(times, reached) == pytest.approx(median, nan_ok=True)
