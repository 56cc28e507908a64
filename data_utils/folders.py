"""A folder of class folders: which files it holds, what their classes are, which of them are the test split.

Either `DIR/CLASS/...`, where the last images of each class in name order become the test split; or
`DIR/train/CLASS/...` and `DIR/test/CLASS/...`, where a `val` folder joins `train`, since a study draws its own
validation split. Files may lie deeper inside a class folder.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_utils.cache import decoded
from data_utils.files import File, check_folder, check_skipped, is_image_name, loose, scan, shown, subfolders
from data_utils.images import Dataset, Images, Skipped
from data_utils.request import Request
from data_utils.splits import VALIDATION_FRACTION

PARTS: Final = {  # names of the folders of a data set that is already split, in any case
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
}
SEARCH_LEAST: Final = math.ceil(1 / VALIDATION_FRACTION)  # of a class, so that validation gets one of them


@dataclass
class Listing:
    """What was found in a folder: files by class in name order, for the search and for the test."""

    note: str  # how the test split came about
    drawn: bool  # by --test-fraction, not published
    search: dict[str, list[File]] = field(default_factory=dict)
    test: dict[str, list[File]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(self.search)

    def files(self) -> tuple[list[File], NDArray[np.int64]]:
        """All files with their labels: those for the search first, class by class, then those for the test."""
        files: list[File] = []
        labels: list[int] = []
        for part in (self.search, self.test):
            for label, name in enumerate(self.classes):
                files += part[name]
                labels += [label] * len(part[name])
        return files, np.array(labels, np.int64)


def load_folder(request: Request) -> Dataset:
    """Return the images of class folders. Raises `ValueError` where they cannot make a study."""
    folder, listing = request.data_dir, find(request)
    files, labels = listing.files()
    searched = sum(map(len, listing.search.values()))
    _check_counts(listing, labels[:searched], labels[searched:], len(listing.skipped))
    made = decoded(folder, files, request.image_size, request.progress)
    skipped = (*listing.skipped, *made.skipped)
    check_skipped(skipped, len(files) + len(listing.skipped), folder)
    labels, searched = labels[made.kept], int((made.kept < searched).sum())
    _check_counts(listing, labels[:searched], labels[searched:], len(skipped))
    return Dataset(
        name=shown(folder.resolve().name),
        source=f"{shown(str(folder.resolve()))}; test: {listing.note}",
        classes=tuple(map(shown, listing.classes)),
        train=Images(made.images[:searched], labels[:searched]),
        test=Images(made.images[searched:], labels[searched:]),
        mirror=True,
        skipped=skipped,
    )


def find(request: Request) -> Listing:
    """Return what the data folder holds, split as it is, or the last of each class apart."""
    check_folder(request.data_dir)
    try:
        parts = _parts(request.data_dir)
        return _published(request, parts) if parts else _with_last_apart(request)
    except OSError as error:
        raise ValueError(f"The images in {request.data_dir} cannot be listed: {error}. Mend that.") from error


def _parts(folder: Path) -> dict[str, Path]:
    """Return the folders of a data set that is already split, nothing if this one is not."""
    parts: dict[str, Path] = {}
    for path in subfolders(folder):
        part = PARTS.get(path.name.lower())
        if part in parts:
            raise ValueError(f"{folder} has {parts[part].name}/ and {path.name}/, which say the same. Join them.")
        if part is not None:
            parts[part] = path
    if len(parts) < 2:
        return {}  # one of them may be a class: a train beside a bus
    for needed in ("train", "test"):
        if needed not in parts:
            there = " and ".join(f"{path.name}/" for path in parts.values())
            raise ValueError(
                f"{folder} has {there} but no {needed}/. Name the images to be tested on test/ and the others train/, "
                f"or give --data-dir the one folder whose last images shall be the test split."
            )
    return parts


def _published(request: Request, parts: dict[str, Path]) -> Listing:
    """Take the test split that is there; validation images join those to train on."""
    folder = request.data_dir
    request.keep_test_split(str(folder))
    skipped = loose(folder, "")
    _check_others(folder, parts)
    by_part = {part: _classes(path, f"{path.name}/", skipped) for part, path in parts.items()}
    joined = f" and {parts['val'].name}/" if "val" in parts else ""
    note = f"{parts['test'].name}/; training and validation are drawn from {parts['train'].name}/{joined}"
    listing = Listing(note, False, by_part["train"], by_part["test"], skipped)
    _check_enough(parts["train"], by_part["train"])
    for part in by_part.keys() - {"train"}:
        _check_same_classes(by_part["train"], by_part[part], parts["train"], parts[part], part == "test")
    for name, files in by_part.get("val", {}).items():
        listing.search[name] += files
    return listing


def _with_last_apart(request: Request) -> Listing:
    listing = Listing(f"the last {100 * request.fraction:g} % of each class in name order", True)
    classes = _classes(request.data_dir, "", listing.skipped)
    _check_enough(request.data_dir, classes)
    for name, files in classes.items():
        kept = len(files) - request.last(len(files))
        listing.search[name], listing.test[name] = files[:kept], files[kept:]
    return listing


def _classes(folder: Path, prefix: str, skipped: list[Skipped]) -> dict[str, list[File]]:
    """Return the files of each class folder in `folder`. Images beside them belong to no class: skipped."""
    skipped += loose(folder, prefix)
    classes = {path.name: scan(path, f"{prefix}{path.name}/", skipped) for path in subfolders(folder)}
    empty = [shown(name) for name, files in classes.items() if not files]
    if empty:
        raise ValueError(f"No image in the class folder {', '.join(empty)} of {folder}. Fill it or remove it.")
    return classes


def _check_enough(folder: Path, classes: Collection[str]) -> None:
    """Raise `ValueError` for fewer than two classes."""
    if len(classes) < 2:
        there = (
            f"one folder, {shown(next(iter(classes)))}/"
            if classes
            else f"no folder and {len(loose(folder, ''))} images"
        )
        raise ValueError(
            f"{folder} holds {there}, but a data set needs a folder of images for each of at least 2 classes. "
            f"Give --data-dir the folder that holds the class folders."
        )


def _check_others(folder: Path, parts: dict[str, Path]) -> None:
    """Raise `ValueError` for images beside the parts, which are in none of them."""
    for path in subfolders(folder):
        if path not in parts.values() and any(is_image_name(Path(file.name).name) for file in scan(path, "", [])):
            named = ", ".join(f"{part.name}/" for part in parts.values())
            raise ValueError(
                f"{folder} has images in {path.name}/ beside {named}: for training or for the test? Move them into one "
                f"of these, or out of {folder}."
            )


def _check_same_classes(
    train: dict[str, list[File]], other: dict[str, list[File]], train_folder: Path, folder: Path, every: bool
) -> None:
    """Raise `ValueError` for a class in `other` that `train` lacks; if `every`, also for one the other way round."""
    for has, lacks, at, not_at in ((other, train, folder, train_folder), (train, other, train_folder, folder)):
        odd = sorted(has.keys() - lacks.keys()) if every or has is other else []
        if odd:
            raise ValueError(
                f"The class {odd[0]!r} is in {at} but not in {not_at}: classes there must be the same. Add its folder, "
                f"or remove the other one."
            )


def _check_counts(listing: Listing, search: NDArray[np.int64], test: NDArray[np.int64], unusable: int) -> None:
    """Raise `ValueError` for a class that training, validation and test cannot all have images of."""
    counts = (np.bincount(labels, minlength=len(listing.classes)) for labels in (search, test))
    for name, for_search, for_test in zip(listing.classes, *counts, strict=True):
        if for_search < SEARCH_LEAST or for_test < 1:
            fraction_helps = listing.drawn and for_search + for_test > SEARCH_LEAST
            remedy = ", leave the class out, or change --test-fraction" if fraction_helps else " or leave the class out"
            raise ValueError(
                f"The class {name!r} has {for_search} images for training and validation and {for_test} for the test, "
                f"but needs at least {SEARCH_LEAST} and 1. Add images{remedy}."
                f"{f' {unusable} files of the folder cannot be used.' if unusable else ''}"
            )
