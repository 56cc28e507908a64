"""Network in network (source D): each convolution is followed by two 1x1 convolutions; no linear layer.

Source: Lin et al., Network In Network, 2014 (arXiv 1312.4400). What differs from D: all widths follow the first one;
batch norm if wanted. Below 67 pixels, the smallest that the printed strides take, the first convolution is 3x3
without stride and the pools halve.
"""

from torch import nn

from models.choices import NORMS, start_xavier
from models.sizes import Size, check_size

SMALLEST = 8
SMALLEST_PRINTED = 67


def nin(
    *, in_channels: int, num_classes: int, image_size: Size, width: int, norm: str, dropout: float
) -> nn.Sequential:
    """NiN with `width` channels in its first block.

    Shapes at 1x224x224, width 96: 96x54x54, 96x26x26, 256x26x26, 256x12x12, 384x12x12, 384x5x5, 10x5x5, 10x1x1, 10.
    """
    check_size("nin", image_size, SMALLEST)
    printed = min(image_size) >= SMALLEST_PRINTED
    second, third = (round(width * channels / 96) for channels in (256, 384))
    window, first = (3, (11, 4, 0)) if printed else (2, (3, 1, 1))
    network = nn.Sequential(
        _block(in_channels, width, *first, norm),
        nn.MaxPool2d(window, stride=2),
        _block(width, second, 5, 1, 2, norm),
        nn.MaxPool2d(window, stride=2),
        _block(second, third, 3, 1, 1, norm),
        nn.MaxPool2d(window, stride=2),
        nn.Dropout(dropout),
        _block(third, num_classes, 3, 1, 1, norm),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    start_xavier(network)
    return network


def _block(in_channels: int, channels: int, kernel: int, stride: int, padding: int, norm: str) -> nn.Sequential:
    """Convolution and two 1x1 convolutions, norm and ReLU after each. (N, C, H, W) to (N, channels, H', W')."""
    layers: list[nn.Module] = []
    for convolution in (
        nn.Conv2d(in_channels, channels, kernel, stride=stride, padding=padding),
        nn.Conv2d(channels, channels, 1),
        nn.Conv2d(channels, channels, 1),
    ):
        layers += [convolution, NORMS[norm](channels), nn.ReLU()]
    return nn.Sequential(*layers)
