"""What a study prints goes to the terminal, a file or a pipe. Any of them may be gone or full: that costs no study."""

import io
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import IO, cast

from rich.console import Console


class Output(io.TextIOBase):
    """Standard output for as long as it can be written to; what comes after is lost, as on /dev/null."""

    def __init__(self) -> None:
        self._file = sys.stdout or io.StringIO()  # None: the process was started without

    def write(self, text: str) -> int:
        """Write `text`."""
        self._try(partial(self._file.write, text))
        return len(text)

    def flush(self) -> None:
        """Hand over what was written."""
        self._try(self._file.flush)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._file.isatty()

    def fileno(self) -> int:
        """Return its number."""
        return self._file.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """How letters become bytes."""
        return self._file.encoding

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except BlockingIOError:  # a reader that is slow
            return
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._file.fileno())  # else Python fails once more at its end, with what it still holds
            os.close(nowhere)


def console() -> Console:
    """Return a console that prints there."""
    return Console(file=cast("IO[str]", Output()))
