"""A study of another tool, as far as it is known, made into the tables that figures and report read.

Its trials are told as events of our own log and go through the same replay as ours. What the tool does not say stays
missing, and `unknown` says so in words: a report of such a study has no verdict, since nothing was retrained.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from analysis.events import CURVE, Event
from analysis.tables import StudyTables, from_events

Json = dict[str, Any]

FEW: Final = 10  # as many different whole numbers, or fewer, are taken for choices
WIDE: Final = 100  # a range whose ends are so many times apart is taken for logarithmic

NOT_RETRAINED: Final = (
    "Nothing was retrained with fresh seeds and no test split was kept apart, so there is no verdict: the best trial "
    "is the luckiest of many."
)
NOT_ENDED: Final = (
    "A trial with fewer epochs than the longest one counts as stopped early: the source does not say whether a "
    "scheduler stopped it."
)
OBSERVED: Final = "Ranges of hyperparameters are those that the trials happened to have, not those that were searched."


@dataclass(frozen=True)
class Wanted:
    """What the user says about a table: the `metric` and whether a higher one is better, and what its columns are.

    `by` is the hyperparameter that names the architecture; None: one space. `parameters` are the hyperparameters, where
    not all that look like ones are; empty: these. `study` picks one of an Optuna storage.
    `trial` and `epoch` name the columns of a CSV file; without `epoch` a row is a trial.
    """

    metric: str | None = None
    mode: Literal["max", "min"] = "max"
    by: str | None = None
    study: str | None = None
    trial: str = "trial"
    epoch: str | None = None
    parameters: tuple[str, ...] = ()

    def metric_of(self, names: Sequence[str]) -> str:
        """Return the metric, which must be one of `names`. Raises ValueError."""
        if self.metric is not None and self.metric in names:
            return self.metric
        said = "is not given" if self.metric is None else f"is {self.metric!r}"
        raise ValueError(f"--metric {said}, but must be one of {', '.join(names) or '(there are none)'}.")


@dataclass
class ImportedTrial:
    """A trial: `scores` and `seconds` by epoch from 1 on. `state`: as in the log; "" for one that ran to its end."""

    key: str
    config: Json
    scores: dict[int, float | None] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    state: str = ""
    error: str | None = None

    @property
    def epochs(self) -> int:
        """The last epoch known."""
        return max(self.scores, default=0)


@dataclass
class Imported:
    """A study: `ranges` are its hyperparameters where the source says them, in the form of study.json."""

    name: str
    tool: str
    metric: str
    trials: list[ImportedTrial]
    unknown: list[str]
    ranges: Mapping[str, Json] = field(default_factory=dict)

    def tables(self, path: Path, wanted: Wanted) -> StudyTables:
        """Return the tables, as `analysis.read` does for a run folder."""
        if not any(trial.scores for trial in self.trials):
            raise ValueError(f"{str(path)!r} has no trial with a value of {self.metric!r}.")
        names = {name for trial in self.trials for name in trial.config}
        if wanted.by is not None and wanted.by not in names:
            raise ValueError(f"--by is {wanted.by!r}, but must be a hyperparameter: {', '.join(sorted(names))}.")
        missing = sorted(set(wanted.parameters) - names)
        if missing:
            known = ", ".join(sorted(names)) or "(there are none)"
            raise ValueError(
                f"--parameters has {', '.join(missing)}, but those that change within no trial are {known}."
            )
        if wanted.parameters:
            kept = {*wanted.parameters, wanted.by}
            for trial in self.trials:
                trial.config = {name: value for name, value in trial.config.items() if name in kept}
        longest = max(trial.epochs for trial in self.trials)
        return from_events(path, self._plan(path, wanted, longest), list(self._events(wanted, longest)))

    def _space(self, trial: ImportedTrial, wanted: Wanted) -> str:
        return self.name if wanted.by is None else str(trial.config.get(wanted.by, "none"))

    def _plan(self, path: Path, wanted: Wanted, longest: int) -> Json:
        spaces: dict[str, list[ImportedTrial]] = {}
        for trial in self.trials:
            spaces.setdefault(self._space(trial, wanted), []).append(trial)
        known = [score for trial in self.trials for score in trial.scores.values() if score is not None]
        share = wanted.mode == "max" and min(known) >= 0 and max(known) <= 1
        return {
            "name": self.name,
            "imported": {"tool": self.tool, "path": str(path), "sha256": checksum(path), "unknown": self._unknown()},
            "dataset": {"name": "unknown data", "classes": [], "splits": {}},
            "metric": {
                "name": self.metric if wanted.mode == "max" else f"minus {self.metric}",
                "unit": "fraction" if share else "",
                "direction": "maximize",
                "chance": None,
            },
            "spaces": {name: self._described(name, trials, wanted) for name, trials in spaces.items()},
            "trials": max(map(len, spaces.values())),  # of each space
            "max_epochs": longest,
            "rungs": [],
            "final": {"configs": 0, "seeds": 0},
        }

    def _unknown(self) -> list[str]:
        short = len({trial.epochs for trial in self.trials if not trial.state}) > 1
        return [NOT_RETRAINED, *([] if self.ranges else [OBSERVED]), *([NOT_ENDED] if short else []), *self.unknown]

    def _described(self, name: str, trials: list[ImportedTrial], wanted: Wanted) -> Json:
        columns: dict[str, list[Any]] = {}
        for trial in trials:
            for key, value in trial.config.items():
                if key != wanted.by:
                    columns.setdefault(key, []).append(value)
        parameters = [
            {
                "name": key,
                "kind": "unknown",
                "role": "unknown",
                "when": None,
                **(self.ranges.get(key) or observed(values)),
            }
            for key, values in columns.items()
        ]
        return {"network": name, "description": "", "parameters": parameters, "reference": {}}

    def _events(self, wanted: Wanted, longest: int) -> Iterator[Event]:
        yield {
            "event": "study_opened",
            "time": math.nan,
            "trials": len(self.trials),
            **dict.fromkeys(("slots", "time_budget")),
        }
        counts: dict[str, int] = {}
        for trial in self.trials:
            space = self._space(trial, wanted)
            index = counts[space] = counts.get(space, -1) + 1
            named = {"time": math.nan, "trial": trial.key}
            suggested = {"space": space, "index": index, "origin": "unknown", "config": trial.config}
            yield {"event": "suggested", **named, **suggested}
            yield {"event": "started", **named, "parameters": None}
            yield from (
                {"event": "epoch", **named, **self._row(trial, epoch, wanted)} for epoch in sorted(trial.scores)
            )
            state = trial.state or ("finished" if trial.epochs == longest else "stopped")
            if state != "running":
                yield {"event": "ended", **named, "state": state, "epochs_trained": trial.epochs, "error": trial.error}
        yield {"event": "study_closed", "time": math.nan, "reason": "finished"}

    def _row(self, trial: ImportedTrial, epoch: int, wanted: Wanted) -> Json:
        score = trial.scores[epoch]
        signed = -score if wanted.mode == "min" and score is not None else score
        known = {"epoch": epoch, "val_score": signed, "seconds": trial.seconds.get(epoch)}
        return {**dict.fromkeys(CURVE), **known}


def observed(values: Sequence[Any]) -> Json:
    """Return what `values` of a hyperparameter look like: choices, or a range from the least to the largest."""
    different = list(dict.fromkeys(value for value in values if value is not None))
    numbers = [value for value in different if isinstance(value, int | float) and not isinstance(value, bool)]
    whole = all(isinstance(value, int) for value in numbers)
    if len(numbers) < len(different) or (whole and len(numbers) <= FEW):
        ordered = sorted(numbers) if len(numbers) == len(different) else sorted(different, key=str)
        return {"type": "categorical", "choices": [_plain(value) for value in ordered]}
    low, high = min(numbers), max(numbers)
    return {"type": "int" if whole else "float", "low": low, "high": high, "log": low > 0 and high / low >= WIDE}


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else str(value)


def finite(value: Any) -> float | None:
    """Return a number of a curve, None where it is none or not finite."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None


def checksum(path: Path) -> str:
    """Return SHA-256 over the file, or over the names and contents of the JSON and CSV files of the folder."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(file for kind in ("*.json", "*.csv") for file in path.rglob(kind))
    for file in files:
        digest.update(str(file.relative_to(path) if path.is_dir() else file.name).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
