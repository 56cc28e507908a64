"""The study as TensorBoard event files, a folder for each run: curves while it trains, hyperparameters at its end.

tensorboardX writes them, which comes with Ray Tune.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from study.mirrors import Shown

CURVES: Final = {
    "val_score": "score/validation",
    "train_score": "score/training",
    "val_loss": "loss/validation",
    "train_loss": "loss/training",
    "lr": "training/lr",
    "images_per_second": "training/images_per_second",
}


class TensorBoard:
    """Writes below `folder`. Event files can only grow, so what an earlier session left is written anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}
        self._brought: dict[str, int] = {}  # the last epoch that was brought, by run
        self._emptied = False

    def bring(self, run: Shown) -> None:
        """Add the epochs that are new, and at its end what the run came to."""
        for event in run.epochs:
            if event["epoch"] > self._brought.get(run.key, 0):
                for name, tag in CURVES.items():
                    if event[name] is not None:
                        self._writer(run.key).add_scalar(tag, event[name], event["epoch"], event["time"])
                self._brought[run.key] = event["epoch"]
        if run.tested is not None:
            self._writer(run.key).add_scalar(
                "score/test", run.tested["test_score"], self._brought.get(run.key, 0), run.tested["time"]
            )
        if run.over:
            self._end(run)
        elif run.paused and run.key in self._writers:  # which are files and threads: hundreds may pause at once
            self._writers.pop(run.key).close()

    def _end(self, run: Shown) -> None:
        writer = self._writer(run.key)
        if run.epochs:
            for summary in _hyperparameters(run):
                writer.file_writer.add_summary(summary)
        writer.close()
        del self._writers[run.key]

    def _writer(self, key: str) -> SummaryWriter:
        if not self._emptied and self._folder.exists():
            shutil.rmtree(self._folder)
        self._emptied = True
        if key not in self._writers:
            # A run that goes on, as after its test, gets a further file: by itself it would have the first one's name.
            self._writers[key] = SummaryWriter(str(self._folder / key), filename_suffix=f".{time.time_ns()}")
        return self._writers[key]

    def flush(self) -> None:
        """Have TensorBoard see it."""
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


def _hyperparameters(run: Shown) -> Iterator[Any]:
    """What TensorBoard's page HPARAMS shows."""
    last = run.epochs[-1]
    values = {
        name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in run.config.items()
    }
    scores = {CURVES["val_score"]: last["val_score"]} if last["val_score"] is not None else {}
    yield from hparams({"space": run.space, "kind": run.kind, **values}, scores)
