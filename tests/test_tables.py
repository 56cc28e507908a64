"""The tables against hand-made logs, the statistics against hand and scipy, the contract against its page."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as reference

import analysis
from analysis import predictions, stats, tables
from analysis.attempts import ATTEMPT_COLUMNS, attempts
from analysis.events import EVENTS, BrokenLogError
from tests.sample_run import MAX_EPOCHS, SampleRun

PAGE = Path(__file__).parents[1] / "docs" / "tables.md"
WORKER = {"node": "n", "worker": 1}
PLACE = {
    "attempt": 1,
    "from_epoch": 0,
    "parameters": 500,
    "multiply_adds": 9000,
    "device": "cpu",
    "precision": "float32",
    **WORKER,
}


class Log:
    """A run folder written event by event."""

    def __init__(self, folder: Path) -> None:
        self.folder = SampleRun(spaces=("resnet",), trials=0, final=False).write(folder)
        self.lines: list[dict[str, Any]] = []

    def add(self, event: str, **fields: object) -> None:
        self.lines.append({"event": event, "time": float(len(self.lines)), **fields})

    def suggest(self, trial: str) -> None:
        index = int(trial[-4:])
        config = {"width": 8, "optimizer": "sgd", "sgd_lr": 0.1}
        space = trial[:-5]
        self.add("suggested", trial=trial, space=space, index=index, origin="tpe", config=config, seed=1)
        self.add("started", trial=trial, **PLACE)

    def epoch(self, owner: str, epoch: int, score: float | None, event: str = "epoch") -> None:
        row = {"train_loss": 1.0, "train_score": 0.5, "val_loss": 1.0, "val_score": score, "lr": 0.1}
        name = "trial" if event == "epoch" else "final"
        self.add(event, **{name: owner}, epoch=epoch, **row, seconds=2.0, images_per_second=10.0)

    def end(self, trial: str, state: str, epochs: int, error: str | None = None) -> None:
        self.add("ended", trial=trial, state=state, epochs_trained=epochs, error=error)

    def open(self) -> None:
        self.add("study_opened", trials=3, slots=2, time_budget=None, command=[])

    def final(self, trial: str, seed: int, score: float | None) -> None:
        final = f"{trial}-seed{seed}"
        self.add("final_started", final=final, space=trial[:-5], trial=trial, seed=seed, **PLACE)
        self.epoch(final, 1, 0.9, "final_epoch")
        self.add("final_ended", final=final, state="finished", epochs_trained=MAX_EPOCHS, error=None)
        if score is not None:
            self.add("final_tested", final=final, test_loss=0.1, test_score=score, images=100)

    def read(self) -> tables.StudyTables:
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        (self.folder / "events.jsonl").write_text(text, encoding="utf-8")
        return analysis.read(self.folder)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "run")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tables.StudyTables:
    return analysis.read(SampleRun().write(tmp_path_factory.mktemp("sample") / "run"))


def test_a_stopped_trial_has_its_rung_and_the_score_of_its_last_epoch(log: Log) -> None:
    log.suggest("resnet-0000")
    for epoch, score in enumerate((0.5, 0.7, 0.6), 1):
        log.epoch("resnet-0000", epoch, score)
    log.add("decision", trial="resnet-0000", epoch=3, score=0.6, cutoff=0.8, compared=3, action="stop")
    log.end("resnet-0000", "stopped", 3)
    row = log.read().trials.iloc[0]
    told = row[["state", "epochs_trained", "stopped_at_rung", "score", "best_score", "train_seconds"]].to_list()
    assert told == ["stopped", 3, 3, 0.6, 0.7, 6.0]
    assert row[["width", "optimizer", "sgd_lr", "parameters"]].to_list() == [8, "sgd", 0.1, 500]
    assert row[["adamw_lr", "error"]].isna().all()


def test_a_missing_score_stays_missing(log: Log) -> None:
    log.suggest("resnet-0000")
    log.epoch("resnet-0000", 1, 0.4)
    log.epoch("resnet-0000", 2, None)
    log.end("resnet-0000", "diverged", 2, "the loss is not finite")
    log.suggest("resnet-0001")
    log.end("resnet-0001", "failed", 0, "RuntimeError")
    trials = log.read().trials
    assert trials["state"].to_list() == ["diverged", "failed"]
    assert trials["score"].isna().all()
    assert trials["best_score"][0] == 0.4
    assert trials.loc[1, ["best_score", "train_seconds", "stopped_at_rung"]].isna().all()
    assert trials["error"].to_list() == ["the loss is not finite", "RuntimeError"]


def test_an_epoch_trained_again_replaces_the_earlier_row(log: Log) -> None:
    log.suggest("resnet-0000")
    for epoch, score in ((1, 0.1), (2, 0.2), (2, 0.9), (3, 0.3)):
        log.epoch("resnet-0000", epoch, score)
    found = log.read()
    assert found.epochs[["epoch", "val_score"]].to_numpy().tolist() == [[1, 0.1], [2, 0.9], [3, 0.3]]
    assert found.trials[["best_score", "score", "train_seconds"]].iloc[0].to_list() == [0.9, 0.3, 6.0]


@pytest.mark.parametrize("left_by", ["study_closed", "study_opened"])
def test_a_trial_left_behind_is_interrupted_and_a_start_reopens_it(log: Log, left_by: str) -> None:
    log.open()
    log.suggest("resnet-0000")
    assert log.read().trials["state"].to_list() == ["running"]
    if left_by == "study_closed":
        log.add("study_closed", reason="interrupted")
    else:
        log.open()
    assert log.read().trials["state"].to_list() == ["interrupted"]
    log.end("resnet-0000", "failed", 0, "a fault")
    log.add("started", trial="resnet-0000", **PLACE)
    reopened = log.read().trials.iloc[0]
    assert reopened["state"] == "running"
    assert pd.isna(reopened["error"])


def test_sessions_tell_when_the_driver_ran(log: Log) -> None:
    log.open()
    log.add("study_closed", reason="time budget")
    log.open()
    sessions = log.read().sessions
    assert sessions["opened"].to_list() == [0.0, 2.0]
    assert sessions["closed"].iloc[0] == 1.0
    assert sessions["reason"].iloc[0] == "time budget"
    assert sessions.iloc[1][["closed", "reason"]].isna().all()


def test_what_was_measured_and_how_many_ran_at_once_are_tables(log: Log) -> None:
    log.open()
    numbers = {"gpu_bytes": 100, "trial_bytes": 10, "images_per_second": 5.0, "busy": None}
    log.add("packing_measured", space="resnet", device="a GPU", **numbers)
    log.add("packing_changed", together=2, slots=4, reason="resnet-0001 ran out of memory")
    log.add("packing_changed", together=None, slots=8, reason="other slots were asked for")
    found = log.read()
    assert found.measured[["space", "trial_bytes"]].to_numpy().tolist() == [["resnet", 10]]
    assert found.measured["busy"].isna().all()
    assert found.packing["slots"].tolist() == [4, 8]
    assert found.packing["together"].isna().tolist() == [False, True]


def test_final_runs_and_a_later_choice(log: Log) -> None:
    log.suggest("resnet-0000")
    log.add("final_chosen", space="resnet", rank=1, trial="resnet-0000", score=0.5, epochs_trained=9)
    log.final("resnet-0000", 1, 0.75)
    log.final("resnet-0000", 2, None)
    log.add("final_chosen", space="resnet", rank=1, trial="resnet-0004", score=0.6, epochs_trained=9)
    log.add("final_chosen", space="resnet", rank=2, trial="resnet-0002", score=0.5, epochs_trained=9)
    found = log.read()
    assert found.final["test_score"].to_list()[0] == 0.75
    assert np.isnan(found.final["test_score"].to_list()[1])
    assert found.final[["seed", "val_score", "epochs_trained"]].to_numpy().tolist() == [
        [1, 0.9, 9],
        [2, 0.9, 9],
    ]
    assert found.chosen["trial"].to_list() == ["resnet-0004", "resnet-0002"]


def test_an_empty_log_has_every_column_with_its_type(log: Log) -> None:
    empty, full = log.read(), analysis.read(SampleRun(spaces=("resnet",)).write(log.folder / "full"))
    for name in ("trials", "epochs", "final", "final_epochs", "decisions", "chosen", "openings", "sessions"):
        pd.testing.assert_series_equal(getattr(empty, name).dtypes, getattr(full, name).dtypes)
        assert getattr(empty, name).empty


def test_no_run_folder_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere.*study\.json.*study\.run"):
        analysis.read(tmp_path / "nowhere")


def test_a_damaged_log_names_file_and_line(log: Log) -> None:
    (log.folder / "events.jsonl").write_text('{"event": "study_closed"}\n{}\n', encoding="utf-8")
    with pytest.raises(BrokenLogError, match=r"events\.jsonl:1"):
        analysis.read(log.folder)


def test_a_log_that_lacks_a_line_names_file_line_and_remedy(log: Log) -> None:
    run = SampleRun(spaces=("resnet",), trials=4).write(log.folder / "run")
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    number = next(i for i, line in enumerate(lines) if json.loads(line)["event"] == "suggested")
    (run / "events.jsonl").write_text("".join(lines[:number] + lines[number + 1 :]), encoding="utf-8")
    said = rf"events\.jsonl:{number + 1}: the event 'started' does not follow .*'resnet-0000'.* Restore"
    with pytest.raises(BrokenLogError, match=said):
        analysis.read(run)


def test_the_sample_is_read_back(sample: tables.StudyTables) -> None:
    assert len(sample.trials) == 48
    assert not sample.epochs.duplicated(["trial", "epoch"]).any()
    counted = sample.epochs.groupby("trial").size().reindex(sample.trials["trial"], fill_value=0)
    assert counted.to_list() == sample.trials["epochs_trained"].to_list()
    assert set(sample.trials["state"]) == {"finished", "stopped", "diverged", "failed", "interrupted"}
    optimizer = sample.trials["optimizer"]
    assert (sample.trials["sgd_lr"].notna() == (optimizer == "sgd")).all()
    assert (sample.trials["stopped_at_rung"].notna() == (sample.trials["state"] == "stopped")).all()


def test_the_page_names_the_columns_and_events_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    parts = {part.splitlines()[0]: part for part in re.split(r"^##+ ", text, flags=re.MULTILINE)}

    def first_cells(title: str) -> list[str]:
        (part,) = (part for name, part in parts.items() if name.startswith(title))
        return re.findall(r"^\| `(\w+)`", part, flags=re.MULTILINE)

    assert first_cells("`.trials`") == list(tables.TRIAL_COLUMNS)
    assert first_cells("`.epochs`") == list(tables.EPOCH_COLUMNS)
    assert list(tables.FINAL_EPOCH_COLUMNS)[1:] == list(tables.EPOCH_COLUMNS)[1:]
    assert first_cells("`.final`") == list(tables.FINAL_COLUMNS)
    assert first_cells("`.decisions`") == list(tables.DECISION_COLUMNS)
    assert first_cells("`.attempts`") == list(ATTEMPT_COLUMNS)
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", parts["Events"], flags=re.MULTILINE)
    assert {name: tuple(re.findall(r"`(\w+)`", fields)) for name, fields in rows} == EVENTS


def test_the_worker_side_does_not_import_pandas() -> None:
    code = "import analysis.events, sys; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PAGE.parents[1], check=False).returncode == 0


def write_search(log: Log) -> None:
    """Two finished trials (0.6, then 0.8), one stopped at epoch 3 with the highest score, one failed after
    2.
    """
    for number, (epochs, score, state) in enumerate(
        [(9, 0.6, "finished"), (3, 0.95, "stopped"), (2, 0.9, "failed"), (9, 0.8, "finished")]
    ):
        log.suggest(f"resnet-{number:04d}")
        for epoch in range(1, epochs + 1):
            log.epoch(f"resnet-{number:04d}", epoch, score)
        log.end(f"resnet-{number:04d}", state, epochs)


def test_best_so_far_counts_full_length_only_and_all_epochs_spent(log: Log) -> None:
    write_search(log)
    found = stats.incumbent(log.read())
    assert found["epochs_spent"].to_list() == [9, 23, 23]
    assert found["best"].to_list() == [0.6, 0.8, 0.8]
    assert found["trial"].to_list()[:2] == ["resnet-0000", "resnet-0003"]
    assert stats.winners(log.read())["trial"].to_list() == ["resnet-0003"]


def test_only_stopped_trials_save_epochs(log: Log) -> None:
    write_search(log)
    spent = stats.spending(log.read()).iloc[0]
    assert spent[["trials", "epochs", "epochs_planned", "epochs_saved"]].to_list() == [4, 23, 36, 6]
    assert spent[["finished", "stopped", "failed", "seconds"]].to_list() == [2, 1, 1, 46.0]


def test_numbers_at_risk(log: Log) -> None:
    write_search(log)
    assert stats.at_risk(log.read())["at_risk"].to_list() == [4, 4, 3, 2, 2, 2, 2, 2, 2]


def test_the_winner_of_several_retrained_ones_has_the_best_mean_validation_score(log: Log) -> None:
    for rank, (trial, score) in enumerate((("resnet-0001", 0.99), ("resnet-0002", 0.98)), 1):
        log.suggest(trial)
        log.add("final_chosen", space="resnet", rank=rank, trial=trial, score=score, epochs_trained=9)
    log.final("resnet-0001", 1, 0.99)
    log.final("resnet-0002", 1, 0.10)
    log.epoch("resnet-0002-seed1", 2, 0.95, "final_epoch")
    assert stats.winners(log.read())[["trial", "score"]].to_numpy().tolist() == [["resnet-0002", 0.98]]


def test_predictions_by_hand(tmp_path: Path) -> None:
    run = SampleRun(spaces=("resnet",), trials=1, seeds=2, classes=("cat", "dog"), accidents=False)
    found = analysis.read(run.write(tmp_path))
    for seed, said in ((1, [0, 0, 1, 1]), (2, [0, 1, 1, 1])):
        path = tmp_path / "final" / f"resnet-0000-seed{seed}" / "predictions.npz"
        np.savez(path, label=np.array([0, 0, 1, 1]), probability=np.eye(2)[said])
    np.savez(tmp_path / "final" / "test_images.npz", index=np.array([1, 2]), image=np.zeros((2, 4, 4, 1), np.uint8))
    classes = predictions.class_accuracy(found)
    assert classes["accuracy"].to_list() == [0.75, 1.0]
    assert classes["images"].to_list() == [2, 2]
    known = reference.binomtest(2, 2).proportion_ci(method="wilson")
    assert classes[["low", "high"]].iloc[1].to_list() == pytest.approx([known.low, known.high])
    matrix = predictions.confusion(found)
    assert matrix["count"].to_list() == [3, 1, 0, 4]
    assert matrix["share"].to_list() == [0.75, 0.25, 0.0, 1.0]
    assert predictions.examples(found)[["kind", "index", "truth"]].to_numpy().tolist() == [
        ["correct", 1, "cat"],
        ["correct", 2, "dog"],
    ]


def test_what_ends_before_it_is_on_a_slot_again_ends_no_earlier_attempt() -> None:
    """A trial that paused, was taken up, and was interrupted before its new worker said anything."""
    place = {"attempt": 1, "node": "n", "worker": 1}
    found = attempts(
        [
            {"event": "suggested", "trial": "t", "space": "s", "time": 0.0},
            {"event": "started", "trial": "t", "time": 1.0, **place},
            {"event": "epoch", "trial": "t", "epoch": 1, "seconds": 1.0, "time": 2.0},
            {"event": "ended", "trial": "t", "state": "stopped", "time": 3.0},
            {"event": "ended", "trial": "t", "state": "interrupted", "time": 9.0},
        ]
    )
    assert [(row["state"], row["ended"]) for row in found] == [("stopped", 3.0)]
