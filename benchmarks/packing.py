"""What several trials on one GPU gain: images per second of all together, for 1, 2, 4 and 8 at once.

    python -m benchmarks.packing [--space resnet] [--dataset cifar10] [--counts 1 2 4 8] [--seconds 20]

Starts that many processes, each with the reference setting of the space, as a slot would train it. They count epochs
that end within `--seconds` after the last of them has warmed up. Prints the sum of their rates, the gain over one, the
memory that they took, and what `--gpus-per-trial auto` would have chosen. Ends with code 2 where there is no GPU.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from data_utils.datasets import load
from data_utils.splits import split
from study import packing
from study.plan import Plan
from study.slot import Slot
from study.spaces import SPACES
from study.trial import Trial


def make_slot(plan: Plan, gpus: float) -> Slot:
    """Return a slot with the data of `plan` and that share of a GPU, as a worker has it."""
    dataset = load(plan.dataset, plan.data_dir)
    data = split(dataset.train, plan.seed)
    return Slot(data, data.channel_statistics(), lambda: data.images, len(dataset.classes), plan.cpus_per_trial, gpus)


def train(plan: Plan, gpus: float, ready: Any, seconds: float, rates: Any) -> None:
    """Train the reference setting in this process and put its images per second into `rates`."""
    slot = make_slot(plan, gpus)
    [job] = packing.reference_jobs(plan, {plan.spaces[0]: SPACES[plan.spaces[0]]})
    trial = Trial(job, slot._data, slot._device)
    trial.train_epoch()  # warm up
    ready.wait()
    begun, images = time.perf_counter(), 0.0
    while time.perf_counter() - begun < seconds:
        row = trial.train_epoch()
        images += row["images_per_second"] * row["seconds"]
    rates.put((images / (time.perf_counter() - begun), torch.cuda.max_memory_reserved()))


def measure(plan: Plan, count: int, seconds: float) -> tuple[float, float]:
    """Return images per second of `count` processes together, and the GiB that their tensors took at most."""
    context = multiprocessing.get_context("spawn")
    ready, rates = context.Barrier(count), context.SimpleQueue()
    processes = [context.Process(target=train, args=(plan, 1 / count, ready, seconds, rates)) for _ in range(count)]
    for process in processes:
        process.start()
    found = [rates.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(rate for rate, _ in found), sum(taken for _, taken in found) / packing.GIB


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the curve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--space", default="resnet", help="whose reference setting is trained (default resnet)")
    parser.add_argument("--dataset", default="cifar10", help="default cifar10")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="default data")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8], help="trials at once (default 1 2 4 8)")
    parser.add_argument("--seconds", type=float, default=20.0, help="time for each count (default 20)")
    asked = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print(
            "There is no GPU here, and what trials gain by sharing one can be measured nowhere else.", file=sys.stderr
        )
        return 2
    plan = Plan((asked.space,), dataset=asked.dataset, data_dir=asked.data_dir, max_epochs=27)
    print(f"{torch.cuda.get_device_name()}, {os.cpu_count()} cores, {asked.space} on {asked.dataset}")
    alone = 0.0
    for count in asked.counts:
        rate, memory = measure(plan, count, asked.seconds)
        alone = alone or rate / count
        print(
            f"{count:>2} at once: {rate:>10,.0f} images/s, {rate / alone:.2f} times one, {memory:.2f} GiB", flush=True
        )
    [job] = packing.reference_jobs(plan, {asked.space: SPACES[asked.space]})
    together, why = packing.choose([make_slot(plan, 1).measure(job)], os.cpu_count() or 1, plan.cpus_per_trial)
    print(f"auto would have {together} share it: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
