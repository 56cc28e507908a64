"""Data sets, splits and batches: real files where they are, exact numbers, nothing leaking between splits."""

import os
import pickle
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

import data_utils.images
from data_utils.batches import Batches
from data_utils.datasets import DATASETS, load
from data_utils.images import Images
from data_utils.placement import Resident, Streamed, as_tensor, fits, place
from data_utils.splits import SearchData, Subset, split, stratified
from tests.conftest import CPU, batches_of, labels_of

# Real files, if this machine has them: the folder that torchvision calls `root`.
FILES = Path(os.environ.get("ARCHSTUDY_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def test_digits_are_scikit_learns_with_the_full_range_of_grey() -> None:
    digits = load("digits", Path("unused"))
    assert digits.image_shape == (1, 8, 8)
    assert len(digits.train) + len(digits.test) == 1797
    assert len(digits.test) == 360
    assert digits.train.images.min() == 0
    assert digits.train.images.max() == 255
    assert digits.classes == tuple("0123456789")
    assert not digits.mirror
    assert set(np.bincount(labels_of(digits.test))) <= {35, 36, 37}


def test_the_checksum_of_the_digits_never_changes() -> None:
    digits = load("digits", Path("unused"))
    assert digits.test.sha256() == "38453adaa0f8e18bf00dc7d8741f0d5c58c97a9e541ba8a28604fb4bf94a68e4"


def test_digits_in_another_size_show_the_same_and_a_larger_test_split_is_drawn_like_the_first() -> None:
    digits, large = load("digits", Path("unused")), load("digits", Path("unused"), image_size=(16, 24))
    assert large.image_shape == (1, 16, 24)
    assert np.array_equal(labels_of(large.test), labels_of(digits.test))
    means, expected = (part.images.mean(axis=(1, 2, 3)) for part in (large.train, digits.train))
    assert np.corrcoef(means, expected)[0, 1] > 0.99
    half = load("digits", Path("unused"), test_fraction=0.5)
    assert (len(half.train), len(half.test)) == (898, 899)
    assert "50 % drawn by class" in half.source


def test_splits_share_no_image_and_lose_none() -> None:
    labels = np.repeat(np.arange(3), [10, 20, 50])
    stay, drawn = stratified(labels, 0.2, seed=4)
    assert sorted([*stay, *drawn]) == list(range(80))
    assert np.bincount(labels[drawn]).tolist() == [2, 4, 10]
    assert list(stay) == sorted(stay)


def test_a_split_follows_its_seed() -> None:
    labels = np.arange(100) % 5
    assert np.array_equal(stratified(labels, 0.2, 1)[1], stratified(labels, 0.2, 1)[1])
    assert not np.array_equal(stratified(labels, 0.2, 1)[1], stratified(labels, 0.2, 2)[1])


def test_a_class_that_cannot_be_split_is_named() -> None:
    with pytest.raises(ValueError, match="Class 1 has 1 image"):
        stratified(np.array([0, 0, 0, 0, 1]), 0.2, 0)


def test_a_search_never_sees_a_test_image() -> None:
    digits = load("digits", Path("unused"))
    data = split(digits.train, 0)
    assert sorted([*data.train_index, *data.validation_index]) == list(range(len(digits.train)))
    seen = {image.tobytes() for image in data.images.images}
    assert not any(image.tobytes() in seen for image in digits.test.images)


def test_statistics_come_from_the_training_images_in_units_of_one() -> None:
    images = np.zeros((4, 2, 2, 2), np.uint8)
    images[:2, ..., 0] = 255
    everything, training = Images(images, np.zeros(4, np.int64)), np.array([1, 2])
    mean, deviation = SearchData(everything, training, np.array([0, 3])).channel_statistics()
    assert mean == [0.5, 0.0]
    assert deviation[0] == pytest.approx(0.5)
    assert deviation[1] > 0


def numbered(count: int) -> Batches:
    """Images whose pixels and labels are their number."""
    images = np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2).repeat(3, 3)
    return batches_of(Images(images, np.arange(count)), [0.0] * 3, [1 / 255] * 3)


def test_an_epoch_gives_each_image_at_most_once_with_its_own_label() -> None:
    batches, generator = numbered(50), torch.Generator().manual_seed(0)
    seen: list[int] = []
    for images, labels in batches.shuffled(16, generator):
        assert images.shape == (16, 3, 4, 4)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(images[:, 0, 0, 0], labels.float(), atol=1e-3)
        seen += labels.tolist()
    assert len(seen) == len(set(seen)) == 48
    again = [label for _, labels in batches.shuffled(16, generator) for label in labels.tolist()]
    assert again != seen


def test_a_batch_larger_than_the_split_takes_all_of_it() -> None:
    [(images, _)] = numbered(5).shuffled(16, torch.Generator())
    assert len(images) == 5


def test_evaluation_sees_every_image_once_in_order() -> None:
    labels = torch.cat([labels for _, labels in numbered(200).in_order()])
    assert labels.tolist() == list(range(200))


def test_normalised_training_images_have_mean_zero_and_deviation_one(digits: SearchData) -> None:
    batches = Batches(digits.train, Resident(digits.images.images, CPU), *digits.channel_statistics(), CPU)
    pixels = torch.cat([images for images, _ in batches.in_order()])
    assert pixels.mean().item() == pytest.approx(0, abs=1e-4)
    assert pixels.std().item() == pytest.approx(1, abs=1e-3)


def test_the_checksums_of_the_splits_never_change_and_are_those_of_arrays_of_their_own(digits: SearchData) -> None:
    pinned = "b7562fab86982edb68eb649ab6bb18f4059c0c90224a1f3800c95c231aa941f0"
    assert digits.train.sha256() == digits.images.take(digits.train_index).sha256() == pinned
    pinned = "c4c4ec7cdf7e47996307a501cc36200ec1b5c39579d8163c493d7d97f4da4700"
    assert digits.validation.sha256() == digits.images.take(digits.validation_index).sha256() == pinned


@pytest.fixture
def large(tmp_path: Path) -> SearchData:
    """19 MiB of images in a file that is mapped to memory."""
    pixels = np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (6_000, 32, 35, 3))
    pixels[:] = np.random.default_rng(0).integers(0, 200, (32, 35, 3), np.uint8)
    pixels[::7] += 50
    pixels.flush()
    return split(Images(np.load(tmp_path / "images.npy", mmap_mode="r"), np.arange(6_000) % 10), seed=0)


def test_checksums_and_statistics_go_through_a_file_bit_by_bit(
    large: SearchData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_utils.images, "CHUNK_BYTES", 2**20)
    expected = large.images.images[large.train_index]
    tracemalloc.start()
    mean, deviation = large.channel_statistics()
    checksum = large.train.sha256()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A chunk, and one channel of it as 64-bit numbers. All at once would be four times the images.
    assert peak < 5 * 2**20 < expected.nbytes / 3
    assert checksum == Images(expected, large.train.labels).sha256()
    assert mean == pytest.approx((expected.mean(axis=(0, 1, 2)) / 255).tolist(), abs=1e-12)
    assert deviation == pytest.approx((expected.std(axis=(0, 1, 2)) / 255).tolist(), abs=1e-12)


def test_images_of_a_file_are_handed_to_ray_without_a_copy(large: SearchData) -> None:
    """Pickle gives the memory of plain arrays out of band; a memmap it would write into the pickle."""
    buffers: list[pickle.PickleBuffer] = []
    written = pickle.dumps(large, protocol=5, buffer_callback=buffers.append)
    assert len(written) < 2000
    assert sum(buffer.raw().nbytes == large.images.images.nbytes for buffer in buffers) == 1
    again = pickle.loads(written, buffers=buffers)
    assert np.shares_memory(again.train.images.images, again.validation.images.images)


def test_on_the_cpu_batches_come_from_the_array_itself_which_may_be_read_only(large: SearchData) -> None:
    array = large.images.images
    assert not array.flags.writeable
    assert as_tensor(array).data_ptr() == array.ctypes.data
    [first] = Batches(large.train, Resident(array, CPU), [0.0] * 3, [1.0] * 3, CPU).pixels(torch.tensor([5, 0]), 2)
    assert np.array_equal(first.permute(0, 2, 3, 1).numpy(), array[large.train_index[[5, 0]]])


@pytest.mark.parametrize("size", [1, 16, 50, 64])
def test_streamed_batches_are_exactly_the_resident_ones(size: int) -> None:
    images = Images(np.random.default_rng(0).integers(0, 256, (50, 9, 9, 3), np.uint8), np.arange(50))
    part = Subset(images, np.arange(0, 50, 2))
    resident, streamed = (
        Batches(part, source(images.images, CPU), [0.5, 0.4, 0.3], [0.2, 0.1, 0.3], CPU)
        for source in (Resident, Streamed)
    )
    for first, second in (
        (list(b.shuffled(size, torch.Generator().manual_seed(3))) for b in (resident, streamed)),
        (list(b.in_order()) for b in (resident, streamed)),
    ):
        assert len(first) == len(second) > 0
        for (images_1, labels_1), (images_2, labels_2) in zip(first, second, strict=True):
            assert torch.equal(images_1, images_2)
            assert torch.equal(labels_1, labels_2)


def test_a_streamed_batch_is_on_its_way_while_the_one_before_it_is_used() -> None:
    class Told(Streamed):
        said: list[str]

        def _send(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Event | None]:
            self.said.append(f"send {index[0]}")
            return super()._send(index)

    source = Told(np.zeros((8, 1, 2, 2), np.uint8), CPU)
    source.said = []
    for number, _batch in enumerate(source.batches(torch.arange(8), 2)):
        source.said.append(f"use {2 * number}")
    assert source.said == ["send 0", "send 2", "use 0", "send 4", "use 2", "send 6", "use 4", "use 6"]


def test_images_lie_on_a_gpu_if_they_leave_half_of_the_slots_share_to_the_network() -> None:
    gib = 2**30
    assert fits(12 * gib, free=24 * gib, total=24 * gib, share=1)
    assert not fits(12 * gib + 1, free=24 * gib, total=24 * gib, share=1)
    assert not fits(12 * gib, free=20 * gib, total=24 * gib, share=1)
    assert fits(3 * gib, free=20 * gib, total=24 * gib, share=0.25)
    assert not fits(4 * gib, free=20 * gib, total=24 * gib, share=0.25)
    assert isinstance(place(np.zeros((2, 1, 2, 2), np.uint8), CPU, gpus=0), Resident)


@pytest.mark.parametrize(("side", "size"), [(8, 1024), (32, 1024), (64, 341), (224, 27), (1000, 1)])
def test_evaluation_takes_as_many_images_as_memory_allows(side: int, size: int) -> None:
    images = Images(np.broadcast_to(np.uint8(1), (1100, side, side, 3)), np.zeros(1100, np.int64))
    batches = batches_of(images, [0.0] * 3, [1.0] * 3)
    assert len(next(iter(batches.in_order()))[1]) == size


def test_a_truncated_file_is_called_damaged_and_not_missing(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 60), ("t10k", 10)):
        head = bytes([0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 28, 0, 0, 0, 28])
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + bytes(28 * 28 * count))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, count]) + bytes(count))
    assert len(load("fashion_mnist", tmp_path).train) == 60
    path = raw / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=rf"The files of fashion_mnist in {tmp_path} are damaged .*Remove them there"):
        load("fashion_mnist", tmp_path)


@pytest.mark.skipif(not (FILES / "FashionMNIST").is_dir(), reason=f"no FashionMNIST folder in {FILES}")
def test_fashion_mnist_is_read_from_its_idx_files() -> None:
    fashion = load("fashion_mnist", FILES)
    assert fashion.image_shape == (1, 28, 28)
    assert fashion.classes[9] == "Ankle boot"
    assert fashion.mirror
    assert len(fashion.train) >= 1700
    assert labels_of(fashion.train)[0] == 9  # the data set's well-known first image
    assert 60 < fashion.train.images.mean() < 85
    assert (fashion.mirror, load("digits", FILES).mirror) == (True, False)
    assert load("fashion_mnist", FILES, image_size=(96, 96)).image_shape == (1, 96, 96)


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"digits", "folder", "hazy", "pairs"}))
def test_files_that_are_not_there_are_named_with_their_source_and_their_place(name: str, tmp_path: Path) -> None:
    """A folder that cannot be written stands for a network that cannot be reached: the answer is the same."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ValueError, match=rf"The files of {name} are not in .*Fetch .*(http|idx).* into {tmp_path}"):
        load(name, blocked / "data")


def test_an_unknown_data_set_answers_with_the_valid_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'imagenet'.*cifar10, cifar100, digits"):
        load("imagenet", tmp_path)
    shutil.rmtree(tmp_path)
