"""Images with their labels as arrays, and a data set made of them."""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Images:
    """Images (N, C, H, W) uint8 with their labels (N,) int64."""

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
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
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
        _, channels, height, width = self.train.images.shape
        return channels, height, width
