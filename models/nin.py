"""Network in network (source D): each convolution is followed by two 1x1 convolutions; no linear layer.

Source: Lin et al., Network In Network, 2014 (arXiv 1312.4400). What differs from D: all widths follow the first one;
batch norm or another activation if wanted. Below 67 pixels, the smallest that the printed strides take, the first
convolution is 3x3 and the pools halve, with stride 2 from 48 pixels on.
"""

from torch import nn

from models.choices import Normed, check_counts, normed, start_xavier
from models.sizes import Size, check_size, small_stride

SMALLEST = 8
SMALLEST_PRINTED = 67


def nin(
    *,
    in_channels: int,
    num_classes: int,
    image_size: Size,
    width: int,
    norm: str,
    activation: str,
    dropout: float,
) -> nn.Sequential:
    """NiN with `width` channels in its first block.

    Shapes at 1x224x224, width 96: 96x54x54, 96x26x26, 256x26x26, 256x12x12, 384x12x12, 384x5x5, 10x5x5, 10x1x1, 10.
    """
    check_size("nin", image_size, SMALLEST)
    check_counts(width=width)
    printed = min(image_size) >= SMALLEST_PRINTED
    second, third = (round(width * channels / 96) for channels in (256, 384))
    window, first = (3, (11, 4, 0)) if printed else (2, (3, small_stride(image_size), 1))
    after = normed(norm, activation)
    network = nn.Sequential(
        _block(in_channels, width, *first, after),
        nn.MaxPool2d(window, stride=2),
        _block(width, second, 5, 1, 2, after),
        nn.MaxPool2d(window, stride=2),
        _block(second, third, 3, 1, 1, after),
        nn.MaxPool2d(window, stride=2),
        nn.Dropout(dropout),
        _block(third, num_classes, 3, 1, 1, after),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    start_xavier(network)
    return network


def _block(in_channels: int, channels: int, kernel: int, stride: int, padding: int, after: Normed) -> nn.Sequential:
    """Convolution and two 1x1 convolutions, norm and activation after each. (N, C, H, W) to (N, channels, H', W')."""
    layers: list[nn.Module] = []
    for convolution in (
        nn.Conv2d(in_channels, channels, kernel, stride=stride, padding=padding),
        nn.Conv2d(channels, channels, 1),
        nn.Conv2d(channels, channels, 1),
    ):
        layers += [convolution, *after(channels)]
    return nn.Sequential(*layers)
