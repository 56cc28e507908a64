"""VGG (source D: VGG-11).

Source: Simonyan & Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2015 (arXiv
1409.1556), configurations A, B, D. Width 64, depth 11 without norm has 128,806,154 parameters for 1x224x224 and 10
classes. What differs from D: all widths follow the first one; the flattened size follows the image, 1x1 at 32x32; an
odd side is rounded up in a pool, so that images below 32 pixels pass; batch norm or another activation if wanted.
"""

from torch import nn

from models.choices import Normed, check_counts, classifier, normed, pick, start_xavier
from models.sizes import Size, check_size, map_size

SMALLEST = 1
# Convolutions in each of the five blocks, by number of layers; the widths of the blocks in units of the first.
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3)}
WIDTHS = (1, 2, 4, 8, 8)


def vgg(
    *,
    in_channels: int,
    num_classes: int,
    image_size: Size,
    width: int,
    depth: int,
    norm: str,
    activation: str,
    dropout: float,
) -> nn.Sequential:
    """VGG with `depth` layers, `width` channels in its first block and 64 times as many in its linear layers.

    Shapes after the blocks at 1x224x224, width 64: 64x112x112, 128x56x56, 256x28x28, 512x14x14, 512x7x7, then 25088,
    4096, 4096, classes.
    """
    check_size("vgg", image_size, SMALLEST)
    check_counts(width=width)
    after = normed(norm, activation)
    blocks: list[nn.Module] = []
    channels_in = in_channels
    for convolutions, factor in zip(pick("depth", depth, DEPTHS), WIDTHS, strict=True):
        blocks.append(_block(channels_in, factor * width, convolutions, after))
        channels_in = factor * width
    features = nn.Sequential(*blocks)
    height, breadth = map_size(features, image_size)
    network = nn.Sequential(
        features,
        nn.Flatten(),
        *classifier(channels_in * height * breadth, 64 * width, num_classes, activation, dropout),
    )
    start_xavier(network)
    return network


def _block(in_channels: int, channels: int, convolutions: int, after: Normed) -> nn.Sequential:
    """conv3x3-norm-activation several times, then pool: (N, C, H, W) to (N, channels, H/2, W/2)."""
    layers: list[nn.Module] = []
    for position in range(convolutions):
        layers.append(nn.Conv2d(in_channels if position == 0 else channels, channels, 3, padding=1))
        layers += after(channels)
    return nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True))
