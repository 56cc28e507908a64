"""Pairs of images for image-to-image tasks: `DIR/input/NAME` belongs to `DIR/target/NAME`.

The folders may also be called hazy and clear, or hazy and gt, as in dehazing; upper or lower case. Names are compared
without their endings, since an input is often a .jpg whose target is a .png. The last pairs in name order are the test.
"""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_utils.cache import Decoded, decoded
from data_utils.files import File, check_folder, check_skipped, scan, shown, subfolders
from data_utils.images import Dataset, Pairs, Skipped
from data_utils.request import Request

NAMES: Final = (("input", "target"), ("hazy", "clear"), ("hazy", "gt"))
SEARCH_LEAST: Final = 2  # pairs: one each for training and validation


def load_pairs(request: Request) -> Dataset:
    """Return the pairs in the data folder.

    Raises `ValueError` where there are no two such folders, where pairs are too few or too many files have no partner,
    and where an input and its target differ in size.
    """
    folder = request.data_dir
    check_folder(folder)
    sides = _sides(folder)
    try:
        files, unpaired = _match(*sides)
    except OSError as error:
        raise ValueError(f"The images in {folder} cannot be listed: {error}. Mend that.") from error
    count = len(files[0]) + len(unpaired)
    check_skipped(unpaired, count, folder)
    _check_count(len(files[0]), request)
    made = [
        decoded(side, listed, request.image_size, request.progress) for side, listed in zip(sides, files, strict=True)
    ]
    unreadable = [Skipped(f"{side.name}/{file}", why) for side, part in zip(sides, made, strict=True)
                  for file, why in part.skipped]  # fmt: skip
    skipped = (*unpaired, *unreadable)
    check_skipped(skipped, count, folder)
    inputs, targets = _both_readable(*made)
    _check_count(len(inputs), request)
    _check_sizes(inputs, targets, sides)
    inputs, targets = _same_channels(inputs, targets)
    kept = len(inputs) - request.last(len(inputs))
    return Dataset(
        name=shown(folder.resolve().name),
        source=f"{shown(str(folder.resolve()))}; test: the last {100 * request.fraction:g} % in name order",
        classes=(),
        train=Pairs(inputs[:kept], targets[:kept]),
        test=Pairs(inputs[kept:], targets[kept:]),
        mirror=True,
        skipped=skipped,
    )


def _sides(folder: Path) -> tuple[Path, Path]:
    """Return the folder of inputs and that of targets."""
    by_name = {path.name.lower(): path for path in subfolders(folder)}
    found = [(by_name[left], by_name[right]) for left, right in NAMES if left in by_name and right in by_name]
    if len(found) != 1:
        valid = ", ".join(f"{left}/ and {right}/" for left, right in NAMES)
        there = ", ".join(f"{path.name}/" for path in by_name.values()) or "no folder"
        raise ValueError(f"{folder} holds {there}, but needs one pair of folders: {valid}. Rename yours, or link them.")
    return found[0]


def _match(inputs: Path, targets: Path) -> tuple[tuple[list[File], list[File]], list[Skipped]]:
    """Return inputs and their targets in the same order, and what has no partner."""
    skipped: list[Skipped] = []
    left, right = _by_stem(inputs, skipped), _by_stem(targets, skipped)
    for own, others, side, other in ((left, right, inputs, targets), (right, left, targets, inputs)):
        reason = f"no file of this name in {other.name}/"
        skipped += [Skipped(shown(f"{side.name}/{file.name}"), reason) for stem, file in own.items()
                    if stem not in others]  # fmt: skip
    both = [stem for stem in left if stem in right]
    return ([left[stem] for stem in both], [right[stem] for stem in both]), skipped


def _by_stem(folder: Path, skipped: list[Skipped]) -> dict[str, File]:
    """Return the files in `folder` by name without ending, in name order."""
    outside: list[Skipped] = []
    found: dict[str, File] = {}
    for file in scan(folder, "", outside):
        stem = file.name.removesuffix(Path(file.name).suffix)
        if stem in found:
            raise ValueError(
                f"{folder} has {shown(found[stem].name)} and {shown(file.name)}, but names must differ before their "
                f"ending. Rename or remove one."
            )
        found[stem] = file
    skipped += [Skipped(f"{folder.name}/{name}", reason) for name, reason in outside]
    return found


def _both_readable(left: Decoded, right: Decoded) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the images whose partner could be decoded too: the maps themselves where that holds for all."""
    if np.array_equal(left.kept, right.kept):
        return left.images, right.images
    both = np.intersect1d(left.kept, right.kept)
    return left.images[np.isin(left.kept, both)], right.images[np.isin(right.kept, both)]


def _check_count(pairs: int, request: Request) -> None:
    test = min(pairs, request.last(pairs))
    if pairs - test < SEARCH_LEAST:
        raise ValueError(
            f"{request.data_dir} has {pairs} pairs, {test} of them for the test, but training and validation need "
            f"{SEARCH_LEAST}. Files belong together when their names are equal but for the ending."
        )


def _check_sizes(inputs: NDArray[np.uint8], targets: NDArray[np.uint8], sides: tuple[Path, Path]) -> None:
    if inputs.shape[1:3] != targets.shape[1:3]:
        (height, width), (other_height, other_width) = inputs.shape[1:3], targets.shape[1:3]
        raise ValueError(
            f"Images in {sides[0].name}/ are {height}x{width}, those in {sides[1].name}/ {other_height}x{other_width}, "
            f"but must have one size (height x width). Give --image-size {height}x{width}, and they are resized."
        )


def _same_channels(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return both with the channels of the one that has more: grey images beside colour ones become colour."""
    most = max(left.shape[3], right.shape[3])
    grown = [side if side.shape[3] == most else np.repeat(side, most, axis=3) for side in (left, right)]
    return grown[0], grown[1]
