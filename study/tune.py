"""Ray Tune as the engine room: the only file that knows Ray. It places jobs on slots, carries facts, detects deaths.

Tune gets a searcher that asks the engine for the next job, a scheduler that hands the engine what workers report, and a
trainable that trains. Tune keeps no state that matters: each launch is a fresh Tuner, and the event log is the truth.
A Tune trial is one job: a trial, a final run, or the test split.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

# Set before Ray is imported: it reads some of them at import.
QUIET: Final[Mapping[str, str]] = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the event log replaces CSV, JSON and TensorBoard
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # study/run.py handles signals
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # no snapshots: nothing is ever restored from them
    "TUNE_FORCE_TRIAL_CLEANUP_S": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
for _variable, _value in QUIET.items():
    os.environ.setdefault(_variable, _value)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray._private import ray_constants  # noqa: E402
from ray.tune.schedulers import FIFOScheduler, TrialScheduler  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402
from ray.util.metrics import Gauge  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

from analysis.events import STATES, Event  # noqa: E402
from study.board import Board  # noqa: E402
from study.faults import in_one_line, kernel_kills, node_left, worker_never_started, worker_ran_out  # noqa: E402
from study.job import EpochProbe, Job, OpenTest, Probe  # noqa: E402
from study.shipping import Code, unpack  # noqa: E402
from study.silence import FIRST_SECONDS  # noqa: E402

if TYPE_CHECKING:  # workers import this file too, and need neither Optuna nor pandas
    from data_utils.images import Examples
    from data_utils.splits import SearchData
    from study.engine import Engine
    from study.packing import Packing

NODE_SECONDS: Final = 2.0  # between two looks at which nodes there are
ANSWER_SECONDS: Final = 120.0  # a node that has not answered by then is taken for one that cannot
MOST_AT_ONCE: Final = 100_000  # Tune asks for so many trials at once; the engine gives as many as there are slots

LEFT: Final = (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError)  # of a node that has gone meanwhile

Value = TypeVar("Value")


class Worker(tune.Trainable):  # type: ignore[misc]
    """One slot. It lives through the study and does one job after another."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What a slot needs."""
        return tune.PlacementGroupFactory([config["resources"]])

    def setup(
        self, config: dict[str, Any], data: list[Any], statistics: Any, test: list[Any], classes: int, code: Code
    ) -> None:
        """Fetch the data and begin the first job. `data` and `test` are lists of one reference."""
        faulthandler.dump_traceback_later(FIRST_SECONDS, exit=True)  # no one else notices who never comes up
        unpack(code)
        from study.slot import Slot  # here: torch, which the driver does without

        cpus, gpus = int(config["resources"]["CPU"]), config["resources"]["GPU"]
        self._slot = Slot(ray.get(data[0]), statistics, lambda: ray.get(test[0]), classes, cpus, gpus)
        gc.freeze()  # torch's 300,000 objects: to look through them at the end of each job would take 0.2 s
        faulthandler.cancel_dump_traceback_later()
        self._slot.begin(config["job"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another job in the same process."""
        self._slot.begin(new_config["job"])
        return True

    def step(self) -> dict[str, Any]:
        """Go on with the job for a while."""
        return {"facts": self._slot.facts()}


def _hide(trainable: type[Worker], *methods: str) -> None:
    """Keep Tune's own calls out of the dashboard's task table, where they would bury the trials."""
    for name in methods:
        inherited = getattr(trainable, name)

        def call(self: Worker, *arguments: Any, _inherited: Any = inherited, **named: Any) -> Any:
            return _inherited(self, *arguments, **named)

        call.__name__ = name
        setattr(trainable, name, ray.method(enable_task_events=False)(call))


_hide(Worker, "train", "save", "restore", "reset", "stop", "get_auto_filled_metrics")


class Driver:
    """The engine as Tune's hooks see it. As a context it catches our own errors and ends the study with them.

    An error in a hook would kill Tune's loop with trials still running. And Tune pickles its hooks although nothing is
    ever restored from that, so what a pickle would hold is nothing.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.error: Exception | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __enter__(self) -> Engine:
        return self.engine

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        self.error = self.error or error
        self.engine.stop("failed")
        return True


class Elastic:
    """Looks now and then which nodes there are, and has the engine go on with the slots that they make."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._nodes = nodes()
        self._looked = time.monotonic()

    def look(self) -> None:
        """Look, if the last time is long enough ago. A node that says it is about to leave counts until it has."""
        if time.monotonic() - self._looked < NODE_SECONDS:
            return
        from study.packing import packings  # not for workers, which import this file

        found, self._looked = nodes(), time.monotonic()
        if found != self._nodes:
            self._nodes = found
            engine = self._driver.engine
            engine.resize(packings(engine.plan, found), len(found))


class Jobs(Searcher):  # type: ignore[misc]
    """Tune asks here for the next trial, at each of its steps; the engine answers."""

    def __init__(self, driver: Driver, test_images: int, test_sha256: str) -> None:
        super().__init__(metric="facts", mode="max")
        self._driver = driver
        self._elastic = Elastic(driver)
        self._test = (test_images, test_sha256)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return a job for a free slot, None to be asked again, or that there are none left."""
        del trial_id
        with self._driver as engine:
            self._elastic.look()
            job = engine.next_job()
            if isinstance(job, OpenTest):
                engine.open_test(job, *self._test)
            if job == "wait":
                return None
            if job != "done":
                packing = engine.packing
                return {"job": job, "resources": {"CPU": packing.cpus, "GPU": packing.gpus, **packing.resources}}
        return str(Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to learn: the engine has heard it from the scheduler."""


class Decisions(FIFOScheduler):  # type: ignore[misc]
    """Tune hands in what a worker reported; the engine decides whether the job goes on."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self._driver = driver
        self._kept: tuple[Any, int] | None = None  # resources of a worker, and how many such workers
        self._kernel = KernelKills()

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Have Tune keep every worker for the next job. By itself it keeps one and ends the others at each pause.

        When slots have become larger, because memory ran out, the smaller ones are given up as they fall idle. When
        nodes came or left, more or fewer are kept.
        """
        cache, wanted = tune_controller._actor_cache, (trial.placement_group_factory, self._driver.engine.packing.slots)
        if self._kept != wanted:
            if self._kept is not None:
                cache.decrease_max(*self._kept)
            self._kept = wanted
            cache.increase_max(*wanted)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Tune asks here every moment, so this is where workers that hang are killed. Tune then sees them dead.

        By itself it would look through all trials there ever were, those that wait are among the few that live.
        """
        live = tune_controller.get_live_trials()
        running = {_name(trial): trial for trial in live if trial.status == "RUNNING"}
        with self._driver as engine:
            for key in engine.hung(running):
                ray.kill(running[key].temporary_state.ray_actor)
        return next((trial for trial in live if trial.status == "PENDING"), None)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Take in the facts of a step."""
        del tune_controller
        job = trial.config["job"]
        with self._driver as engine:
            if isinstance(job, OpenTest):
                engine.report_test(result["facts"])
            elif engine.report(job.key, result["facts"]):
                return str(TrialScheduler.CONTINUE)
        return str(TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Take in the death of a worker. Errors of a training are facts and do not come here."""
        del tune_controller
        job = trial.config["job"]
        with self._driver as engine:
            # Tune's get_error() looks where nothing was copied to yet. An earlier failure may stand there as well.
            error = Path(trial.error_file).read_text().rpartition("Failure # ")[2]
            reason = in_one_line(error)
            killed = self._kernel.killed(error)
            if isinstance(job, OpenTest):
                engine.lost_test(reason)
            elif killed or worker_ran_out(error):
                engine.out_of_memory(job.key, "the kernel killed its worker" if killed else reason)
            elif worker_never_started(error):
                engine.never_started(job.key, reason)
            else:
                engine.lost(job.key, reason, with_node=node_left(error))


class KernelKills:
    """Tells whether the kernel killed a worker for want of memory, which Ray cannot: by the count of such kills.

    A count that has risen since it was last looked at, while a worker died there, is taken for that worker.
    """

    def __init__(self) -> None:
        addresses = {node["NodeManagerAddress"]: node["NodeID"] for node in ray.nodes() if node["Alive"]}
        here = ray.get_runtime_context().get_node_id()
        self._here = next((node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] == here), None)
        self._counts = {address: self._count(address, node) for address, node in addresses.items()}

    def killed(self, error: str) -> bool:
        """Whether the worker was, of whose death Ray says `error`."""
        found = re.search(r"^\s*ip: (\S+)$", error, re.MULTILINE)
        nodes = {node["NodeManagerAddress"]: node["NodeID"] for node in ray.nodes() if node["Alive"]}
        if found is None or found[1] not in nodes:  # with its machine
            return False
        address = found[1]
        counts = (self._counts.get(address), self._count(address, nodes[address]))
        try:
            before, now = (ray.get(it, timeout=10) if isinstance(it, ray.ObjectRef) else it for it in counts)
        except ray.exceptions.RayError:
            return False
        self._counts[address] = now
        return before is not None and now > before

    def _count(self, address: str, node: str) -> Any:
        """The count of one machine, or on another one a reference to it."""
        if address == self._here:
            return kernel_kills()
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        return ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(kernel_kills).remote()


class Stop(tune.Stopper):  # type: ignore[misc]
    """Tune looks here whether to end: once the engine was stopped."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No single trial is ended here."""
        return False

    def stop_all(self) -> bool:
        """Whether all shall end."""
        return self._driver.engine.stopped is not None


class ShowJobs(tune.Callback):  # type: ignore[misc]
    """Show each job under its key in the dashboard's task table, running while it runs.

    Workers live on from job to job, and the name of an actor cannot change. So one tiny actor has a method call for
    each job, named by its key. It is cosmetic: whatever happens to it does not touch the study.
    """

    def __init__(self) -> None:
        self._board: Any = None

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Begin the line of a job."""
        if self._board is None:  # after the first worker, which shall not wait for it
            self._board = ray.remote(Board).options(num_cpus=0).remote()
        key = _name(trial)
        self._board.job.options(name=key).remote(key)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Empty the result, which the engine has had: Tune would keep it with statistics of each number in it."""
        for name in set(result) - {"training_iteration", "done"}:  # without these Tune prints a line of its own
            del result[name]

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """End the line of a job."""
        if self._board is not None:
            self._board.end.options(enable_task_events=False).remote(_name(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """End the line of a job whose worker died."""
        self.on_trial_complete(iteration, trials, trial)


class Metrics:
    """The study's numbers on Ray's metrics endpoint, as `ray_archstudy_...`, by space."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._trials = Gauge("archstudy_trials", "Trials by state.", tag_keys=("space", "state"))
        self._epochs = Gauge("archstudy_epochs", "Epochs trained, final runs included.", tag_keys=("space",))
        self._best = Gauge("archstudy_best_score", "Best score at full length.", tag_keys=("space",))

    def __call__(self, event: Event) -> None:
        """Bring the numbers up to date."""
        if event["event"] in ("started", "ended", "final_ended", "epoch"):
            runs = self._engine.state.runs
            self._export(runs[event["final"] if "final" in event else event["trial"]].space)

    def _export(self, space: str) -> None:
        trials, finals = (self._engine.state.tallies[kind][space] for kind in ("trial", "final"))
        for state in STATES:
            self._trials.set(trials.states[state], {"space": space, "state": state})
        self._epochs.set(trials.epochs + finals.epochs, {"space": space})
        best = trials.best
        if best is not None and best.state == "finished" and best.score is not None:
            self._best.set(best.score, {"space": space})


def start(address: str | None, packages: Collection[str] = ()) -> str | None:
    """Start Ray on this machine, or join the cluster at `address`. Return its dashboard, None where there is none.

    `packages` are folders of Python packages that the cluster's workers are to import as they are here. Raises
    `ConnectionError`, `RuntimeError` or `ValueError` where there is no Ray, or it refuses: the token, or the packages.
    """
    # The dashboard is not asked for but let be: where it cannot start, the study goes on without.
    local = {"dashboard_host": "127.0.0.1"}
    joined = {"runtime_env": {"py_modules": list(packages)}}
    more = local if address is None else joined
    try:
        with _on_loopback() if address is None else nullcontext():
            context = ray.init(address=address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **more)
    except ray.exceptions.RayError as error:
        raise RuntimeError(str(error)) from error
    return f"http://{context.dashboard_url}" if context.dashboard_url else None


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Have the Ray that starts in here listen on loopback only. Ray decides that when it is imported, from
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER: too late where it has been, and for good where a cluster is joined afterwards.
    """
    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def nodes() -> list[Mapping[str, float]]:
    """Resources of each node of Ray, such as CPU and GPU."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def ask_nodes(question: Callable[[], str | None]) -> dict[str, str]:
    """Ask each node where trials could run, and return what is wrong, by the name of the node."""

    def answer() -> str | None:
        return question()

    there = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    asked = {}
    for node in there:
        only_there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=only_there)(answer)
        asked[task.remote()] = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})"
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)
    problems: dict[str, str] = {asked[task]: f"no answer within {ANSWER_SECONDS:g} s" for task in silent}
    for task in answered:
        try:
            problem = ray.get(task)
        except LEFT:  # no trial goes there
            continue
        except ray.exceptions.RayError as error:
            problem = str(error).strip().splitlines()[-1]
        if problem is not None:
            problems[asked[task]] = problem
    return problems


class Stored(Generic[Value]):
    """Something in Ray's object store, once on each node: workers fetch it by `reference`.

    The arrays of `value` are the ones in the store, which is shared memory, or a file in Ray's folder where that is
    full. They are read-only. Raises `MemoryError` if there is no room for it in either.
    """

    def __init__(self, value: Value) -> None:
        try:
            self.reference = ray.put(value)
        except (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError) as error:
            raise MemoryError(str(error).splitlines()[0]) from error
        self.value: Value = ray.get(self.reference)


def measure(jobs: list[Job], data: Stored[SearchData], classes: int, packing: Packing, code: Code) -> list[Probe]:
    """Train each of `jobs` for a moment on a GPU and return what it took. Raises `RuntimeError` where one cannot."""
    return _in_a_slot(jobs, data, classes, packing, "measure", code)


def time_epochs(
    jobs: list[Job], data: Stored[SearchData], classes: int, packing: Packing, code: Code
) -> list[EpochProbe]:
    """Train each of `jobs` for a moment in a slot and return what an epoch takes. Raises as `measure` does."""
    return _in_a_slot(jobs, data, classes, packing, "time", code)


def _in_a_slot(
    jobs: list[Job], data: Stored[SearchData], classes: int, packing: Packing, method: str, code: Code
) -> list[Any]:
    """Have a slot of `packing`, on a node that has what trials ask for, do `method` with each job."""
    cpus, gpus, own = packing.cpus, packing.gpus, dict(packing.resources)
    statistics = data.value.channel_statistics()

    def in_a_slot(data: SearchData) -> list[Any]:
        unpack(code)
        from study.slot import Slot

        slot = Slot(data, statistics, lambda: data.images, classes, int(cpus), gpus)  # measures no test images
        return [getattr(slot, method)(job) for job in jobs]

    task = ray.remote(num_cpus=cpus, num_gpus=gpus, resources=own, max_retries=0)(in_a_slot)
    try:
        found: list[Any] = ray.get(task.remote(data.reference))
    except ray.exceptions.RayError as error:
        raise RuntimeError(str(error).strip().splitlines()[-1]) from error
    return found


def execute(engine: Engine, data: Stored[SearchData], test: Stored[Examples], classes: int, code: Code) -> None:
    """Run the study until the engine has nothing more to do or was stopped. Raises what went wrong in the driver."""
    driver = Driver(engine)
    trainable = tune.with_parameters(
        Worker,
        data=[data.reference],
        statistics=data.value.channel_statistics(),
        test=[test.reference],
        classes=classes,
        code=code,
    )
    engine.watchers.append(Metrics(engine))
    with tempfile.TemporaryDirectory(prefix="archstudy-") as scratch:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=Jobs(driver, len(test.value), test.value.sha256()),
                scheduler=Decisions(driver),
                num_samples=-1,
                max_concurrent_trials=MOST_AT_ONCE,
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=scratch,
                stop=Stop(driver),
                verbose=0,
                callbacks=[ShowJobs()],
                # A trial keeps its own checkpoint; Tune's save at the end of a job would fail and cost the worker.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        gc.freeze()  # Ray's and Optuna's objects: as Tune keeps more and more of its own, these were looked through too
        try:
            tuner.fit()
        finally:
            gc.unfreeze()
    if driver.error is not None:
        raise driver.error


def _name(trial: Any) -> str:
    return str(trial.config["job"].key)


def stop() -> None:
    """End Ray on this machine, or leave the cluster."""
    ray.shutdown()
