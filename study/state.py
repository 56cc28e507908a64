"""What is known of a study: runs, rungs, samplers, winners. Built from the events of the log and nothing else."""

import math
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from analysis.events import Event
from study.asha import Asha
from study.faults import HUNG, NODE_LOST, WORKER_LOST
from study.plan import Plan
from study.reference import Spent, is_due
from study.sampler import Sampler
from study.space import Space
from study.warm import configs

ENDED: Final = ("finished", "stopped", "diverged", "failed")

Kind = Literal["trial", "final"]
KINDS: Final[tuple[Kind, ...]] = ("trial", "final")


@dataclass
class Run:
    """A trial or a final run. Besides the states of the log, `waiting`: suggested and not started yet.

    `origin` is of trials alone. `trial` is the trial whose configuration a final run retrains, and a trial's own key.
    `scores` are those of its epochs, `score` is the last one and `standing` what it is judged by (`Policy.standing`).
    `judged` holds the rungs passed, `to_stop` that the last one said stop, `losses` counts dead and hung workers since
    the last epoch, `nodes_lost` those that were lost with their node.
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
    nodes_lost: int = 0
    epochs: int = 0
    scores: "array[float]" = field(default_factory=lambda: array("d"))
    score: float | None = None
    standing: float | None = None
    val_loss: float | None = None
    seconds: float = 0.0
    judged: set[int] = field(default_factory=set)
    to_stop: bool = False
    tested: float | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will be trained."""
        return self.state in ENDED


@dataclass
class Tally:
    """Runs of one kind and space, with the sums over them that are asked for after every event.

    Each number is kept as events come in: to count anew would make a study of 10,000 trials slow.
    `best` is the one that came furthest, of those the one that stands highest; failed and diverged ones never are.
    """

    runs: list[Run] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    epochs: int = 0
    seconds: float = 0.0
    ended_seconds: float = 0.0
    gpu_seconds: float = 0.0
    best: Run | None = None

    @property
    def ended(self) -> int:
        """How many will not be trained any more."""
        return sum(self.states[state] for state in ENDED)

    def add(self, run: Run) -> None:
        """Count a run that has just been born."""
        self.runs.append(run)
        self.states[run.state] += 1

    def move(self, run: Run, state: str) -> None:
        """Bring `run` into another state."""
        self.states[run.state] -= 1
        self.states[state] += 1
        if run.ended:
            self.ended_seconds -= run.seconds
        run.state = state
        if run.ended:
            self.ended_seconds += run.seconds
        if run is self.best and not _counts(run):
            self.best = max(filter(_counts, self.runs), key=_reached, default=None)

    def take_epoch(self, run: Run, seconds: float, gpus: float) -> None:
        """Count an epoch that `run` has trained on so many GPUs; its numbers are in `run` already."""
        self.epochs += 1
        self.seconds += seconds
        self.gpu_seconds += seconds * gpus
        if self.best is None or (run.epochs >= self.best.epochs and _reached(run) > _reached(self.best)):
            self.best = run


def _counts(run: Run) -> bool:
    return run.score is not None and run.state not in ("failed", "diverged")


def _reached(run: Run) -> tuple[int, float]:
    return run.epochs, -math.inf if run.standing is None else run.standing


class State:
    """The facts so far. `runs` holds trials and final runs by key, in the order of birth, `open` those not ended."""

    def __init__(self, plan: Plan, spaces: Mapping[str, Space]) -> None:
        self.trials = plan.trials
        self.runs: dict[str, Run] = {}
        self.open: dict[str, Run] = {}
        self._kinds: dict[Kind, list[Run]] = {kind: [] for kind in KINDS}
        self.tallies = {kind: {name: Tally() for name in spaces} for kind in KINDS}
        self.chosen: dict[str, tuple[str, ...]] = {}
        self.longest_epoch = 0.0  # seconds
        self.together: int | None = None  # at most so many trials on one GPU or machine, since memory ran out
        self.gpus = 0.0  # that a trial has, where a budget counts them
        self.reference_due: set[str] = set()  # spaces whose reference setting goes on whatever its rank
        self._max_epochs = plan.max_epochs
        self._slots = 1
        self._limits: dict[str, float | None] = {}  # budgets of a space in epochs and GPU seconds
        self._policy = plan.policy
        self.samplers = {
            name: Sampler(space, plan.seed, plan.max_epochs, configs(plan.warm, name), plan.policy)
            for name, space in spaces.items()
        }
        self.asha = {
            name: Asha(plan.rungs, plan.policy.reduction_factor, pausing=plan.policy.pausing) for name in spaces
        }

    def of_kind(self, kind: Kind, space: str | None = None) -> Sequence[Run]:
        """Runs of one kind, of one space if given, in the order of birth."""
        return self._kinds[kind] if space is None else self.tallies[kind][space].runs

    def open_of(self, kind: Kind) -> list[Run]:
        """Runs of one kind that have not ended, the oldest first: never many more than there are slots."""
        return [run for run in self.open.values() if run.kind == kind]

    def add_final(self, trial: str, seed: int) -> Run:
        """Make the final run that retrains `trial` with the fresh seed number `seed`, or return it if it is there."""
        key, winner = final_key(trial, seed), self.runs[trial]
        return self.runs.get(key) or self._add(Run("final", key, winner.space, trial, winner.config, seed))

    def move(self, run: Run, state: str) -> None:
        """Bring `run` into another state."""
        self.tallies[run.kind][run.space].move(run, state)
        if run.ended:
            self.open.pop(run.key, None)
        else:
            self.open[run.key] = run

    def _add(self, run: Run) -> Run:
        self.runs[run.key] = self.open[run.key] = run
        self._kinds[run.kind].append(run)
        self.tallies[run.kind][run.space].add(run)
        return run

    def apply(self, event: Event) -> None:
        """Take in one event."""
        _TAKE_IN[event["event"]](self, event)

    def _run(self, event: Event) -> Run:
        if "final" in event:  # one that never started, for want of a worker say, is known by its name alone
            trial, _, seed = event["final"].rpartition("-seed")
            return self.add_final(trial, int(seed))
        return self.runs[event["trial"]]

    def _opened(self, event: Event) -> None:
        self.trials, self._slots = event["trials"], event["slots"]
        self._limits, self.gpus = {}, 0.0
        retried = [run for run in self.of_kind("final") if run.state == "failed"]  # a final run: tried anew
        for run in [*self.open.values(), *retried]:  # a driver that was killed left them running
            run.losses = run.nodes_lost = 0
            if run.state in ("running", "failed"):
                self.move(run, "interrupted")

    def _suggested(self, event: Event) -> None:
        key, space, config = event["trial"], event["space"], event["config"]
        self._add(Run("trial", key, space, key, config, event["seed"], event["origin"]))
        self.samplers[space].add(key, config)
        self._see_to_reference(space)

    def _started(self, event: Event) -> None:
        run = self._run(event)
        run.attempts = event["attempt"]
        self.move(run, "running")

    def _epoch(self, event: Event) -> None:
        run = self._run(event)
        run.epochs, run.score, run.val_loss = event["epoch"], event["val_score"], event["val_loss"]
        if run.score is None:  # it diverged
            run.standing = None
        else:
            run.scores.append(run.score)
            run.standing = self._policy.standing(run.scores)
        run.seconds += event["seconds"]
        run.losses = run.nodes_lost = 0
        self.longest_epoch = max(self.longest_epoch, event["seconds"])
        self.tallies[run.kind][run.space].take_epoch(run, event["seconds"], self.gpus)

    def _decision(self, event: Event) -> None:
        run, epoch, score = self._run(event), event["epoch"], event["score"]
        run.to_stop = event["action"] == "stop"
        if epoch in run.judged:  # it paused there, and now goes on
            self.asha[run.space].take_up(run.key, epoch)
            self.samplers[run.space].take_up(run.key)
            self.move(run, "waiting")
            self._see_to_reference(run.space)
            return
        run.judged.add(epoch)
        self.asha[run.space].record(run.key, epoch, score)
        self.samplers[run.space].report(run.key, epoch, score)

    def _ended(self, event: Event) -> None:
        run = self._run(event)
        self.move(run, event["state"])
        if run.state == "interrupted":
            run.losses += (event["error"] or "").startswith((WORKER_LOST, HUNG))
            run.nodes_lost += (event["error"] or "").startswith(NODE_LOST)
        elif run.kind == "trial":
            if run.state == "stopped":
                self.asha[run.space].pause(run.key, run.epochs)
            elif run.state == "failed" or (run.state == "diverged" and self._policy.pausing):
                self.asha[run.space].retract(run.key)  # its place is free for one that paused
            self.samplers[run.space].tell(run.key, run.state, run.standing)

    def _see_to_reference(self, space: str) -> None:
        """Note whether the reference setting of `space` is due, whenever one of its trials begins or goes on."""
        tally = self.tallies["trial"][space]
        spent_and_epoch = {  # the latter in each slot
            "epochs": (tally.epochs, self._slots),
            "gpu_seconds": (tally.gpu_seconds, self._slots * tally.gpu_seconds / max(tally.epochs, 1)),
        }
        budgets = [
            Spent(spent, limit, self._max_epochs * epoch)
            for unit, (spent, epoch) in spent_and_epoch.items()
            if (limit := self._limits.get(unit)) is not None
        ]
        if is_due(len(tally.runs), self.trials, budgets):
            self.reference_due.add(space)

    def _packing(self, event: Event) -> None:
        self.together, self._slots = event["together"], event["slots"]
        if self.gpus and self.together:
            self.gpus = 1 / self.together

    def _budget(self, event: Event) -> None:
        self.gpus = event["gpus"]
        self._limits |= {"epochs": event["epochs"], "gpu_seconds": event["gpu_seconds"]}

    def _slots_changed(self, event: Event) -> None:
        self._slots = event["slots"]

    def _measured(self, _event: Event) -> None:
        """What was measured has become the plan's resources."""

    def _chosen(self, event: Event) -> None:
        before = () if event["rank"] == 1 else self.chosen[event["space"]]
        self.chosen[event["space"]] = (*before, event["trial"])
        for run in self.of_kind("final", event["space"]):
            if run.trial == event["trial"] and run.state == "stopped":  # it was overtaken, and is a winner after all
                self.move(run, "interrupted")

    def _test_opened(self, _event: Event) -> None:
        """What was found there follows, a run at a time."""

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
    "slots_changed": State._slots_changed,
    "budget_set": State._budget,
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
