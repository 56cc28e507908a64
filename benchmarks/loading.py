"""How long a folder of images takes to load: decoded the first time, from the cache after that.

    python -m benchmarks.loading --data-dir CIFAR10_FOLDER [--rounds 3]

Each load is a process of its own, timed from the call of `load` to its return, imports left out. The cache is in a
folder made for it, so every first time decodes all files; the files themselves may lie in the cache of the system.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from data_utils.datasets import load


def one(data_dir: Path) -> None:
    """Load the folder and print the seconds, those of the processor, and how many images there are."""
    begun, cpu = time.monotonic(), time.process_time()
    dataset = load("folder", data_dir)
    taken = time.monotonic() - begun, time.process_time() - cpu
    print(json.dumps([*taken, len(dataset.train) + len(dataset.test)]))


def measured(data_dir: Path, cache: str) -> tuple[float, float, int]:
    """Load in a process of its own with that cache."""
    command = [sys.executable, "-m", "benchmarks.loading", "--one", "--data-dir", str(data_dir)]
    surroundings = {**os.environ, "ARCHSTUDY_CACHE": cache}
    done = subprocess.run(command, env=surroundings, stdout=subprocess.PIPE, check=True, text=True)
    seconds, cpu, images = json.loads(done.stdout)
    return seconds, cpu, images


def main() -> None:
    """Print median and range of both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of class folders")
    parser.add_argument("--rounds", type=int, default=3, help="loads of each kind (default 3)")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        one(asked.data_dir)
        return
    rows: dict[str, list[tuple[float, float, int]]] = {"first": [], "again": []}
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as cache:
            for found in rows.values():
                found.append(measured(asked.data_dir, cache))
    for name, found in rows.items():
        seconds, cpu = (sorted(row[column] for row in found) for column in (0, 1))
        images = f"{found[0][2]:,} images"
        span = f"{seconds[0]:.1f} to {seconds[-1]:.1f}, n = {asked.rounds}"
        print(f"{name:<6} {images}: {statistics.median(seconds):.1f} s ({span}), {statistics.median(cpu):.1f} CPU s")


if __name__ == "__main__":
    main()
