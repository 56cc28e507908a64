"""What errors say: whether memory ran out, and how the log begins what the engine has judged."""

from typing import Final

# How the `error` of an `ended` begins where the engine has judged it; an exception begins with its type.
WORKER_LOST: Final = "worker lost"
OUT_OF_MEMORY: Final = "out of memory"

SHORTAGES: Final = (
    "out of memory",  # CUDA and the like
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # what cuBLAS says when its handle finds no memory
    "CUDNN_STATUS_ALLOC_FAILED",
    "can't allocate memory",  # torch on the CPU
    "not enough memory",  # the same
)


def ran_out(error: BaseException) -> bool:
    """Whether `error` says that there was not enough memory, on a GPU or on the machine."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SHORTAGES)


def worker_ran_out(error: str) -> bool:
    """Whether Ray says of a dead worker that its memory monitor ended it."""
    return "OutOfMemoryError" in error or "running low on memory" in error
