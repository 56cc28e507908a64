"""Files of a study on a file system that all nodes reach: any that pyarrow knows by its URI, such as s3://.

Ray's own storage finds file systems in the same way. Without `--storage` all of this is the run folder itself.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from study.faults import files_in

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

WHOLE_OR_NOT: Final = ("s3", "gcs", "abfs")  # where a file appears once it is written whole
PATIENCE: Final = (1.0, 5.0, 20.0)  # seconds before a storage that did not answer is asked again


@dataclass(frozen=True)
class Storage:
    """The folder `folder` below `uri`. Raises `OSError` when the file system fails, `ValueError` for no URI of one."""

    uri: str
    folder: str = ""

    def __str__(self) -> str:
        return f"{self.uri}/{self.folder}"

    def __truediv__(self, name: str) -> Storage:
        return replace(self, folder=f"{self.folder}/{name}" if self.folder else name)

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri, "folder": self.folder}  # a connection does not travel

    @cached_property
    def _place(self) -> tuple[FileSystem, str]:
        from pyarrow.fs import FileSystem  # half a second that a study without a storage need not spend

        with _os_errors(but=ValueError):
            system, base = FileSystem.from_uri(self.uri)
        return system, f"{base.rstrip('/')}/{self.folder}".rstrip("/")

    def _path(self, name: str) -> str:
        return f"{self._place[1]}/{name}"

    def put(self, file: Path, name: str) -> None:
        """Copy `file` there, whole or not at all."""
        self.write(name, file.read_bytes())

    def write(self, name: str, content: bytes) -> None:
        """Make the file `name`, whole or not at all."""
        system, path = self._place[0], self._path(name)
        with _os_errors():
            if system.type_name in WHOLE_OR_NOT:
                _write(system, path, content)
            else:
                _write_and_rename(system, path, content)

    def get(self, name: str, file: Path) -> bool:
        """Copy `name` from there to `file`; return whether there is one."""
        content = self.read(name)
        if content is None:
            return False
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f"{file.name}.fetched")
        temporary.write_bytes(content)
        temporary.rename(file)
        return True

    def read(self, name: str) -> bytes | None:
        """Return the content of `name`, None where there is none."""
        system, path = self._place[0], self._path(name)
        with _os_errors(), _unless_missing(system, path):
            with system.open_input_stream(path, compression=None) as stream:
                content: bytes = stream.read()
            return content
        return None

    def names(self, ending: str) -> set[str]:
        """Return the names of all files that end with `ending`."""
        from pyarrow.fs import FileSelector

        system, base = self._place
        with _os_errors():
            found = system.get_file_info(FileSelector(base, recursive=True, allow_not_found=True))
        return {file.path.removeprefix(f"{base}/") for file in found if file.path.endswith(ending)}

    def delete(self, name: str) -> None:
        """Remove `name`, if it is there."""
        system, path = self._place[0], self._path(name)
        with _os_errors(), _unless_missing(system, path):
            system.delete_file(path)


def _write(system: FileSystem, path: str, content: bytes) -> None:
    with system.open_output_stream(path) as stream:
        stream.write(content)


def _write_and_rename(system: FileSystem, path: str, content: bytes) -> None:
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"
    system.create_dir(path.rpartition("/")[0], recursive=True)
    try:
        _write(system, temporary, content)
        system.move(temporary, path)
    except BaseException:
        with suppress(Exception):  # what went wrong first is what counts
            system.delete_file(temporary)
        raise


@contextmanager
def _os_errors(but: type[Exception] = OSError) -> Iterator[None]:
    """Make an `OSError` of what file systems of fsspec raise: that is of their own libraries."""
    try:
        yield
    except (OSError, MemoryError, but):
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


@contextmanager
def _unless_missing(system: FileSystem, path: str) -> Iterator[None]:
    """Pass over a file that is not there. Looks twice: fsspec says the same first where it has no answer."""
    from pyarrow.fs import FileType

    try:
        yield
    except FileNotFoundError:
        if system.get_file_info(path).type != FileType.NotFound:
            raise


class Files:
    """The files of one job as a worker sees them, in `folder`.

    That is their place in the run folder, or, where a `storage` is given, a folder of this machine that ends with the
    object: files are fetched from the storage, and kept there.
    """

    def __init__(self, folder: Path, storage: Storage | None) -> None:
        self._storage = storage
        self.folder = folder
        if storage is not None:
            with files_in(tempfile.gettempdir()):
                self.folder = Path(tempfile.mkdtemp(prefix="archstudy-"))
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def fetch(self, *names: str) -> None:
        """Bring files here, if they are not; those that the storage lacks stay missing. Raises `FilesError`."""
        if self._storage is not None:
            with files_in(f"{self._storage} to {self.folder}"):
                for name in names:
                    self._insist(self._storage, name)

    def _insist(self, storage: Storage, name: str) -> None:
        for patience in PATIENCE:
            try:
                storage.get(name, self.folder / name)
                return
            except OSError:
                time.sleep(patience)
        storage.get(name, self.folder / name)

    def keep(self, *names: str) -> None:
        """See to it that other machines find these files. Raises `FilesError`."""
        if self._storage is not None:
            with files_in(f"{self.folder} to {self._storage}"):
                for name in names:
                    self._storage.put(self.folder / name, name)


def save_arrays(path: Path, **arrays: Any) -> None:
    """Write arrays as a file of numpy's, whole or not at all."""
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **arrays)
    temporary.rename(path)
