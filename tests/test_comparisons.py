"""What winners cost, the search as a whole, who ran when: the figures' tables by hand."""

import json
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Patch

import analysis
from analysis import budget, importance, report, style, summary
from analysis.attempts import attempts
from analysis.figures import FIGURES
from analysis.figures.combinations import MOST_SHOWN, TURNS
from analysis.figures.cost import large, pareto
from analysis.figures.heights import heights, ticks
from analysis.layers import layers
from analysis.tables import StudyTables
from tests.sample_run import MAX_EPOCHS, SampleRun, parameters
from tests.test_budget import with_random_arm


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> StudyTables:
    return analysis.read(SampleRun().write(tmp_path_factory.mktemp("run")))


def test_the_front_holds_what_nothing_beats() -> None:
    cost = np.array([1.0, 1.0, 2.0, 3.0, 3.0, 4.0, 2.0])
    score = np.array([0.5, 0.4, 0.5, 0.7, 0.7, 0.6, 0.6])
    assert pareto(cost, score).tolist() == [True, False, False, True, True, False, True]
    assert pareto(np.array([]), np.array([])).tolist() == []
    assert [large(number) for number in (12.0, 30_000, 2_148_608, 7.5e9)] == ["12", "30 k", "2.15 M", "7.5 G"]


def test_costs_are_those_of_the_trials_at_full_length(tables: StudyTables) -> None:
    data = FIGURES["cost"].data(tables)
    full = tables.trials[tables.trials["state"] == "finished"]
    assert set(data["trial"]) == set(full["trial"])
    adds = data[data["cost"] == "multiply_adds"].set_index("trial")["value"]
    assert adds.to_dict() == full.set_index("trial")["multiply_adds"].to_dict()
    assert data.groupby("cost")["front"].any().all()
    unknown = replace(tables, trials=tables.trials.assign(multiply_adds=np.nan))
    assert set(FIGURES["cost"].data(unknown)["cost"]) == {"parameters", "train_seconds"}


def test_kaplan_meier_by_hand() -> None:
    steps = budget.kaplan_meier([2, 3, 3, 5], [1, 0, 1, 1])
    assert [(time, lost) for time, _, lost in steps] == [(2, False), (3, True), (5, False)]
    assert [share for _, share, _ in steps] == pytest.approx([1 / 4, 1 - 3 / 4 * 2 / 3, 1.0])


def test_winners_have_their_size_and_pace(tables: StudyTables) -> None:
    found = budget.winner_costs(tables).set_index("space")
    winner = tables.trials[tables.trials["trial"] == found["winner"]["resnet"]]
    assert found["multiply_adds"]["resnet"] == winner["multiply_adds"].item()
    assert found.loc["resnet", "n"] == 4
    assert found.loc["resnet", "images_per_second"] == 80_000 / 16  # of the sample's reference setting
    assert found.loc["resnet", "train_seconds"] == pytest.approx(MAX_EPOCHS * 0.02 * 16)


def test_quantiles_rank_stopped_trials_below(tables: StudyTables) -> None:
    data = FIGURES["quantile_curves"].data(tables).query("space == 'resnet'").set_index(["share", "epoch"])
    trials = tables.trials[tables.trials["space"] == "resnet"]
    curves = tables.epochs[tables.epochs["trial"].isin(trials["trial"])]
    third = curves[curves["epoch"] == 3]["val_score"].sort_values(ascending=False).to_numpy()
    assert data.loc[("best trial", 3), "score"] == third[0]
    # 24 trials: one was cut off at epoch 5, all others are known there, gone or not.
    assert data.loc[("best trial", 3), "n"] == 24
    assert data.loc[("best trial", MAX_EPOCHS), "n"] == 23
    assert data.loc[("best 10 %", 3), "rank"] == 3
    assert data.loc[("best 10 %", 3), "score"] == third[2]
    assert (data["rank"] <= data["at_risk"]).all()
    left = int((trials["epochs_trained"] >= MAX_EPOCHS).sum())
    assert (("better half", MAX_EPOCHS) in data.index) == (left >= 12)
    assert ("better half", 1) in data.index


def test_the_best_at_a_rung_never_falls(tables: StudyTables) -> None:
    data = FIGURES["rung_best"].data(tables)
    assert set(data["epoch"]) == {1, 3}
    scores = tables.epochs.merge(tables.trials[["trial", "space"]])
    for (space, epoch), rows in data.groupby(["space", "epoch"]):
        known = scores[(scores["space"] == space) & (scores["epoch"] == epoch)]
        assert rows["best"].is_monotonic_increasing
        assert rows["best"].iloc[-1] == known["val_score"].max()
        assert rows["epochs_spent"].is_monotonic_increasing


def test_every_epoch_went_somewhere(tables: StudyTables) -> None:
    data = FIGURES["spending"].data(tables).pivot_table(index="space", columns="part", values="epochs")
    trials = tables.trials[tables.trials["space"] == "resnet"]
    row = data.loc["resnet"]
    trained = row[["trials at full length", "stopped trials", "lost or unfinished trials"]].sum()
    assert trained == trials["epochs_trained"].sum()
    stopped = trials[trials["state"] == "stopped"]["epochs_trained"]
    assert row["saved by stopping"] == (MAX_EPOCHS - stopped).sum()
    assert row["final runs"] == 4 * MAX_EPOCHS


def test_the_gain_goes_from_the_reference_to_the_test(tables: StudyTables) -> None:
    data = FIGURES["gain"].data(tables).query("space == 'resnet'").set_index("stage")
    scores = tables.trials.set_index("trial")["score"]
    assert data["score"][0] == scores["resnet-0000"]
    assert data["score"][1] == scores[str(data["trial"][1])]
    final = tables.final[tables.final["space"] == "resnet"]
    assert data.loc[2, "score"] == pytest.approx(final["val_score"].mean())
    assert data.loc[3, "score"] == pytest.approx(final["test_score"].mean())
    assert (data["low"] < data["score"]).all()


def event(name: str, time: float, **fields: Any) -> dict[str, Any]:
    return {"event": name, "time": time, **fields}


def started(run: str, time: float, worker: int, attempt: int = 1, node: str = "a") -> dict[str, Any]:
    return event("started", time, trial=run, attempt=attempt, node=node, worker=worker)


def test_attempts_begin_before_they_are_heard_of_and_end_with_their_driver() -> None:
    log = [
        event("study_opened", 0.0),
        *(event("suggested", 1.0, trial=f"resnet-{k}", space="resnet") for k in range(2)),
        started("resnet-0", 10.0, 7),
        event("epoch", 10.0, trial="resnet-0", seconds=3.0),
        event("epoch", 14.0, trial="resnet-0", seconds=3.5),
        event("ended", 14.0, trial="resnet-0", state="stopped"),
        started("resnet-1", 15.0, 7),
        event("study_opened", 50.0),
        started("resnet-1", 60.0, 8, attempt=2),
    ]
    first, second, third = attempts(log)
    assert (first["began"], first["ended"], first["state"]) == (7.0, 14.0, "stopped")
    assert (second["began"], second["ended"], second["state"]) == (15.0, 15.0, "interrupted")
    assert (third["attempt"], third["state"], third["space"]) == (2, "running", "resnet")
    assert attempts([event("ended", 1.0, trial="resnet-0", state="failed")]) == []


def test_workers_that_follow_one_another_share_a_slot(tables: StudyTables) -> None:
    rows = [("a", 1, 0, 5), ("a", 2, 0, 9), ("a", 3, 6, 9), ("b", 1, 0, 9), ("a", 1, 5, 6)]
    made = [
        {"run": str(k), "kind": "trial", "space": "resnet", "attempt": 1, "state": "stopped"}
        | dict(zip(("node", "worker", "began", "ended"), row, strict=True))
        for k, row in enumerate(rows)
    ]
    data = FIGURES["timeline"].data(replace(tables, attempts=pd.DataFrame(made)))
    assert data["slot"].to_list() == [1, 2, 1, 3, 1]
    whole = FIGURES["timeline"].data(tables)
    assert len(whole) == len(tables.trials) + len(tables.final)
    assert (whole["began"] <= whole["ended"]).all()


def test_heights_follow_the_search_scale() -> None:
    kinds = {parameter["name"]: parameter for parameter in parameters()}
    assert heights(kinds["sgd_lr"], pd.Series([0.001, 0.1, np.nan])) == pytest.approx([0, 2 / 3, np.nan], nan_ok=True)
    assert heights(kinds["blocks"], pd.Series([1, 2, 3])).tolist() == [0, 0.5, 1]
    assert heights(kinds["width"], pd.Series([8.0, 32.0])) == pytest.approx([1 / 6, 5 / 6])
    assert ticks(kinds["blocks"]) == ([0, 0.5, 1], ["1", "2", "3"])
    assert ticks(kinds["augment"])[1] == ["True", "False"]
    assert ticks(kinds["weight_decay"])[1] == ["1e-06", "0.0001", "0.01"]
    assert ticks({"type": "float", "low": 0.0, "high": 0.0, "log": False, "name": "fixed"})[0] == [0.5, 0.5, 0.5]


def test_layers_of_a_winner_are_read(tmp_path: Path) -> None:
    run = SampleRun(spaces=("resnet",), trials=2, seeds=1).write(tmp_path)
    tables = analysis.read(run)
    assert layers(tables) == {}
    row = {"layer": "Conv2d", "name": "1", "depth": 1, "output": [8, 4, 4], "parameters": 72, "multiply_adds": None}
    (run / "final" / tables.final["final"].iloc[0] / "layers.json").write_text(json.dumps([row]))
    found = layers(tables)["resnet"]
    assert found["parameters"].to_list() == [72]
    assert found["multiply_adds"].isna().all()


@pytest.mark.parametrize("name", ["cost", "rung_best", "timeline"])
def test_many_marks_are_rasterised(tables: StudyTables, name: str) -> None:
    _, figure, data = next(iter(FIGURES[name].parts(name, tables)))
    many = pd.concat([data] * (1 + 3 * style.MANY_MARKS // len(data)) * (3 if name == "cost" else 1))
    with style.style():
        marks = [
            mark
            for axes in figure.canvas(many, tables.plan).axes
            for mark in (*axes.lines, *axes.collections)
            if mark.get_rasterized()
        ]
    assert marks


def test_pairs_are_made_only_of_what_stands_above_chance(tables: StudyTables, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importance.importances(tables)
    lucky = found["parameter"].isin(["width", "blocks", "augment"]) & (found["space"] == "resnet")
    monkeypatch.setattr(importance, "importances", lambda _: found.assign(null=np.where(lucky, -1.0, 2.0)))
    data = FIGURES["pairs"].data(tables)
    assert set(data["space"]) == {"resnet"}
    assert {*data["x_parameter"], *data["y_parameter"]} == {"width", "blocks", "augment"}
    said = FIGURES["pairs"].caption(data, tables)
    assert "In densenet fewer than two stand above chance, so no pair is drawn." in said
    monkeypatch.setattr(importance, "importances", lambda _: found.assign(null=2.0))
    assert FIGURES["pairs"].data(tables).empty


def test_marks_of_two_choices_fill_a_square() -> None:
    turns = np.arange(400)[:, None] * np.array(list(TURNS.values())) % 1
    assert abs(np.corrcoef(turns.T)[0, 1]) < 0.05
    cells = np.histogram2d(turns[:, 0], turns[:, 1], bins=8)[0]
    assert (cells.min(), cells.max()) == (4, 8)  # 6.25 on average


def test_pairs_of_very_many_trials_show_some_of_each_kind(tables: StudyTables) -> None:
    _, figure, data = next(iter(FIGURES["pairs"].parts("pairs", tables)))
    many = pd.concat([data] * 100)
    with style.style():
        drawn = figure.canvas(many, tables.plan).axes[0].lines
    assert [len(np.asarray(line.get_xdata())) for line in drawn] == [MOST_SHOWN, MOST_SHOWN]
    assert f"{MOST_SHOWN} are drawn, evenly" in figure.caption(many, tables)
    assert "evenly" not in figure.caption(data, tables)


def test_white_ends_never_hide_the_bars(tables: StudyTables) -> None:
    figure = FIGURES["timeline"]
    data = figure.data(tables)
    crowded = pd.concat([data] * 10)

    def whites(rows: pd.DataFrame) -> int:
        with style.style():
            axes = figure.canvas(rows, tables.plan).axes[0]
        marks = [mark for mark in axes.collections if isinstance(mark, LineCollection) and len(mark.get_segments())]
        return sum(bool((np.asarray(mark.get_edgecolor()) == 1).all()) for mark in marks)

    assert whites(data) == 2
    assert whites(crowded) == 0


def test_of_too_many_bars_for_hatches_the_caption_says_so(tables: StudyTables, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = FIGURES["timeline"]
    data = figure.data(tables)
    assert "by colour alone" not in figure.caption(data, tables)
    monkeypatch.setattr(style, "MANY_MARKS", len(data) - 1)
    assert "by colour alone" in figure.caption(data, tables)
    with style.style():
        canvas = figure.canvas(data, tables.plan)
    assert {bars.get_hatch() for bars in canvas.axes[0].collections} == {None}
    assert {patch.get_hatch() for patch in legend_of(canvas)[1] if isinstance(patch, Patch)} == {None}


def test_bars_of_spaces_are_told_apart_without_colours(tables: StudyTables) -> None:
    figure = FIGURES["timeline"]
    with style.style():
        canvas = figure.canvas(figure.data(tables), tables.plan)
    hatches: dict[str, set[Any]] = {}
    for bars in canvas.axes[0].collections:
        if str(bars.get_gid()).startswith("bars-"):
            hatches.setdefault(str(bars.get_gid()), set()).add(bars.get_hatch() or "")
            assert (np.asarray(bars.get_facecolor())[:, 3] == 1).all()  # an SVG file gives a hatch the face's opacity
    assert hatches == {"bars-resnet": {""}, "bars-densenet": {"////"}}
    named = {text.get_text(): patch for text, patch in zip(*legend_of(canvas), strict=True)}
    assert named["densenet"].get_hatch() == "////"


def legend_of(canvas: Canvas) -> tuple[list[Any], list[Any]]:
    (legend,) = canvas.legends
    return list(legend.get_texts()), list(legend.legend_handles)


def test_the_expected_best_of_random_trials_by_hand(tmp_path: Path) -> None:
    tables = with_random_arm(tmp_path)
    trials = tables.trials
    figure = FIGURES["best_of_k"]
    data = figure.data(tables)
    low, high = [0.7, 0.9, 0.6, 0.1, 0.1], [0.7, 0.9, 0.7, 0.1, 0.1]  # stopped: its best so far; the worst at the end
    assert data["k"].to_list() == [1, 2]
    assert data["epochs"].to_list() == pytest.approx([23 / 5, 2 * 23 / 5])
    for end, scores in (("low", low), ("high", high)):
        with_it = [np.mean([max(drawn) for drawn in product(scores, repeat=k)]) for k in (1, 2)]
        without = [np.mean([max(drawn) for drawn in combinations(scores, k)]) for k in (1, 2)]
        assert data[end].to_list() == pytest.approx(with_it)
        assert data[f"{end}_unbiased"].to_list() == pytest.approx(without)
    with style.style():
        axes = figure.canvas(data, tables.plan).axes
    (line,) = (line for line in axes[1].lines if line.get_gid() == "low-resnet")
    assert np.asarray(line.get_xdata()).tolist() == data["epochs"].to_list()
    assert np.asarray(line.get_ydata()).tolist() == data["low"].to_list()
    said = figure.alt(data, tables).replace("\N{NO-BREAK SPACE}", " ")
    assert said == "Expected best: resnet 65.6 % to 67.6 % with 2 random trials (9 epochs)."
    trials.loc[1:2, "state"] = "stopped"
    unknown = figure.data(replace(tables, decisions=tables.decisions.head(0)))  # nobody is known to have been ahead
    assert unknown["high"].isna().all()
    assert " or more with " in figure.alt(unknown, tables)


def test_the_unbiased_best_of_many_is_that_of_all_subsets() -> None:
    scores = np.random.default_rng(0).normal(size=9)
    known = [np.mean([max(drawn) for drawn in combinations(scores, k)]) for k in range(1, 10)]
    assert budget.unbiased_best(scores, np.arange(1, 10)) == pytest.approx(known)
    assert known[-1] == scores.max()


def test_the_table_of_costs_says_what_its_times_are_of(tables: StudyTables) -> None:
    named = report.cost_table(tables).columns
    assert named[-4:] == ["n", "reached", "epochs to target", "time to target"]


def test_many_trials_are_counted_with_commas(tables: StudyTables) -> None:
    states = pd.Series(["stopped"] * 10_000)
    many = replace(tables, trials=pd.DataFrame({"state": states}), sessions=tables.sessions.assign(trials=5_000))
    said = summary.progress(many).replace("\N{NO-BREAK SPACE}", " ")
    assert said == "Finished: 10,000 of 10,000 trials ended (10,000 stopped), 8 final runs."
