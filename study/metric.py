"""What a study is scored by, as study.json keeps it: name, unit, direction, and the score of who has learnt nothing.

Plain numpy: the driver has no torch. `study/tasks/` computes the same scores of networks.
"""

from typing import Any, Final

import numpy as np

from data_utils.images import Dataset, Pairs, chunks
from data_utils.splits import SearchData, Subset

LEAST_ERROR: Final = 1e-10  # mean squared error of equal images: 100 dB, since infinity has no mean


def metric(dataset: Dataset, data: SearchData) -> dict[str, Any]:
    """Return the metric of the task of `dataset`.

    `chance` is the accuracy of guessing or, for restoration, the PSNR of the validation images left as they are.
    """
    if dataset.task == "restoration":
        return {"name": "PSNR", "unit": "dB", "direction": "maximize", "chance": untouched(data.validation)}
    return {"name": "accuracy", "unit": "fraction", "direction": "maximize", "chance": 1 / len(dataset.classes)}


def untouched(part: Subset) -> float:
    """Return the mean PSNR in dB of the images of `part` against their targets."""
    pairs = part.images
    assert isinstance(pairs, Pairs)
    errors = [
        np.mean(np.square(image.astype(np.float64) - target), axis=(1, 2, 3)) / 255**2
        for image, target in zip(chunks(pairs.images, part.index), chunks(pairs.targets, part.index), strict=True)
    ]
    return float(np.mean(-10 * np.log10(np.maximum(np.concatenate(errors), LEAST_ERROR))))
