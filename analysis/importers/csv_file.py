"""A CSV file: a row per trial, or per epoch of a trial. Columns that change within no trial are hyperparameters, unless
`Wanted.parameters` names them.
"""

from pathlib import Path
from typing import Final

import pandas as pd

from analysis.importers.imported import Imported, ImportedTrial, Wanted, finite

UNKNOWN: Final = ["The file does not say on which data it trained, with which code, nor in which ranges it searched."]
EVERY_COLUMN: Final = (
    "Every column that changes within no trial counts as a hyperparameter, a result of the whole trial too; "
    "--parameters names those that are."
)
ONE_ROW: Final = "A row is a trial (no --epoch-column), so each counts as one epoch and there are no curves."


def is_one(path: Path) -> bool:
    """Whether `path` is a CSV file, by its ending."""
    return path.is_file() and path.suffix.lower() == ".csv"


def read(path: Path, wanted: Wanted) -> Imported:
    """Return the study in the file. Raises ValueError where a column that is named is not there, or rows double."""
    try:
        frame = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(path)!r} is no table of values with commas between them: {error}.") from error
    if wanted.epoch is None and wanted.trial not in frame:  # a row is a trial, so its number is a name
        frame.insert(0, wanted.trial, range(len(frame)))
    metric = wanted.metric_of([str(name) for name in frame.select_dtypes("number") if name != wanted.epoch])
    keys = [wanted.trial, *([wanted.epoch] if wanted.epoch is not None else [])]
    for flag, name in zip(("--trial-column", "--epoch-column"), keys, strict=False):
        if name not in frame:
            raise ValueError(f"{flag} is {name!r}, but the columns are {', '.join(map(str, frame))}.")
    doubled = frame[frame.duplicated(keys)]
    if len(doubled):
        row = ", ".join(f"{key} {doubled.iloc[0][key]}" for key in keys)
        raise ValueError(f"{str(path)!r} has more than one row for {row}. Name the column that tells them apart.")
    trials = [_trial(str(key), rows, metric, wanted) for key, rows in frame.groupby(wanted.trial, sort=False)]
    changing = _changing(frame, wanted)
    for trial in trials:
        trial.config = {name: value for name, value in trial.config.items() if name not in changing}
    unknown = [*UNKNOWN, *([ONE_ROW] if wanted.epoch is None else []), *([] if wanted.parameters else [EVERY_COLUMN])]
    return Imported(path.stem, "CSV file", metric, trials, unknown)


def _trial(key: str, rows: pd.DataFrame, metric: str, wanted: Wanted) -> ImportedTrial:
    epochs = pd.Series(1, rows.index) if wanted.epoch is None else rows[wanted.epoch]
    others = rows.drop(columns=[metric, wanted.trial, *([wanted.epoch] if wanted.epoch is not None else [])])
    first = {str(name): values.iloc[0] for name, values in others.items()}
    config = {name: value.item() if hasattr(value, "item") else value for name, value in first.items()}
    trial = ImportedTrial(key, {name: value for name, value in config.items() if not pd.isna(value)})
    trial.scores = {int(epoch): finite(float(score)) for epoch, score in zip(epochs, rows[metric], strict=True)}
    if min(trial.scores) < 1:
        raise ValueError(f"Trial {key} has the epoch {min(trial.scores)}, but the first one must be 1.")
    if trial.scores[trial.epochs] is None:
        trial.state, trial.error = "diverged", f"{metric} is no finite number"
    return trial


def _changing(frame: pd.DataFrame, wanted: Wanted) -> set[str]:
    """Return the columns that change within some trial, as losses do: results, also of a trial of a single epoch."""
    different = frame.groupby(wanted.trial, sort=False).nunique(dropna=False)
    return {str(name) for name in different if (different[name] > 1).any()}
