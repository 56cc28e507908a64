"""DenseNet: every layer sees the output of all layers before it. Two networks: the paper's, and the simple one of C.

Source: Huang et al., Densely Connected Convolutional Networks, 2017 (arXiv 1608.06993).

`densenet` is A's DenseNet-BC (stem 3x3, growth 12, blocks 6-12-24-16, bottlenecks, no biases, Kaiming start:
1,000,618 parameters) and D's DenseNet (stem 7x7, growth 32, blocks 4-4-4-4, no bottlenecks, biases: 758,226). With
bottlenecks and stem 7x7 it is torchvision's. What differs from D: its weights start by Kaiming too, and transitions
round an odd side up, so that images below 32 pixels pass. Group norm, another activation or dropout if wanted.

`densenet_simple` follows the summary that C prints, since its listing (7,168 inputs, 128 wide) cannot run. What
differs: the flattened size follows the image, 28,672 at 32x32.
"""

import torch
from torch import Tensor, nn

from models.choices import (
    ACTIVATIONS,
    NORMS,
    Normed,
    check_choice,
    check_counts,
    normed,
    numbers,
    pick,
    start_kaiming,
)
from models.sizes import Size, check_size

SMALLEST = 1
SMALLEST_SIMPLE = 3
BOTTLENECK = 4  # channels of the 1x1 convolution in units of the growth


class DenseLayer(nn.Module):
    """norm-activation-[conv1x1-norm-activation-]conv3x3-dropout, put after its input: C to C + growth channels."""

    def __init__(
        self, in_channels: int, growth: int, after: Normed, *, bottleneck: bool, bias: bool, dropout: float
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        if bottleneck:
            channels = BOTTLENECK * growth
            layers += [*after(in_channels), nn.Conv2d(in_channels, channels, 1, bias=bias)]
        layers += [*after(channels), nn.Conv2d(channels, growth, 3, padding=1, bias=bias), nn.Dropout(dropout)]
        self.new = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.new(x)], dim=1)


def dense_block(
    in_channels: int, layers: int, growth: int, after: Normed, *, bottleneck: bool, bias: bool, dropout: float = 0.0
) -> nn.Sequential:
    """Return `layers` dense layers: (N, C, H, W) to (N, C + layers * growth, H, W)."""
    return nn.Sequential(
        *(
            DenseLayer(in_channels + i * growth, growth, after, bottleneck=bottleneck, bias=bias, dropout=dropout)
            for i in range(layers)
        )
    )


def _stem(kind: str, in_channels: int, channels: int, after: Normed, bias: bool) -> list[nn.Module]:
    check_choice("stem", kind, ("3x3", "7x7"))
    if kind == "3x3":
        return [nn.Conv2d(in_channels, channels, 3, padding=1, bias=bias)]  # (N, 2k, H, W)
    return [
        nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=bias),
        *after(channels),
        nn.MaxPool2d(3, stride=2, padding=1),  # (N, 2k, H/4, W/4)
    ]


def _transition(in_channels: int, channels: int, after: Normed, bias: bool) -> nn.Sequential:
    """(N, C, H, W) to (N, channels, H/2, W/2)."""
    return nn.Sequential(
        *after(in_channels),
        nn.Conv2d(in_channels, channels, 1, bias=bias),
        nn.AvgPool2d(2, ceil_mode=True),
    )


def densenet(
    *,
    in_channels: int,
    num_classes: int,
    image_size: Size,
    stem: str,
    growth: int,
    blocks: str,
    bottleneck: bool,
    compression: float,
    norm: str,
    activation: str,
    dropout: float,
) -> nn.Sequential:
    """DenseNet with the layers of each block in `blocks`, such as "6-12-24-16"; transitions keep `compression`.

    The stem has 2 x `growth` channels. Convolutions have a bias where there is no bottleneck, as in the sources.
    `dropout` follows the 3x3 convolutions, as in the paper.
    """
    check_size("densenet", image_size, SMALLEST)
    check_counts(growth=growth)
    check_choice("bottleneck", bottleneck, (False, True))
    if not 0 < compression <= 1:
        raise ValueError(f"compression is {compression}, but must be above 0 and at most 1.")
    bias, channels, depths, after = not bottleneck, 2 * growth, numbers("blocks", blocks), normed(norm, activation)
    layers = _stem(stem, in_channels, channels, after, bias)
    for position, depth in enumerate(depths):
        layers.append(dense_block(channels, depth, growth, after, bottleneck=bottleneck, bias=bias, dropout=dropout))
        channels += depth * growth
        if position < len(depths) - 1:
            kept = max(1, int(channels * compression))
            layers.append(_transition(channels, kept, after, bias))
            channels = kept
    layers += [*after(channels), nn.AdaptiveAvgPool2d(1), nn.Flatten()]  # (N, channels)
    network = nn.Sequential(*layers, nn.Linear(channels, num_classes))
    start_kaiming(network)
    return network


def densenet_simple(
    *,
    in_channels: int,
    num_classes: int,
    image_size: Size,
    growth: int,
    layers: int,
    hidden: int,
    norm: str,
    activation: str,
    dropout: float,
) -> nn.Sequential:
    """Two dense blocks of `layers` layers with growth `growth` and twice that, then two linear layers.

    Shapes at 3x32x32, growth 32, 6 layers: 32x16x16, 32x8x8, 224x8x8, 64x8x8, 448x8x8, 28672, 512, classes. `dropout`
    stands between the two linear layers, which hold nine tenths of the weights.
    """
    check_size("densenet_simple", image_size, SMALLEST_SIMPLE)
    check_counts(growth=growth, layers=layers, hidden=hidden)
    after, make_norm = normed(norm, activation), pick("norm", norm, NORMS)
    active = pick("activation", activation, ACTIVATIONS)
    first, second = growth + layers * growth, 2 * growth + layers * 2 * growth
    height, width = ((side + 1) // 2 // 2 for side in image_size)
    return nn.Sequential(
        nn.Conv2d(in_channels, growth, 7, stride=2, padding=3),  # (N, growth, H/2, W/2)
        make_norm(growth),
        nn.MaxPool2d(2),  # (N, growth, H/4, W/4)
        active(),
        dense_block(growth, layers, growth, after, bottleneck=True, bias=True),
        make_norm(first),
        nn.Conv2d(first, 2 * growth, 3, padding=1),
        dense_block(2 * growth, layers, 2 * growth, after, bottleneck=True, bias=True),
        nn.Flatten(),  # (N, second * H/4 * W/4)
        nn.Linear(second * height * width, hidden),
        active(),
        nn.Dropout(dropout),
        nn.Linear(hidden, num_classes),
    )
