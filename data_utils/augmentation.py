"""Augmentation of training images, a batch at a time on its device: crop, flip, cutout, colour, mixup, CutMix.

Every image has random numbers of its own; those of a whole epoch are drawn on the CPU and copied to the device once, so
that no step waits for either. (The transforms of torchvision draw one set of numbers for a whole batch.)

`AUGMENTATIONS` and `MIXES` are the lists. Magnitudes follow `strength`: 0 changes nothing, 0.5 is the literature's.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

LUMA: Final = (0.299, 0.587, 0.114)  # what red, green and blue add to grey: ITU-R BT.601


def rows(images: Tensor) -> Tensor:
    """Show images (B, C, H, W) as they lie in memory, (B, H, W * C): a row of pixels after the other."""
    return images.permute(0, 2, 3, 1).flatten(2)


def of_rows(pixels: Tensor, channels: int) -> Tensor:
    """Show rows of pixels (B, H, W * C) as images (B, C, H, W), channels last in memory."""
    return pixels.view(*pixels.shape[:2], -1, channels).permute(0, 3, 1, 2)


class Operation(Protocol):
    """A change of images (B, C, H, W) uint8, channels last in memory, by the rows of `drawn`, one for each image."""

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw the numbers of `count` images."""

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Return the changed images, uint8."""


@dataclass(frozen=True)
class Crop:
    """Pad with black and cut the old size out again, anywhere: He et al. 2016, section 4.2."""

    padding: int

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """First row and column (count, 2) of the part that is cut out."""
        return torch.randint(2 * self.padding + 1, (count, 2), generator=generator)

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Look every row up in a table of all runs of W pixels that the padded memory holds: whole runs are copied."""
        batch, channels, height, width = images.shape
        padded = F.pad(rows(images), (channels * self.padding,) * 2 + (self.padding,) * 2)  # (B, H', W' * C)
        size = width * channels
        runs = padded.as_strided((padded.numel() - size + 1, size), (1, 1))
        row, column = drawn.view(batch, 2, 1).unbind(1)
        first = torch.arange(batch, device=images.device).view(batch, 1) * padded.shape[1]
        line = first + row + torch.arange(height, device=images.device)  # (B, H)
        found = runs.index_select(0, (line * padded.shape[2] + column * channels).flatten())
        return of_rows(found.view(batch, height, size), channels)


@dataclass(frozen=True)
class Flip:
    """Mirror left and right, with `probability`."""

    probability: float

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Whether to mirror, (count,) bool."""
        return torch.rand(count, generator=generator) < self.probability

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        seen = images.permute(0, 2, 3, 1)  # as it lies in memory
        both = torch.cat((seen, seen.flip(2)))
        chosen = torch.arange(len(images), device=images.device) + len(images) * drawn
        return both.index_select(0, chosen).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Cutout:
    """Paint a square in the training images' mean colour, centred on any pixel: DeVries & Taylor 2017.

    Near a border a part of it lies outside. `mean` is (C,) uint8.
    """

    side: int
    size: Sequence[int]
    mean: Tensor

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Row and column (count, 2) of the centre."""
        return torch.stack([torch.randint(n, (count,), generator=generator) for n in self.size], dim=1)

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        first = drawn - self.side // 2  # (B, 2)
        above, beside = (self._outside(first[:, axis], axis) for axis in (0, 1))  # (B, H), (B, W)
        channels, width = images.shape[1], images.shape[3]
        outside = above[:, :, None] | beside.repeat_interleave(channels, dim=1)[:, None]  # (B, H, W * C)
        mean = self.mean.repeat(width)
        # Modulo 256, exact, and faster than torch.where.
        return of_rows((rows(images) - mean).mul_(outside).add_(mean), channels)

    def _outside(self, first: Tensor, axis: int) -> Tensor:
        distance = torch.arange(self.size[axis], device=first.device) - first[:, None]
        return (distance < 0) | (distance >= self.side)


@dataclass(frozen=True)
class Colour:
    """Change brightness, contrast and saturation by factors within 1 +- `jitter`; saturation of 3 channels alone.

    What torchvision's ColorJitter does in this order, but cut off at black and white once, at the end: until there the
    three are one linear map of a pixel, its grey and the image's mean grey.
    """

    jitter: float

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Factors (count, 3) of brightness, contrast, saturation."""
        return 1 + self.jitter * (2 * torch.rand(count, 3, generator=generator) - 1)

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        batch, channels, height, width = images.shape
        brightness, contrast, saturation = drawn.view(batch, 3, 1, 1).unbind(1)  # (B, 1, 1)
        weights = LUMA if channels == 3 else (1 / channels,) * channels
        luma = torch.cat([torch.full((1,), weight, device=images.device) for weight in weights])  # no copy to wait for
        pixels = rows(images).flatten(1).to(torch.float32)  # (B, H * W * C)
        mean_grey = (pixels @ (luma.repeat(height * width) / (height * width))).view(batch, 1, 1)
        pixels = pixels.view(batch, height * width, channels)
        added = brightness * (1 - contrast) * mean_grey + 0.5  # 0.5: uint8 cuts, this rounds
        if channels == 3:
            grey = luma.view(3, 1).expand(3, 3)  # what gives every channel the grey of the pixel
            pixels = pixels.bmm((1 - saturation) * grey + saturation * torch.eye(3, device=images.device))
        changed = pixels.mul_(brightness * contrast).add_(added).clamp_(0, 255).to(torch.uint8)
        return of_rows(changed.view(batch, height, width * channels), channels)


def mixup(images: Tensor, share: float, _centre: Sequence[float]) -> tuple[Tensor, float]:
    """Keep `share` of each image (B, C, H, W) float, in place; the rest is the one before it: Zhang et al. 2018.

    The batch is in random order, so the one before may be any. Returns the images and the share.
    """
    return images.lerp_(images.roll(1, 0), 1 - share), share


def cutmix(images: Tensor, share: float, centre: Sequence[float]) -> tuple[Tensor, float]:
    """Replace a box of each image (B, C, H, W), in place, by that of the one before it: Yun et al. 2019.

    The box lies around `centre`, in fractions of height and width, and is cut off at the border. Returns the images and
    the share of pixels that they kept.
    """
    size = images.shape[2:]
    spans = []
    for middle, pixels in zip(centre, size, strict=True):
        half = pixels * math.sqrt(1 - share) / 2
        spans.append(slice(max(0, round(middle * pixels - half)), min(pixels, round(middle * pixels + half))))
    box = images[:, :, spans[0], spans[1]]
    box.copy_(box.roll(1, 0))
    return images, 1 - box.shape[2:].numel() / size.numel()


def mixed_labels(labels: Tensor, share: float, classes: int) -> Tensor:
    """Labels (B,) as probabilities (B, classes): `share` for the image's own, the rest for that of the one before it.

    The cross-entropy against them is share x that of the one label + (1 - share) x that of the other.
    """
    own = F.one_hot(labels, classes).to(torch.float32)
    return own.lerp(own.roll(1, 0), 1 - share)


def heaviest(labels: Tensor) -> Tensor:
    """The labels (B,): as they are, or of mixed ones (B, classes) those that weigh most."""
    return labels if labels.ndim == 1 else labels.argmax(dim=1)


@dataclass(frozen=True)
class Augmentation:
    """What happens to training images. `mirror`: whether a mirrored one keeps its class; `classes`: how many there are.

    `mix_alpha` is that of Beta(alpha, alpha), from which each batch draws the share that an image keeps. Raises
    `ValueError` for unknown names and a strength outside 0 to 1.
    """

    name: str
    strength: float
    mirror: bool
    mix: str
    mix_alpha: float
    classes: int

    def __post_init__(self) -> None:
        for kind, name, valid in (("augmentation", self.name, AUGMENTATIONS), ("mix", self.mix, ("none", *MIXES))):
            if name not in valid:
                raise ValueError(f"Unknown {kind} {name!r}. Valid: {', '.join(valid)}.")
        if not 0 <= self.strength <= 1:
            raise ValueError(f"The strength of augmentation is {self.strength}, but must lie in 0 to 1.")

    def draw(self, count: int, size: Sequence[int], mean: Tensor, generator: torch.Generator) -> "Epoch":
        """Draw an epoch of `count` images of `size` (H, W). `mean` is their colour (C,), uint8 on the device."""
        operations = AUGMENTATIONS[self.name](self, size, mean)
        drawn = [(operation, operation.draw(count, generator).to(mean.device)) for operation in operations]
        seed = 0 if self.mix == "none" else int(torch.randint(2**62, (), generator=generator))
        return Epoch(self, drawn, np.random.default_rng(seed))


@dataclass(frozen=True)
class Epoch:
    """An augmentation with the random numbers of one epoch."""

    augmentation: Augmentation
    drawn: Sequence[tuple[Operation, Tensor]]
    random: np.random.Generator

    def change(self, images: Tensor, part: slice) -> Tensor:
        """Return images (B, C, H, W) uint8, the `part` of the epoch, each changed by its own numbers."""
        for operation, drawn in self.drawn:
            images = operation(images, drawn[part])
        return images

    def mix(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mix float images (B, C, H, W), in place, and labels (B,): these become probabilities (B, classes)."""
        asked = self.augmentation
        if asked.mix == "none":
            return images, labels
        share = self.random.beta(asked.mix_alpha, asked.mix_alpha)
        images, share = MIXES[asked.mix](images, share, self.random.random(2).tolist())
        return images, mixed_labels(labels, share, asked.classes)


def _none(_asked: Augmentation, _size: Sequence[int], _mean: Tensor) -> tuple[Operation, ...]:
    return ()


def _basic(asked: Augmentation, size: Sequence[int], _mean: Tensor) -> tuple[Operation, ...]:
    crop = Crop(round(asked.strength * min(size) / 4))
    return (crop, Flip(min(asked.strength, 0.5))) if asked.mirror else (crop,)


def _cutout(asked: Augmentation, size: Sequence[int], mean: Tensor) -> tuple[Operation, ...]:
    return (*_basic(asked, size, mean), Cutout(round(asked.strength * min(size)), size, mean))


def _colour(asked: Augmentation, size: Sequence[int], mean: Tensor) -> tuple[Operation, ...]:
    return (*_basic(asked, size, mean), Colour(0.8 * asked.strength))


AUGMENTATIONS: Final[dict[str, Callable[[Augmentation, Sequence[int], Tensor], tuple[Operation, ...]]]] = {
    "none": _none,
    "basic": _basic,
    "cutout": _cutout,
    "colour": _colour,
}
MIXES: Final[dict[str, Callable[[Tensor, float, Sequence[float]], tuple[Tensor, float]]]] = {
    "mixup": mixup,
    "cutmix": cutmix,
}
NONE: Final = Augmentation("none", 0.0, False, "none", 1.0, 0)
