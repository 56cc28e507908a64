"""Images to images: mean squared or absolute error in units of [0, 1], PSNR in dB, SSIM beside it on the test split.

PSNR is one line of torch, on the device, once an epoch; tests hold it to scikit-image's. SSIM is scikit-image's own,
with the window of Wang et al. 2004, once a study.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from data_utils.augmentation import Augmentation
from data_utils.batches import PairedBatches
from study.config import Config
from study.metric import LEAST_ERROR
from study.precision import forward
from study.storage import save_arrays

if TYPE_CHECKING:
    from study.trial import TrialData

SHOWN_IMAGES: Final = 24  # test pairs kept for the report
WINDOW: Final = 11  # pixels that SSIM looks at, along each side

LOSSES: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {"l1": F.l1_loss, "mse": F.mse_loss}


class Objective:
    """What a training step needs, by the hyperparameters of a trial."""

    def __init__(self, config: Config, data: "TrialData") -> None:
        if config["loss"] not in LOSSES:
            raise ValueError(f"loss is {config['loss']!r}. Valid: {', '.join(LOSSES)}.")
        assert isinstance(data.validation, PairedBatches)
        self._loss = LOSSES[config["loss"]]
        self._restored = data.validation.restored
        strength = 0.0 if config["augmentation"] == "none" else config["strength"]
        self.augmentation = Augmentation(config["augmentation"], strength, data.mirror, "none", 1.0, 0)

    def loss(self, answers: Tensor, targets: Tensor) -> Tensor:
        """Error of what the network answers against targets, both (B, C, H, W)."""
        return self._loss(self._restored(answers), targets)

    def score(self, answers: Tensor, targets: Tensor) -> Tensor:
        """Mean PSNR of a batch."""
        return psnr(self._restored(answers), targets).mean()


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each image (B, C, H, W) in dB, (B,). Both are in units of [0, 1].

    What lies outside of black and white is cut off, as in a file. Equal images have 100 dB.
    """
    error = (images.clamp(0, 1) - targets).square().mean(dim=(1, 2, 3))
    return -10 * error.clamp_min(LEAST_ERROR).log10()


@torch.inference_mode()
def restore(model: nn.Module, batches: PairedBatches, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Give what the network makes of the images and what they shall be, batch by batch, in units of [0, 1]."""
    model.eval()
    for images, targets in batches.in_order():
        yield batches.restored(forward(model, images, dtype)), targets


def evaluate(model: nn.Module, batches: PairedBatches, dtype: torch.dtype) -> tuple[float, float]:
    """Return mean squared error and mean PSNR over every image, whatever the loss of the training was."""
    parts = [(_errors(images, targets), psnr(images, targets)) for images, targets in restore(model, batches, dtype)]
    both = torch.stack([torch.cat(part).mean() for part in zip(*parts, strict=True)]).tolist()
    return both[0], both[1]


def _errors(images: Tensor, targets: Tensor) -> Tensor:
    return (images - targets).square().mean(dim=(1, 2, 3))


def examine(model: nn.Module, test_split: PairedBatches, dtype: torch.dtype, folder: Path) -> tuple[float, float]:
    """Return mean squared error and PSNR on the test split; keep PSNR and SSIM of each image in `folder`.

    And the answers to those that the report shows.
    """
    errors: list[Tensor] = []
    scores: list[Tensor] = []
    similar: list[float] = []
    shown: list[NDArray[np.uint8]] = []
    wanted = set(shown_images(len(test_split)).tolist())
    for images, targets in restore(model, test_split, dtype):
        errors.append(_errors(images, targets))
        scores.append(psnr(images, targets))
        first = len(similar)
        pixels = _pixels(images)
        similar += ssim(pixels, _pixels(targets))
        shown += [image for place, image in enumerate(pixels, first) if place in wanted]
    every = torch.cat(scores)
    arrays = {"psnr": every.cpu().numpy(), "ssim": np.array(similar), "restored": np.stack(shown)}
    save_arrays(folder / "predictions.npz", **arrays)
    return torch.cat(errors).mean().item(), every.mean().item()


def keep_images(folder: Path, test_split: PairedBatches) -> None:
    """Keep some pairs in a fixed random choice, and PSNR and SSIM of all images as they are: what doing nothing has."""
    scores: list[float] = []
    similar: list[float] = []
    every, size = torch.arange(len(test_split)), test_split.evaluation_batch
    for images, targets in zip(test_split.pixels(every, size), test_split.targets(every, size), strict=True):
        scores += psnr(images / 255, targets / 255).tolist()
        similar += ssim(_array(images), _array(targets))
    index = shown_images(len(test_split))
    [images] = test_split.pixels(torch.from_numpy(index), len(index))
    [targets] = test_split.targets(torch.from_numpy(index), len(index))
    untouched = {"psnr": np.array(scores), "ssim": np.array(similar)}
    kept = {"index": index, "image": _array(images), "target": _array(targets)}
    save_arrays(folder / "test_images.npz", **kept, **untouched)


def shown_images(count: int) -> NDArray[np.int64]:
    """Return the positions of the test images that the report may show, the same for every run."""
    return np.sort(np.random.default_rng(0).permutation(count)[:SHOWN_IMAGES])


def ssim(images: NDArray[np.uint8], targets: NDArray[np.uint8]) -> list[float]:
    """Return the structural similarity of each of the images (B, H, W, C); NaN where they are smaller than its window.

    Wang et al. 2004: Gaussian window of deviation 1.5, mean over the channels.
    """
    from skimage.metrics import structural_similarity  # here: half a second that no other job needs

    if min(images.shape[1:3]) < WINDOW:
        return [float("nan")] * len(images)
    window: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return [
        float(structural_similarity(image, target, data_range=255, channel_axis=-1, **window))
        for image, target in zip(images, targets, strict=True)
    ]


def _pixels(images: Tensor) -> NDArray[np.uint8]:
    """Return images (B, C, H, W) in units of [0, 1] as a file has them, (B, H, W, C)."""
    return _array((images.clamp(0, 1) * 255).round().to(torch.uint8))


def _array(images: Tensor) -> NDArray[np.uint8]:
    array: NDArray[np.uint8] = images.permute(0, 2, 3, 1).cpu().numpy()
    return array
