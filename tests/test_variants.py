"""Ablations and what is read off seeds: figures and tables against numbers worked by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from scipy import stats as reference

import analysis
from analysis import experiment, stats, style, verdicts
from analysis.figures import FIGURES
from analysis.figures.repeats import first_late
from analysis.tables import StudyTables
from tests.sample_run import MAX_EPOCHS, SampleRun

ASKED = {
    **{"title": "Plain or not", "source": "X", "question": "Which?", "name": "own", "file": None, "scale": "full"},
    **{"figures": ["isolation"], "baseline": "plain", "steps": ["plain", "resnet", "densenet"]},
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> StudyTables:
    run = SampleRun(spaces=("plain", "resnet", "densenet"), experiment=ASKED)
    return analysis.read(run.write(tmp_path_factory.mktemp("ablation") / "run"))


def scores(tables: StudyTables) -> pd.DataFrame:
    return tables.final.pivot_table(index="seed", columns="space", values="test_score")


def held(tables: StudyTables, space: str, name: str, value: Any) -> StudyTables:
    """The study with a hyperparameter of a space held at one value."""
    plan = {**tables.plan, "spaces": {key: {**content} for key, content in tables.plan["spaces"].items()}}
    one = {"type": "categorical", "choices": [value], "role": "fixed"}
    parameters = plan["spaces"][space]["parameters"]
    plan["spaces"][space]["parameters"] = [{**p, **one} if p["name"] == name else p for p in parameters]
    plan["spaces"][space]["reference"] = {**plan["spaces"][space]["reference"], name: value}
    return replace(tables, plan=plan)


def test_the_isolation_plot_has_each_gap_the_right_way_round_with_the_verdict_of_the_pair(tables: StudyTables) -> None:
    data, found = FIGURES["isolation"].data(tables), scores(tables)
    judged = verdicts.judge(tables)
    gaps = data[data["kind"] == "gap"].set_index("space")
    assert list(gaps.index) == ["resnet", "densenet"]
    for space, gap in gaps.iterrows():
        assert gap["value"] == pytest.approx((found[str(space)] - found["plain"]).mean())
        pair = judged.pairs[judged.pairs[["first", "second"]].isin([space, "plain"]).all(axis=1)].iloc[0]
        sign = 1 if pair["first"] == space else -1
        assert sorted([sign * pair["low"], sign * pair["high"]]) == [gap["low"], gap["high"]]
        turned = {"better": "worse"}.get(pair["verdict"], pair["verdict"])
        assert gap["verdict"] == (pair["verdict"] if sign == 1 else turned)
    seeds = data[data["kind"] == "seed"]
    assert seeds.groupby("space")["value"].mean().to_dict() == pytest.approx(found.mean().to_dict())


def test_a_gap_is_turned_round_where_the_space_is_second() -> None:
    row = {"first": "a", "second": "b", "gap": 0.3, "low": 0.1, "high": 0.6, "level": 0.95, "n": 4, "verdict": "better"}
    decided = pd.DataFrame([row])
    assert verdicts.gap_to(decided, "a", "b") == {key: row[key] for key in list(row)[2:]}
    turned = {"gap": -0.3, "low": -0.6, "high": -0.1, "level": 0.95, "n": 4, "verdict": "worse"}
    assert verdicts.gap_to(decided, "b", "a") == turned


def test_the_margin_of_the_reader_decides_in_the_figure_as_in_the_table(tables: StudyTables) -> None:
    data = FIGURES["isolation"].data(replace(tables, margin=50.0))
    assert set(data[data["kind"] == "gap"]["verdict"]) == {"equivalent"}


def test_the_isolation_plot_draws_the_gaps_beside_zero(tables: StudyTables) -> None:
    data = FIGURES["isolation"].data(tables)
    with style.style():
        canvas = FIGURES["isolation"].canvas(data, tables.plan)
    left, right = canvas.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["plain", "resnet", "densenet"]
    marks = {line.get_gid(): line for line in right.lines if str(line.get_gid()).startswith("gap-")}
    for gap in data[data["kind"] == "gap"].to_dict("records"):
        line = marks[f"gap-{gap['space']}"]
        assert isinstance(line, Line2D)
        assert np.asarray(line.get_xdata())[0] == gap["value"]
    assert {text.get_text() for text in right.texts} == set(data["verdict"].dropna())


@pytest.mark.parametrize("gaps", [(0.05, 0.02), (-0.05, -0.02), (0.05, -0.05)])
def test_a_verdict_over_the_outermost_gap_stays_inside_the_panel(tables: StudyTables, gaps: tuple[float, ...]) -> None:
    data = FIGURES["isolation"].data(tables)
    mine = data["kind"] == "gap"
    data.loc[mine, ["low", "high"]] = np.nan
    data.loc[mine, "value"] = gaps
    data.loc[mine, "verdict"] = "cannot tell"
    with style.style():
        canvas = FIGURES["isolation"].canvas(data, tables.plan)
        ConstrainedLayoutEngine().execute(canvas)
        right = canvas.axes[1]
        panel = right.get_window_extent()
        said = [text.get_window_extent() for text in right.texts]
    assert len(said) == len(gaps)
    assert all(panel.x0 < box.x0 and box.x1 < panel.x1 for box in said)


def test_the_legend_shows_dashes_long_enough_to_be_told_apart() -> None:
    with style.style():
        lengths = []
        for dashes in ("solid", (0, (8, 2))):
            canvas = style.new_canvas(2)
            style.legend_below(canvas, [Line2D([], [], linestyle=dashes, label="a")])
            lengths.append(np.ptp(np.asarray(canvas.legends[0].get_lines()[0].get_xdata(), dtype=float)))
    assert lengths[1] == 2 * lengths[0]


def test_each_step_is_set_against_the_first_and_the_one_before(tables: StudyTables) -> None:
    data, found = FIGURES["steps"].data(tables), scores(tables).mean()
    gains = data[data["kind"] != "score"].set_index(["space", "kind"])["value"]
    assert gains.to_dict() == pytest.approx(
        {
            ("resnet", "over the first"): found["resnet"] - found["plain"],
            ("resnet", "over the one before"): found["resnet"] - found["plain"],
            ("densenet", "over the first"): found["densenet"] - found["plain"],
            ("densenet", "over the one before"): found["densenet"] - found["resnet"],
        }
    )
    assert data[data["kind"] != "score"]["low"].notna().all()


def test_ratios_are_averaged_on_logarithms_over_equal_seeds(tables: StudyTables) -> None:
    curves = tables.final_epochs.merge(tables.final[["final", "space", "seed"]], on="final")
    curves["seconds"] *= curves["space"].map({"plain": 1.0, "resnet": 3.0, "densenet": 5.0})
    curves["seconds"] *= 1 + curves["seed"] * (curves["space"] == "resnet")  # 2 to 5 times as long
    slower = replace(tables, final_epochs=curves.drop(columns=["space", "seed"]))
    data = FIGURES["time_ratio"].data(slower)
    means = data[data["kind"] == "mean"].set_index("space")
    assert set(means.index) == {"resnet", "densenet"}
    logs = np.log(data[(data["kind"] == "seed") & (data["space"] == "resnet")]["value"].to_numpy(dtype=float))
    assert means["value"]["resnet"] == pytest.approx(float(np.exp(logs.mean())))
    half = reference.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    assert means["high"]["resnet"] == pytest.approx(float(np.exp(logs.mean() + half)))
    medians = curves.groupby(["space", "seed"])["seconds"].median()
    ratios = medians["densenet"] / medians["plain"]
    assert means["value"]["densenet"] == pytest.approx(float(np.exp(np.log(ratios).mean())))


def test_late_changes_are_those_of_the_last_quarter(tables: StudyTables) -> None:
    assert [first_late({"max_epochs": n}) for n in (2, 4, 9, 100)] == [1, 3, 7, 76]
    data = FIGURES["late_spread"].data(tables)
    row = data[data["kind"] == "seed"].iloc[0]
    final = tables.final[(tables.final["space"] == row["space"]) & (tables.final["seed"] == row["seed"])]["final"].iloc[
        0
    ]
    curve = tables.final_epochs[tables.final_epochs["final"] == final].set_index("epoch")["val_score"]
    late = [abs(curve[epoch] - curve[epoch - 1]) for epoch in range(8, MAX_EPOCHS + 1)]
    assert row["value"] == pytest.approx(float(np.mean(late)))


def test_seeds_that_agree_have_no_interval_and_no_interval_goes_below_zero(tables: StudyTables) -> None:
    curves = tables.final_epochs.merge(tables.final[["final", "space", "seed"]], on="final")
    wild = (curves["space"] == "resnet") & (curves["seed"] == 1)
    curves.loc[curves["space"] != "densenet", "val_score"] = 0.5
    curves.loc[wild & (curves["epoch"] == MAX_EPOCHS), "val_score"] = 0.9
    data = FIGURES["late_spread"].data(replace(tables, final_epochs=curves.drop(columns=["space", "seed"])))
    means = {row["space"]: row for row in data[data["kind"] == "mean"].to_dict("records")}
    assert means["plain"]["value"] == 0
    assert np.isnan([means["plain"]["low"], means["plain"]["high"]]).all()
    assert means["resnet"]["low"] == 0
    assert means["resnet"]["high"] > means["resnet"]["value"] > 0


def test_agreement_is_zero_with_equal_curves_and_what_was_added_otherwise(tables: StudyTables) -> None:
    curves = tables.final_epochs.merge(tables.final[["final", "space", "seed"]], on="final")
    plain = curves[curves["space"] == "plain"].set_index(["seed", "epoch"])["val_loss"]
    there = curves.set_index(["seed", "epoch"]).index
    added = curves["space"].map({"plain": 0.0, "resnet": 0.0, "densenet": 1e-5}).to_numpy()
    curves["val_loss"] = plain.loc[there].to_numpy() + added
    data = FIGURES["agreement"].data(replace(tables, final_epochs=curves.drop(columns=["space", "seed"])))
    assert (data[data["space"] == "resnet"]["difference"] == 0).all()
    assert (data[data["space"] == "resnet"]["shown"] == 1e-9).all()
    assert data[data["space"] == "densenet"]["difference"].to_numpy(dtype=float) == pytest.approx(1e-5)
    assert len(data) == 2 * 4 * MAX_EPOCHS
    first, other = (np.load(tables.run_dir / "final" / name / "predictions.npz") for name in _seed_one(tables))
    same = float((first["probability"].argmax(1) == other["probability"].argmax(1)).mean())
    mine = data[(data["space"] == "resnet") & (data["seed"] == 1)]["same_class"]
    assert set(mine) == {same}


def _seed_one(tables: StudyTables) -> list[str]:
    finals = tables.final[tables.final["seed"] == 1].set_index("space")["final"]
    return [finals["resnet"], finals["plain"]]


def test_held_hyperparameters_are_named_in_the_table_and_left_out_of_the_figures(tables: StudyTables) -> None:
    mine = held(held(tables, "resnet", "activation", "silu"), "plain", "activation", "relu")
    rows = {row["variant"][0]: row for row in experiment.variant_rows(mine, verdicts.judge(mine))}
    assert rows["plain"]["differs in"][0] == "activation relu"
    assert rows["resnet"]["differs in"][0] == "activation silu"
    assert rows["densenet"]["differs in"][0] == "activation tuned"
    assert rows["plain"]["verdict"][0] == "baseline"
    assert rows["resnet"]["verdict"][0] in ("better", "worse", "cannot tell", "equivalent")
    drawn = FIGURES["effects"].data(mine).groupby("space")["parameter"].agg(set)
    assert "activation" not in drawn["resnet"]
    assert "activation" in drawn["densenet"]
    assert "Tuned in densenet: width, blocks, activation" in experiment.variants_explained(mine)
    printed = replace(mine, trials=mine.trials[mine.trials["origin"] == "reference"])
    assert experiment.variants_explained(printed).startswith("Nothing was tuned: each had its reference setting. ")


def test_a_variant_lists_what_differs_from_the_baseline_alone(tables: StudyTables) -> None:
    mine = held(held(tables, "resnet", "activation", "silu"), "densenet", "width", 8)

    def told(study: StudyTables) -> dict[str, str]:
        return {row["variant"][0]: row["differs in"][0] for row in experiment.variant_rows(study, judged)}

    judged = verdicts.judge(mine)
    assert told(mine) == {"plain": "width tuned, activation tuned", "resnet": "activation silu", "densenet": "width 8"}
    without = replace(mine, plan={**mine.plan, "experiment": {**ASKED, "baseline": None}})
    assert told(without)["resnet"] == "width tuned, activation silu"


def test_a_restoration_says_the_same_of_its_intervals_everywhere(
    tables: StudyTables, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = SampleRun(spaces=("plain", "resnet", "densenet"), experiment=ASKED, restored=True)
    restored = analysis.read(run.write(tmp_path_factory.mktemp("restored") / "run"))
    restored.plan["dataset"]["train_images"] = 100
    for study, over, drawn in (
        (tables, f"seeds and the {stats.test_images(tables):,} test images", ""),
        (restored, "seeds alone, for this test split", "drawn at random"),
    ):
        captions = [FIGURES[name].caption(FIGURES[name].data(study), study) for name in ("isolation", "steps")]
        for said in (*captions, experiment.variants_explained(study)):
            assert f"shared {over}" in said
            assert ("images" in said) == ("images" in over)
        assert drawn in experiment.head(study)["about"]


def test_a_held_hyperparameter_has_no_importance(tables: StudyTables) -> None:
    found = FIGURES["importance"].data(held(tables, "resnet", "width", 16))
    assert "width" not in set(found[found["space"] == "resnet"]["parameter"])
    assert "width" in set(found[found["space"] == "densenet"]["parameter"])
