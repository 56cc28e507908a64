"""A Ray Tune experiment: a folder with one folder per trial, each with params.json and result.json.

Nothing is unpickled, so reading somebody's experiment runs no code of theirs. The search space lies in pickles alone.
"""

import json
from pathlib import Path
from typing import Any, Final

from analysis.importers.imported import Imported, ImportedTrial, Wanted, finite

OWN: Final = {  # what Tune adds to each result
    *("timestamp", "checkpoint_dir_name", "done", "training_iteration", "trial_id", "date", "time_this_iter_s"),
    *("time_total_s", "pid", "hostname", "node_ip", "config", "time_since_restore", "iterations_since_restore"),
    *("experiment_tag", "should_checkpoint"),
}
UNKNOWN: Final = [
    "The experiment does not say on which data it trained, with which code, nor in which ranges it searched.",
    "An epoch is one report of the training function.",
]


def is_one(path: Path) -> bool:
    """Whether `path` is the folder of an experiment."""
    return path.is_dir() and any(path.glob("experiment_state-*.json"))


def read(path: Path, wanted: Wanted) -> Imported:
    """Return the experiment. Raises ValueError where `wanted.metric` is none of what the trials report."""
    folders = sorted((file.parent for file in path.glob("*/params.json")), key=lambda folder: folder.name)
    reports = {folder: _reports(folder) for folder in folders}
    numbers = {name for rows in reports.values() for row in rows for name in row if finite(row[name]) is not None}
    metric = wanted.metric_of(sorted(numbers - OWN))
    trials = [_trial(folder, rows, metric) for folder, rows in reports.items()]
    return Imported(path.name, "Ray Tune experiment", metric, trials, list(UNKNOWN))


def _reports(folder: Path) -> list[dict[str, Any]]:
    """Return the reports of a trial; a last line that a kill cut off is left out."""
    file = folder / "result.json"
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def _trial(folder: Path, rows: list[dict[str, Any]], metric: str) -> ImportedTrial:
    config = json.loads((folder / "params.json").read_text())
    trial = ImportedTrial(str(rows[-1]["trial_id"]) if rows else folder.name, _flat(config))
    for row in rows:
        epoch = int(row["training_iteration"])
        trial.scores[epoch] = finite(row.get(metric))
        seconds = finite(row.get("time_this_iter_s"))
        if seconds is not None:
            trial.seconds[epoch] = seconds
    error = folder / "error.txt"
    if error.exists():
        lines = error.read_text(errors="replace").strip().splitlines()
        trial.state, trial.error = "failed", lines[-1] if lines else "unknown"
    elif rows and trial.scores[trial.epochs] is None:
        trial.state, trial.error = "diverged", f"{metric} is no finite number"
    return trial


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a config without nesting: `optimizer/lr`."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = value if isinstance(value, str | int | float | bool | None) else str(value)
    return flat
