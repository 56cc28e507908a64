"""The log and study.json copied to the storage, so that a study outlives the disk of its driver."""

import time
from pathlib import Path
from typing import Final

from study.mirrors import Shown
from study.storage import Storage

SECONDS: Final = 10.0  # between two copies: object stores take whole files only


class LogCopy:
    """Copies from `folder`, and removes from the storage the checkpoints of trials that have ended."""

    def __init__(self, folder: Path, storage: Storage) -> None:
        self._folder = folder
        self._storage = storage
        self._storage.put(folder / "study.json", "study.json")
        self._copied = 0.0
        self._began = time.time()
        self._left = storage.names("last.pt")  # by an earlier session, perhaps of runs that are over

    def bring(self, run: Shown) -> None:
        """Forget the checkpoint of a run that is over."""
        checkpoint = f"{'trials' if run.kind == 'trial' else 'final'}/{run.key}/last.pt"
        if run.over and run.end is not None and (run.end["time"] >= self._began or checkpoint in self._left):
            self._storage.delete(checkpoint)

    def flush(self) -> None:
        """Copy the log, but not after each event."""
        if time.monotonic() - self._copied >= SECONDS:
            self._copy()

    def close(self) -> None:
        self._copy()

    def _copy(self) -> None:
        self._storage.put(self._folder / "events.jsonl", "events.jsonl")
        self._copied = time.monotonic()
