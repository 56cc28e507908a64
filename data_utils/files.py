"""The files of a data folder: found at any depth, in name order, with what tells whether they changed.

Names that begin with a dot are left alone.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image

from data_utils.images import Skipped

NUMBERS: Final = re.compile(r"([0-9]+)")
NAMED: Final = 20  # unusable files that an error names
SKIPPED_AT_MOST: Final = 10  # so many files may be unusable, or one in a hundred where that is more


class File(NamedTuple):
    """A file below the data folder: its name from there, bytes, and time of change in nanoseconds."""

    name: str
    bytes: int
    changed: int


def check_folder(folder: Path) -> None:
    """Raise `ValueError` for a data folder that is not there."""
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise ValueError(f"--data-dir is {folder}, but that {what}. Give the folder that holds the images.")


def check_skipped(skipped: Sequence[Skipped], count: int, folder: Path) -> None:
    """Raise `ValueError` when more files are unusable than a few of the `count`."""
    most = max(SKIPPED_AT_MOST, count // 100)
    if len(skipped) > most:
        named = ", ".join(f"{file} ({reason})" for file, reason in skipped[:NAMED])
        others = f" and {len(skipped) - NAMED:,} more" if len(skipped) > NAMED else ""
        raise ValueError(
            f"{len(skipped)} of {count} files in {folder} cannot be used, but at most {most} may be left out: "
            f"{named}{others}. Mend them, or move them elsewhere."
        )


def scan(folder: Path, prefix: str, skipped: list[Skipped], above: Sequence[os.stat_result] = ()) -> list[File]:
    """Return the images in `folder` and the folders inside it, by their names, in name order, after `prefix`.

    What cannot be one is added to `skipped`: here already, so that it does not count where the last of a class are
    taken. A file whose name has no ending may be an image.
    """
    files: list[File] = []
    here = folder.stat()
    if any(os.path.samestat(here, other) for other in above):
        skipped.append(Skipped(shown(prefix), "a link to a folder that holds it"))
        return files
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: natural(entry.name))
    for entry in entries:
        name = prefix + entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            files += scan(folder / entry.name, name + "/", skipped, (*above, here))
        elif not entry.is_file():
            skipped.append(Skipped(shown(name), "no file: a broken link or a device"))
        elif "." in entry.name and not is_image_name(entry.name):
            skipped.append(Skipped(shown(name), "not the ending of an image"))
        else:
            status = entry.stat()
            files.append(File(name, status.st_size, status.st_mtime_ns))
    return files


def natural(name: str) -> tuple[list[str | int], str]:
    """Return what names in one folder are sorted by: 9.jpg comes before 10.jpg."""
    return [int(text) if at % 2 else text for at, text in enumerate(NUMBERS.split(name))], name


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in `folder`, sorted by name as torchvision's `ImageFolder` does."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def loose(folder: Path, prefix: str) -> list[Skipped]:
    """Return the images that lie in `folder` itself, where none is looked for."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and is_image_name(path.name))
    return [Skipped(shown(prefix + name), "in no class folder") for name in names]


def is_image_name(name: str) -> bool:
    """Whether a file called so should be an image that Pillow reads."""
    ending = name.rpartition(".")[2].lower()  # by hand: pathlib takes longer than all the rest of a scan
    return not name.startswith(".") and "." in name and f".{ending}" in Image.registered_extensions()


def shown(name: str) -> str:
    """A file name as it can be printed: one that is no Unicode has its odd bytes escaped."""
    return name.encode("utf-8", "backslashreplace").decode()
