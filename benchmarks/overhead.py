"""What the engine costs: how much of the slots' time is training, and how long the first epoch takes to come.

    python -m benchmarks.overhead [--pairs 3]

Runs the default study `--pairs` times, each beside Ray's own bare start (import, `ray.init`, the first result of an
empty Tune trial), and prints medians. `busy` is the sum of the epochs' seconds (training and validation) over slots
times wall time: `after Ray is up` counts from the moment ray.init has returned, `after the workers are up` from the
first trial's start, to the end of the last final run. Idle slots count as not busy, whatever the reason.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from analysis.events import Event, read_events

BARE_START = """
from ray import tune
import ray

class Empty(tune.Trainable):
    def step(self): return {"done": True}

ray.init(address="local", log_to_driver=False, logging_level="critical")
print("up", flush=True)
tune.Tuner(Empty, run_config=tune.RunConfig(verbose=0)).fit()
"""


def seconds_of_bare_start() -> tuple[float, float]:
    """Seconds from the command until ray.init has returned, and until an empty trial has ended."""
    begun = time.time()
    process = subprocess.Popen([sys.executable, "-c", BARE_START], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.readline()
    up = time.time() - begun
    process.communicate()
    return up, time.time() - begun


def measure_study(folder: Path) -> dict[str, float]:
    """Run the default study and return what its log tells."""
    begun = time.time()
    command = [sys.executable, "-m", "study.run", "--space", "resnet", "--runs", str(folder), "--name", "study"]
    subprocess.run([*command, "--no-report"], check=True, stdout=subprocess.DEVNULL)
    events, _ = read_events(folder / "study" / "events.jsonl")
    epochs = [event for event in events if event["event"] in ("epoch", "final_epoch")]
    busy = sum(event["seconds"] for event in epochs)
    slots, end = events[0]["slots"], _times(events, "final_ended")[-1]
    return {
        "seconds in all": time.time() - begun,
        "seconds to ray.init's return": events[0]["time"] - begun,
        "seconds to the first epoch": epochs[0]["time"] - begun,
        "busy after Ray is up": busy / (slots * (end - events[0]["time"])),
        "busy after the workers are up": busy / (slots * (end - _times(events, "started")[0])),
    }


def _times(events: list[Event], name: str) -> list[float]:
    return [event["time"] for event in events if event["event"] == name]


def main() -> None:
    """Print the medians with the range over the pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=3, help="runs of each side (default 3)")
    pairs = parser.parse_args().pairs
    rows: dict[str, list[float]] = {}
    for _ in range(pairs):
        up, empty = seconds_of_bare_start()
        with tempfile.TemporaryDirectory() as folder:
            ours = measure_study(Path(folder))
        bare = {"bare Ray: seconds to ray.init's return": up, "bare Ray: seconds to the end of an empty trial": empty}
        for name, value in {**bare, **ours}.items():
            rows.setdefault(name, []).append(value)
    for name, values in rows.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:<48} median {middle:7.2f}  ({low:.2f} to {high:.2f}, n = {pairs})")


if __name__ == "__main__":
    main()
