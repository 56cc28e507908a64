"""The event log: append, one driver at a time. Reading and the names of the events are in `analysis/events.py`."""

import fcntl
import json
import math
import os
import time
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, Final

from analysis.events import EVENTS, Event, parse
from analysis.mending import CHECKSUM, copy_of, guarded, mended_lines
from study.secrets import masked

WORDS: Final = ("command", "error", "reason")  # fields that hold what others said, and so perhaps a password


class LockedError(ValueError):
    """Another driver is writing this log."""


class Log:
    """`events.jsonl`, open for appending. `replayed` holds what was in it; a torn last line is cut off.

    A damaged log is mended from its copy, and `damaged` is then the name under which it is kept.
    Raises `LockedError` while another process has it open, `analysis.events.BrokenLogError` for a broken line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged: Path | None = None
        self._file = FileIO(path, "a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise LockedError(
                f"{path.parent} is being run by another process. Wait until it ends, or stop it, then resume."
            ) from error
        try:
            lines, sound = mended_lines(path)
            self.replayed = parse(path, lines)
            self._size = sum(map(len, lines))
            if not sound:
                self._mend(lines)
            self._file.truncate(self._size)
            self._copy: BinaryIO | None = copy_of(path).open("ab")
            self._copy.truncate(self._size + len(lines) * CHECKSUM)
        except (OSError, ValueError):
            self._file.close()
            raise

    def append(self, *events: Event) -> list[Event]:
        """Write events in one piece, on disk when this returns, and give them back as a reader will see them.

        A non-finite number becomes null: it is missing, and JSON has no word for it. Raises `OSError` where the disk is
        full or gone; then nothing of them is in the log.
        """
        stamped = [{"event": event["event"], "time": round(time.time(), 3), **_plain(event)} for event in events]
        for event in stamped:
            assert set(event) == {"event", "time", *EVENTS[event["event"]]}, f"fields of {event}"
        lines = [json.dumps(event, allow_nan=False).encode() + b"\n" for event in stamped]
        self._write(b"".join(lines))
        if self._copy is not None:
            try:
                self._copy.write(b"".join(map(guarded, lines)))
                self._copy.flush()
            except OSError:  # brought up to date when the log is opened again; a copy with gaps would be none
                self._forget_copy()
        return stamped

    def close(self) -> None:
        """Close the file and with it the lock."""
        self._forget_copy()
        self._file.close()

    def _write(self, content: bytes) -> None:
        self._file.truncate(self._size)  # what an earlier failure may have left
        try:
            rest = content
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError:
            with suppress(OSError):
                self._file.truncate(self._size)
            raise
        self._size += len(content)

    def _forget_copy(self) -> None:
        if self._copy is not None:
            with suppress(OSError):
                self._copy.close()
        self._copy = None

    def _mend(self, lines: list[bytes]) -> None:
        """Write `lines` where log or copy lack them, the copy first: whenever a kill comes, one of the two is whole."""
        _replace(copy_of(self.path), b"".join(map(guarded, lines)))
        found, content = self.path.read_bytes(), b"".join(lines)
        if not found.startswith(content) or b"\n" in found[len(content) :]:
            self.damaged = self.path.with_suffix(".damaged.jsonl")
            _replace(self.damaged, found)
            self._size = 0
            self._write(content)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _plain(event: Event) -> dict[str, Any]:
    return {key: _masked(value) if key in WORDS else _finite(value) for key, value in event.items()}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _masked(words: Any) -> Any:
    if isinstance(words, list):
        return [masked(word) for word in words]
    return masked(words) if isinstance(words, str) else words
