"""How fast batches are gathered and normalised, images per second of one thread.

    python -m benchmarks.batches [--rounds 7]

Takes epochs of random batches from an array of uint8 images as a slot on the CPU does, and prints the median over
`--rounds` rounds of 0.3 s each with their range.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from data_utils.batches import Batches
from data_utils.images import Images
from data_utils.placement import Resident
from data_utils.splits import Subset

SHAPES = {(1, 8, 8): 1_437, (3, 32, 32): 20_000, (3, 64, 64): 8_000}  # of an image: how many of them
ROUND_SECONDS = 0.3


def made(shape: tuple[int, int, int], count: int) -> Batches:
    """`count` random images of `shape`."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, *shape[1:], shape[0]), np.uint8)
    part, cpu = Subset(Images(pixels, np.arange(count) % 10), np.arange(count)), torch.device("cpu")
    return Batches(part, Resident(pixels, cpu), [0.5] * shape[0], [0.25] * shape[0], cpu)


def images_per_second(batches: Batches, size: int) -> float:
    """Images in batches of `size`, over as many epochs as one round takes."""
    generator, images = torch.Generator().manual_seed(0), 0
    begun = time.perf_counter()
    while True:
        for _pixels, labels in batches.shuffled(size, generator):
            images += len(labels)
            seconds = time.perf_counter() - begun
            if seconds > ROUND_SECONDS:
                return images / seconds


def main() -> None:
    """Print one line for each shape and batch size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each (default 7)")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for shape, count in SHAPES.items():
        batches = made(shape, count)
        for size in (32, 256):
            rates = [images_per_second(batches, size) for _ in range(rounds)]
            low, middle, high = min(rates), statistics.median(rates), max(rates)
            print(f"{shape!s:<12} batch {size:>3}  {middle:>11,.0f}  ({low:,.0f} to {high:,.0f}, n = {rounds})")


if __name__ == "__main__":
    main()
