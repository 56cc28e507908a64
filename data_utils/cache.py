"""Image files decoded once, into a memory map that later studies open in no time.

    CACHE/NAME-HASH/                one folder for each folder of images; HASH is of its path
      FILES-ORDER-HxW/images.npy    (N, H, W, C) uint8; FILES is a hash of all names, sizes, times of change
      FILES-ORDER-HxW/skipped.json  what could not be decoded, and why
      lock                          held by the process that decodes

A file that is changed, added or removed gives another FILES, so the images are decoded anew, and what is there under an
older one is removed. Another ORDER, which another test fraction gives, lies beside it. Entries are renamed into place
when they are whole. They are written as plain files, not through the map: on a full disk a write is an error, a map a
signal that kills.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from data_utils.decoding import CHUNK, Size, decode, in_order, size_of
from data_utils.files import File, shown
from data_utils.images import Skipped
from data_utils.request import Progress

CHUNK_BYTES: Final = 8 * 2**20  # of decoded images in one piece of work; two for each core are kept
SMALL_BYTES: Final = 4096  # of a file, below which threads wait for the interpreter more than they decode
JPEG_RATIO: Final = 8  # pixels to bytes of a photograph at least
FORMAT: Final = 3  # to be raised when `decode` gives other pixels, or in another order
LOOKED_AT: Final = 1000  # files whose sizes an error tells of
SUGGESTED: Final = (32, 64, 96, 128, 224)  # sizes that the field uses


class Decoded(NamedTuple):
    """Images (N, H, W, C) uint8 as a read-only map; where in the list of files they were; and what was left out."""

    images: NDArray[np.uint8]
    kept: NDArray[np.int64]
    skipped: list[Skipped]


class _ColourFoundError(Exception):
    """What began with grey images has a coloured one."""


def cache_folder() -> Path:
    """Where decoded images lie: $ARCHSTUDY_CACHE, else archstudy in $XDG_CACHE_HOME, else in ~/.cache."""
    own = os.environ.get("ARCHSTUDY_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "archstudy"


def decoded(folder: Path, files: Sequence[File], image_size: Size | None, progress: Progress) -> Decoded:
    """Return the images of `files` in `folder`, in that order, from the cache or decoded into it.

    Files that are no images are left out; which and why is in the result. Raises `ValueError` for images of different
    sizes where `image_size` is None, where no file is an image, and where the cache cannot be written.
    """
    place = cache_folder() / f"{folder.resolve().name[:40]}-{_hash(os.fsencode(folder.resolve()))}"
    size = "as-it-is" if image_size is None else f"{image_size[0]}x{image_size[1]}"
    which, order = (_hash(repr((FORMAT, listed)).encode()) for listed in (sorted(files), list(files)))
    entry = place / f"{which}-{order}-{size}"
    found = _read(entry, files)
    if found is not None:
        return found
    try:
        with _locked(place, progress):
            found = _read(entry, files)  # another process may have made it meanwhile
            if found is None:
                _clean(place, entry)
                _build(entry, folder, files, image_size, progress)
                found = _read(entry, files)
    except OSError as error:
        raise ValueError(
            f"The decoded images cannot be kept in {place}: {error}. Make room there, or set ARCHSTUDY_CACHE to a "
            f"folder on another disk."
        ) from error
    assert found is not None
    return found


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@contextmanager
def _locked(place: Path, progress: Progress) -> Iterator[None]:
    """Keep a second process from decoding the same images; it waits, and finds them done."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("Waiting for another process that decodes these images", 0, 0)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _clean(place: Path, entry: Path) -> None:
    """Remove what no study can use any more: entries of files as they were before, and what a kill left half done.

    Who still has such an entry open keeps it: the system removes it when it is closed.
    """
    for old in place.iterdir():
        if old.is_dir() and old.name.partition("-")[0] != entry.name.partition("-")[0]:
            shutil.rmtree(old)
    shutil.rmtree(entry, ignore_errors=True)  # it was there but could not be read


def _read(entry: Path, files: Sequence[File]) -> Decoded | None:
    """Return what is in the cache, None where there is nothing or it is damaged."""
    try:
        skipped = json.loads((entry / "skipped.json").read_text())
        images = np.asarray(np.load(entry / "images.npy", mmap_mode="r"))  # a plain array over the map, for pickle
    except (OSError, ValueError):
        return None
    left_out = [position for position, _ in skipped]
    kept = np.setdiff1d(np.arange(len(files)), np.array(left_out, np.int64))
    if len(kept) != len(images):
        return None
    return Decoded(images, kept, [Skipped(shown(files[position].name), reason) for position, reason in skipped])


def _build(entry: Path, folder: Path, files: Sequence[File], image_size: Size | None, progress: Progress) -> None:
    building = Path(tempfile.mkdtemp(prefix="building-", dir=entry.parent))
    try:
        with (building / "images.npy").open("wb") as out, warnings.catch_warnings():
            # Set here, for all threads: the filters are the process's. A bomb is refused like a damaged file; the
            # rest is about data beside the pixels.
            warnings.filterwarnings("ignore", module="PIL")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            try:
                skipped = _write(out, folder, files, image_size, progress, channels=None)
            except _ColourFoundError:
                skipped = _write(out, folder, files, image_size, progress, channels=3)
            os.fsync(out.fileno())
        with (building / "skipped.json").open("w") as out_skipped:
            json.dump(skipped, out_skipped, indent=1)
            out_skipped.flush()
            os.fsync(out_skipped.fileno())
        building.rename(entry)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _write(
    out: BinaryIO,
    folder: Path,
    files: Sequence[File],
    image_size: Size | None,
    progress: Progress,
    channels: int | None,
) -> list[tuple[int, str]]:
    """Write all images as one array; return position and reason of each file that is left out."""

    def work(chunk: Sequence[File]) -> list[NDArray[np.uint8] | str]:
        return [_try(f"{folder}/{file.name}", image_size) for file in chunk]

    progress("Decoding images", 0, len(files))
    done = 0
    shape: tuple[int, int, int] | None = None
    skipped: list[tuple[int, str]] = []
    threads = 1 if sum(file.bytes for file in files) < SMALL_BYTES * len(files) else None
    with closing(in_order(work, _chunks(folder, files, image_size), threads)) as chunks:
        for chunk in chunks:
            for position, image in enumerate(chunk, done):
                if isinstance(image, str):
                    skipped.append((position, image))
                    continue
                if shape is None:
                    shape = (*image.shape[:2], channels or image.shape[2])
                    _begin(out, shape, len(files))
                _check_size(image, shape, folder, files, position)
                if shape[2] < image.shape[2]:
                    raise _ColourFoundError
                if shape[2] > image.shape[2]:
                    image = np.broadcast_to(image, shape)
                out.write(np.ascontiguousarray(image).data)
            done += len(chunk)
            progress("Decoding images", done, len(files))
    if shape is None:
        name, reason = files[0].name, skipped[0][1]
        raise ValueError(
            f"None of the {len(files)} files in {folder} is an image: {shown(name)} ({reason}) and so on. Give the "
            f"folder that holds the images."
        )
    _header(out, (len(files) - len(skipped), *shape))
    return skipped


def _chunks(folder: Path, files: Sequence[File], image_size: Size | None) -> Iterator[Sequence[File]]:
    """Give pieces of work: many small images, for whom a piece each is dear, or one large image.

    Images have one size, so the first that can be read tells what they take decoded. The files' bytes bound it where
    later ones are larger, which is found only when they are decoded, and make pieces of large photographs short.
    """
    height, width = image_size or _first_size(folder, files)
    most = min(CHUNK, max(1, CHUNK_BYTES // (3 * height * width)))
    start = held = 0
    for position, file in enumerate(files):
        if position > start and (position - start == most or held + file.bytes > CHUNK_BYTES // JPEG_RATIO):
            yield files[start:position]
            start, held = position, 0
        held += file.bytes
    yield files[start:]


def _first_size(folder: Path, files: Sequence[File]) -> Size:
    for file in files:
        try:
            return size_of(folder / file.name)
        except Exception:  # no image; why is told when it is decoded
            continue
    return 1, 1


def _try(path: str, image_size: Size | None) -> NDArray[np.uint8] | str:
    """Decode, or say in one line why not. Damaged files make Pillow raise nearly anything."""
    try:
        return decode(path, image_size)
    except Exception as error:
        if isinstance(error, UnidentifiedImageError):
            return "no image that Pillow knows"
        words = " ".join(str(error).replace(path, "it").split())
        return shown(words)[:200] or type(error).__name__


def _begin(out: BinaryIO, shape: tuple[int, ...], count: int) -> None:
    """Make room for the header, which is known at the end; see that there is room for the images."""
    needed = count * int(np.prod(shape))
    free = shutil.disk_usage(out.name).free
    if needed > free:
        raise OSError(f"{count:,} images take {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free")
    _header(out, (count, *shape))
    out.truncate()


def _header(out: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the head of an .npy file at its start. Numpy pads it so that the number of images can change."""
    out.seek(0)
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _check_size(
    image: NDArray[np.uint8], shape: tuple[int, ...], folder: Path, files: Sequence[File], position: int
) -> None:
    if image.shape[:2] == shape[:2]:
        return
    found = Counter({shape[:2]: 1, image.shape[:2]: 1})
    looked_at = files[:: max(1, len(files) // LOOKED_AT)]
    for file in looked_at:
        try:
            found[size_of(folder / file.name)] += 1
        except Exception:  # what is no image has no size
            continue
    common = ", ".join(f"{height}x{width}" for (height, width), _ in found.most_common(5))
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    side = int(np.median([min(size) for size in found.elements()]))
    suggested = max((size for size in SUGGESTED if size <= side), default=SUGGESTED[0])
    raise ValueError(
        f"The images in {folder} differ in size (height x width): {common}{more}; {shown(files[position].name)} is the "
        f"first to differ. A network takes one size. Give --image-size {suggested}, or another, and they are resized."
    )
