"""Each augmentation against a plain one that takes an image at a time, and what each must leave as it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as torchvision

from data_utils.augmentation import (
    AUGMENTATIONS,
    MIXES,
    Augmentation,
    Colour,
    Crop,
    Cutout,
    Flip,
    Operation,
    cutmix,
    heaviest,
    mixed_labels,
    mixup,
)
from data_utils.batches import Batches
from data_utils.images import Images
from study.spaces.training import TRAINING
from tests.conftest import batches_of

SHAPES = ((7, 1, 8, 8), (5, 3, 32, 32), (6, 3, 8, 12), (4, 2, 9, 9))
ANY = Augmentation("colour", 0.5, mirror=True, mix="none", mix_alpha=1.0, classes=10)


def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def pixels(*shape: int) -> Tensor:
    return torch.randint(256, shape, generator=random(), dtype=torch.uint8)


def floats(*shape: int) -> Tensor:
    """Images as the network gets them."""
    return torch.randn(shape, generator=random()).contiguous(memory_format=torch.channels_last)


def cropped(image: Tensor, drawn: Tensor, padding: int) -> Tensor:
    _, height, width = image.shape
    row, column = drawn.tolist()
    padded = F.pad(image, [padding] * 4)
    return padded[:, row : row + height, column : column + width]


def flipped(image: Tensor, drawn: Tensor) -> Tensor:
    width = image.shape[2]
    return torch.stack([image[:, :, width - 1 - x if drawn else x] for x in range(width)], dim=2)


def cut_out(image: Tensor, drawn: Tensor, side: int, mean: Tensor) -> Tensor:
    """DeVries & Taylor 2017: the square's first pixel is half a side before the centre."""
    (row, column), (_, height, width) = [value - side // 2 for value in drawn.tolist()], image.shape
    rows = range(max(row, 0), min(row + side, height))
    columns = range(max(column, 0), min(column + side, width))
    image = image.clone()
    for y in rows:
        for x in columns:
            image[:, y, x] = mean
    return image


def coloured(image: Tensor, drawn: Tensor) -> Tensor:
    """In this order, cut off to 0 to 255 at the end alone."""
    brightness, contrast, saturation = drawn.tolist()
    rgb: Tensor = image.double() * brightness
    weights = torch.tensor([0.299, 0.587, 0.114] if len(image) == 3 else [1 / len(image)] * len(image)).double()

    def grey(of: Tensor) -> Tensor:
        return (of * weights.view(-1, 1, 1)).sum(0)

    rgb = contrast * rgb + (1 - contrast) * grey(rgb).mean()
    if len(image) == 3:
        rgb = saturation * rgb + (1 - saturation) * grey(rgb)
    return rgb.clamp(0, 255)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("padding", [1, 4])
def test_a_crop_is_that_of_each_image(shape: tuple[int, ...], padding: int) -> None:
    images, crop = pixels(*shape), Crop(padding)
    drawn = crop.draw(shape[0], random())
    expected = [cropped(image, row, padding) for image, row in zip(images, drawn, strict=True)]
    assert torch.equal(crop(images, drawn), torch.stack(expected))
    other_order = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(crop(other_order, drawn), torch.stack(expected))


def test_crops_begin_everywhere_and_differ_within_a_batch() -> None:
    drawn = Crop(2).draw(2000, random())
    counts = torch.bincount(5 * drawn[:, 0] + drawn[:, 1], minlength=25)
    assert counts.min() > 40  # of 80 expected
    assert counts.sum() == 2000


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_flip_is_that_of_each_image(shape: tuple[int, ...]) -> None:
    images, flip = pixels(*shape), Flip(0.5)
    drawn = torch.arange(shape[0]) % 3 == 0
    expected = torch.stack([flipped(image, row) for image, row in zip(images, drawn, strict=True)])
    assert torch.equal(flip(images, drawn), expected)
    assert torch.equal(flip(flip(images, drawn), drawn), images)


def test_flips_come_as_often_as_asked() -> None:
    assert Flip(0.3).draw(10_000, random()).float().mean().item() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("side", [1, 4, 5, 8])
def test_a_cutout_is_that_of_each_image(shape: tuple[int, ...], side: int) -> None:
    images, mean = pixels(*shape), pixels(shape[1])
    cutout = Cutout(side, shape[2:], mean)
    drawn = cutout.draw(shape[0], random())
    expected = [cut_out(image, row, side, mean) for image, row in zip(images, drawn, strict=True)]
    assert torch.equal(cutout(images, drawn), torch.stack(expected))


def test_a_cutout_has_its_area_inside_and_a_quarter_of_it_in_a_corner() -> None:
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    cutout = Cutout(16, (32, 32), torch.full((3,), 9, dtype=torch.uint8))
    painted = (cutout(images, torch.tensor([[16, 16], [0, 0]])) == 9).sum((2, 3))
    assert painted.tolist() == [[256] * 3, [64] * 3]


def test_centres_of_cutouts_lie_anywhere() -> None:
    drawn = Cutout(4, (3, 7), torch.zeros(1)).draw(1000, random())
    assert [sorted(set(drawn[:, axis].tolist())) for axis in (0, 1)] == [list(range(3)), list(range(7))]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_colours_are_changed_as_those_of_each_image(shape: tuple[int, ...]) -> None:
    images, colour = pixels(*shape), Colour(0.8)
    drawn = colour.draw(shape[0], random())
    expected = torch.stack([coloured(image, row) for image, row in zip(images, drawn, strict=True)])
    assert (colour(images, drawn).double() - expected).abs().max() <= 0.5 + 1e-3  # rounded


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_are_torchvisions_where_nothing_is_cut_off(channels: int) -> None:
    images, colour = 100 + pixels(6, channels, 8, 8) // 8, Colour(0.4)
    drawn = colour.draw(6, random())
    for image, after, factors in zip(images, colour(images, drawn), drawn.tolist(), strict=True):
        expected = torchvision.adjust_brightness(image / 255, factors[0])
        expected = torchvision.adjust_contrast(expected, factors[1])
        expected = torchvision.adjust_saturation(expected, factors[2])
        assert (after - 255 * expected).abs().max() <= 0.5 + 5e-2  # its weights of grey add up to 0.9999


def test_factors_of_colour_fill_their_range_evenly() -> None:
    drawn = Colour(0.4).draw(4000, random())
    assert drawn.shape == (4000, 3)
    assert drawn.min().item() == pytest.approx(0.6, abs=2e-3)
    assert drawn.max().item() == pytest.approx(1.4, abs=2e-3)
    assert drawn.mean(0).tolist() == pytest.approx([1.0] * 3, abs=0.02)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_mixup_keeps_its_share_of_each_image_and_label(shape: tuple[int, ...], share: float) -> None:
    images, labels = floats(*shape), torch.arange(shape[0]) % 4
    mixed, kept = mixup(images.clone(), share, (0.5, 0.5))
    given = mixed_labels(labels, kept, classes=4)
    assert kept == share
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    for i in range(shape[0]):
        assert torch.allclose(mixed[i], share * images[i] + (1 - share) * images[i - 1], atol=1e-6)
        expected = torch.zeros(4)
        expected[labels[i]] += share
        expected[labels[i - 1]] += 1 - share
        assert torch.allclose(given[i], expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("centre", [(0.5, 0.5), (0.0, 0.9)])
def test_a_cutmix_keeps_as_many_pixels_as_it_says(
    shape: tuple[int, ...], share: float, centre: tuple[float, float]
) -> None:
    numbers = torch.arange(shape[0]).float().view(-1, 1, 1, 1).expand(shape)
    images = numbers.contiguous(memory_format=torch.channels_last)
    mixed, kept = cutmix(images, share, centre)
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    for i in range(shape[0]):
        own = mixed[i] == i
        assert own.double().mean().item() == pytest.approx(kept)
        assert torch.equal(mixed[i][~own], torch.full((int((~own).sum()),), float((i - 1) % shape[0])))
        rows, columns = (~own[0]).any(1).nonzero(), (~own[0]).any(0).nonzero()
        assert (~own[0]).sum() == len(rows) * len(columns)  # one rectangle
    if centre == (0.5, 0.5):
        assert kept == pytest.approx(share, abs=0.15)  # whole pixels
    else:
        assert kept >= share


def test_the_loss_of_mixed_labels_is_the_mixed_loss() -> None:
    """With label smoothing too."""
    logits, labels = floats(6, 10, 1, 1).flatten(1), torch.tensor([1, 1, 2, 9, 0, 2])
    given = mixed_labels(labels, 0.3, classes=10)
    own, other = (F.cross_entropy(logits, of, label_smoothing=0.1) for of in (labels, labels.roll(1)))
    assert F.cross_entropy(logits, given, label_smoothing=0.1).item() == pytest.approx((0.3 * own + 0.7 * other).item())
    assert torch.equal(heaviest(given), labels.roll(1))
    assert torch.equal(heaviest(mixed_labels(labels, 0.6, classes=10)), labels)
    assert torch.equal(heaviest(labels), labels)


def training_batches(count: int = 64, channels: int = 3) -> Batches:
    images = pixels(count, 16, 16, channels).numpy()
    return batches_of(Images(images, np.arange(count) % 10), [0.4] * channels, [0.25] * channels)


def epoch(asked: Augmentation, channels: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """One epoch of `training_batches`, joined."""
    given = training_batches(channels=channels).shuffled(16, torch.Generator().manual_seed(seed), asked)
    images, labels = zip(*given, strict=True)
    assert all(batch.is_contiguous(memory_format=torch.channels_last) for batch in images)
    return torch.cat(images), torch.cat(labels)


def plain(channels: int = 3) -> tuple[Tensor, Tensor]:
    images, labels = zip(*training_batches(channels=channels).shuffled(16, random()), strict=True)
    return torch.cat(images), torch.cat(labels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_strength_zero_changes_nothing_and_more_does(name: str, channels: int) -> None:
    before, labels = plain(channels)
    after, same = epoch(replace(ANY, name=name, strength=0.0), channels)
    assert torch.equal(after, before)
    assert torch.equal(same, labels)
    strong, same = epoch(replace(ANY, name=name, strength=1.0), channels)
    assert torch.equal(strong, before) == (name == "none")
    assert torch.equal(same, labels)


@pytest.mark.parametrize("mix", ["none", *MIXES])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_epoch_follows_its_generator(name: str, mix: str) -> None:
    asked = replace(ANY, name=name, mix=mix)
    first, again, other = epoch(asked), epoch(asked), epoch(asked, seed=1)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert torch.isfinite(first[0]).all()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_image_keeps_its_numbers_whatever_the_batch(name: str) -> None:
    images, mean = pixels(8, 3, 16, 16), pixels(3)
    drawn = replace(ANY, name=name).draw(8, (16, 16), mean, random())
    parts = [drawn.change(images[part], part) for part in (slice(0, 3), slice(3, 8))]
    assert torch.equal(torch.cat(parts), drawn.change(images, slice(0, 8)))


@pytest.mark.parametrize("mix", MIXES)
def test_each_batch_draws_a_share_from_beta(mix: str) -> None:
    """Beta(alpha, alpha) has mean 1/2 and variance 1 / (4 (2 alpha + 1))."""
    labels = torch.arange(3)
    drawn = replace(ANY, mix=mix, mix_alpha=0.5).draw(1, (64, 64), torch.zeros(1), random())
    shares = [drawn.mix(torch.zeros(3, 1, 64, 64), labels)[1][0, 0].item() for _ in range(1000)]
    assert min(shares) >= 0
    if mix == "mixup":  # CutMix loses at the border what does not fit
        assert np.mean(shares) == pytest.approx(0.5, abs=0.04)
        assert np.var(shares) == pytest.approx(0.125, abs=0.015)
    else:
        assert 0.5 < np.mean(shares) < 0.8


def test_at_half_strength_magnitudes_are_the_literatures() -> None:
    mean = torch.zeros(3, dtype=torch.uint8)
    kinds: dict[str, tuple[Operation, ...]] = {
        name: make(replace(ANY, name=name), (32, 32), mean) for name, make in AUGMENTATIONS.items()
    }
    assert kinds["none"] == ()
    assert kinds["basic"] == (Crop(4), Flip(0.5))
    assert kinds["cutout"] == (Crop(4), Flip(0.5), Cutout(16, (32, 32), mean))
    assert kinds["colour"] == (Crop(4), Flip(0.5), Colour(0.4))
    assert AUGMENTATIONS["basic"](replace(ANY, strength=1.0), (8, 8), mean) == (Crop(2), Flip(0.5))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_nothing_is_mirrored_where_that_changes_the_class(name: str) -> None:
    made = AUGMENTATIONS[name](replace(ANY, mirror=False), (32, 32), torch.zeros(3))
    assert not any(isinstance(operation, Flip) for operation in made)


def test_black_is_padded_and_the_mean_is_painted() -> None:
    """After normalisation the mean is zero, within the rounding to uint8."""
    images = np.full((4, 16, 16, 3), 200, np.uint8)
    batches = batches_of(Images(images, np.zeros(4, np.int64)), [0.4, 0.5, 0.6], [0.25] * 3)
    [(basic, _)] = batches.shuffled(4, random(), replace(ANY, name="basic", strength=1.0))
    found = torch.stack([basic.amin((0, 2, 3)), basic.amax((0, 2, 3))], dim=1)
    bright = [(200 / 255 - mean) / 0.25 for mean in (0.4, 0.5, 0.6)]
    assert torch.allclose(found, torch.tensor([[-m / 0.25, b] for m, b in zip((0.4, 0.5, 0.6), bright, strict=True)]))
    [(cut, _)] = batches.shuffled(4, random(), replace(ANY, name="cutout", strength=0.5))
    assert ((cut.abs() < 0.5 / 255 / 0.25 + 1e-5).sum((1, 2, 3)) >= 3 * 16).all()  # a quarter of 8 x 8 at least


@pytest.mark.parametrize("mix", ["none", *MIXES])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_no_step_waits_for_the_device(name: str, mix: str) -> None:
    """Tensors on `meta` have no values: whatever would read one on the host raises."""
    asked = replace(ANY, name=name, mix=mix)
    drawn = asked.draw(8, (16, 16), torch.empty(3, dtype=torch.uint8, device="meta"), random())
    changed = drawn.change(torch.empty(4, 3, 16, 16, dtype=torch.uint8, device="meta"), slice(4, 8))
    images, labels = drawn.mix(changed.float(), torch.empty(4, dtype=torch.int64, device="meta"))
    assert (changed.dtype, images.shape) == (torch.uint8, (4, 3, 16, 16))
    assert labels.shape == ((4,) if mix == "none" else (4, 10))
    assert {images.device.type, labels.device.type} == {"meta"}


def test_what_no_augmentation_can_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Unknown augmentation 'blur'. Valid: none, basic, cutout, colour."):
        replace(ANY, name="blur")
    with pytest.raises(ValueError, match=r"Unknown mix 'blend'. Valid: none, mixup, cutmix."):
        replace(ANY, mix="blend")
    with pytest.raises(ValueError, match=r"strength of augmentation is 1.5"):
        replace(ANY, strength=1.5)


def test_the_search_offers_every_augmentation_and_mix() -> None:
    offered = {parameter.name: parameter.to_json().get("choices") for parameter in TRAINING}
    assert offered["augmentation"] == list(AUGMENTATIONS)
    assert offered["mix"] == ["none", *MIXES]
