"""Studies of other tools as tables of this one: a Ray Tune experiment, an Optuna storage, a CSV file.

`SOURCES` lists what can be read, asked in this order. To add one: a file here with a function that tells whether a path
is one, and a function from the path and a `Wanted` to an `Imported`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from analysis.importers import csv_file, optuna_storage, ray_tune
from analysis.importers.imported import Imported, Wanted
from analysis.tables import StudyTables

__all__ = ["SOURCES", "Wanted", "read_other"]


class Source(NamedTuple):
    """A kind of source: `what` it is in words, whether a path `is_one`, and how it is `read`."""

    what: str
    is_one: Callable[[Path], bool]
    read: Callable[[Path, Wanted], Imported]


SOURCES: Final = (
    Source("a Ray Tune experiment (a folder with experiment_state-*.json)", ray_tune.is_one, ray_tune.read),
    Source("an Optuna storage (a SQLite file)", optuna_storage.is_one, optuna_storage.read),
    Source("a CSV file of trials or epochs", csv_file.is_one, csv_file.read),
)


def read_other(path: Path, wanted: Wanted) -> StudyTables:
    """Return the tables of a study that another tool wrote.

    Raises ValueError where `path` is none of `SOURCES`, or does not have what is `wanted`.
    """
    for source in SOURCES:
        if source.is_one(path):
            return source.read(path, wanted).tables(path, wanted)
    kinds = "; ".join(("a run folder of study.run (it holds study.json)", *(source.what for source in SOURCES)))
    raise ValueError(f"{str(path)!r} is nothing that can be read here. Name {kinds}.")
