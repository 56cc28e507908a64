"""Real studies on real Ray: end to end, killed and resumed, interrupted, extended, seen in the dashboard.

Ray is started once for all of them; each study is a process of its own that joins it, so that it can be killed.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import analysis
from analysis.events import Event, read_events
from analysis.report import write_report
from study.plan import read_study
from study.policy import Policy
from study.simulation import policies
from study.simulation.clock import simulate
from study.simulation.curves import recorded
from tests.dashboard_page import open_dashboard, page_text

pytestmark = pytest.mark.slow

SMALL = ["--trials", "4", "--max-epochs", "6", "--final-seeds", "2"]
# The node has one turn. A slot of two CPUs would have two threads, which wait for each other on a busy machine.
ONE_SLOT = ["--resources", "turn=1"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """A Ray on this machine with 2 CPUs: where to join it, its dashboard, its metrics."""
    import ray

    own = {"address": "local", "dashboard_host": "127.0.0.1"}  # whatever cluster another process has started here
    context = ray.init(num_cpus=2, resources={"turn": 1}, log_to_driver=False, logging_level="critical", **own)
    [node] = ray.nodes()
    metrics = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    yield {"address": context.address_info["gcs_address"], "dashboard": context.dashboard_url, "metrics": metrics}
    ray.shutdown()


class Study:
    """A study in a process of its own."""

    def __init__(self, folder: Path, address: str, *flags: str) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "study.run", "--address", address, *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def events(self) -> list[Event]:
        return read_events(self.folder / "events.jsonl")[0]

    def wait_for(self, seen: Callable[[list[Event]], Any], seconds: float = 400) -> None:
        """Wait until the log satisfies `seen`."""
        deadline = time.monotonic() + seconds
        while not seen(self.events()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                pytest.fail(f"ended or too late: {self.process.communicate()}")
            time.sleep(0.05)

    def end(self, seconds: float = 900) -> str:
        """Wait for its end and return what it printed; it must have said nothing on stderr, and Tune nothing at all."""
        out, err = self.process.communicate(timeout=seconds)
        assert err == ""
        assert "Last result" not in out
        return out


@pytest.fixture
def start(cluster: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Study]]:
    """Start studies; what still runs at the end of the test is killed."""
    studies = []

    def begin(name: str, *flags: str, resume: bool = False) -> Study:
        folder = tmp_path / name
        which = ["--resume", str(folder)] if resume else ["--runs", str(tmp_path), "--name", name]
        studies.append(Study(folder, cluster["address"], *which, *flags))
        return studies[-1]

    yield begin
    for study in studies:
        study.process.kill()
        study.process.communicate()


def epochs(study: Study) -> list[tuple[str, int]]:
    return [(e.get("trial") or e["final"], e["epoch"]) for e in study.events() if e["event"].endswith("epoch")]


def count(events: list[Event], name: str) -> int:
    return sum(event["event"] == name for event in events)


def test_two_spaces_share_the_slots_and_end_in_a_report(start: Callable[..., Study]) -> None:
    study = start("both", "--space", "resnet", "plain", *SMALL)
    out = study.end()
    assert study.process.returncode == 0
    tables = analysis.read(study.folder)
    assert tables.trials["space"].value_counts().to_dict() == {"resnet": 4, "plain": 4}
    assert tables.trials["state"].isin(["finished", "stopped", "diverged"]).all()
    assert tables.final.groupby("space")["seed"].apply(sorted).to_dict() == {"plain": [1, 2], "resnet": [1, 2]}
    assert tables.final["test_score"].between(0, 1).all()
    events = study.events()
    assert count(events, "test_opened") == 1
    workers = {event["worker"] for event in events if event["event"] in ("started", "final_started")}
    assert len(workers) == 2  # one a slot, from the first trial to the last final run
    assert (study.folder / "report" / "report.html").stat().st_size > 100_000
    for expected in ("Verdict", "saved by stopping", "--dataset cifar10", "--resume", "report.html"):
        assert expected in out
    assert not any(path.name == "last.pt" for path in study.folder.rglob("*"))


def test_curves_recorded_without_stopping_make_the_simulator_repeat_the_study(start: Callable[..., Study]) -> None:
    """One slot, so the order is the same: the engine on recorded curves must suggest and see what the study did."""
    flags = ["--space", "mlp", "--trials", "10", "--max-epochs", "3", "--final-seeds", "1", "--no-report"]
    study = start("whole", *flags, *ONE_SLOT, "--no-stopping")
    assert "3 epochs at full length" in study.end()
    content, events = read_study(study.folder), study.events()
    assert (content["no_stopping"], content["rungs"]) == (True, [])
    assert count(events, "decision") == 0
    ends = [event for event in events if event["event"] == "ended"]
    assert all(event["state"] == "diverged" or event["epochs_trained"] == 3 for event in ends)
    [problem] = recorded(study.folder)
    simulated: list[Event] = []
    policy = Policy(**content["policy"])
    search = policies.Study(problem, seed=0, slots=1, epochs=30, policy=policy, no_stopping=True)
    search.engine.watchers.append(simulated.append)
    simulate(search, problem, slots=1, epochs=sum(event["epochs_trained"] for event in ends))
    assert _seen(simulated) == _seen(events)


def _seen(events: list[Event]) -> list[Any]:
    """Configurations and scores in their order, without the epoch in which a trial diverged."""
    kept = [event for event in events if event["event"] == "suggested" or event.get("val_score") is not None]
    return [event.get("config") or (event["epoch"], event["val_score"]) for event in kept if "final" not in event]


def test_a_kill_loses_nothing_and_changes_nothing(start: Callable[..., Study]) -> None:
    """With one slot a study is deterministic, so a killed one must end exactly like one that was left alone."""
    flags = ["--space", "resnet", *SMALL, *ONE_SLOT, "--no-report"]
    whole = start("whole", *flags)
    assert "saved by stopping" in whole.end()
    moment = random.Random(time.time_ns()).randrange(1, len(epochs(whole)))
    killed = start("killed", *flags)
    killed.wait_for(lambda events: sum(event["event"].endswith("epoch") for event in events) >= moment)
    killed.process.kill()
    killed.process.communicate()
    killed = start("killed", "--no-report", resume=True)
    killed.end()
    assert killed.process.returncode == 0
    assert len(epochs(killed)) == len(set(epochs(killed))), moment
    assert sorted(epochs(killed)) == sorted(epochs(whole)), moment
    before, after = analysis.read(whole.folder), analysis.read(killed.folder)
    columns = ["trial", "state", "epochs_trained", "score"]
    assert after.trials[columns].equals(before.trials[columns]), moment
    assert after.decisions.equals(before.decisions), moment
    assert after.final["test_score"].equals(before.final["test_score"]), moment


def test_a_worker_that_stands_still_is_ended_and_named(start: Callable[..., Study]) -> None:
    """One slot, so that on a machine that is busy no other trial is taken for one that hangs."""
    flags = ["--trials", "2", "--max-epochs", "90", "--epoch-limit", "30s", *ONE_SLOT]
    study = start("still", "--space", "resnet", *flags)
    study.wait_for(lambda events: count(events, "epoch") >= 1)
    worker = next(event["worker"] for event in study.events() if event["event"] == "started")
    os.kill(worker, signal.SIGSTOP)
    study.wait_for(lambda events: count(events, "ended"))
    [ended] = [event for event in study.events() if event["event"] == "ended"]
    assert (ended["state"], ended["error"]) == ("interrupted", "hung: no epoch within 30 s (--epoch-limit)")
    study.wait_for(lambda events: count(events, "started") == 2)


def test_a_folder_of_images_is_studied_and_resumed_where_it_was_moved_to(
    start: Callable[..., Study], tmp_path: Path
) -> None:
    photos, generator = tmp_path / "photos", np.random.default_rng(0)
    for name, colour in (("fire", (200, 60, 20)), ("sea", (20, 60, 200))):
        (photos / name).mkdir(parents=True)
        for number in range(40):
            pixels = generator.normal(colour, 40, (*generator.integers(12, 30, 2), 3)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(photos / name / f"{number}.jpg")
    (photos / "sea" / "5.jpg").write_bytes(b"torn")
    asked = ["--dataset", "folder", "--data-dir", str(photos), "--image-size", "10x12", "--test-fraction", "0.25"]
    few = ["--trials", "2", "--max-epochs", "3", "--final-seeds", "1", "--no-report"]
    study = start("shot", "--space", "resnet", *asked, *few)
    out = study.end()
    assert "2 classes, 3x10x12: 47 images to train, 12 to validate, 20 to test" in out
    assert f"1 file, all named in {study.folder}/study.json: sea/5.jpg (no image that Pillow knows)" in out
    plan = analysis.read(study.folder).plan["dataset"]
    assert (plan["name"], plan["loader"], plan["classes"]) == ("photos", "folder", ["fire", "sea"])
    assert plan["skipped"] == [{"file": "sea/5.jpg", "reason": "no image that Pillow knows"}]
    moved = photos.rename(tmp_path / "elsewhere")
    _, err = start("shot", resume=True).process.communicate(timeout=400)
    assert f"--data-dir is {photos}, but that does not exist" in err
    again = start("shot", "--data-dir", str(moved), "--trials", "3", "--no-report", resume=True)
    again.end()
    assert again.process.returncode == 0
    assert len(analysis.read(again.folder).trials) == 3
    Image.new("RGB", (20, 20)).save(moved / "sea" / "39.jpg")
    changed = start("shot", "--data-dir", str(moved), resume=True)
    _, err = changed.process.communicate(timeout=400)
    assert changed.process.returncode == 2
    assert "The test split of elsewhere is not the one the study began with" in err


def test_a_signal_ends_in_order_within_seconds_and_the_resume_finishes(start: Callable[..., Study]) -> None:
    study = start("cut", "--space", "resnet", *SMALL)
    study.wait_for(lambda events: count(events, "epoch") >= 2)
    sent = time.monotonic()
    study.process.send_signal(signal.SIGINT)
    out = study.end(60)
    assert time.monotonic() - sent < 20  # some seconds on an idle machine
    assert study.process.returncode == 130
    assert f"python -m study.run --resume {study.folder}" in out
    assert study.events()[-1]["reason"] == "interrupted"
    assert set(analysis.read(study.folder).trials["state"]) & {"interrupted"}
    before = epochs(study)
    again = start("cut", "--trials", "5", "--no-report", resume=True)
    again.end()
    assert again.process.returncode == 0
    assert epochs(again)[: len(before)] == before
    assert max(Counter(epochs(again)).values()) == 1
    assert len(analysis.read(again.folder).trials) == 5
    assert not set(analysis.read(again.folder).trials["state"]) & {"interrupted", "running"}


def test_a_second_signal_ends_at_once(start: Callable[..., Study]) -> None:
    study = start("twice", "--space", "resnet", *SMALL)
    study.wait_for(lambda events: count(events, "epoch") >= 1)
    study.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    sent = time.monotonic()
    study.process.send_signal(signal.SIGINT)
    out, _ = study.process.communicate(timeout=20)
    assert time.monotonic() - sent < 3
    assert study.process.returncode == 130
    assert "SIGTERM: ending in order" in out


def test_a_signal_while_the_report_is_written_leaves_it_and_says_how_to_have_it(start: Callable[..., Study]) -> None:
    study = start("done", "--space", "mlp", "--trials", "2", "--max-epochs", "2", "--final-seeds", "1")
    assert study.process.stdout is not None
    while "Writing the report" not in study.process.stdout.readline():
        assert study.process.poll() is None
    study.process.send_signal(signal.SIGINT)
    out = study.end(60)
    assert study.process.returncode == 0
    assert "What came after the study was left" in out
    assert f"python -m analysis.report {study.folder}" in out
    assert not (study.folder / "report" / "report.html").exists()


def test_a_report_of_a_running_study_and_a_killed_worker_that_costs_no_epoch(start: Callable[..., Study]) -> None:
    study = start("worker", "--space", "resnet", "--trials", "2", "--max-epochs", "18", "--no-stopping", "--no-report")
    study.wait_for(lambda events: sum(e["event"] == "epoch" and e["trial"] == "resnet-0000" for e in events) >= 2)
    [last] = [event for event in study.events() if event["event"] == "started" and event["trial"] == "resnet-0000"]
    os.kill(last["worker"], signal.SIGKILL)
    assert "Still running" in write_report(study.folder).read_text()
    out = study.end()
    assert study.process.returncode == 0
    assert f"{last['trial']} interrupted: worker lost" in out
    starts = [e for e in study.events() if e["event"] == "started" and e["trial"] == last["trial"]]
    assert [event["attempt"] for event in starts] == [1, 2]
    assert starts[0]["worker"] != starts[1]["worker"]
    assert max(Counter(epochs(study)).values()) == 1
    assert analysis.read(study.folder).trials["state"].isin(["finished", "stopped", "diverged"]).all()


def test_a_study_cannot_be_run_twice_at_once(start: Callable[..., Study]) -> None:
    study = start("busy", "--space", "resnet", *SMALL)
    study.wait_for(lambda events: count(events, "suggested") >= 1)
    second = start("busy", resume=True)
    _, err = second.process.communicate(timeout=400)
    assert second.process.returncode == 2
    assert "is being run by another process" in err


def test_more_gpus_than_there_are_is_refused_before_a_run_folder_exists(start: Callable[..., Study]) -> None:
    study = start("gpus", "--space", "resnet", "--gpus-per-trial", "64")
    _, err = study.process.communicate(timeout=400)
    assert study.process.returncode == 2
    assert "asks for 1 CPUs and 64 GPUs" in err
    assert not study.folder.exists()


SHORT_OF_MEMORY = """
import torch
from dataclasses import replace
from optuna.distributions import CategoricalDistribution
from torch import nn
from study.space import Parameter
from study.spaces import SPACES

class Large(nn.Module):
    def __init__(self, pixels, classes, width):
        super().__init__()
        self.width, self.head = width, nn.Linear(pixels, classes)

    def forward(self, images):
        if self.width == 32 and torch.get_num_threads() == 1:  # a slot of half the machine
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.head(images.flatten(1))

def large(*, in_channels, num_classes, image_size, width):
    return Large(in_channels * image_size[0] * image_size[1], num_classes, width)

WIDTH = Parameter("width", CategoricalDistribution((8, 32)), "scientific")
MLP = SPACES["mlp"]
REFERENCE = {"width": 32, **{p.name: MLP.reference[p.name] for p in MLP.training if p.name in MLP.reference}}
SPACE = replace(MLP, name="large", network="large", architecture=(WIDTH,), reference=REFERENCE)
"""


def test_a_trial_without_memory_runs_again_alone_and_a_resume_keeps_to_it(
    start: Callable[..., Study], tmp_path: Path
) -> None:
    space = tmp_path / "large.py"
    space.write_text(SHORT_OF_MEMORY)
    study = start(
        "short", "--space", str(space), "--trials", "8", "--max-epochs", "6", "--final-seeds", "2", "--no-report"
    )
    study.wait_for(lambda events: count(events, "packing_changed") and count(events, "epoch") >= 4)
    study.process.kill()
    out, _ = study.process.communicate()
    assert "large-0000 interrupted: out of memory with 2 at once" in out
    assert "From now on one trial at a time has a machine" in out
    again = start("short", "--no-report", resume=True)
    assert "1, each with 2 CPU; one trial at a time has a machine: fewer since memory ran out" in again.end()
    assert again.process.returncode == 0
    events = again.events()
    assert [event["slots"] for event in events if event["event"] == "study_opened"] == [2, 1]
    assert count(events, "packing_changed") == 1
    assert _most_at_once(events[next(i for i, e in enumerate(events) if e["event"] == "packing_changed") :]) == 1
    tables = analysis.read(again.folder)
    assert tables.trials["state"].isin(["finished", "stopped", "diverged"]).all()
    assert tables.trials["state"][0] == "finished"
    assert tables.packing[["together", "slots"]].to_numpy().tolist() == [[1, 1]]
    assert tables.final["test_score"].between(0, 1).all()


def _most_at_once(events: list[Event]) -> int:
    """Most runs between a start and its end."""
    running: set[str] = set()
    most = 0
    for event in events:
        name = event.get("final") or event.get("trial") or ""
        if event["event"].endswith("started"):
            running.add(name)
        elif event["event"].endswith("ended"):
            running.discard(name)
        elif event["event"] == "study_opened":
            running.clear()
        most = max(most, len(running))
    return most


def test_a_plan_is_measured_and_printed_and_leaves_nothing_behind(start: Callable[..., Study], tmp_path: Path) -> None:
    study = start("planned", "--space", "mlp", "plain_cnn", *SMALL, "--epoch-budget", "15", "--plan")
    out = study.end()
    assert study.process.returncode == 0
    assert "4 of each space, 8 in all; rungs at epoch 1, 2, 4 of 6" in out
    assert "of them 24 in final runs" in out
    assert re.search(r"mlp \d\S* s an epoch of its reference setting, \d+ of at most 15 epochs; plain_cnn", out)
    assert "nothing: 2 final seeds give no interval" in out
    assert list(tmp_path.iterdir()) == []


def test_the_time_budget_ends_the_search_and_a_resume_goes_on(start: Callable[..., Study]) -> None:
    study = start("budget", "--space", "resnet", "--trials", "50", "--max-epochs", "6", "--final-seeds", "1",
                  "--time-budget", "12s", "--no-report")  # fmt: skip
    study.end()
    assert study.process.returncode == 0
    events = study.events()
    assert events[-1]["reason"] == "time budget"
    assert count(events, "suggested") < 50
    assert count(events, "final_tested") == 1


@pytest.mark.skipif(shutil.which("chromium") is None or shutil.which("chromedriver") is None, reason="no Chromium here")
def test_the_dashboard_shows_trials_under_their_keys(start: Callable[..., Study], cluster: dict[str, str]) -> None:
    study = start("seen", "--space", "resnet", "--trials", "6", "--max-epochs", "40", "--no-report")
    study.wait_for(lambda events: count(events, "epoch") >= 2)
    with open_dashboard(cluster["dashboard"]) as browser:
        job = _job_of(study, cluster["address"])
        text = page_text(browser, f"jobs/{job}", "resnet-0000")
        assert "resnet-0001" in text
        assert "RUNNING" in text
        assert "Worker.train" not in text
    with urllib.request.urlopen(cluster["metrics"], timeout=10) as answer:
        exported = answer.read().decode()
    assert "ray_archstudy_trials{" in exported
    assert 'space="resnet"' in exported


def _job_of(study: Study, address: str) -> str:
    """The id of the job whose driver is `study`. There may be another Ray here: that of tests in another process."""
    from ray.util.state import list_jobs

    jobs = {job.driver_info.pid: job.job_id for job in list_jobs(address, limit=100) if job.driver_info}
    return str(jobs[str(study.process.pid)])
