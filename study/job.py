"""What a slot is asked to do: train a configuration, measure one, or open the test split. Plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from study.storage import Storage

TEST: Final = "test-split"  # key of the job that opens the test split


@dataclass(frozen=True)
class Job:
    """What a slot is asked to train. `kind` is `trial` or `final`; `logged_epochs` are already in the log.

    `fp32`: compute in float32 even where the hardware has something faster. `storage`: where the files of this job
    are kept if not in `folder`.
    """

    kind: str
    key: str
    network: str
    architecture: tuple[str, ...]
    config: Mapping[str, Any]
    seed: int
    max_epochs: int
    rungs: tuple[int, ...]
    folder: Path
    logged_epochs: int
    fp32: bool
    storage: Storage | None = None


@dataclass(frozen=True)
class OpenTest:
    """Open the test split for these final runs, once. `folder`, or `storage`, holds a folder for each of them.

    `networks` are theirs, by name, in their order; `tested` the final runs for which it was opened before.
    """

    finals: tuple[str, ...]
    networks: tuple[str, ...]
    folder: Path
    fp32: bool
    storage: Storage | None = None
    tested: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Name under which it is shown while it runs."""
        return TEST


@dataclass(frozen=True)
class Probe:
    """What one trial of a space's reference setting took, alone on a GPU.

    `gpu_bytes` is what that GPU has for trials, `trial_bytes` the peak of one, its process included. `busy` is the
    share of the time in which the GPU computed, None where that could not be measured.
    """

    space: str
    device: str
    gpu_bytes: int
    trial_bytes: int
    images_per_second: float
    busy: float | None


@dataclass(frozen=True)
class EpochProbe:
    """What a space's reference setting takes in one slot: an epoch in seconds, its files on the disk in bytes."""

    space: str
    seconds: float
    checkpoint_bytes: int
    model_bytes: int
