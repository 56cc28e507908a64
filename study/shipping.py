"""The code of a study on the way to a cluster: our packages, and the files of spaces of the user's own.

Ray's runtime environment carries folders to every node, wherever the workers run there. Files of the user's own go
along as copies, in a package made for that.
"""

import importlib.util
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PACKAGES: Final = ("study", "models", "data_utils", "analysis")
OWN: Final = "archstudy_own_files"


@dataclass(frozen=True)
class Code:
    """What a worker has to know: `copies` leads from files of the user's own to their copies in the package `OWN`."""

    copies: Mapping[str, str] = field(default_factory=dict)


def pack(files: list[Path], scratch: Path) -> tuple[list[str], Code]:
    """Return the folders to send, and the code as a worker finds it there.

    `files` are those of spaces of the user's own. Each goes with the Python files beside it and the packages there,
    which it may import, to a folder of `scratch`.
    """
    here = Path(__file__).parents[1]
    folders = [str(here / package) for package in PACKAGES]
    if not files:
        return folders, Code()
    copies = {}
    places = {folder: number for number, folder in enumerate(sorted({file.parent for file in files}))}
    for folder, number in places.items():
        for source in _python_files(folder):
            target = scratch / OWN / str(number) / source.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    for file in files:
        copies[str(file)] = f"{places[file.parent]}/{file.name}"
    return [*folders, str(scratch / OWN)], Code(copies)


def _python_files(folder: Path) -> Iterator[Path]:
    yield from folder.glob("*.py")
    for package in folder.iterdir():
        if (package / "__init__.py").is_file():
            yield from package.rglob("*.py")


def unpack(code: Code) -> None:
    """Have networks of the user's own made from the copies that came along. Does nothing where none did."""
    if not code.copies:
        return
    import models  # not for a driver, which needs no torch

    found = importlib.util.find_spec(OWN)
    assert found is not None, "the runtime environment holds it"
    assert found.submodule_search_locations is not None, "it is a folder"
    place = Path(next(iter(found.submodule_search_locations)))
    models.use_copies({file: str(place / copy) for file, copy in code.copies.items()})
