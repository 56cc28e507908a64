"""The commands that would mend a study, as they can be typed."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from analysis import stats
from analysis.checks.record import Parameter, Record

Changes = Mapping[str, Any]

_IN_NAMES: Final = {"max_epochs": "epochs", "final_seeds": "seeds", "final_configs": "configs"}
NO_FILES: Final = ("digits", "hazy")  # with which --data-dir is refused
_LONGEST_NAME: Final = 150  # characters: names of run folders have a limit


EDIT: Final[Changes] = {"edit": True}  # the space file is edited; then the same flags, begun with this study's best
REPORT: Final[Changes] = {"report": True}
_ALONE: Final = {"report", "seed", "spaces"}  # what is no change of the one study that would mend the rest


def commands(record: Record, changes: Changes | None) -> list[str]:
    """Return the commands that make `changes`: a resume where nothing but trials changes, else a new study."""
    if changes is None:
        return []
    run_dir = str(record.tables.run_dir)
    if "report" in changes:
        return [shlex.join(("python", "-m", "analysis.report", run_dir))]
    if "trials" in changes:  # a resume refuses fewer than there were
        changes = {**changes, "trials": max(changes["trials"], record.planned_trials)}
    if set(changes) == {"trials"}:
        resume = ("--resume", run_dir, "--trials", str(changes["trials"]))
        return [shlex.join(("python", "-m", "study.run", *resume))]
    name = _name(record, changes)
    study = shlex.join(("python", "-m", "study.run", *_flags(record, changes), "--name", name))
    if "seed" not in changes:
        return [study]
    new = str(record.tables.run_dir.parent / name)
    known = [str(repeat.run_dir) for repeat in record.repeats]
    return [study, shlex.join(("python", "-m", "analysis.audit", run_dir, "--repeat", *known, new))]


def together(wanted: Iterable[Changes]) -> Changes:
    """Return the changes of one study that makes all of those wanted: of each number the most."""
    merged: dict[str, Any] = {}
    for changes in wanted:
        merged |= {name: max(value, merged.get(name, value)) for name, value in changes.items()}
    return merged


def joins(changes: Changes) -> bool:
    """Whether `changes` can be made together with others in one study."""
    return not _ALONE & set(changes)


def flags(changes: Changes | None) -> str:
    """Return the flags of `changes` in short: `--max-epochs 40`; empty where there are none."""
    shown = {name: value for name, value in (changes or {}).items() if name not in ("edit", "report", "spaces")}
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in shown.items())


def _flags(record: Record, changes: Changes) -> list[str]:
    """Every flag that says what is compared, so that a default changed meanwhile changes nothing."""
    plan, folder = record.plan, record.tables.run_dir.parent
    used = {
        "spaces": record.spaces,
        "trials": record.planned_trials,
        "max_epochs": record.max_epochs,
        "seed": plan["seed"],
        "final_configs": plan["final"]["configs"],
        "final_seeds": plan["final"]["seeds"],
        **changes,
    }
    asked = used.pop("spaces")
    spaces = asked if plan.get("experiment") else [plan["spaces"][space].get("file") or space for space in asked]
    dataset = plan["dataset"]
    flags = [*_experiment(plan), "--space", *spaces, "--dataset", dataset.get("loader", dataset["name"])]
    if dataset.get("image_size"):
        flags += ["--image-size", "x".join(map(str, dataset["image_size"]))]
    if dataset.get("train_images"):
        flags += ["--train-images", str(dataset["train_images"])]
    if dataset.get("test_fraction"):
        flags += ["--test-fraction", str(dataset["test_fraction"])]
    if "data_dir" in plan and dataset.get("loader", dataset["name"]) not in NO_FILES:
        flags += ["--data-dir", _short(Path(plan["data_dir"]))]
    if epochs := stats.budget(record.tables).get("epochs"):
        flags += ["--epoch-budget", str(int(epochs))]
    warm = _warm(record, changes)
    flags += ["--warm-start", *map(_short, warm)] if warm else []
    for name, value in used.items():
        if name == "edit":
            continue
        flags += [f"--{name.replace('_', '-')}", str(value)]
    flags += [f"--{name.replace('_', '-')}" for name in ("fp32", "no_stopping") if plan.get(name)]
    return [*flags, "--runs", _short(folder)]


def _warm(record: Record, changes: Changes) -> list[Path]:
    """Return the studies whose best configurations the new one begins with: this one too where its space is edited."""
    own = [record.tables.run_dir] if "edit" in changes and len(stats.full_length(record.tables)) else []
    earlier = record.plan.get("warm_start", {}).values()
    return list(dict.fromkeys([*own, *(Path(one["run"]) for found in earlier for one in found["configs"])]))


def _experiment(plan: Mapping[str, Any]) -> list[str]:
    """Return what names the experiment of a study, whose variants its spaces are."""
    experiment = plan.get("experiment")
    if not experiment:
        return []
    return ["--experiment", experiment["file"] or experiment["name"], "--scale", experiment["scale"]]


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _name(record: Record, changes: Changes) -> str:
    parts = [f"{_IN_NAMES.get(name, name)}{value}" for name, value in changes.items() if name not in ("edit", "spaces")]
    spaces = "-".join([*changes["spaces"], record.plan["dataset"]["name"]]) if "spaces" in changes else ""
    return "-".join(
        [(spaces or record.tables.run_dir.name)[:_LONGEST_NAME], *parts, *(["revised"] if "edit" in changes else [])]
    )


def file_of(record: Record, space: str, parameter: Parameter) -> str:
    """Return where the range of a hyperparameter is written."""
    experiment = record.plan.get("experiment")
    if experiment:
        return experiment["file"] or f"study/experiments/{experiment['name']}.toml"
    file = record.plan["spaces"][space].get("file")
    if file:
        return str(file)
    shared = parameter.get("kind") == "training"
    return "study/spaces/training.py" if shared else f"the file of study/spaces/ that defines {space}"
