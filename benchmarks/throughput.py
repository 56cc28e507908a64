"""The same study twice: as Ray's own PyTorch tutorial teaches, and as archstudy does it.

    python -m benchmarks.throughput --data-dir CIFAR10_FOLDER [--pairs 1] [--final-seeds 4] [--images files]

`--data-dir` holds `train/` and `test/` of class folders of 32x32 images (CIFAR-10). The first 1,000 training images of
each class are used: 8,000 to train and 2,000 to validate. Ours runs first, through its command: 12 trials of C's plain
CNN with its usual training (crop, flip, momentum), ASHA, 4 final runs as usual or so many, no report. Its log says
which configurations were trained for how many epochs; the tutorial's way (`benchmarks/tutorial_way.py`) then trains
exactly those, again through Ray Tune. Both are timed as whole processes, from the command to the exit. `--loaders` are
the processes of each DataLoader of the tutorial's way: 8, as it prints, or 0, which suits few cores better; `--images`,
whether that way decodes its images once before the first trial, or reads `files` every time. Beside our time stands
what the epochs alone would take on all slots without a pause: the most that anything but faster epochs could win.
"""

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from analysis.events import Event, read_events

IMAGES_OF_A_CLASS = 1000
TRAINING_IMAGES, VALIDATION_IMAGES = 8000, 2000  # a fifth validates
Run = dict[str, Any]


def sample(source: Path, folder: Path) -> None:
    """Copy the first images of each class: those of `train`, and a tenth as many of `test`."""
    for part, count in (("train", IMAGES_OF_A_CLASS), ("test", IMAGES_OF_A_CLASS // 10)):
        for class_folder in sorted((source / part).iterdir()):
            target = folder / part / class_folder.name
            target.mkdir(parents=True)
            for image in islice(sorted(class_folder.iterdir()), count):
                shutil.copy(image, target)


def ours(data: Path, folder: Path, final_seeds: int) -> tuple[float, list[Run], int]:
    """Run the study; return its seconds, what it trained (configuration, seed, epochs, last score), and its slots."""
    space = Path(__file__).with_name("c_plain_cnn.py")
    command = [sys.executable, "-m", "study.run", "--space", str(space), "--dataset", "folder", "--data-dir", str(data)]
    options = ["--trials", "12", "--max-epochs", "9", "--final-seeds", str(final_seeds), "--no-report"]
    begun = time.time()
    subprocess.run([*command, *options, "--runs", str(folder), "--name", "ours"], check=True)
    seconds = time.time() - begun
    events, _ = read_events(folder / "ours" / "events.jsonl")
    return seconds, trained(events), events[0]["slots"]


def trained(events: Sequence[Event]) -> list[Run]:
    """Return what a study trained, without final runs of who was overtaken: no other way has these."""
    runs: dict[str, Run] = {}
    for event in events:
        if event["event"] == "suggested":
            runs[event["trial"]] = {"config": event["config"], "seed": event["seed"]}
        elif event["event"] == "final_started":
            runs[event["final"]] = {"config": runs[event["trial"]]["config"], "seed": event["seed"]}
        elif event["event"] in ("epoch", "final_epoch"):
            key = event["trial"] if "trial" in event else event["final"]
            runs[key] |= {"epochs": event["epoch"], "score": event["val_score"]}
            runs[key]["seconds"] = runs[key].get("seconds", 0) + event["seconds"]
    winner = next(event["trial"] for event in reversed(events) if event["event"] == "final_chosen")
    return [{"key": key, **run} for key, run in runs.items() if "-seed" not in key or key.startswith(f"{winner}-")]


def tutorial(data: Path, folder: Path, runs: list[Run], loaders: int, images: str) -> tuple[float, list[float]]:
    """Train `runs` as the tutorial does and return the seconds and the last score of each."""
    (folder / "runs.json").write_text(json.dumps(runs))
    given = [str(data), str(folder / "runs.json"), str(loaders), images]
    command = [sys.executable, "-m", "benchmarks.tutorial_way", *given]
    begun = time.time()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    scores: list[float] = json.loads((folder / "scores.json").read_text())
    return time.time() - begun, scores


def main() -> None:
    """Print seconds, images per second, their ratio, and how far the scores of equal runs differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with train/ and test/ of class folders")
    parser.add_argument("--pairs", type=int, default=1, help="runs of each side (default 1)")
    parser.add_argument("--final-seeds", type=int, default=4, help="final runs of the winner (default 4)")
    parser.add_argument("--loaders", type=int, default=8, help="processes of a DataLoader of theirs (default 8)")
    how = "their images are decoded once, or files are read every time (default decoded)"
    parser.add_argument("--images", choices=("decoded", "files"), default="decoded", help=how)
    asked = parser.parse_args()
    ratios, differences, scores_of_ours = [], [], []
    for _ in range(asked.pairs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            sample(asked.data_dir, folder / "data")
            our_seconds, runs, slots = ours(folder / "data", folder, asked.final_seeds)
            their_seconds, scores = tutorial(folder / "data", folder, runs, asked.loaders, asked.images)
        images = TRAINING_IMAGES * sum(run["epochs"] for run in runs)
        print(f"{len(runs)} runs, {sum(run['epochs'] for run in runs)} epochs, {images:,} images")
        for name, seconds in (("tutorial's way", their_seconds), ("archstudy", our_seconds)):
            print(f"{name:<15} {seconds:7.1f} s {images / seconds:8,.0f} images/s")
        alone = sum(run["seconds"] for run in runs) / slots
        print(f"our epochs alone, on {slots} slots: {alone:.1f} s, {their_seconds / alone:.1f} times less than theirs")
        ratios.append(their_seconds / our_seconds)
        differences += [run["score"] - score for run, score in zip(runs, scores, strict=True)]
        scores_of_ours += [run["score"] for run in runs]
        best = max(range(len(runs)), key=lambda index: runs[index]["score"])
        print(f"best run: {runs[best]['score']:.3f} ours, {scores[best]:.3f} theirs")
    print(f"ratio: median {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}, n = {asked.pairs})")
    mean = float(np.mean(scores_of_ours))
    split = mean * (1 - mean) / VALIDATION_IMAGES  # our runs share one validation split, theirs have one each
    error = 2 * math.sqrt(np.var(differences, ddof=1) / len(differences) + split)
    print(f"score, ours - theirs, mean over equal runs: {np.mean(differences):+.3f} +- {error:.3f} (2 standard errors)")


if __name__ == "__main__":
    main()
