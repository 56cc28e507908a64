"""Studies of other tools: a real Optuna storage, Ray Tune's files as Ray writes them, CSV files; and their page."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from analysis.importers import SOURCES, Wanted, read_other
from analysis.importers.imported import observed
from analysis.report import main, parser, write_report
from analysis.tables import StudyTables, from_events


def value(trial: optuna.trial.Trial) -> float:
    rate = trial.suggest_float("lr", 1e-4, 1.0, log=True)
    model, depth = trial.suggest_categorical("model", ["res", "plain"]), trial.suggest_int("depth", 1, 5)
    if trial.number == 3:
        raise RuntimeError("out of memory")
    score = 0.0
    for step in range(4):
        score = 0.5 + 0.05 * step + 0.1 * (model == "res") - 0.01 * depth - 0.1 * abs(rate - 0.1)
        trial.report(score, step)
        if trial.number in (5, 6) and step == 1:
            raise optuna.TrialPruned
    return score


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage that Optuna wrote, with a finished, a pruned and a failed trial and a study beside."""
    path = tmp_path_factory.mktemp("optuna") / "storage.db"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=f"sqlite:///{path}", study_name="nets", direction="maximize")
    study.optimize(value, n_trials=12, catch=(RuntimeError,))
    optuna.create_study(storage=f"sqlite:///{path}", study_name="other")
    return path


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """A folder as Ray Tune 2.60 writes it: a finished, a stopped, a failed and a torn trial."""
    folder = tmp_path / "experiment"
    for number, (epochs, error) in enumerate([(3, ""), (1, ""), (2, "Traceback\nRuntimeError: boom\n"), (3, "")]):
        trial = folder / f"train_abc_{number:05d}"
        trial.mkdir(parents=True)
        config = {"optimizer": {"lr": 0.1 + number}, "model": "res" if number % 2 else "plain"}
        (trial / "params.json").write_text(json.dumps(config))
        rows = [
            {"acc": 0.5 + 0.1 * epoch + 0.01 * number, "training_iteration": epoch, "trial_id": f"abc_{number:05d}"}
            | {"time_this_iter_s": 2.0, "config": config, "done": False, "timestamp": 1}
            for epoch in range(1, epochs + 1)
        ]
        torn = '{"acc": 0.9, "trai' if number == 3 else ""
        (trial / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows) + torn)
        if error:
            (trial / "error.txt").write_text(error)
    (folder / "experiment_state-2026-11-22_09-29-58.json").write_text("{}")
    return folder


def states(tables: StudyTables) -> dict[str, str]:
    return dict(zip(tables.trials["trial"], tables.trials["state"], strict=True))


def test_an_optuna_storage_has_what_optuna_says_of_it(storage: Path) -> None:
    tables = read_other(storage, Wanted(study="nets"))
    theirs = optuna.load_study(study_name="nets", storage=f"sqlite:///{storage}").trials
    mine = tables.trials
    assert mine["lr"].tolist() == [trial.params["lr"] for trial in theirs]
    assert mine["depth"].tolist() == [trial.params["depth"] for trial in theirs]
    assert mine["model"].tolist() == [trial.params["model"] for trial in theirs]
    finished = mine[mine["state"] == "finished"]
    assert finished["score"].tolist() == [trial.value for trial in theirs if trial.state == TrialState.COMPLETE]
    assert states(tables)["trial-0003"] == "failed"
    assert states(tables)["trial-0005"] == "stopped"
    assert mine.set_index("trial")["epochs_trained"]["trial-0005"] == 2
    for index, trial in enumerate(theirs):
        curve = tables.epochs[tables.epochs["trial"] == f"trial-{index:04d}"]["val_score"].tolist()
        assert curve == list(trial.intermediate_values.values())
    [parameters] = [space["parameters"] for space in tables.plan["spaces"].values()]
    assert {p["name"]: p.get("log", p.get("choices")) for p in parameters} == {
        **{"lr": True, "model": ["res", "plain"], "depth": False}
    }


def test_what_the_storage_does_not_know_is_said(storage: Path) -> None:
    unknown = " ".join(read_other(storage, Wanted(study="nets")).plan["imported"]["unknown"])
    assert "no verdict" in unknown
    assert "which data" in unknown
    assert "happened to have" not in unknown  # Optuna knows its ranges


def test_an_optuna_storage_is_only_read(storage: Path) -> None:
    before = storage.read_bytes()
    read_other(storage, Wanted(study="nets"))
    assert storage.read_bytes() == before


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(), "--study is None, but must be one of those.*nets, other"),
        (Wanted(study="net"), "--study is 'net'"),
        (Wanted(study="nets", mode="min"), "--mode is min, but the study 'nets' has the direction MAXIMIZE"),
        (Wanted(study="nets", by="width"), "--by is 'width', but must be a hyperparameter: depth, lr, model"),
        (Wanted(study="other", mode="min"), "no trial with a value"),
    ],
)
def test_what_an_optuna_storage_has_not_is_refused(storage: Path, wanted: Wanted, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_other(storage, wanted)


def test_a_sqlite_file_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "music.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE songs (name TEXT)")
    other.close()
    with pytest.raises(ValueError, match=r"music\.db' is a SQLite file, but no Optuna storage \(no such table"):
        read_other(path, Wanted())


def test_a_ray_tune_experiment(experiment: Path) -> None:
    tables = read_other(experiment, Wanted("acc", by="model"))
    assert states(tables) == {
        "abc_00000": "finished",
        "abc_00001": "stopped",
        "abc_00002": "failed",
        "abc_00003": "finished",
    }
    row = tables.trials.set_index("trial").loc["abc_00003"]
    assert (row["space"], row["epochs_trained"], row["score"]) == ("res", 3, pytest.approx(0.83))
    assert (row["optimizer/lr"], row["train_seconds"]) == (3.1, 6.0)
    assert tables.trials.set_index("trial")["error"]["abc_00002"] == "RuntimeError: boom"
    assert tables.plan["metric"] == {"name": "acc", "unit": "fraction", "direction": "maximize", "chance": None}
    with pytest.raises(ValueError, match="--metric is 'loss', but must be one of acc"):
        read_other(experiment, Wanted("loss"))


def frame(**changes: Any) -> pd.DataFrame:
    rows = [
        {"run": run, "step": step, "net": net, "lr": lr, "loss": lr * (4 - step), "train_loss": 1 / step}
        for run, net, lr, steps in [("a", "res", 0.5, 3), ("b", "plain", 0.25, 3), ("c", "res", 2.0, 1)]
        for step in range(1, steps + 1)
    ]
    return pd.DataFrame(rows).assign(**changes)


LOSS = Wanted("loss", "min", "net", trial="run", epoch="step")


def test_a_csv_file_of_epochs(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "epochs.csv", index=False)
    tables = read_other(tmp_path / "epochs.csv", LOSS)
    assert states(tables) == {"a": "finished", "b": "finished", "c": "stopped"}
    assert tables.trials["score"].tolist() == [-0.5, -0.25, -6.0]  # less loss is better
    assert tables.plan["metric"]["name"] == "minus loss"
    assert list(tables.plan["spaces"]) == ["res", "plain"]
    assert {p["name"] for space in tables.plan["spaces"].values() for p in space["parameters"]} == {"lr"}


def test_a_csv_file_of_trials(tmp_path: Path) -> None:
    frame().groupby("run", as_index=False).last().drop(columns="run").to_csv(tmp_path / "t.csv", index=False)
    tables = read_other(tmp_path / "t.csv", Wanted("loss", "min"))
    assert tables.trials["epochs_trained"].tolist() == [1, 1, 1]
    assert "no curves" in " ".join(tables.plan["imported"]["unknown"])


def parameters_of(tables: StudyTables) -> set[str]:
    return {p["name"] for space in tables.plan["spaces"].values() for p in space["parameters"]}


def test_a_column_that_changes_in_any_trial_is_no_hyperparameter(tmp_path: Path) -> None:
    """A result that happens to be the same at every epoch of the longest trial does not become a setting."""
    epochs = frame()
    epochs["val_loss"] = epochs["step"].where(epochs["run"] == "b", 0.7)
    epochs.to_csv(tmp_path / "epochs.csv", index=False)
    assert parameters_of(read_other(tmp_path / "epochs.csv", LOSS)) == {"lr"}


def test_the_user_names_the_hyperparameters_where_a_row_is_a_trial(tmp_path: Path) -> None:
    frame().groupby("run", as_index=False).last().assign(run=0.1).to_csv(tmp_path / "t.csv", index=False)
    wanted = Wanted("loss", "min", by="net")
    assert parameters_of(read_other(tmp_path / "t.csv", wanted)) == {"run", "step", "lr", "train_loss"}
    tables = read_other(tmp_path / "t.csv", replace(wanted, parameters=("lr",)))
    assert parameters_of(tables) == {"lr"}
    assert list(tables.plan["spaces"]) == ["res", "plain"]
    said = (
        " ".join(read_other(tmp_path / "t.csv", w).plan["imported"]["unknown"])
        for w in (wanted, replace(wanted, parameters=("lr",)))
    )
    assert ["--parameters names those that are" in text for text in said] == [True, False]
    with pytest.raises(ValueError, match=r"--parameters has decay, but .* are lr, net, run, step, train_loss"):
        read_other(tmp_path / "t.csv", replace(wanted, parameters=("lr", "decay")))
    given = parser().parse_args(["t.csv", "--metric", "loss", "--parameters", "lr", "width"])
    assert given.parameters == ["lr", "width"]


def test_the_value_of_a_complete_optuna_trial_is_its_score(tmp_path: Path) -> None:
    """Trial 0 returns its best, not its last; 1 reports nothing; 2 reports too little; 3 is pruned."""
    path = tmp_path / "values.db"

    def best(trial: optuna.trial.Trial) -> float:
        trial.suggest_float("lr", 0.1, 1.0)
        reported: list[float] = [[0.5, 0.9, 0.8], [], [0.3], [0.2]][trial.number]
        for step, score in enumerate(reported):
            trial.report(score, step)
        if trial.number == 3:
            raise optuna.TrialPruned
        return max([0.6, *reported])

    optuna.create_study(storage=f"sqlite:///{path}", direction="maximize").optimize(best, n_trials=4)
    tables = read_other(path, Wanted())
    assert tables.trials["score"].tolist() == [0.9, 0.6, 0.6, 0.2]
    assert tables.trials["state"].tolist() == ["finished", "finished", "finished", "stopped"]
    assert tables.epochs.query("trial == 'trial-0000'")["val_score"].tolist() == [0.5, 0.9, 0.9]
    assert "for 3 of 3 it is not what the trial reported" in " ".join(tables.plan["imported"]["unknown"])


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted("loss"), "more than one row for trial"),
        (Wanted("score", trial="run", epoch="step"), "--metric is 'score', but must be one of lr, loss, train_loss"),
        (Wanted("loss", trial="name", epoch="step"), "--trial-column is 'name', but the columns are run, step"),
        (Wanted("loss", trial="run", epoch="epoch"), "--epoch-column is 'epoch'"),
        (Wanted("loss", trial="run", epoch="train_loss"), "epoch 0, but the first one must be 1"),
    ],
)
def test_what_a_csv_file_has_not_is_refused(tmp_path: Path, wanted: Wanted, said: str) -> None:
    frame(trial="same").to_csv(tmp_path / "epochs.csv", index=False)
    with pytest.raises(ValueError, match=said):
        read_other(tmp_path / "epochs.csv", wanted)


def test_anything_else_is_refused_with_what_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no study")
    with pytest.raises(ValueError, match=r"notes\.txt' is nothing that can be read") as refused:
        read_other(tmp_path / "notes.txt", Wanted())
    assert all(source.what in str(refused.value) for source in SOURCES)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["b", "a", None], {"type": "categorical", "choices": ["a", "b"]}),
        ([32, 8, 8], {"type": "categorical", "choices": [8, 32]}),
        (list(range(11)), {"type": "int", "low": 0, "high": 10, "log": False}),
        ([0.001, 0.1], {"type": "float", "low": 0.001, "high": 0.1, "log": True}),
        ([True, False], {"type": "categorical", "choices": [False, True]}),
    ],
)
def test_ranges_are_guessed_from_values(values: list[Any], found: dict[str, Any]) -> None:
    assert observed(values) == found


@pytest.mark.slow
def test_the_page_says_what_is_unknown_and_gives_no_verdict(experiment: Path, storage: Path, tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "epochs.csv", index=False)
    for path, wanted in (
        (experiment, Wanted("acc")),
        (storage, Wanted(study="nets", by="model")),
        (tmp_path / "epochs.csv", LOSS),
    ):
        page = write_report(path, wanted=wanted)
        assert page == path.with_name(f"{path.stem}-report") / "report.html"
        text = page.read_text()
        assert "No verdict" in text
        assert "does not say" in text
        assert 'id="audit"' not in text
        assert "()" not in (page.parent / "figures" / "learning_curves.svg").read_text()  # no unit is known


@pytest.mark.slow
def test_the_command_line_refuses_before_it_writes(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(experiment)]) == 2
    assert "--metric is not given, but must be one of acc" in capsys.readouterr().err
    assert not experiment.with_name("experiment-report").exists()
    assert main([str(experiment), "--metric", "acc", "--by", "model"]) == 0
    assert capsys.readouterr().out.strip().endswith("experiment-report/report.html")


@pytest.mark.slow
def test_architectures_of_any_name_have_their_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["fb/resnet", "fb=2Fresnet", "../up", "a net"]
    table = frame().query("step == 1")
    pd.concat([table.assign(run=table["run"] + name, net=name) for name in names]).to_csv(tmp_path / "t.csv")
    flags = ["--metric", "loss", "--mode", "min", "--by", "net", "--trial-column", "run", "--parameters", "lr"]
    assert main([str(tmp_path / "t.csv"), *flags]) == 0, capsys.readouterr().err
    figures = tmp_path / "t-report" / "figures"
    assert sorted(file.stem for file in figures.glob("effects-*.svg")) == [
        *("effects-..=2Fup", "effects-a=20net", "effects-fb=2Fresnet", "effects-fb=3D2Fresnet")
    ]
    page = (tmp_path / "t-report" / "report.html").read_text()
    assert 'id="effects-fb=2Fresnet"' in page
    assert "fb/resnet</a>" in page


def test_nobody_is_told_of_a_log_that_a_study_of_another_tool_does_not_have(tmp_path: Path) -> None:
    ended = {"event": "ended", "trial": "never-begun", "state": "finished", "epochs_trained": 1, "error": None}
    with pytest.raises(KeyError, match="never-begun"):
        from_events(tmp_path / "t.csv", {}, [ended])
