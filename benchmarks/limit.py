"""How near a trial comes to the network alone: images per second of both, in turns.

    python -m benchmarks.limit [--space resnet lenet plain_cnn] [--side 32] [--rounds 5]

The limit is forward, loss, backward and update on one batch of random numbers that lies on the device. Beside it, a
real trial of the space's reference setting, from its images as uint8: gathering, normalising, scores, schedule, all.
Training alone is compared, without validation. On the CPU one thread is used.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from data_utils.images import Images
from data_utils.splits import SearchData
from study.packing import reference_jobs
from study.plan import Plan
from study.precision import forward
from study.slot import Slot
from study.spaces import SPACES
from study.trial import Trial

SECONDS = 2.0  # of each measurement, about


def make_trial(space: str, side: int, count: int, folder: Path) -> Trial:
    """Return a trial of the reference setting of `space` on `count` random images of 3 x side x side."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count + 64, side, side, 3), dtype=np.uint8)
    images = Images(pixels, generator.integers(0, 10, count + 64))
    data = SearchData(images, np.arange(count), np.arange(count, count + 64))
    slot = Slot(data, data.channel_statistics(), lambda: images, classes=10, cpus=1, gpus=torch.cuda.device_count())
    [job] = reference_jobs(Plan((space,), max_epochs=10**6), {space: SPACES[space]})
    return Trial(replace(job, folder=folder), slot._data, slot._device)


def bare(trial: Trial, side: int, batch_size: int, steps: int) -> float:
    """Images per second of forward, backward and update on one resident batch."""
    device = trial._device
    images = torch.randn(batch_size, 3, side, side, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch_size,), device=device)
    begun = _now(device)
    for _ in range(steps):
        loss = F.cross_entropy(forward(trial.model, images, trial.precision), labels)
        trial._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        trial._optimizer.step()
    return steps * batch_size / (_now(device) - begun)


def _now(device: torch.device) -> float:
    """Seconds: of a GPU's clock on the wall, on the CPU of this one thread, so that other work does not count."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def measure(space: str, side: int, rounds: int) -> None:
    """Print a line for `space`: both rates and the median of their ratios."""
    batch_size = SPACES[space].reference["batch_size"]
    with tempfile.TemporaryDirectory() as folder:
        probe = make_trial(space, side, batch_size, Path(folder))
        bare(probe, side, batch_size, 2)
        steps = max(2, round(SECONDS * bare(probe, side, batch_size, 4) / batch_size))
        trial = make_trial(space, side, steps * batch_size, Path(folder))
        trial._train()
        rates = []
        for _ in range(rounds):
            begun = _now(trial._device)
            trial._train()
            real = steps * batch_size / (_now(trial._device) - begun)
            rates.append((real, bare(trial, side, batch_size, steps)))
    real, limit = (statistics.median(column) for column in zip(*rates, strict=True))
    ratios = sorted(real / limit for real, limit in rates)
    span = f"{ratios[0]:.2f} to {ratios[-1]:.2f}, n = {rounds}"
    print(
        f"{space:<16} {real:8.0f} of {limit:8.0f} images/s, ratio {statistics.median(ratios):.2f} ({span})", flush=True
    )


def main() -> None:
    """Print a line for each space."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    classifying = [name for name, space in SPACES.items() if space.task == "classification"]
    parser.add_argument("--space", nargs="+", default=classifying, choices=classifying, metavar="NAME")
    parser.add_argument("--side", type=int, default=32, help="height and width of the images (default 32)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each side (default 5)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for space in asked.space:
        measure(space, asked.side, asked.rounds)


if __name__ == "__main__":
    main()
