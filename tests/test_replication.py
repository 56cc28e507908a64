"""The replication table: what counts as a replication, what is said of it, and the page that is committed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis import experiment, replication, verdicts
from analysis.tables import StudyTables
from tests.sample_run import SampleRun

DOCS = Path(__file__).parents[1] / "docs"
ROWS = {row["id"]: row for row in replication.REPORTED}
C: dict[str, Any] = {
    **{"title": "Four networks", "source": "C", "question": "Which?", "name": "four_networks", "file": None},
    **{"scale": "printed", "figures": ["test_scores"], "baseline": None, "steps": [], "variants": {}},
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> StudyTables:
    """Two networks of C on what says it is CIFAR-10, the reference setting alone."""
    run = SampleRun(spaces=("plain_cnn", "resnet18"), trials=1, data="cifar10", experiment=C)
    return analysis.read(run.write(tmp_path_factory.mktemp("replication") / "run"))


def changed(tables: StudyTables, **changes: Any) -> StudyTables:
    return replace(tables, plan={**tables.plan, **changes})


def found(tables: StudyTables) -> dict[str, tuple[dict[str, Any] | None, str]]:
    return {row["id"]: (measured, why) for row, measured, why in replication.measure(tables)}


def test_what_was_measured_is_the_interval_of_the_report_and_where_it_comes_from(tables: StudyTables) -> None:
    measured, why = found(tables)["C-plain-cnn"]
    assert measured is not None
    assert why == ""
    interval = verdicts.score_intervals(tables)["plain_cnn"]
    assert (measured["mean"], measured["low"], measured["high"]) == (interval.mean, interval.low, interval.high)
    assert (measured["n"], measured["epochs"], measured["train_images"]) == (4, 9, 1150 + 287)
    assert measured["run_as"] == "optimizer sgd, sgd_lr 0.1, weight_decay 0.0005, augment True, 9 epochs"
    assert measured["machine"] == "Imaginary CPU, 2 cores, no GPU"
    assert measured["command"] == "python -m study.run --space plain_cnn resnet18"
    assert measured["date"].startswith("20")
    assert found(tables)["C-densenet"] == (None, "densenet was not tested")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"dataset": "digits"}, "digits instead of cifar10"),
        ({"row": {"epochs": 100}}, "9 epochs instead of 100"),
        ({"row": {"image_size": [96, 96]}}, "images of 8x8 instead of 96x96 pixels"),
        ({"row": {"config": {"optimizer": "adam"}}}, "not as printed: optimizer sgd"),
        ({"origin": "tpe"}, "the winner plain_cnn-0000 was tuned"),
    ],
)
def test_a_study_that_is_unlike_the_source_measures_nothing(
    tables: StudyTables, change: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tables
    if "dataset" in change:
        other = changed(tables, dataset={**tables.plan["dataset"], "name": change["dataset"]})
    if "origin" in change:
        other = replace(tables, trials=tables.trials.assign(origin=change["origin"]))
    row = {**ROWS["C-plain-cnn"], **change.get("row", {})}
    monkeypatch.setattr(replication, "REPORTED", [row])
    assert found(other) == {"C-plain-cnn": (None, why)}


def cell(low: float, high: float, n: int = 5, **more: Any) -> str:
    numbers = {"mean": (low + high) / 2, "low": low, "high": high, "n": n, "train_images": 50_000}
    return replication.shown(ROWS["C-plain-cnn"], {**numbers, "test_images": 10_000, **more})["reported lies"]


def test_the_reported_score_is_inside_or_outside_on_a_side() -> None:
    nothing = float("nan")
    assert cell(0.59, 0.61) == "inside"
    assert cell(0.61, 0.63) == "outside: ours is higher"
    assert cell(0.55, 0.59) == "outside: ours is lower"
    assert cell(nothing, nothing, n=2) == "no interval below 3 seeds"


def test_fewer_images_than_published_are_said() -> None:
    numbers = {"mean": 0.6, "low": 0.59, "high": 0.61, "n": 5, "train_images": 5_000, "test_images": 10_000}
    shown = replication.shown(ROWS["C-plain-cnn"], numbers)["ours"].replace("\N{NO-BREAK SPACE}", " ")
    assert shown == "60.0 % (59.0 to 61.0), n = 5, 5,000 of 50,000 training images"


def test_the_report_of_an_experiment_has_what_was_reported_beside_it(tables: StudyTables) -> None:
    rows = {row["network"][0]: row for row in experiment.reported_rows(tables)}
    assert len(rows) == 4
    assert rows["plain CNN, CIFAR-10"]["reported"][0] == "60 %"
    assert rows["plain CNN, CIFAR-10"]["reported lies"][0] == "outside: ours is higher"
    assert rows["simple DenseNet, CIFAR-10"]["ours"][0] == "not measured here: densenet was not tested"
    assert "never trained" in rows["ResNet-18, CIFAR-10"]["remark"][0]


def test_a_run_folder_becomes_rows_and_the_page(
    tables: StudyTables, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "replication.csv"
    assert replication.main([str(tables.run_dir), "--table", str(table)]) == 0
    assert "C-densenet: densenet was not tested" in capsys.readouterr().out
    first = table.read_bytes()
    page = (tmp_path / "replication.md").read_text()
    assert page.count("not measured") == len(ROWS) - 2
    assert "`python -m study.run --space plain_cnn resnet18`" in page
    assert replication.main([str(tables.run_dir), "--table", str(table)]) == 0  # the same again replaces itself
    assert table.read_bytes() == first
    assert replication.main(["--table", str(table)]) == 0
    assert (tmp_path / "replication.md").read_text() == page


def test_a_folder_that_is_none_is_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replication.main([str(tmp_path), "--table", str(tmp_path / "t.csv")]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    assert not (tmp_path / "t.csv").exists()


def test_a_run_with_other_images_stands_beside_the_whole_one(tables: StudyTables) -> None:
    whole = found(tables)["C-plain-cnn"][0]
    assert whole is not None
    fewer = {**whole, "train_images": 100}
    better = {**whole, "mean": 0.9}
    assert replication.merged([whole, fewer], [better]) == [fewer, better]


def test_the_committed_page_is_that_of_the_committed_numbers() -> None:
    rows = replication.load(DOCS / "replication.csv")
    assert (DOCS / "replication.md").read_text(encoding="utf-8") == replication.page(rows)


def test_each_reported_row_is_sound() -> None:
    keys = {"id", "source", "network", "on", "dataset", "setting", "text", "reason"}
    more = {"reported", "experiment", "variant", "epochs", "image_size", "config"}
    assert len(ROWS) == len(replication.REPORTED)
    for row in replication.REPORTED:
        assert keys <= row.keys() <= keys | more, row["id"]
        assert row["dataset"] in replication.PUBLISHED
        if "reported" in row:
            assert f"{100 * row['reported']:g}" in row["text"].replace(".20", ".2")
    assert json.dumps(replication.REPORTED)
