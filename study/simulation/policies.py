"""The search policies that the simulator compares: this project's own engine in several settings, and others.

Each is made from a problem, a seed, a number of slots and a budget in epochs. All try the space's reference setting
first.
"""

import heapq
import math
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, get_args

import numpy as np

from analysis.events import Event
from study.asha import Asha, rungs
from study.engine import Engine
from study.job import Job
from study.log import Log
from study.packing import Packing
from study.plan import Plan
from study.policy import Policy, Stopped
from study.sampler import draw, seed_of
from study.simulation.clock import Search, Task
from study.simulation.curves import CHANCE, Problem

Make = Callable[[Problem, int, int, int], Search]  # from a problem, a seed, slots and a budget in epochs

BASE: Final = "random, full length"  # what the others are measured against
FACTOR: Final = 3  # one of so many goes on, where the engine's ASHA does not decide
ENDLESS: Final = 1_000_000  # trials: the budget ends a search


class Memory(Log):
    """A log that is kept nowhere."""

    def __init__(self) -> None:
        self.replayed = []

    def append(self, *events: Event) -> list[Event]:
        """Give the events back as the log does, with a time that stands still."""
        return [{**event, "time": 0.0} for event in events]

    def close(self) -> None:
        """Nothing is open."""


class Study:
    """The study's own engine, as the driver of a real study has it. `epochs` is its budget."""

    def __init__(self, problem: Problem, seed: int, slots: int, epochs: int, policy: Policy, no_stopping: bool) -> None:
        folder = tempfile.mkdtemp(prefix="archstudy-")  # the engine makes a folder for each trial
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        space, length = problem.space, problem.max_epochs
        trials = trials_for(epochs, length, policy.reduction_factor, () if no_stopping else policy.rungs(length))
        plan = Plan(
            (space.name,),
            trials=trials,
            max_epochs=length,
            seed=seed,
            runs=Path(folder),
            policy=policy,
            no_stopping=no_stopping,
            epoch_budget=epochs,
        )
        self.engine = Engine(plan, {space.name: space}, Memory())
        self.engine.open([Packing(together=slots, slots=slots, cpus=1, gpus=0)], ["simulated"], trials=ENDLESS)

    def next(self) -> Task | None:
        """Return the engine's next trial, begun."""
        job = self.engine.next_job()
        if not isinstance(job, Job):
            return None
        self.engine.report(job.key, [{"event": "started", **PLACE}])
        return Task(job.key, dict(job.config), job.seed, job.logged_epochs)

    def report(self, key: str, epoch: int, score: float, seconds: float) -> bool:
        """Tell the engine what a worker would."""
        numbers = {"train_loss": 0.0, "train_score": score, "val_loss": 0.0, "val_score": score, "lr": 0.0}
        row = {"event": "epoch", "epoch": epoch, **numbers, "seconds": seconds, "images_per_second": 1.0}
        return self.engine.report(key, [row])

    def standing(self, scores: Sequence[float]) -> float:
        """Return what the engine chooses the winner by."""
        return self.engine.plan.policy.standing(scores)


PLACE: Final = {
    "from_epoch": 0,
    "parameters": 1,
    "multiply_adds": 1,
    "device": "simulated",
    "precision": "float32",
    "node": "simulated",
    "worker": 0,
}


def trials_for(epochs: int, max_epochs: int, reduction_factor: int, decided: tuple[int, ...]) -> int:
    """Return how many trials `epochs` are for if just one in `reduction_factor` goes on at each rung."""
    lengths = np.diff((0, *decided, max_epochs))
    expected = sum(length / reduction_factor**passed for passed, length in enumerate(lengths))
    return max(1, round(float(epochs / expected)))


class Random:
    """Random configurations without a model: what the other policies are built on."""

    def __init__(self, problem: Problem, seed: int, slots: int, epochs: int) -> None:
        del slots, epochs  # most need neither
        self._space, self._max_epochs, self._seed = problem.space, problem.max_epochs, seed
        self._tasks: dict[str, Task] = {}

    def new(self) -> Task:
        """Return a new configuration, the reference setting first."""
        index = len(self._tasks)
        key = f"{self._space.name}-{index:04d}"
        generator = np.random.default_rng(seed_of(self._seed, self._space.name, index))
        config = draw(self._space, generator) if index else dict(self._space.reference)
        self._tasks[key] = Task(key, config, seed_of(self._seed, key), epochs=0)
        return self._tasks[key]

    def standing(self, scores: Sequence[float]) -> float:
        """Return the last score."""
        return scores[-1]


class OneEpoch(Random):
    """One epoch for as many configurations as two thirds of the budget pay, then the best to full length.

    Egele et al. 2023, arXiv 2307.15422.
    """

    def __init__(self, problem: Problem, seed: int, slots: int, epochs: int) -> None:
        super().__init__(problem, seed, slots, epochs)
        self._best = max(1, epochs // (3 * (self._max_epochs - 1)))
        self._first = epochs - self._best * (self._max_epochs - 1)
        self._scores: list[tuple[float, str]] = []  # a heap, the best first
        self._reported = 0

    def next(self) -> Task | None:
        """Return a new configuration, or, once all have had their epoch, the best that was not trained on."""
        if len(self._tasks) < self._first:
            return self.new()
        if self._reported < self._first or not self._scores:
            return None
        return self._tasks[heapq.heappop(self._scores)[1]]._replace(epochs=1)

    def report(self, key: str, epoch: int, score: float, seconds: float) -> bool:
        """Take in a score; every configuration pauses after its first."""
        del seconds
        self._reported += epoch == 1
        if epoch == 1 and math.isfinite(score):
            heapq.heappush(self._scores, (-score, key))
        return epoch > 1 and math.isfinite(score)


class Brackets(Random):
    """Random configurations, each in one of the brackets of Hyperband, which differ in their first rung.

    A bracket gets as large a share of the trials as in Hyperband (Li et al. 2018, arXiv 1603.06560); within it ASHA
    decides, as in asynchronous Hyperband.
    """

    def __init__(self, problem: Problem, seed: int, slots: int, epochs: int) -> None:
        super().__init__(problem, seed, slots, epochs)
        every = rungs(self._max_epochs, FACTOR, 1)
        self._brackets = [Asha(every[skipped:], FACTOR) for skipped in range(len(every) + 1)]
        halvings = np.arange(len(every), -1, -1)
        shares = FACTOR**halvings / (halvings + 1)
        self._shares = shares / shares.sum()  # (brackets,)
        self._counts = np.zeros(len(shares))
        self._bracket: dict[str, Asha] = {}

    def next(self) -> Task:
        """Return a new configuration, in the bracket that lacks most of its share."""
        task = self.new()
        lacking = int(np.argmax(self._shares * len(self._tasks) - self._counts))
        self._counts[lacking] += 1
        self._bracket[task.key] = self._brackets[lacking]
        return task

    def report(self, key: str, epoch: int, score: float, seconds: float) -> bool:
        """Have the bracket decide."""
        del seconds
        if not math.isfinite(score):
            return False
        decision = self._bracket[key].judge(key, epoch, score)
        if decision is not None:
            self._bracket[key].record(key, epoch, score)
        return decision is None or decision.action == "continue"


def _study(policy: Policy, *, no_stopping: bool = False) -> Make:
    return lambda problem, seed, slots, epochs: Study(problem, seed, slots, epochs, policy, no_stopping)


def _ray(problem: Problem, seed: int, slots: int, epochs: int) -> Search:
    del slots, epochs
    from study.simulation.ray_pair import RayPair  # takes seconds to import

    return RayPair(problem.space, problem.max_epochs, seed, CHANCE)


RAY: Final = "Ray's OptunaSearch + ASHA"

REFERENCE_FIRST: Final = Policy(random_share=1.0, model="tpe", averaged=0, reference_first=True)
STOPPING: Final = replace(REFERENCE_FIRST, reduction_factor=3, first_rung=9, pausing=False)  # who is stopped stays so
PAUSING: Final = Policy(random_share=1.0)  # the default without its model
POLICIES: Final[dict[str, Make]] = {
    BASE: _study(REFERENCE_FIRST, no_stopping=True),
    "random, full length, averaged": _study(PAUSING, no_stopping=True),
    "TPE, full length": _study(replace(REFERENCE_FIRST, random_share=0.25), no_stopping=True),
    "one epoch, then the best": OneEpoch,
    "Hyperband brackets": Brackets,
    RAY: _ray,
    "random + ASHA": _study(STOPPING),
    "random + ASHA, early": _study(replace(STOPPING, first_rung=27)),
    **{
        f"TPE + ASHA, {stopped}": _study(replace(STOPPING, random_share=0.5, stopped=stopped))
        for stopped in get_args(Stopped)
    },
    "random + pausing ASHA, reference first": _study(REFERENCE_FIRST),
    "random + pausing ASHA, last score": _study(replace(PAUSING, averaged=0)),
    **{f"random + pausing ASHA, 1/{factor}": _study(replace(PAUSING, reduction_factor=factor)) for factor in (2, 3, 4)},
    "TPE + pausing ASHA, random first": _study(Policy(model="tpe", start_up=None)),
    "TPE + pausing ASHA": _study(Policy(model="tpe")),
    "GP + pausing ASHA, a quarter random": _study(Policy(random_share=0.25)),
    "GP + pausing ASHA": _study(Policy()),
}
OURS: Final = "GP + pausing ASHA"  # the default
