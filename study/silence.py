"""Who has been silent for too long: a worker that neither ends nor dies would keep its slot for ever."""

from collections.abc import Callable, Collection
from typing import Final

from study.faults import HUNG

LEAST_SECONDS: Final = 600.0  # a silence that never counts as one
EPOCHS: Final = 30  # as many times the longest epoch of the study is too long
FIRST_SECONDS: Final = 7200.0  # before any epoch has told how long one takes
STALL_SECONDS: Final = 5.0  # between two looks: what is more is a pause of the driver, of which workers know nothing


class Silence:
    """Seconds since each job was heard of. `limit` in seconds; None: by the longest epoch, before one two hours."""

    def __init__(self, limit: float | None, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._looked = clock()
        self._silent: dict[str, float] = {}  # seconds by job
        self._hung: dict[str, str] = {}  # what is to be said of each that was silent for too long

    def heard(self, key: str) -> None:
        """Begin anew for job `key`: its worker has shown that it is alive."""
        self._silent.pop(key, None)

    def begin(self, key: str) -> None:
        """Forget what was of an earlier worker of job `key`."""
        self._silent.pop(key, None)
        self._hung.pop(key, None)

    def why(self, key: str) -> str | None:
        """Return what is to be said of job `key` if it hung, once."""
        return self._hung.pop(key, None)

    def limit(self, longest_epoch: float) -> float:
        """Return after how many seconds a silence is too long."""
        if self._limit is not None:
            return self._limit
        return max(LEAST_SECONDS, EPOCHS * longest_epoch) if longest_epoch else FIRST_SECONDS

    def too_long(self, keys: Collection[str], longest_epoch: float) -> list[str]:
        """Return those of the jobs `keys`, all that have a worker, that have just been silent for too long.

        To be called every moment. `longest_epoch` in seconds, 0 where none is known.
        """
        now, limit = self._clock(), self.limit(longest_epoch)
        passed, self._looked = min(now - self._looked, STALL_SECONDS), now
        self._silent = {key: self._silent[key] + passed if key in self._silent else 0.0 for key in keys}
        found = [key for key, silent in self._silent.items() if silent > limit and key not in self._hung]
        self._hung |= dict.fromkeys(found, f"{HUNG}: no epoch within {limit:.0f} s (--epoch-limit)")
        return found
