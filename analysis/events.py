"""The event log `events.jsonl`: what each event is called, which fields it carries, and how the file is read.

One JSON object a line, appended by the driver of a study, never changed. Every event carries `event` (its name) and
`time` (seconds since 1970, UTC) besides its own fields. The writer (`study/log.py`) and the tables (`tables.py`) both
take the names from here; `docs/tables.md` explains them to people and a test compares the two.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from analysis.mending import copy_of, mended_lines

Event = dict[str, Any]

CURVE: Final = (
    "epoch",
    "train_loss",
    "train_score",
    "val_loss",
    "val_score",
    "lr",
    "seconds",
    "images_per_second",
)
PLACE: Final = ("attempt", "from_epoch", "parameters", "multiply_adds", "device", "precision", "node", "worker")

EVENTS: Final[dict[str, tuple[str, ...]]] = {
    "study_opened": ("trials", "slots", "time_budget", "command"),
    "packing_measured": ("space", "device", "gpu_bytes", "trial_bytes", "images_per_second", "busy"),
    "packing_changed": ("together", "slots", "reason"),
    "slots_changed": ("nodes", "slots"),
    "budget_set": ("epochs", "gpu_seconds", "gpus"),
    "suggested": ("trial", "space", "index", "origin", "config", "seed"),
    "started": ("trial", *PLACE),
    "epoch": ("trial", *CURVE),
    "decision": ("trial", "epoch", "score", "cutoff", "compared", "action"),
    "ended": ("trial", "state", "epochs_trained", "error"),
    "final_chosen": ("space", "rank", "trial", "score", "epochs_trained"),
    "final_started": ("final", "space", "trial", "seed", *PLACE),
    "final_epoch": ("final", *CURVE),
    "final_ended": ("final", "state", "epochs_trained", "error"),
    "test_opened": ("finals", "images", "sha256"),
    "final_tested": ("final", "test_loss", "test_score", "images"),
    "study_closed": ("reason",),
}

LATER: Final = frozenset({"multiply_adds"})  # fields that logs of earlier versions lack: missing there
BIRTHS: Final = {"suggested": ("trial", "space"), "final_started": ("final", "trial", "seed")}  # what names folders
NAME: Final = re.compile(r"\w[\w-]*")
_FIELDS: Final = {name: frozenset(("time", *fields)) - LATER for name, fields in EVENTS.items()}

STATES: Final = ("finished", "stopped", "diverged", "failed", "interrupted", "running")
ORIGINS: Final = ("reference", "random", "tpe", "gp", "warm")


class BrokenLogError(ValueError):
    """A line of the log, not the last, is no event, or not one that follows from those before it: the file was changed
    by something else than a study.
    """


def read_events(path: Path) -> tuple[list[Event], int]:
    """Return the events of the log at `path` and the length in bytes of its intact part.

    A last line without its newline is what a killed writer leaves: it is not counted. Lines that are doubled or broken
    are mended from the log's copy. A line that stays broken raises `BrokenLogError` with file and line. A file that
    does not exist has no events.
    """
    if not path.exists():
        return [], 0
    content = path.read_bytes()
    intact = content.rfind(b"\n") + 1
    lines = content[:intact].split(b"\n")[:-1]
    try:
        if len(set(lines)) == len(lines):
            return parse(path, lines), intact
    except BrokenLogError:
        pass
    return parse(path, mended_lines(path)[0]), intact


def parse(path: Path, lines: Sequence[bytes]) -> list[Event]:
    """Return the events that `lines` of the log at `path` hold."""
    return [_parse(path, number, line) for number, line in enumerate(lines, 1)]


def _parse(path: Path, number: int, line: bytes) -> Event:
    try:
        event: Event = orjson.loads(line)
        whole = event.keys() >= _FIELDS[event["event"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenLogError(
            f"{path}:{number}: {line[:80]!r} is not an event of a study ({error!r}). Restore the file from a copy, or "
            f"delete this line if you accept to lose what it said, and {copy_of(path).name} with it."
        ) from error
    if not whole:
        name = event["event"]
        missing = sorted(_FIELDS[name] - event.keys())
        raise BrokenLogError(f"{path}:{number}: the event {name!r} lacks {', '.join(missing)}.")
    if event["event"] in BIRTHS:
        _check_names(path, number, event)
    return event


def take_in(path: Path, events: Iterable[Event], take: Callable[[Event], None]) -> None:
    """Have `take` take in one event of the log at `path` after the other.

    One that it cannot take, such as an epoch of a trial that was never suggested, raises `BrokenLogError`: each line
    may be an event, and yet one before it is missing or changed.
    """
    for number, event in enumerate(events, 1):
        try:
            take(event)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise BrokenLogError(
                f"{path}:{number}: the event {event['event']!r} does not follow from the lines before it ({error!r}): "
                f"one is missing or was changed. Restore the file from a copy."
            ) from error


def _check_names(path: Path, number: int, event: Event) -> None:
    for field in BIRTHS[event["event"]]:
        if NAME.fullmatch(str(event[field])) is None:  # such as ../../home: not from a study
            raise BrokenLogError(f"{path}:{number}: {field} {event[field]!r} has other characters than a name's.")
