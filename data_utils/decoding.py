"""One image file as an array, whatever its format, mode and size. Pillow does the work.

The rules, the same for every file: a rotation in the EXIF data is applied; of an animation the first frame is taken;
transparent parts lie on white; 16-bit values are scaled from 0..65535 to 0..255; what is stored as grey (modes 1, L,
LA, I;16) has one channel, all else becomes RGB without regard to colour profiles. A resize gives exactly the size asked
for, so the aspect ratio is not kept; it is bilinear and antialiased, as torchvision's `Resize((height, width))`. A JPEG
at least four times as high and wide as that is first halved by its decoder, once or up to three times, to no less than
twice the size asked for: its pixels differ a little from torchvision's.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

CHUNK: Final = 64  # images in one piece of work
COMMON: Final = ("JPEG", "PNG")  # formats that are tried first
SIXTEEN_AS_I: Final = ("PNG", "PPM")  # formats without 32-bit pixels, whose 16 bits Pillow may read as mode I
NO_RANGE: Final = "pixels of 32 bits or with a sign have no range of their own; save it with 8 or 16 bits"
ROTATED: Final = (5, 6, 7, 8)  # EXIF orientations that swap height and width
ORIENTATION: Final = 0x0112

Size = tuple[int, int]  # height, width
Given = TypeVar("Given")
Made = TypeVar("Made")


def decode(path: Path | str, image_size: Size | None = None) -> NDArray[np.uint8]:
    """Return the image in `path` as (H, W, C), C being 1 for what is stored as grey, else 3.

    Raises whatever Pillow raises for a file that is damaged or no image, and `ValueError` for pixels of 32
    bits or with a sign.
    """
    with _open(path) as file:
        if image_size is not None:
            _reduce(file, image_size)
        file.load()
        ImageOps.exif_transpose(file, in_place=True)
        pixels = np.asarray(_resize(_grey_or_rgb(file), image_size))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def size_of(path: Path | str) -> Size:
    """Return height and width as `decode` gives them, from the head of the file alone."""
    with _open(path) as file:
        width, height = file.size
        return (width, height) if file.getexif().get(ORIENTATION) in ROTATED else (height, width)


def resized(images: NDArray[np.uint8], image_size: Size) -> NDArray[np.uint8]:
    """Return images (N, H, W, C), C being 1 or 3, in another size, on all cores."""
    result = np.empty((len(images), *image_size, images.shape[3]), np.uint8)

    def resize(start: int) -> None:
        for index in range(start, min(start + CHUNK, len(images))):
            image = images[index, ..., 0] if images.shape[3] == 1 else images[index]
            result[index] = np.asarray(_resize(Image.fromarray(image), image_size)).reshape(result.shape[1:])

    for _ in in_order(resize, range(0, len(images), CHUNK)):
        pass
    return result


def in_order(
    work: Callable[[Given], Made], items: Iterable[Given], threads: int | None = None
) -> Generator[Made, None, None]:
    """Give `work(item)` for each item, in order, worked on by so many threads, two items ahead for each.

    By default a thread per core, since Pillow lets go of the interpreter while it decodes and resizes.
    """
    threads = threads or os.cpu_count() or 1
    pending: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="images") as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) >= 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _open(path: Path | str) -> Image.Image:
    """Open lazily. Pillow tries its formats in turn, the rare ones first, which doubles the time of a small file."""
    try:
        return Image.open(path, formats=COMMON)
    except UnidentifiedImageError:
        return Image.open(path)


def _reduce(image: Image.Image, image_size: Size) -> None:
    """Let the decoder of a JPEG leave out detail that the resize would; other formats have none that can."""
    height, width = image_size[::-1] if image.getexif().get(ORIENTATION) in ROTATED else image_size
    image.draft(None, (2 * width, 2 * height))


def _grey_or_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if image.mode == "F":
        raise ValueError(NO_RANGE)
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Scale to 8 bits. Mode I has 32 with a sign, whose range no file tells; Pillow reads 16-bit PGM into it too."""
    if image.mode == "I" and image.format not in SIXTEEN_AS_I:
        raise ValueError(NO_RANGE)
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _resize(image: Image.Image, image_size: Size | None) -> Image.Image:
    if image_size is None or image.size == image_size[::-1]:
        return image
    return image.resize(image_size[::-1], Image.Resampling.BILINEAR)
