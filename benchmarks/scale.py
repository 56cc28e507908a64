"""What the driver costs as a study grows, Ray Tune with its default loggers beside it, and what a resume takes.

    python -m benchmarks.scale [--trials 100 1000 10000] [--no-ray ...] [--tune-trials 100 1000] [--resume 10000]

Each row is a study in a process of its own, on real Ray with 2 slots. Its workers make up their epochs instead of
training, so that the driver is what is seen: 4 epochs at full length, rungs at 1 and 2, reported as a slot does it.
Counted is the driver's processor time, all its threads, from the first trial's start to the last one's end, over the
trials and over the results (epochs); and how much its resident memory has grown by then. `suggesting` is the part of it
that the sampler took. `no ray` is the same search in one process, to tell our part from Ray's. Workers, and Ray's own
processes, are not counted.

Tune's side has the same hyperparameters, Optuna's TPE and Tune's ASHA, a trainable that only counts epochs, actors that
are reused and every other setting as Tune has it, its CSV, JSON and TensorBoard loggers among them.

The resume reads a log of that many trials with 50 epochs each, replays it and suggests the next trial; Ray's start is
not part of it. `tables` is what `analysis.read` takes for the same log.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution

import analysis
from analysis.events import CURVE, Event
from analysis.mending import copy_of, guarded
from data_utils.datasets import load
from data_utils.splits import split
from study.engine import Engine
from study.job import Job
from study.log import Log
from study.packing import Packing
from study.plan import Plan
from study.policy import Policy
from study.sampler import Sampler
from study.shipping import Code
from study.space import Parameter, Space
from study.spaces import SPACES

Row = dict[str, Any]
SLOTS = 2
EPOCHS = 4
LONG = 50
WIDTHS = CategoricalDistribution((4, 8))
MLP = SPACES["mlp"]
TINY: Space = replace(
    MLP,
    architecture=(Parameter("width", WIDTHS, "scientific"), *MLP.architecture[1:]),
    reference={**MLP.reference, "width": 8},
)


class Meter:
    """Processor time and memory of this process between two moments."""

    def __init__(self) -> None:
        self.begun: tuple[float, float, float] | None = None
        self.ended = (0.0, 0.0, 0.0)

    def now(self) -> None:
        """Note a moment: the first and the last one count."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.ended = time.process_time(), time.monotonic(), pages * os.sysconf("SC_PAGE_SIZE") / 2**20
        self.begun = self.begun or self.ended

    def row(self, trials: int, results: int) -> Row:
        """Milliseconds a trial and a result, MiB, and seconds on the clock."""
        assert self.begun is not None
        cpu, seconds, grown = (after - before for after, before in zip(self.ended, self.begun, strict=True))
        each = {"ms/trial": 1e3 * cpu / trials, "ms/result": 1e3 * cpu / results}
        return {"trials": trials, "results": results, **each, "MiB": self.ended[2], "MiB more": grown, "s": seconds}


def ours(trials: int, folder: Path) -> Row:
    """The search of a study of `trials` trials, as it is."""
    from study import tune

    class MadeUp(tune.Worker):
        """Answers as a slot does, without torch."""

        def setup(self, config: dict[str, Any], *_data: Any, **_more: Any) -> None:
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._facts = made_up(new_config["job"])
            return True

        def step(self) -> dict[str, Any]:
            return {"facts": next(self._facts)}

    tune.Worker = MadeUp  # type: ignore[misc]
    engine, meter, suggesting = _begin(trials, folder)
    digits = load("digits", Path("unused"))
    tune.start(None)
    tune.execute(engine, tune.Stored(split(digits.train, seed=0)), tune.Stored(digits.test), 10, Code())
    tune.stop()
    return _end(engine, meter, suggesting)


def alone(trials: int, folder: Path) -> Row:
    """The same search without Ray, one job after another: what of the cost is ours."""
    engine, meter, suggesting = _begin(trials, folder)
    while isinstance(job := engine.next_job(), Job):
        for facts in made_up(job):
            if not engine.report(job.key, facts):
                break
    return _end(engine, meter, suggesting)


def _begin(trials: int, folder: Path) -> tuple[Engine, Meter, list[float]]:
    """Open a study that stops after its search; return what measures it, and the list of what suggestions take."""
    plan = Plan(("mlp",), trials=trials, max_epochs=EPOCHS, final_seeds=1, runs=folder, name="study")
    plan.folder.mkdir()
    engine = Engine(plan, {"mlp": TINY}, Log(plan.folder / "events.jsonl"))
    engine.open([Packing(SLOTS, SLOTS, 1, 0.0)], ["benchmark"])
    meter, suggesting = Meter(), _timed(engine.state.samplers["mlp"])

    def watch(event: Event) -> None:
        if event["event"] in ("started", "ended"):
            meter.now()
        if engine.search_is_over:
            engine.stop("interrupted")  # final runs are not what is measured

    engine.watchers.append(watch)
    return engine, meter, suggesting


def _end(engine: Engine, meter: Meter, suggesting: list[float]) -> Row:
    tally, trials = engine.state.tallies["trial"]["mlp"], engine.plan.trials
    engine.close()
    assert tally.ended == trials, tally.states
    return {**meter.row(trials, tally.epochs), "suggesting": 1e3 * sum(suggesting) / trials}


def made_up(job: Job) -> Iterator[list[Event]]:
    """Give what a slot would say of `job`: in one piece what lies between two rungs."""
    draws = np.random.default_rng(job.seed)
    place = {
        "parameters": 1,
        "multiply_adds": 1,
        "device": "cpu",
        "precision": "float32",
        "node": "node",
        "worker": os.getpid(),
    }
    facts: list[Event] = [{"event": "started", "from_epoch": 0, **place}]
    for epoch in range(1, job.max_epochs + 1):
        numbers = dict(zip(CURVE[1:], draws.random(len(CURVE) - 1).tolist(), strict=True))
        if epoch <= job.logged_epochs:  # it was taken up again
            continue
        facts.append({"event": "epoch", "epoch": epoch, **numbers})
        if epoch in (*job.rungs, job.max_epochs):
            yield facts
            facts = []


def _timed(sampler: Sampler) -> list[float]:
    """Have `sampler` note the processor seconds of each suggestion."""
    taken: list[float] = []
    suggest: Callable[..., tuple[str, dict[str, Any]]] = sampler.suggest

    def timed(*arguments: Any) -> tuple[str, dict[str, Any]]:
        begun = time.thread_time()
        found = suggest(*arguments)
        taken.append(time.thread_time() - begun)
        return found

    sampler.suggest = timed  # type: ignore[method-assign,assignment]
    return taken


def tunes(trials: int, folder: Path) -> Row:
    """The same with Ray Tune's OptunaSearch, AsyncHyperBandScheduler and default loggers."""
    import optuna
    import ray
    from ray import tune
    from ray.tune.schedulers import AsyncHyperBandScheduler
    from ray.tune.search.optuna import OptunaSearch

    meter, results = Meter(), [0]

    class Count(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            self._draws = np.random.default_rng(abs(hash(str(config))))

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            return {"score": float(self._draws.random()), "done": self.training_iteration + 1 >= EPOCHS}

    class Watch(tune.Callback):  # type: ignore[misc]
        def on_trial_start(self, **_info: Any) -> None:
            meter.now()

        def on_trial_result(self, **_info: Any) -> None:
            results[0] += 1

        def on_trial_complete(self, **_info: Any) -> None:
            meter.now()

    ray.init(address="local", log_to_driver=False, logging_level="critical", num_cpus=SLOTS)
    goal = {"metric": "score", "mode": "max"}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ranges = {parameter.name: parameter.distribution for parameter in TINY.parameters}
    search = OptunaSearch(space=ranges, seed=0, **goal)
    asha = AsyncHyperBandScheduler(max_t=EPOCHS, grace_period=1, reduction_factor=3)
    how = tune.TuneConfig(
        search_alg=search,
        scheduler=asha,
        num_samples=trials,
        max_concurrent_trials=SLOTS,
        reuse_actors=True,
        **goal,
    )
    to = tune.RunConfig(storage_path=str(folder), name="tune", verbose=0, callbacks=[Watch()])
    tune.Tuner(Count, tune_config=how, run_config=to).fit()
    ray.shutdown()
    return meter.row(trials, results[0])


def resumed(trials: int, folder: Path) -> Row:
    """Read the log of a long study and go on: seconds on the clock and of the processor."""
    plan = Plan(("mlp",), trials=trials, max_epochs=LONG, runs=folder, name="study")
    plan.folder.mkdir()
    write_long_log(plan)
    size = (plan.folder / "events.jsonl").stat().st_size / 2**20
    begun, cpu = time.monotonic(), time.process_time()
    engine = Engine(plan, {"mlp": TINY}, Log(plan.folder / "events.jsonl"))
    with closing(engine):
        engine.open([Packing(SLOTS, SLOTS, 1, 0.0)], ["benchmark"], trials + 1)
        engine.next_job()
        row = {"trials": trials, "log MiB": size, "s": time.monotonic() - begun, "cpu s": time.process_time() - cpu}
        assert len(engine.state.runs) == trials + 1
    row["peak MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    (plan.folder / "study.json").write_text(json.dumps(_study(plan)))
    begun, cpu = time.monotonic(), time.process_time()
    epochs = len(analysis.read(plan.folder).epochs)
    assert epochs == trials * LONG
    return row | {"tables s": time.monotonic() - begun, "tables cpu s": time.process_time() - cpu, "epochs": epochs}


def write_long_log(plan: Plan) -> None:
    """Write the log of a study none of whose trials was stopped, with random numbers at their full length."""
    draws, sampler = np.random.default_rng(0), Sampler(TINY, 0, LONG, policy=Policy(random_share=1))
    place = {
        "attempt": 1,
        "from_epoch": 0,
        "parameters": 1,
        "multiply_adds": 1,
        "device": "cpu",
        "precision": "float32",
    }
    curve = ("train_loss", "train_score", "val_loss", "lr", "seconds", "images_per_second")
    with (plan.folder / "events.jsonl").open("w") as file:

        def log(name: str, **fields: Any) -> None:
            file.write(json.dumps({"event": name, "time": 1_800_000_000.123, **fields}) + "\n")

        log("study_opened", trials=plan.trials, slots=SLOTS, time_budget=None, command=["benchmark"])
        for index in range(plan.trials):
            trial = f"mlp-{index:04d}"
            origin, config = sampler.suggest(index, plan.trials)
            log("suggested", trial=trial, space="mlp", index=index, origin=origin, config=config, seed=index)
            log("started", trial=trial, **place, node="node", worker=1)
            for epoch in range(1, LONG + 1):
                score, *numbers = draws.random(len(curve) + 1).tolist()
                log("epoch", trial=trial, epoch=epoch, val_score=score, **dict(zip(curve, numbers, strict=True)))
                if epoch in plan.rungs:
                    judged = {"score": score, "cutoff": None, "compared": index + 1, "action": "continue"}
                    log("decision", trial=trial, epoch=epoch, **judged)
            log("ended", trial=trial, state="finished", epochs_trained=LONG, error=None)
    path = plan.folder / "events.jsonl"
    with path.open("rb") as lines, copy_of(path).open("wb") as copy:
        copy.writelines(map(guarded, lines))


def _study(plan: Plan) -> Row:
    metric = {"name": "accuracy", "unit": "fraction", "direction": "maximize", "chance": 0.1}
    spaces = {"mlp": TINY.to_json()}
    return {"spaces": spaces, "dataset": {}, "metric": metric, "max_epochs": LONG, "trials": plan.trials}


SIDES: dict[str, Callable[[int, Path], Row]] = {
    "archstudy": ours,
    "no ray": alone,
    "ray tune": tunes,
    "resume": resumed,
}


def measure(side: str, trials: int) -> Row:
    """Measure one row in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", "--one", side, str(trials)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def show(side: str, row: Row) -> None:
    """Print a row."""
    print(f"{side:<10} " + "  ".join(f"{name} {value:,.4g}" for name, value in row.items()), flush=True)


def main() -> None:
    """Print each row as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, nargs="*", default=[100, 1000, 10_000], help="sizes of our studies")
    parser.add_argument("--no-ray", type=int, nargs="*", default=[100, 1000, 10_000], help="the same without Ray")
    parser.add_argument("--tune-trials", type=int, nargs="*", default=[100, 1000], help="sizes of Ray Tune's")
    parser.add_argument("--resume", type=int, nargs="*", default=[10_000], help="trials of the logs that are resumed")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        with tempfile.TemporaryDirectory() as folder:
            row = SIDES[asked.one[0]](int(asked.one[1]), Path(folder))
        print(json.dumps(row), flush=True)
    else:
        sizes = {
            "archstudy": asked.trials,
            "no ray": asked.no_ray,
            "ray tune": asked.tune_trials,
            "resume": asked.resume,
        }
        for side, numbers in sizes.items():
            for number in numbers:
                show(side, measure(side, number))


if __name__ == "__main__":
    main()
