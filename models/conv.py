"""A few convolutions, dilated or not, global average, linear (source B); and the rule against gridding.

Dilated convolution: Yu & Koltun 2016 (arXiv 1511.07122). The rule, hybrid dilated convolution: Wang et al.,
Understanding Convolution for Semantic Segmentation, 2018 (arXiv 1702.08502). B has three layers of 32, 64, 128
channels: 94,986 parameters for 3 channels and 10 classes. What differs: each further layer doubles the width up to
four times the first, and a layer is padded where without it less than half of the side would be left.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from models.choices import Normed, check_counts, check_kernel, normed, numbers
from models.sizes import Size, check_size, output_side, padding_for

SMALLEST = 1
DILATED_KERNEL = 3  # whether a pattern grids depends on it


def satisfies_hybrid_rule(dilations: Sequence[int], kernel: int) -> bool:
    """Whether layers with these dilations leave no pixel of their view out ("gridding"), by the rule of Wang et al.

    The pattern is cut into rising teeth, as of a saw. In each the dilations have no common divisor above 1, and with
    M_n = r_n and M_i = max(M_{i+1} - 2 r_i, M_{i+1} - 2 (M_{i+1} - r_i), r_i), M_2 is at most `kernel`. The rule is
    sufficient, not necessary. Raises `ValueError` for no layers.
    """
    if not dilations:
        raise ValueError("dilations are [], but must be of at least one layer, such as [1, 2, 5].")
    check_kernel(kernel)
    return all(math.gcd(*tooth) == 1 and _second_distance(tooth) <= kernel for tooth in _teeth(dilations))


def _teeth(dilations: Sequence[int]) -> list[list[int]]:
    teeth = [[dilations[0]]]
    for before, dilation in pairwise(dilations):
        if dilation < before:
            teeth.append([])
        teeth[-1].append(dilation)
    return teeth


def _second_distance(tooth: Sequence[int]) -> int:
    """Return M_2: the greatest distance between non-zero weights that layer 2 and those above it leave."""
    distance = tooth[-1]
    for dilation in reversed(tooth[1:-1]):
        distance = max(distance - 2 * dilation, distance - 2 * (distance - dilation), dilation)
    return distance


def conv(
    *,
    in_channels: int,
    num_classes: int,
    image_size: Size,
    width: int,
    depth: int,
    kernel: int,
    norm: str,
    activation: str,
) -> nn.Sequential:
    """`depth` layers of convolution-norm-activation. Shapes at 3x32x32: 32x30x30, 64x28x28, 128x26x26, classes."""
    check_size("conv", image_size, SMALLEST)
    check_counts(width=width, depth=depth)
    check_kernel(kernel)
    return _network(in_channels, num_classes, image_size, width, kernel, [1] * depth, normed(norm, activation))


def dilated(
    *,
    in_channels: int,
    num_classes: int,
    image_size: Size,
    width: int,
    dilations: str,
    norm: str,
    activation: str,
) -> nn.Sequential:
    """The same with kernel 3 and a dilation for each layer, such as "1-2-5".

    Shapes at 3x32x32: 32x30x30, 64x26x26, 128x16x16, classes. A pattern may end in the word "grids": the spaces mark so
    those that violate the rule. A dilation as wide as its map or wider reaches nothing but padding: there the layer is
    a 1x1 convolution, whatever the pattern.
    """
    check_size("dilated", image_size, SMALLEST)
    check_counts(width=width)
    pattern, after = numbers("dilations", dilations.removesuffix(" grids")), normed(norm, activation)
    return _network(in_channels, num_classes, image_size, width, DILATED_KERNEL, pattern, after)


def _network(
    in_channels: int,
    num_classes: int,
    size: Size,
    width: int,
    kernel: int,
    dilations: Sequence[int],
    after: Normed,
) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels_in = in_channels
    for position, dilation in enumerate(dilations):
        channels, padding = width * 2 ** min(position, 2), padding_for(size, kernel, dilation)
        layers += [
            nn.Conv2d(channels_in, channels, kernel, padding=padding, dilation=dilation),
            *after(channels),
        ]  # (N, channels, *size)
        height, breadth = (output_side(size[axis], kernel, 1, padding[axis], dilation) for axis in (0, 1))
        channels_in, size = channels, (height, breadth)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels_in, num_classes))
