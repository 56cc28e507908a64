"""An Optuna storage in a SQLite file, read as the tables it is: Optuna is not needed, and nothing is written."""

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from analysis.importers.imported import Imported, ImportedTrial, Json, Wanted, finite

STATES: Final = {"COMPLETE": "", "PRUNED": "stopped", "FAIL": "failed", "RUNNING": "running", "WAITING": "running"}
UNKNOWN: Final = ["The storage does not say on which data it trained, nor with which code."]
VALUES: Final = (
    "The value of a complete trial counts as its score at the last step of the study; for {} of {} it is not what the "
    "trial reported there."
)
NO_STEPS: Final = "No trial reported intermediate values, so each counts as one epoch and there are no curves."
HEADER: Final = b"SQLite format 3\x00"


def is_one(path: Path) -> bool:
    """Whether `path` is a SQLite file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(HEADER)) == HEADER


def read(path: Path, wanted: Wanted) -> Imported:
    """Return one study of the storage. Raises ValueError where `wanted.study` is none of several."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as storage:
        try:
            names = [name for (name,) in storage.execute("SELECT study_name FROM studies ORDER BY study_id")]
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{str(path)!r} is a SQLite file, but no Optuna storage ({error}).") from error
        return _study(storage, _name(path, names, wanted), wanted)


def _name(path: Path, names: list[str], wanted: Wanted) -> str:
    if wanted.study in names:
        return str(wanted.study)
    if wanted.study is None and len(names) == 1:
        return names[0]
    raise ValueError(f"--study is {wanted.study!r}, but must be one of those in {str(path)!r}: {', '.join(names)}.")


def _study(storage: sqlite3.Connection, name: str, wanted: Wanted) -> Imported:
    (study,) = storage.execute("SELECT study_id FROM studies WHERE study_name = ?", (name,)).fetchone()
    objectives = [
        row[0] for row in storage.execute("SELECT direction FROM study_directions WHERE study_id = ?", (study,))
    ]
    if len(objectives) != 1:
        raise ValueError(f"The study {name!r} has {len(objectives)} objectives; only studies of one can be read.")
    if (objectives[0] == "MINIMIZE") != (wanted.mode == "min"):
        raise ValueError(f"--mode is {wanted.mode}, but the study {name!r} has the direction {objectives[0]}.")
    rows = storage.execute("SELECT trial_id, number, state FROM trials WHERE study_id = ? ORDER BY number", (study,))
    trials = {key: ImportedTrial(f"trial-{number:04d}", {}, state=STATES[state]) for key, number, state in rows}
    ranges = _configs(storage, trials)
    steps = _steps(storage, trials)
    apart, complete = _values(storage, trials, {key for key, trial in trials.items() if not trial.state})
    unknown = [*UNKNOWN, *([] if steps else [NO_STEPS]), *([VALUES.format(apart, complete)] if steps and apart else [])]
    return Imported(name, "Optuna storage", wanted.metric or "value", list(trials.values()), unknown, ranges)


def _values(storage: sqlite3.Connection, trials: dict[int, ImportedTrial], complete: set[int]) -> tuple[int, int]:
    """Make the value of each complete trial its score at the last step of any, and return how many had another one
    there, and how many are complete.
    """
    last, apart = max((trial.epochs for trial in trials.values()), default=0) or 1, 0
    for key, number in storage.execute("SELECT trial_id, value FROM trial_values"):
        value = finite(number)
        if key in complete and value is not None:
            apart += trials[key].scores.get(last) != value
            trials[key].scores[last] = value
    return apart, len(complete)


def _configs(storage: sqlite3.Connection, trials: dict[int, ImportedTrial]) -> dict[str, Json]:
    """Fill in the hyperparameters of the trials and return their ranges."""
    ranges: dict[str, Json] = {}
    columns = "SELECT trial_id, param_name, param_value, distribution_json FROM trial_params ORDER BY param_id"
    for key, name, value, text in storage.execute(columns):
        if key not in trials:
            continue
        ranges[name], choices = _range(json.loads(text))
        whole = ranges[name]["type"] == "int"
        trials[key].config[name] = choices[int(value)] if choices else int(value) if whole else value
    return ranges


def _range(distribution: dict[str, Any]) -> tuple[Json, list[Any]]:
    """Return a range in the form of study.json, and the choices of a categorical one."""
    kind, attributes = distribution["name"], distribution["attributes"]
    if kind == "CategoricalDistribution":
        return {"type": "categorical", "choices": attributes["choices"]}, attributes["choices"]
    whole = kind.startswith("Int")
    numbers = {name: attributes[name] for name in ("low", "high")}
    return {"type": "int" if whole else "float", **numbers, "log": bool(attributes.get("log", "Log" in kind))}, []


def _steps(storage: sqlite3.Connection, trials: dict[int, ImportedTrial]) -> bool:
    """Fill in the curves, whose first step becomes epoch 1, and return whether there are any."""
    columns = "SELECT trial_id, step, intermediate_value, intermediate_value_type FROM trial_intermediate_values"
    known: Iterable[tuple[int, int, float, str]] = storage.execute(columns).fetchall()
    mine = [row for row in known if row[0] in trials]
    first = min((step for _, step, _, _ in mine), default=0)
    for key, step, value, kind in mine:
        trials[key].scores[step - first + 1] = finite(value) if kind == "FINITE" else None
    return bool(mine)
