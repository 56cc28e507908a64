"""Predictions of the final runs on the test split -> small tables: accuracy per class, confusion,
examples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.intervals import wilson
from analysis.stats import winning_finals
from analysis.tables import StudyTables, is_restoration

EXAMPLES = 8  # of the correct ones, and of the mistakes


@dataclass(frozen=True)
class Predictions:
    """What a final run said about the test split: true classes `label` (N,), `probability` (N, classes)."""

    label: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float64]

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """The class of the highest probability, (N,)."""
        chosen: npt.NDArray[np.int64] = self.probability.argmax(axis=1)
        return chosen


def read_predictions(tables: StudyTables) -> dict[str, list[Predictions]]:
    """Return the predictions of the winner of each space, in the order of the seeds; final runs without are
    left out.
    """
    found: dict[str, list[Predictions]] = {}
    for space, _, predictions in _stored(tables):
        found.setdefault(space, []).append(predictions)
    return {space: found[space] for space in tables.plan["spaces"] if space in found}


def correct_images(tables: StudyTables) -> dict[str, dict[int, npt.NDArray[np.bool_]]]:
    """Return which test images each final run of a winner classifies right: space, seed, (N,); those without
    predictions are left out.
    """
    found: dict[str, dict[int, npt.NDArray[np.bool_]]] = {}
    for space, seed, predictions in _stored(tables):
        found.setdefault(space, {})[seed] = predictions.predicted == predictions.label
    return found


def every_prediction(tables: StudyTables) -> Iterator[tuple[str, Predictions]]:
    """Give the name of each final run that has predictions of classes, with these."""
    for name in tables.final["final"].astype(str):
        if (found := _load(tables, name)) is not None:
            yield name, found


def _stored(tables: StudyTables) -> Iterator[tuple[str, int, Predictions]]:
    for row in winning_finals(tables).sort_values("seed", kind="stable").itertuples():
        if (found := _load(tables, str(row.final))) is not None:
            yield str(row.space), int(str(row.seed)), found


def _load(tables: StudyTables, final: str) -> Predictions | None:
    path = tables.run_dir / "final" / final / "predictions.npz"
    if is_restoration(tables.plan) or not path.is_file():
        return None
    with np.load(path) as arrays:
        return Predictions(arrays["label"].astype(np.int64), arrays["probability"].astype(np.float64))


def class_accuracy(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `class`, `accuracy`, `low`, `high`, `images`, `seeds`: a row per space and class of the
    data set.

    `accuracy` is the mean over the seeds. The Wilson interval is that of one test set of `images` images of
    the class: seeds see the same images, so that more of them do not make it narrower.
    """
    names = class_names(tables)
    parts = [_class_accuracy(space, runs, names) for space, runs in read_predictions(tables).items()]
    columns = ["space", "class", "accuracy", "low", "high", "images", "seeds"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def class_names(tables: StudyTables) -> list[str]:
    """Return the names of the classes, in the order of their numbers."""
    return [str(name) for name in tables.plan["dataset"].get("classes") or ()]


def _class_accuracy(space: str, runs: list[Predictions], names: list[str]) -> pd.DataFrame:
    images = np.bincount(runs[0].label, minlength=len(names)).astype(float)
    hits = [np.bincount(run.label[run.predicted == run.label], minlength=len(names)) for run in runs]
    correct = np.mean(hits, axis=0)
    low, high = wilson(correct, images)
    with np.errstate(invalid="ignore"):
        accuracy = correct / images
    columns = {
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "images": images.astype(int),
        "seeds": len(runs),
    }
    return pd.DataFrame({"space": space, "class": names, **columns})


def confusion(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `truth`, `prediction`, `count`, `share`, `seeds`: counts summed over the winner's final
    runs.

    `share` is the part of the images of that true class; missing where there are none.
    """
    names = class_names(tables)
    parts = [_confusion(space, runs, names) for space, runs in read_predictions(tables).items()]
    columns = ["space", "truth", "prediction", "count", "share", "seeds"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _confusion(space: str, runs: list[Predictions], names: list[str]) -> pd.DataFrame:
    size = len(names)
    cells = np.concatenate([run.label * size + run.predicted for run in runs])
    counts = np.bincount(cells, minlength=size * size).reshape(size, size)  # (truth, prediction)
    with np.errstate(invalid="ignore"):
        share = counts / counts.sum(axis=1, keepdims=True)
    columns = {"truth": np.repeat(names, size), "prediction": np.tile(names, size)}
    return pd.DataFrame(
        {"space": space, **columns, "count": counts.ravel(), "share": share.ravel(), "seeds": len(runs)}
    )


def examples(tables: StudyTables) -> pd.DataFrame:
    """Return stored test images with what the winner's first final run says, the most confident mistakes
    last.

    `space`, `kind` (`correct` or `mistake`), `index` in the test split, `truth`, `prediction`, `confidence`,
    `image` (H, W, C) uint8. The correct ones are the first stored of each class in turn, at most 8 of each
    kind.
    """
    path = tables.run_dir / "final" / "test_images.npz"
    columns = ["space", "kind", "index", "truth", "prediction", "confidence", "image"]
    runs = read_predictions(tables)
    if not path.is_file() or not runs:
        return pd.DataFrame(columns=columns)
    with np.load(path) as arrays:
        index, image = arrays["index"], arrays["image"]
    parts = [_examples(space, run[0], index, image, class_names(tables)) for space, run in runs.items()]
    return pd.DataFrame([row for part in parts for row in part], columns=columns)


def _examples(
    space: str, run: Predictions, index: npt.NDArray[Any], image: npt.NDArray[Any], names: list[str]
) -> list[dict[str, Any]]:
    truth, said = run.label[index], run.predicted[index]
    confidence = run.probability[index].max(axis=1)
    right, wrong = np.flatnonzero(truth == said), np.flatnonzero(truth != said)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    turn = pd.Series(truth[right]).groupby(truth[right]).cumcount().to_numpy()
    right = right[np.lexsort((truth[right], turn))]
    return [
        {
            "space": space,
            "kind": kind,
            "index": int(index[k]),
            "truth": names[truth[k]],
            "prediction": names[said[k]],
            "confidence": float(confidence[k]),
            "image": image[k],
        }
        for kind, chosen in (("correct", right), ("mistake", wrong))
        for k in chosen[:EXAMPLES]
    ]
