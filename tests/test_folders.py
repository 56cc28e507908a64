"""Folders of images: every mode and size, layouts, refusals, the cache, pairs. The images are made here, small."""

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from data_utils import cache, decoding
from data_utils.datasets import load
from data_utils.decoding import decode, resized, size_of
from data_utils.files import File, natural, scan
from data_utils.folders import SEARCH_LEAST, find, load_folder
from data_utils.images import Dataset
from data_utils.pairs import load_pairs
from data_utils.request import Request
from tests.conftest import labels_of, targets_of
from tests.test_data import FILES

RED, GREEN = (255, 0, 0), (0, 255, 0)


def numbered(path: Path, number: int, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> None:
    """Write an image whose pixels all are `number`, without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, number if mode == "L" else (number,) * 3).save(path)


def classes(folder: Path, count: int = 10, names: tuple[str, ...] = ("bus", "car"), mode: str = "RGB") -> Path:
    """Make class folders of numbered images: bus 0, 1, 2, ... and car 100, 101, 102, ..."""
    for at, name in enumerate(names):
        for number in range(count):
            numbered(folder / name / f"{number}.png", 100 * at + number, mode=mode)
    return folder


def numbers(images: NDArray[np.uint8]) -> list[int]:
    """The numbers of the images, which all their pixels hold."""
    first = images[:, 0, 0, 0]
    assert (images == first[:, None, None, None]).all()
    return [int(number) for number in first]


def load_it(folder: Path, image_size: tuple[int, int] | None = None, test_fraction: float | None = None) -> Dataset:
    return load("folder", folder, image_size, test_fraction)


# One file


def test_every_mode_becomes_grey_or_rgb_of_the_same_picture(tmp_path: Path) -> None:
    grey = np.array([[0, 255], [128, 64]], np.uint8)
    sixteen = grey.astype(np.uint16) * 257
    rgb = np.array([[RED, GREEN], [(9, 8, 7), (200, 100, 50)]], np.uint8)
    one, cmyk = np.array([[0, 255], [255, 0]], np.uint8), Image.fromarray(rgb).convert("CMYK")
    made: dict[str, tuple[Image.Image, NDArray[np.uint8]]] = {
        "grey.png": (Image.fromarray(grey), grey[..., None]),
        "one-bit.png": (Image.fromarray(one).convert("1"), one[..., None]),
        "sixteen.png": (Image.fromarray(sixteen), grey[..., None]),
        "sixteen.tif": (Image.fromarray(sixteen), grey[..., None]),
        "sixteen.pgm": (Image.fromarray(sixteen), grey[..., None]),
        "rgb.bmp": (Image.fromarray(rgb), rgb),
        "palette.gif": (Image.fromarray(rgb).quantize(4), rgb),
        "palette.png": (Image.fromarray(rgb).quantize(4), rgb),
        "cmyk.tif": (cmyk, rgb),
    }
    for name, (image, expected) in made.items():
        image.save(tmp_path / name)
        assert np.abs(decode(tmp_path / name).astype(int) - expected).max() <= (1 if "cmyk" in name else 0), name


@pytest.mark.parametrize(
    ("kind", "most"), [(np.int32, 255), (np.int32, 60_000), (np.int32, 2**31 - 1), (np.float32, 1)]
)
def test_pixels_whose_range_no_file_tells_are_refused(tmp_path: Path, kind: type, most: int) -> None:
    """Values up to 255 in 32 bits would be black as 16-bit ones."""
    Image.fromarray(np.array([[0, most]], kind)).save(tmp_path / "image.tif")
    with pytest.raises(ValueError, match="pixels of 32 bits or with a sign have no range"):
        decode(tmp_path / "image.tif")


def test_transparent_parts_lie_on_white(tmp_path: Path) -> None:
    rgba = np.array([[(*RED, 255), (*RED, 0)]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    assert decode(tmp_path / "rgba.png")[0].tolist() == [[255, 0, 0], [255, 255, 255]]
    Image.fromarray(np.array([[(10, 255), (10, 0)]], np.uint8)).save(tmp_path / "la.png")
    assert decode(tmp_path / "la.png").tolist() == [[[10], [255]]]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), mode=None).convert("P")
    palette.putpalette([*RED, *GREEN])
    palette.save(tmp_path / "palette.png", transparency=0)
    assert decode(tmp_path / "palette.png")[0].tolist() == [[255, 255, 255], [0, 255, 0]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotation_in_the_exif_data_is_applied(tmp_path: Path, orientation: int) -> None:
    """The same picture, stored in each of the eight ways, is the same array."""
    upright = np.full((16, 24), 250, np.uint8)
    upright[:8, :8] = 5
    turns: list[Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = [
        lambda a: a, np.fliplr, lambda a: np.rot90(a, 2), np.flipud, np.transpose, np.rot90,
        lambda a: np.rot90(a, 2).T, lambda a: np.rot90(a, -1),
    ]  # fmt: skip
    stored = Image.fromarray(np.ascontiguousarray(turns[orientation - 1](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.jpg", exif=exif, quality=100)
    assert size_of(tmp_path / "photo.jpg") == (16, 24)
    assert np.abs(decode(tmp_path / "photo.jpg")[..., 0].astype(int) - upright).max() <= 3


def test_a_resize_is_torchvisions(tmp_path: Path) -> None:
    from torchvision.transforms import Resize

    rgb = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(rgb).save(tmp_path / "photo.png")
    expected = np.asarray(Resize((16, 20))(Image.fromarray(rgb)))
    assert np.array_equal(decode(tmp_path / "photo.png", (16, 20)), expected)
    many = np.repeat(rgb[None], 130, axis=0)
    assert np.array_equal(resized(many, (16, 20)), np.repeat(expected[None], 130, axis=0))
    assert np.array_equal(resized(many[..., :1], (16, 20)), np.repeat(expected[None, ..., :1], 130, axis=0))


def photograph(height: int, width: int) -> Image.Image:
    """Smooth blots of colour, as a photograph has."""
    blots = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(blots).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(("size", "reduced"), [((300, 400), 1), ((480, 640), 2), ((960, 1280), 4), ((4800, 640), 2)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_reduced_by_its_decoder_to_twice_the_size_or_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], reduced: int, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photograph(*size).save(tmp_path / "photo.jpg", quality=95, exif=exif)
    wanted = (120, 160) if orientation == 1 else (160, 120)
    with Image.open(tmp_path / "photo.jpg") as file:
        whole = np.asarray(ImageOps.exif_transpose(file).resize(wanted[::-1], Image.Resampling.BILINEAR))
    sizes: list[tuple[int, int]] = []
    real = decoding._resize

    def watched(image: Image.Image, image_size: tuple[int, int] | None) -> Image.Image:
        sizes.append(image.size)
        return real(image, image_size)

    monkeypatch.setattr(decoding, "_resize", watched)
    made = decode(tmp_path / "photo.jpg", wanted)
    assert sorted(sizes[0]) == sorted(side // reduced for side in size)
    assert np.array_equal(made, whole) if reduced == 1 else np.abs(made.astype(int) - whole).max() <= 4
    assert size_of(tmp_path / "photo.jpg") == (size if orientation == 1 else size[::-1])


def test_numbers_in_names_are_numbers() -> None:
    names = ["img10.png", "img9b.png", "9.png", "img9.png", "x", "img09.png", "10.png", "imgx.png", "img9-2.png"]
    ordered = ["9.png", "10.png", "img9-2.png", "img09.png", "img9.png", "img9b.png", "img10.png", "imgx.png", "x"]
    assert sorted(names, key=natural) == ordered


def test_folders_inside_are_in_name_order_too(tmp_path: Path) -> None:
    for name in ("b10/1.png", "b9/20.png", "b9/3.png", "b9.png", "a.png"):
        numbered(tmp_path / name, 0)
    assert [file.name for file in scan(tmp_path, "", [])] == ["a.png", "b9/3.png", "b9/20.png", "b9.png", "b10/1.png"]


# Layouts


def test_the_last_fifth_of_each_class_in_name_order_is_the_test(tmp_path: Path) -> None:
    dataset = load_it(classes(tmp_path / "vehicles", 12))
    assert (dataset.name, dataset.classes, dataset.image_shape) == ("vehicles", ("bus", "car"), (3, 8, 8))
    assert numbers(dataset.train.images) == [*range(10), *range(100, 110)]
    assert numbers(dataset.test.images) == [10, 11, 110, 111]  # 2.4 rounded
    assert labels_of(dataset.test).tolist() == [0, 0, 1, 1]
    assert dataset.mirror
    assert dataset.skipped == ()


def test_train_and_test_are_slices_of_one_map_that_cannot_be_written(tmp_path: Path) -> None:
    dataset = load_it(classes(tmp_path))
    assert type(dataset.train.images) is np.ndarray
    assert not dataset.train.images.flags.writeable
    [map_] = {id(part.images.base) for part in (dataset.train, dataset.test)}
    assert map_
    where = dataset.train.images.__array_interface__["data"][0]
    assert dataset.test.images.__array_interface__["data"][0] == where + dataset.train.images.nbytes


def test_the_test_fraction_is_a_choice(tmp_path: Path) -> None:
    dataset = load_it(classes(tmp_path), test_fraction=0.5)
    assert numbers(dataset.test.images) == [5, 6, 7, 8, 9, 105, 106, 107, 108, 109]
    assert "the last 50 %" in dataset.source


def test_folders_inside_a_class_folder_and_odd_names_are_found(tmp_path: Path) -> None:
    classes(tmp_path)
    for at, name in enumerate(("deep/er/x.png", "noending", "ünïcode 1.PNG", os.fsdecode(b"odd\xff.png"))):
        numbered(tmp_path / "new.png", 50 + at)
        target = tmp_path / "bus" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "new.png").rename(target)
    (tmp_path / "bus" / ".hidden.png").write_text("no image")
    (tmp_path / "README.txt").write_text("not looked at")
    (tmp_path / ".git").mkdir()
    dataset = load_it(tmp_path)
    every = numbers(dataset.train.images[labels_of(dataset.train) == 0]) + numbers(dataset.test.images[:3])
    assert sorted(every) == [*range(10), 50, 51, 52, 53]
    assert dataset.skipped == ()


def test_published_parts_are_taken_as_they_are_and_validation_joins_training(tmp_path: Path) -> None:
    classes(tmp_path / "Train", 6)
    classes(tmp_path / "test", 3)
    numbered(tmp_path / "val" / "car" / "1.png", 200)
    dataset = load_it(tmp_path)
    assert numbers(dataset.train.images) == [*range(6), *range(100, 106), 200]
    assert numbers(dataset.test.images) == [0, 1, 2, 100, 101, 102]
    assert "drawn from Train/ and val/" in dataset.source


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert load_it(classes(tmp_path, names=("bus", "train"))).classes == ("bus", "train")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_grey_folders_have_one_channel_and_one_colour_image_makes_it_three(tmp_path: Path, mode: str) -> None:
    classes(tmp_path, mode="L")
    numbered(tmp_path / "car" / "5.png", 105, mode=mode)
    dataset = load_it(tmp_path)
    assert dataset.image_shape == ((1, 8, 8) if mode == "L" else (3, 8, 8))
    assert numbers(dataset.train.images) == [*range(8), *range(100, 108)]


# Refusals


def refusal(folder: Path, **asked: object) -> str:
    with pytest.raises(ValueError, match=r"\.$") as raised:
        load_it(folder, **asked)  # type: ignore[arg-type]
    return str(raised.value)


def test_a_folder_that_cannot_make_a_study_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nowhere")
    assert "no folder and 0 images" in refusal(tmp_path)
    numbered(tmp_path / "bus" / "1.png", 1)
    assert "holds one folder, bus/" in refusal(tmp_path)
    (tmp_path / "car" / "deep").mkdir(parents=True)
    assert "No image in the class folder car of" in refusal(tmp_path)
    assert "is no folder" in refusal(tmp_path / "bus" / "1.png")


def test_a_class_that_is_too_small_is_named_with_its_count(tmp_path: Path) -> None:
    classes(tmp_path, 10)
    for number in range(1, 10):
        (tmp_path / "car" / f"{number}.png").unlink()
    message = refusal(tmp_path)
    assert "The class 'car' has 0 images for training and validation and 1 for the test" in message
    assert message.endswith("Add images or leave the class out.")
    for number in range(SEARCH_LEAST + 1):
        numbered(tmp_path / "car" / f"{number}.png", number)
    assert labels_of(load_it(tmp_path).test).tolist() == [0, 0, 1]
    assert refusal(tmp_path, test_fraction=0.5).endswith("leave the class out, or change --test-fraction.")


def test_no_fraction_is_advised_where_the_test_split_is_published(tmp_path: Path) -> None:
    classes(tmp_path / "train", SEARCH_LEAST - 1)
    classes(tmp_path / "test", 10)
    assert refusal(tmp_path).endswith("Add images or leave the class out.")


@pytest.mark.parametrize("others", [0, 57])
def test_the_least_class_can_be_split_whatever_the_others(tmp_path: Path, others: int) -> None:
    from data_utils.splits import split

    classes(tmp_path, SEARCH_LEAST + 1, names=("a", "b"))
    for name in "cdefgh":
        for number in range(max(others, SEARCH_LEAST + 1)):
            numbered(tmp_path / name / f"{number}.png", number)
    dataset = load_it(tmp_path)
    for seed in range(5):
        assert np.bincount(split(dataset.train, seed).validation.labels, minlength=8).min() >= 1


def test_a_test_fraction_beside_a_published_test_split_is_refused(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    classes(tmp_path / "test")
    assert "--test-fraction is 0.3, but" in refusal(tmp_path, test_fraction=0.3)
    for name in ("mnist", "cifar10"):
        with pytest.raises(ValueError, match=f"--test-fraction is 0.3, but {name} defines its own"):
            load(name, tmp_path, test_fraction=0.3)


def test_unclear_layouts_are_refused(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    classes(tmp_path / "val")
    assert "has train/ and val/ but no test/" in refusal(tmp_path)
    (tmp_path / "val").rename(tmp_path / "test")
    numbered(tmp_path / "more" / "1.png", 1)
    assert "has images in more/ beside train/, test/" in refusal(tmp_path) or "beside test/, train/" in refusal(
        tmp_path
    )
    (tmp_path / "more").rename(tmp_path / "test" / "lorry")
    assert "The class 'lorry' is in" in refusal(tmp_path)
    (tmp_path / "test" / "lorry").rename(tmp_path / "Testing")
    assert "which say the same" in refusal(tmp_path)


def test_different_sizes_are_refused_with_the_sizes_and_a_remedy_that_works(tmp_path: Path) -> None:
    classes(tmp_path)
    numbered(tmp_path / "car" / "4.png", 104, size=(60, 40))
    message = refusal(tmp_path)
    assert "8x8, 40x60" in message
    assert "car/4.png is the first to differ" in message
    assert "--image-size 32" in message
    assert load_it(tmp_path, image_size=(32, 32)).image_shape == (3, 32, 32)
    assert load_it(tmp_path, image_size=(16, 24)).image_shape == (3, 16, 24)


# What is no image


def spoil(folder: Path) -> None:
    """Seven files that are no images, each in another way."""
    bus = folder / "bus"
    (bus / "1.png").write_bytes((bus / "1.png").read_bytes()[:-30])
    (bus / "0empty.png").write_bytes(b"")
    (bus / "notes.txt").write_text("two buses")
    (bus / "broken.png").symlink_to("nowhere.png")
    (bus / "loop").symlink_to(bus, target_is_directory=True)
    Image.new("F", (8, 8)).save(bus / "0float.tif")
    numbered(folder / "loose.png", 1)


def test_what_is_no_image_is_left_out_and_named(tmp_path: Path) -> None:
    spoil(classes(tmp_path))
    dataset = load_it(tmp_path)
    reasons = {skipped.file: skipped.reason for skipped in dataset.skipped}
    assert reasons == {
        "loose.png": "in no class folder",
        "bus/broken.png": "no file: a broken link or a device",
        "bus/loop/": "a link to a folder that holds it",
        "bus/1.png": reasons["bus/1.png"],  # Pillow's words
        "bus/0empty.png": "no image that Pillow knows",
        "bus/0float.tif": decoding.NO_RANGE,
        "bus/notes.txt": "not the ending of an image",
    }
    assert "truncated" in reasons["bus/1.png"]
    assert numbers(dataset.train.images[labels_of(dataset.train) == 0]) == [0, *range(2, 8)]
    assert numbers(dataset.test.images) == [8, 9, 108, 109]
    assert load_it(tmp_path).skipped == dataset.skipped  # from the cache as well


def test_more_than_ten_are_refused_with_the_first_names(tmp_path: Path) -> None:
    classes(tmp_path)
    for number in range(11):
        (tmp_path / "car" / f"a{number}.txt").write_text("no image")
    message = refusal(tmp_path)
    assert "11 of 31 files" in message
    assert "car/a0.txt (not the ending of an image)" in message
    assert "car/a10.txt (not the ending of an image). Mend them" in message
    for number in range(11, 25):
        (tmp_path / "car" / f"a{number}.txt").write_text("no image")
    assert "car/a19.txt (not the ending of an image) and 5 more. Mend them" in refusal(tmp_path)
    for number in (0, *range(11, 25)):
        (tmp_path / "car" / f"a{number}.txt").unlink()
    assert len(load_it(tmp_path).skipped) == 10


def test_a_folder_without_any_image_is_refused(tmp_path: Path) -> None:
    for name in ("bus", "car"):
        (tmp_path / name).mkdir()
        for number in range(8):
            (tmp_path / name / f"{number}.png").write_text("no image")
    assert "None of the 16 files" in refusal(tmp_path)


@pytest.mark.parametrize("pixels", [30, 50])
def test_a_decompression_bomb_is_a_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
    """Pillow warns of one above its limit and refuses one above twice the limit; 64 pixels stand for billions."""
    classes(tmp_path, 10)
    for name in ("bus", "car"):
        for number in range(10):
            numbered(tmp_path / name / f"{number}.png", number, size=(4, 4))
    numbered(tmp_path / "bus" / "3.png", 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    [skipped] = load_it(tmp_path).skipped
    assert skipped.file == "bus/3.png"
    assert "decompression bomb" in skipped.reason


# The cache


def decodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are decoded from now on."""
    names: list[str] = []
    real = decoding.decode

    def watched(path: str, image_size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        names.append(path)
        return real(path, image_size)

    monkeypatch.setattr(cache, "decode", watched)
    return names


def entries(folder: Path) -> list[str]:
    [place] = [path for path in cache.cache_folder().iterdir() if path.name.startswith(f"{folder.name}-")]
    return sorted(path.name for path in place.iterdir() if path.is_dir())


def test_images_are_decoded_once_and_again_when_anything_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = classes(tmp_path / "again")
    names = decodings(monkeypatch)
    before = load_it(folder).train.sha256()
    assert len(names) == 20
    assert load_it(folder).train.sha256() == before
    assert len(names) == 20
    changes: list[Callable[[], object]] = [
        lambda: numbered(folder / "car" / "3.png", 77),  # changed
        lambda: os.utime(folder / "car" / "3.png", ns=(1, 1)),  # touched
        lambda: numbered(folder / "car" / "30.png", 78),  # added
        lambda: (folder / "car" / "30.png").unlink(),  # removed
        lambda: (folder / "car" / "3.png").rename(folder / "car" / "33.png"),
    ]
    for change in changes:
        names.clear()
        old = entries(folder)
        change()
        load_it(folder)
        assert len(names) in (20, 21)
        assert len(entries(folder)) == 1  # what was there before is gone
        assert entries(folder) != old
    names.clear()
    load_it(folder, image_size=(10, 10))
    load_it(folder)
    assert len(names) == 20  # another size lies beside the first
    assert len(entries(folder)) == 2


def test_another_test_fraction_keeps_what_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = classes(tmp_path / "fractions")
    before = load_it(folder).train.sha256()
    assert numbers(load_it(folder, test_fraction=0.5).train.images) == [*range(5), *range(100, 105)]
    names = decodings(monkeypatch)
    assert load_it(folder).train.sha256() == before
    assert names == []
    assert len(entries(folder)) == 2
    numbered(folder / "car" / "3.png", 77)
    load_it(folder)
    assert len(entries(folder)) == 1  # both were of files that are no more


def test_a_damaged_entry_is_made_anew(tmp_path: Path) -> None:
    folder = classes(tmp_path / "damaged")
    before = load_it(folder).train.sha256()
    [path] = cache.cache_folder().glob("damaged-*/*/images.npy")
    with path.open("r+b") as file:
        file.truncate(200)
    assert load_it(folder).train.sha256() == before


def test_a_full_disk_leaves_nothing_behind_and_is_said(tmp_path: Path) -> None:
    folder = classes(tmp_path / "full")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limits[1]))  # a write beyond is an error, as on a full disk
    try:
        message = refusal(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot be kept in" in message
    assert "ARCHSTUDY_CACHE" in message
    assert entries(folder) == []
    assert len(load_it(folder).train) == 16


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ARCHSTUDY_CACHE", str(tmp_path / "file"))
    assert "ARCHSTUDY_CACHE" in refusal(classes(tmp_path / "images"))


def test_an_interruption_leaves_nothing_and_the_next_start_decodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = classes(tmp_path / "cut")

    def interrupt(_doing: str, _done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load("folder", folder, progress=interrupt)
    assert entries(folder) == []
    (next(cache.cache_folder().glob("cut-*")) / "building-killed").mkdir()  # as SIGKILL leaves it
    names = decodings(monkeypatch)
    load_it(folder)
    assert len(names) == 20
    assert not any(name.startswith("building") for name in entries(folder))


def test_two_at_once_decode_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = classes(tmp_path / "both")
    names, told, made = decodings(monkeypatch), [], []
    second = threading.Thread(
        target=lambda: made.append(load("folder", folder, progress=lambda *now: told.append(now)))
    )
    started: list[bool] = []

    def begin_second(_doing: str, _done: int, _total: int) -> None:
        if not started:
            started.append(True)
            second.start()
            while not told:  # it says that it waits
                threading.Event().wait(0.01)

    first = load("folder", folder, progress=begin_second)
    second.join(20)
    assert told[0][0].startswith("Waiting for another process")
    assert len(names) == 20
    assert made[0].train.sha256() == first.train.sha256()


def test_the_cache_lies_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARCHSTUDY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/where")
    assert cache.cache_folder() == Path("/some/where/archstudy")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder() == Path.home() / ".cache" / "archstudy"


def test_pieces_of_work_are_bounded_in_bytes_and_lose_nothing(tmp_path: Path) -> None:
    numbered(tmp_path / "small.png", 1)
    numbered(tmp_path / "large.png", 1, size=(2000, 1500))  # 9 MB decoded, a few kB in the file

    def lengths(name: str, count: int, file_bytes: int, image_size: tuple[int, int] | None = None) -> list[int]:
        files = [File(name, file_bytes, 0)] * count
        chunks = list(cache._chunks(tmp_path, files, image_size))
        assert [file for chunk in chunks for file in chunk] == files
        return [len(chunk) for chunk in chunks]

    assert lengths("small.png", 130, 1000) == [64, 64, 2]
    assert lengths("large.png", 3, 1000) == [1, 1, 1]
    assert lengths("large.png", 100, 1000, (224, 224)) == [55, 45]
    assert lengths("large.png", 3, 3_000_000, (224, 224)) == [1, 1, 1]
    assert lengths("small.png", 3, 3_000_000) == [1, 1, 1]
    assert lengths("missing.png", 2, 10) == [2]


def test_only_two_results_for_each_core_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    begun: list[int] = []
    results = decoding.in_order(lambda item: begun.append(item) or item, range(100))  # type: ignore[func-returns-value]
    assert next(results) == 0
    threading.Event().wait(0.05)
    assert len(begun) <= 6
    assert list(results) == list(range(1, 100))


@pytest.mark.parametrize(("side", "threads"), [(8, 1), (64, 2)])  # some 270 bytes, and 12,000, of noise
def test_small_files_are_decoded_by_one_thread_and_larger_ones_by_several(
    side: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(cache, "CHUNK", 5)
    pixels, both, seen = np.random.default_rng(0).integers(0, 256, (side, side, 3)), threading.Barrier(2), set[int]()

    def watched(path: str, image_size: tuple[int, int] | None) -> NDArray[np.uint8]:
        seen.add(threading.get_ident())
        if threads == 2:
            both.wait(timeout=10)
        time.sleep(0.01)  # a second thread would begin meanwhile
        return decode(path, image_size)

    for name in ("bus", "car"):
        for number in range(10):
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "data" / name / f"{number}.png")
    monkeypatch.setattr(cache, "decode", watched)
    load_it(tmp_path / "data")
    assert len(seen) == threads


def test_progress_begins_at_nothing_and_ends_with_all(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    folder = classes(tmp_path / "told", 100)
    load("folder", folder, progress=lambda _doing, done, total: told.append((done, total)))
    assert told == [(done, 200) for done in (0, 64, 128, 192, 200)]


@pytest.mark.slow
def test_a_kill_while_decoding_leaves_no_entry(tmp_path: Path) -> None:
    folder = classes(tmp_path / "killed", 200)
    code = (
        "import os, sys; from pathlib import Path; from data_utils.datasets import load\n"
        "load('folder', Path(sys.argv[1]), progress=lambda w, done, of: done > 200 and os.kill(os.getpid(), 9))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=Path(__file__).parents[1])
    assert done.returncode == -9
    assert [name[:8] for name in entries(folder)] == ["building"]
    assert len(load_it(folder).train) == 320
    assert not any(name.startswith("building") for name in entries(folder))


# Pairs


def pairs(folder: Path, names: tuple[str, str] = ("input", "target"), count: int = 10) -> Path:
    for number in range(count):
        numbered(folder / names[0] / f"{number}.bmp", number)
        numbered(folder / names[1] / f"{number}.png", 100 + number, mode="L")
    return folder


@pytest.mark.parametrize("names", [("input", "target"), ("Hazy", "clear"), ("hazy", "GT")])
def test_pairs_go_by_name_and_the_last_are_the_test(tmp_path: Path, names: tuple[str, str]) -> None:
    dataset = load_pairs(Request(pairs(tmp_path, names)))
    assert dataset.train.images.shape == (8, 8, 8, 3)
    assert targets_of(dataset.train).shape == (8, 8, 8, 3)  # grey ones beside colour ones become colour
    assert numbers(dataset.train.images) == list(range(8))
    assert numbers(targets_of(dataset.train)) == list(range(100, 108))
    assert numbers(dataset.test.images) == [8, 9]
    assert numbers(targets_of(dataset.test)) == [108, 109]
    assert len(load_pairs(Request(tmp_path, test_fraction=0.5)).test) == 5


def test_files_without_a_partner_or_that_are_no_image_go_with_theirs(tmp_path: Path) -> None:
    pairs(tmp_path)
    (tmp_path / "input" / "2.bmp").unlink()
    (tmp_path / "target" / "5.png").write_text("no image")
    (tmp_path / "input" / "7.bmp").write_text("no image")
    numbered(tmp_path / "input" / "sub" / "new.png", 50)
    dataset = load_pairs(Request(tmp_path))
    assert numbers(dataset.train.images) == [0, 1, 3, 4, 6, 8]
    assert numbers(targets_of(dataset.train)) == [100, 101, 103, 104, 106, 108]
    assert list(dataset.skipped) == [
        ("input/sub/new.png", "no file of this name in target/"),
        ("target/2.png", "no file of this name in input/"),
        ("input/7.bmp", "no image that Pillow knows"),
        ("target/5.png", "no image that Pillow knows"),
    ]


def test_pairs_that_cannot_be_are_refused(tmp_path: Path) -> None:
    def refusal(**asked: object) -> str:
        with pytest.raises(ValueError, match=r"\.$") as raised:
            load_pairs(Request(tmp_path, **asked))  # type: ignore[arg-type]
        return str(raised.value)

    assert "holds no folder, but needs one pair of folders: input/ and target/" in refusal()
    pairs(tmp_path, count=3)
    assert "3 pairs, 3 of them for the test" in refusal(test_fraction=0.9)
    numbered(tmp_path / "input" / "1.png", 1)
    assert "names must differ before their ending" in refusal()
    (tmp_path / "input" / "1.png").unlink()
    for number in range(3):
        numbered(tmp_path / "target" / f"{number}.png", number, size=(4, 6))
    assert "input/ are 8x8, those in target/ 6x4" in refusal()
    assert load_pairs(Request(tmp_path, (5, 5))).train.images.shape == (2, 5, 5, 3)
    for number in range(11):
        numbered(tmp_path / "input" / f"more{number}.png", number)
    assert "11 of 14 files" in refusal()


# Real files


@pytest.mark.slow
@pytest.mark.skipif(not (FILES / "cifar10.tar.xz").is_file(), reason=f"no cifar10.tar.xz in {FILES}")
def test_the_photographs_of_cifar10(tmp_path: Path) -> None:
    wanted = ["cifar10/train/cat", "cifar10/train/ship", "cifar10/test/cat", "cifar10/test/ship"]
    subprocess.run(["tar", "xf", FILES / "cifar10.tar.xz", "-C", tmp_path, *wanted], check=True)
    dataset = load_folder(Request(tmp_path / "cifar10"))
    assert dataset.image_shape == (3, 32, 32)
    assert (len(dataset.train), len(dataset.test)) == (10_000, 2_000)
    file = find(Request(tmp_path / "cifar10")).search["ship"][17].name
    expected = np.asarray(Image.open(tmp_path / "cifar10" / file))
    assert np.array_equal(dataset.train.images[5017], expected)
    sea, fur = (dataset.train.images[labels_of(dataset.train) == label].mean(axis=(0, 1, 2)) for label in (1, 0))
    assert sea[2] > sea[0]  # blue above red
    assert fur[0] > fur[2]
