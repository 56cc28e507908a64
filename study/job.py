"""What a slot is asked to do: train one configuration, or open the test split. Plain data, made by the engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """What a slot is asked to train. `kind` is `trial` or `final`; `logged_epochs` are already in the log.

    `fp32`: compute in float32 even where the hardware has something faster.
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


@dataclass(frozen=True)
class OpenTest:
    """Open the test split for these final runs, once. `folder` holds a folder for each of them."""

    finals: tuple[str, ...]
    folder: Path
    fp32: bool

    @property
    def key(self) -> str:
        """Name under which it is shown while it runs."""
        return "test-split"
