"""Begin or resume a study: check, load, start Ray, let the engine run, write the report."""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console

from data_utils.datasets import DATASETS, load
from data_utils.images import Dataset, Examples
from data_utils.splits import SearchData, fewer, split
from study import experiment, packing, reach, terminal, warm
from study import plan as planning
from study.job import Probe
from study.log import Log
from study.log_copy import LogCopy
from study.mirrors import Reflection
from study.mirrors import kinds as mirrors
from study.plan import Plan, PlanError
from study.secrets import masked
from study.shipping import Code, pack
from study.space import Space
from study.spaces import SPACES, find
from study.storage import Storage

if TYPE_CHECKING:  # Ray and torch take seconds to import, which a mistyped flag need not cost
    from study.engine import Engine
    from study.forecast import Forecast
    from study.tune import Stored


@dataclass
class Study:
    """A checked plan with its spaces and data. `content` is study.json of a study that exists, None of a new one.

    `packed_anew`: this resume was asked for other slots, so an earlier lack of memory no longer limits them. `log` is
    open from before Ray starts where there is one.
    """

    plan: Plan
    spaces: Mapping[str, Space]
    dataset: Dataset
    data: SearchData
    content: planning.Json | None = None
    packed_anew: bool = False
    storage: Storage | None = None
    code: Code = field(default_factory=Code)
    log: Log | None = None


@dataclass(frozen=True)
class Outcome:
    """Where the study lies and how it ended: `finished`, `interrupted`, `failed` or the budget that ended it."""

    folder: Path
    reason: str


def run(plan: Plan, *, report: bool = True, console: Console | None = None) -> Outcome:
    """Run a new study. Raises `PlanError` before anything starts if the plan cannot work."""
    plan.check(SPACES, DATASETS)
    console = console or terminal.console()
    study = _prepare(plan, console, None)
    mirrors.check(plan, study.spaces, None, mirrors.KINDS)
    return _conduct(study, report, console)


def foresee(plan: Plan, *, console: Console | None = None) -> "Forecast":
    """Print and return what a new study would take and could tell; nothing is trained to the end, no folder made."""
    plan.check(SPACES, DATASETS)
    console = console or terminal.console()
    study = _prepare(plan, console)
    _start_ray(study, console)
    from study import tune

    try:
        nodes, stored = tune.nodes(), _store(study)
        _place(study, stored[0], nodes, console)
        slots = packing.packings(study.plan, nodes)[0]
        console.print("Measuring an epoch of each space ...", highlight=False)
        jobs = packing.reference_jobs(study.plan, study.spaces)
        probes = tune.time_epochs(jobs, stored[0], len(study.dataset.classes), slots, study.code)
    except RuntimeError as error:
        raise PlanError(f"The reference settings could not be measured: {error}.") from error
    finally:
        tune.stop()
    from study.forecast import forecast, rows
    from study.progress import show_rows

    images = len(study.dataset.test)
    found = forecast(study.plan, probes, slots, images, len(study.dataset.classes))
    show_rows(rows(study.plan, found, images), console)
    return found


def resume(folder: Path, *, report: bool = True, console: Console | None = None, **changes: Any) -> Outcome:
    """Go on with the study in `folder`. `changes` are fields of `Plan` that do not alter what is compared.

    They are trials (per space, not fewer than before), epoch_budget and gpu_budget (kept if not given), time_budget
    (of this session), epoch_limit, data_dir (moved images), cpus_per_trial, gpus_per_trial, resources, address,
    storage, optuna_storage, tensorboard, mlflow, command.
    Raises `PlanError` if `folder` is no study, or its spaces or data are not those it began with.
    """
    if folder.name in ("", ".."):  # "." has no name of its own
        folder = folder.resolve()
    content = planning.read_study(folder)
    console = console or terminal.console()
    log = Log(folder / "events.jsonl")  # is another driver at it? Better known before Ray starts
    if log.damaged is not None:
        mended = f"{log.path.name} was damaged and has been mended from its copy; as it was: {log.damaged}"
        console.print(mended, markup=False, soft_wrap=True)
    try:
        return _conduct(_prepare_again(folder, content, log, changes, console), report, console)
    finally:
        log.close()


def _prepare_again(
    folder: Path, content: planning.Json, log: Log, changes: Mapping[str, Any], console: Console
) -> Study:
    so_far = [event["trials"] for event in log.replayed if event["event"] == "study_opened"] or [content["trials"]]
    budgets = {"trials": so_far[-1]}
    for event in log.replayed:
        if event["event"] == "budget_set":
            budgets |= {"epoch_budget": event["epochs"], "gpu_budget": event["gpu_seconds"]}
    plan = Plan.from_json(folder, content, **{**budgets, **changes})
    plan.check_spaces(SPACES)
    plan.check_own_files()
    plan.check_numbers()
    planning.at_least("--trials", plan.trials, so_far[-1], "for this study: it has had as many")
    study = _prepare(plan, console, content)
    planning.check_unchanged(content, study.spaces, study.dataset, study.data)
    # One that was asked for in an earlier session may fail, as it may while a study runs.
    mirrors.check(plan, study.spaces, content["created"], [field for field in mirrors.KINDS if field in changes])
    study.log = log
    study.packed_anew = not changes.keys().isdisjoint({"cpus_per_trial", "gpus_per_trial"})
    return study


def _prepare(plan: Plan, console: Console, content: planning.Json | None = None) -> Study:
    from study.progress import Loading

    try:
        spaces = _spaces(plan)
        planning.check_tasks(spaces, plan.dataset)
        with Loading(console) as loading:
            dataset = load(plan.dataset, plan.data_dir, plan.image_size, plan.test_fraction, loading)
    except ValueError as error:
        raise PlanError(str(error)) from error
    by_name = {space.name: space for space in spaces}
    if len(by_name) < len(spaces):
        raise PlanError(f"Two of the spaces {', '.join(plan.spaces)} have the same name. Rename one in its file.")
    planning.check_images(spaces, dataset)
    _check_own_networks(spaces, dataset)
    dataset = _fewer(dataset, plan.train_images)
    data = replace(split(dataset.train, plan.seed), mirror=dataset.mirror)
    if plan.warm_start:
        plan = replace(plan, warm=warm.gather(plan, by_name))
    storage = reach.check_storage(plan, None if content is None else content["created"])
    return Study(plan, by_name, dataset, data, content, storage=storage)


def _spaces(plan: Plan) -> list[Space]:
    """Return the spaces that are compared: those of the package and of files, or the variants of an experiment."""
    if not plan.experiment:
        return [find(name) for name in plan.spaces]
    return experiment.spaces(plan.experiment, plan.spaces)


def _fewer(dataset: Dataset, count: int | None) -> Dataset:
    """Return the data set with `count` of its training images; its test split stays whole."""
    if count is None or count == len(dataset.train):
        return dataset
    if count > len(dataset.train):
        raise PlanError(
            f"--train-images is {count}, but {dataset.name} has {len(dataset.train)} to train on. Lower it, or leave "
            f"it out."
        )
    try:
        return replace(dataset, train=fewer(dataset.train, count))
    except ValueError as error:
        raise PlanError(f"--train-images is {count}: {error}. Give more.") from error


def _check_own_networks(spaces: Sequence[Space], dataset: Dataset) -> None:
    own = [space for space in spaces if space.file is not None]
    if not own:
        return
    from study import own_network  # imports torch, as files of networks do too

    for space in own:
        problem = own_network.problem(space, dataset.image_shape, len(dataset.classes))
        if problem is not None:
            raise PlanError(f"The network of {space.name} cannot be trained: {problem}. Mend {space.file}.")


def _conduct(study: Study, report: bool, console: Console) -> Outcome:
    with Interruption(console) as interruption:
        dashboard = _start_ray(study, console)
        interruption.install()
        from study import tune
        from study.progress import show_end, show_plan

        reflections: list[Reflection | LogCopy] = []
        try:
            nodes = tune.nodes()
            if study.plan.address is not None:
                reach.check_nodes(study.plan, study.storage, tune.ask_nodes)
            stored = _store(study)
            probes, why = _place(study, stored[0], nodes, console)
            engine = _open(study, nodes, probes, reflections, console)
            interruption.engine = engine
            show_plan(engine, study.dataset, study.data, dashboard, why, console)
            _run(study, engine, stored, console)
        finally:
            try:
                tune.stop()  # not beside the report: see docs/decisions.md
            finally:
                for reflection in reflections:  # also of a study that failed
                    reflection.close()
    outcome = Outcome(study.plan.folder, engine.outcome)
    in_a_hurry = outcome.reason == "interrupted"  # who sends a signal will not wait for figures
    written = None
    try:
        _fetch_finals(study, engine, console)
        written = _write_report(study.plan.folder, console) if report and not in_a_hurry else None
    except KeyboardInterrupt:
        console.print("What came after the study was left; nothing of the study itself is missing.", highlight=False)
    show_end(engine, written, console)
    return outcome


def _start_ray(study: Study, console: Console) -> str | None:
    """Start Ray, or join a cluster and send the code there; return the address of the dashboard."""
    address, packages = study.plan.address, list[str]()
    from study import tune

    console.print("Starting Ray ...", highlight=False)
    with tempfile.TemporaryDirectory(prefix="archstudy-") as scratch:
        if address is not None:
            files = [space.file for space in study.spaces.values() if space.file is not None]
            packages, study.code = pack(files, Path(scratch))
        try:
            return tune.start(address, packages)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise PlanError(_no_ray(address, error)) from error


def _no_ray(address: str | None, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if address is None:
        return f"Ray could not start on this machine: {reason}. Is memory or disk short, or another Ray in the way?"
    return f"--address is {address}, but the study cannot join a Ray there: {reason}. Start it, or leave --address out."


def _place(
    study: Study, data: "Stored[SearchData]", nodes: Sequence[Mapping[str, float]], console: Console
) -> tuple[Sequence[Probe], str]:
    """Settle how many trials share a GPU, by measuring where that was asked for; return what was found, and why."""
    from study import tune

    automatic = study.plan.gpus_per_trial == "auto"
    study.plan = plan = planning.place(study.plan, nodes)
    if not automatic or not plan.gpus_per_trial:
        return (), ""
    console.print("Measuring a trial of each space on a GPU ...", highlight=False)
    jobs = packing.reference_jobs(plan, study.spaces)
    alone = packing.Packing(together=1, slots=1, cpus=plan.cpus_per_trial, gpus=1, resources=plan.resources)
    try:
        probes = tune.measure(jobs, data, len(study.dataset.classes), alone, study.code)
    except RuntimeError as error:
        raise PlanError(
            f"--gpus-per-trial is auto, but the reference settings could not be measured on a GPU: {error}. Give a "
            f"number, such as 1, or, where memory is short, smaller images with --image-size."
        ) from error
    study.plan, why = packing.packed(plan, nodes, probes)
    return probes, why


def _open(
    study: Study,
    nodes: Sequence[Mapping[str, float]],
    probes: Sequence[Probe],
    reflections: "list[Reflection | LogCopy]",
    console: Console,
) -> "Engine":
    """Make the run folder, unless it is there, and open its log and its mirrors, which join `reflections`."""
    from study.engine import Engine

    plan = study.plan
    trials = plan.trials
    if study.content is None:
        hardware = planning.hardware(nodes)
        planning.write_study(plan, planning.describe(plan, study.spaces, study.dataset, study.data, hardware))
    else:  # the random arm and the rest of the design stay as they were planned
        plan = replace(plan, trials=study.content["trials"])
    log = study.log or Log(plan.folder / "events.jsonl")
    engine = Engine(plan, study.spaces, log, time_budget=plan.time_budget)
    created = planning.read_study(plan.folder)["created"]
    makes = mirrors.makes(plan, study.spaces, created)
    say = partial(console.print, markup=False, soft_wrap=True)
    pausing = plan.policy.pausing
    reflections += [Reflection(name, make, log.replayed, say, pausing=pausing) for name, make in makes.items()]
    if study.storage is not None:
        reflections.append(LogCopy(plan.folder, study.storage, log.replayed, say, pausing=pausing))
    engine.watchers += reflections
    slots = packing.packings(plan, nodes)
    engine.open(slots, list(plan.command), trials, probes=probes, packed_anew=study.packed_anew)
    return engine


def _fetch_finals(study: Study, engine: "Engine", console: Console) -> None:
    """Bring what the report reads, the weights, and tracebacks from the storage to the run folder."""
    if study.storage is None:
        return
    finals = [run.key for run in engine.state.of_kind("final") if run.tested is not None]
    kinds = ("model.json", "layers.json", "model.safetensors", "predictions.npz")
    names = [f"final/{key}/{name}" for key in finals for name in kinds]
    broken = [run for run in engine.state.runs.values() if run.state in ("failed", "interrupted")]
    tracebacks = [f"{'trials' if run.kind == 'trial' else 'final'}/{run.key}/trial.log" for run in broken]
    try:
        for name in names:
            if not (study.plan.folder / name).exists():
                study.storage.get(name, study.plan.folder / name)
        if finals:
            study.storage.get("final/test_images.npz", study.plan.folder / "final" / "test_images.npz")
        for name in tracebacks:  # again: a run that is tried anew may fail anew
            study.storage.get(name, study.plan.folder / name)
    except OSError as error:
        said = f"Not all files could be fetched from {study.storage.uri}: {masked(str(error))}"
        console.print(said, markup=False, soft_wrap=True)


def _store(study: Study) -> "tuple[Stored[SearchData], Stored[Examples]]":
    """Put the images into Ray's object store, and let go of the study's own for the ones in there."""
    from study.tune import Stored

    size = study.dataset.train.nbytes + study.dataset.test.nbytes
    try:
        data, test = Stored(study.data), Stored(study.dataset.test)
    except MemoryError as error:
        raise PlanError(
            f"The images of {study.dataset.name} take {size / 2**30:.1f} GiB, but must fit into Ray's object store (by "
            f"default 30 % of the memory) or else onto the disk of its folder (/tmp/ray), 95 % full at most: {error}. "
            f"Free disk space there, or make the images smaller with --image-size."
        ) from error
    study.data = data.value
    study.dataset = replace(study.dataset, train=data.value.images, test=test.value)
    return data, test


def _run(
    study: Study, engine: "Engine", stored: "tuple[Stored[SearchData], Stored[Examples]]", console: Console
) -> None:
    from study import tune
    from study.progress import Progress

    try:
        with Progress(engine, console):
            tune.execute(engine, *stored, len(study.dataset.classes), study.code)
    except BaseException:
        engine.stop("failed")
        with suppress(OSError):  # a full disk has been said already
            engine.close()
        raise
    engine.close()


def _write_report(folder: Path, console: Console) -> Path | None:
    """Write the report; a study whose report cannot be written is still a study."""
    console.print("Writing the report ...", highlight=False)
    from analysis.report import write_report

    try:
        return write_report(folder)
    except (OSError, MemoryError, BrokenExecutor) as error:  # the last of a process that draws, and was killed
        console.print(f"The report could not be written: {error}", markup=False)
        return None


class Interruption:
    """Two signals: the first lets the study end in order, the second ends the process at once."""

    def __init__(self, console: Console) -> None:
        self.engine: Engine | None = None
        self._console = console
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, previous in self._before.items():
            signal.signal(number, previous)

    def install(self) -> None:
        """Take SIGINT and SIGTERM. To be called again after Ray's start, which puts a handler of its own in place."""
        if threading.current_thread() is threading.main_thread():  # elsewhere the caller's handlers stay
            for number in (signal.SIGINT, signal.SIGTERM):
                previous = signal.signal(number, self)
                self._before.setdefault(number, previous)

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Handle signal `number`."""
        code = 128 + number
        if self.engine is None:  # nothing has begun
            sys.exit(code)
        if self.engine.stopped:
            os._exit(code)
        self.engine.stop("interrupted")
        name = signal.Signals(number).name
        self._console.print(f"{name}: ending in order; once more ends at once, and nothing logged is lost either way.")
