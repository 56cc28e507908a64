"""Unbalanced classes: where one class has many more test images than another, accuracy says little of the rare one.

Recall of a class: the share of its images that are classified right (`predictions.class_accuracy` has it with its
interval). Balanced accuracy: the mean recall over the classes.
"""

from typing import Final

import numpy as np
import pandas as pd

from analysis import wording
from analysis.predictions import Predictions, class_accuracy, every_prediction
from analysis.tables import StudyTables

UNBALANCED: Final = 1.5  # the largest class has so many times the test images of the smallest


def class_sizes(tables: StudyTables) -> tuple[int, int] | None:
    """Return the test images of the smallest and of the largest class if these are unbalanced, else None."""
    found = class_accuracy(tables)
    sizes = found.loc[found["images"] > 0, "images"]
    if sizes.empty or sizes.max() < UNBALANCED * sizes.min():
        return None
    return int(sizes.min()), int(sizes.max())


def balanced_accuracy(tables: StudyTables) -> pd.Series:
    """Return the balanced accuracy on the test split of each final run that has predictions, by its name."""
    return pd.Series({final: _balanced(found) for final, found in every_prediction(tables)}, dtype=float)


def _balanced(found: Predictions) -> float:
    images = np.bincount(found.label)
    right = np.bincount(found.label[found.predicted == found.label], minlength=len(images))
    return float(np.mean(right[images > 0] / images[images > 0]))


def recall(tables: StudyTables) -> pd.DataFrame:
    """Return `class`, `images` and a column per space: the recall of each class, mean over the winner's final runs."""
    found = class_accuracy(tables)
    wide = found.pivot_table(index=["class", "images"], columns="space", values="accuracy", sort=False)
    spaces = [space for space in tables.plan["spaces"] if space in wide.columns]
    return wide[spaces].reset_index().rename_axis(columns=None)


def said(tables: StudyTables) -> str:
    """Return a sentence with the balanced accuracy of each winner; nothing for balanced classes."""
    sizes = class_sizes(tables)
    if sizes is None:
        return ""
    rows = recall(tables)
    means = [f"{space} {wording.score(rows[space].mean(), tables.plan)}" for space in rows.columns[2:]]
    return (
        f"Classes are unbalanced ({sizes[0]:,} to {sizes[1]:,} test images): the mean recall over the classes, "
        f"balanced accuracy, is {wording.listed(means)}."
    )
