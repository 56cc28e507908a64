"""What augmentation costs: each operation, an epoch of batches, the same an image at a time with torchvision, a LeNet.

    python -m benchmarks.augmentation [--batch 128] [--repeats 7] [--side 32] [--channels 3]

On the CPU, one thread. "alone" is one operation with the drawing of its numbers; "epoch" is all that `Batches.shuffled`
does, at strength 0.5. torchvision works on PIL images, one at a time, stacked, as a DataLoader without workers does. A
repeat is 4,096 images; prints images in a second of processor time, the median of the repeats with its range.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torchvision.transforms import v2

import models
from data_utils.augmentation import AUGMENTATIONS, MIXES, Augmentation, Colour, Crop, Cutout, Flip, Operation
from data_utils.batches import Batches
from data_utils.images import Images
from data_utils.placement import Resident
from data_utils.splits import Subset

COUNT = 4096
PLAIN = Augmentation("none", 0.5, mirror=True, mix="none", mix_alpha=1.0, classes=10)


def rates(work: Callable[[], object], repeats: int) -> list[float]:
    """Images in a second of processor time in each of `repeats` calls, after one that does not count."""
    found = []
    for _ in range(repeats + 1):
        begun = time.process_time()
        work()
        found.append(COUNT / (time.process_time() - begun))
    return found[1:]


def report(name: str, found: list[float]) -> float:
    """Print a line and return the median."""
    middle = statistics.median(found)
    print(f"{name:<34} {middle:12,.0f} images/s ({min(found):,.0f} to {max(found):,.0f})", flush=True)
    return middle


def operate(operation: Operation, images: torch.Tensor, batch: int, generator: torch.Generator) -> None:
    """Do one operation to all images, a batch at a time."""
    drawn = operation.draw(COUNT, generator)
    for start in range(0, COUNT, batch):
        operation(images[start : start + batch], drawn[start : start + batch])


def mix_all(name: str, images: torch.Tensor, batch: int) -> None:
    """Mix all images, a batch at a time."""
    for start in range(0, COUNT, batch):
        MIXES[name](images[start : start + batch], 0.4, (0.3, 0.6))


def epoch(batches: Batches, batch: int, asked: Augmentation, generator: torch.Generator) -> None:
    """Go through all batches and do nothing with them."""
    for _images, _labels in batches.shuffled(batch, generator, asked):
        pass


def one_by_one(transform: Callable[[Image.Image], torch.Tensor], pictures: list[Image.Image], batch: int) -> None:
    """What a DataLoader without workers does."""
    for start in range(0, COUNT, batch):
        torch.stack([transform(picture) for picture in pictures[start : start + batch]])


def torchvisions(side: int) -> dict[str, v2.Transform]:
    """Torchvision's transforms of the same kinds and magnitudes; its square erased lies inside the image."""
    crop, tensor = v2.RandomCrop(side, padding=side // 8), (v2.ToImage(), v2.ToDtype(torch.float32, scale=True))
    normalise, jitter = v2.Normalize([0.5], [0.25]), v2.ColorJitter(0.4, 0.4, 0.4)
    basic = (crop, v2.RandomHorizontalFlip())
    return {
        "none": v2.Compose([*tensor, normalise]),
        "basic": v2.Compose([*basic, *tensor, normalise]),
        "cutout": v2.Compose([*basic, *tensor, normalise, v2.RandomErasing(1.0, scale=(0.25, 0.25), ratio=(1, 1))]),
        "colour": v2.Compose([*basic, jitter, *tensor, normalise]),
    }


def lenet(batches: Batches, batch: int, generator: torch.Generator) -> None:
    """Forward and backward of LeNet over all batches."""
    channels, height, width = batches.image_shape
    layers = {"width": 6, "kernel": 5, "border": "padded", "pool": "avg", "norm": "none", "activation": "relu"}
    size = (height, width)
    network = models.build("lenet", in_channels=channels, num_classes=10, image_size=size, **layers)
    network = network.to(memory_format=torch.channels_last)
    for images, labels in batches.shuffled(batch, generator):
        F.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]


def operations_alone(asked: argparse.Namespace, pixels: torch.Tensor, generator: torch.Generator) -> None:
    """Print a line for each operation."""
    mean = torch.full((asked.channels,), 128, dtype=torch.uint8)
    cutout = Cutout(asked.side // 2, (asked.side, asked.side), mean)
    for operation in (Crop(asked.side // 8), Flip(0.5), cutout, Colour(0.4)):
        work = partial(operate, operation, pixels, asked.batch, generator)
        report(f"alone: {type(operation).__name__.lower()}", rates(work, asked.repeats))
    floats = pixels.to(torch.float32, memory_format=torch.channels_last)
    for name in MIXES:
        report(f"alone: {name}", rates(partial(mix_all, name, floats, asked.batch), asked.repeats))


def epochs(asked: argparse.Namespace, pixels: torch.Tensor, generator: torch.Generator) -> None:
    """Print a line for each kind of epoch, beside torchvision's and the training of a small network."""
    images, here = Images(pixels.permute(0, 2, 3, 1).numpy(), np.arange(COUNT) % 10), torch.device("cpu")
    split, source = Subset(images, np.arange(COUNT)), Resident(images.images, here)
    batches = Batches(split, source, [0.5] * asked.channels, [0.25] * asked.channels, here)
    training = report("lenet: forward and backward", rates(partial(lenet, batches, asked.batch, generator), 3))
    pictures = [Image.fromarray(image.squeeze()) for image in images.images]
    for name in AUGMENTATIONS:
        work = partial(epoch, batches, asked.batch, replace(PLAIN, name=name), generator)
        ours = report(f"epoch: {name}", rates(work, asked.repeats))
        work = partial(one_by_one, torchvisions(asked.side)[name], pictures, asked.batch)
        theirs = report(f"  torchvision: {name}", rates(work, 3))
        print(f"  {ours / theirs:.0f} x torchvision; {training / ours:.1%} of LeNet's time, loading included")
    for name in MIXES:
        work = partial(epoch, batches, asked.batch, replace(PLAIN, mix=name), generator)
        report(f"epoch: {name}", rates(work, asked.repeats))


def main() -> None:
    """Print all lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for name, default in (("batch", 128), ("repeats", 7), ("side", 32), ("channels", 3)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    shape = (COUNT, asked.side, asked.side, asked.channels)
    pixels = torch.randint(256, shape, generator=generator, dtype=torch.uint8).permute(0, 3, 1, 2)
    operations_alone(asked, pixels, generator)
    epochs(asked, pixels, generator)


if __name__ == "__main__":
    main()
