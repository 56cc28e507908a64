"""The engine without Ray: what it hands out, what it decides, and that a replay of its log knows the same."""

import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

import analysis
from analysis.events import BrokenLogError, Event, read_events
from analysis.mending import copy_of
from analysis.tables import StudyTables
from study.engine import MAX_LOSSES, MAX_NODES, SAME_FAILURES, Engine
from study.job import Job, OpenTest, Probe
from study.log import Log
from study.packing import Packing
from study.plan import Plan
from study.policy import Policy
from study.space import Space
from study.spaces import SPACES
from tests.conftest import full_disk

PLACE = {
    "from_epoch": 0,
    "parameters": 1,
    "multiply_adds": 9000,
    "device": "cpu",
    "precision": "float32",
    "node": "n",
    "worker": 1,
}


def make(
    folder: Path,
    spaces: tuple[str, ...] = ("resnet",),
    *,
    clock: Callable[[], float] = time.monotonic,
    **changes: Any,
) -> Engine:
    """An engine on the log in `folder`, opened."""
    usual = {"trials": 6, "max_epochs": 9, "final_seeds": 2, "policy": IN_ORDER, "runs": folder, "name": "s"}
    plan = Plan(spaces, **{**usual, **changes})
    plan.folder.mkdir(exist_ok=True)
    log = Log(plan.folder / "events.jsonl")
    engine = Engine(plan, _spaces(spaces), log, time_budget=plan.time_budget, clock=clock)
    engine.open(slots(2), ["test"])
    return engine


# The reference setting is trained first, and a trial's last score is what counts.
IN_ORDER = Policy(reduction_factor=2, averaged=0, reference_first=True)

# Who is stopped stays so, and the first to come to a rung goes on.
STOPPING = replace(IN_ORDER, reduction_factor=3, first_rung=9, pausing=False)

PAUSING = replace(IN_ORDER, reduction_factor=3)


def slots(*numbers: int) -> list[Packing]:
    """So many slots on one machine, and what to fall back to."""
    return [Packing(together=number, slots=number, cpus=numbers[0] / number, gpus=0.0) for number in numbers]


def _spaces(names: tuple[str, ...]) -> Mapping[str, Space]:
    return {name: SPACES[name] for name in names}


def row(epoch: int, score: float) -> Event:
    numbers = {"train_loss": 1.0, "train_score": score, "val_loss": 1.0, "val_score": score, "lr": 0.1}
    return {"event": "epoch", "epoch": epoch, **numbers, "seconds": 1.0, "images_per_second": 1.0}


def score(job: Job, epoch: int) -> float:
    """A made-up curve that depends on the trial alone."""
    return (job.seed % 89 + epoch) / 100


def work(engine: Engine, job: Job | OpenTest, most: int | None = None) -> None:
    """Do a job as a worker would; stop after `most` epochs as if killed."""
    if isinstance(job, OpenTest):
        engine.open_test(job, 10, "checksum")
        numbers = {"test_loss": 1.0, "test_score": 0.5, "images": 10}
        engine.report_test([{"event": "final_tested", "final": key, **numbers} for key in job.finals])
        return
    goes_on = engine.report(job.key, [{"event": "started", **PLACE}])
    for epoch in range(job.logged_epochs + 1, job.max_epochs + 1):
        if not goes_on or (most is not None and epoch > most):
            return
        goes_on = engine.report(job.key, [row(epoch, score(job, epoch))])


def jobs(engine: Engine) -> Iterator[Job | OpenTest]:
    while not isinstance(job := engine.next_job(), str):
        yield job


def finish(engine: Engine) -> list[Job | OpenTest]:
    """Run the study to its end with one slot."""
    done = []
    for job in jobs(engine):
        done.append(job)
        work(engine, job)
    return done


def tables_of(engine: Engine) -> StudyTables:
    """The tables of a study, from its log."""
    plan = engine.plan
    metric = {"name": "accuracy", "unit": "fraction", "direction": "maximize", "chance": 0.1}
    spaces = {name: space.to_json() for name, space in _spaces(plan.spaces).items()}
    lengths = {"max_epochs": plan.max_epochs, "trials": plan.trials}
    (plan.folder / "study.json").write_text(json.dumps({"spaces": spaces, "dataset": {}, "metric": metric, **lengths}))
    return analysis.read(plan.folder)


def epochs(engine: Engine) -> list[tuple[str, int]]:
    events, _ = read_events(engine.plan.folder / "events.jsonl")
    return [(event.get("trial") or event["final"], event["epoch"]) for event in events if "epoch" in event["event"]]


def facts(engine: Engine) -> dict[str, Any]:
    """All that the state knows, for comparison."""
    state = engine.state
    rungs = {name: [asha.scores(rung) for rung in engine.plan.rungs] for name, asha in state.asha.items()}
    return {"runs": {key: vars(run) for key, run in state.runs.items()}, "chosen": state.chosen, "rungs": rungs}


def test_a_whole_study_in_order(tmp_path: Path) -> None:
    engine = make(tmp_path)
    done = finish(engine)
    kinds = [job.kind if isinstance(job, Job) else "test" for job in done]
    assert kinds == ["trial"] * 6 + ["final"] * 2 + ["test"]
    winner = max(engine.state.of_kind("trial"), key=lambda run: (run.epochs, run.score or 0))
    assert engine.state.chosen == {"resnet": (winner.key,)}
    assert [job.key for job in done[6:8] if isinstance(job, Job)] == [f"{winner.key}-seed1", f"{winner.key}-seed2"]
    assert all(run.ended for run in engine.state.runs.values())
    assert engine.outcome == "finished"
    engine.close()
    assert read_events(tmp_path / "s" / "events.jsonl")[0][-1]["reason"] == "finished"


def test_asha_stops_at_its_rungs_and_says_by_which_numbers(tmp_path: Path) -> None:
    engine = make(tmp_path, policy=STOPPING)
    finish(engine)
    engine.close()
    events, _ = read_events(tmp_path / "s" / "events.jsonl")
    decisions = [event for event in events if event["event"] == "decision"]
    assert {event["epoch"] for event in decisions} == {1, 3}
    for event in decisions:
        if event["action"] == "stop":
            assert event["score"] <= event["cutoff"]
            assert engine.state.runs[event["trial"]].epochs == event["epoch"]
    assert any(event["action"] == "stop" for event in decisions)


def test_the_reference_setting_is_compared_but_never_stopped(tmp_path: Path) -> None:
    engine = make(tmp_path, policy=STOPPING)
    first, second = engine.next_job(), engine.next_job()
    assert isinstance(first, Job)
    assert isinstance(second, Job)
    for job in (second, first):
        engine.report(job.key, [{"event": "started", **PLACE}])
    assert engine.report(second.key, [row(1, 0.9)])
    assert engine.report(first.key, [row(1, 0.1)])
    assert engine.state.asha["resnet"].scores(1) == {second.key: 0.9, first.key: 0.1}
    decision = read_events(tmp_path / "s" / "events.jsonl")[0][-1]
    assert (decision["score"], decision["cutoff"], decision["action"]) == (0.1, 0.9, "continue")
    engine.close()


def test_spaces_get_equal_trials_in_turn_and_final_seeds_pair(tmp_path: Path) -> None:
    engine = make(tmp_path, ("resnet", "plain"))
    done = finish(engine)
    assert [job.key.split("-")[0] for job in done[:12] if isinstance(job, Job)] == ["resnet", "plain"] * 6
    finals = [job for job in done if isinstance(job, Job) and job.kind == "final"]
    assert [job.key.split("-")[0] for job in finals] == ["resnet", "plain"] * 2
    assert finals[0].seed == finals[1].seed != finals[2].seed == finals[3].seed
    engine.close()


@pytest.mark.parametrize("policy", [STOPPING, PAUSING, Policy()], ids=["stopping", "pausing", "default"])
@pytest.mark.parametrize("kill_after", range(0, 108, 4))
def test_a_killed_study_resumes_as_if_never_interrupted(tmp_path: Path, kill_after: int, policy: Policy) -> None:
    """Kill after so many log lines, with a torn line behind, resume, and compare with a study that was not killed."""
    (tmp_path / "whole").mkdir()
    whole = make(tmp_path / "whole", trials=9, seed=1, policy=policy)
    done = [job.key for job in finish(whole) if isinstance(job, Job)]
    assert (len(done) > len(set(done))) == policy.pausing  # somebody was taken up
    whole.close()
    lines = (whole.plan.folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    killed = tmp_path / "killed"
    (killed / "s").mkdir(parents=True)
    (killed / "s" / "events.jsonl").write_bytes(b"".join(lines[: 1 + kill_after]) + lines[-1][:9])
    engine = make(killed, trials=9, seed=1, policy=policy)
    finish(engine)
    engine.close()
    assert epochs(engine) == epochs(whole)
    expected, found = facts(whole), facts(engine)
    for run in itertools.chain(expected["runs"].values(), found["runs"].values()):
        del run["attempts"]
    assert found == expected


@pytest.mark.parametrize(("lost", "stumbles"), [("suggested", "started"), ("epoch", "ended"), ("decision", "ended")])
def test_a_log_that_lacks_a_line_and_has_no_copy_is_broken_there(lost: str, stumbles: str, tmp_path: Path) -> None:
    engine = make(tmp_path, policy=PAUSING)
    finish(engine)
    engine.close()
    plan, log = engine.plan, engine.plan.folder / "events.jsonl"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    stopped = next(event["trial"] for event in events if event["event"] == "ended" and event["state"] == "stopped")
    about = [i for i, event in enumerate(events) if event.get("trial") == stopped]
    gone = next(i for i in about if events[i]["event"] == lost)
    log.write_text("".join(json.dumps(event) + "\n" for event in events[:gone] + events[gone + 1 :]))
    copy_of(log).unlink()
    number = next(i for i in about if i > gone and events[i]["event"] == stumbles)  # counts from 1, without that line
    said = rf"events\.jsonl:{number}: the event '{stumbles}' does not follow .* Restore the file from a copy"
    with closing(Log(log)) as again, pytest.raises(BrokenLogError, match=said):
        Engine(plan, _spaces(plan.spaces), again)


def test_a_finished_study_goes_on_with_more_trials_and_only_new_finals(tmp_path: Path) -> None:
    engine = make(tmp_path)
    finish(engine)
    engine.close()
    before = epochs(engine)
    plan = engine.plan
    again = Engine(plan, _spaces(plan.spaces), Log(plan.folder / "events.jsonl"))
    again.open(slots(2), ["test"], trials=9)
    done = finish(again)
    again.close()
    assert [job.key for job in done[:3] if isinstance(job, Job)] == ["resnet-0006", "resnet-0007", "resnet-0008"]
    assert epochs(again)[: len(before)] == before
    assert len(set(epochs(again))) == len(epochs(again))
    logged, _ = read_events(plan.folder / "events.jsonl")
    openings = sum(event["event"] == "test_opened" for event in logged)
    assert openings == 1 + (again.state.chosen != engine.state.chosen)


def test_an_epoch_repeated_after_a_kill_is_not_logged_twice(tmp_path: Path) -> None:
    engine = make(tmp_path)
    job = engine.next_job()
    assert isinstance(job, Job)
    engine.report(job.key, [{"event": "started", **PLACE}, row(1, 0.5), row(2, 0.5)])
    engine.report(job.key, [row(1, 0.4), row(2, 0.4), row(3, 0.6)])
    assert epochs(engine) == [(job.key, 1), (job.key, 2), (job.key, 3)]
    engine.close()


def test_a_lost_worker_costs_no_trial_until_it_keeps_dying(tmp_path: Path) -> None:
    engine = make(tmp_path)
    first = engine.next_job()
    assert isinstance(first, Job)
    for _ in range(MAX_LOSSES - 1):
        engine.report(first.key, [{"event": "started", **PLACE}])
        engine.lost(first.key, "killed")
        again = engine.next_job()
        assert isinstance(again, Job)
        assert again.key == first.key
    engine.lost(first.key, "killed")
    assert engine.state.runs[first.key].state == "failed"
    following = engine.next_job()
    assert isinstance(following, Job)
    assert following.key == "resnet-0001"
    engine.close()


def test_a_failed_trial_gives_back_its_rung_and_the_study_goes_on(tmp_path: Path) -> None:
    engine = make(tmp_path)
    job = engine.next_job()
    assert isinstance(job, Job)
    started: Event = {"event": "started", **PLACE}
    assert not engine.report(
        job.key, [started, row(1, 0.99), {"event": "ended", "state": "failed", "error": "RuntimeError: x"}]
    )
    assert engine.state.asha["resnet"].scores(1) == {}
    assert engine.stopped is None
    finish(engine)
    assert engine.state.chosen["resnet"] != (job.key,)
    engine.close()


def test_the_same_failure_again_and_again_ends_the_study_but_different_ones_do_not(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=SAME_FAILURES + 3)
    for number, job in enumerate(jobs(engine)):
        error = "ValueError: odd" if number == 1 else "RuntimeError: same"
        engine.report(job.key, [{"event": "ended", "state": "failed", "error": error}])
    assert engine.outcome == "failed"
    assert len(engine.state.of_kind("trial")) == 2 + SAME_FAILURES
    assert engine.repeated_failure == "RuntimeError: same"
    engine.close()


def test_failures_between_successes_do_not_end_a_study(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=4 * SAME_FAILURES)
    for number, job in enumerate(jobs(engine)):
        if number % 2 and isinstance(job, Job) and job.kind == "trial":
            engine.report(job.key, [{"event": "ended", "state": "failed", "error": "RuntimeError: same"}])
        else:
            work(engine, job)
    assert engine.outcome == "finished"
    engine.close()


def test_failures_that_differ_in_a_number_alone_are_the_same(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=3 * SAME_FAILURES)
    for number, job in enumerate(jobs(engine)):
        engine.report(job.key, [{"event": "ended", "state": "failed", "error": f"OOM: {number} MiB"}])
    assert engine.outcome == "failed"
    assert len(engine.state.of_kind("trial")) == SAME_FAILURES
    engine.close()


def test_a_diverged_trial_never_wins_and_its_missing_numbers_stay_missing(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=2)
    first = engine.next_job()
    assert isinstance(first, Job)
    ended = {"event": "ended", "state": "diverged", "error": "training loss is nan in epoch 2"}
    engine.report(first.key, [{"event": "started", **PLACE}, row(1, 0.99), ended])
    finish(engine)
    assert engine.state.chosen == {"resnet": ("resnet-0001",)}
    engine.close()


def test_a_study_whose_trials_all_failed_has_failed(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=2)
    for job in jobs(engine):
        engine.report(job.key, [{"event": "ended", "state": "failed", "error": "E: x"}])
    assert engine.outcome == "failed"
    assert engine.state.of_kind("final") == []
    engine.close()


def test_a_study_with_a_space_whose_trials_all_failed_has_failed_and_says_which(tmp_path: Path) -> None:
    engine = make(tmp_path, ("resnet", "plain"), trials=2, final_seeds=1)
    for job in jobs(engine):
        if isinstance(job, Job) and job.key.startswith("plain"):
            engine.report(job.key, [{"event": "ended", "state": "failed", "error": "E: x"}])
        else:
            work(engine, job)
    assert engine.failed_spaces == ["plain"]
    assert [run.tested for run in engine.state.of_kind("final")] == [0.5]  # the other space is done all the same
    assert engine.outcome == "failed"
    engine.close()


def test_time_that_is_up_cuts_the_search_short_and_the_final_runs_still_come(tmp_path: Path) -> None:
    now = [0.0]
    plan = Plan(("resnet",), trials=6, max_epochs=9, final_seeds=1, runs=tmp_path, name="s", policy=STOPPING)
    plan.folder.mkdir()
    log = Log(plan.folder / "events.jsonl")
    engine = Engine(plan, _spaces(plan.spaces), log, time_budget=100.0, clock=lambda: now[0])
    engine.open(slots(2), ["test"])
    first, second = engine.next_job(), engine.next_job()
    assert isinstance(first, Job)
    assert isinstance(second, Job)
    work(engine, first)
    engine.report(second.key, [{"event": "started", **PLACE}])
    now[0] = 101.0
    final = engine.next_job()  # the second is still in its slot
    assert isinstance(final, Job)
    assert not engine.report(second.key, [row(1, 0.99)])
    assert engine.state.runs[second.key].state == "interrupted"
    work(engine, final)
    assert [job.kind if isinstance(job, Job) else "test" for job in finish(engine)] == ["test"]
    assert engine.outcome == "time budget"
    engine.close()
    again = make(tmp_path, final_seeds=1, policy=STOPPING)
    resumed = again.next_job()
    assert isinstance(resumed, Job)
    assert (resumed.key, resumed.logged_epochs) == (second.key, 1)
    again.close()


def test_while_others_run_a_free_slot_waits_for_the_stage_that_follows(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=2, final_seeds=1)
    first, second = engine.next_job(), engine.next_job()
    assert isinstance(first, Job)
    assert isinstance(second, Job)
    engine.report(second.key, [{"event": "ended", "state": "diverged", "error": "loss is nan"}])
    assert engine.next_job() == "wait"  # nobody has come to the full length yet
    work(engine, first)
    final_run = engine.next_job()
    assert isinstance(final_run, Job)
    assert engine.next_job() == "wait"
    work(engine, final_run)
    test = engine.next_job()
    assert isinstance(test, OpenTest)
    assert engine.next_job() == "wait"
    engine.lost_test("killed")
    assert engine.next_job() == test
    work(engine, test)
    assert engine.next_job() == "done"
    engine.close()


def a_leader(engine: Engine) -> Job:
    """Have the first of two trials come to its end with 0.5; return the second one, at work in its slot."""
    first, second = engine.next_job(), engine.next_job()
    report(engine, first, *[0.5] * 9)
    assert report(engine, second, 0.6)
    assert isinstance(second, Job)
    return second


def test_a_slot_that_the_search_leaves_idle_retrains_who_leads(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=2, policy=STOPPING)
    second = a_leader(engine)
    early = engine.next_job()
    assert isinstance(early, Job)
    assert (early.kind, early.key) == ("final", "resnet-0000-seed1")
    work(engine, early)
    assert not report(engine, second, *[0.4] * 9)  # the leader stays
    assert [job.key for job in finish(engine) if isinstance(job, Job)] == ["resnet-0000-seed2"]
    assert engine.outcome == "finished"
    engine.close()
    events, _ = read_events(tmp_path / "s" / "events.jsonl")
    assert [event["trial"] for event in events if event["event"] == "final_chosen"] == ["resnet-0000"]


def test_final_runs_of_who_is_overtaken_end_and_never_see_the_test_split(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=2, policy=STOPPING)
    second = a_leader(engine)
    done = engine.next_job()
    assert isinstance(done, Job)
    work(engine, done)
    early = engine.next_job()
    assert isinstance(early, Job)
    assert early.key == "resnet-0000-seed2"
    assert report(engine, early, 0.5)
    assert not report(engine, second, *[0.7] * 9)  # it overtakes
    job = engine.next_job()
    assert isinstance(job, Job)
    assert job.key == "resnet-0001-seed1"
    (early.folder / "last.pt").write_bytes(b"x")  # its worker has not heard yet
    assert not engine.report(early.key, [row(2, 0.5)])
    assert not (early.folder / "last.pt").exists()
    work(engine, job)
    finish(engine)
    assert engine.outcome == "finished"
    engine.close()
    tables = tables_of(engine)
    assert tables.final.set_index("final")[["state", "epochs_trained"]].to_dict("index") == {
        "resnet-0000-seed1": {"state": "finished", "epochs_trained": 9},
        "resnet-0000-seed2": {"state": "stopped", "epochs_trained": 1},
        "resnet-0001-seed1": {"state": "finished", "epochs_trained": 9},
        "resnet-0001-seed2": {"state": "finished", "epochs_trained": 9},
    }
    assert tables.final.dropna(subset="test_score")["trial"].unique().tolist() == ["resnet-0001"]
    assert tables.openings["names"].tolist() == ["resnet-0001-seed1 resnet-0001-seed2"]


def test_a_final_run_that_was_overtaken_before_its_worker_came_up_is_in_the_tables(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=2, final_seeds=1, policy=STOPPING)
    second = a_leader(engine)
    early = engine.next_job()
    assert isinstance(early, Job)
    assert not report(engine, second, *[0.7] * 9)
    assert isinstance(engine.next_job(), Job)
    assert not engine.report(early.key, [{"event": "started", **PLACE}])
    engine.close()
    rows = tables_of(engine).final[["final", "trial", "seed", "state", "epochs_trained"]]
    assert rows.to_numpy().tolist()[0] == [early.key, "resnet-0000", 1, "stopped", 0]


def test_a_trial_that_is_chosen_again_has_its_final_runs_go_on(tmp_path: Path) -> None:
    """A budget ends the search with an unfinished trial ahead; with more of it another one leads for a while."""
    engine = make(tmp_path, trials=2, policy=STOPPING, epoch_budget=13, final_seeds=1)
    first, second = engine.next_job(), engine.next_job()
    report(engine, first, *[0.5] * 5)
    report(engine, second, *[0.6] * 8)
    assert isinstance(first, Job)
    assert not engine.report(first.key, [row(6, 0.5)])
    early = engine.next_job()
    assert isinstance(early, Job)
    assert early.key == "resnet-0001-seed1"
    report(engine, early, 0.6)
    engine.close()
    again = make(tmp_path, trials=2, policy=STOPPING, epoch_budget=90, final_seeds=1)
    jobs_now = [again.next_job(), again.next_job()]
    report(again, jobs_now[0], *[0.5] * 4)
    leader = again.next_job()
    assert isinstance(leader, Job)
    assert leader.key == "resnet-0000-seed1"
    assert again.state.runs[early.key].state == "stopped"
    assert not report(again, jobs_now[1], 0.6)
    finish(again)
    again.close()
    assert again.outcome == "finished"
    tested = tables_of(again).final.set_index("final")["test_score"].dropna()
    assert tested.index.tolist() == [early.key]


def test_an_early_final_run_leaves_its_slot_to_the_search(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=2, policy=STOPPING, final_seeds=1)
    second = a_leader(engine)
    early = engine.next_job()
    assert report(engine, early, 0.5)
    engine.resize(slots(1), 1)  # a node has left, and with it the trial
    engine.lost(second.key, "node lost")
    assert engine.next_job() == "wait"
    assert isinstance(early, Job)
    assert not engine.report(early.key, [row(2, 0.5)])
    again = engine.next_job()
    assert isinstance(again, Job)
    assert again.key == second.key
    report(engine, again, *[0.4] * 8)
    final = engine.next_job()
    assert isinstance(final, Job)
    assert (final.key, final.logged_epochs) == (early.key, 2)
    engine.close()


def finish_with_two_slots(engine: Engine) -> None:
    """Run the study to its end with two slots that train an epoch in turn."""
    at_work: list[tuple[Job, int]] = []
    while True:
        while len(at_work) < 2 and isinstance(job := engine.next_job(), Job):
            if engine.report(job.key, [{"event": "started", **PLACE}]):
                at_work.append((job, job.logged_epochs))
        if not at_work:
            break
        job, epoch = at_work.pop(0)
        if engine.report(job.key, [row(epoch + 1, score(job, epoch + 1))]):
            at_work.append((job, epoch + 1))
    if isinstance(job, OpenTest):
        work(engine, job)
        finish_with_two_slots(engine)


@pytest.mark.parametrize("policy", [STOPPING, PAUSING, Policy()], ids=["stopping", "pausing", "default"])
def test_a_study_of_two_slots_survives_a_kill_after_any_line(tmp_path: Path, policy: Policy) -> None:
    """Two slots race, so what follows on a kill may differ: but nothing is doubled, and every winner is tested."""
    (tmp_path / "whole").mkdir()
    whole = make(tmp_path / "whole", trials=7, policy=policy)
    finish_with_two_slots(whole)
    whole.close()
    lines = (whole.plan.folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    names = [event["event"] for event in read_events(whole.plan.folder / "events.jsonl")[0]]
    assert names.index("final_started") < max(at for at, name in enumerate(names) if name == "epoch")
    for kill_after in range(1, len(lines)):
        killed = tmp_path / f"killed-{kill_after}"
        (killed / "s").mkdir(parents=True)
        (killed / "s" / "events.jsonl").write_bytes(b"".join(lines[:kill_after]))
        engine = make(killed, trials=7, policy=policy)
        finish_with_two_slots(engine)
        engine.close()
        assert engine.outcome == "finished", kill_after
        assert len(epochs(engine)) == len(set(epochs(engine))), kill_after
        states = Counter(run.state for run in engine.state.runs.values())
        assert not states.keys() - {"finished", "stopped", "waiting"}, (kill_after, states)
        [winner] = engine.state.chosen["resnet"]
        tested = {run.trial for run in engine.state.of_kind("final") if run.tested is not None}
        assert winner in tested, kill_after


def test_spaces_whose_search_has_ended_come_first_in_idle_slots(tmp_path: Path) -> None:
    engine = make(tmp_path, ("resnet", "plain"), trials=1, final_seeds=1)
    slow, quick = engine.next_job(), engine.next_job()
    engine.resize(slots(3), 1)
    assert engine.next_job() == "wait"
    report(engine, quick, *[0.5] * 9)
    assert report(engine, slow, 0.6)
    early = engine.next_job()
    assert isinstance(early, Job)
    assert early.key == "plain-0000-seed1"
    assert engine.next_job() == "wait"  # of the other space nobody has come to the end
    engine.close()


def test_a_stopped_study_says_what_was_running(tmp_path: Path) -> None:
    engine = make(tmp_path)
    job = engine.next_job()
    assert isinstance(job, Job)
    work(engine, job, most=2)
    engine.stop("interrupted")
    assert engine.next_job() == "done"
    engine.close()
    ended, closed = read_events(tmp_path / "s" / "events.jsonl")[0][-2:]
    assert (ended["trial"], ended["state"], ended["epochs_trained"]) == (job.key, "interrupted", 2)
    assert closed["reason"] == "interrupted"


def test_a_rung_reached_but_not_judged_before_a_kill_is_judged_at_the_resume(tmp_path: Path) -> None:
    engine = make(tmp_path)
    job = engine.next_job()
    assert isinstance(job, Job)
    engine.report(job.key, [{"event": "started", **PLACE}, row(1, 0.5)])
    engine.close()
    path = tmp_path / "s" / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b'"decision"' not in line and b"ended" not in line))
    copy_of(path).unlink()
    with closing(make(tmp_path)._log) as log:
        judged = [event for event in read_events(log.path)[0] if event["event"] == "decision"]
    assert [(event["trial"], event["epoch"], event["score"]) for event in judged] == [(job.key, 1, 0.5)]


def test_one_slot_and_the_same_seed_give_the_same_suggestions(tmp_path: Path) -> None:
    configs = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        engine = make(tmp_path / name, seed=seed)
        finish(engine)
        engine.close()
        configs.append([run.config for run in engine.state.of_kind("trial")])
    assert configs[0] == configs[1]
    assert configs[0] != configs[2]


def test_checkpoints_go_when_a_trial_ends_and_stay_while_it_can_be_resumed(tmp_path: Path) -> None:
    engine = make(tmp_path)
    first = engine.next_job()
    assert isinstance(first, Job)
    (first.folder / "last.pt").write_bytes(b"x")
    engine.report(first.key, [{"event": "started", **PLACE}, row(1, 0.5)])
    assert (first.folder / "last.pt").exists()
    engine.report(first.key, [row(epoch, 0.5) for epoch in range(2, 10)])
    assert engine.state.runs[first.key].state == "finished"
    assert not (first.folder / "last.pt").exists()
    engine.close()


def report(engine: Engine, job: Job | OpenTest | str, *scores: float) -> bool:
    """Have `job` report epochs with these scores; return whether it goes on."""
    assert isinstance(job, Job)
    epochs = [row(job.logged_epochs + passed, score) for passed, score in enumerate(scores, 1)]
    return engine.report(job.key, [{"event": "started", **PLACE}, *epochs])


def test_the_reference_setting_pauses_until_half_of_the_trials_have_begun_and_then_nothing_stops_it(
    tmp_path: Path,
) -> None:
    engine = make(tmp_path, trials=8, policy=Policy(reduction_factor=3))
    came = []
    for job in itertools.islice(jobs(engine), 5):
        assert isinstance(job, Job)
        came.append((job.key[-4:], train(engine, job, 0.1 * int(job.key[-1]))))  # the worse, the earlier
    # the third is the best of three; the fourth trial begun is a half of eight
    assert came == [("0000", 1), ("0001", 1), ("0002", 3), ("0003", 3), ("0000", 9)]
    logged, _ = read_events(engine.plan.folder / "events.jsonl")
    decisions = [e for e in logged if e["event"] == "decision" and e["trial"] == "resnet-0000"]
    assert [(e["epoch"], e["action"]) for e in decisions] == [(1, "stop"), (1, "continue"), (3, "continue")]
    assert decisions[1]["cutoff"] is None
    engine.close()


def train(engine: Engine, job: Job, level: float) -> int:
    """Report epochs of `job`, whose scores rise slowly from `level`, until the engine stops it; return the last one."""
    goes_on, epoch = engine.report(job.key, [{"event": "started", **PLACE}]), job.logged_epochs
    while goes_on:
        epoch += 1
        goes_on = engine.report(job.key, [row(epoch, level + 0.01 * epoch)])
    return epoch


@pytest.mark.parametrize("budget", [{"epoch_budget": 80}, {"time_budget": 80.0}], ids=["epochs", "time"])
def test_the_reference_setting_goes_on_once_half_of_any_budget_is_spent(
    tmp_path: Path, budget: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One slot, the reference setting the worst of all, an epoch takes a second, and the log's clock jumps by days."""
    spent = 0
    days = itertools.cycle([0, 86_400, -86_400])
    monkeypatch.setattr("study.log.time.time", lambda: 1e9 + next(days))
    engine = make(tmp_path, clock=lambda: float(spent), trials=1000, policy=Policy(), **budget)
    engine.open(slots(1), ["test"])
    for job in jobs(engine):
        assert isinstance(job, Job)
        if spent and job.key == "resnet-0000":
            break
        spent += train(engine, job, 0.0 if job.key == "resnet-0000" else 0.5) - job.logged_epochs
    assert 40 <= spent <= 40 + 9
    engine.close()


@pytest.mark.parametrize(("number", "budget"), [(1, 12), (2, 30), (8, 100), (8, 320)])
def test_an_epoch_budget_is_enough_for_the_reference_setting_however_small(
    tmp_path: Path, number: int, budget: int
) -> None:
    """All slots in turn, an epoch each; the reference setting is the worst of all."""
    engine = make(tmp_path, trials=1000, policy=Policy(), epoch_budget=budget)
    engine._packings = slots(number)
    engine.open(slots(number), ["test"])
    working: dict[str, int] = {}
    while not engine.search_is_over:
        while isinstance(job := engine.next_job(), Job) and job.kind == "trial":
            working[job.key] = job.logged_epochs
            engine.report(job.key, [{"event": "started", **PLACE}])
        for key in list(working):
            working[key] += 1
            better = 0.0 if key == "resnet-0000" else 0.5
            if not engine.report(key, [row(working[key], better + 0.01 * working[key])]):
                del working[key]
    assert engine.state.runs["resnet-0000"].state == "finished"
    engine.close()


def test_a_diverged_trial_whose_end_a_kill_cut_off_does_not_finish(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=2, policy=Policy(first_rung=1))
    report(engine, engine.next_job(), *[0.5] * 9)
    report(engine, engine.next_job(), *[0.6] * 8, math.nan)
    engine.close()
    file = tmp_path / "s" / "events.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    last = max(place for place, line in enumerate(lines) if b'"val_score": null' in line)
    assert b'"diverged"' in lines[last + 1]
    file.write_bytes(b"".join(lines[: last + 1]))
    copy_of(file).unlink()
    again = make(tmp_path, trials=2, policy=Policy(first_rung=1))
    run = next(run for run in again.state.runs.values() if run.val_loss == 1.0 and run.score is None)
    assert run.state == "diverged"
    again.close()


def test_trials_are_judged_and_the_winner_is_chosen_by_the_last_quarter_of_their_epochs(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=2, policy=Policy(first_rung=1, averaged=0.25))
    curves = {"resnet-0000": [0.1] * 7 + [0.6, 0.6], "resnet-0001": [0.1] * 7 + [0.2, 0.9]}  # 0.6 and 0.55
    for job in itertools.islice(jobs(engine), 2):
        assert isinstance(job, Job)
        engine.report(job.key, [{"event": "started", **PLACE}])
        engine.report(job.key, [row(epoch, value) for epoch, value in enumerate(curves[job.key], 1)])
    engine.next_job()
    assert engine.state.chosen == {"resnet": ("resnet-0000",)}
    engine.close()
    again = make(tmp_path, trials=2, policy=Policy(first_rung=1, averaged=0))
    again.next_job()
    assert again.state.chosen == {"resnet": ("resnet-0001",)}
    again.close()


def test_who_paused_is_taken_up_once_enough_worse_ones_have_come_the_best_first(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=8, policy=PAUSING)
    assert engine.plan.rungs == (1, 3)
    report(engine, engine.next_job(), *[0.1] * 9)  # the reference, to its end
    second = engine.next_job()
    assert not report(engine, second, 0.6)  # one of two: nobody goes on for want of others
    third = engine.next_job()
    assert not report(engine, third, 0.5)  # the second is better
    again = engine.next_job()
    assert isinstance(second, Job)
    assert isinstance(again, Job)
    assert (again.key, again.logged_epochs) == (second.key, 1)
    assert (again.folder == second.folder, engine.state.runs[again.key].state) == (True, "running")
    event = read_events(tmp_path / "s" / "events.jsonl")[0][-1]
    told = {"event": "decision", "trial": second.key, "epoch": 1, "score": 0.6, "cutoff": 0.5, "compared": 3}
    assert event.items() >= {**told, "action": "continue"}.items()
    [running] = [trial for trial in engine.state.samplers["resnet"].history() if trial.state is TrialState.RUNNING]
    assert dict(running.params) == dict(second.config)
    assert not report(engine, again, 0.7, 0.7)  # paused again, at the next rung
    assert engine.state.runs[second.key].epochs == 3
    engine.close()


def test_when_all_else_has_ended_the_best_of_a_rung_goes_on_to_the_end(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=2, final_seeds=1, policy=PAUSING)
    report(engine, engine.next_job(), *[0.1] * 9)
    second = engine.next_job()
    assert not report(engine, second, 0.6)
    for epochs in (2, 6):
        again = engine.next_job()
        assert isinstance(again, Job)
        assert again.kind == "trial"
        report(engine, again, *[0.6] * epochs)
    assert engine.state.runs["resnet-0001"].state == "finished"
    final = engine.next_job()
    assert isinstance(final, Job)
    assert final.kind == "final"
    engine.close()


def test_who_diverges_after_a_rung_gives_its_place_there_to_one_that_paused(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=3, policy=PAUSING)
    report(engine, engine.next_job(), *[0.1] * 9)
    second, third = engine.next_job(), engine.next_job()
    assert not report(engine, second, 0.5)
    assert report(engine, third, 0.6)  # the best of three
    assert isinstance(second, Job)
    assert isinstance(third, Job)
    engine.report(third.key, [{"event": "ended", "state": "diverged", "error": "loss is nan"}])
    again = engine.next_job()
    assert isinstance(again, Job)
    assert (again.kind, again.key) == ("trial", second.key)
    engine.close()


def test_a_budget_that_ends_the_search_leaves_paused_trials_their_checkpoints(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=3, policy=PAUSING, epoch_budget=10)
    report(engine, engine.next_job(), *[0.9] * 9)
    paused, cut_off = engine.next_job(), engine.next_job()
    assert isinstance(paused, Job)
    (paused.folder / "last.pt").write_bytes(b"x")
    assert not report(engine, paused, 0.3)
    assert not report(engine, cut_off, 0.2)
    final = engine.next_job()
    assert isinstance(final, Job)
    assert final.kind == "final"
    assert [run.state for run in engine.state.open_of("trial")] == ["interrupted"]
    assert (paused.folder / "last.pt").exists()
    engine.close()


def test_of_equal_scores_one_goes_on_not_all(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=9, policy=PAUSING)
    report(engine, engine.next_job(), *[0.1] * 9)
    came: list[str] = []
    while isinstance(job := engine.next_job(), Job) and job.kind == "trial":
        report(engine, job, *[0.1] * (engine.plan.max_epochs - job.logged_epochs))
        came.append(job.key)
    at_second = engine.state.asha["resnet"].scores(3)
    assert len(at_second) == 3  # a third of nine, the first of them the reference
    engine.close()


def test_the_checkpoint_of_a_paused_trial_stays_until_nobody_is_taken_up_any_more(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=3, policy=PAUSING)
    report(engine, engine.next_job(), *[0.9] * 9)
    paused = [engine.next_job(), engine.next_job()]
    for job, score in zip(paused, (0.3, 0.2), strict=True):
        assert isinstance(job, Job)
        (job.folder / "last.pt").write_bytes(b"x")
        assert not report(engine, job, score)
        assert (job.folder / "last.pt").exists()
    final = engine.next_job()  # a quota of one, and the reference has it
    assert isinstance(final, Job)
    assert final.kind == "final"
    assert not list(tmp_path.rglob("last.pt"))
    engine.close()


def test_a_score_that_is_not_finite_never_reaches_asha(tmp_path: Path) -> None:
    engine = make(tmp_path)
    job = engine.next_job()
    assert isinstance(job, Job)
    assert not engine.report(job.key, [{"event": "started", **PLACE}, row(1, math.nan)])
    assert engine.state.runs[job.key].state == "diverged"
    assert engine.state.asha["resnet"].scores(1) == {}
    engine.close()


def with_slots(folder: Path, *numbers: int, packed_anew: bool = False) -> Engine:
    """An engine that falls back from one of these numbers of slots to the next."""
    plan = Plan(("resnet",), trials=6, max_epochs=9, final_seeds=2, runs=folder, name="s", policy=STOPPING)
    plan.folder.mkdir(exist_ok=True)
    engine = Engine(plan, _spaces(plan.spaces), Log(plan.folder / "events.jsonl"))
    engine.open(slots(*numbers), ["test"], packed_anew=packed_anew)
    return engine


SHORT: Event = {"event": "ended", "state": "out_of_memory", "error": "OutOfMemoryError: CUDA out of memory"}


def take(engine: Engine, number: int) -> list[Job]:
    """Take so many jobs at once, and no further one is there."""
    taken = []
    for _ in range(number):
        job = engine.next_job()
        assert isinstance(job, Job)
        engine.report(job.key, [{"event": "started", **PLACE}])
        taken.append(job)
    assert engine.next_job() == "wait"
    return taken


def test_without_memory_beside_others_a_trial_goes_on_later_with_half_as_many(tmp_path: Path) -> None:
    engine = with_slots(tmp_path, 4, 2, 1)
    first = take(engine, 4)
    engine.report(first[1].key, [row(1, 0.5)])
    assert not engine.report(first[1].key, [SHORT])
    assert not engine.report(first[2].key, [SHORT])  # handed out beside three others, so no reason for one alone
    assert engine.packing.slots == 2
    run = engine.state.runs[first[1].key]
    assert (run.state, run.epochs, run.losses) == ("interrupted", 1, 0)
    assert engine.next_job() == "wait"  # two are still at it
    work(engine, first[0])
    [again] = take(engine, 1)
    assert (again.key, again.logged_epochs) == (first[1].key, 1)
    for job in (again, first[3]):
        work(engine, job)
    finish(engine)
    assert all(run.ended and run.state != "failed" for run in engine.state.runs.values())
    engine.close()
    changes = [e for e in read_events(tmp_path / "s" / "events.jsonl")[0] if e["event"] == "packing_changed"]
    assert [(e["together"], e["slots"], e["reason"]) for e in changes] == [(2, 2, f"{run.key} ran out of memory")]


def test_without_memory_alone_a_trial_has_failed_and_tpe_keeps_away_from_it(tmp_path: Path) -> None:
    engine = with_slots(tmp_path, 2, 1)
    reference, other = take(engine, 2)
    work(engine, reference)
    engine.report(other.key, [SHORT])
    [alone] = take(engine, 1)
    assert alone.key == other.key
    engine.report(alone.key, [SHORT])
    run = engine.state.runs[alone.key]
    assert run.state == "failed"
    told = engine.state.samplers["resnet"].history()[1]
    assert told.state == TrialState.PRUNED
    assert told.constraints == {"infeasible": 1.0}
    finish(engine)
    assert engine.outcome == "finished"
    engine.close()
    ended = [e for e in read_events(tmp_path / "s" / "events.jsonl")[0] if e["event"] == "ended"]
    assert [e["error"] for e in ended if e["trial"] == alone.key] == [
        "out of memory with 2 at once: OutOfMemoryError: CUDA out of memory",
        "out of memory when alone: OutOfMemoryError: CUDA out of memory",
    ]


def test_many_configurations_that_are_too_large_do_not_end_a_study(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=SAME_FAILURES + 3)
    engine._packings = slots(1)
    for number, job in enumerate(jobs(engine)):
        if 0 < number <= SAME_FAILURES + 1 and isinstance(job, Job):
            engine.report(job.key, [SHORT])
        else:
            work(engine, job)
    assert engine.outcome == "finished"
    engine.close()


def test_a_reference_setting_that_has_no_memory_alone_ends_the_study_and_can_be_resumed(tmp_path: Path) -> None:
    engine = with_slots(tmp_path, 1)
    [reference] = take(engine, 1)
    engine.report(reference.key, [SHORT])
    assert engine.next_job() == "done"
    assert engine.outcome == "failed"
    assert "the reference setting of resnet ran out of memory when alone" in engine.repeated_failure
    assert "--image-size" in engine.repeated_failure
    engine.close()
    again = with_slots(tmp_path, 1)
    assert take(again, 1)[0].key == reference.key
    again.close()


def test_fewer_at_once_outlive_a_kill_until_other_slots_are_asked_for(tmp_path: Path) -> None:
    engine = with_slots(tmp_path, 4, 2, 1)
    engine.report(take(engine, 4)[3].key, [SHORT])
    engine._log.close()  # killed
    again = with_slots(tmp_path, 4, 2, 1)
    take(again, 2)
    again._log.close()
    smaller = with_slots(tmp_path, 3, 1)  # another machine
    assert smaller.packing.slots == 1
    smaller._log.close()
    anew = with_slots(tmp_path, 4, 2, 1, packed_anew=True)
    take(anew, 4)
    anew._log.close()
    later = with_slots(tmp_path, 4, 2, 1)
    take(later, 4)
    later.close()
    opened = [e["slots"] for e in read_events(tmp_path / "s" / "events.jsonl")[0] if e["event"] == "study_opened"]
    assert opened == [4, 2, 1, 4, 4]


def test_what_was_measured_is_in_the_log(tmp_path: Path) -> None:
    plan = Plan(("resnet",), runs=tmp_path, name="s")
    plan.folder.mkdir()
    engine = Engine(plan, _spaces(plan.spaces), Log(plan.folder / "events.jsonl"))
    probe = Probe("resnet", "a GPU", 100, 10, 1000.0, None)
    engine.open(slots(2), ["test"], probes=[probe])
    engine.close()
    measured = read_events(tmp_path / "s" / "events.jsonl")[0][1]
    assert {**measured, "time": 0} == {"event": "packing_measured", "time": 0, **asdict(probe)}


def restart(engine: Engine, number: int, facts: list[Event]) -> None:
    """Have the first trial started `number` times; each time its worker reports `facts` and dies."""
    for _ in range(number):
        job = engine.next_job()
        assert isinstance(job, Job)
        assert job.key == "resnet-0000"
        engine.report(job.key, [{"event": "started", **PLACE}, *facts])
        engine.lost(job.key, "killed")


def test_dying_workers_that_finish_epochs_between_cost_no_trial_however_many(tmp_path: Path) -> None:
    engine = make(tmp_path)
    for epoch in range(1, 9):
        restart(engine, 1, [row(epoch, 0.5)])
        restart(engine, 1, [])
    assert engine.state.runs["resnet-0000"].state == "interrupted"
    restart(engine, MAX_LOSSES - 2, [])
    assert engine.state.runs["resnet-0000"].state == "failed"
    engine.close()


def make_with_clock(folder: Path, clock: list[float], limit: float | None) -> Engine:
    plan = Plan(
        ("resnet",), trials=6, max_epochs=9, final_seeds=1, runs=folder, policy=IN_ORDER, name="s", epoch_limit=limit
    )
    plan.folder.mkdir(exist_ok=True)
    log = Log(plan.folder / "events.jsonl")
    engine = Engine(plan, _spaces(plan.spaces), log, clock=lambda: clock[0])
    engine.open(slots(2), ["test"])
    return engine


def wait(engine: Engine, clock: list[float], seconds: int, keys: list[str]) -> list[str]:
    """Let time pass, a second at a time; return what was found to hang."""
    found = []
    for _ in range(seconds):
        clock[0] += 1
        found += engine.hung(keys)
    return found


def test_a_trial_without_an_epoch_within_the_limit_is_ended_named_and_tried_once_more(tmp_path: Path) -> None:
    clock = [0.0]
    engine = make_with_clock(tmp_path, clock, 20.0)
    first, second = take(engine, 2)
    keys = [first.key, second.key]
    assert wait(engine, clock, 15, keys) == []
    engine.report(first.key, [row(1, 0.5)])
    assert wait(engine, clock, 10, keys) == [second.key]
    assert wait(engine, clock, 5, keys) == []  # said once
    engine.lost(second.key, "killed by ray.kill")
    assert engine.state.runs[second.key].state == "interrupted"
    assert take(engine, 1)[0].key == second.key
    assert wait(engine, clock, 30, [second.key]) == [second.key]
    engine.lost(second.key, "killed by ray.kill")
    assert engine.state.runs[second.key].state == "failed"
    engine.close()
    ended = [event for event in read_events(tmp_path / "s" / "events.jsonl")[0] if event["event"] == "ended"]
    assert [event["error"] for event in ended if event["trial"] == second.key] == [
        "hung: no epoch within 20 s (--epoch-limit)"
    ] * 2


def test_by_default_nobody_hangs_within_two_hours_of_the_start_or_ten_minutes_or_while_the_driver_stands_still(
    tmp_path: Path,
) -> None:
    clock = [0.0]
    engine = make_with_clock(tmp_path, clock, None)
    first, second = take(engine, 2)
    assert wait(engine, clock, 7_000, [first.key, second.key]) == []
    engine.report(first.key, [{**row(1, 0.5), "seconds": 1.0}])
    engine.report(second.key, [{**row(1, 0.4), "seconds": 40.0}])
    assert wait(engine, clock, 30 * 40 - 10, [first.key]) == []
    clock[0] += 10_000  # the driver was stopped, and with it its workers' reports
    assert wait(engine, clock, 1, [first.key]) == []
    assert wait(engine, clock, 20, [first.key]) == [first.key]
    engine.close()


def test_where_no_epoch_ever_ends_the_first_trials_are_named_after_two_hours(tmp_path: Path) -> None:
    clock = [0.0]
    engine = make_with_clock(tmp_path, clock, None)
    first, _second = take(engine, 2)
    assert wait(engine, clock, 7_210, [first.key]) == [first.key]
    engine.lost(first.key, "killed by ray.kill")
    engine.close()
    ended = next(event for event in read_events(tmp_path / "s" / "events.jsonl")[0] if event["event"] == "ended")
    assert ended["error"] == "hung: no epoch within 7200 s (--epoch-limit)"


FAILURES = {
    "no files": ("no_files", "s3://b/s on n: no answer", "files out of reach: s3://b/s on n: no answer"),
    "no worker": ("", "ImportError: libtorch.so", "no worker starts: ImportError: libtorch.so"),
}


def set_back(engine: Engine, clock: list[float], failure: str) -> float:
    """Wait for a job and have it fail for a reason that it is not to blame for; return the seconds waited."""
    begun, (state, error, _) = clock[0], FAILURES[failure]
    while (job := engine.next_job()) == "wait":
        clock[0] += 1
    assert isinstance(job, Job)
    if state:
        engine.report(job.key, [{"event": "ended", "state": state, "error": f"{error}"}])
    else:
        engine.never_started(job.key, error)
    return clock[0] - begun


@pytest.mark.parametrize("failure", FAILURES)
def test_no_trial_pays_for_files_and_workers_that_are_not_there_and_the_study_ends_with_the_reason(
    tmp_path: Path, failure: str
) -> None:
    """Two spaces, so that one run after the other fails; nobody else is at work."""
    clock = [0.0]
    engine = make(tmp_path, ("resnet", "plain"), clock=lambda: clock[0])
    assert [set_back(engine, clock, failure) for _ in range(SAME_FAILURES)] == [0, 5, 20, 60, 60]
    assert engine.next_job() == "done"
    assert engine.repeated_failure == FAILURES[failure][2]
    assert {run.state for run in engine.state.runs.values()} == {"interrupted"}
    engine.close()
    again = make(tmp_path, ("resnet", "plain"))
    finish(again)
    assert again.outcome == "finished"
    again.close()


@pytest.mark.parametrize("failure", FAILURES)
def test_a_bad_node_does_not_end_a_study_while_another_trains_until_no_epoch_comes_any_more(
    tmp_path: Path, failure: str
) -> None:
    """An epoch takes half an hour, and after three of them none ever ends."""
    clock = [0.0]
    engine = make(tmp_path, clock=lambda: clock[0], max_epochs=99)
    good = engine.next_job()
    assert isinstance(good, Job)
    engine.report(good.key, [{"event": "started", **PLACE}])
    failures = 0
    for epoch in (1, 2, 3):
        while clock[0] < epoch * 1800:
            set_back(engine, clock, failure)
            failures += 1
            assert failures < 3 * 1800 / 60 + 10  # it waits between them
        engine.report(good.key, [{**row(epoch, 0.5), "seconds": 1800.0}])
    assert engine.stopped is None
    assert {run.state for run in engine.state.runs.values()} == {"running", "interrupted"}
    while engine.stopped is None:
        set_back(engine, clock, failure)
    assert clock[0] > 3 * 1800 + 30 * 1800  # thirty times the longest epoch
    assert engine.outcome == "failed"
    engine.close()


def test_a_worker_that_finds_no_room_for_its_files_ends_the_study_with_advice_and_costs_nothing(tmp_path: Path) -> None:
    engine = make(tmp_path)
    job = engine.next_job()
    assert isinstance(job, Job)
    full: Event = {"event": "ended", "state": "cannot_write", "error": "/runs/s on node-3: No space left on device"}
    engine.report(job.key, [{"event": "started", **PLACE}, row(1, 0.5), full])
    assert engine.outcome == "failed"
    assert "cannot write: /runs/s on node-3: No space left on device. Make room" in engine.repeated_failure
    engine.close()
    again = make(tmp_path)
    resumed = again.next_job()
    assert isinstance(resumed, Job)
    assert (resumed.key, resumed.logged_epochs) == (job.key, 1)
    again.close()


def test_a_trial_may_lose_many_nodes_and_a_resume_forgets_dead_workers(tmp_path: Path) -> None:
    engine = make(tmp_path)
    for _ in range(MAX_NODES - 1):
        job = engine.next_job()
        assert isinstance(job, Job)
        engine.lost(job.key, "its node has died", with_node=True)
    assert isinstance(job, Job)
    for _ in range(MAX_LOSSES - 1):
        engine.next_job()
        engine.lost(job.key, "SIGKILL")
    run = engine.state.runs["resnet-0000"]
    assert (job.key, run.state, run.losses, run.nodes_lost) == (run.key, "interrupted", MAX_LOSSES - 1, MAX_NODES - 1)
    engine.close()
    again = make(tmp_path)
    run = again.state.runs["resnet-0000"]
    assert (run.losses, run.nodes_lost) == (0, 0)
    for _ in range(MAX_NODES):
        assert again.next_job() == job
        again.lost(job.key, "its node has died", with_node=True)
    assert run.state == "failed"
    again.close()


def test_who_hangs_and_is_lost_with_its_node_is_noticed_when_it_hangs_again(tmp_path: Path) -> None:
    clock = [0.0]
    engine = make_with_clock(tmp_path, clock, 20.0)
    for state in ("interrupted", "failed"):
        job = engine.next_job()
        assert isinstance(job, Job)
        assert wait(engine, clock, 25, [job.key]) == [job.key]
        engine.lost(job.key, "cannot be reached", with_node=True)
        assert engine.state.runs[job.key].state == state
    engine.close()


def test_how_a_study_ended_stays_so_whatever_signal_comes_after(tmp_path: Path) -> None:
    engine = make(tmp_path, trials=2)
    finish(engine)
    engine.close()
    engine.stop("interrupted")
    assert engine.outcome == "finished"


def test_a_watcher_that_fails_leaves_log_and_state_alike(tmp_path: Path) -> None:
    """The last epoch comes with its end, in one write: whoever is told of the first of them may fail."""
    engine = make(tmp_path, trials=2)
    job = engine.next_job()
    assert isinstance(job, Job)
    engine.report(job.key, [{"event": "started", **PLACE}, *(row(epoch, 0.5) for epoch in range(1, 9))])

    def fail(event: Event) -> None:
        raise OSError(f"nobody reads {event['event']}")

    engine.watchers.append(fail)
    with pytest.raises(OSError, match="nobody reads epoch"):
        engine.report(job.key, [row(9, 0.5)])
    assert engine.state.runs[job.key].state == "finished"
    engine.watchers.clear()
    engine.close()
    again = make(tmp_path, trials=2)
    finish(again)
    again.close()
    ends = [event["trial"] for event in read_events(tmp_path / "s" / "events.jsonl")[0] if event["event"] == "ended"]
    assert sorted(ends) == ["resnet-0000", "resnet-0001"]


def test_a_disk_that_is_full_at_the_end_does_not_keep_the_study_locked(tmp_path: Path) -> None:
    engine = make(tmp_path)
    with full_disk(engine._log.path.stat().st_size), pytest.raises(OSError, match="File too large"):
        engine.close()
    finish(again := make(tmp_path))
    again.close()


def test_a_failed_final_run_is_tried_anew_at_a_resume(tmp_path: Path) -> None:
    engine = make(tmp_path)
    for job in jobs(engine):
        if isinstance(job, Job) and job.kind == "final":
            engine.report(job.key, [{"event": "ended", "state": "failed", "error": "RuntimeError: x"}])
        else:
            work(engine, job)
    assert engine.outcome == "failed"
    engine.close()
    again = make(tmp_path)
    assert [job.kind if isinstance(job, Job) else "test" for job in finish(again)] == ["final", "final", "test"]
    assert again.outcome == "finished"
    assert max(Counter(epochs(again)).values()) == 1
    again.close()


def test_tpe_learns_of_every_failure_that_the_configuration_may_have_brought_about(tmp_path: Path) -> None:
    engine = make(tmp_path)
    job = engine.next_job()
    assert isinstance(job, Job)
    engine.report(job.key, [{"event": "ended", "state": "failed", "error": "RuntimeError: x"}])
    [told] = engine.state.samplers["resnet"].history()
    assert (told.state, told.constraints) == (TrialState.PRUNED, {"infeasible": 1.0})
    engine.close()
