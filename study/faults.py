"""What errors say: whether memory ran out, a disk is full, a node left; how the log begins what was judged."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

# How the `error` of an `ended` begins where the engine has judged it; an exception begins with its type.
WORKER_LOST: Final = "worker lost"
NODE_LOST: Final = "node lost"
HUNG: Final = "hung"
NO_WORKER: Final = "no worker starts"
NO_FILES: Final = "files out of reach"
OUT_OF_MEMORY: Final = "out of memory"

SHORTAGES: Final = (
    "out of memory",  # CUDA and the like
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # what cuBLAS says when its handle finds no memory
    "CUDNN_STATUS_ALLOC_FAILED",
    "nable to find an engine",  # cuDNN, where each of its algorithms found no memory
    "nable to find a valid cuDNN algorithm",  # the same, of earlier versions
    "can't allocate memory",  # torch on the CPU
    "not enough memory",  # the same
)


UNWRITABLE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def ran_out(error: BaseException) -> bool:
    """Whether `error` says that there was not enough memory, on a GPU or on the machine."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SHORTAGES)


class FilesError(Exception):
    """A file of the study, in `place`, could not be read or written here: no fault of the trial that needed it.

    `unwritable`: for want of room or of leave, which somebody has to give.
    """

    def __init__(self, place: object, error: OSError) -> None:
        super().__init__(f"{place} on {socket.gethostname()}: {error.strerror or error}")
        self.unwritable = error.errno in UNWRITABLE


@contextmanager
def files_in(place: object) -> Iterator[None]:
    """Tell an `OSError` of the study's own files from one of a network or of its data: raise it as `FilesError`."""
    try:
        yield
    except OSError as error:
        raise FilesError(place, error) from error


def worker_ran_out(error: str) -> bool:
    """Whether Ray says of a dead worker that its memory monitor ended it."""
    return "OutOfMemoryError" in error or "running low on memory" in error


def node_left(error: str) -> bool:
    """Whether Ray says of a worker that its node has left or died, for which no trial is to blame.

    Until Ray has noticed that, half a minute later, all that it says of the worker is that it cannot be reached.
    """
    return "its node has died" in error or "The actor is temporarily unavailable" in error


def worker_never_started(error: str) -> bool:
    """Whether Ray says of a dead worker that it failed before it had a job, which no trial is to blame for."""
    return "raised in its creation task" in error


def in_one_line(error: str) -> str:
    """Return what Ray says of a dead worker in one line: the exception's own, or why the process ended."""
    lines = [line.strip() for line in error.strip().splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("The actor is dead because")), lines[-1] if lines else "")
    return (said or "Ray gives no reason")[:500]


def kernel_kills() -> int:
    """Return how many processes of this machine the kernel has killed for want of memory since it was started."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:  # no Linux
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
