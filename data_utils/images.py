"""Images with their labels as arrays, and a data set made of them."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES: Final = 2**22  # of pixels that are copied at a time; the images may be a file larger than memory


@dataclass(frozen=True)
class Images:
    """Images (N, H, W, C) uint8 with their labels (N,) int64.

    The channels last, as image files have them and as convolutions are fastest with (torch's channels_last).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        # A plain array on the memory of a memmap: pickle would copy a memmap, as it does every subclass.
        object.__setattr__(self, "images", np.asarray(self.images))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.int64]) -> "Images":
        """Return the images at `index`, copied."""
        return Images(np.ascontiguousarray(self.images[index]), self.labels[index])

    def sha256(self) -> str:
        """Checksum of pixels, shape and labels: equal data, equal checksum, on every machine."""
        step = chunk_length(self.images)
        return checksum((self.images[start : start + step] for start in range(0, len(self), step)), self.labels)


def chunk_length(images: NDArray[np.uint8]) -> int:
    """Return how many of `images` are looked at at a time."""
    return max(1, CHUNK_BYTES * len(images) // max(1, images.nbytes))


def checksum(chunks: Iterable[NDArray[np.uint8]], labels: NDArray[np.int64]) -> str:
    """Return the checksum of images, given bit by bit (some, H, W, C), and of their labels (N,).

    It is taken with the channels first, as studies have always written it down.
    """
    digest = hashlib.sha256()
    for start, pixels in enumerate(chunks):
        if start == 0:
            height, width, channels = pixels.shape[1:]
            digest.update(repr((len(labels), channels, height, width)).encode())
        digest.update(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).data)
    digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
    return digest.hexdigest()


class Skipped(NamedTuple):
    """A file that is not in the data set, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """A classification data set: what a search may see (`train`) and what it may not (`test`).

    `mirror`: whether a mirrored image keeps its class, as that of a frog does and that of a digit does not. `skipped`:
    files that were found but could not be used.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    train: Images
    test: Images
    mirror: bool
    skipped: tuple[Skipped, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image, (C, H, W)."""
        _, height, width, channels = self.train.images.shape
        return channels, height, width
