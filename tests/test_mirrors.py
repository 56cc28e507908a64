"""Mirrors: what Optuna, TensorBoard and MLflow show of a study, live, resumed, and when they fail."""

import shutil
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console

from analysis.events import Event, read_events
from data_utils.datasets import load
from data_utils.splits import SearchData
from study import launch, mirrors
from study.job import Job
from study.mirrors import Reflection, Runs, Shown, kinds
from study.mirrors.optuna_storage import OptunaStorage, study_name
from study.plan import Plan, PlanError
from study.spaces import SPACES
from tests.test_engine import PAUSING, finish, make, report, row, work

CREATED = "2026-11-22T08:00:00+00:00"
SPACE = {"resnet": SPACES["resnet"]}
PLACE = {
    "from_epoch": 0,
    "parameters": 1,
    "multiply_adds": 1,
    "device": "cpu",
    "precision": "float32",
    "node": "n",
    "worker": 1,
}

# What each mirror shows of a study: of each run the scores by epoch and its state, as the tool calls it.
Found = dict[str, tuple[dict[int, float], str]]


def plan_of(folder: Path, field: str) -> Plan:
    asked: dict[str, Any] = {field: True if field == "tensorboard" else f"sqlite:///{folder / 'mirror.db'}"}
    return replace(Plan(("resnet",), runs=folder, name="s"), **asked)


def in_optuna(folder: Path) -> Found:
    study = optuna.load_study(study_name=study_name("s", "resnet"), storage=f"sqlite:///{folder / 'mirror.db'}")
    keys = [trial.user_attrs["trial"] for trial in study.trials]
    assert len(keys) == len(set(keys))
    return {t.user_attrs["trial"]: (t.intermediate_values, t.state.name) for t in study.trials}


def in_mlflow(folder: Path) -> Found:
    from mlflow import MlflowClient  # seconds

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mirror.db'}")
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    found: Found = {}
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        assert run.info.run_name not in found
        history = client.get_metric_history(run.info.run_id, "val_score")
        assert len({metric.step for metric in history}) == len(history)
        found[run.info.run_name] = ({metric.step: metric.value for metric in history}, run.info.status)
    return found


def in_tensorboard(folder: Path) -> Found:
    from tensorboardX.proto.event_pb2 import Event as Record

    found: Found = {}
    for file in sorted((folder / "s" / "tensorboard").glob("*/events*")):
        scores, _state = found.setdefault(file.parent.name, ({}, ""))
        content, at = file.read_bytes(), 0
        while at < len(content):
            [length] = struct.unpack_from("<Q", content, at)
            record = Record.FromString(content[at + 12 : at + 12 + length])
            at += length + 16
            for value in record.summary.value:
                if value.tag == "score/validation":
                    assert record.step not in scores
                    scores[record.step] = round(value.simple_value, 6)  # float32 there
    return found


# MLflow's own, on SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")

READ: dict[str, Callable[[Path], Found]] = {
    "optuna_storage": in_optuna,
    "tensorboard": in_tensorboard,
    "mlflow": in_mlflow,
}


FAST = [field for field in READ if field != "mlflow"]
KINDS = [*FAST, pytest.param("mlflow", marks=pytest.mark.slow)]  # whose import takes seconds


@pytest.fixture(scope="module")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of MLflow's without anything in it, which takes seconds to make."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").get_experiment_by_name("s")
    return file


@pytest.fixture
def field(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The name of a mirror, whose store may be there already."""
    if request.param == "mlflow":
        shutil.copyfile(request.getfixturevalue("mlflow_store"), tmp_path / "mirror.db")
    return str(request.param)


def test_every_kind_is_read_here() -> None:
    assert READ.keys() == kinds.KINDS.keys()


def reflect(folder: Path, field: str, words: list[str]) -> Reflection:
    """The mirror of the study in `folder`, opened as a study does; what it says goes to `words`."""
    [make_mirror] = kinds.makes(plan_of(folder, field), SPACE, CREATED).values()
    return Reflection(field, make_mirror, read_events(folder / "s" / "events.jsonl")[0], words.append)


def scores_in(events: list[Event], kind: str) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for event in events:
        if event["event"] == ("epoch" if kind == "trial" else "final_epoch"):
            found.setdefault(event[kind], {})[event["epoch"]] = event["val_score"]
    return found


@pytest.mark.parametrize("field", KINDS, indirect=True)
def test_a_mirror_shows_each_epoch_once_after_a_kill_and_a_resume(field: str, tmp_path: Path) -> None:
    words: list[str] = []
    engine = make(tmp_path)
    first = reflect(tmp_path, field, words)
    engine.watchers.append(first)
    for score in (0.5, 0.4):
        job = engine.next_job()
        assert not isinstance(job, str)
        engine.report(job.key, [{"event": "started", **PLACE}, *(row(epoch, score) for epoch in range(1, 3))])
    first.close()  # what a kill leaves is at most this much
    engine._log.close()

    again = make(tmp_path)
    second = reflect(tmp_path, field, words)
    again.watchers.append(second)
    finish(again)
    again.close()
    second.close()
    assert words == []

    events, _ = read_events(tmp_path / "s" / "events.jsonl")
    ends = {event["trial"]: event["state"] for event in events if event["event"] == "ended"}
    assert set(ends.values()) == {"finished", "stopped"}
    found = READ[field](tmp_path)
    for key, scores in scores_in(events, "trial").items():
        assert found[key][0] == scores, key
    if field == "optuna_storage":
        states = {"finished": "COMPLETE", "stopped": "PRUNED"}
        assert {key: state for key, (_, state) in found.items()} == {key: states[end] for key, end in ends.items()}
        _check_optuna_study(tmp_path, events)
    else:
        assert {key: found[key][0] for key in scores_in(events, "final")} == scores_in(events, "final")
    if field == "mlflow":
        states = {"finished": "FINISHED", "stopped": "KILLED"}
        assert {key: found[key][1] for key in ends} == {key: states[end] for key, end in ends.items()}


def _check_optuna_study(folder: Path, events: list[Event]) -> None:
    study = optuna.load_study(study_name=study_name("s", "resnet"), storage=f"sqlite:///{folder / 'mirror.db'}")
    full = [e["val_score"] for e in events if e["event"] == "epoch" and e["epoch"] == 9]
    assert study.best_value == max(full)
    tested = {e["final"]: e["test_score"] for e in events if e["event"] == "final_tested"}
    assert {f"test score of {key}": score for key, score in tested.items()}.items() <= study.user_attrs.items()
    suggested = {e["trial"]: e for e in events if e["event"] == "suggested"}
    started = {e["trial"]: e["time"] for e in reversed(events) if e["event"] == "started"}
    for trial in study.trials:
        assert trial.params == suggested[trial.user_attrs["trial"]]["config"]
        assert trial.datetime_start is not None
        assert abs(trial.datetime_start.timestamp() - started[trial.user_attrs["trial"]]) < 0.01


@pytest.mark.parametrize("field", [KINDS[0], KINDS[-1]], indirect=True)
def test_what_belongs_to_another_run_folder_is_refused_before_anything_starts(field: str, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, field)
    kinds.check(plan, SPACE, None, kinds.KINDS)
    [make_mirror] = kinds.makes(plan, SPACE, CREATED).values()
    make_mirror().close()
    kinds.check(plan, SPACE, CREATED, kinds.KINDS)  # its own, at a resume
    renamed = replace(plan, name="renamed", began_as="s")
    for asked, created in product((plan, renamed), (None, "2020-01-01T00:00:00+00:00")):
        with pytest.raises(PlanError, match=f"--{field.replace('_', '-')} sqlite.* of another run folder. Mend that"):
            kinds.check(asked, SPACE, created, kinds.KINDS)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("optuna_storage", "sqlite:////no/such/folder/x.db", "cannot be used: .*unable to open database file"),
        ("optuna_storage", "nonsense", "--optuna-storage nonsense cannot be used"),
        pytest.param("mlflow", "nonsense://x", "--mlflow nonsense://x cannot be used: .*", marks=pytest.mark.slow),
    ],
)
def test_a_place_that_cannot_be_used_is_named(kind: str, value: str, message: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = {kind: value}
    with pytest.raises(PlanError, match=message):
        kinds.check(replace(plan_of(tmp_path, kind), **asked), SPACE, None, kinds.KINDS)


def test_a_package_that_is_not_here_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.delitem(sys.modules, "study.mirrors.mlflow", raising=False)
    with pytest.raises(PlanError, match=r"needs the package mlflow, .* pip install 'archstudy\[mlflow\]'"):
        kinds.check(plan_of(tmp_path, "mlflow"), SPACE, None, kinds.KINDS)


class Failing:
    """A mirror that fails from the second run on, `times` times."""

    def __init__(self, times: float) -> None:
        self.times = times
        self.brought: list[str] = []

    def bring(self, run: Shown) -> None:
        if len(self.brought) >= 1 and self.times > 0:
            self.times -= 1
            raise OSError("disk is full")
        self.brought.append(run.key)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("times", "said"), [(2, 0), (float("inf"), 1)])
def test_a_mirror_that_fails_is_asked_again_then_named_once_and_the_study_goes_on(
    times: float, said: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "RETRIES", (0.0, 0.0, 0.0))
    words: list[str] = []
    mirror = Failing(times)
    engine = make(tmp_path)
    reflection = Reflection("The mirror", lambda: mirror, (), words.append)
    engine.watchers.append(reflection)
    finish(engine)
    engine.close()
    reflection.close()
    assert engine.outcome == "finished"
    assert len(words) == said
    assert all("disk is full" in text and "resume brings it up to date" in text for text in words)
    assert (set(mirror.brought) == {run.key for run in engine.state.runs.values()}) == (said == 0)


def test_a_mirror_that_cannot_be_opened_at_first_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "RETRIES", (0.0,))
    words: list[str] = []
    mirror, opened = Failing(0), iter((False, True))

    def open_it() -> Failing:
        if not next(opened):
            raise ConnectionError("refused")
        return mirror

    engine = make(tmp_path)
    reflection = Reflection("The mirror", open_it, (), words.append)
    engine.watchers.append(reflection)
    finish(engine)
    engine.close()
    reflection.close()
    assert words == []
    assert set(mirror.brought) == engine.state.runs.keys()


def test_mirrors_of_a_study_that_fails_are_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: SearchData
) -> None:
    def fail(*_arguments: Any) -> None:
        raise OSError("disk is full")

    engine, mirror = make(tmp_path), Failing(0)
    reflection = Reflection("The mirror", lambda: mirror, (), print)
    plan = engine.plan
    for name, gives in (
        ("launch._start_ray", None),
        ("launch._store", (None, None)),
        ("launch._place", ((), "")),
        ("progress.show_plan", None),
        ("tune.nodes", []),
        ("tune.stop", None),
    ):
        monkeypatch.setattr(f"study.{name}", lambda *_, gives=gives: gives)
    monkeypatch.setattr(launch, "_open", lambda *given: given[3].append(reflection) or engine)
    monkeypatch.setattr(launch, "_run", fail)
    with pytest.raises(OSError, match="disk is full"):
        launch._conduct(launch.Study(plan, SPACE, load("digits", tmp_path), digits), report=False, console=Console())
    assert not reflection._thread.is_alive()
    engine.close()


def test_a_mirror_that_hangs_holds_up_neither_the_study_nor_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "LAST_SECONDS", 0.1)
    words: list[str] = []
    never = threading.Event()

    class Hanging(Failing):
        def flush(self) -> None:
            never.wait()

    engine = make(tmp_path)
    reflection = Reflection("The mirror", lambda: Hanging(0), (), words.append)
    engine.watchers.append(reflection)
    finish(engine)
    engine.close()
    reflection.close()
    never.set()
    assert engine.outcome == "finished"
    assert ["not up to date" in text for text in words] == [True]


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/x.db", "nonsense"])
def test_a_mirror_that_cannot_be_opened_any_more_is_named_and_the_study_goes_on(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "RETRIES", (0.0,))
    plan, words = replace(plan_of(tmp_path, "optuna_storage"), optuna_storage=url), list[str]()
    engine = make(tmp_path)
    [(name, make_mirror)] = kinds.makes(plan, SPACE, CREATED).items()
    reflection = Reflection(name, make_mirror, (), words.append)
    engine.watchers.append(reflection)
    finish(engine)
    engine.close()
    reflection.close()
    assert engine.outcome == "finished"
    [said] = words
    assert said.startswith(f"--optuna-storage {url} failed (")


def test_a_paused_trial_waits_in_optunas_storage_until_it_goes_on_or_the_study_has_finished(tmp_path: Path) -> None:
    engine, runs = make(tmp_path, trials=4, final_seeds=1, policy=PAUSING), Runs(pausing=True)
    mirror = OptunaStorage(f"sqlite:///{tmp_path}/o.db", "s", "now", {"resnet": SPACES["resnet"]})

    def states() -> dict[str, str]:
        study = optuna.load_study(study_name="s / resnet", storage=f"sqlite:///{tmp_path}/o.db")
        return {trial.user_attrs["trial"][-1]: trial.state.name for trial in study.trials}

    def watch(event: Event) -> None:
        for run in runs.take(event):
            mirror.bring(run)

    engine.watchers.append(watch)
    report(engine, engine.next_job(), *[0.1] * 9)
    for score in (0.6, 0.5):
        report(engine, engine.next_job(), score)
    assert states() == {"0": "COMPLETE", "1": "WAITING", "2": "WAITING"}
    again = engine.next_job()
    report(engine, again)
    assert states() == {"0": "COMPLETE", "1": "RUNNING", "2": "WAITING"}
    report(engine, again, *[0.7] * 8)
    report(engine, engine.next_job(), 0.2)
    while isinstance(job := engine.next_job(), Job) and job.kind == "trial":
        report(engine, job, *[0.7] * 8)
    assert states() == {"0": "COMPLETE", "1": "COMPLETE", "2": "WAITING", "3": "WAITING"}
    assert not isinstance(job, str)
    work(engine, job)
    finish(engine)
    engine.close()
    assert states() == {"0": "COMPLETE", "1": "COMPLETE", "2": "PRUNED", "3": "PRUNED"}
    mirror.close()


@pytest.mark.parametrize(("reason", "over"), [("finished", True), ("time budget", False), ("interrupted", False)])
def test_paused_trials_are_let_go_when_the_study_has_finished_and_not_before(reason: str, over: bool) -> None:
    runs = Runs(pausing=True)
    suggested = {"event": "suggested", "trial": "t", "space": "s", "config": {}, "seed": 0, "origin": "random"}
    [run] = runs.take(suggested)
    runs.take({"event": "ended", "trial": "t", "state": "stopped", "error": None})
    runs.take({"event": "final_chosen", "trial": "t"})
    assert not run.over
    assert [let_go.key for let_go in runs.take({"event": "study_closed", "reason": reason})] == (["t"] if over else [])
    assert run.over == over
