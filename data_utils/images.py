"""Images with their labels, or with the images that they shall become, as arrays; a data set made of them."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Task = Literal["classification", "restoration"]
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

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels."""
        return self.images.nbytes

    def take(self, index: NDArray[np.int64]) -> "Images":
        """Return the images at `index`, copied."""
        return Images(np.ascontiguousarray(self.images[index]), self.labels[index])

    def sha256(self) -> str:
        """Checksum of pixels, shape and labels: equal data, equal checksum, on every machine."""
        step = chunk_length(self.images)
        return checksum((self.images[start : start + step] for start in range(0, len(self), step)), self.labels)


@dataclass(frozen=True)
class Pairs:
    """Images (N, H, W, C) uint8 with their `targets` (N, H, W, C) uint8: what each of them shall become."""

    images: NDArray[np.uint8]
    targets: NDArray[np.uint8]

    def __post_init__(self) -> None:
        for side in ("images", "targets"):
            object.__setattr__(self, side, np.asarray(getattr(self, side)))  # as for `Images`
        assert self.images.shape == self.targets.shape

    def __len__(self) -> int:
        return len(self.images)

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels of both sides."""
        return self.images.nbytes + self.targets.nbytes

    def take(self, index: NDArray[np.int64]) -> "Pairs":
        """Return the pairs at `index`, copied."""
        return Pairs(*(np.ascontiguousarray(side[index]) for side in (self.images, self.targets)))

    def sha256(self) -> str:
        """Checksum of both sides: equal data, equal checksum, on every machine."""
        return pairs_checksum(self, np.arange(len(self)))


Examples = Images | Pairs


def pairs_checksum(pairs: Pairs, index: NDArray[np.int64]) -> str:
    """Return the checksum of the pairs at `index` (n,)."""
    sides = (checksum(chunks(side, index), index * 0) for side in (pairs.images, pairs.targets))
    return hashlib.sha256(" ".join(sides).encode()).hexdigest()


def chunks(images: NDArray[np.uint8], index: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Give the images at `index` bit by bit, (some, H, W, C), in order."""
    step = chunk_length(images)
    for start in range(0, len(index), step):
        yield images[index[start : start + step]]


def chunk_length(images: NDArray[np.uint8]) -> int:
    """Return how many of `images` are looked at at a time."""
    return max(1, CHUNK_BYTES * len(images) // max(1, images.nbytes))


def checksum(parts: Iterable[NDArray[np.uint8]], labels: NDArray[np.int64]) -> str:
    """Return the checksum of images, given bit by bit (some, H, W, C), and of their labels (N,).

    It is taken with the channels first, as studies have always written it down.
    """
    digest = hashlib.sha256()
    for start, pixels in enumerate(parts):
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
    """What a search may see (`train`) and what it may not (`test`).

    `classes` is empty where the answers are images. `mirror`: whether a mirrored image keeps its class, as that of a
    frog does and that of a digit does not. `skipped`: files that were found but could not be used.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    train: Examples
    test: Examples
    mirror: bool
    skipped: tuple[Skipped, ...] = ()

    @property
    def task(self) -> Task:
        """Whether the answer to an image is its class or another image."""
        return "restoration" if isinstance(self.train, Pairs) else "classification"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image, (C, H, W)."""
        _, height, width, channels = self.train.images.shape
        return channels, height, width
