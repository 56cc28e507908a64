"""Hazy photographs with the clear ones, made from photographs that ship with scikit-learn and scikit-image.

Atmospheric scattering: I = J t + A (1 - t), where J is the clear image, t = exp(-beta d) what the air lets through from
the depth d, and A the colour of the haze (Koschmieder 1924; He, Sun & Tang 2009). The depth of a photograph is not
known, so it is made up: further away at the top, with smooth hills. Everything is drawn with a fixed seed.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_utils.images import Dataset, Pairs
from data_utils.request import Request

REDUCTION: Final = 2  # of both sides of a photograph, so that a crop shows more than a piece of sky
SIDE: Final = 32  # pixels of a crop; photographs are cut into crops that do not overlap
WAVES: Final = 3  # of the depth, along each side
BETA: Final = (0.4, 1.6)  # how thick the haze is
LIGHT: Final = (0.8, 1.0)  # how bright
TINT: Final = 0.04  # how far its three colours may be apart from that
PHOTOGRAPHS: Final = ("china", "flower", "astronaut", "chelsea", "coffee", "motorcycle")


def load_hazy(request: Request) -> Dataset:
    """Return crops of the photographs with haze. The test crops are the last columns of each photograph.

    So no pixel of the test is in training or validation, but all know the same six photographs.
    """
    parts = [_tiles(photograph) for photograph in _photographs()]  # (rows, columns, SIDE, SIDE, 3) each
    kept = [part.shape[1] - request.last(part.shape[1]) for part in parts]
    train = _joined([part[:, :columns] for part, columns in zip(parts, kept, strict=True)])
    test = _joined([part[:, columns:] for part, columns in zip(parts, kept, strict=True)])
    random = np.random.default_rng(0)
    return Dataset(
        name="hazy",
        source=f"{', '.join(PHOTOGRAPHS)} of scikit-learn and scikit-image, in crops, with haze made by the scattering "
        f"model; test: the right {100 * request.fraction:g} % of each photograph",
        classes=(),
        train=Pairs(with_haze(train, random), train),
        test=Pairs(with_haze(test, random), test),
        mirror=True,
    )


def _photographs() -> list[NDArray[np.uint8]]:
    from skimage import data  # here: what only this data set needs
    from sklearn.datasets import load_sample_image

    of_sklearn = [load_sample_image(f"{name}.jpg") for name in ("china", "flower")]
    of_skimage = [data.astronaut(), data.chelsea(), data.coffee(), data.stereo_motorcycle()[0]]
    return [np.asarray(Image.fromarray(photograph).reduce(REDUCTION)) for photograph in (*of_sklearn, *of_skimage)]


def _tiles(photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut (H, W, 3) into (H // SIDE, W // SIDE, SIDE, SIDE, 3); what is left over at the right and below is lost."""
    rows, columns = (length // SIDE for length in photograph.shape[:2])
    cut = photograph[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE, 3)
    return cut.swapaxes(1, 2)


def _joined(parts: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.concatenate([part.reshape(-1, SIDE, SIDE, 3) for part in parts])


def with_haze(clear: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Return images (N, H, W, 3) uint8 with haze of their own each."""
    count, height, width, _ = clear.shape
    beta = random.uniform(*BETA, (count, 1, 1))
    through = np.exp(-beta * depths(count, (height, width), random))[..., None]  # (N, H, W, 1)
    light = random.uniform(*LIGHT, (count, 1, 1, 1)) + random.uniform(-TINT, TINT, (count, 1, 1, 3))
    hazy: NDArray[np.float64] = clear * through + 255 * light * (1 - through)
    return hazy.round().clip(0, 255).astype(np.uint8)


def depths(count: int, size: tuple[int, int], random: np.random.Generator) -> NDArray[np.float64]:
    """Return `count` depths (count, H, W) in [0, 1]: from near, below, to far, above, with smooth hills."""
    amplitudes = random.normal(0, 0.15, (count, WAVES, WAVES))
    down, across = (np.cos(np.pi * np.outer(np.arange(WAVES), (np.arange(n) + 0.5) / n)) for n in size)
    hills = np.einsum("nij,ih,jw->nhw", amplitudes, down, across)
    slope = 1 - (np.arange(size[0]) + 0.5) / size[0]  # (H,)
    depth: NDArray[np.float64] = 0.2 + 0.6 * slope[:, None] + hills
    return depth.clip(0, 1)
