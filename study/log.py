"""The event log: append, one driver at a time. Reading and the names of the events are in `analysis/events.py`."""

import fcntl
import json
import math
import os
import time
from pathlib import Path
from typing import Any, Final

from analysis.events import EVENTS, Event, read_events
from study.secrets import masked

WORDS: Final = ("command", "error", "reason")  # fields that hold what others said, and so perhaps a password


class LockedError(ValueError):
    """Another driver is writing this log."""


class Log:
    """`events.jsonl`, open for appending. `replayed` holds what was in it; a torn last line is cut off.

    Raises `LockedError` while another process has it open, `analysis.events.BrokenLogError` for a broken line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise LockedError(
                f"{path.parent} is being run by another process. Wait until it ends, or stop it, then resume."
            ) from error
        try:
            self.replayed, intact = read_events(path)
        except ValueError:
            self._file.close()
            raise
        self._file.truncate(intact)

    def append(self, *events: Event) -> list[Event]:
        """Write events in one piece, on disk when this returns, and give them back as a reader will see them.

        A non-finite number becomes null: it is missing, and JSON has no word for it.
        """
        stamped = [{"event": event["event"], "time": round(time.time(), 3), **_plain(event)} for event in events]
        for event in stamped:
            assert set(event) == {"event", "time", *EVENTS[event["event"]]}, f"fields of {event}"
        self._file.write(b"".join(json.dumps(event, allow_nan=False).encode() + b"\n" for event in stamped))
        self._file.flush()
        os.fsync(self._file.fileno())
        return stamped

    def close(self) -> None:
        """Close the file and with it the lock."""
        self._file.close()


def _plain(event: Event) -> dict[str, Any]:
    return {key: _masked(value) if key in WORDS else _finite(value) for key, value in event.items()}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _masked(words: Any) -> Any:
    if isinstance(words, list):
        return [masked(word) for word in words]
    return masked(words) if isinstance(words, str) else words
