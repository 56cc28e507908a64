"""Training and validation: what a search trains on and what it is judged by. The test split is not made here."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_utils.images import Images

VALIDATION_FRACTION: Final = 0.2


@dataclass(frozen=True)
class SearchData:
    """All that a search may see. Statistics for normalisation come from `train` alone. `mirror`: see `Dataset`."""

    train: Images
    validation: Images
    mirror: bool = False

    def channel_statistics(self) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation per channel of the training images, in units of [0, 1]."""
        pixels = self.train.images
        mean = pixels.mean(axis=(0, 2, 3), dtype=np.float64) / 255
        deviation = pixels.std(axis=(0, 2, 3), dtype=np.float64) / 255
        return mean.tolist(), np.maximum(deviation, 1e-6).tolist()  # a constant channel stays finite


def split(everything: Images, seed: int) -> SearchData:
    """Take a validation split of 20 % out of `everything`: stratified by class, drawn with `seed`."""
    train, validation = stratified(everything.labels, VALIDATION_FRACTION, seed)
    return SearchData(everything.take(train), everything.take(validation))


def stratified(labels: NDArray[np.int64], fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions that stay and the `fraction` that is drawn by class with `seed`, both in order.

    Raises `ValueError` for a class with fewer than 2 images.
    """
    from sklearn.model_selection import train_test_split  # here: a worker gets its splits made

    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2:
        raise ValueError(
            f"Class {classes[counts.argmin()]} has {counts.min()} image; a split needs at least 2 of each class. "
            f"Add images or leave the class out."
        )
    positions = np.arange(len(labels))
    stay, drawn = train_test_split(positions, test_size=fraction, random_state=seed, stratify=labels)
    return np.sort(stay), np.sort(drawn)
