"""Data sets, splits and batches: real files where they are, exact numbers, nothing leaking between splits."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from data_utils.batches import Batches
from data_utils.datasets import DATASETS, load
from data_utils.images import Images
from data_utils.placement import Resident
from data_utils.splits import SearchData, split, stratified
from tests.conftest import CPU, batches_of

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
    assert set(np.bincount(digits.test.labels)) <= {35, 36, 37}


def test_the_checksum_of_the_digits_never_changes() -> None:
    digits = load("digits", Path("unused"))
    assert digits.test.sha256() == "38453adaa0f8e18bf00dc7d8741f0d5c58c97a9e541ba8a28604fb4bf94a68e4"


def test_digits_in_another_size_show_the_same_and_a_larger_test_split_is_drawn_like_the_first() -> None:
    digits, large = load("digits", Path("unused")), load("digits", Path("unused"), image_size=(16, 24))
    assert large.image_shape == (1, 16, 24)
    assert np.array_equal(large.test.labels, digits.test.labels)
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
    images[:2, 0] = 255
    everything, training = Images(images, np.zeros(4, np.int64)), np.array([1, 2])
    mean, deviation = SearchData(everything, training, np.array([0, 3])).channel_statistics()
    assert mean == [0.5, 0.0]
    assert deviation[0] == pytest.approx(0.5)
    assert deviation[1] > 0


def numbered(count: int) -> Batches:
    """Images whose pixels and labels are their number."""
    images = np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(3, 1).repeat(4, 2).repeat(4, 3)
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


@pytest.mark.skipif(not (FILES / "FashionMNIST").is_dir(), reason=f"no FashionMNIST folder in {FILES}")
def test_fashion_mnist_is_read_from_its_idx_files() -> None:
    fashion = load("fashion_mnist", FILES)
    assert fashion.image_shape == (1, 28, 28)
    assert fashion.classes[9] == "Ankle boot"
    assert fashion.mirror
    assert len(fashion.train) >= 1700
    assert fashion.train.labels[0] == 9  # the data set's well-known first image
    assert 60 < fashion.train.images.mean() < 85
    assert (fashion.mirror, load("digits", FILES).mirror) == (True, False)
    assert load("fashion_mnist", FILES, image_size=(96, 96)).image_shape == (1, 96, 96)


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"digits", "folder"}))
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
