"""The replication table: what counts as a replication, what is said of it, and the page that is committed."""

import copy
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
    **{"scale": "printed", "figures": ["test_scores"], "baseline": None, "steps": []},
    "variants": {
        "plain_cnn": {"network": "C-plain-cnn", "fix": {}, "reference": {}},
        "resnet18": {"network": "C-resnet18", "fix": {}, "reference": {}},
    },
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> StudyTables:
    """Two networks of C on what says it is CIFAR-10, the reference setting alone."""
    run = SampleRun(spaces=("plain_cnn", "resnet18"), trials=1, data="cifar10", experiment=C)
    file = run.write(tmp_path_factory.mktemp("replication") / "run") / "study.json"
    plan = json.loads(file.read_text())
    plan["dataset"]["image_shape"] = [3, 32, 32]
    file.write_text(json.dumps(plan))
    return analysis.read(file.parent)


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
    assert measured["run_as"] == "optimizer sgd, sgd_lr 0.1, weight_decay 0.0005, augment True, 9 epochs in float32"
    assert measured["machine"] == "Imaginary CPU, 2 cores, no GPU"
    assert measured["command"] == "python -m study.run --space plain_cnn resnet18"
    assert measured["date"].startswith("20")
    assert found(tables)["C-densenet"] == (None, "densenet was not tested")


BARE: dict[str, Any] = {"network": None, "fix": {}, "reference": {}}
UNLIKE: list[tuple[dict[str, Any], str]] = [
    ({"dataset": {"name": "digits"}}, "digits instead of cifar10"),
    ({"dataset": {"classes": ["cat", "dog"]}}, "2 classes instead of 10"),
    ({"dataset": {"image_shape": [3, 8, 8]}}, "images of 8x8 instead of 32x32 pixels"),
    ({"row": {"image_size": [96, 96]}}, "images of 32x32 instead of 96x96 pixels"),
    ({"row": {"epochs": 100}}, "9 epochs instead of 100"),
    ({"row": {"config": {"optimizer": "adam"}}}, "not as printed: optimizer sgd"),
    ({"origin": "tpe"}, "the winner plain_cnn-0000 was tuned"),
    ({"experiment": {"file": "/mine/four_networks.toml"}}, "an experiment of your own, /mine/four_networks.toml"),
    ({"experiment": {"scale": "small"}}, "the small form of the experiment"),
    ({"variant": {"network": "B-conv"}}, "the network B-conv instead of C-plain-cnn"),
    ({"variant": {"fix": {"width": 3}}}, "not the source's network: width 3"),
    ({"variant": {"reference": {"activation": "gelu"}}}, "not the source's network: activation gelu"),
    ({"variant": BARE}, "activation, blocks, width not held as in a network of the source"),
    ({"variant": BARE, "row": {"config": {"activation": "relu", "blocks": 2, "width": 3}}}, "not as printed: width 16"),
]


@pytest.mark.parametrize(("change", "why"), UNLIKE, ids=[why for _, why in UNLIKE])
def test_a_study_that_is_unlike_the_source_measures_nothing(
    tables: StudyTables, change: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = copy.deepcopy(tables.plan)
    plan["dataset"] |= change.get("dataset", {})
    plan["experiment"] |= change.get("experiment", {})
    plan["experiment"]["variants"]["plain_cnn"] |= change.get("variant", {})
    trials = tables.trials.assign(origin=change["origin"]) if "origin" in change else tables.trials
    row = {**ROWS["C-plain-cnn"], **change.get("row", {})}
    monkeypatch.setattr(replication, "REPORTED", [row])
    assert found(replace(tables, plan=plan, trials=trials)) == {"C-plain-cnn": (None, why)}


def test_a_folder_of_the_images_counts_and_says_so(tables: StudyTables) -> None:
    measured, why = found(changed(tables, dataset={**tables.plan["dataset"], "loader": "folder"}))["C-plain-cnn"]
    assert why == ""
    assert measured is not None
    assert measured["run_as"].endswith("9 epochs in float32, images read from a folder of files")


def cell(low: float, high: float, n: int = 5, **more: Any) -> str:
    numbers = {"mean": (low + high) / 2, "low": low, "high": high, "n": n, "train_images": 50_000}
    return replication.shown(ROWS["C-plain-cnn"], {**numbers, "test_images": 10_000, **more})["reported lies"]


def test_the_reported_score_is_inside_or_outside_on_a_side() -> None:
    nothing = float("nan")
    assert cell(0.59, 0.61) == "inside"
    assert cell(0.61, 0.63) == "outside: ours is higher"
    assert cell(0.55, 0.59) == "outside: ours is lower"
    assert cell(0.604, 0.62) == "inside"  # 60 % is what 60.4 % is printed as
    assert cell(0.606, 0.62) == "outside: ours is higher"
    assert cell(nothing, nothing, n=2) == "no interval below 3 seeds"


def test_a_measurement_on_a_part_of_the_images_is_no_replication() -> None:
    assert cell(0.59, 0.61, train_images=5_000) == "on a part of the images"
    assert cell(0.61, 0.63, test_images=2_000) == "on a part of the images"


@pytest.mark.parametrize(
    ("used", "told"),
    [(["float32", "bfloat16"], " in bfloat16 and float32"), (["bfloat16"], " in bfloat16"), ([None], "")],
)
def test_the_precision_of_final_runs_is_told_where_the_log_has_it(
    tables: StudyTables, used: list[str | None], told: str, tmp_path: Path
) -> None:
    events = [json.loads(line) for line in (tables.run_dir / "events.jsonl").read_text().splitlines()]
    started = [event for event in events if event["event"] == "final_started" and event["space"] == "plain_cnn"]
    for number, event in enumerate(started):
        event["precision"] = used[number % len(used)]
    (tmp_path / "events.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events))
    measured = found(replace(tables, run_dir=tmp_path))["C-plain-cnn"][0]
    assert measured is not None
    assert measured["run_as"].endswith(f"9 epochs{told}")


def test_fewer_images_than_published_are_said() -> None:
    numbers = {"mean": 0.6, "low": 0.59, "high": 0.61, "n": 5, "train_images": 5_000, "test_images": 10_000}
    shown = replication.shown(ROWS["C-plain-cnn"], numbers)["ours"].replace("\N{NO-BREAK SPACE}", " ")
    assert shown == "60.0 % (59.0 to 61.0), n = 5, 5,000 of 50,000 training images"


def test_the_report_of_an_experiment_has_what_was_reported_beside_it(tables: StudyTables) -> None:
    rows = {row["network"][0]: row for row in experiment.reported_rows(tables)}
    assert len(rows) == 4
    assert rows["plain CNN, CIFAR-10"]["reported"][0] == "60 %"
    assert rows["plain CNN, CIFAR-10"]["reported lies"][0] == "on a part of the images"
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


def test_fewer_seeds_do_not_replace_more(
    tables: StudyTables, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "replication.csv"
    row = {**(found(tables)["C-plain-cnn"][0] or {}), "n": 5}
    replication.save([row], table)
    assert replication.main([str(tables.run_dir), "--table", str(table)]) == 0
    assert "C-plain-cnn: measured with n = 4, but the table has n = 5, which stays." in capsys.readouterr().out
    assert [measured["n"] for measured in replication.load(table)] == [5, 4]
    replication.save([{**row, "n": 3}], table)
    assert replication.main([str(tables.run_dir), "--table", str(table)]) == 0
    assert "stays" not in capsys.readouterr().out
    assert [measured["n"] for measured in replication.load(table)] == [4, 4]


def test_a_table_that_has_no_folder_is_answered(
    tables: StudyTables, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert replication.main([str(tables.run_dir)]) == 2
    said = capsys.readouterr().err
    assert "--table is docs/replication.csv, but there is no folder docs" in said
    assert "--table FILE" in said


def test_a_run_with_other_images_stands_beside_the_whole_one(tables: StudyTables) -> None:
    whole = found(tables)["C-plain-cnn"][0]
    assert whole is not None
    fewer = {**whole, "train_images": 100}
    tested = {**whole, "test_images": 100}
    better = {**whole, "mean": 0.9}
    assert replication.merged([whole, fewer, tested], [better]) == [fewer, tested, better]
    page = replication.page([fewer]).splitlines()
    row = next(line for line in page[page.index("## How each was measured") :] if line.startswith("| C, plain CNN"))
    assert row.split(" | ")[1] == "100 training, 360 test"


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
