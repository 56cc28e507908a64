"""What is known of a study: runs, rungs, samplers, winners. Built from the events of the log and nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from analysis.events import Event
from study.asha import Asha
from study.faults import OUT_OF_MEMORY, WORKER_LOST
from study.plan import Plan
from study.sampler import Sampler
from study.space import Space

ENDED: Final = ("finished", "stopped", "diverged", "failed")

Kind = Literal["trial", "final"]


@dataclass
class Run:
    """A trial or a final run. Besides the states of the log, `waiting`: suggested and not started yet.

    `origin` is of trials alone. `trial` is the trial whose configuration a final run retrains, and a trial's own key.
    `judged` holds the rungs passed, `to_stop` that the last one said stop, `losses` counts dead workers.
    """

    kind: Kind
    key: str
    space: str
    trial: str
    config: Mapping[str, Any]
    seed: int
    origin: str = ""
    state: str = "waiting"
    attempts: int = 0
    losses: int = 0
    epochs: int = 0
    score: float | None = None
    val_loss: float | None = None
    seconds: float = 0.0
    judged: set[int] = field(default_factory=set)
    to_stop: bool = False
    tested: float | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will be trained."""
        return self.state in ENDED


class State:
    """The facts so far. `runs` holds trials and final runs by key, in the order of birth."""

    def __init__(self, plan: Plan, spaces: Mapping[str, Space]) -> None:
        self.trials = plan.trials
        self.runs: dict[str, Run] = {}
        self.chosen: dict[str, tuple[str, ...]] = {}
        self.test_openings = 0
        self.together: int | None = None  # at most so many trials on one GPU or machine, since memory ran out
        self.samplers = {name: Sampler(space, plan.seed, plan.policy) for name, space in spaces.items()}
        self.asha = {name: Asha(plan.rungs, plan.policy.reduction_factor) for name in spaces}

    def of_kind(self, kind: Kind, space: str | None = None) -> list[Run]:
        """Runs of one kind, of one space if given."""
        return [run for run in self.runs.values() if run.kind == kind and space in (None, run.space)]

    def add_final(self, trial: str, seed: int) -> Run:
        """Make the final run that retrains `trial` with the fresh seed number `seed`, or return it if it is there."""
        key, winner = final_key(trial, seed), self.runs[trial]
        return self.runs.setdefault(key, Run("final", key, winner.space, trial, winner.config, seed))

    def apply(self, event: Event) -> None:
        """Take in one event."""
        _TAKE_IN[event["event"]](self, event)

    def _run(self, event: Event) -> Run:
        return self.runs[event["final"] if "final" in event else event["trial"]]

    def _opened(self, event: Event) -> None:
        self.trials = event["trials"]
        for run in self.runs.values():  # a driver that was killed left them running
            if run.state == "running":
                run.state = "interrupted"

    def _suggested(self, event: Event) -> None:
        key, space, config = event["trial"], event["space"], event["config"]
        self.runs[key] = Run("trial", key, space, key, config, event["seed"], event["origin"])
        self.samplers[space].add(key, config)

    def _started(self, event: Event) -> None:
        run = self.add_final(event["trial"], event["seed"]) if "final" in event else self._run(event)
        run.state, run.attempts = "running", event["attempt"]

    def _epoch(self, event: Event) -> None:
        run = self._run(event)
        run.epochs, run.score, run.val_loss = event["epoch"], event["val_score"], event["val_loss"]
        run.seconds += event["seconds"]

    def _decision(self, event: Event) -> None:
        run, epoch, score = self._run(event), event["epoch"], event["score"]
        run.judged.add(epoch)
        run.to_stop = event["action"] == "stop"
        self.asha[run.space].record(run.key, epoch, score)
        self.samplers[run.space].report(run.key, epoch, score)

    def _ended(self, event: Event) -> None:
        run = self._run(event)
        run.state = event["state"]
        if run.state == "interrupted":
            run.losses += (event["error"] or "").startswith(WORKER_LOST)
        elif run.kind == "trial":
            if run.state == "failed":
                self.asha[run.space].retract(run.key)
            too_large = run.state == "failed" and event["error"].startswith(OUT_OF_MEMORY)
            self.samplers[run.space].tell(run.key, "too_large" if too_large else run.state, run.score)

    def _packing(self, event: Event) -> None:
        self.together = event["together"]

    def _measured(self, _event: Event) -> None:
        """What was measured has become the plan's resources."""

    def _chosen(self, event: Event) -> None:
        before = () if event["rank"] == 1 else self.chosen[event["space"]]
        self.chosen[event["space"]] = (*before, event["trial"])

    def _test_opened(self, _event: Event) -> None:
        self.test_openings += 1

    def _tested(self, event: Event) -> None:
        self._run(event).tested = event["test_score"]

    def _closed(self, _event: Event) -> None:
        """Nothing follows from it: what was cut off has said so itself."""


def final_key(trial: str, seed: int) -> str:
    """Name of the final run of `trial` with the fresh seed number `seed`."""
    return f"{trial}-seed{seed}"


_TAKE_IN: Final[dict[str, Callable[[State, Event], None]]] = {
    "study_opened": State._opened,
    "packing_measured": State._measured,
    "packing_changed": State._packing,
    "suggested": State._suggested,
    "started": State._started,
    "epoch": State._epoch,
    "decision": State._decision,
    "ended": State._ended,
    "final_chosen": State._chosen,
    "final_started": State._started,
    "final_epoch": State._epoch,
    "final_ended": State._ended,
    "test_opened": State._test_opened,
    "final_tested": State._tested,
    "study_closed": State._closed,
}
