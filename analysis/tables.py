"""The run folder as tables: a replay of `events.jsonl`, column by column as `docs/tables.md` says.

`read` makes one pass over the events and collects plain lists; pandas sees whole columns only, so half a
million epochs take seconds. A missing value stays missing (NaN), never 0. Whole numbers that can be missing
are therefore float64; numbers that cannot are int64.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pandas as pd

from analysis.events import CURVE, Event, read_events

TRIAL_COLUMNS: Final = {
    "trial": "str",
    "space": "str",
    "index": "int64",
    "origin": "str",
    "state": "str",
    "epochs_trained": "int64",
    "stopped_at_rung": "float64",
    "score": "float64",
    "best_score": "float64",
    "parameters": "float64",
    "train_seconds": "float64",
    "error": "str",
}
CURVE_COLUMNS: Final = {name: "int64" if name == "epoch" else "float64" for name in CURVE}
EPOCH_COLUMNS: Final = {"trial": "str", **CURVE_COLUMNS}
FINAL_EPOCH_COLUMNS: Final = {"final": "str", **CURVE_COLUMNS}
FINAL_COLUMNS: Final = {
    "final": "str",
    "space": "str",
    "trial": "str",
    "seed": "int64",
    "state": "str",
    "epochs_trained": "int64",
    "val_score": "float64",
    "test_loss": "float64",
    "test_score": "float64",
    "train_seconds": "float64",
    "error": "str",
}
DECISION_COLUMNS: Final = {
    "trial": "str",
    "epoch": "int64",
    "score": "float64",
    "cutoff": "float64",
    "compared": "int64",
    "action": "str",
}
CHOSEN_COLUMNS: Final = {
    "space": "str",
    "rank": "int64",
    "trial": "str",
    "score": "float64",
    "epochs_trained": "int64",
}
OPENING_COLUMNS: Final = {"time": "float64", "finals": "int64", "names": "str", "images": "int64", "sha256": "str"}
PACKING_COLUMNS: Final = {"time": "float64", "together": "float64", "slots": "int64", "reason": "str"}
MEASURED_COLUMNS: Final = {
    "space": "str",
    "device": "str",
    "gpu_bytes": "int64",
    "trial_bytes": "int64",
    "images_per_second": "float64",
    "busy": "float64",
}
SESSION_COLUMNS: Final = {
    "opened": "float64",
    "closed": "float64",
    "trials": "int64",
    "slots": "float64",
    "reason": "str",
}


@dataclass(frozen=True)
class StudyTables:
    """What a run folder says.

    `plan` is the content of `study.json`; `trials`, `epochs`, `final`, `final_epochs` and `decisions` are the
    tables of `docs/tables.md`, epochs in the order in which they were first logged. `chosen` has a row per
    trial now chosen for final runs; `openings` a row per opening of the test split (`time` in seconds since
    1970, number of `finals` and their `names`, number of `images`, checksum); `sessions` a row per time the
    driver ran (`closed` and `reason` missing: it still runs or died); `measured` a row per space measured for
    `--gpus-per-trial auto`; `packing` a row per change of how many trials run at once.
    """

    run_dir: Path
    plan: dict[str, Any]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    final: pd.DataFrame
    final_epochs: pd.DataFrame
    decisions: pd.DataFrame
    chosen: pd.DataFrame
    openings: pd.DataFrame
    sessions: pd.DataFrame
    measured: pd.DataFrame
    packing: pd.DataFrame


def read(run_dir: Path | str) -> StudyTables:
    """Return the tables of the run folder `run_dir`.

    Raises ValueError where it is no run folder, and `analysis.events.BrokenLogError` (a ValueError) where its
    log was damaged anywhere but in its last line.
    """
    run_dir = Path(run_dir)
    plan = _read_plan(run_dir)
    replay = _Replay()
    for event in read_events(run_dir / "events.jsonl")[0]:
        replay.take(event)
    finals, final_epochs = replay.finals, replay.final_epochs
    return StudyTables(
        run_dir=run_dir,
        plan=plan,
        trials=_trial_table(replay, plan),
        epochs=replay.epochs.table(EPOCH_COLUMNS),
        final=_table(FINAL_COLUMNS, (_final_row(row, final_epochs) for row in finals.values())),
        final_epochs=final_epochs.table(FINAL_EPOCH_COLUMNS),
        decisions=_table(DECISION_COLUMNS, replay.decisions),
        chosen=_table(CHOSEN_COLUMNS, replay.chosen),
        openings=_table(OPENING_COLUMNS, replay.openings),
        sessions=_table(SESSION_COLUMNS, replay.sessions),
        measured=_table(MEASURED_COLUMNS, replay.measured),
        packing=_table(PACKING_COLUMNS, replay.packing),
    )


def _read_plan(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "study.json"
    if not path.is_file():
        raise ValueError(
            f"{str(run_dir)!r} is not a run folder: it holds no study.json. Name a folder that "
            "`python -m study.run` wrote, such as runs/resnet-digits."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is not JSON ({error}). Restore it from a copy of the run folder.") from error
    if not isinstance(content, dict) or not {"spaces", "dataset", "metric", "max_epochs"} <= content.keys():
        raise ValueError(f"{str(path)!r} does not describe a study. Restore it from a copy of the run folder.")
    return content


@dataclass
class _Curves:
    """Epoch rows, unique by (owner, epoch), the later word winning; `last` has the row of each owner's last
    epoch.
    """

    columns: tuple[list[Any], ...] = field(default_factory=lambda: tuple([] for _ in CURVE_COLUMNS))
    owners: list[str] = field(default_factory=list)
    rows: dict[tuple[str, int], int] = field(default_factory=dict)
    of: dict[str, dict[int, int]] = field(default_factory=dict)

    def take(self, owner: str, event: Event) -> None:
        rows = self.of.setdefault(owner, {})
        row = rows.setdefault(event["epoch"], len(self.owners))
        if row == len(self.owners):
            self.owners.append(owner)
            for column, name in zip(self.columns, CURVE, strict=True):
                column.append(event[name])
        else:
            for column, name in zip(self.columns, CURVE, strict=True):
                column[row] = event[name]

    def values(self, owner: str, name: str) -> dict[int, Any]:
        """Return the values of the column `name` for `owner`, by epoch."""
        column = self.columns[CURVE.index(name)]
        return {epoch: column[row] for epoch, row in self.of.get(owner, {}).items()}

    def table(self, columns: Mapping[str, str]) -> pd.DataFrame:
        data = dict(zip(columns, (self.owners, *self.columns), strict=True))
        return pd.DataFrame({name: pd.Series(data[name], dtype=kind) for name, kind in columns.items()})


class _Replay:
    """The state of a study after the events taken so far."""

    def __init__(self) -> None:
        self.trials: dict[str, dict[str, Any]] = {}
        self.finals: dict[str, dict[str, Any]] = {}
        self.epochs, self.final_epochs = _Curves(), _Curves()
        self.decisions: list[Event] = []
        self.chosen: list[Event] = []
        self.openings: list[dict[str, Any]] = []
        self.sessions: list[dict[str, Any]] = []
        self.measured: list[Event] = []
        self.packing: list[Event] = []

    def take(self, event: Event) -> None:
        getattr(self, f"_{event['event']}")(event)

    def _study_opened(self, event: Event) -> None:
        self._leave_behind()
        self.sessions.append({"opened": event["time"], "trials": event["trials"], "slots": event["slots"]})

    def _study_closed(self, event: Event) -> None:
        self._leave_behind()
        if self.sessions:
            self.sessions[-1] |= {"closed": event["time"], "reason": event["reason"]}

    def _packing_measured(self, event: Event) -> None:
        self.measured.append(event)

    def _packing_changed(self, event: Event) -> None:
        self.packing.append(event)

    def _slots_changed(self, event: Event) -> None:
        self.packing.append(event | {"reason": f"{event['nodes']} {'node' if event['nodes'] == 1 else 'nodes'}"})

    def _leave_behind(self) -> None:
        """Whatever ran under a driver that is gone runs no more."""
        for row in (*self.trials.values(), *self.finals.values()):
            if row["state"] == "running":
                row["state"] = "interrupted"

    def _suggested(self, event: Event) -> None:
        self.trials[event["trial"]] = event | {"state": "running"}

    def _started(self, event: Event) -> None:
        started = {
            "state": "running",
            "parameters": event["parameters"],
            "error": None,
            "epochs_trained": None,
        }
        self.trials[event["trial"]] |= started

    def _epoch(self, event: Event) -> None:
        self.epochs.take(event["trial"], event)

    def _decision(self, event: Event) -> None:
        self.decisions.append(event)
        if event["action"] == "stop":
            self.trials[event["trial"]]["stopped_at_rung"] = event["epoch"]

    def _ended(self, event: Event) -> None:
        self.trials[event["trial"]] |= {name: event[name] for name in ("state", "epochs_trained", "error")}

    def _final_chosen(self, event: Event) -> None:
        if event["rank"] == 1:  # the space was chosen from again, after more trials: the earlier choice no longer holds
            self.chosen = [earlier for earlier in self.chosen if earlier["space"] != event["space"]]
        self.chosen.append(event)

    def _final_started(self, event: Event) -> None:
        # A final run may be started again after it was tested: what was measured stays known.
        known = self.finals.get(event["final"], {})
        self.finals[event["final"]] = known | event | {"state": "running", "error": None, "epochs_trained": None}

    def _final_epoch(self, event: Event) -> None:
        self.final_epochs.take(event["final"], event)

    def _final_ended(self, event: Event) -> None:
        self.finals[event["final"]] |= {name: event[name] for name in ("state", "epochs_trained", "error")}

    def _test_opened(self, event: Event) -> None:
        names = event["finals"]
        self.openings.append(event | {"finals": len(names), "names": " ".join(names)})

    def _final_tested(self, event: Event) -> None:
        self.finals[event["final"]] |= {name: event[name] for name in ("test_loss", "test_score")}


def _table(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    listed = list(rows)
    return pd.DataFrame(
        {name: pd.Series([row.get(name) for row in listed], dtype=kind) for name, kind in columns.items()}
    )


def _trial_table(replay: _Replay, plan: Mapping[str, Any]) -> pd.DataFrame:
    """Return the trials with one column per hyperparameter; the plan makes sure that no name is used
    twice.
    """
    kinds = hyperparameter_kinds(plan)
    rows = [_trial_row(row, replay.epochs, kinds) for row in replay.trials.values()]
    return _table({**TRIAL_COLUMNS, **kinds}, rows)


def hyperparameter_kinds(plan: Mapping[str, Any]) -> dict[str, str]:
    """Return the dtype of each hyperparameter's column, in the order of the spaces: float64, str or
    object.
    """
    kinds: dict[str, str] = {}
    for space in plan["spaces"].values():
        for parameter in space["parameters"]:
            kind = _kind(parameter)
            name = parameter["name"]
            kinds[name] = kind if kinds.get(name, kind) == kind else "object"
    return kinds


def _kind(parameter: Mapping[str, Any]) -> str:
    if parameter["type"] != "categorical":
        return "float64"
    types = {type(choice) for choice in parameter["choices"]}
    if types <= {int, float}:
        return "float64"
    return "str" if types == {str} else "object"


def _trial_row(row: Mapping[str, Any], curves: _Curves, kinds: Mapping[str, str]) -> dict[str, Any]:
    config = {name: row["config"].get(name) for name in kinds}
    epochs_trained, score, scores = _progress(row, curves, row["trial"])
    stopped = row["state"] == "stopped"
    return {
        **row,
        **config,
        "epochs_trained": epochs_trained,
        "stopped_at_rung": row.get("stopped_at_rung", epochs_trained) if stopped else None,
        "score": score,
        "best_score": max(scores, default=None),
        "train_seconds": _seconds(curves, row["trial"]),
    }


def _final_row(row: Mapping[str, Any], curves: _Curves) -> dict[str, Any]:
    epochs_trained, score, _ = _progress(row, curves, row["final"])
    seconds = _seconds(curves, row["final"])
    return {**row, "epochs_trained": epochs_trained, "val_score": score, "train_seconds": seconds}


def _progress(row: Mapping[str, Any], curves: _Curves, owner: str) -> tuple[int, float | None, list[float]]:
    """Return the epochs trained, the score after the last of them, and all scores that are known."""
    by_epoch = curves.values(owner, "val_score")
    ended = row.get("epochs_trained")
    last = max(by_epoch, default=0)
    known = [score for score in by_epoch.values() if score is not None]
    return (last if ended is None else int(ended)), by_epoch.get(last), known


def _seconds(curves: _Curves, owner: str) -> float | None:
    seconds = [value for value in curves.values(owner, "seconds").values() if value is not None]
    return float(sum(seconds)) if seconds else None
