"""Batches on the device, gathered from images that lie there once as uint8, and normalised a batch at a time."""

import math
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from data_utils.augmentation import NONE, Augmentation, of_rows, rows
from data_utils.images import Images
from data_utils.placement import Source
from data_utils.splits import Subset

TOGETHER: Final = ("none", "basic")  # augmentations that an image and its target bear together
EVALUATION_BATCH: Final = 1024  # images at most
EVALUATION_BYTES: Final = 2**24  # of float32 pixels at most


class Batches:
    """Images of one split; gives batches (B, C, H, W) float32 channels_last and labels (B,) on `device`.

    `source` holds the images of which `split` is a part. `mean` and `deviation` are per channel, in units of [0, 1].
    `PairedBatches` gives images in place of labels.
    """

    labels: Tensor  # (N,)

    def __init__(
        self, split: Subset, source: Source, mean: list[float], deviation: list[float], device: torch.device
    ) -> None:
        self.image_shape = split.image_shape
        self.mean, self.deviation = mean, deviation
        if isinstance(split.images, Images):
            self.labels = torch.tensor(split.labels, device=device)
        self._source = source
        self._positions = torch.tensor(split.index)  # (N,), in `source`
        self._device = device
        scale = 1 / (255 * torch.tensor(deviation, device=device))  # (C,)
        shift = torch.tensor(mean, device=device) / torch.tensor(deviation, device=device)
        self._mean_colour = (shift / scale).round().to(torch.uint8)  # (C,), what normalisation makes zero
        # For a row of pixels, since arithmetic on the three channels of one pixel at a time is slow.
        self._scale, self._shift = (values.repeat(self.image_shape[2]) for values in (scale, shift))  # (W * C,)

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def evaluation_batch(self) -> int:
        """Images in a batch of `in_order`: few enough that large ones do not fill the memory."""
        fitting = EVALUATION_BYTES // (4 * math.prod(self.image_shape))
        return min(len(self), EVALUATION_BATCH, max(1, fitting))

    def steps(self, batch_size: int) -> int:
        """Training steps in one epoch."""
        return max(1, len(self) // batch_size)

    def _order(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Draw the images of an epoch of whole batches: (steps * batch_size,)."""
        return torch.randperm(len(self), generator=generator)[: self.steps(batch_size) * batch_size]

    def shuffled(
        self, batch_size: int, generator: torch.Generator, augmentation: Augmentation = NONE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Give one epoch in random order, augmented. The last, smaller batch is left out; each epoch leaves out others.

        It would weigh its images more, and batch norm fails on a batch of one. Mixed labels are probabilities
        (B, classes).
        """
        order = self._order(batch_size, generator)
        labels = self.labels[order.to(self._device)]
        epoch = augmentation.draw(len(self), self.image_shape[1:], self._mean_colour, generator)
        for step, images in enumerate(self.pixels(order, batch_size)):
            part = slice(step * batch_size, (step + 1) * batch_size)
            yield epoch.mix(self._normalised(epoch.change(images, part)), labels[part])

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Give every image once, in large batches, for evaluation."""
        size, every = self.evaluation_batch, torch.arange(len(self))
        for images, labels in zip(self.pixels(every, size), torch.split(self.labels, size), strict=True):
            yield self._normalised(images), labels

    def pixels(self, order: Tensor, size: int) -> Iterator[Tensor]:
        """Give the images numbered `order` (n,) as they are, `size` at a time: (size, C, H, W) uint8."""
        return self._source.batches(self._positions[order], size)

    def _normalised(self, images: Tensor) -> Tensor:
        return of_rows(rows(images).to(torch.float32).mul_(self._scale).sub_(self._shift), images.shape[1])


class PairedBatches(Batches):
    """Images of one split with the images that they shall become: two batches (B, C, H, W) float32.

    The first is normalised as in `Batches`; targets are in units of [0, 1], and `restored` brings what a network
    answers there. `targets` holds them as `source` holds the images. Both are changed together, as one image with twice
    the channels, so an augmentation may move pixels, and nothing else: `TOGETHER` names those.
    """

    def __init__(
        self,
        split: Subset,
        source: Source,
        targets: Source,
        mean: list[float],
        deviation: list[float],
        device: torch.device,
    ) -> None:
        super().__init__(split, source, mean, deviation, device)
        self._targets = targets

    def shuffled(
        self, batch_size: int, generator: torch.Generator, augmentation: Augmentation = NONE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Give one epoch in random order, augmented, as `Batches.shuffled` does."""
        if augmentation.name not in TOGETHER:
            valid = ", ".join(TOGETHER)
            raise ValueError(f"augmentation is {augmentation.name!r}, but of images with a target may be: {valid}.")
        order = self._order(batch_size, generator)
        epoch = augmentation.draw(len(self), self.image_shape[1:], self._mean_colour.repeat(2), generator)
        for step, both in enumerate(self._both(order, batch_size)):
            part = slice(step * batch_size, (step + 1) * batch_size)
            yield self._apart(epoch.change(both, part))

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Give every pair once, in large batches, for evaluation."""
        yield from map(self._apart, self._both(torch.arange(len(self)), self.evaluation_batch))

    def targets(self, order: Tensor, size: int) -> Iterator[Tensor]:
        """Give the targets numbered `order` (n,) as they are, `size` at a time: (size, C, H, W) uint8."""
        return self._targets.batches(self._positions[order], size)

    def restored(self, answers: Tensor) -> Tensor:
        """Return what a network answers (B, C, H, W), which is normalised as its input is, in units of [0, 1]."""
        # Of a row of pixels: scale is 1 / (255 deviation), shift is mean / deviation.
        return of_rows((rows(answers) + self._shift) / (255 * self._scale), answers.shape[1])

    def _both(self, order: Tensor, size: int) -> Iterator[Tensor]:
        """Give images and targets as one, (size, 2 C, H, W) uint8, channels last in memory."""
        for pair in zip(self.pixels(order, size), self.targets(order, size), strict=True):
            yield torch.cat(pair, dim=1).contiguous(memory_format=torch.channels_last)

    def _apart(self, both: Tensor) -> tuple[Tensor, Tensor]:
        images, targets = (part.contiguous(memory_format=torch.channels_last) for part in both.chunk(2, dim=1))
        return self._normalised(images), targets.to(torch.float32) / 255
