"""What happens next in a study: hands out jobs, takes in what workers report, decides, and writes it all to the log.

Plain Python without Ray, so that a test or a simulator can drive it. Every change is an event: it is written to the
log and then applied to the state, and a resumed study applies the events of its log in the same way. So a study that
was killed knows exactly what an uninterrupted one would know.
"""

import itertools
import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final, Literal

from analysis.events import Event, take_in
from study.asha import Decision, Promotion
from study.budget import REASONS, Budget, Unit
from study.faults import NO_FILES, NO_WORKER, NODE_LOST, OUT_OF_MEMORY, WORKER_LOST
from study.final import winners
from study.job import TEST, Job, OpenTest, Probe
from study.log import Log
from study.packing import Packing
from study.plan import Plan
from study.sampler import seed_of
from study.silence import Silence
from study.space import Space
from study.state import Run, State
from study.storage import Storage

MAX_LOSSES: Final = 3  # dead workers that one run may cost without an epoch between before it counts as failed
MAX_HANGS: Final = 2  # the same with those that hung, which cost longer
MAX_NODES: Final = 20  # the same with nodes: no fault of the run, but who takes its process along may look like that
SAME_FAILURES: Final = 5  # equal failures in a row that end the study
PAUSES: Final = (5.0, 20.0, 60.0)  # seconds without a new job after a failure that no run is to blame for, and the next


Next = Job | OpenTest | Literal["wait", "done"]


class Engine:
    """Decides what a study does next. `clock` gives seconds; the time budget counts from the first start of a run."""

    def __init__(
        self,
        plan: Plan,
        spaces: Mapping[str, Space],
        log: Log,
        *,
        time_budget: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plan = plan
        self.state = State(plan, spaces)
        self.watchers: list[Callable[[Event], None]] = []
        self.stopped: str | None = None  # why nothing more is handed out
        self.spaces = tuple(spaces)
        self._spaces = spaces
        self._log = log
        self._budget = Budget(replace(plan, time_budget=time_budget), self.state, clock)
        self._testing = False
        self._search_ended = False  # so that nobody is taken up any more
        self._same_failures: list[str] = []
        self._packings: Sequence[Packing] = ()
        self._weighed: dict[str, tuple[int, int, bool]] = {}  # epochs, ended trials, early: at the last `_choose`
        self._together: dict[str, int] = {}  # how many shared a run's GPU or machine when it was handed out
        self._silence = Silence(plan.epoch_limit, clock)
        self._clock = clock
        self._setbacks: list[float] = []  # when there were failures that no run is to blame for, since the last epoch
        self._not_before = -math.inf  # when the next job is handed out
        self._closed_as: str | None = None
        take_in(plan.folder / "events.jsonl", log.replayed, self.state.apply)

    # What to do next

    def open(
        self,
        packings: Sequence[Packing],
        command: list[str],
        trials: int | None = None,
        *,
        probes: Iterable[Probe] = (),
        packed_anew: bool = False,
    ) -> None:
        """Start or go on, with `trials` per space if they are to change; settle what a kill left undecided.

        `packings` are the ones to fall back to when memory is short, the planned one first. How far an earlier session
        fell back holds on, unless the slots are `packed_anew`.
        """
        self._packings = packings
        if packed_anew and self.state.together is not None:
            numbers = {"together": None, "slots": packings[0].slots}
            self._record({"event": "packing_changed", **numbers, "reason": "other slots were asked for"})
        self._log.replayed = []  # half a million events are some hundred megabytes
        fields = {"slots": self.packing.slots, "time_budget": self._budget.seconds, "command": command}
        measured = ({"event": "packing_measured", **asdict(probe)} for probe in probes)
        self._record({"event": "study_opened", "trials": trials or self.state.trials, **fields}, *measured)
        if self.packing.gpus or self.plan.epoch_budget is not None or self.plan.gpu_budget is not None:
            budgets = {"epochs": self.plan.epoch_budget, "gpu_seconds": self.plan.gpu_budget}
            self._record({"event": "budget_set", **budgets, "gpus": self.packing.gpus})
        for run in list(self.state.open.values()):
            self._settle(run)

    def next_job(self) -> Next:
        """Return what a free slot shall do: unfinished runs first, then new trials, final runs, the test split.

        While the last trials leave slots idle, these retrain who leads (`_early_final`).
        """
        if self.stopped:
            return "done"
        if self._at_work >= self.packing.slots or self._clock() < self._not_before:
            return "wait"
        if not self.search_is_over:
            job = self._next_trial()
            return self._early_final() if job == "wait" else job
        if any(run.state == "running" for run in self.state.open_of("trial")):
            return self._early_final()
        return self._next_final()

    def resize(self, packings: Sequence[Packing], nodes: int) -> None:
        """Go on with other `packings`: nodes came, or left, and so many there are now."""
        before = self.packing.slots
        self._packings = packings
        if self.packing.slots != before:
            self._record({"event": "slots_changed", "nodes": nodes, "slots": self.packing.slots})

    @property
    def packing(self) -> Packing:
        """How many trials run at once from now on, and what each of them gets."""
        most = self.state.together or math.inf
        return next((packing for packing in self._packings if packing.together <= most), self._packings[-1])

    @property
    def _at_work(self) -> int:
        return self._testing + sum(run.state == "running" for run in self.state.open.values())

    @property
    def search_is_over(self) -> bool:
        """Whether no trial is left to start or to finish, or every budget for it is used up."""
        return self._budget.time_is_up or (self._space_in_turn() is None and self._unfinished() is None)

    def stop(self, reason: str) -> None:
        """Hand out nothing more; `reason` is what `study_closed` will say."""
        self.stopped = self.stopped or reason

    def close(self) -> None:
        """Note what was cut off, so that it can be resumed, and end the log."""
        running = [run for run in self.state.open.values() if run.state == "running"]
        events = [self._ended(run, "interrupted", None) for run in running]
        self._closed_as = self.outcome
        try:
            self._record(*events, {"event": "study_closed", "reason": self._closed_as})
        finally:
            self._log.close()

    @property
    def outcome(self) -> str:
        """How the study ends, as `study_closed` says it, whatever comes after that."""
        if self._closed_as is not None:
            return self._closed_as
        if self.stopped:
            return self.stopped
        if self.failed_spaces:
            return "failed"
        used_up = [self._used_up(space) for space in self._spaces]
        binding = next((unit for unit in REASONS if unit in used_up), None)
        short = any(map(self._has_more, self._spaces)) or self.state.open_of("trial")
        if short and binding is not None:
            return REASONS[binding]
        if short:
            return "interrupted"
        winners_now = {trial for chosen in self.state.chosen.values() for trial in chosen}
        finals = [run for run in self.state.of_kind("final") if run.trial in winners_now]
        return "finished" if any(run.tested is not None for run in finals) else "failed"

    @property
    def failed_spaces(self) -> list[str]:
        """Spaces all of whose trials failed: they were not compared."""
        tallies = self.state.tallies["trial"]
        return [space for space, trials in tallies.items() if 0 < len(trials.runs) == trials.states["failed"]]

    def _space_in_turn(self) -> str | None:
        """The space that has spent least of its budget, of those that have some left and something to do with it."""
        slots = self.packing.slots
        left = [space for space in self._spaces if self._has_more(space) and not self._used_up(space)]
        return min(left, key=lambda space: self._budget.urgency(space, slots), default=None)

    def _has_more(self, space: str) -> bool:
        return self._budget.has_trials(space) or self._promotion(space) is not None

    def _promotion(self, space: str) -> Promotion | None:
        """The paused trial to be taken up: the reference setting once it is due, else as ASHA says; when all else has
        ended the best of a rung, however few came there.
        """
        reference = next((run for run in self.state.of_kind("trial", space)[:1] if run.state == "stopped"), None)
        if reference is not None and self._goes_on_anyway(reference):
            return self.state.asha[space].whatever_its_rank(reference.key, reference.epochs)
        open_runs = self.state.open_of("trial")
        last = not self._budget.has_trials(space) and not any(run.space == space for run in open_runs)
        return self.state.asha[space].promotion(least=1 if last else 0)

    def _used_up(self, space: str) -> Unit | None:
        return self._budget.used_up(space, self.packing.slots)

    def _unfinished(self) -> Run | None:
        """The oldest trial that has not ended and whose space has some budget left."""
        return next((run for run in self.state.open_of("trial") if not self._used_up(run.space)), None)

    def _waiting_trial(self) -> Run | None:
        """The oldest trial that has no slot and whose space has some budget left."""
        waiting = (run for run in self.state.open_of("trial") if run.state != "running")
        return next((run for run in waiting if not self._used_up(run.space)), None)

    def _next_trial(self) -> Next:
        run = self._waiting_trial()
        if run is not None:
            return self._job(run)
        space = self._space_in_turn()
        if space is None:
            return "wait"
        promoted = self._promotion(space)
        return self._new_trial(space) if promoted is None else self._take_up(promoted)

    def _take_up(self, promoted: Promotion) -> Job:
        """Go on with a paused trial."""
        run = self.state.runs[promoted.trial]
        self._record(self._decided(run, promoted.epoch, run.standing, promoted.decision))
        return self._job(run)

    def _new_trial(self, space: str) -> Job:
        index = len(self.state.of_kind("trial", space))
        origin, config = self.state.samplers[space].suggest(index, self.plan.trials)
        key = f"{space}-{index:04d}"
        fields = {"trial": key, "space": space, "index": index, "origin": origin, "config": config}
        self._record({"event": "suggested", **fields, "seed": seed_of(self.plan.seed, key)})
        return self._job(self.state.runs[key])

    def _early_final(self) -> Next:
        """Retrain who leads among the trials of full length: mostly the winner, and the slot would be idle.

        Spaces whose search has ended go first: theirs is the winner.
        """
        for space in self._spaces:
            self._choose(space, early=True)
        searching = {run.space for run in self.state.open_of("trial")}
        run = min(self._waiting_finals(), key=lambda run: run.space in searching, default=None)
        return "wait" if run is None else self._job(run)

    def _next_final(self) -> Next:
        for space in self._spaces:
            self._choose(space)
        if not (self._search_ended or self.state.open_of("trial") or any(map(self._has_more, self._spaces))):
            self._search_ended = True
            for run in self.state.of_kind("trial"):
                self._forget_checkpoint(run)
        for run in self._waiting_finals():
            return self._job(run)
        if self._testing or any(run.state == "running" for run in self.state.open_of("final")):
            return "wait"
        finals = self.state.of_kind("final")
        done = [run for run in self._planned_finals() if run.state == "finished" and run.tested is None]
        untested = tuple(run.key for run in done)
        self._testing = bool(untested)
        if not untested:
            return "done"
        tested = tuple(run.key for run in finals if run.tested is not None)
        folder = self.plan.folder.absolute() / "final"
        networks = tuple(self._spaces[run.space].network for run in done)
        return OpenTest(untested, networks, folder, self.plan.fp32, self._storage("final"), tested)

    def _choose(self, space: str, *, early: bool = False) -> None:
        """Note the winners of a space, `early` of its trials of full length alone, unless the log has the same ones.

        Final runs of who is overtaken end; should it be chosen again, they go on. Asked again, it looks only at what is
        new.
        """
        trials = self.state.tallies["trial"][space]
        weighed, self._weighed[space] = self._weighed.get(space), (trials.epochs, trials.ended, early)
        if weighed == self._weighed[space]:
            return
        candidates = [run for run in trials.runs if run.state == "finished" or not early]
        best = winners(candidates, self.plan.final_configs)
        if early and not best:
            return
        keys = tuple(run.key for run in best)
        finals = [run for run in self.state.open_of("final") if run.space == space and run.state != "waiting"]
        overtaken = [run for run in finals if run.trial not in keys]
        chosen = () if self.state.chosen.get(space, ()) == keys else map(self._chosen, itertools.count(1), best)
        self._record(*chosen, *(self._ended(run, "stopped", None) for run in overtaken))
        for run in overtaken:
            self._forget_checkpoint(run)

    @staticmethod
    def _chosen(rank: int, run: Run) -> Event:
        fields = {"space": run.space, "rank": rank, "trial": run.key}
        return {"event": "final_chosen", **fields, "score": run.score, "epochs_trained": run.epochs}

    def _planned_finals(self) -> list[Run]:
        """Final runs of today's winners: seeds outside, spaces inside, so that an early end leaves equal numbers."""
        return [
            self.state.add_final(trial, seed)
            for seed in range(1, self.plan.final_seeds + 1)
            for chosen in self.state.chosen.values()
            for trial in chosen
        ]

    def _waiting_finals(self) -> list[Run]:
        """Those that are to be trained and have no slot."""
        return [run for run in self._planned_finals() if run.state in ("waiting", "interrupted")]

    def _job(self, run: Run) -> Job:
        self.state.move(run, "running")
        self._budget.hear(run)
        self._silence.begin(run.key)
        run.attempts += 1
        self._together[run.key] = self.packing.together
        space = self._spaces[run.space]
        folder = self.folder(run).absolute()  # a worker may have another working directory
        folder.mkdir(parents=True, exist_ok=True)
        return Job(
            kind=run.kind,
            key=run.key,
            network=space.network,
            architecture=tuple(parameter.name for parameter in space.architecture),
            config=run.config,
            # A final run's seed is the same in every space: differences can then be paired over seeds.
            seed=run.seed if run.kind == "trial" else seed_of(self.plan.seed, "final", run.seed),
            max_epochs=self.plan.max_epochs,
            rungs=self.plan.rungs if run.kind == "trial" else (),
            folder=folder,
            logged_epochs=run.epochs,
            fp32=self.plan.fp32,
            storage=self._storage(str(self.folder(run).relative_to(self.plan.folder))),
        )

    def _storage(self, folder: str) -> Storage | None:
        """Where the files of `folder` in the run folder are kept, if not there."""
        return None if self.plan.kept is None else self.plan.kept / folder

    def folder(self, run: Run) -> Path:
        """Where a run keeps its files."""
        return self.plan.folder / ("trials" if run.kind == "trial" else "final") / run.key

    # What workers say

    def hung(self, keys: Collection[str]) -> list[str]:
        """Return those of the jobs `keys`, all that have a worker, that hang: to be killed and then reported lost."""
        return self._silence.too_long(keys, self.state.longest_epoch)

    def report(self, key: str, facts: Iterable[Event]) -> bool:
        """Take in what the worker of run `key` says; return whether it shall go on."""
        run = self.state.runs[key]
        self._silence.heard(key)
        for fact in facts:
            self._cut_off(run, "epochs")  # to the epoch, however many were reported at once
            if run.state == "running":
                self._take_in(run, fact)
        self._cut_off(run, *REASONS)
        self._budget.hear(run)
        self._make_room(run)
        self._forget_checkpoint(run)  # a worker that did not know of the end may have saved since
        return run.state == "running"

    def _make_room(self, run: Run) -> None:
        """Have a final run that began early leave its slot to the search once that has something to do again."""
        if run.kind == "final" and run.state == "running" and self._search_waits:
            self._record(self._ended(run, "interrupted", None))

    @property
    def _search_waits(self) -> bool:
        """Whether the search has something to do and no free slot for it."""
        if self._at_work < self.packing.slots or self.search_is_over:
            return False
        return self._space_in_turn() is not None or self._waiting_trial() is not None

    def _cut_off(self, run: Run, *units: Unit) -> None:
        """Interrupt a trial whose space has used up its budget of one of these units."""
        if run.kind == "trial" and run.state == "running" and self._used_up(run.space) in units:
            self._record(self._ended(run, "interrupted", None))

    def lost(self, key: str, reason: str, *, with_node: bool = False) -> None:
        """The worker of run `key` died: the run goes on elsewhere from its checkpoint, a few times at most, and more
        often where it died `with_node`.
        """
        run, hung = self.state.runs[key], self._silence.why(key)
        if run.state == "running" and with_node and not hung:
            self._end(run, "interrupted" if run.nodes_lost + 1 < MAX_NODES else "failed", f"{NODE_LOST}: {reason}")
        elif run.state == "running":
            state = "interrupted" if run.losses + 1 < (MAX_HANGS if hung else MAX_LOSSES) else "failed"
            self._end(run, state, hung or f"{WORKER_LOST}: {reason}")
        self._forget_checkpoint(run)

    def never_started(self, key: str, reason: str) -> None:
        """No worker came up for run `key`."""
        run = self.state.runs[key]
        if run.state == "running":
            self._put_off(run, f"{NO_WORKER}: {reason}")

    def _put_off(self, run: Run, error: str) -> None:
        """Have `run`, which is not to blame for `error`, go on later; every slot pauses, since any may find the same.

        The study ends where nobody else is at work and it happens again and again, or where no epoch comes any more.
        """
        self._record(self._ended(run, "interrupted", error))
        self._setbacks.append(self._clock())
        self._not_before = self._setbacks[-1] + PAUSES[min(len(self._setbacks), len(PAUSES)) - 1]
        too_long = self._setbacks[-1] - self._setbacks[0] > self._silence.limit(self.state.longest_epoch)
        if len(self._setbacks) >= SAME_FAILURES and (not self._at_work or too_long):
            self._same_failures = [error]
            self.stop("failed")

    def _cannot_write(self, run: Run, reason: str) -> None:
        """The worker of `run` found no room for its files: so will the others, until somebody makes some."""
        error = f"cannot write: {reason}"
        self._record(self._ended(run, "interrupted", error))
        self._same_failures = [f"{error}. Make room or mend it, then resume: every epoch in the log is kept."]
        self.stop("failed")

    def out_of_memory(self, key: str, reason: str) -> None:
        """Run `key` found no memory: beside others it goes on later with fewer of them, alone it has failed."""
        run = self.state.runs[key]
        together = self._together.get(key, 1)
        if run.state != "running":
            return
        if together > 1:
            error = f"{OUT_OF_MEMORY} with {together} at once: {reason}"
            self._record(self._ended(run, "interrupted", error), *self._fewer(run, together))
            return
        error = f"{OUT_OF_MEMORY} when alone: {reason}"
        if run.origin == "reference":  # what all others are compared with: said at once, and not lost
            self._record(self._ended(run, "interrupted", error))
            remedy = "Take smaller images (--image-size) or a machine with more memory, then resume."
            self._same_failures = [f"the reference setting of {run.space} ran {error}. {remedy}"]
            self.stop("failed")
        else:  # no matter how many in a row: the reference has shown that others can run
            self._record(self._ended(run, "failed", error))
            self._forget_checkpoint(run)

    def _fewer(self, run: Run, together: int) -> list[Event]:
        """Fall back to the next packing, unless another run has led there since this one was handed out."""
        if self.packing.together < together:
            return []
        following = next(packing for packing in self._packings if packing.together < together)
        numbers = {"together": following.together, "slots": following.slots}
        return [{"event": "packing_changed", **numbers, "reason": f"{run.key} ran out of memory"}]

    def open_test(self, job: OpenTest, images: int, sha256: str) -> None:
        """Note that the test split is about to be looked at."""
        self._record({"event": "test_opened", "finals": list(job.finals), "images": images, "sha256": sha256})

    def report_test(self, facts: Iterable[Event]) -> None:
        """Take in the results on the test split."""
        self._record(*facts)
        self._testing = False

    def lost_test(self, reason: str) -> None:
        """The worker that held the test split died: ask again, unless that keeps happening."""
        self._testing = False
        self._guard_against_repeats(self._silence.why(TEST) or f"{WORKER_LOST}: {reason}")

    def _take_in(self, run: Run, fact: Event) -> None:
        if fact["event"] == "started":
            self._budget.start()
            self._record(self._named(run, {**fact, "attempt": run.attempts}))
        elif fact["event"] == "ended" and fact["state"] == "out_of_memory":
            self.out_of_memory(run.key, fact["error"])
        elif fact["event"] == "ended" and fact["state"] == "cannot_write":
            self._cannot_write(run, fact["error"])
        elif fact["event"] == "ended" and fact["state"] == "no_files":
            self._put_off(run, f"{NO_FILES}: {fact['error']}")
        elif fact["event"] == "ended":
            self._end(run, fact["state"], fact["error"])
        elif fact["epoch"] > run.epochs:  # an epoch repeated after a kill is in the log already
            self._epoch(run, fact)

    def _epoch(self, run: Run, row: Event) -> None:
        """Record an epoch with the decision and the end that follow from it, in one write."""
        if not math.isfinite(row["val_score"]):
            self._record(self._named(run, row), self._diverged(run, row["epoch"]))
            return
        standing = self.plan.policy.standing([*run.scores, row["val_score"]])
        self._record(self._named(run, row), *self._verdict(run, row["epoch"], standing))
        self._setbacks.clear()
        if run.ended:
            self._same_failures.clear()
        self._forget_checkpoint(run)

    def _diverged(self, run: Run, epoch: int) -> Event:
        return self._ended(run, "diverged", f"validation score is not finite in epoch {epoch}", epoch)

    def _settle(self, run: Run) -> None:
        """Decide what the last epoch in the log calls for and a kill prevented."""
        if run.to_stop:
            self._record(self._ended(run, "stopped", None))
        elif run.epochs and run.score is None:
            self._record(self._diverged(run, run.epochs))
        elif run.standing is not None and run.epochs not in run.judged:
            self._record(*self._verdict(run, run.epochs, run.standing))
        self._forget_checkpoint(run)

    def _verdict(self, run: Run, epoch: int, score: float) -> list[Event]:
        """Events that follow from `score` after `epoch`: a decision at a rung, an end at a stop or at full length."""
        events: list[Event] = []
        decision = self._judge(run, epoch, score)
        if decision is not None:
            events.append(self._decided(run, epoch, score, decision))
            if decision.action == "stop":
                events.append(self._ended(run, "stopped", None, epoch))
        if epoch >= self.plan.max_epochs:
            events.append(self._ended(run, "finished", None, epoch))
        return events

    @staticmethod
    def _decided(run: Run, epoch: int, score: float | None, decision: Decision) -> Event:
        numbers = {"score": score, "cutoff": decision.cutoff, "compared": decision.compared}
        return {"event": "decision", "trial": run.key, "epoch": epoch, **numbers, "action": decision.action}

    def _judge(self, run: Run, epoch: int, score: float) -> Decision | None:
        """Have ASHA decide."""
        if run.kind == "final" or epoch in run.judged:
            return None
        decision = self.state.asha[run.space].judge(run.key, epoch, score)
        if decision is not None and self._goes_on_anyway(run):
            return replace(decision, action="continue")
        return decision

    def _goes_on_anyway(self, run: Run) -> bool:
        """Whether no rung stops `run`: the reference setting, once that is due (`study/reference.py`)."""
        if run.origin != "reference":
            return False
        policy = self.plan.policy
        if policy.reference_first or not policy.pausing:
            return True
        return run.space in self.state.reference_due or self._budget.is_late(run.space, self.packing.slots)

    def _end(self, run: Run, state: str, error: str | None) -> None:
        self._record(self._ended(run, state, error))
        self._forget_checkpoint(run)
        if state == "failed" and error is not None:
            self._guard_against_repeats(error)

    def _guard_against_repeats(self, error: str) -> None:
        """A failure that comes again and again is no accident of one configuration: end the study."""
        if self._same_failures and _without_numbers(error) != _without_numbers(self._same_failures[-1]):
            self._same_failures.clear()
        self._same_failures.append(error)
        if len(self._same_failures) >= SAME_FAILURES:
            self.stop("failed")

    @property
    def repeated_failure(self) -> str:
        """The failure that ended the study."""
        return self._same_failures[-1] if self._same_failures else ""

    def _forget_checkpoint(self, run: Run) -> None:
        """Remove the checkpoint of a run that has ended, unless it may be taken up again."""
        if run.ended:
            paused = run.kind == "trial" and run.state == "stopped" and self.plan.policy.pausing
            may_go_on = paused and not self._search_ended
            for name in ("previous.pt",) if may_go_on else ("last.pt", "previous.pt"):
                (self.folder(run) / name).unlink(missing_ok=True)

    # Events

    def _ended(self, run: Run, state: str, error: str | None, epochs: int | None = None) -> Event:
        trained = run.epochs if epochs is None else epochs
        return self._named(run, {"event": "ended", "state": state, "epochs_trained": trained, "error": error})

    def _named(self, run: Run, event: Event) -> Event:
        """Turn what is said of a run into the event of its kind."""
        if run.kind == "trial":
            return {**event, "trial": run.key}
        identity = {"space": run.space, "trial": run.trial, "seed": run.seed}
        more = identity if event["event"] == "started" else {}
        return {**event, **more, "event": f"final_{event['event']}", "final": run.key}

    def _record(self, *events: Event) -> None:
        """Write, then apply, then tell: whoever watches may fail, and the log must hold nothing that is not applied."""
        written = self._log.append(*events)
        for event in written:
            self.state.apply(event)
        for event in written:
            for watch in self.watchers:
                watch(event)


def _without_numbers(error: str) -> str:
    """What makes two failures the same: the words, not how many bytes were asked for."""
    return re.sub(r"\d+", "N", error)
