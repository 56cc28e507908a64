"""The run folder as tables: a replay of `events.jsonl`, column by column as `docs/tables.md` says.

`read` makes one pass over the events and collects plain lists; pandas sees whole columns only, so half a
million epochs take seconds. A missing value stays missing (NaN), never 0. Whole numbers that can be missing
are therefore float64; numbers that cannot are int64.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import pandas as pd

from analysis.attempts import ATTEMPT_COLUMNS, attempts
from analysis.events import CURVE, Event, read_events, take_in

MARGIN: Final = 0.2  # percentage points (or units of the metric): a gap inside it makes no practical difference

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
    "multiply_adds": "float64",
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
    "time_budget": "float64",
    "epoch_budget": "float64",
    "gpu_budget": "float64",
    "reason": "str",
}


@dataclass(frozen=True, eq=False)  # told apart by identity: tables have no use of being equal, and may be a key
class StudyTables:
    """What a run folder says.

    `plan` is the content of `study.json`; `trials`, `epochs`, `final`, `final_epochs` and `decisions` are the
    tables of `docs/tables.md`, epochs in the order in which they were first logged. `chosen` has a row per
    trial now chosen for final runs; `openings` a row per opening of the test split (`time` in seconds since
    1970, number of `finals` and their `names`, number of `images`, checksum); `sessions` a row per time the
    driver ran, with its budgets (`closed` and `reason` missing: it still runs or died); `measured` a row per
    space measured for `--gpus-per-trial auto`; `packing` a row per change of how many trials run at once; `attempts` a
    row per time that a trial or a final run was on a slot. `margin` is what its reader calls no difference.
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
    attempts: pd.DataFrame
    margin: float = MARGIN


def is_restoration(plan: Mapping[str, Any]) -> bool:
    """Whether the answers to images are images, not classes; a study from before there was a choice has classes."""
    return bool(plan["dataset"].get("task") == "restoration")


def read(run_dir: Path | str) -> StudyTables:
    """Return the tables of the run folder `run_dir`.

    Raises ValueError where it is no run folder, and `analysis.events.BrokenLogError` (a ValueError) where its
    log was damaged anywhere but in its last line, or lacks one.
    """
    run_dir = Path(run_dir)
    plan = _read_plan(run_dir)
    log = run_dir / "events.jsonl"
    replay, events = _Replay(), read_events(log)[0]
    take_in(log, events, replay.take)
    return _tables(run_dir, plan, replay, events)


def from_events(path: Path, plan: dict[str, Any], events: Sequence[Event]) -> StudyTables:
    """Return the tables of another tool's study at `path`, which has no log: `events` tell what happened in it, and
    `plan` what study.json would say.
    """
    replay = _Replay()
    for event in events:
        replay.take(event)
    return _tables(path, plan, replay, events)


def _tables(run_dir: Path, plan: dict[str, Any], replay: "_Replay", events: Sequence[Event]) -> StudyTables:
    epochs, final_epochs = replay.epochs.table(EPOCH_COLUMNS), replay.final_epochs.table(FINAL_EPOCH_COLUMNS)
    finals = _final_rows(replay, final_epochs)
    return StudyTables(
        run_dir=run_dir,
        plan=plan,
        trials=_trial_table(replay, epochs, plan),
        epochs=epochs,
        final=_table(FINAL_COLUMNS, finals),
        final_epochs=final_epochs,
        decisions=_table(DECISION_COLUMNS, replay.decisions),
        chosen=_table(CHOSEN_COLUMNS, replay.chosen),
        openings=_table(OPENING_COLUMNS, replay.openings),
        sessions=_table(SESSION_COLUMNS, replay.sessions),
        measured=_table(MEASURED_COLUMNS, replay.measured),
        packing=_table(PACKING_COLUMNS, replay.packing),
        attempts=_table(ATTEMPT_COLUMNS, attempts(events)),
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


class _Curves:
    """Epoch rows of trials or of final runs, unique by (`owner`, epoch), the later word winning."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._rows: list[tuple[Any, ...]] = []
        self._values = itemgetter(owner, *CURVE)

    def take(self, event: Event) -> None:
        self._rows.append(self._values(event))

    def table(self, columns: Mapping[str, str]) -> pd.DataFrame:
        data = zip(*self._rows, strict=True) if self._rows else ((),) * len(columns)
        series = {
            name: pd.Series(values, dtype=kind) for (name, kind), values in zip(columns.items(), data, strict=True)
        }
        table, key = pd.DataFrame(series), [self._owner, "epoch"]
        if not table.duplicated(key).any():
            return table
        last = table.drop_duplicates(key, keep="last").set_index(key)
        return last.loc[pd.MultiIndex.from_frame(table[key].drop_duplicates())].reset_index()


def _progress(curves: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return by owner, the first column of `curves`: its last `epoch`, the `score` there, `best` score, `seconds`."""
    owner = str(curves.columns[0])
    groups = curves.groupby(owner, sort=False)
    last = curves.loc[groups["epoch"].idxmax(), [owner, "epoch", "val_score"]].set_index(owner)
    last.columns = pd.Index(["epoch", "score"])
    sums = pd.DataFrame({"best": groups["val_score"].max(), "seconds": groups["seconds"].sum(min_count=1)})
    found: Any = last.join(sums).to_dict("index")
    return dict(found)


class _Replay:
    """The state of a study after the events taken so far."""

    def __init__(self) -> None:
        self.trials: dict[str, dict[str, Any]] = {}
        self.finals: dict[str, dict[str, Any]] = {}
        self.epochs, self.final_epochs = _Curves("trial"), _Curves("final")
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
        budgets = {name: event[name] for name in ("trials", "slots", "time_budget")}
        self.sessions.append({"opened": event["time"], **budgets})

    def _study_closed(self, event: Event) -> None:
        self._leave_behind()
        if self.sessions:
            self.sessions[-1] |= {"closed": event["time"], "reason": event["reason"]}

    def _budget_set(self, event: Event) -> None:
        if self.sessions:
            self.sessions[-1] |= {"epoch_budget": event["epochs"], "gpu_budget": event["gpu_seconds"]}

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
            "multiply_adds": event.get("multiply_adds"),
            "error": None,
            "epochs_trained": None,
        }
        self.trials[event["trial"]] |= started

    def _epoch(self, event: Event) -> None:
        self.epochs.take(event)

    def _decision(self, event: Event) -> None:
        self.decisions.append(event)
        row = self.trials[event["trial"]]
        if event["action"] == "stop":
            row["stopped_at_rung"] = event["epoch"]
        elif row["state"] == "stopped":  # it is taken up again
            row["state"] = "running"

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
        self.final_epochs.take(event)

    def _final_ended(self, event: Event) -> None:
        row = self.finals.setdefault(event["final"], self._never_started(event["final"]))
        row |= {name: event[name] for name in ("state", "epochs_trained", "error")}

    def _never_started(self, final: str) -> dict[str, Any]:
        """What the name of a final run says: one that no worker came up for, or that was overtaken before."""
        trial, _, seed = final.rpartition("-seed")
        return {"final": final, "space": self.trials[trial]["space"], "trial": trial, "seed": int(seed)}

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


def _trial_table(replay: _Replay, epochs: pd.DataFrame, plan: Mapping[str, Any]) -> pd.DataFrame:
    """Return the trials with one column per hyperparameter; the plan makes sure that no name is used
    twice.
    """
    kinds, progress = hyperparameter_kinds(plan), _progress(epochs)
    rows = [_trial_row(row, progress.get(trial, {}), kinds) for trial, row in replay.trials.items()]
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


def asked(plan: Mapping[str, Any], name: str) -> Any:
    """Return what the experiment of a study says under `name`; None in a study without one."""
    return (plan.get("experiment") or {}).get(name)


def searched(plan: Mapping[str, Any], space: str) -> list[dict[str, Any]]:
    """Return the hyperparameters of the space that are not held at one value."""
    return [parameter for parameter in plan["spaces"][space]["parameters"] if parameter.get("role") != "fixed"]


def _kind(parameter: Mapping[str, Any]) -> str:
    if parameter["type"] != "categorical":
        return "float64"
    types = {type(choice) for choice in parameter["choices"]}
    if types <= {int, float}:
        return "float64"
    return "str" if types == {str} else "object"


def _trial_row(row: Mapping[str, Any], progress: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    config = {name: row["config"].get(name) for name in kinds}
    epochs_trained = _epochs_trained(row, progress)
    stopped = row["state"] == "stopped"
    return {
        **row,
        **config,
        "epochs_trained": epochs_trained,
        "stopped_at_rung": row.get("stopped_at_rung", epochs_trained) if stopped else None,
        "score": progress.get("score"),
        "best_score": progress.get("best"),
        "train_seconds": progress.get("seconds"),
    }


def _final_rows(replay: _Replay, epochs: pd.DataFrame) -> Iterator[dict[str, Any]]:
    known = _progress(epochs)
    for final, row in replay.finals.items():
        progress = known.get(final, {})
        seconds = {"train_seconds": progress.get("seconds")}
        yield {**row, "epochs_trained": _epochs_trained(row, progress), "val_score": progress.get("score"), **seconds}


def _epochs_trained(row: Mapping[str, Any], progress: Mapping[str, Any]) -> int:
    ended = row.get("epochs_trained")
    return int(progress.get("epoch", 0) if ended is None else ended)
