"""The log and study.json copied to the storage, so that a study outlives the disk of its driver."""

import math
import queue
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from analysis.events import Event
from study import mirrors
from study.mirrors import Runs
from study.secrets import masked
from study.storage import Storage

SECONDS: Final = 10.0  # between two copies: object stores take whole files only
SHARE: Final = 0.05  # of the time may be spent on copies: those of a long log take longer, and come less often


class LogCopy:
    """Watches an engine, copies from `folder`, and removes from the storage the checkpoints of runs that are over.

    A copy is whole, so the next one makes up for all that failed: unlike a mirror it is never given up. `past` are the
    events so far, `pausing` is that of the policy; `say` tells people when it begins to fail.
    """

    def __init__(
        self, folder: Path, storage: Storage, past: Iterable[Event], say: Callable[[str], None], *, pausing: bool
    ) -> None:
        self._folder = folder
        self._storage = storage
        self._say = say
        self._runs = Runs(pausing=pausing)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._over: set[str] = set()  # checkpoints to be removed
        self._begun = self._listed = False
        self._copied = 0  # bytes of the log
        self._failing = False
        self._complete = False
        self._closing = threading.Event()
        for event in past:
            self._events.put(event)
        self._thread = threading.Thread(target=self._work, name="copy of the log", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Watch."""
        self._events.put(event)

    def close(self) -> None:
        """Copy once more and remove what is over, but do not wait for ever."""
        self._closing.set()
        self._thread.join(mirrors.LAST_SECONDS)
        if not self._complete:
            self._say(f"The copy of the log in {self._storage.uri} is not up to date; a resume brings it there.")

    def _work(self) -> None:
        pause, last = 0.0, False
        while not last:
            last = self._closing.wait(pause)
            try:
                self._listen()
                began = time.monotonic()
                self._copy()
            except Exception as error:  # whatever a file system raises is not the study's
                self._tell(error, last)
                pause = SECONDS  # whatever the attempt took: a storage that answers again is seen soon
            else:
                self._failing, self._complete = False, last
                pause = max(SECONDS, (time.monotonic() - began) / SHARE)
                with suppress(Exception):  # the next turn tries again
                    self._tidy(last)

    def _tidy(self, last: bool) -> None:
        """Remove checkpoints, but only after a copy: a study restored from it must know that they are over."""
        if not self._listed:
            self._over &= self._storage.names("last.pt")  # of an earlier session's runs most have none
            self._listed = True
        until = math.inf if last else time.monotonic() + SECONDS
        for checkpoint in sorted(self._over):
            if self._closing.is_set() != last or time.monotonic() > until:  # the next copy is due
                return
            self._storage.delete(checkpoint)
            self._over.remove(checkpoint)

    def _listen(self) -> None:
        """Note who is over: by the log's order, not by its times, since clocks are set back."""
        while not self._events.empty():
            for run in self._runs.take(self._events.get()):
                run.epochs.clear()  # nobody looks at them here
                checkpoint = f"{'trials' if run.kind == 'trial' else 'final'}/{run.key}/last.pt"
                (self._over.add if run.over else self._over.discard)(checkpoint)

    def _copy(self) -> None:
        if not self._begun:
            self._storage.put(self._folder / "study.json", "study.json")
            self._begun = True
        log = self._folder / "events.jsonl"
        if log.stat().st_size != self._copied:  # less: a write that failed was taken back
            content = log.read_bytes()
            self._storage.write(log.name, content)
            self._copied = len(content)

    def _tell(self, error: Exception, last: bool) -> None:
        if not self._failing:
            first = masked((str(error).strip().splitlines() or [""])[0])
            hope = "" if last else " The study goes on, and the copy is tried again until it succeeds."
            with suppress(Exception):  # what cannot be printed ends no copying
                self._say(
                    f"The log could not be copied to {self._storage.uri} ({type(error).__name__}: {first}).{hope}"
                )
        self._failing = True
