"""Who ran where and when: a row per time that a trial or a final run was on a slot, from the log."""

from collections.abc import Iterable
from typing import Any, Final

from analysis.events import Event

ATTEMPT_COLUMNS: Final = {
    "run": "str",
    "kind": "str",
    "space": "str",
    "attempt": "int64",
    "node": "str",
    "worker": "int64",
    "began": "float64",
    "ended": "float64",
    "state": "str",
}


def attempts(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the rows of `ATTEMPT_COLUMNS`, in the order in which they began.

    Events carry the time at which the driver heard of them, which is late for a start: it began no later than the
    seconds of its epochs before each of them was heard of.
    """
    rows: list[dict[str, Any]] = []
    running: dict[str, dict[str, Any]] = {}
    spaces: dict[str, str] = {}
    for event in events:
        name, run = event["event"], str(event.get("trial"))
        if name == "suggested":
            spaces[run] = event["space"]
        elif name in ("study_opened", "study_closed"):
            running.clear()
        elif name in ("started", "final_started") and "worker" in event:  # other tools do not say where
            final = name == "final_started"
            run = event["final"] if final else run
            where = {column: event[column] for column in ("attempt", "node", "worker")}
            kind = {"kind": "final" if final else "trial", "space": event["space"] if final else spaces[run]}
            times = {"began": event["time"], "ended": event["time"], "state": "interrupted", "trained": 0.0}
            running[run] = {"run": run, **kind, **where, **times}
            rows.append(running[run])
        elif name in ("epoch", "final_epoch", "ended", "final_ended"):
            key = event.get("final", run)
            _go_on(running.pop(key, None) if "state" in event else running.get(key), event)
    for row in running.values():
        row["state"] = "running"
    return sorted(rows, key=lambda row: float(row["began"]))


def _go_on(row: dict[str, Any] | None, event: Event) -> None:
    if row is None:  # it ended before it was on a slot
        return
    row["ended"] = event["time"]
    if "state" in event:
        row["state"] = event["state"]
    else:
        row["trained"] += event["seconds"] or 0.0
        row["began"] = min(row["began"], event["time"] - row["trained"])
