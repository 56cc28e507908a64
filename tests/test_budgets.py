"""Budgets of a search: equal for every space, exact in epochs, and what they cut off is interrupted and resumable."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis import stats, summary, wording
from analysis.events import read_events
from study.engine import Engine
from study.job import Job
from study.log import Log
from study.packing import Packing
from study.plan import Plan, PlanError, place
from study.policy import Policy
from study.spaces import SPACES
from tests.sample_run import SampleRun
from tests.test_engine import PLACE, finish, row, score

TWO = ("resnet", "plain")


class Clock:
    """Seconds that a test lets pass."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def make(
    folder: Path,
    clock: Callable[[], float],
    spaces: tuple[str, ...] = TWO,
    *,
    gpus: float = 0.0,
    slots: int = 2,
    **changes: Any,
) -> Engine:
    """An engine of `spaces` on the log in `folder`, opened."""
    plan = Plan(spaces, **{"trials": 40, "max_epochs": 9, "final_seeds": 1, "runs": folder, "name": "s", **changes})
    plan.folder.mkdir(exist_ok=True)
    log = Log(plan.folder / "events.jsonl")
    engine = Engine(plan, {name: SPACES[name] for name in spaces}, log, time_budget=plan.time_budget, clock=clock)
    engine.open([Packing(slots, slots, 1, gpus)], ["test"], plan.trials)
    return engine


def simulate(engine: Engine, clock: Clock, seconds: dict[str, float], slots: int = 2) -> None:
    """Let slots work side by side, an epoch of a space taking so many seconds, until the search is over."""
    at: dict[int, tuple[Job, int, float]] = {}
    while True:
        for slot in range(slots):
            if slot not in at and not engine.search_is_over and isinstance(job := engine.next_job(), Job):
                engine.report(job.key, [{"event": "started", **PLACE}])
                at[slot] = (job, job.logged_epochs + 1, clock.now + seconds[job.key.split("-")[0]])
        if not at:
            return
        slot = min(at, key=lambda slot: at[slot][2])
        job, epoch, clock.now = at[slot]
        took = seconds[job.key.split("-")[0]]
        if engine.report(job.key, [{**row(epoch, score(job, epoch)), "seconds": took}]):
            at[slot] = (job, epoch + 1, clock.now + took)
        else:
            del at[slot]


def spent(engine: Engine) -> dict[str, tuple[int, float]]:
    return {name: (tally.epochs, tally.seconds) for name, tally in engine.state.tallies["trial"].items()}


def test_a_budget_of_epochs_is_kept_to_the_epoch_by_each_space(tmp_path: Path) -> None:
    clock = Clock()
    engine = make(tmp_path, clock, epoch_budget=31)
    simulate(engine, clock, {"resnet": 10.0, "plain": 1.0})
    assert {name: epochs for name, (epochs, _) in spent(engine).items()} == {"resnet": 31, "plain": 31}
    assert engine.outcome == "epoch budget"
    engine.close()
    ended = [event for event in read_events(tmp_path / "s" / "events.jsonl")[0] if event["event"] == "ended"]
    assert {event["state"] for event in ended} >= {"interrupted"}
    assert all(event["epochs_trained"] == 9 for event in ended if event["state"] == "finished")


def test_epochs_reported_together_are_cut_where_the_budget_ends(tmp_path: Path) -> None:
    policy = Policy(first_rung=9, reduction_factor=3, pausing=False)
    engine = make(tmp_path, Clock(), ("resnet",), epoch_budget=12, policy=policy)
    reference = engine.next_job()
    assert isinstance(reference, Job)
    rows = [row(epoch, 0.9) for epoch in range(1, 10)]
    engine.report(reference.key, [{"event": "started", **PLACE}, *rows])
    second = engine.next_job()
    assert isinstance(second, Job)
    assert not engine.report(second.key, [{"event": "started", **PLACE}, *[row(epoch, 0.99) for epoch in range(1, 7)]])
    assert (engine.state.runs[second.key].epochs, engine.state.runs[second.key].state) == (3, "interrupted")
    engine.close()


def test_what_a_budget_cut_off_goes_on_with_a_larger_one_and_the_budget_is_kept_at_a_resume(tmp_path: Path) -> None:
    clock = Clock()
    engine = make(tmp_path, clock, epoch_budget=31)
    simulate(engine, clock, {"resnet": 1.0, "plain": 1.0})
    cut = [run.key for run in engine.state.open_of("trial")]
    assert cut
    engine.close()
    same = make(tmp_path, clock, epoch_budget=31)
    assert [job.kind if isinstance(job, Job) else "test" for job in finish(same)] == ["final", "final", "test"]
    assert same.outcome == "epoch budget"
    assert [run.key for run in same.state.open_of("trial")] == cut
    same.close()
    larger = make(tmp_path, clock, epoch_budget=62)
    job = larger.next_job()
    assert isinstance(job, Job)
    assert (job.key, job.logged_epochs) == (cut[0], larger.state.runs[cut[0]].epochs)
    larger.close()


@pytest.mark.parametrize("slots", [1, 3])
def test_a_slow_space_does_not_eat_the_time_of_a_fast_one(tmp_path: Path, slots: int) -> None:
    clock = Clock()
    engine = make(tmp_path, clock, slots=slots, trials=10_000, time_budget=300.0)
    simulate(engine, clock, {"resnet": 10.0, "plain": 1.0}, slots)
    seconds = {name: used for name, (_, used) in spent(engine).items()}
    assert seconds["resnet"] == pytest.approx(150 * slots, abs=45)  # half of a whole trial of the slow one
    assert seconds["plain"] == pytest.approx(150 * slots, abs=45)
    assert engine.outcome == "time budget"
    engine.close()


def test_a_space_that_has_had_its_part_of_the_time_leaves_the_rest_unused(tmp_path: Path) -> None:
    clock = Clock()
    engine = make(tmp_path, clock, trials=4, time_budget=100.0)
    simulate(engine, clock, {"resnet": 20.0, "plain": 0.1})
    assert len(engine.state.of_kind("trial", "plain")) == 4
    assert spent(engine)["resnet"][1] <= 100.0 + 2 * 20.0  # half of two slots; each finishes the epoch at hand
    assert clock.now < 90.0
    assert engine.outcome == "time budget"
    engine.close()


def test_gpu_time_counts_the_share_that_a_trial_has(tmp_path: Path) -> None:
    clock = Clock()
    engine = make(tmp_path, clock, gpus=0.5, gpu_budget=40.0)
    simulate(engine, clock, {"resnet": 8.0, "plain": 2.0})
    assert engine.outcome == "GPU budget"
    for space, tally in engine.state.tallies["trial"].items():
        assert tally.gpu_seconds == tally.seconds / 2
        assert 40.0 <= tally.gpu_seconds <= 40.0 + 2 * 4.0, space
    engine._log.close()  # killed
    again = make(tmp_path, clock, gpus=0.5, gpu_budget=40.0)
    assert again.state.tallies["trial"]["plain"].gpu_seconds == engine.state.tallies["trial"]["plain"].gpu_seconds
    again.close()


def test_a_budget_of_gpu_time_given_at_a_resume_counts_what_came_before(tmp_path: Path) -> None:
    clock = Clock()
    engine = make(tmp_path, clock, gpus=1.0, trials=2)
    simulate(engine, clock, {"resnet": 8.0, "plain": 2.0})
    engine.close()
    again = make(tmp_path, clock, gpus=1.0, trials=3, gpu_budget=40.0)
    for space, tally in again.state.tallies["trial"].items():
        assert tally.gpu_seconds == tally.seconds > 0, space
    assert again._used_up("resnet") == "GPU time"
    again.close()


def test_without_gpus_a_budget_of_gpu_time_is_refused() -> None:
    with pytest.raises(PlanError, match=r"--gpu-budget is given, but trials use no GPU.*--time-budget"):
        place(Plan(("resnet",), gpu_budget=3600.0), [{"CPU": 2.0}])
    assert place(Plan(("resnet",), gpu_budget=3600.0), [{"CPU": 2.0, "GPU": 1.0}]).gpus_per_trial == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch_budget": 8}, "--epoch-budget is 8, but must be at least 9 epochs"),
        ({"gpu_budget": 0.0}, "--gpu-budget is 0 s, but must be above 0"),
    ],
)
def test_a_budget_that_allows_no_trial_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        replace(Plan(("resnet",), max_epochs=9), **changes).check_numbers()


def sample(folder: Path, clock: Clock, **changes: Any) -> analysis.StudyTables:
    """The tables of a study of two spaces, one ten times as slow, that ran until its budgets were used up."""
    engine = make(folder, clock, **changes)
    simulate(engine, clock, {"resnet": 10.0, "plain": 1.0})
    engine.close()
    spaces = {name: SPACES[name].to_json() for name in TWO}
    content = {**SampleRun(spaces=TWO, trials=engine.plan.trials).plan(), "spaces": spaces}
    (engine.plan.folder / "study.json").write_text(json.dumps(content))
    return analysis.read(engine.plan.folder)


def test_the_report_says_which_budget_ran_out_and_that_it_was_equal(tmp_path: Path) -> None:
    tables = sample(tmp_path, Clock(), epoch_budget=31)
    assert stats.budget(tables) == {"trials": 40.0, "epochs": 31.0}
    assert stats.binding(tables) == {"resnet": "epochs", "plain": "epochs"}
    said = "Equal for every space: at most 40 trials and 31 epochs. What ran out: epochs (resnet and plain)."
    assert summary.budget(tables).replace(wording.STUCK, " ") == said
    assert "Ended by the epoch budget (can be resumed)" in summary.progress(tables)


def test_spaces_may_end_by_different_budgets(tmp_path: Path) -> None:
    tables = sample(tmp_path, Clock(), trials=4, time_budget=100.0)
    assert stats.binding(tables) == {"resnet": "time", "plain": "trials"}
    said = summary.budget(tables).replace(wording.STUCK, " ")
    assert "at most 4 trials and an equal part of 100 s. What ran out: trials (plain) and time (resnet)." in said
