"""What a study is: its plan, checked before anything starts, and study.json, which holds what is used."""

import difflib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal, Self

from data_utils.datasets import task_of
from data_utils.images import Dataset, Examples
from data_utils.splits import SearchData, Subset
from study import secrets
from study.metric import metric
from study.policy import FIRST_POLICY, Policy
from study.sampler import model_settings
from study.space import Space
from study.storage import Storage

FORMAT: Final = 1
KEYS: Final = {"spaces", "dataset", "data_dir", "trials", "max_epochs", "seed", "fp32", "resources", "final"}
PACKAGES: Final = (
    "torch",
    "torchvision",
    "ray",
    "optuna",
    "pandas",
    "seaborn",
    "numpy",
    "scikit-learn",
    "scikit-image",
)

Json = dict[str, Any]


class PlanError(ValueError):
    """Something about the plan cannot work; the message says what, why, and what to do."""


@dataclass(frozen=True)
class Plan:
    """One study: what to compare, on what, for how long. Numbers of trials are per space, times in seconds.

    `image_size` (height, width) None: as the images are. `test_fraction` None: the test split of the source, or 20 %.
    `fp32`: compute in float32 even where bf16 is faster. `no_stopping`: every trial has its full length.
    `epoch_limit`: a trial that finishes no epoch in this time hangs; None: by the longest epoch (`study/silence.py`).
    `gpus_per_trial` None: one where the machine or cluster has GPUs, else none. A fraction shares a GPU; "auto"
    measures a trial first and has as many share one as fit and gain by it (`study/packing.py`).
    `resources`: what else of a cluster's own a slot takes, by name. `storage`: URI of a folder for checkpoints and
    models, where nodes do not share the run folder; `began_as`: what the run folder was called when the study began,
    which may have been renamed since. `optuna_storage`, `mlflow`: URLs of mirrors (`study/mirrors/`).
    `time_budget` is for the search of all spaces, each of which has an equal part; `epoch_budget` and `gpu_budget` (in
    seconds of a GPU) are for the search of each space (`study/budget.py`). None: no limit.
    `warm_start` are folders of earlier studies, `warm` is what they gave (`study/warm.py`).
    `experiment` is the content of one (`study/experiment.py`), whose variants `spaces` are then; empty: none.
    `train_images`: so many of the training images, drawn by class if any, before the validation split; None: all.
    """

    spaces: tuple[str, ...]
    dataset: str = "digits"
    data_dir: Path = Path("data")
    image_size: tuple[int, int] | None = None
    test_fraction: float | None = None
    train_images: int | None = None
    trials: int = 40
    max_epochs: int = 20
    name: str = ""
    runs: Path = Path("runs")
    seed: int = 0
    cpus_per_trial: int = 1
    gpus_per_trial: float | Literal["auto"] | None = None
    time_budget: float | None = None
    epoch_budget: int | None = None
    gpu_budget: float | None = None
    epoch_limit: float | None = None
    final_configs: int = 1
    final_seeds: int = 4
    fp32: bool = False
    no_stopping: bool = False
    policy: Policy = field(default=Policy())
    warm_start: tuple[Path, ...] = ()
    warm: Json = field(default_factory=dict)
    experiment: Json = field(default_factory=dict)
    address: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    storage: str | None = None
    began_as: str = field(default="", compare=False)
    optuna_storage: str | None = None
    tensorboard: bool = False
    mlflow: str | None = None
    command: tuple[str, ...] = field(default=())

    @property
    def folder(self) -> Path:
        """The run folder."""
        data = self.data_dir.resolve().name if self.dataset in ("folder", "pairs") else self.dataset
        compared = [Path(space).stem for space in self.spaces]
        if self.experiment:
            whole = len(self.spaces) == len(self.experiment["variants"])
            scale = [] if self.experiment["scale"] == "full" else [self.experiment["scale"]]
            compared = [self.experiment["name"], *scale, *([] if whole else compared)]
        return self.runs / (self.name or "-".join((*compared, data)))

    @property
    def known_as(self) -> str:
        """What a storage and mirrors call the study, whatever the run folder is called by now."""
        return self.began_as or self.folder.name

    @property
    def kept(self) -> Storage | None:
        """Where the files of trials are kept if not in the run folder."""
        return None if self.storage is None else Storage(self.storage) / self.known_as

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which ASHA decides; none where nothing is stopped."""
        return () if self.no_stopping else self.policy.rungs(self.max_epochs)

    @property
    def random_trials(self) -> int:
        """Trials of the random arm, per space."""
        return self.policy.random_trials(self.trials)

    def check(self, spaces: Collection[str], datasets: Collection[str]) -> None:
        """Raise `PlanError` for what can be known to be wrong before anything starts."""
        self.check_spaces(spaces)
        check_name("data set", self.dataset, datasets)
        self.check_numbers()
        self._check_folder()

    def check_spaces(self, spaces: Collection[str]) -> None:
        """Raise `PlanError` for a space that is neither known nor a file, or that is given twice."""
        if not self.spaces:
            raise PlanError(f"No space is given; a study needs at least one. Valid: {', '.join(sorted(spaces))}.")
        for space in self.spaces:
            if self.experiment:
                check_name(f"variant of the experiment {self.experiment['name']}:", space, self.experiment["variants"])
            elif space.endswith(".py"):
                _check_file(space)
            else:
                check_name("space", space, spaces)
            if self.spaces.count(space) > 1:
                raise PlanError(f"Space {space!r} is given twice; each can take part once. Leave one out.")

    def check_own_files(self) -> None:
        """Raise `PlanError` if study.json names a space file of its own folder, whose code came with the folder."""
        variants = self.experiment.get("variants", {})
        for space in (variants[space]["space"] if variants else space for space in self.spaces):
            check_own_file(space, self.folder)

    def check_numbers(self) -> None:
        """Raise `PlanError` for a number that no study can have."""
        at_least("--trials", self.trials, 1, "trial of each space")
        at_least(
            "--max-epochs", self.max_epochs, 2, "epochs: the first rung is at 1, and stopping there must save some"
        )
        at_least("--seed", self.seed, 0, "as a seed")
        if self.seed >= 2**32:
            raise PlanError(f"--seed is {self.seed}, but must be below 4294967296, which is what numpy takes.")
        if self.image_size is not None:
            at_least("--image-size", min(self.image_size), 8, "pixels, which is what the networks take")
        if self.test_fraction is not None and not 0 < self.test_fraction < 1:
            raise PlanError(f"--test-fraction is {self.test_fraction:g}, but must lie between 0 and 1, such as 0.2.")
        if self.train_images is not None:
            at_least("--train-images", self.train_images, 1, "image")
        at_least("--cpus-per-trial", self.cpus_per_trial, 1, "core")
        at_least("--final-configs", self.final_configs, 1, "configuration of each space")
        at_least("--final-seeds", self.final_seeds, 1, "seed; an interval needs 3")
        if isinstance(self.gpus_per_trial, int | float) and not _whole_or_share(self.gpus_per_trial):
            raise PlanError(
                f"--gpus-per-trial is {self.gpus_per_trial}, but must be 0, a share between 0 and 1, a whole number "
                f"or auto."
            )
        self._check_cluster()
        if self.time_budget is not None and not 0 < self.time_budget < float("inf"):
            raise PlanError(f"--time-budget is {self.time_budget:g} s, but must be above 0. Give 90s, 30m or 2h.")
        if self.epoch_limit is not None and not 0 < self.epoch_limit < float("inf"):
            raise PlanError(f"--epoch-limit is {self.epoch_limit:g} s, but must be above 0. Give 90s, 30m or 2h.")

    def _check_cluster(self) -> None:
        for name, amount in self.resources.items():
            if name in ("CPU", "GPU"):
                raise PlanError(f"--resources names {name}, which has a flag: --{name.lower()}s-per-trial.")
            if not (0 < amount <= 1 or (amount > 1 and amount.is_integer())):
                raise PlanError(f"--resources is {name}={amount:g}, but must be up to 1, or a whole number.")
        if self.address is not None and self.address.startswith("ray://"):
            raise PlanError(
                f"--address is {self.address}, a Ray client, which cannot place trials. Start the study on a node of "
                f"the cluster with --address auto, or send it there: ray job submit -- python -m study.run ..."
            )
        for flag in ("address", "storage", "optuna_storage", "mlflow"):
            url = getattr(self, flag)
            if url is not None and (shown := secrets.masked_url(url)) != url:
                raise PlanError(
                    f"--{flag.replace('_', '-')} is {shown}, but must hold no password or key: whoever lists processes "
                    f"could read it. Give it by a variable or file that the service's own client reads "
                    f"(docs/security.md). If it is none: an @ that ends no password is written %40, and a file with a "
                    f"key ends in .pem, .key, .crt or .json, or is there under its full path."
                )
        if self.epoch_budget is not None:
            at_least("--epoch-budget", self.epoch_budget, self.max_epochs, "epochs: the full length of one trial")
        if self.gpu_budget is not None and not 0 < self.gpu_budget < float("inf"):
            raise PlanError(f"--gpu-budget is {self.gpu_budget:g} s, but must be above 0. Give 90m, 8h or 0.5h.")

    def _check_folder(self) -> None:
        if self.name in (".", "..") or "/" in self.name:
            raise PlanError(
                f"--name is {self.name!r}, but must be one folder name without '/'. Use --runs for the place."
            )
        if len(self.folder.name.encode()) > 200:
            raise PlanError(f"The run folder's name is {len(self.folder.name.encode())} bytes long; --name takes 200.")
        if self.folder.exists():
            raise PlanError(
                f"The run folder {self.folder} exists. To go on with that study: --resume {self.folder}. To start "
                f"another: --name NEW_NAME."
            )
        nearest = next(path for path in (self.folder, *self.folder.absolute().parents) if path.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK):
            raise PlanError(
                f"--runs is {self.runs}, but nothing can be written to {nearest}. Choose another with --runs."
            )

    def epochs_at_most(self) -> int:
        """Epochs that the study could take if nothing were stopped, final runs included."""
        runs = len(self.spaces) * (self.trials + self.final_configs * self.final_seeds)
        return runs * self.max_epochs

    @classmethod
    def from_json(cls, folder: Path, content: Json, **changes: Any) -> Self:
        """Return the plan of a study that exists, from its study.json, with what may change at a resume."""
        missing = sorted(KEYS - content.keys())
        if missing:
            raise PlanError(f"{folder / 'study.json'} lacks {', '.join(missing)}. Restore it from a copy.")
        asked = {
            "spaces": _asked_spaces(content),
            "experiment": content.get("experiment", {}),
            **_asked_of_dataset(content["dataset"]),
            "data_dir": Path(content["data_dir"]),
            "trials": content["trials"],
            "max_epochs": content["max_epochs"],
            "name": folder.name,
            "runs": folder.parent,
            "began_as": content.get("name", folder.name),
            "seed": content["seed"],
            **content["resources"],
            "final_configs": content["final"]["configs"],
            "final_seeds": content["final"]["seeds"],
            "fp32": content["fp32"],
            "storage": content.get("storage"),
            **content.get("mirrors", {}),
            # Studies from before these were written have neither.
            "no_stopping": content.get("no_stopping", False),
            "policy": Policy(**{**asdict(FIRST_POLICY), **content.get("policy", {})}),
            "warm": content.get("warm_start", {}),
        }
        return cls(**{**asked, **changes})


def _asked_spaces(content: Json) -> tuple[str, ...]:
    """Return what names the spaces: of an experiment its variants, else the package's names and the user's files."""
    if content.get("experiment"):
        return tuple(content["spaces"])
    return tuple(space["file"] or name for name, space in content["spaces"].items())


def _asked_of_dataset(dataset: Json) -> Json:
    """Return what was asked of the data set; a study from before these could be asked for has none of them."""
    size = dataset.get("image_size")
    return {
        "dataset": dataset.get("loader", dataset["name"]),
        "image_size": tuple(size) if size else None,
        "test_fraction": dataset.get("test_fraction"),
        "train_images": dataset.get("train_images"),
    }


def check_own_file(space: str, folder: Path) -> None:
    """Raise `PlanError` if `space` is a file in the run folder, whose code came with it."""
    if space.endswith(".py") and Path(space).resolve().is_relative_to(folder.resolve()):
        raise PlanError(
            f"study.json names the space file {space}, which lies in the run folder: no study puts code there. "
            f"If you trust it, move it elsewhere, and change its path in study.json."
        )


def at_least(flag: str, value: float, least: float, unit: str) -> None:
    """Raise `PlanError` for a value below `least`."""
    if value < least:
        raise PlanError(f"{flag} is {value:g}, but must be at least {least:g} {unit}.")


def check_name(kind: str, name: str, valid: Collection[str]) -> None:
    """Raise `PlanError` for an unknown name, with the nearest valid one and the list of all."""
    if name not in valid:
        near = difflib.get_close_matches(name, valid, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise PlanError(f"Unknown {kind} {name!r}.{hint} Valid: {', '.join(sorted(valid))}.")


def check_tasks(spaces: Sequence[Space], dataset: str) -> None:
    """Raise `PlanError` for spaces whose networks answer another question than the data set asks."""
    task = task_of(dataset)
    other = ", ".join(space.name for space in spaces if space.task != task)
    if other and task == "restoration":
        raise PlanError(
            f"--dataset {dataset} has images as answers, but {other} answer with a class. Give a space of "
            f"restoration, such as dehaze, or --dataset folder with a folder of images for each class."
        )
    if other:
        raise PlanError(
            f"--dataset {dataset} has classes as answers, but {other} answer with an image. Give --dataset hazy, which "
            f"needs no files, or --dataset pairs with folders of inputs and targets; or a space of classification."
        )


def check_images(spaces: Sequence[Space], dataset: Dataset) -> None:
    """Raise `PlanError` for images that are too small for some configuration of a space."""
    _, height, width = dataset.image_shape
    smallest = max(space.smallest_image for space in spaces)
    if min(height, width) < smallest:
        named = ", ".join(space.name for space in spaces if space.smallest_image > min(height, width))
        raise PlanError(
            f"The images of {dataset.name} have {height}x{width} pixels, too few for {named}: at least "
            f"{smallest}x{smallest}. Enlarge them with --image-size {smallest}, or leave the space out."
        )


def _check_file(space: str) -> None:
    if not Path(space).is_file():
        raise PlanError(f"The space file {space} does not exist. Give the path of a Python file that defines SPACE.")


def _whole_or_share(gpus: float) -> bool:
    return 0 <= gpus <= 1 or (gpus > 1 and float(gpus).is_integer())


def place(plan: Plan, nodes: Sequence[Mapping[str, float]]) -> Plan:
    """Return the plan with its GPUs per trial settled for `nodes` (resources by name).

    Raises `PlanError` where not a single trial fits on any node.
    """
    gpus = plan.gpus_per_trial
    if not isinstance(gpus, int | float):  # "auto" where nothing was measured
        gpus = 1.0 if any(node.get("GPU", 0) for node in nodes) else 0.0
    if not any(slots_of(node, plan.cpus_per_trial, gpus, plan.resources) for node in nodes):
        more = "".join(f" and {amount:g} {name}" for name, amount in plan.resources.items())
        there = "; ".join(_amounts(node, plan.resources) for node in nodes)
        flags = "--cpus-per-trial, --gpus-per-trial or --resources" if more else "--cpus-per-trial or --gpus-per-trial"
        raise PlanError(
            f"A trial asks for {plan.cpus_per_trial} CPUs and {gpus:g} GPUs{more}, but no node has them: there are "
            f"{there}. Lower {flags}."
        )
    if plan.gpu_budget is not None and not gpus:
        raise PlanError("--gpu-budget is given, but trials use no GPU. Give --time-budget or --epoch-budget instead.")
    return replace(plan, gpus_per_trial=gpus)


def _amounts(node: Mapping[str, float], names: Collection[str]) -> str:
    more = "".join(f" and {node.get(name, 0):g} {name}" for name in names)
    return f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs{more}"


def slots_of(node: Mapping[str, float], cpus: float, gpus: float, resources: Mapping[str, float] | None = None) -> int:
    """Return how many slots with `cpus`, `gpus` and `resources` of its own a node has."""
    by_cpu = int(node.get("CPU", 0) // cpus)
    by_own = [int(node.get(name, 0) / amount + 1e-9) for name, amount in (resources or {}).items()]
    if gpus == 0:
        return min([by_cpu, *by_own])
    available = node.get("GPU", 0)
    # A share lies on one GPU: 0.4 fits twice on each, whatever their number.
    by_gpu = int(available) * int(1 / gpus + 1e-9) if gpus < 1 else int(available // gpus)
    return min([by_cpu, by_gpu, *by_own])


def describe(plan: Plan, spaces: Mapping[str, Space], dataset: Dataset, data: SearchData, hardware: Json) -> Json:
    """Return the content of study.json: the plan and all that a reader or a resume needs to know of it."""
    splits = _splits(dataset, data).items()
    checksums = {name: {"images": len(part), "sha256": part.sha256()} for name, part in splits}
    return {
        "format": FORMAT,
        "name": plan.folder.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "dataset": {
            "name": dataset.name,
            "loader": plan.dataset,
            "image_size": plan.image_size and list(plan.image_size),
            "test_fraction": plan.test_fraction,
            "train_images": plan.train_images,
            "source": dataset.source,
            "task": dataset.task,
            "classes": list(dataset.classes),
            "image_shape": list(dataset.image_shape),
            "mirror": dataset.mirror,
            "splits": checksums,
            "skipped": [skipped._asdict() for skipped in dataset.skipped],
        },
        "data_dir": str(plan.data_dir.absolute()),
        "metric": metric(dataset, data),
        "spaces": {name: space.to_json() for name, space in spaces.items()},
        "trials": plan.trials,
        "max_epochs": plan.max_epochs,
        "rungs": list(plan.rungs),
        "reduction_factor": plan.policy.reduction_factor,
        "sampler": {"random": plan.random_trials, **model_settings(plan.policy)},
        "policy": asdict(plan.policy),
        "final": {"configs": plan.final_configs, "seeds": plan.final_seeds},
        "budget": {"epochs": plan.epoch_budget, "gpu_seconds": plan.gpu_budget, "seconds": plan.time_budget},
        "warm_start": plan.warm,
        "experiment": plan.experiment,
        "seed": plan.seed,
        "fp32": plan.fp32,
        "no_stopping": plan.no_stopping,
        "resources": {
            "cpus_per_trial": plan.cpus_per_trial,
            "gpus_per_trial": plan.gpus_per_trial,
            "resources": dict(plan.resources),
        },
        "storage": plan.storage,
        "mirrors": {"optuna_storage": plan.optuna_storage, "tensorboard": plan.tensorboard, "mlflow": plan.mlflow},
        "command": [secrets.masked(word) for word in plan.command],
        "git": _git(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "hardware": hardware,
    }


def _splits(dataset: Dataset, data: SearchData) -> dict[str, Examples | Subset]:
    return {"train": data.train, "validation": data.validation, "test": dataset.test}


def write_study(plan: Plan, content: Json) -> None:
    """Make the run folder with its study.json, both or neither: it gets its name when study.json is on the disk."""
    temporary = plan.folder.with_name(f".{plan.folder.name}.{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        with (temporary / "study.json").open("w") as file:
            file.write(json.dumps(content, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(plan.folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise PlanError(f"The run folder cannot be made: {error}. Choose another --name or --runs.") from error


def read_study(folder: Path) -> Json:
    """Return the content of study.json in `folder`. Raises `PlanError` where there is none."""
    path = folder / "study.json"
    if not path.is_file():
        raise PlanError(f"{folder} is no run folder: it has no study.json. Give --resume the folder of a study.")
    try:
        content: Json = json.loads(path.read_text())
    except ValueError as error:
        raise PlanError(f"{path} is not readable as JSON ({error}). Restore it from a copy.") from error
    if not isinstance(content, dict):
        raise PlanError(f"{path} holds no study. Restore it from a copy.")
    if content.get("format") != FORMAT:
        raise PlanError(f"{path} has the format {content.get('format')!r}; this version reads {FORMAT}.")
    return content


def check_unchanged(content: Json, spaces: Mapping[str, Space], dataset: Dataset, data: SearchData) -> None:
    """Raise `PlanError` if a space, the data or the splits are not what the study began with."""
    for name, stored in content["spaces"].items():
        if spaces[name].to_json()["sha256"] != stored["sha256"]:
            raise PlanError(
                f"Space {name!r} has changed since the study began, so old and new trials could not be compared. "
                f"Check out the code of then ({content['git']['commit']}), or start a new study with --name."
            )
    for name, part in _splits(dataset, data).items():
        if part.sha256() != content["dataset"]["splits"][name]["sha256"]:
            raise PlanError(
                f"The {name} split of {dataset.name} is not the one the study began with: its checksum differs. "
                f"Restore the data in {content['data_dir']}, or start a new study with --name."
            )


def hardware(nodes: Sequence[Mapping[str, float]]) -> Json:
    """What the trials run on: this machine, and the resources of all nodes, accelerators by type."""
    types = {key.split(":", 1)[1] for node in nodes for key in node if key.startswith("accelerator_type:")}
    return {
        "system": platform.platform(),
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "nodes": len(nodes),
        "slots_cpus": sum(node.get("CPU", 0) for node in nodes),
        "slots_gpus": sum(node.get("GPU", 0) for node in nodes),
        "accelerators": sorted(types),
    }


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _git() -> Json:
    """Commit of the code that runs and whether it was changed; None for both outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    status = git("status", "--porcelain")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def command_line() -> tuple[str, ...]:
    """The command as it could be typed again."""
    module = getattr(sys.modules.get("__main__"), "__spec__", None)
    start = ["python", "-m", module.name] if module is not None else [Path(sys.argv[0]).name]
    return (*start, *sys.argv[1:])
