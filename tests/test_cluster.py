"""Studies on real Ray clusters of several nodes, with a storage behind a real S3 API; all on this machine."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest
import yaml
from fsspec.implementations.memory import MemoryFileSystem
from rich.console import Console

import analysis
from analysis.events import Event, read_events
from data_utils.datasets import load
from data_utils.splits import SearchData
from study import launch, log_copy, mirrors, reach, shipping
from study import plan as planning
from study.engine import Engine
from study.job import Job, OpenTest
from study.log import Log
from study.log_copy import LogCopy
from study.packing import Packing
from study.plan import Plan, PlanError
from study.run import parser
from study.spaces import SPACES
from study.storage import PATIENCE, Files, Storage
from study.test_split import examine
from study.trial import TrialData, train
from tests.conftest import CPU, full_disk
from tests.test_engine import finish, jobs, make, slots, work
from tests.test_trial import job

SMALL = ["--max-epochs", "4", "--final-seeds", "1", "--no-report"]


# Without Ray


KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not/a+real/secret/of/anyone"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """How to reach a server with S3's API on loopback, as the query of a URI; it has the bucket `studies`."""
    from moto.server import ThreadedMotoServer
    from pyarrow.fs import FileSystem

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    query = f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        system, _ = FileSystem.from_uri(f"s3://studies?{query}&allow_bucket_creation=true")
        system.create_dir("studies")
    yield query
    server.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a bucket there; its keys are in the environment, as in life."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return f"s3://studies/ours?{server}"


@pytest.fixture(params=["file", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A storage of each kind: where files appear whole by themselves, and where they have to be renamed."""
    uri = request.getfixturevalue("bucket") if request.param == "s3" else f"file://{tmp_path}/kept"
    return Storage(uri) / str(request.node.name.partition("[")[0])


def test_a_storage_gives_back_what_it_was_given(storage: Storage, tmp_path: Path) -> None:
    file, back = tmp_path / "file", tmp_path / "new" / "back"
    assert not storage.get("a/last.pt", back)
    assert not back.parent.exists()
    for content in (b"first", b"second"):
        file.write_bytes(content)
        storage.put(file, "a/last.pt")
        assert storage.get("a/last.pt", back)
        assert back.read_bytes() == content
    assert storage.names("last.pt") == {"a/last.pt"}
    assert (storage / "a").read("last.pt") == b"second"
    storage.delete("a/last.pt")
    storage.delete("a/last.pt")
    assert storage.read("a/last.pt") is None
    assert storage.names("") - {"a"} == set()


def test_a_write_that_fails_leaves_the_file_as_it_was_and_nothing_else(tmp_path: Path) -> None:
    kept = Storage(f"file://{tmp_path}/kept")
    kept.write("last.pt", b"epoch 3")
    for _ in range(2):
        with full_disk(100_000), pytest.raises(OSError, match="File too large"):
            kept.write("last.pt", bytes(200_000))
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["last.pt"]
    assert kept.read("last.pt") == b"epoch 3"


def test_files_of_a_job_travel_through_the_storage_and_leave_nothing_here(storage: Storage, tmp_path: Path) -> None:
    here, there = Files(tmp_path / "unused", storage), Files(tmp_path / "unused", storage)
    (here.folder / "last.pt").write_bytes(b"epoch 3")
    here.keep("last.pt")
    there.fetch("last.pt", "model.json")
    assert [path.name for path in there.folder.iterdir()] == ["last.pt"]
    assert (there.folder / "last.pt").read_bytes() == b"epoch 3"
    folders = here.folder, there.folder
    del here, there
    assert not any(folder.exists() for folder in folders)
    assert not (tmp_path / "unused").exists()


def test_a_trial_goes_on_and_is_tested_on_other_machines(
    storage: Storage, tmp_path: Path, trial_data: TrialData
) -> None:
    """Three folders that nobody shares; what they have in common is the storage."""
    places = iter(tmp_path / name for name in ("a", "b"))
    asked = [replace(job(place, max_epochs=2), kind="final", storage=storage / "t-seed1") for place in places]
    assert [event["event"] for event in islice(train(asked[0], trial_data, CPU), 3)] == ["started", "epoch", "epoch"]
    started, *_, last = train(asked[1], trial_data, CPU)
    assert started["from_epoch"] == 1
    assert not any(any(place.folder.iterdir()) for place in asked)
    job_c = OpenTest(("t-seed1",), (asked[0].network,), tmp_path / "c", fp32=False, storage=storage)
    [tested] = examine(job_c, trial_data.validation, CPU)
    assert tested["test_score"] == pytest.approx(last["val_score"])
    assert storage.names(".npz") == {"t-seed1/predictions.npz", "test_images.npz"}


def test_a_storage_that_stops_answering_costs_no_trial_but_a_final_run(
    tmp_path: Path, trial_data: TrialData, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(f"file://{tmp_path}/kept")
    monkeypatch.setattr(Storage, "put", fail)
    asked = replace(job(tmp_path / "t", max_epochs=2), storage=storage)
    assert [event["event"] for event in train(asked, trial_data, CPU)] == ["started", "epoch", "epoch"]
    *_, ended = train(replace(asked, kind="final"), trial_data, CPU)
    assert ended["state"] == "no_files"
    assert ended["error"].endswith(f" to {storage} on {socket.gethostname()}: no answer")


def test_a_storage_that_does_not_answer_for_a_moment_is_asked_again_and_one_that_stays_silent_costs_no_trial(
    tmp_path: Path, trial_data: TrialData, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(f"file://{tmp_path}/kept")
    asked = replace(job(tmp_path / "t", max_epochs=2), storage=storage)
    list(train(asked, trial_data, CPU))  # leaves a checkpoint there
    get, answers = Storage.get, iter([False, False, True])
    waits: list[float] = []
    monkeypatch.setattr("study.storage.time.sleep", waits.append)
    monkeypatch.setattr(Storage, "get", lambda *call: get(*call) if next(answers) else fail())
    started, *_ = train(replace(asked, logged_epochs=1), trial_data, CPU)
    assert (started["from_epoch"], waits) == (1, list(PATIENCE[:2]))
    monkeypatch.setattr(Storage, "get", fail)
    [ended] = train(asked, trial_data, CPU)
    assert ended["state"] == "no_files"
    assert ended["error"].startswith(f"{storage} to ")
    assert ended["error"].endswith(f" on {socket.gethostname()}: no answer")


def fail(*_arguments: object) -> bool:
    raise OSError("no answer")


def test_what_a_file_system_of_fsspec_raises_is_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCredentials(Exception):
        """As botocore's: no `OSError`."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise NoCredentials("who are you?")

    storage = Storage("fsspec+memory://studies") / "s"
    for content in (b"first", b"second"):
        storage.write("a/last.pt", content)
    assert (storage.read("a/last.pt"), storage.names("last.pt")) == (b"second", {"a/last.pt"})
    storage.delete("a/last.pt")
    storage.delete("a/last.pt")
    assert storage.read("a/last.pt") is None
    for name in ("_open", "info", "find", "mkdir", "rm"):
        monkeypatch.setattr(MemoryFileSystem, name, refuse)
    calls = (
        lambda: storage.read("a/last.pt"),
        lambda: storage.write("a/last.pt", b""),
        lambda: storage.names("last.pt"),
        lambda: storage.delete("a/last.pt"),
    )
    for call in calls:
        with pytest.raises(OSError, match=r"NoCredentials: who are you\?"):
            call()
    monkeypatch.setattr(MemoryFileSystem, "__init__", refuse)
    MemoryFileSystem.clear_instance_cache()
    with pytest.raises(OSError, match=r"NoCredentials: who are you\?"):
        Storage("fsspec+memory://studies").read("a/last.pt")


def test_a_storage_that_does_not_work_is_refused(bucket: str, tmp_path: Path) -> None:
    def check(uri: str, created: str | None = None) -> None:
        reach.check_storage(Plan(("resnet",), name="n", runs=tmp_path, storage=uri), created)

    missing = bucket.replace("studies", "other")
    for uri, why in ((missing, "bucket does not exist"), ("s4://x", "Unrecognized filesystem type")):
        with pytest.raises(PlanError, match=f"no file can be kept there: .*{why}"):
            check(uri)
    check(bucket)
    (Storage(bucket) / "n").write("study.json", b'{"created": "2026-11-22T08:00:00+00:00"}')
    with pytest.raises(PlanError, match=r"there is a study called n\. Resume that one"):
        check(bucket)
    check(bucket, "2026-11-22T08:00:00+00:00")
    with pytest.raises(PlanError, match=r"there is a study called n\. Give another --storage"):
        check(bucket, "2026-11-23T08:00:00+00:00")


def test_a_renamed_run_folder_finds_its_files_in_the_storage(
    storage: Storage, tmp_path: Path, digits: SearchData, trial_data: TrialData
) -> None:
    plan = Plan(("mlp",), runs=tmp_path, name="renamed", storage=storage.uri)
    data = load("digits", tmp_path)
    planning.write_study(plan, planning.describe(plan, {"mlp": SPACES["mlp"]}, data, digits, {}))
    from_epochs = []
    for folder in (plan.folder, tmp_path / "moved"):
        if not folder.exists():
            plan.folder.rename(folder)
        again = Plan.from_json(folder, planning.read_study(folder))
        log = Log(folder / "events.jsonl")
        engine = Engine(again, {"mlp": SPACES["mlp"]}, log)
        engine.open(slots(1), [])
        asked = engine.next_job()
        assert isinstance(asked, Job)
        started, _ = islice(train(replace(asked, rungs=(1, 2)), trial_data, CPU), 2)
        from_epochs.append(started["from_epoch"])
        log.close()
    assert from_epochs == [0, 1]
    assert again.kept == plan.kept


class Shaky(Storage):
    """Does not answer while `out`."""

    out: ClassVar[bool] = False

    def write(self, name: str, content: bytes) -> None:
        if type(self).out:
            raise OSError("no answer")
        super().write(name, content)


@pytest.fixture
def shaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shaky:
    """A storage that answers or not, and is asked often, for the log of the study `s`."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "study.json").write_text("{}")
    monkeypatch.setattr(log_copy, "SECONDS", 0.01)
    monkeypatch.setattr(log_copy, "SHARE", 1.0)
    return Shaky(f"file://{tmp_path}/kept")


def _soon(seen: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 120
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _copied(engine: Engine, storage: Storage) -> bool:
    return storage.read("events.jsonl") == (engine.plan.folder / "events.jsonl").read_bytes()


def _watch(engine: Engine, storage: Storage, words: list[str], past: Iterable[Event] = ()) -> LogCopy:
    copy = LogCopy(engine.plan.folder, storage, past, words.append, pausing=engine.plan.policy.pausing)
    engine.watchers.append(copy)
    return copy


def test_the_log_is_copied_once_its_storage_answers_again_however_late(
    shaky: Shaky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, words = make(tmp_path), list[str]()
    monkeypatch.setattr(Shaky, "out", True)
    copy = _watch(engine, shaky, words)
    _soon(lambda: words)  # at its very beginning
    assert "(OSError: no answer). The study goes on" in words[0]
    time.sleep(0.1)  # some ten times more
    monkeypatch.setattr(Shaky, "out", False)
    _soon(lambda: _copied(engine, shaky))  # with no event to tell of it
    monkeypatch.setattr(Shaky, "out", True)
    work(engine, next(jobs(engine)), most=2)
    _soon(lambda: len(words) == 2)
    monkeypatch.setattr(Shaky, "out", False)
    _soon(lambda: _copied(engine, shaky))
    finish(engine)
    engine.close()
    copy.close()
    assert _copied(engine, shaky)
    assert len(words) == 2
    assert shaky.read("study.json") == b"{}"


def test_a_storage_that_is_out_at_the_end_is_named_and_does_not_hold_it_up(
    shaky: Shaky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_copy, "SECONDS", 60.0)
    engine, words = make(tmp_path), list[str]()
    copy = _watch(engine, shaky, words)
    _soon(lambda: _copied(engine, shaky))
    monkeypatch.setattr(Shaky, "out", True)
    finish(engine)
    engine.close()
    began = time.monotonic()
    copy.close()
    assert time.monotonic() - began < 10
    assert [text.partition(";")[2] for text in words] == ["", " a resume brings it there."]


def test_copies_of_a_long_log_come_less_often(shaky: Shaky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_copy, "SHARE", 0.05)
    times: list[float] = []

    def slow(_self: Storage, name: str, _content: bytes) -> None:
        if name == "events.jsonl":
            times.append(time.monotonic())
        time.sleep(0.05)

    def grows() -> bool:
        with log.open("a") as file:
            file.write("{}\n")
        return len(times) >= 3

    monkeypatch.setattr(Shaky, "write", slow)
    log = tmp_path / "s" / "events.jsonl"
    log.touch()
    copy = LogCopy(log.parent, shaky, (), print, pausing=True)
    _soon(grows)
    copy.close()
    assert times[2] - times[1] >= 0.05 / 0.05


def test_a_slow_listing_and_slow_deletes_hold_up_neither_copies_nor_the_end(
    shaky: Shaky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_copy, "SHARE", 0.05)
    monkeypatch.setattr(mirrors, "LAST_SECONDS", 1.0)
    deleted: list[str] = []

    def names(_self: Storage, _ending: str) -> set[str]:
        time.sleep(0.5)
        return {f"trials/resnet-{number:04}/last.pt" for number in range(100)}

    def delete(_self: Storage, name: str) -> None:
        time.sleep(0.05)
        deleted.append(name)

    monkeypatch.setattr(Shaky, "names", names)
    monkeypatch.setattr(Shaky, "delete", delete)
    log, words = tmp_path / "s" / "events.jsonl", list[str]()
    log.write_text("{}\n")
    copy = LogCopy(log.parent, shaky, _ended(100), words.append, pausing=True)
    _soon(lambda: shaky.read("events.jsonl") == b"{}\n")
    assert not deleted
    _soon(lambda: deleted)
    log.write_text("{}\n{}\n")
    _soon(lambda: shaky.read("events.jsonl") == b"{}\n{}\n")
    assert len(deleted) < 50
    log.write_text("{}\n{}\n{}\n")
    began = time.monotonic()
    copy.close()
    assert time.monotonic() - began < 2
    assert len(deleted) < 100
    assert shaky.read("events.jsonl") == b"{}\n{}\n{}\n"
    assert not words


def _ended(trials: int) -> Iterator[Event]:
    for number in range(trials):
        about = {"trial": f"resnet-{number:04}", "time": 0.0}
        yield {"event": "suggested", **about, "space": "resnet", "config": {}, "seed": 0, "origin": "random"}
        yield {"event": "ended", **about, "state": "finished", "epochs_trained": 1, "error": None}


def test_a_delete_that_fails_is_tried_again_and_is_no_failure_of_the_copy(
    shaky: Shaky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = chain([False, False], repeat(True))
    delete = Shaky.delete
    monkeypatch.setattr(Shaky, "delete", lambda *call: delete(*call) if next(answers) else fail())
    shaky.write("trials/resnet-0000/last.pt", b"epoch 1")
    log, words = tmp_path / "s" / "events.jsonl", list[str]()
    log.write_text("{}\n")
    copy = LogCopy(log.parent, shaky, _ended(1), words.append, pausing=True)
    _soon(lambda: not shaky.names("last.pt"))
    copy.close()
    assert not words


def test_a_log_that_took_back_what_it_wrote_is_copied_again(shaky: Shaky, tmp_path: Path) -> None:
    log = tmp_path / "s" / "events.jsonl"
    log.write_text("{}\n{}\n")
    copy = LogCopy(log.parent, shaky, (), print, pausing=True)
    _soon(lambda: shaky.read("events.jsonl") == b"{}\n{}\n")
    log.write_text("{}\n")
    copy.close()
    assert shaky.read("events.jsonl") == b"{}\n"


def test_a_failure_in_the_end_promises_nothing_and_one_that_cannot_be_printed_ends_no_copying(
    shaky: Shaky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[str] = []

    def say(text: str) -> None:
        words.append(text)
        if len(words) == 1:
            raise BrokenPipeError

    log = tmp_path / "s" / "events.jsonl"
    log.write_text("{}\n")
    monkeypatch.setattr(Shaky, "out", True)
    copy = LogCopy(log.parent, shaky, (), say, pausing=True)
    _soon(lambda: words)
    monkeypatch.setattr(Shaky, "out", False)
    _soon(lambda: shaky.read("events.jsonl") == b"{}\n")
    monkeypatch.setattr(log_copy, "SECONDS", 60.0)
    time.sleep(0.1)  # it waits for the end now
    monkeypatch.setattr(Shaky, "out", True)
    log.write_text("{}\n{}\n")
    copy.close()
    assert [text.partition("). ")[2] for text in words[:2]] == [
        "The study goes on, and the copy is tried again until it succeeds.",
        "",
    ]
    assert words[1].endswith("(OSError: no answer).")
    assert words[2].endswith("is not up to date; a resume brings it there.")


def test_checkpoints_of_runs_that_are_over_leave_the_storage_though_the_clock_is_set_back(
    shaky: Shaky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = "trials/resnet-0000/last.pt", "trials/resnet-0001/last.pt"
    for name in kept:
        shaky.write(name, b"epoch 1")
    engine = make(tmp_path)
    copy = _watch(engine, shaky, [])
    monkeypatch.setattr(time, "time", lambda: 1e9)
    first, _second = engine.next_job(), engine.next_job()
    assert isinstance(first, Job)
    work(engine, first)
    _soon(lambda: shaky.names("last.pt") == {kept[1]})
    copy.close()
    engine._log.close()
    shaky.write(kept[0], b"left by a kill")
    log = Log(engine.plan.folder / "events.jsonl")
    again = LogCopy(engine.plan.folder, shaky, log.replayed, print, pausing=True)
    _soon(lambda: shaky.names("last.pt") == {kept[1]})
    again.close()
    log.close()


def test_what_the_report_reads_and_tracebacks_are_fetched_from_the_storage(tmp_path: Path, digits: SearchData) -> None:
    engine = make(tmp_path, storage=f"file://{tmp_path}/kept")
    finish(engine)
    engine.close()
    engine.state.runs["resnet-0001"].state = "failed"
    kept, plan = engine.plan.kept, engine.plan
    assert kept is not None
    final = engine.state.of_kind("final")[0].key
    files = [f"final/{final}/{name}" for name in ("layers.json", "model.json", "model.safetensors", "predictions.npz")]
    for name in (*files, "final/test_images.npz", "trials/resnet-0001/trial.log", "trials/resnet-0001/last.pt"):
        kept.write(name, name.encode())
    strange = "trials/nobody/trial.log", "trials/resnet-0000/trial.log", "elsewhere/trial.log"  # none, finished, none
    for name in strange:
        kept.write(name, b"of nobody that failed")
    log = plan.folder / "trials" / "resnet-0001" / "trial.log"
    log.write_text("of an earlier session")
    study = launch.Study(plan, {"resnet": SPACES["resnet"]}, load("digits", tmp_path), digits, storage=kept)
    launch._fetch_finals(study, engine, Console())
    assert all((plan.folder / name).read_text() == name for name in (*files, "final/test_images.npz"))
    assert log.read_text() == "trials/resnet-0001/trial.log"
    assert not (log.parent / "last.pt").exists()
    assert not any((plan.folder / name).exists() for name in strange)


def test_nodes_that_do_not_reach_the_files_are_named(tmp_path: Path, bucket: str) -> None:
    plan = Plan(("resnet",), name="n", runs=tmp_path / "runs")
    reach.check_nodes(plan, None, lambda question: {"node": why} if (why := question()) else {})

    def blind(question: Callable[[], str | None]) -> dict[str, str]:
        [mark] = (tmp_path / "runs").glob(".reach-*")
        content = mark.read_text()
        mark.write_text("another folder")
        seen = {"gpu-7 (10.0.0.7)": str(question())}
        mark.rename(tmp_path / "away")
        seen["gpu-8 (10.0.0.8)"] = str(question())
        (tmp_path / "away").rename(mark).write_text(content)
        return seen

    with pytest.raises(PlanError) as caught:
        reach.check_nodes(plan, None, blind)
    assert f"--runs {tmp_path}/runs is not reached by 2 of the nodes" in str(caught.value)
    assert "gpu-7 (10.0.0.7): another folder has this path; gpu-8 (10.0.0.8): it does not see that" in str(caught.value)
    assert "--storage, such as s3://" in str(caught.value)
    assert not list((tmp_path / "runs").iterdir())
    kept = Storage(bucket) / "n"

    def overwritten(question: Callable[[], str | None]) -> dict[str, str]:
        kept.write("reach", b"of another study")
        return {"node": str(question())}

    with pytest.raises(PlanError, match=r"is not reached by 1 of the nodes \(node: it sees another content\)"):
        reach.check_nodes(plan, kept, overwritten)


def test_own_files_are_packed_with_what_they_import_and_nothing_else(tmp_path: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    for name in ("home/space.py", "home/helper.py", "home/blocks/__init__.py", "home/blocks/a.py", "home/data/x.py",
                 "home/photo.jpg", "other/space.py"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    folders, code = shipping.pack([home / "space.py", other / "space.py"], tmp_path / "scratch")
    assert [Path(folder).name for folder in folders] == [*shipping.PACKAGES, shipping.OWN]
    sent = Path(folders[-1])
    copied = {str(path.relative_to(sent)) for path in sent.rglob("*.py")}
    assert copied == {"0/space.py", "0/helper.py", "0/blocks/__init__.py", "0/blocks/a.py", "1/space.py"}
    assert {file: (sent / copy).read_text() for file, copy in code.copies.items()} == {
        str(home / "space.py"): "home/space.py",
        str(other / "space.py"): "other/space.py",
    }


def test_slots_follow_the_nodes_and_both_are_in_the_log(tmp_path: Path) -> None:
    engine = make(tmp_path)
    first = [engine.next_job(), engine.next_job()]
    assert engine.next_job() == "wait"
    engine.resize(slots(3), 2)
    assert engine.next_job() not in (*first, "wait")
    engine.resize(slots(1), 1)
    assert engine.next_job() == "wait"
    engine.resize(slots(1), 1)  # nothing new
    events, _ = read_events(tmp_path / "s" / "events.jsonl")
    engine.close()
    told = [(event["nodes"], event["slots"]) for event in events if event["event"] == "slots_changed"]
    assert told == [(2, 3), (1, 1)]


def test_what_is_measured_is_measured_where_trials_run(monkeypatch: pytest.MonkeyPatch, digits: SearchData) -> None:
    """A cluster's nodes differ: those with a resource that trials ask for are the ones that count."""
    from study import tune  # seconds

    asked: list[dict[str, Any]] = []

    class Task:
        def __init__(self, _work: object) -> None:
            pass

        def remote(self, _data: object) -> None:
            pass

    def remote(**resources: Any) -> type[Task]:
        asked.append(resources)
        return Task

    class InStore(tune.Stored[SearchData]):
        def __init__(self) -> None:
            self.reference, self.value = None, digits

    monkeypatch.setattr("ray.remote", remote)
    monkeypatch.setattr("ray.get", lambda answer: answer)
    wanted = Packing(together=1, slots=1, cpus=2, gpus=0.5, resources={"fast": 1})
    for measure in (tune.measure, tune.time_epochs):
        measure([], InStore(), 10, wanted, shipping.Code())
    assert asked == 2 * [{"num_cpus": 2, "num_gpus": 0.5, "resources": {"fast": 1}, "max_retries": 0}]


PAGE = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text()


def test_every_command_of_the_page_has_flags_that_exist() -> None:
    joined = re.sub(r"\\\n\s*|\n    --", lambda found: " --" if "--" in found[0] else " ", PAGE)
    commands = re.findall(r"python -m study\.run ((?:--|[$])[^`'#&\n]*)", joined)
    assert len(commands) >= 6
    for command in commands:
        asked = parser().parse_args(command.replace("$what", "").split())
        assert asked.address in (None, "auto")


def test_the_manifests_have_the_form_that_their_readers_want() -> None:
    job, cloud = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    found = find_spec("ray")
    assert found is not None
    assert found.origin is not None
    jsonschema.validate(cloud, json.loads((Path(found.origin).parent / "autoscaler" / "ray-schema.json").read_text()))
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == version("ray")
    assert cluster["authOptions"] == {"mode": "token"}
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert len({group["template"]["spec"]["containers"][0]["image"] for group in groups}) == 1


# With Ray


class Nodes:
    """A Ray cluster on this machine whose nodes come and go."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self.address: str = self._cluster.address

    def join(self, **resources: Any) -> Any:
        return self._cluster.add_node(**resources)

    def leave(self, node: Any) -> None:
        """Take a node away, and wait until the cluster has noticed: else the next test still has it."""
        before = self.alive()
        self._cluster.remove_node(node, allow_graceful=False)
        deadline = time.monotonic() + 120
        while len(self.alive()) >= len(before):
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def alive(self) -> set[str]:
        return {node["NodeID"] for node in self._cluster.global_state.node_table() if node["Alive"]}

    def shutdown(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    made = Nodes()
    yield made
    made.shutdown()


class Study:
    """A study in a process of its own."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "study.run", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def events(self) -> list[Event]:
        return read_events(self.folder / "events.jsonl")[0]

    def wait_for(self, seen: Callable[[list[Event]], Any], seconds: float = 600) -> None:
        deadline = time.monotonic() + seconds
        while not seen(self.events()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                pytest.fail(f"ended or too late: {self.process.communicate()}")
            time.sleep(0.1)

    def end(self, seconds: float = 900) -> tuple[int, str]:
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out + err


OWN_SPACE = """
import os
import time
from dataclasses import replace
from pathlib import Path
from torch import nn
import helper
from study.spaces import SPACES

def own(*, in_channels, num_classes, image_size, **layers):
    place = Path("PLACE")
    deadline = time.monotonic() + 120
    (place / f"worker-{os.getpid()}").touch()
    while (place / "wait").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))

SPACE = replace(SPACES["mlp"], name="own", network="own")
"""


def _driver_lost(study: Study, kept: Storage, home: Path, flags: list[str]) -> Study:
    """Kill the driver, lose its run folder, and go on from what the storage has."""
    study.process.kill()
    study.process.communicate()
    shutil.rmtree(study.folder)
    for name in ("study.json", "events.jsonl"):
        assert kept.get(name, study.folder / name)
    home.mkdir()
    (home / "own_space.py").write_text(OWN_SPACE.replace("PLACE", str(home.parent)))
    (home / "helper.py").write_text("")
    return Study(study.folder, "--resume", str(study.folder), "--no-report", *flags[:2])


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Ray's
def test_nodes_that_join_get_trials_and_their_leaving_costs_none(nodes: Nodes, bucket: str, tmp_path: Path) -> None:
    """Own files shipped, checkpoints in S3, a custom resource, one node that joins and one that leaves."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "own_space.py").write_text(OWN_SPACE.replace("PLACE", str(tmp_path)))
    (home / "helper.py").write_text("")
    stays = nodes.join(num_cpus=1, resources={"fast": 1})
    flags = ["--address", nodes.address, "--storage", bucket, "--runs", str(tmp_path), "--name", "s", *SMALL]
    study = Study(
        tmp_path / "s", "--space", str(home / "own_space.py"), "--trials", "8", "--resources", "fast=1", *flags
    )
    study.wait_for(lambda events: any(event["event"] == "epoch" for event in events))
    shutil.rmtree(home)  # workers have copies
    (tmp_path / "wait").touch()  # else trials this short would all be done before a further worker has started
    joined = nodes.join(num_cpus=1, resources={"fast": 1})
    for marker in tmp_path.glob("worker-*"):
        marker.unlink()
    study.wait_for(lambda _: len(list(tmp_path.glob("worker-*"))) == 2)
    (tmp_path / "wait").unlink()
    study.wait_for(lambda events: len({event["worker"] for event in events if event["event"] == "started"}) == 2)
    (tmp_path / "wait").touch()
    nodes.leave(joined)
    study.wait_for(lambda events: [e["slots"] for e in events if e["event"] == "slots_changed"] == [2, 1])
    study = _driver_lost(study, Storage(bucket) / "s", home, flags)
    (tmp_path / "wait").unlink()
    code, out = study.end()
    nodes.leave(stays)
    assert code == 0, out
    tables = analysis.read(study.folder)
    assert tables.trials["state"].isin(["finished", "stopped", "diverged"]).all()
    assert len(tables.trials) == 8
    assert tables.final["test_score"].notna().all()
    assert {path.name for path in (study.folder / "final").glob("*/*")} == {
        "layers.json", "model.json", "model.safetensors", "predictions.npz",
    }  # fmt: skip
    kept = Storage(bucket) / "s"
    assert kept.read("events.jsonl") == (study.folder / "events.jsonl").read_bytes()
    assert kept.names("last.pt") == set()
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    assert not any(secret in path.read_bytes() for path in study.folder.rglob("*") if path.is_file())
    assert json.loads((study.folder / "study.json").read_text())["storage"] == bucket


def _can_hide_folders() -> bool:
    return shutil.which("unshare") is not None and subprocess.run(["unshare", "-m", "true"]).returncode == 0


def _join_blind(nodes: Nodes, hidden: Path, said: Path) -> subprocess.Popen[bytes]:
    """Have a node join that sees another file system in the place of `hidden`; Ray's start is given several goes."""
    before = nodes.alive()
    where = f"--address={nodes.address} --node-ip-address={nodes.address.rpartition(':')[0]}"
    start = f"{sys.executable} -m ray.scripts.scripts start {where} --num-cpus=1 --block"
    command = ["unshare", "-m", "sh", "-c", f"mount -t tmpfs none {hidden} && exec {start}"]
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        with said.open("ab") as out:
            blind = subprocess.Popen(command, stdout=out, stderr=out)
        while blind.poll() is None and time.monotonic() < deadline:
            if not nodes.alive() <= before:
                return blind
            time.sleep(0.5)
        blind.kill()
        blind.wait()
    pytest.fail(f"no node joined within 600 s: {said.read_text()}")


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Ray's
@pytest.mark.skipif(not _can_hide_folders(), reason="nothing can be hidden from a process here")
def test_a_node_that_does_not_see_the_run_folder_is_named_before_anything_starts(nodes: Nodes, tmp_path: Path) -> None:
    """On one of two nodes another file system lies in the place of the shared folder."""
    shared = tmp_path / "shared"
    shared.mkdir()
    sees = nodes.join(num_cpus=1)
    blind = _join_blind(nodes, shared, tmp_path / "said.txt")
    try:
        flags = ["--address", nodes.address, "--runs", str(shared), "--name", "s", *SMALL]
        code, out = Study(shared / "s", "--space", "resnet", *flags).end()
    finally:
        blind.terminate()
        blind.wait(60)
        nodes.leave(sees)
    assert code == 2
    assert f"--runs {shared} is not reached by 1 of the nodes (" in out
    assert "it does not see that folder" in out
    assert not list(shared.iterdir())
