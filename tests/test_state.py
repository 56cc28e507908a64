"""What State keeps as events come in: sums against a recount, and what a trial costs the driver."""

import sys
from pathlib import Path
from typing import Any

import pytest

from study.engine import Engine
from study.job import Job
from study.policy import Policy
from study.state import KINDS
from tests.test_engine import PLACE, jobs, make, row, score, work


def eventful(folder: Path) -> Engine:
    """A study of two spaces in which trials fail, diverge and are cut off, and the best one fails at its last epoch."""
    engine = make(folder, ("resnet", "plain"), trials=40, final_seeds=1)
    for number, job in enumerate(jobs(engine)):
        if isinstance(job, Job) and number % 7 == 3:
            error = f"E: {'x' * number}"
            state = ("failed", "diverged")[number % 2]
            engine.report(job.key, [{"event": "started", **PLACE}, row(1, 0.99)])
            engine.report(job.key, [{"event": "ended", "state": state, "error": error}])
        elif isinstance(job, Job) and number % 7 == 5 and engine.state.runs[job.key].attempts == 1:
            work(engine, job, most=1)
            engine.lost(job.key, "killed")
        else:
            work(engine, job)
    return engine


def kept(engine: Engine) -> dict[str, Any]:
    """What State has kept, by kind and space."""
    return {
        f"{kind} {space}": (
            {state: number for state, number in tally.states.items() if number},
            tally.epochs,
            tally.ended,
            round(tally.seconds, 9),
            round(tally.ended_seconds, 9),
            tally.best.key if tally.best else None,
        )
        for kind in KINDS
        for space, tally in engine.state.tallies[kind].items()
    }


def counted(engine: Engine) -> dict[str, Any]:
    """The same, counted anew over all runs."""
    found = {}
    for kind in KINDS:
        for space in engine.spaces:
            runs = [run for run in engine.state.runs.values() if (run.kind, run.space) == (kind, space)]
            states = [run.state for run in runs]
            scored = [run for run in runs if run.score is not None and run.state not in ("failed", "diverged")]
            best = max(scored, key=lambda run: (run.epochs, run.score or 0.0), default=None)
            found[f"{kind} {space}"] = (
                {state: states.count(state) for state in set(states)},
                sum(run.epochs for run in runs),
                sum(run.ended for run in runs),
                round(sum(run.seconds for run in runs), 9),
                round(sum(run.seconds for run in runs if run.ended), 9),
                best.key if best else None,
            )
    return found


def test_sums_kept_are_those_of_a_recount_also_after_a_replay(tmp_path: Path) -> None:
    engine = eventful(tmp_path)
    assert kept(engine) == counted(engine)
    assert engine.state.tallies["trial"]["plain"].states["failed"] > 1
    assert engine.state.open == {}
    engine._log.close()
    again = make(tmp_path, ("resnet", "plain"), trials=40, final_seeds=1)
    assert kept(again) == kept(engine)
    again._log.close()


def test_runs_that_have_not_ended_are_kept_apart_in_the_order_of_birth(tmp_path: Path) -> None:
    engine = make(tmp_path)
    first, second = (engine.next_job() for _ in range(2))
    assert isinstance(first, Job)
    assert isinstance(second, Job)
    engine.lost(first.key, "killed")
    assert [run.key for run in engine.state.open_of("trial")] == [first.key, second.key]
    work(engine, first, most=0)
    engine.report(second.key, [{"event": "started", **PLACE}, *[row(epoch, 0.9) for epoch in range(1, 10)]])
    assert list(engine.state.open) == [first.key]
    engine._log.close()


@pytest.mark.parametrize("spaces", [("resnet",), ("resnet", "plain")])
def test_a_trial_costs_the_driver_the_same_however_many_came_before(tmp_path: Path, spaces: tuple[str, ...]) -> None:
    """Counted in calls of Python functions, which no other load on the machine changes."""
    policy = Policy(random_share=1)  # what a model looks at stops growing, after 50 or 100 trials
    engine, calls, costs = make(tmp_path, spaces, trials=1000, max_epochs=2, policy=policy), 0, []

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    for _ in range(400):
        sys.setprofile(count)
        job = engine.next_job()
        assert isinstance(job, Job)
        engine.report(job.key, [{"event": "started", **PLACE}, row(1, score(job, 1))])
        engine.report(job.key, [row(2, score(job, 2))])
        sys.setprofile(None)
        costs.append(calls)
        calls = 0
    early, late = sum(costs[20:120]), sum(costs[300:400])
    assert late < 1.05 * early
    engine._log.close()
