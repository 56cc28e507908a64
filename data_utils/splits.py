"""Training and validation: what a search trains on and what it is judged by. The test split is not made here."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_utils.images import Examples, Images, Pairs, checksum, chunks, pairs_checksum

VALIDATION_FRACTION: Final = 0.2


@dataclass(frozen=True)
class Subset:
    """The images at the positions `index` (n,) of `images`. They are not copied."""

    images: Examples
    index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels (n,)."""
        assert isinstance(self.images, Images)
        return self.images.labels[self.index]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image, (C, H, W)."""
        _, height, width, channels = self.images.images.shape
        return channels, height, width

    def sha256(self) -> str:
        """Checksum, equal to that of the same images as an array of their own."""
        if isinstance(self.images, Pairs):
            return pairs_checksum(self.images, self.index)
        return checksum(chunks(self.images.images, self.index), self.labels)


@dataclass(frozen=True)
class SearchData:
    """All that a search may see: one array of images, which of them train and which judge. `mirror`: see `Dataset`."""

    images: Examples
    train_index: NDArray[np.int64]
    validation_index: NDArray[np.int64]
    mirror: bool = False

    @property
    def train(self) -> Subset:
        """What networks are trained on."""
        return Subset(self.images, self.train_index)

    @property
    def validation(self) -> Subset:
        """What trials are judged by."""
        return Subset(self.images, self.validation_index)

    def channel_statistics(self) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation per channel of the training images, in units of [0, 1].

        From the numbers of pixels of each value: exact, and in whole numbers until the end.
        """
        counts = np.zeros((self.train.image_shape[0], 256), np.int64)
        for pixels in chunks(self.images.images, self.train_index):
            for channel, count in enumerate(counts):
                count += np.bincount(pixels[..., channel].ravel(), minlength=256)
        share = counts / counts.sum(axis=1, keepdims=True)
        values = np.arange(256) / 255
        mean = share @ values
        deviation = np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))
        return mean.tolist(), np.maximum(deviation, 1e-6).tolist()  # a constant channel stays finite


def split(everything: Examples, seed: int) -> SearchData:
    """Take a validation split of 20 % out of `everything`: drawn with `seed`, by class where there are classes."""
    if isinstance(everything, Pairs):
        order = np.random.default_rng(seed).permutation(len(everything))
        drawn = max(1, round(VALIDATION_FRACTION * len(order)))
        return SearchData(everything, np.sort(order[drawn:]), np.sort(order[:drawn]))
    return SearchData(everything, *stratified(everything.labels, VALIDATION_FRACTION, seed))


def fewer(everything: Examples, count: int) -> Examples:
    """Return `count` of the images, drawn by class where there are classes: the same ones in every study.

    Raises `ValueError` for so few that the validation split could have no image of each class, or of two classes.
    """
    if isinstance(everything, Pairs):
        return everything.take(np.sort(np.random.default_rng(0).permutation(len(everything))[:count]))
    classes = len(np.unique(everything.labels))
    least = classes * math.ceil(1 / VALIDATION_FRACTION)
    if count < least:
        raise ValueError(
            f"{classes} classes need at least {least} images: {100 * VALIDATION_FRACTION:g} % of them validate"
        )
    _, drawn = stratified(everything.labels, count, seed=0)
    return everything.take(drawn)


def stratified(labels: NDArray[np.int64], fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions that stay and the `fraction`, or number, drawn by class with `seed`, both in order.

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
