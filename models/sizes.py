"""Sizes of feature maps: what a layer leaves of its input, when to pad, and what is too small for a network."""

from torch import nn

Size = tuple[int, int]  # (H, W)


def output_side(side: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Return O = floor((I - k' + 2P) / S) + 1 with k' = (k - 1) d + 1, what a convolution leaves (source B)."""
    reach = (kernel - 1) * dilation + 1
    return (side - reach + 2 * padding) // stride + 1


def padding_for(size: Size, kernel: int, dilation: int = 1) -> Size:
    """Return the padding of a convolution with stride 1 and an odd kernel, for height and width each.

    None, as the sources print it, where that leaves at least half of the side; else as much as keeps the side. So a
    network made for 28 or 32 pixels takes smaller images too and is the printed one at the printed size.
    """
    shrink = (kernel - 1) * dilation
    height, width = (0 if 2 * (side - shrink) >= side else shrink // 2 for side in size)
    return height, width


def small_stride(image_size: Size) -> int:
    """Return the first stride of a network whose printed one, 4, is too wide for the image: 2 from 48 pixels on."""
    return 1 if min(image_size) < 48 else 2


def map_size(layers: nn.Module, size: Size) -> Size:
    """Return (H, W) after the convolutions and pools of `layers`, which follow one another, for an input of `size`."""
    height, width = size
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            height, width = _after(layer, height, 0), _after(layer, width, 1)
    return height, width


def _after(layer: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d, side: int, axis: int) -> int:
    kernel, stride, padding = (_along(value, axis) for value in (layer.kernel_size, layer.stride, layer.padding))
    dilation = 1 if isinstance(layer, nn.AvgPool2d) else _along(layer.dilation, axis)
    rounded = output_side(side, kernel, stride, padding, dilation)
    exact = (rounded - 1) * stride == side + 2 * padding - (kernel - 1) * dilation - 1
    more = not isinstance(layer, nn.Conv2d) and layer.ceil_mode and not exact
    return rounded + more


def _along(value: object, axis: int) -> int:
    chosen = value[axis] if isinstance(value, tuple) else value
    assert isinstance(chosen, int)
    return chosen


def check_size(network: str, image_size: Size, smallest: int) -> None:
    """Refuse images with a side below `smallest` pixels."""
    if min(image_size) < smallest:
        height, width = image_size
        raise ValueError(
            f"{network} takes images of at least {smallest}x{smallest} pixels, not {height}x{width}. "
            f"Take another network or larger images."
        )
