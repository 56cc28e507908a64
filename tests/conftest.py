"""What several test files need: the real digits, cut small where a test trains."""

import os
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from data_utils.batches import Batches, PairedBatches
from data_utils.datasets import load
from data_utils.images import Examples, Images, Pairs, Task
from data_utils.placement import Resident
from data_utils.splits import SearchData, Subset, split
from study.space import Space
from study.spaces import SPACES
from study.trial import TrialData

os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")  # figures are drawn here: the tests have their processes already

CPU = torch.device("cpu")
SIZES = ("width", "growth", "hidden")  # hyperparameters that a test may make small


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have most slow tests, so that none of them is left to one process at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def narrow(space: Space, config: dict[str, Any]) -> dict[str, Any]:
    """`config` with the smallest widths that `space` offers."""
    choices = {p.name: p.to_json()["choices"] for p in space.architecture if p.name in SIZES}
    return {**config, **{name: min(values) for name, values in choices.items()}}


def architecture(space: Space, config: dict[str, Any]) -> dict[str, Any]:
    """The part of `config` that the network takes."""
    return {p.name: config[p.name] for p in space.architecture if p.name in config}


def batches_of(images: Images, mean: list[float], deviation: list[float]) -> Batches:
    """Batches of all `images`, on the CPU."""
    return Batches(Subset(images, np.arange(len(images))), Resident(images.images, CPU), mean, deviation, CPU)


@pytest.fixture(scope="session")
def digits() -> SearchData:
    """The digits' training and validation split."""
    return split(load("digits", Path("unused")).train, seed=0)


@pytest.fixture(scope="session")
def trial_data(digits: SearchData) -> TrialData:
    """256 training and 64 validation images, ready to train on."""
    mean, deviation = digits.channel_statistics()
    few = replace(digits, train_index=digits.train_index[:256], validation_index=digits.validation_index[:64])
    source = Resident(digits.images.images, CPU)
    train, validation = (Batches(part, source, mean, deviation, CPU) for part in (few.train, few.validation))
    return TrialData(train, validation, num_classes=10)


@pytest.fixture(scope="session")
def hazy() -> SearchData:
    """The hazy photographs' training and validation split."""
    return split(load("hazy", Path("unused")).train, seed=0)


def labels_of(part: Examples) -> NDArray[np.int64]:
    """The labels of a split of a data set of classes."""
    assert isinstance(part, Images)
    return part.labels


def targets_of(part: Examples) -> NDArray[np.uint8]:
    """The targets of a split of a data set of pairs."""
    assert isinstance(part, Pairs)
    return part.targets


def pair_batches(pairs: Pairs) -> PairedBatches:
    """Batches of all `pairs`, on the CPU, normalised by 0.5 and 0.25."""
    whole = Subset(pairs, np.arange(len(pairs)))
    images, targets = (Resident(side, CPU) for side in (pairs.images, pairs.targets))
    channels = pairs.images.shape[3]
    return PairedBatches(whole, images, targets, [0.5] * channels, [0.25] * channels, CPU)


@pytest.fixture(scope="session")
def pair_data(hazy: SearchData) -> TrialData:
    """128 training and 48 validation pairs of 8x8 pixels, ready to train on."""
    assert isinstance(hazy.images, Pairs)
    small = Pairs(hazy.images.images[:, ::4, ::4], hazy.images.targets[:, ::4, ::4])
    train, validation = small.take(hazy.train_index[:128]), small.take(hazy.validation_index[:48])
    return TrialData(pair_batches(train), pair_batches(validation), num_classes=0, mirror=True)


@pytest.fixture(scope="session")
def data_for(trial_data: TrialData, pair_data: TrialData) -> Callable[[str], TrialData]:
    """What the space of a name trains on."""
    return lambda space: pair_data if SPACES[space].task == "restoration" else trial_data


def shape_for(task: Task, channels: int, size: tuple[int, int], classes: int = 10) -> dict[str, Any]:
    """What `models.build` must be told of the data."""
    shape: dict[str, Any] = {"in_channels": channels, "image_size": size}
    return shape if task == "restoration" else {**shape, "num_classes": classes}


@contextmanager
def full_disk(largest: int) -> Iterator[None]:
    """No file can grow beyond `largest` bytes: a write fails as it does on a full disk, some bytes of it written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep decoded images out of the cache of whoever runs the tests; one for all, as in life."""
    monkeypatch.setenv("ARCHSTUDY_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """Take back what a study leaves in the environment for Ray, which other tests' processes would inherit."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Train on one core, as a slot does: the same on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
