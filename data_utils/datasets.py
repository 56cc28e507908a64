"""Data sets by name: images and labels as arrays, decoded once, with the test split apart.

`DATASETS` is the list. Each loader takes a `Request`, which names the folder of the files, and returns a `Dataset`.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_utils.decoding import Size, resized
from data_utils.folders import load_folder
from data_utils.hazy import load_hazy
from data_utils.images import Dataset, Examples, Images, Pairs, Task
from data_utils.pairs import load_pairs
from data_utils.request import Progress, Request, silent
from data_utils.splits import stratified


def task_of(name: str) -> Task:
    """Return what the data set `name` asks for: the class of an image, or another image."""
    return "restoration" if name in PAIRED else "classification"


def load(
    name: str,
    data_dir: Path,
    image_size: Size | None = None,
    test_fraction: float | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Return the data set `name`, reading or downloading its files in `data_dir`.

    Raises `ValueError` for an unknown name, for files that are missing and cannot be downloaded or cannot be used, and
    for a `test_fraction` where the source defines the test split.
    """
    if name not in DATASETS:
        raise ValueError(f"Unknown data set {name!r}. Valid: {', '.join(sorted(DATASETS))}.")
    dataset = DATASETS[name](Request(data_dir, image_size, test_fraction, progress))
    if image_size is None or dataset.image_shape[1:] == image_size:
        return dataset
    progress("Resizing images", 0, 0)
    train, test = (_resized(part, image_size) for part in (dataset.train, dataset.test))
    return replace(dataset, train=train, test=test)


def _resized(part: Examples, size: Size) -> Examples:
    images = resized(part.images, size)
    return Pairs(images, resized(part.targets, size)) if isinstance(part, Pairs) else Images(images, part.labels)


def _digits(request: Request) -> Dataset:
    """The 1,797 handwritten digits that ship inside scikit-learn: 8x8, one channel, 17 grey levels.

    The source defines no test split, so 20 %, or the share asked for, are drawn by class, the same in every study.
    """
    from sklearn.datasets import load_digits  # here: half a second that other data sets need not pay

    bunch = load_digits()
    images = np.rint(bunch.images[..., None] * (255 / 16)).astype(np.uint8)  # (1797, 8, 8, 1)
    labels = bunch.target.astype(np.int64)
    train, test = stratified(labels, request.fraction, seed=0)
    everything = Images(images, labels)
    classes = tuple(str(name) for name in bunch.target_names)
    source = "scikit-learn load_digits (UCI optdigits, test part)"
    drawn = f"test: {100 * request.fraction:g} % drawn by class with seed 0"
    return Dataset("digits", f"{source}; {drawn}", classes, everything.take(train), everything.take(test), mirror=False)


def _from_torchvision(name: str, class_name: str, *, mirror: bool) -> Callable[[Request], Dataset]:
    """Return a loader for a data set of torchvision, whose own training and test parts are used."""

    def loader(request: Request) -> Dataset:
        request.keep_test_split(name)
        import torchvision.datasets

        source = getattr(torchvision.datasets, class_name)
        train, test = (_download(source, name, request.data_dir, part) for part in (True, False))
        note = f"torchvision {class_name}; test: as published"
        return Dataset(name, note, tuple(train.classes), _images(train), _images(test), mirror)

    return loader


def _download(source: Any, name: str, data_dir: Path, train: bool) -> Any:
    try:
        return source(root=str(data_dir), train=train, download=False)
    except (AssertionError, RuntimeError, ValueError) as error:
        if "not found" not in str(error):  # so torchvision says that files are missing or fail their checksum
            raise ValueError(
                f"The files of {name} in {data_dir.resolve()} are damaged ({_one_line(error)}). Remove them there. "
                f"{_where_from(source, data_dir)}"
            ) from error
    try:
        return source(root=str(data_dir), train=train, download=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"The files of {name} are not in {data_dir.resolve()} and could not be downloaded ({_one_line(error)}). "
            f"{_where_from(source, data_dir)} Or choose a data set with --dataset that is here; digits needs no files."
        ) from error


def _where_from(source: Any, data_dir: Path) -> str:
    """Say which file to fetch, where from, and where to put it."""
    if hasattr(source, "url"):  # CIFAR: one archive
        return f"Fetch {source.url} and put {source.filename} into {data_dir.resolve()}."
    files = ", ".join(file for file, _md5 in source.resources)
    folder = data_dir.resolve() / source.__name__ / "raw"
    return f"Fetch {files} from {source.mirrors[0]} and put them into {folder}."


def _one_line(error: BaseException) -> str:
    """The message in one line: torchvision puts the cause into the second one."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _images(part: Any) -> Images:
    """Turn a torchvision data set into arrays: (N, H, W) becomes (N, H, W, 1), and (N, H, W, C) stays."""
    pixels = np.asarray(part.data)
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    return Images(np.ascontiguousarray(pixels, dtype=np.uint8), np.asarray(part.targets, dtype=np.int64))


DATASETS: Final[dict[str, Callable[[Request], Dataset]]] = {
    "cifar10": _from_torchvision("cifar10", "CIFAR10", mirror=True),
    "cifar100": _from_torchvision("cifar100", "CIFAR100", mirror=True),
    "digits": _digits,
    "fashion_mnist": _from_torchvision("fashion_mnist", "FashionMNIST", mirror=True),
    "folder": load_folder,
    "hazy": load_hazy,
    "mnist": _from_torchvision("mnist", "MNIST", mirror=False),
    "pairs": load_pairs,
}
PAIRED: Final = ("hazy", "pairs")
NO_FILES: Final = ("digits", "hazy")  # made or shipped, so no folder is read
