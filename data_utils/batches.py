"""Batches on the device: the images lie there as uint8, loaded once, and are normalised a batch at a time."""

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from data_utils.augmentation import NONE, Augmentation
from data_utils.images import Images

EVALUATION_BATCH: Final = 1024


class Batches:
    """Images of one split on `device`; gives batches (B, C, H, W) float32 channels_last and labels (B,)."""

    def __init__(self, split: Images, mean: list[float], deviation: list[float], device: torch.device) -> None:
        self.images = torch.tensor(split.images, device=device)  # (N, C, H, W) uint8; a copy, Ray's is read-only
        self.labels = torch.tensor(split.labels, device=device)  # (N,)
        self._scale = (1 / (255 * torch.tensor(deviation, device=device))).view(1, -1, 1, 1)
        self._shift = (torch.tensor(mean, device=device) / torch.tensor(deviation, device=device)).view(1, -1, 1, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def steps(self, batch_size: int) -> int:
        """Training steps in one epoch."""
        return max(1, len(self) // batch_size)

    def shuffled(
        self, batch_size: int, generator: torch.Generator, augmentation: Augmentation = NONE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Give one epoch in random order, augmented. The last, smaller batch is left out; each epoch leaves out others.

        It would weigh its images more, and batch norm fails on a batch of one. Mixed labels are probabilities
        (B, classes).
        """
        order = torch.randperm(len(self), generator=generator).to(self.images.device)
        epoch = augmentation.draw(len(self), self.images.shape[2:], self._mean_colour(), generator)
        for step in range(self.steps(batch_size)):
            part = slice(step * batch_size, (step + 1) * batch_size)
            images = epoch.change(self.images[order[part]], part)
            yield epoch.mix(self._normalised(images), self.labels[order[part]])

    def _mean_colour(self) -> Tensor:
        """What normalisation makes zero, (C, 1, 1) uint8."""
        return (self._shift / self._scale)[0].round().to(torch.uint8)

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Give every image once, in large batches, for evaluation."""
        for start in range(0, len(self), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            yield self._normalised(self.images[part]), self.labels[part]

    def _normalised(self, images: Tensor) -> Tensor:
        floats = images.to(torch.float32, memory_format=torch.channels_last)
        return floats.mul_(self._scale).sub_(self._shift)
