"""The verdicts of whole studies: pairs, ranking, what the search was worth, and the sentences about them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as reference

import analysis
from analysis import audit, budget, intervals, report, stats, summary, verdicts, wording
from analysis.tables import StudyTables
from tests.sample_run import MAX_EPOCHS, PER_CLASS, SampleRun

IMAGES = 10 * PER_CLASS


def study(folder: Path, seeds: int, *spaces: str, predictions: bool = True, **knobs: Any) -> StudyTables:
    run = SampleRun(spaces=spaces or ("resnet", "densenet"), trials=2, seeds=seeds, accidents=False, **knobs)
    tables = analysis.read(run.write(folder))
    for path in [] if predictions else (folder / "final").rglob("predictions.npz"):
        path.unlink()
    return tables


def scored(tables: StudyTables, **scores: list[float]) -> StudyTables:
    """The study with other test scores: those of each space, by seed."""
    final = tables.final.copy()
    for space, values in scores.items():
        final.loc[final["space"] == space, "test_score"] = values
    return replace(tables, final=final)


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_gap_is_over_shared_seeds_and_test_images(tmp_path: Path) -> None:
    tables = study(tmp_path, 4)
    pair = verdicts.judge(tables).pairs.iloc[0]
    right = {space: [] for space in ("resnet", "densenet")}  # type: dict[str, list[Any]]
    for row in tables.final.itertuples():
        with np.load(tmp_path / "final" / str(row.final) / "predictions.npz") as arrays:
            right[str(row.space)].append(arrays["probability"].argmax(axis=1) == arrays["label"])
    a, b = np.array(right["resnet"], dtype=float), np.array(right["densenet"], dtype=float)
    difference = a.mean(axis=1) - b.mean(axis=1)
    assert pair[["first", "second", "n", "paired"]].to_list() == ["resnet", "densenet", 4, True]
    assert pair["gap"] == pytest.approx(difference.mean())
    assert pair["only_first"] == pytest.approx(((a == 1) & (b == 0)).sum(axis=1).mean())
    half = reference.t.ppf(0.975, 3) * reference.sem(difference)
    error = intervals.discordance_error(a, b, paired=True)
    assert pair["high"] - pair["gap"] == pytest.approx(np.hypot(half, reference.norm.ppf(0.975) * error))


def test_without_predictions_the_images_count_as_if_they_were_different_ones(tmp_path: Path) -> None:
    with_them, without = (
        verdicts.judge(study(tmp_path / str(kept), 4, predictions=kept)).pairs.iloc[0] for kept in (True, False)
    )
    assert without["high"] - without["low"] > with_them["high"] - with_them["low"]
    assert np.isnan(without["only_first"])


def test_seeds_that_agree_have_an_interval_all_the_same(tmp_path: Path) -> None:
    tables = scored(study(tmp_path, 3, predictions=False), resnet=[1.0] * 3, densenet=[0.5] * 3)
    judged = verdicts.judge(tables)
    low, high = reference.binomtest(IMAGES, IMAGES).proportion_ci(method="wilson")
    assert (judged.tested["resnet"].low, judged.tested["resnet"].high) == pytest.approx((low, high))
    pair = judged.pairs.iloc[0]
    assert pair["verdict"] == "better"
    assert 0.04 < pair["high"] - pair["gap"] < 0.06  # 1.96 sqrt(0.25 / 360) = 0.052


def test_two_seeds_have_no_interval_and_one_sentence_says_so(tmp_path: Path) -> None:
    tables = study(tmp_path, 2, "resnet", "densenet", "plain")
    judged = verdicts.judge(tables)
    assert judged.pairs[["low", "high", "level"]].isna().all(axis=None)
    assert set(judged.pairs["needed_seeds"]) == {3}
    assert summary.sentences(tables, judged) == []
    assert plain(summary.headline(tables, judged)).startswith(
        "No pair can be decided: 2 shared seeds, an interval needs 3. resnet has the highest mean,"
    )
    assert judged.ranking[["rank_low", "rank_high"]].to_numpy().tolist() == [[1, 3]] * 3


def test_seeds_that_are_not_shared_are_compared_by_welch(tmp_path: Path) -> None:
    tables = study(tmp_path, 6, predictions=False, metric="f1")  # no share of images: seeds alone
    final = tables.final.copy()
    keep = np.where(final["space"] == "resnet", final["seed"] <= 3, final["seed"] > 3)
    final = final[keep].assign(test_score=[0.9, 0.92, 0.95, 0.80, 0.85, 0.83])
    pair = verdicts.judge(replace(tables, final=final)).pairs.iloc[0]
    known = reference.ttest_ind([0.9, 0.92, 0.95], [0.80, 0.85, 0.83], equal_var=False).confidence_interval(0.95)
    assert (pair["low"], pair["high"]) == pytest.approx((known.low, known.high))
    assert (pair["paired"], pair["n"], pair["superiority"]) == (False, 3, 1.0)
    assert np.isnan(pair["superiority_low"])


@pytest.mark.parametrize(
    ("first", "second", "improvement"),  # the last as rliable 1.2.0 has it
    [
        ([0.85, 0.95, 0.87, 0.96, 0.66, 0.82], [0.93, 0.83, 0.68, 0.62, 0.89, 0.68], 0.6666666666666666),
        ([0.79, 0.71, 0.87, 0.78, 0.97, 0.81], [0.36, 0.61, 0.37, 0.76, 0.56, 0.71], 0.9583333333333334),
        ([0.73, 0.62, 0.82, 0.91, 0.73, 0.78], [0.59, 0.90, 0.81, 0.75, 0.66, 0.63], 0.6111111111111112),
    ],
)
def test_superiority_of_seeds_that_are_not_shared_is_rliables_probability_of_improvement(
    tmp_path: Path, first: list[float], second: list[float], improvement: float
) -> None:
    tables = study(tmp_path, 12, predictions=False, metric="f1")
    final = tables.final[
        np.where(tables.final["space"] == "resnet", tables.final["seed"] <= 6, tables.final["seed"] > 6)
    ]
    apart = scored(replace(tables, final=final), resnet=first, densenet=second)
    pair = verdicts.judge(apart).pairs.iloc[0]
    assert (pair["first"], pair["paired"]) == ("resnet", False)
    assert pair["superiority"] == pytest.approx(improvement)
    assert pair["superiority"] == pytest.approx(reference.mannwhitneyu(first, second).statistic / 36)
    beats = [1.0 if a > b else 0.5 if a == b else 0.0 for a in first for b in second]
    assert pair["superiority"] == pytest.approx(np.mean(beats))


def test_probability_of_superiority_counts_ties_half(tmp_path: Path) -> None:
    tables = scored(study(tmp_path, 5), resnet=[0.9, 0.9, 0.9, 0.9, 0.8], densenet=[0.8, 0.9, 0.8, 0.8, 0.85])
    pair = verdicts.judge(tables).pairs.iloc[0]
    assert pair["superiority"] == 0.7
    low = reference.binomtest(3, 5).proportion_ci(method="exact").low
    high = reference.binomtest(4, 5).proportion_ci(method="exact").high
    assert (pair["superiority_low"], pair["superiority_high"]) == pytest.approx((low, high))


@pytest.mark.parametrize(("margin", "verdict"), [(0.2, "cannot tell"), (3.0, "equivalent")])
def test_the_margin_makes_equivalent(tmp_path: Path, margin: float, verdict: str) -> None:
    scores = [0.90, 0.91, 0.92, 0.91]
    tables = scored(study(tmp_path, 4, metric="f1"), resnet=scores, densenet=[0.90, 0.912, 0.918, 0.911])
    judged = verdicts.judge(tables, margin)
    assert judged.pairs["verdict"].to_list() == [verdict]
    said = plain(summary.headline(tables, judged) + summary.sentences(tables, judged)[0])
    assert (f"within {margin:g} percentage points" in said) == (verdict == "equivalent")
    assert f"±{margin:g} percentage points" in summary.pairs_explained(tables, judged)


@pytest.mark.parametrize("margin", [0.0, -1.0, np.nan, np.inf])
def test_a_margin_is_above_zero(tmp_path: Path, margin: float) -> None:
    with pytest.raises(ValueError, match="a number above 0"):
        verdicts.judge(study(tmp_path, 2), margin)


def test_ranks_are_the_places_that_the_verdicts_leave_open(tmp_path: Path) -> None:
    tables = scored(
        study(tmp_path, 4, "a", "b", "c", metric="f1"),
        a=[0.50, 0.51, 0.52, 0.51],
        b=[0.90, 0.91, 0.92, 0.905],
        c=[0.91, 0.90, 0.93, 0.90],
    )
    judged = verdicts.judge(tables)
    assert judged.ranking["space"].to_list() == ["c", "b", "a"]
    assert judged.ranking[["rank_low", "rank_high"]].to_numpy().tolist() == [[1, 2], [1, 2], [3, 3]]
    said = plain(summary.headline(tables, judged))
    assert said.startswith("c has the highest mean, 91.0 % test f1: better than a by at least ")
    assert said.endswith("; cannot be told from b.")


@pytest.mark.parametrize(
    ("gap", "says"),
    [
        ([0.02, 0.03, 0.04], "resnet is better than densenet by 3.0 percentage points (95 % interval 0.5"),
        ([-0.02, 0.03, 0.04], "resnet or densenet: cannot tell; the gap is 1.7 percentage points"),
    ],
)
def test_a_verdict_may_be_that_one_cannot_tell(tmp_path: Path, gap: list[float], says: str) -> None:
    tables = study(tmp_path, 3, metric="f1")
    tables = scored(tables, resnet=[0.9 + part for part in gap], densenet=[0.9] * 3)
    (sentence,) = summary.sentences(tables, verdicts.judge(tables))
    assert plain(sentence).startswith(says)
    assert ("to decide it needs ≥ " in plain(sentence)) == ("cannot" in says)


def test_every_pair_is_a_row_and_few_are_sentences(tmp_path: Path) -> None:
    spaces = tuple(f"space{number}" for number in range(9))
    tables = study(tmp_path, 3, *spaces)
    judged = verdicts.judge(tables)
    assert len(summary.pair_rows(tables, judged)) == 36
    assert len(summary.sentences(tables, judged)) == summary.MOST_SENTENCES
    assert len(summary.overview(tables, judged)) == 9
    texts = [text for row in summary.overview(tables, judged) for text, _ in row.values()]
    assert not any("nan" in text for text in texts)


def worth(tables: StudyTables) -> pd.Series:
    return verdicts.judge(tables).worth.iloc[0]


def test_what_the_search_was_worth_by_hand(tmp_path: Path) -> None:
    tables = study(tmp_path, 3, "resnet")
    trials = tables.trials.copy()
    found = 276 / 287  # validation images
    trials["state"], trials["epochs_trained"], trials["score"] = "finished", MAX_EPOCHS, [0.90, found]
    chosen = tables.chosen.assign(trial="resnet-0001", score=found)
    final = tables.final.assign(trial="resnet-0001", val_score=[0.94, 0.95, 0.93], test_score=[0.92, 0.90, 0.94])
    changed = replace(tables, trials=trials, chosen=chosen, final=final)
    row = worth(changed)
    expected = {"reference": 0.90, "gain": found - 0.90, "luck": found - 0.94, "selection_gap": found - 0.92}
    assert row[list(expected)].to_list() == pytest.approx(list(expected.values()))
    tested = verdicts.judge(changed).tested["resnet"]
    known = reference.binomtest(276, 287).proportion_ci(method="wilson")
    assert row["low"] == pytest.approx(found - 0.92 - np.hypot(found - known.low, tested.high - 0.92))
    assert row["high"] == pytest.approx(found - 0.92 + np.hypot(known.high - found, 0.92 - tested.low))
    assert (row["note"], row["warning"]) == ("", False)


def test_a_winner_whose_last_epoch_is_below_the_reference_is_said_to_be_chosen_by_more(tmp_path: Path) -> None:
    tables = study(tmp_path, 3, "resnet")
    trials = tables.trials.assign(state="finished", epochs_trained=MAX_EPOCHS, score=[0.95, 0.9])
    chosen = tables.chosen.assign(trial="resnet-0001", score=0.9, epochs_trained=MAX_EPOCHS)
    row = worth(replace(tables, trials=trials, chosen=chosen))
    assert row["gain"] == pytest.approx(-0.05)
    assert (row["note"], row["warning"]) == (
        "not chosen by its last epoch alone: there the reference setting was ahead",
        False,
    )


def test_before_final_runs_the_winner_is_the_one_ranked_first_not_the_highest_last_score(tmp_path: Path) -> None:
    tables = study(tmp_path, 3, "resnet")
    first = tables.chosen.assign(trial="resnet-0001", score=0.9, rank=1)
    chosen = pd.concat([first, first.assign(trial="resnet-0000", score=0.95, rank=2)])
    found = stats.winners(replace(tables, chosen=chosen, final=tables.final.iloc[:0]))
    assert found[["trial", "score"]].to_numpy().tolist() == [["resnet-0001", 0.9]]


@pytest.mark.parametrize(
    ("policy", "said"),
    [({"averaged": 0.25}, "the mean score of the last 25% of their epochs"), ({}, "their last score")],
)
def test_the_report_says_by_what_trials_are_judged(tmp_path: Path, policy: dict[str, float], said: str) -> None:
    plan = {**study(tmp_path, 3, "resnet").plan, "policy": policy}
    assert report._budget(plan).endswith(f"trials are judged, and the winner is chosen, by {said}")


def test_a_reference_at_chance_and_a_winner_cut_short_are_said(tmp_path: Path) -> None:
    tables = study(tmp_path, 3, "resnet")
    trials = tables.trials.assign(state="finished", epochs_trained=MAX_EPOCHS, score=[0.12, 0.9])
    chance = worth(replace(tables, trials=trials))
    assert chance["note"] == "the reference setting is at chance: perhaps too few steps"
    short = replace(tables, trials=trials, chosen=tables.chosen.assign(epochs_trained=3))
    row = worth(short)
    assert row["note"].startswith("no trial reached full length")
    assert row[["gain", "luck", "selection_gap"]].isna().all()
    judged = verdicts.judge(short)
    assert summary.overview(short, judged)[0]["validation"][0].endswith("(epoch 3 of 9)")
    assert summary.warnings(short, judged) == [f"resnet: {row['note']}."]


@pytest.mark.parametrize("knobs", [{"trials": 0, "final": False}, {"trials": 3, "all_failed": True}])
def test_a_study_without_winners_has_no_verdict(tmp_path: Path, knobs: dict[str, Any]) -> None:
    tables = analysis.read(SampleRun(**knobs).write(tmp_path))
    judged = verdicts.judge(tables)
    assert summary.headline(tables, judged).startswith("No verdict")
    assert not [
        *summary.warnings(tables, judged),
        *summary.sentences(tables, judged),
        *summary.worth_rows(tables, judged),
    ]
    assert [row["rank"][0] for row in summary.overview(tables, judged)] == [wording.MISSING] * 2


def test_a_study_without_tests_has_no_verdict(tmp_path: Path) -> None:
    tables = study(tmp_path, 3, final=False)
    judged = verdicts.judge(tables)
    assert summary.headline(tables, judged) == "No verdict: no winner has been tested."
    assert summary.pair_rows(tables, judged) == []
    assert judged.ranking["validation"].notna().all()
    lone = study(tmp_path / "lone", 3)
    lone = replace(lone, final=lone.final[lone.final["space"] == "resnet"])
    assert "fewer than two" in summary.headline(lone, verdicts.judge(lone))


def lose(tables: StudyTables, space: str, seeds: int) -> StudyTables:
    """The study with the first `seeds` final runs of the space diverged."""
    final = tables.final.copy()
    lost = (final["space"] == space) & (final["seed"] <= seeds)
    final.loc[lost, ["state", "error"]] = ["diverged", "the loss is not finite"]
    final.loc[lost, ["test_score", "test_loss"]] = np.nan
    opened = {"names": " ".join(final.loc[~lost, "final"])}
    return replace(tables, final=final, openings=tables.openings.assign(**opened))


@pytest.mark.parametrize("spaces", [("resnet",), ("resnet", "densenet"), ("resnet", "densenet", "plain")])
def test_final_runs_that_all_diverged_are_said_where_people_look(tmp_path: Path, spaces: tuple[str, ...]) -> None:
    tables = lose(study(tmp_path, 3, *spaces), "resnet", 3)
    judged = verdicts.judge(tables)
    why = "3 of 3 final runs diverged or failed: the loss is not finite"
    assert plain(summary.headline(tables, judged)).endswith(f" Not tested: resnet ({why}).")
    assert [plain(text) for text in summary.warnings(tables, judged)] == [f"resnet: {why}."]
    said = [plain(finding.sentence) for finding in summary.findings(tables, judged)]
    assert f", not tested; {why}; " in said[0]
    assert "diverged" not in "".join(said[1:])
    found = {
        result.check.number: result.answer.found for result in audit.audit(tables) if result.answer.where == "resnet"
    }
    assert plain(found[14]) == "its 3 final runs diverged or failed"
    assert plain(found[18]) == "not opened: its 3 final runs diverged or failed"


def test_a_final_run_that_diverged_beside_others_is_minded(tmp_path: Path) -> None:
    tables = lose(study(tmp_path, 4), "densenet", 1)
    judged = verdicts.judge(tables)
    assert "Not tested" not in summary.headline(tables, judged)
    (said,) = summary.warnings(tables, judged)
    assert plain(said) == "densenet: 1 of 4 final runs diverged or failed: the loss is not finite."


@pytest.mark.parametrize(
    ("numbers", "written"),
    [
        ([], ""),
        ([7], "7"),
        ([3, 4], "3, 4"),
        ([1, 2, 3, 7, 9, 10], "1-3, 7, 9, 10"),
        (list(range(1, 501)), "1-500"),
        (list(range(2, 41, 2)), "2, 4, 6, 8, 10, 12, 14, 16 and 12 more"),
    ],
)
def test_numbers_that_follow_one_another_are_written_as_ranges(numbers: list[int], written: str) -> None:
    assert wording.ranges(numbers) == written


def test_a_space_ahead_with_every_number_of_trials_makes_no_long_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "ahead_with_few_trials", lambda *_: list(range(1, 501)))
    monkeypatch.setattr(budget, "lead", lambda *_: (9.0, [4, 5, 6, 9]))
    tables = study(tmp_path, 3)
    (row,) = summary.pair_rows(tables, verdicts.judge(tables))
    assert row["second ahead at k trials"][0] == "1-500"
    assert row["curves cross at"][0] == "4-6, 9"
