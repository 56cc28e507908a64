"""GoogLeNet (source D): inception blocks look at the map through windows of several sizes at once.

Source: Szegedy et al., Going Deeper with Convolutions, 2015 (arXiv 1409.4842). What differs from the paper, as in D:
no local response normalisation, no side classifiers; the paper's dropout of 0.4 before the linear layer is 0. What
differs from D: its stem has a 7x7 window, where D prints 1 by a slip; a stem `3x3` keeps the side of small images; all
widths follow the first one; batch norm, another activation or dropout if wanted.
"""

import torch
from torch import Tensor, nn

from models.choices import Normed, check_choice, check_counts, normed, start_xavier
from models.sizes import Size, check_size

SMALLEST = 1
# Channels of the branches 1x1; 1x1, 3x3; 1x1, 5x5; pool-1x1, at width 64. One list per stage, a pool after each.
Branches = tuple[int, int, int, int, int, int]
STAGES: tuple[tuple[Branches, ...], ...] = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


def _convolution(in_channels: int, channels: int, kernel: int, after: Normed, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(in_channels, channels, kernel, stride=stride, padding=kernel // 2)
    return nn.Sequential(layer, *after(channels))


class Inception(nn.Module):
    """Four branches side by side: (N, C, H, W) to (N, sum of their channels, H, W)."""

    def __init__(self, in_channels: int, branches: Branches, after: Normed) -> None:
        super().__init__()
        one, before_three, three, before_five, five, pooled = branches
        self.one = _convolution(in_channels, one, 1, after)
        self.three = nn.Sequential(
            _convolution(in_channels, before_three, 1, after), _convolution(before_three, three, 3, after)
        )
        self.five = nn.Sequential(
            _convolution(in_channels, before_five, 1, after), _convolution(before_five, five, 5, after)
        )
        self.pooled = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _convolution(in_channels, pooled, 1, after))
        self.out_channels = one + three + five + pooled

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], dim=1)


def _stem(kind: str, in_channels: int, width: int, after: Normed) -> list[nn.Module]:
    check_choice("stem", kind, ("3x3", "7x7"))
    first: list[nn.Module] = [_convolution(in_channels, width, 3, after)]  # (N, width, H, W)
    if kind == "7x7":
        first = [_convolution(in_channels, width, 7, after, stride=2), nn.MaxPool2d(3, stride=2, padding=1)]
    return [  # (N, width, H/4, W/4) in the printed form
        *first,
        _convolution(width, width, 1, after),
        _convolution(width, 3 * width, 3, after),
        nn.MaxPool2d(3, stride=2, padding=1),  # (N, 3 * width, H/8, W/8)
    ]


def googlenet(
    *,
    in_channels: int,
    num_classes: int,
    image_size: Size,
    stem: str,
    width: int,
    norm: str,
    activation: str,
    dropout: float,
) -> nn.Sequential:
    """GoogLeNet with `width` channels in its stem.

    Shapes at 1x96x96, stem 7x7, width 64: 64x24x24, 192x12x12, 480x6x6, 832x3x3, 1024, classes.
    """
    check_size("googlenet", image_size, SMALLEST)
    check_counts(width=width)
    after = normed(norm, activation)
    layers = _stem(stem, in_channels, width, after)
    channels = 3 * width
    for position, stage in enumerate(STAGES):
        for branches in stage:
            one, before_three, three, before_five, five, pooled = (
                max(1, round(width * count / 64)) for count in branches
            )
            block = Inception(channels, (one, before_three, three, before_five, five, pooled), after)
            layers.append(block)
            channels = block.out_channels
        if position < len(STAGES) - 1:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)]  # (N, channels)
    network = nn.Sequential(*layers, nn.Linear(channels, num_classes))
    start_xavier(network)
    return network
