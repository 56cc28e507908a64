"""Every figure from every kind of study: what is drawn is what the small table says."""

import re
import zlib
from dataclasses import replace
from io import BytesIO
from itertools import combinations as combinations_of
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from fontTools.subset import Options
from fontTools.ttLib import TTFont
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

import analysis
from analysis import importance, stats, style, verdicts, wording
from analysis.figures import CHAPTERS, FIGURES, ON_REQUEST, Figure, chapters, combinations
from analysis.figures.effects import MOST_SHOWN, shown
from analysis.figures.figure import file_name
from analysis.figures.predictions import short_names
from analysis.intervals import Interval
from analysis.tables import StudyTables
from tests import sample_run
from tests.sample_run import MAX_EPOCHS, SampleRun

HIGHEST = 9.2  # inches: a page of a paper
PARAMETERS = sample_run.parameters()
ABLATION = {
    **{"title": "T", "source": "X", "question": "Which?", "name": "own", "file": None, "scale": "full"},
    **{"figures": ["isolation", "gain"], "baseline": "resnet", "steps": ["resnet", "densenet"]},
}
OF_EXPERIMENTS = {"isolation", "steps", "agreement", "time_ratio"}
RUNS: dict[str, dict[str, Any]] = {
    "normal": {},
    "ablation": {"experiment": ABLATION},
    "one_trial": {"spaces": ("resnet",), "trials": 1, "seeds": 2},
    "all_failed": {"all_failed": True, "trials": 8},
    "no_final": {"final": False, "closed": False},
    "no_trial": {"trials": 0},
    "stopped_first": {"stopped_first": True, "accidents": False, "trials": 6},
    "restored": {"restored": True},
}
EMPTY: dict[str, set[str]] = {
    "normal": OF_EXPERIMENTS,
    "ablation": set(),
    "restored": OF_EXPERIMENTS,
    "one_trial": {"best_of_k", "importance", "pairs", *OF_EXPERIMENTS},
    "all_failed": set(FIGURES) - {"effects", "timeline"},
    "no_final": {"test_scores", "final_curves", "speed", "class_accuracy", "confusion", "examples", *ON_REQUEST},
    "no_trial": set(FIGURES),
    "stopped_first": set(FIGURES)
    - {"effects", "learning_curves", "rung_best", "best_of_k", "quantile_curves", "spending", "timeline"},
}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StudyTables]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: analysis.read(SampleRun(**knobs).write(folder / name)) for name, knobs in RUNS.items()}


def drawn(figure: Figure[StudyTables], data: pd.DataFrame, tables: StudyTables) -> Canvas:
    with style.style():
        return figure.canvas(data, tables.plan)


def line(canvas: Canvas, axes: int, gid: str) -> Line2D:
    (found,) = (line for line in canvas.axes[axes].lines if line.get_gid() == gid)
    return found


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_draws_or_says_what_is_missing(studies: dict[str, StudyTables], name: str, run: str) -> None:
    tables = studies[run]
    parts = list(FIGURES[name].parts(name, tables))
    if not FIGURES[name].is_for(tables.plan):
        assert all(data.empty for _, _, data in parts)
        return
    assert all(data.empty for _, _, data in parts) == (name in EMPTY[run])
    for _, figure, data in parts:
        if data.empty:
            assert figure.absent.endswith(".")
            continue
        canvas = drawn(figure, data, tables)
        assert any(axes.has_data() for axes in canvas.axes)
        with style.style():
            canvas.draw_without_rendering()
        for text in (figure.caption(data, tables), figure.alt(data, tables)):
            assert "nan" not in text
            assert text.endswith(".")
        assert any(character.isdigit() for character in figure.alt(data, tables)) or run != "normal"


def test_what_an_experiment_names_comes_first_and_nothing_is_shown_twice(studies: dict[str, StudyTables]) -> None:
    asked = chapters(studies["ablation"].plan)
    assert list(asked) == ["The question", *CHAPTERS]
    assert list(asked["The question"]) == ["isolation", "gain"]
    assert "gain" not in asked["The winners"]
    names = [name for figures in asked.values() for name in figures]
    assert sorted(names) == sorted(set(FIGURES) - set(ON_REQUEST) | {"isolation"})
    assert not set(ON_REQUEST) & {name for figures in chapters(studies["normal"].plan).values() for name in figures}


def test_style_leaves_no_trace() -> None:
    before = dict(mpl.rcParams)
    with style.style():
        assert mpl.rcParams["pdf.fonttype"] == 42
    assert dict(mpl.rcParams) == before


def test_colours_belong_to_the_place_in_the_plan(studies: dict[str, StudyTables]) -> None:
    plan = studies["normal"].plan
    looks = [style.look(space, plan) for space in plan["spaces"]]
    assert len({look["color"] for look in looks}) == len({look["marker"] for look in looks}) == 2
    alone = studies["one_trial"].plan
    assert style.look("resnet", alone) == looks[0]


def test_learning_curves_show_every_trial_and_who_is_left(studies: dict[str, StudyTables]) -> None:
    tables = studies["normal"]
    figure = FIGURES["learning_curves"]
    data = figure.data(tables)
    canvas = drawn(figure, data, tables)
    mine = data[data["space"] == "resnet"]
    collections = [c for c in canvas.axes[0].collections if isinstance(c, LineCollection)]
    segments = [np.asarray(segment) for collection in collections for segment in collection.get_segments()]
    assert len(segments) == mine["trial"].nunique()
    assert sum(map(len, segments)) == len(mine)
    states = tables.trials[tables.trials["space"] == "resnet"]["state"].value_counts()
    for state in ("stopped", "finished", "interrupted"):
        assert len(np.asarray(line(canvas, 0, state).get_xdata())) == states[state]
    under = [text.get_text() for text in canvas.axes[2].texts]
    alive = [int((tables.trials.query("space == 'resnet'")["epochs_trained"] >= e).sum()) for e in range(1, 10)]
    assert under == [str(number) for number in alive]


def test_effects_tell_full_length_from_fewer_epochs(studies: dict[str, StudyTables]) -> None:
    tables = studies["normal"]
    _, figure, data = next(iter(FIGURES["effects"].parts("effects", tables)))
    canvas = drawn(figure, data, tables)
    names = [parameter["name"] for parameter in tables.plan["spaces"]["resnet"]["parameters"]]
    trials = tables.trials[tables.trials["space"] == "resnet"]
    sgd = trials[trials["optimizer"] == "sgd"]
    panel = names.index("sgd_lr")
    assert canvas.axes[panel].get_xscale() == "log"
    assert canvas.axes[panel].get_xlabel() == "sgd_lr\n(only optimizer = sgd)"
    finished = sgd[sgd["state"] == "finished"]
    full = line(canvas, panel, "full")
    assert sorted(np.asarray(full.get_xdata())) == sorted(finished["sgd_lr"])
    assert sorted(np.asarray(full.get_ydata())) == sorted(finished["score"])
    short = line(canvas, panel, "short")
    assert len(np.asarray(short.get_xdata())) == sgd["state"].isin(["stopped", "interrupted"]).sum()
    assert short.get_markerfacecolor() == "white"
    assert np.asarray(line(canvas, panel, "reference").get_xdata())[0] == 0.1
    order = [text.get_text() for text in canvas.axes[names.index("activation")].get_xticklabels()]
    assert order == ["relu", "gelu", "silu"]
    bad = trials["state"].isin(["diverged", "failed"]).sum()
    assert len(np.asarray(line(canvas, 0, "none").get_xdata())) == bad


def test_best_so_far_ends_at_the_whole_budget(studies: dict[str, StudyTables]) -> None:
    tables = studies["normal"]
    figure = FIGURES["best_so_far"]
    data = figure.data(tables)
    stairs = drawn(figure, data, tables).axes[0].lines[0]
    spent = tables.trials[tables.trials["space"] == "resnet"]["epochs_trained"].sum()
    assert np.asarray(stairs.get_xdata())[-1] == spent
    finished = tables.trials.query("space == 'resnet' and state == 'finished'")["score"]
    assert np.asarray(stairs.get_ydata())[-1] == finished.max()
    assert "One study: no uncertainty of the search." in figure.caption(data, tables)


def test_test_scores_show_every_seed_and_no_interval_below_three(studies: dict[str, StudyTables]) -> None:
    figure = FIGURES["test_scores"]
    normal, single = studies["normal"], studies["one_trial"]
    seeds = drawn(figure, figure.data(normal), normal).axes[0].lines[0]
    assert sorted(np.asarray(seeds.get_xdata())) == sorted(normal.final.query("space == 'resnet'")["test_score"])
    data = figure.data(single)
    assert data.loc[data["kind"] == "mean", ["low", "high"]].isna().all(axis=None)
    assert "too few for an interval" in figure.alt(data, single)
    assert [text.get_text() for text in drawn(figure, data, single).legends[0].get_texts()] == ["mean", "one seed"]
    shown = [text.get_text() for text in drawn(figure, figure.data(normal), normal).legends[0].get_texts()]
    assert shown == ["mean and 95 % interval", "one seed"]


def test_captions_name_spaces_in_the_order_of_the_plan(tmp_path: Path) -> None:
    tables = analysis.read(SampleRun(spaces=("vgg", "lenet", "resnet"), trials=1, accidents=False).write(tmp_path))
    shuffled = StudyTables(**{**vars(tables), "final": tables.final[::-1].reset_index(drop=True)})
    for name in ("test_scores", "final_curves"):
        caption = FIGURES[name].caption(FIGURES[name].data(shuffled), shuffled)
        assert "(vgg n = 4, lenet n = 4 and resnet n = 4" in caption


@pytest.mark.parametrize("count", range(1, 16))
def test_every_mark_of_a_class_stays_in_its_row(count: int) -> None:
    spaces = [f"space{number}" for number in range(count)]
    classes = ["cat", "dog", "cow"]
    rows = [(space, name, 0.5, 0.4, 0.6, 9, 2) for space in spaces for name in classes]
    data = pd.DataFrame(rows, columns=["space", "class", "accuracy", "low", "high", "images", "seeds"])
    plan = {"spaces": dict.fromkeys(spaces), "metric": {"name": "accuracy", "unit": "fraction"}}
    with style.style():
        axes = FIGURES["class_accuracy"].canvas(data, plan).axes[0]
    marks = np.array([line.get_ydata() for line in axes.lines if len(np.asarray(line.get_xdata())) == len(classes)])
    assert marks.shape == (count, len(classes))
    assert (np.abs(marks - np.arange(len(classes))) <= 0.4 + 1e-9).all()
    assert (np.diff(marks, axis=0) > 0.05).all()
    lines = [line for line in axes.lines if len(np.asarray(line.get_xdata())) == 2]
    assert [np.asarray(line.get_ydata())[0] for line in lines] == [0.5, 1.5]


def test_final_means_exist_only_where_every_seed_does(studies: dict[str, StudyTables]) -> None:
    tables = studies["normal"]
    figure = FIGURES["final_curves"]
    cut = tables.final_epochs
    cut = cut[(cut["final"] != tables.final["final"].iloc[0]) | (cut["epoch"] <= 5)]
    shorter = StudyTables(**{**vars(tables), "final_epochs": cut})
    means = figure.data(shorter).query("kind == 'mean' and space == 'resnet' and split == 'validation'")
    assert means["epoch"].max() == 5
    whole = figure.data(tables).query("kind == 'mean' and quantity == 'score' and split == 'validation'")
    assert whole["epoch"].max() == MAX_EPOCHS
    first = tables.final_epochs.merge(tables.final[["final", "space"]]).query("space == 'resnet' and epoch == 1")
    assert whole["value"].iloc[0] == pytest.approx(first["val_score"].mean())


def test_small_images_are_enlarged_pixel_by_pixel(studies: dict[str, StudyTables]) -> None:
    tables = studies["normal"]
    _, figure, data = next(iter(FIGURES["examples"].parts("examples", tables)))
    image = drawn(figure, data, tables).axes[0].images[0]
    shown = np.asarray(image.get_array())
    assert image.get_interpolation() == "none"
    assert shown.shape == (128, 128)
    assert (shown[::16, ::16] == data["image"].iloc[0][..., 0]).all()


def test_many_curves_are_rasterised(studies: dict[str, StudyTables]) -> None:
    tables = studies["normal"]
    figure = FIGURES["learning_curves"]
    data = figure.data(tables)
    copies = [data.assign(trial=data["trial"] + str(copy)) for copy in range(40)]
    canvas = drawn(figure, pd.concat(copies, ignore_index=True), tables)
    assert canvas.axes[0].collections[0].get_rasterized()
    assert not drawn(figure, data, tables).axes[0].collections[0].get_rasterized()


def test_the_same_figure_has_the_same_bytes(studies: dict[str, StudyTables]) -> None:
    tables = studies["one_trial"]
    figure = FIGURES["best_so_far"]
    data = figure.data(tables)
    with style.style():
        first, second = (style.files(figure.canvas(data, tables.plan)) for _ in range(2))
    assert first == second
    assert set(first) == {"svg", "png", "pdf"}


@pytest.mark.parametrize("room", [8, 12])
def test_short_names_of_classes_stay_apart(room: int) -> None:
    names = [f"category_{number:06}" for number in range(20)] + [
        "cat",
        "a" * 9 + "xy" + "b" * 9,
        "a" * 9 + "zy" + "b" * 9,
    ]
    shown = short_names(names, room)
    assert len(set(shown.values())) == len(names)
    assert shown["cat"] == "cat"
    assert all(len(shown[name]) <= room for name in names[:20])
    assert shown["category_000007"].startswith("cat")
    assert shown["category_000007"].endswith("007")


def test_class_names_that_no_font_has_are_drawn_without_a_warning(tmp_path: Path) -> None:
    classes = tuple(f"\u732b{chr(0x10330 + number)}" for number in range(10))  # warnings are errors here
    tables = analysis.read(SampleRun(spaces=("resnet",), classes=classes, trials=2, seeds=2).write(tmp_path))
    for _, figure, data in FIGURES["confusion"].parts("confusion", tables):
        with style.style():
            written = style.files(figure.canvas(data, tables.plan))
        assert classes[0] in written["svg"].decode()


def test_crowded_effects_show_the_best_the_worst_and_some_between(studies: dict[str, StudyTables]) -> None:
    tables = studies["normal"]
    figure = FIGURES["effects"]
    _, part, data = next(iter(figure.parts("effects", tables)))
    assert shown(data).equals(data)
    assert "are drawn, evenly" not in part.caption(data, tables)
    copies = [
        data.assign(
            trial=data["trial"] + str(copy), score=data["score"] + copy / 1000, winner=data["winner"] & (copy == 20)
        )
        for copy in range(40)
    ]
    many = pd.concat(copies, ignore_index=True)
    few = shown(many)
    sizes = few[~few["winner"]].groupby(["parameter", "length"]).size()
    assert MOST_SHOWN - 1 <= sizes.max() <= MOST_SHOWN
    assert len(few[few["winner"]]) == len(data[data["winner"]])
    for length in ("full", "short"):
        panel, all_of_it = (
            table[(table["parameter"] == "width") & (table["length"] == length)]["score"] for table in (few, many)
        )
        assert (panel.min(), panel.max()) == (all_of_it.min(), all_of_it.max())
        assert panel.median() == pytest.approx(all_of_it.median(), abs=0.02)
    assert f"{MOST_SHOWN} are drawn, evenly over their ranking" in part.caption(many, tables)
    canvas = drawn(part, many, tables)
    assert len(np.asarray(line(canvas, 0, "short").get_xdata())) == MOST_SHOWN


def test_a_hatch_is_seen_in_every_format(studies: dict[str, StudyTables]) -> None:
    tables = studies["normal"]
    figure = FIGURES["spending"]
    bars = drawn(figure, figure.data(tables), tables).axes[0].patches
    hatched = [bar for bar in bars if bar.get_hatch()]
    assert hatched
    for bar in hatched:
        assert to_rgba(bar.get_facecolor())[3] == 1  # an SVG file gives a hatch the face's opacity
        assert to_hex(bar.get_facecolor()) != to_hex(bar.get_edgecolor())


def test_svg_files_keep_two_decimals_and_every_text() -> None:
    canvas = style.new_canvas(2)
    axes = canvas.subplots()
    axes.plot([0, 1, 2], [0.123456, 0.7, 0.3])
    axes.set_title("rate 0.123456 and 7.654321 more")
    with style.style():
        svg = style.files(canvas)["svg"].decode()
    assert "rate 0.123456 and 7.654321 more" in svg
    assert not re.search(r'[ "]\d+\.\d{3,}[ "]', re.sub(r"<text.*?</text>", "", svg, flags=re.DOTALL))


def test_captions_of_restored_images_speak_of_decibels_and_of_no_share_of_images(
    studies: dict[str, StudyTables],
) -> None:
    tables, said = studies["restored"], []
    for name, figure in FIGURES.items():
        for _, part, data in figure.parts(name, tables) if figure.is_for(tables.plan) else ():
            if data.empty:
                continue
            said += [part.caption(data, tables), part.alt(data, tables)]
            if name in ("test_scores", "final_curves"):
                said += [axes.get_ylabel() + axes.get_xlabel() for axes in drawn(part, data, tables).axes]
    text = " ".join(said)
    assert "test PSNR (dB)" in text
    assert "Psnr" not in text
    assert not re.search(r"nats|Wilson|accuracy|from chance", text)


def test_the_fonts_of_a_pdf_have_the_letters_and_not_the_layout_tables_that_take_long_to_cut_down() -> None:
    before = [*Options().drop_tables]
    with style.style():
        canvas = style.new_canvas(2)
        canvas.subplots().set_title("fit")
        printed = style.files(canvas)["pdf"]
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", printed, re.DOTALL)
    unpacked = [zlib.decompress(stream) for stream in streams if stream[:1] == b"x"]
    fonts = [TTFont(BytesIO(found)) for found in unpacked if found[:4] == b"\0\1\0\0"]
    assert fonts
    for font in fonts:
        assert "glyf" in font
        assert not {"GSUB", "GPOS", "GDEF"} & {*font.keys()}
    assert Options().drop_tables == before


def test_no_interval_of_a_score_is_drawn_beyond_what_a_score_can_be(tmp_path: Path) -> None:
    tables = analysis.read(SampleRun(trials=4, accidents=False).write(tmp_path))
    final = tables.final.assign(val_score=0.999, test_score=[0.99, 1.0, 1.0, 0.995] * 2)
    near = StudyTables(**{**vars(tables), "final": final})
    assert max(interval.high for interval in verdicts.score_intervals(near).values()) > 1
    scores, stages = (FIGURES[name].data(near) for name in ("test_scores", "gain"))
    assert scores[scores["kind"] == "mean"]["high"].tolist() == [1.0, 1.0]
    assert stages[stages["stage"] == 3]["high"].tolist() == [1.0, 1.0]
    assert (stages["high"].dropna() <= 1).all()
    assert wording.cut(Interval(-1.0, -2.0, 3.0, 3), {"metric": {"unit": "dB"}}) == Interval(-1.0, -2.0, 3.0, 3)


def test_seven_spaces_are_told_apart_in_grey() -> None:
    plan = {"spaces": dict.fromkeys("abcdefg")}
    looks = [style.look(space, plan) for space in plan["spaces"]]
    assert len({look["marker"] for look in looks}) == len({look["linestyle"] for look in looks}) == 7
    assert len({style.hatch(space, plan) for space in plan["spaces"]}) == 7


def test_no_figure_is_higher_than_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = [{**parameter, "name": f"{parameter['name']}_{copy}"} for copy in range(3) for parameter in PARAMETERS]
    monkeypatch.setattr(sample_run, "parameters", lambda: [*PARAMETERS, *({**one, "when": None} for one in more)])
    tables = analysis.read(SampleRun(trials=30).write(tmp_path))
    for one in more:
        tables.trials[one["name"]] = tables.trials["weight_decay"].map(lambda _, of=one: of.get("choices", [0.001])[0])
    names = []
    for name, figure in FIGURES.items():
        for file, part, data in figure.parts(name, tables) if figure.is_for(tables.plan) else ():
            if not data.empty:
                assert drawn(part, data, tables).get_figheight() <= HIGHEST, file
                names.append((file, part.title, data))
    shown = [(file, title) for file, title, _ in names if file.startswith("effects-resnet")]
    assert shown == [
        ("effects-resnet", "Effect of each hyperparameter: resnet (1 of 3)"),
        ("effects-resnet-part2", "Effect of each hyperparameter: resnet (2 of 3)"),
        ("effects-resnet-part3", "Effect of each hyperparameter: resnet (3 of 3)"),
    ]
    parts = [list(data["parameter"].unique()) for file, _, data in names if file.startswith("effects-resnet")]
    assert [len(part) for part in parts] == [11, 11, 10]
    assert [name for part in parts for name in part] == [parameter["name"] for parameter in sample_run.parameters()]


def test_effects_mark_the_winner_also_where_another_trial_ties_with_it(studies: dict[str, StudyTables]) -> None:
    tables = studies["normal"]
    won = str(stats.winners(tables).set_index("space")["trial"]["resnet"])
    full = tables.trials.query("space == 'resnet' and state == 'finished'")
    tied = replace(tables, trials=tables.trials.assign(score=tables.trials["score"].mask(full["score"].notna(), 0.9)))
    _, figure, data = next(iter(FIGURES["effects"].parts("effects", tied)))
    canvas = drawn(figure, data, tied)
    assert np.asarray(line(canvas, 0, "winner").get_ydata()).tolist() == [0.9]
    assert set(data.loc[data["winner"], "trial"]) == {won}
    assert figure.alt(data, tied).startswith(f"resnet: the winner, {won}, ")
    assert f"winner, {won}" in [text.get_text() for text in canvas.legends[0].get_texts()]


def test_best_settings_show_the_winner_and_what_applies_to_it(
    studies: dict[str, StudyTables], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = studies["normal"]
    won = str(stats.winners(tables).set_index("space")["trial"]["resnet"])
    mine = tables.trials["trial"] == won
    behind = replace(tables, trials=tables.trials.assign(score=tables.trials["score"].mask(mine, 0.0)))
    epochs = behind.epochs.assign(val_score=behind.epochs["val_score"].mask(behind.epochs["trial"] == won, 0.0))
    behind = replace(behind, epochs=epochs)  # the last of the ranking at full length, but retrained best
    monkeypatch.setattr(combinations, "AXES", 2)
    applies = [name for name in ("sgd_lr", "adamw_lr") if tables.trials.loc[mine, name].notna().item()]
    other = {"sgd_lr": "adamw_lr", "adamw_lr": "sgd_lr"}[applies[0]]
    monkeypatch.setattr(importance, "deciding", lambda *_: (MAX_EPOCHS, [other, "blocks", applies[0], "width"]))
    _, figure, data = next(iter(FIGURES["best_settings"].parts("best_settings", behind)))
    assert set(data["parameter"]) == {"blocks", applies[0]}
    rows = data[data["winner"]]
    assert set(rows["trial"]) == {won}
    assert rows["rank"].iloc[0] == (tables.trials.query("space == 'resnet'")["state"] == "finished").sum()
    canvas = drawn(figure, data, behind)
    (bold,) = (marks for marks in canvas.axes[0].collections if marks.get_gid() == "winner")
    (segment,) = bold.get_segments()  # type: ignore[attr-defined]
    assert np.asarray(segment)[:, 1] == pytest.approx(rows["height"].to_numpy())
    assert canvas.legends[0].get_texts()[0].get_text() == f"winner, {won}"
    said = figure.alt(data, behind)
    assert all(f"{name} " in said for name in ("width", "weight_decay", applies[0]))


def test_a_study_of_many_spaces_has_no_figure_higher_than_a_page(tmp_path: Path) -> None:
    spaces = tuple(f"space{number}" for number in range(15))
    every = {**ABLATION, "baseline": "space0", "steps": list(spaces)}
    tables = analysis.read(SampleRun(spaces=spaces, trials=3, experiment=every).write(tmp_path))
    files = []
    for name, figure in FIGURES.items():
        if figure.per_space or not figure.is_for(tables.plan):
            continue
        for file, part, data in figure.parts(name, tables):
            files.append(file)
            if not data.empty:
                assert drawn(part, data, tables).get_figheight() <= HIGHEST, file
    assert {"learning_curves", "learning_curves-part2", "learning_curves-part3"} <= set(files)
    parts = [data for file, _, data in FIGURES["learning_curves"].parts("learning_curves", tables)]
    assert [list(part["space"].unique()) for part in parts] == [list(spaces[at : at + 5]) for at in (0, 5, 10)]
    assert "(n = 15 of 15)" in FIGURES["learning_curves"].caption(parts[0], tables)
    classes = [data["class"].unique().tolist() for _, _, data in FIGURES["class_accuracy"].parts("c", tables)]
    assert [name for part in classes for name in part] == list(map(str, range(10)))
    assert "All 360 test images" in FIGURES["class_accuracy"].caption(
        next(iter(FIGURES["class_accuracy"].parts("c", tables)))[2], tables
    )


def test_numbers_at_risk_show_every_rung_and_do_not_run_together(studies: dict[str, StudyTables]) -> None:
    tables = studies["normal"]
    data = FIGURES["learning_curves"].data(tables)
    plan = tables.plan | {"rungs": [2, 4, 8, 16, 32], "max_epochs": 50}
    far = data[data["space"] == "resnet"].assign(at_risk=5000)
    with style.style():
        canvas = FIGURES["learning_curves"].canvas(far, {**plan, "spaces": {"resnet": plan["spaces"]["resnet"]}})
        canvas.draw_without_rendering()
        texts = canvas.axes[1].texts
        boxes = [text.get_window_extent() for text in texts]
    assert {2, 4, 8, 16, 32, 50} <= {text.get_position()[0] for text in texts}
    assert not [(a, b) for a, b in combinations_of(boxes, 2) if a.overlaps(b)]


def test_a_short_last_row_of_rungs_leaves_no_panel_without_numbers(studies: dict[str, StudyTables]) -> None:
    tables, figure = studies["normal"], FIGURES["rung_best"]
    one = figure.data(tables).query("epoch == 1")
    data = pd.concat([one.assign(epoch=epoch) for epoch in (1, 2, 4, 8)])
    panels = drawn(figure, data, tables).axes
    labels = [(axes.get_xlabel(), axes.xaxis.get_tick_params()["labelbottom"]) for axes in panels[:4]]
    assert [label for label, _ in labels] == ["", "epochs spent", "epochs spent", "epochs spent"]
    assert [shown for _, shown in labels] == [False, True, True, True]


def test_spaces_of_any_name_have_files_of_their_own() -> None:
    spaces = ["a€", "a AC", "a=20AC", "a=E2=82=AC", "a/b", "a=2Fb", "a=", "a=3D", "aé", "a\ud800"]
    names = [file_name(space) for space in spaces]
    assert names[:2] == ["a=E2=82=AC", "a=20AC"]
    assert len(set(names)) == len(spaces)
    assert all(re.fullmatch(r"[\w.=-]+", name) for name in names)
