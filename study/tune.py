"""Ray Tune as the engine room: the only file that knows Ray. It places jobs on slots, carries facts, detects deaths.

Tune gets a searcher that asks the engine for the next job, a scheduler that hands the engine what workers report, and a
trainable that trains. Tune keeps no state that matters: each launch is a fresh Tuner, and the event log is the truth.
A Tune trial is one job: a trial, a final run, or the test split.
"""

import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

# Set before Ray is imported: it reads some of them at import.
QUIET: Final[Mapping[str, str]] = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the coming default; without it Ray warns
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the event log replaces CSV, JSON and TensorBoard
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # study/run.py handles signals
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # no snapshots: nothing is ever restored from them
    "TUNE_FORCE_TRIAL_CLEANUP_S": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
import torch  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.schedulers import FIFOScheduler, TrialScheduler  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from analysis.events import Event  # noqa: E402
from data_utils.batches import Batches  # noqa: E402
from data_utils.images import Images  # noqa: E402
from data_utils.splits import SearchData  # noqa: E402
from study import final  # noqa: E402
from study.engine import Engine, OpenTest  # noqa: E402
from study.plan import Plan, PlanError  # noqa: E402
from study.trial import Job, TrialData, train  # noqa: E402

REPORT_SECONDS: Final = 2.0  # a worker reports at rungs, and after so long between them


class Worker(tune.Trainable):  # type: ignore[misc]
    """One slot. It lives through the study, loads the data once and trains one job after another."""

    def setup(self, config: dict[str, Any], data: SearchData, test: list[Any], classes: int, cpus: int) -> None:
        """Load the data onto the device and begin the first job."""
        torch.set_num_threads(cpus)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._statistics = data.channel_statistics()
        train_split, validation = self._load(data.train), self._load(data.validation)
        self._data = TrialData(train_split, validation, classes)
        self._test = test
        self._begin(config["job"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another job in the same process."""
        self._facts.close()
        self._begin(new_config["job"])
        return True

    def step(self) -> dict[str, Any]:
        """Go on with the job up to its next rung, its end, or a report that is due."""
        facts: list[Event] = []
        begun = time.monotonic()
        for fact in self._facts:
            facts.append(fact)
            if fact.get("epoch") in self._pauses or time.monotonic() - begun > REPORT_SECONDS:
                break
        return {"facts": facts}

    def _begin(self, job: Job | OpenTest) -> None:
        self._pauses = (*job.rungs, job.max_epochs) if isinstance(job, Job) else ()
        self._facts: Any = train(job, self._data, self._device) if isinstance(job, Job) else self._open_test(job)

    def _open_test(self, job: OpenTest) -> Iterator[Event]:
        test = self._load(ray.get(self._test[0]))
        # All results at once: half of them would look like the whole.
        yield from list(final.test(job.folder, job.finals, test, self._device))

    def _load(self, split: Images) -> Batches:
        return Batches(split, *self._statistics, self._device)


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


class Jobs(Searcher):  # type: ignore[misc]
    """Tune asks here for the next trial; the engine answers."""

    def __init__(self, driver: Driver, test_images: int, test_sha256: str) -> None:
        super().__init__(metric="facts", mode="max")
        self._driver = driver
        self._test = (test_images, test_sha256)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return a job for a free slot, None to be asked again, or that there are none left."""
        del trial_id
        with self._driver as engine:
            job = engine.next_job()
            if isinstance(job, OpenTest):
                engine.open_test(job, *self._test)
            if job == "wait":
                return None
            if job != "done":
                return {"job": job}
        return str(Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to learn: the engine has heard it from the scheduler."""


class Decisions(FIFOScheduler):  # type: ignore[misc]
    """Tune hands in what a worker reported; the engine decides whether the job goes on."""

    def __init__(self, driver: Driver, slots: int) -> None:
        super().__init__()
        self._driver = driver
        self._slots = slots
        self._reserved = False

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Have Tune keep every worker for the next job. By itself it keeps one and ends the others at each pause."""
        if not self._reserved:
            tune_controller._actor_cache.increase_max(trial.placement_group_factory, by=self._slots)
            self._reserved = True

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
        lines = str(trial.get_error() or "unknown").strip().splitlines()
        with self._driver as engine:
            if isinstance(job, OpenTest):
                engine.lost_test(lines[-1])
            else:
                engine.lost(job.key, lines[-1])


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


def start(address: str | None) -> dict[str, float]:
    """Start Ray on this machine, or join the cluster at `address`; return its resources."""
    local: dict[str, Any] = {"include_dashboard": True, "dashboard_host": "127.0.0.1"} if address is None else {}
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
    resources: dict[str, float] = ray.cluster_resources()
    return resources


def place(plan: Plan) -> tuple[Plan, int]:
    """Return the plan with its GPUs per trial settled, and how many slots the nodes of Ray have for it.

    Raises `PlanError` where not a single trial fits on any node.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = plan.gpus_per_trial
    if gpus is None:
        gpus = 1.0 if any(node.get("GPU", 0) for node in nodes) else 0.0
    slots = sum(_slots_of(node, plan.cpus_per_trial, gpus) for node in nodes)
    if slots == 0:
        largest = [f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes]
        raise PlanError(
            f"A trial asks for {plan.cpus_per_trial} CPUs and {gpus:g} GPUs, but no node has them: there are "
            f"{'; '.join(largest)}. Lower --cpus-per-trial or --gpus-per-trial."
        )
    return replace(plan, gpus_per_trial=gpus), slots


def _slots_of(node: Mapping[str, float], cpus: int, gpus: float) -> int:
    by_cpu = int(node.get("CPU", 0) // cpus)
    if gpus == 0:
        return by_cpu
    available = node.get("GPU", 0)
    # A share lies on one GPU: 0.4 fits twice on each, whatever their number.
    by_gpu = int(available) * int(1 / gpus + 1e-9) if gpus < 1 else int(available // gpus)
    return min(by_cpu, by_gpu)


def dashboard() -> str | None:
    """Address of Ray's dashboard, or None where it could not start."""
    url = ray.get_runtime_context().worker.node.webui_url
    return f"http://{url}" if url else None


def execute(engine: Engine, data: SearchData, test: Images, classes: int, slots: int) -> None:
    """Run the study until the engine has nothing more to do or was stopped. Raises what went wrong in the driver."""
    driver = Driver(engine)
    trainable = tune.with_parameters(
        Worker, data=data, test=[ray.put(test)], classes=classes, cpus=engine.plan.cpus_per_trial
    )
    resources = {"cpu": engine.plan.cpus_per_trial, "gpu": engine.plan.gpus_per_trial or 0}
    with tempfile.TemporaryDirectory(prefix="archstudy-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=Jobs(driver, len(test), test.sha256()),
                scheduler=Decisions(driver, slots),
                num_samples=-1,
                max_concurrent_trials=slots,
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=scratch,
                stop=Stop(driver),
                verbose=0,
                # A trial keeps its own checkpoint; Tune's save at the end of a job would fail and cost the worker.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        tuner.fit()
    if driver.error is not None:
        raise driver.error


def _name(trial: Any) -> str:
    job = trial.config["job"]
    return job.key if isinstance(job, Job) else "test-split"


def stop() -> None:
    """End Ray on this machine, or leave the cluster."""
    ray.shutdown()
