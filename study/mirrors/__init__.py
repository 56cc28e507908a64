"""Mirrors: the study as other tools show it, live. The event log stays the truth, a mirror can be thrown away.

A mirror is told of a run again and again and brings its copy of it up to date; what is there already is not written
twice, so a resume just tells it of all runs. It works in a thread of its own: slow, full or gone, it never holds up
the study, and when it fails that is said once.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from analysis.events import Event
from study.secrets import masked

RETRIES: Final = (1.0, 5.0, 20.0)  # seconds before a mirror that failed is asked again; then it is given up
LAST_SECONDS: Final = 30.0  # a study that ends waits at most so long for each of its mirrors


Result = TypeVar("Result")


@dataclass
class Shown:
    """A run as the log knows it. `started` is None while it waits; `end` is its last end, None while it runs. `paused`:
    it was stopped, and may be taken up again.
    """

    kind: str
    key: str
    space: str
    config: Mapping[str, Any]
    seed: int
    origin: str = ""
    started: Event | None = None
    epochs: list[Event] = field(default_factory=list)
    end: Event | None = None
    tested: Event | None = None
    paused: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing more will be trained."""
        return self.end is not None and self.end["state"] != "interrupted" and not self.paused


class Mirror(Protocol):
    """Another tool's copy of the study."""

    def bring(self, run: Shown) -> None:
        """Bring the copy of `run` up to date. May be called again after it failed."""

    def flush(self) -> None:
        """Have others see what was brought; called after each round."""

    def close(self) -> None:
        """End: nothing more comes."""


class Runs:
    """The runs of a study, told by its events. `pausing`: who is stopped is over when the study has finished."""

    def __init__(self, *, pausing: bool) -> None:
        self._pausing = pausing
        self._runs: dict[str, Shown] = {}

    def take(self, event: Event) -> list[Shown]:
        """Take in one event and return the runs that it is about."""
        name = event["event"]
        if name == "suggested":
            about = {field: event[field] for field in ("space", "config", "seed", "origin")}
            self._runs[event["trial"]] = Shown("trial", event["trial"], **about)
        elif name == "final_started" and event["final"] not in self._runs:
            trial = self._runs[event["trial"]]
            self._runs[event["final"]] = Shown("final", event["final"], trial.space, trial.config, event["seed"])
        run = self._runs.get(event.get("final") or event.get("trial") or "")
        if name == "study_closed" and event["reason"] == "finished":
            return self._let_go()
        if run is None or name in ("final_chosen", "decision"):
            return []
        match name.removeprefix("final_"):
            case "started":
                run.started, run.end, run.paused = run.started or event, None, False
            case "epoch":
                run.epochs.append(event)
            case "ended":
                run.end, run.paused = event, self._pausing and name == "ended" and event["state"] == "stopped"
            case "tested":
                run.tested = event
        return [run]

    def _let_go(self) -> list[Shown]:
        """Nobody is taken up any more."""
        paused = [run for run in self._runs.values() if run.paused]
        for run in paused:
            run.paused = False
        return paused


class Reflection:
    """Watches an engine and keeps a mirror up to date, from a thread. `say` tells people, once, that it failed.

    `make` opens the mirror, in that thread too; `past` are the events so far; `pausing` is that of the policy.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Mirror],
        past: Iterable[Event],
        say: Callable[[str], None],
        *,
        pausing: bool = False,
    ) -> None:
        self._name = name
        self._make = make
        self._say = say
        self._runs = Runs(pausing=pausing)
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._broken = False
        for event in past:
            self._events.put(event)
        self._thread = threading.Thread(target=self._reflect, name=f"mirror {name}", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Watch."""
        if not self._broken:
            self._events.put(event)

    def close(self) -> None:
        """Wait until it is up to date, but not for ever."""
        self._events.put(None)
        self._thread.join(LAST_SECONDS)
        if self._thread.is_alive():
            self._say(f"{self._name} is not up to date after {LAST_SECONDS:g} s more; a resume brings it there.")

    def _reflect(self) -> None:
        try:
            mirror = _insist(self._make)
            more = True
            while more:
                touched, more = self._round()
                _insist(partial(_bring, mirror, touched))
            mirror.close()
        except Exception as error:  # whatever another tool raises is not the study's
            self._broken = True
            first = masked((str(error).strip().splitlines() or [""])[0])
            self._say(
                f"{self._name} failed ({type(error).__name__}: {first}). The study goes on without; a resume brings it "
                f"up to date."
            )

    def _round(self) -> tuple[list[Shown], bool]:
        """Wait for an event, take in all that are there, and return the runs touched and whether more will come."""
        touched: dict[str, Shown] = {}
        event = self._events.get()
        while event is not None:
            touched |= {run.key: run for run in self._runs.take(event)}
            if self._events.empty():
                return list(touched.values()), True
            event = self._events.get()
        return list(touched.values()), False


def _bring(mirror: Mirror, runs: list[Shown]) -> None:
    """Bring `runs`, each of which leaves the list once it is there."""
    while runs:
        mirror.bring(runs[0])
        if (run := runs.pop(0)).over:
            run.epochs.clear()
    mirror.flush()


def _insist(attempt: Callable[[], Result]) -> Result:
    for patience in RETRIES:
        try:
            return attempt()
        except Exception:
            time.sleep(patience)
    return attempt()
