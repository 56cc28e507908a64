"""Memory of real studies on real Ray: the images lie once on a machine, and a long study does not grow."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import pytest

from analysis.events import Event, read_events

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")]

STUDY = """
import sys
from dataclasses import replace
import numpy as np
from data_utils.datasets import DATASETS, load
from data_utils.images import Images
from study.run import main

count, side = int(sys.argv[1]), int(sys.argv[2])

def made(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    train, test = Images(pixels, np.arange(count) % 10), Images(pixels[:50].copy(), np.arange(50) % 10)
    return replace(load("digits", folder), name="made", train=train, test=test)

DATASETS["made"] = made
sys.exit(main(["--dataset", "made", "--no-report", "--final-seeds", "1", *sys.argv[3:]]))
"""
# A network so small that an epoch takes the time that the images take, and one setting, so that all batches are alike.
SPACE = """
from dataclasses import replace
from optuna.distributions import CategoricalDistribution
from torch import nn
from study.space import Parameter, Space
from study.spaces.training import HE_2016, TRAINING

def small(*, in_channels, num_classes, image_size, side):
    return nn.Sequential(nn.AdaptiveAvgPool2d(side), nn.Flatten(), nn.Linear(in_channels * side**2, num_classes))

SPACE = Space(
    name="small", network="small", description="A linear layer on few pixels.",
    architecture=(Parameter("side", CategoricalDistribution((2, 4)), "scientific"),),
    training=tuple(
        replace(parameter, distribution=CategoricalDistribution((HE_2016[parameter.name],)))
        for parameter in TRAINING if parameter.name in HE_2016
    ),
    reference={"side": 4, **HE_2016},
)
"""
SIDE = 32
IMAGE_BYTES = 3 * SIDE * SIDE
RAY_FULL = {"RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": "100000000"}  # room for 95 MiB in shared memory
DISK_FULL = {**RAY_FULL, "RAY_local_fs_capacity_threshold": "0.001"}  # which every disk in use is beyond


def memory(process: int, *fields: str) -> int:
    """Bytes of a process, the sum of `fields` of smaps_rollup."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.split(":")[0] in fields)


class Study:
    """A study of made images in a process of its own, on a Ray of its own."""

    def __init__(self, folder: Path, count: int, side: int, *flags: str, **environment: str) -> None:
        self.folder = folder / "study"
        command = [sys.executable, "-c", STUDY, str(count), str(side), "--runs", str(folder), "--name", "study", *flags]
        surroundings = {**os.environ, **environment}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=surroundings)

    def follow(self, look: Callable[[list[Event]], None], seconds: float = 900) -> list[Event]:
        """Call `look` with the events so far, again and again, until the study has ended well."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            look(self.events())
            time.sleep(0.1)
        self.process.kill()
        out, err = self.process.communicate()
        assert self.process.returncode == 0, (out, err)
        return self.events()

    def events(self) -> list[Event]:
        return read_events(self.folder / "events.jsonl")[0]


def workers(events: list[Event]) -> list[int]:
    return sorted({event["worker"] for event in events if event["event"] == "started"})


def own_memory(folder: Path, count: int, **environment: str) -> dict[str, list[int]]:
    """Bytes that driver and workers of a study on `count` images have of their own at all times, once in training.

    That is anonymous memory, where a copy would lie. Pages of shared memory that only one process has looked at so far
    would count as private too.
    """
    folder.mkdir()
    (folder / "small.py").write_text(SPACE)
    flags = ["--space", str(folder / "small.py"), "--trials", "2", "--max-epochs", "2", "--final-seeds", "1"]
    study = Study(folder, count, SIDE, *flags, **environment)
    least: dict[int, int] = {}

    def look(events: list[Event]) -> None:
        trained = [event["trial"] for event in events if event["event"] == "epoch"]
        started = {event["trial"]: event["worker"] for event in events if event["event"] == "started"}
        if len(set(trained)) < 2 or any(event["event"] == "study_closed" for event in events):
            return
        for process in (study.process.pid, *(started[trial] for trial in trained)):
            try:
                now = memory(process, "Anonymous")
            except OSError:  # it has just ended
                continue
            least[process] = min(least.get(process, now), now)

    events = study.follow(look)
    assert all(event["state"] in ("finished", "stopped") for event in events if event["event"] == "ended")
    assert len(workers(events)) == 2
    return {"driver": [least[study.process.pid]], "workers": [least[process] for process in workers(events)]}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """Own memory of a study on so few images that they do not count."""
    return own_memory(tmp_path_factory.mktemp("few") / "runs", 6_000)


@pytest.mark.parametrize("environment", [{}, RAY_FULL], ids=["in shared memory", "too many for shared memory"])
def test_neither_workers_nor_driver_have_images_of_their_own(
    tmp_path: Path, few: dict[str, list[int]], environment: dict[str, str]
) -> None:
    count = 40_000  # 117 MiB
    many = own_memory(tmp_path / "runs", count, **environment)
    for who in ("driver", "workers"):
        for before, after in zip(sorted(few[who]), sorted(many[who]), strict=True):
            assert after - before < 0.3 * count * IMAGE_BYTES, (who, few, many)  # they differ by some MiB anyway


def test_images_that_fit_nowhere_are_refused_before_a_run_folder_exists(tmp_path: Path) -> None:
    study = Study(tmp_path, 50_000, SIDE, "--space", "mlp", **DISK_FULL)
    _, err = study.process.communicate(timeout=400)
    assert study.process.returncode == 2, err
    for expected in ("The images of made take 0.1 GiB", "object store", "30 % of the memory", "Free disk space"):
        assert expected in err.decode()
    assert not study.folder.exists()


def test_two_hundred_trials_leave_workers_and_driver_as_they_were(tmp_path: Path) -> None:
    """Resident memory from the 180th trial to the final run, against that while trials 40 to 120 end."""
    study = Study(tmp_path, 300, 8, "--space", "plain_cnn", "--trials", "200", "--max-epochs", "2")
    seen: dict[int, dict[str, list[int]]] = {}

    def look(events: list[Event]) -> None:
        ended = sum(event["event"] == "ended" for event in events)
        period = "early" if 40 <= ended < 120 else "late" if ended >= 180 else None
        if period is not None and all(event["event"] != "final_started" for event in events):
            for process in (study.process.pid, *workers(events)):
                seen.setdefault(process, {"early": [], "late": []})[period].append(memory(process, "Rss"))

    study.follow(look)
    growth = {process: mean(of["late"]) / mean(of["early"]) - 1 for process, of in seen.items()}
    driver = growth.pop(study.process.pid)
    assert len(growth) == 2
    assert max(growth.values()) < 0.05, growth
    assert driver < 0.05  # what is kept of each trial: docs/decisions.md
