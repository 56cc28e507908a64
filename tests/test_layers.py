"""Layers by hand against torch's, in value, gradient and state, and against numbers worked by hand; sizes of maps."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers import FORMS, BatchNorm, Conv2d, Pool2d, correlate
from models.sizes import check_size, map_size, output_side, padding_for

SETTINGS = list(product((1, 2), (0, 2, (1, 0)), (1, 2, (1, 3)), ((1, 1), (3, 4))))


def grid(*shape: int) -> Tensor:
    """0, 1, 2, ... in this shape."""
    return torch.arange(float(torch.tensor(shape).prod())).reshape(shape)


def gradients(layer: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Output of `layer`, and the gradients of a weighted sum of it by input and parameters."""
    x = x.clone().requires_grad_()
    y = layer(x)
    loss = (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)).sum()
    return y, list(torch.autograd.grad(loss, [x, *layer.parameters()]))


def assert_same(one: nn.Module, other: nn.Module, x: Tensor) -> None:
    (y, found), (expected, grads) = gradients(one, x), gradients(other, x)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)
    for mine, theirs in zip(found, grads, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def test_correlation_gives_the_worked_numbers() -> None:
    x, kernel = grid(3, 3), grid(2, 2)
    assert correlate(x, kernel).tolist() == [[19, 25], [37, 43]]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_sums_input_channels_and_stacks_kernels(form: str) -> None:
    x, kernel = grid(3, 3), grid(2, 2)
    one = FORMS[form](torch.stack([x, x + 1])[None], torch.stack([kernel, kernel + 1])[None], (1, 1), (0, 0), (1, 1))
    assert one[0, 0].tolist() == [[56, 72], [104, 120]]
    many = FORMS[form](grid(3, 8, 8)[None], grid(4, 3, 3, 3), (1, 1), (0, 0), (1, 1))
    assert many.shape == (1, 4, 6, 6)
    assert torch.equal(many, F.conv2d(grid(3, 8, 8)[None], grid(4, 3, 3, 3)))


@pytest.mark.parametrize(("stride", "padding", "dilation", "channels"), SETTINGS)
@pytest.mark.parametrize("form", ["loop", "unfold"])
def test_convolution_equals_torch(
    form: str,
    stride: int,
    padding: int | tuple[int, int],
    dilation: int | tuple[int, int],
    channels: tuple[int, int],
) -> None:
    options = {"stride": stride, "padding": padding, "dilation": dilation, "bias": channels != (1, 1)}
    torch.manual_seed(0)
    mine = Conv2d(*channels, (3, 2), form=form, **options)  # type: ignore[arg-type]
    torch.manual_seed(0)
    theirs = nn.Conv2d(*channels, (3, 2), **options)  # type: ignore[arg-type]
    for value, expected in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(value, expected)  # the same start
    theirs.load_state_dict(mine.state_dict())
    assert_same(mine, theirs, torch.randn(2, channels[0], 9, 8))


@pytest.mark.parametrize("form", FORMS)
def test_an_edge_detector_is_learned_from_its_answers(form: str) -> None:
    image = torch.ones(1, 1, 6, 8)
    image[..., 2:6] = 0
    answer = F.conv2d(image, torch.tensor([[[[1.0, -1.0]]]]))
    assert answer[0, 0, 0].tolist() == [0, 1, 0, 0, 0, -1, 0]
    torch.manual_seed(0)
    layer = Conv2d(1, 1, (1, 2), form=form)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        F.mse_loss(layer(image), answer).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert layer.bias is not None
    assert layer.weight.flatten().tolist() == pytest.approx([1, -1], abs=1e-3)
    assert layer.bias.item() == pytest.approx(0, abs=1e-3)


def test_pools_give_the_worked_numbers() -> None:
    x = grid(1, 1, 3, 3)
    assert Pool2d(2, mode="max", stride=1)(x)[0, 0].tolist() == [[4, 5], [7, 8]]
    assert Pool2d(2, mode="avg", stride=1)(x)[0, 0].tolist() == [[2, 3], [5, 6]]
    assert Pool2d((3, 1), mode="avg")(x)[0, 0].tolist() == [[3, 4, 5]]


def test_an_unknown_form_or_mode_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"form is 'fft'\. Valid: loop, torch, unfold"):
        Conv2d(1, 1, 3, form="fft")
    with pytest.raises(ValueError, match=r"mode is 'median'\. Valid: avg, max"):
        Pool2d(2, mode="median")  # type: ignore[arg-type]


@pytest.mark.parametrize("inputs", ["distinct", "ties"])
@pytest.mark.parametrize(("window", "stride", "padding"), list(product((2, 3), (None, 1, 2), (0, 1))))
def test_pools_equal_torch(inputs: str, window: int, stride: int | None, padding: int) -> None:
    x = torch.randn(2, 3, 8, 7)
    x = x.relu().round() if inputs == "ties" else x  # after a ReLU many values are equal
    assert_same(Pool2d(window, mode="max", stride=stride, padding=padding), nn.MaxPool2d(window, stride, padding), x)
    assert_same(Pool2d(window, mode="avg", stride=stride, padding=padding), nn.AvgPool2d(window, stride, padding), x)


@pytest.mark.parametrize(("theirs", "shape"), [(nn.BatchNorm1d(5), (8, 5)), (nn.BatchNorm2d(5), (4, 5, 3, 2))])
def test_batch_norm_equals_torch_in_both_modes_and_in_its_state(theirs: nn.Module, shape: tuple[int, ...]) -> None:
    mine = BatchNorm(5)
    with torch.no_grad():
        mine.weight.uniform_(0.5, 2)
        mine.bias.uniform_(-1, 1)
    theirs.load_state_dict(mine.state_dict())
    for _ in range(3):
        assert_same(mine, theirs, 2 * torch.randn(shape) + 1)
    assert mine.state_dict().keys() == theirs.state_dict().keys()
    for name, value in mine.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name])
    assert mine.num_batches_tracked == 3
    assert_same(mine.eval(), theirs.eval(), torch.randn(shape))
    with torch.no_grad():  # the mode is `training`, not whether gradients are on
        expected = theirs.train()(x := torch.randn(shape))
        torch.testing.assert_close(mine.train()(x), expected)


def test_batch_norm_refuses_one_value_per_channel_as_torch_does() -> None:
    with pytest.raises(ValueError, match="more than one value per channel"):
        BatchNorm(3)(torch.ones(1, 3))


def test_the_formula_of_the_output_side() -> None:
    assert output_side(32, 3) == 30
    assert output_side(224, 11, stride=4) == 54
    assert output_side(32, 3, stride=2, padding=2, dilation=2) == 16


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("size", [(32, 32), (9, 14), (7, 8)])
def test_the_size_of_a_map_is_foretold(size: tuple[int, int], ceil: bool) -> None:
    layers = nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=2, padding=(1, 2), dilation=(1, 2)),
        nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=ceil)),
        nn.AvgPool2d(2, ceil_mode=ceil),
    )
    assert map_size(layers, size) == tuple(layers(torch.zeros(1, 1, *size)).shape[2:])


def test_a_convolution_is_padded_only_where_it_would_take_more_than_half() -> None:
    assert padding_for((32, 32), 3, 5) == (0, 0)
    assert padding_for((26, 8), 3, 5) == (0, 5)
    assert padding_for((4, 4), 3) == (0, 0)
    assert padding_for((3, 4), 3) == (1, 0)


def test_too_small_an_image_is_refused_with_the_smallest_size() -> None:
    check_size("net", (8, 9), 8)
    with pytest.raises(ValueError, match="net takes images of at least 8x8 pixels, not 9x7"):
        check_size("net", (9, 7), 8)
