"""Plain CNN (source C): LeNet with ReLU, maximum pooling and a 1x1 convolution.

Width 6 and kernel 5 have 62,278 parameters for 3x32x32 and 10 classes. What differs: all widths follow the first one
(6, 16, 16, 120, 84 at width 6); the flattened size follows the image; a convolution is padded where without it less
than half of the side would be left.
"""

from torch import nn

from models.choices import ACTIVATIONS, check_counts, check_kernel, normed, pick
from models.sizes import Size, check_size, output_side, padding_for

SMALLEST = 6


def plain_cnn(
    *, in_channels: int, num_classes: int, image_size: Size, width: int, kernel: int, norm: str, activation: str
) -> nn.Sequential:
    """Shapes at 3x32x32: 6x28x28, 6x14x14, 16x10x10, 16x5x5, 16x5x5, 400, 120, 84, classes."""
    check_size("plain_cnn", image_size, SMALLEST)
    check_counts(width=width)
    check_kernel(kernel)
    after, active = normed(norm, activation), pick("activation", activation, ACTIVATIONS)
    middle, wide, narrow = (round(width * channels / 6) for channels in (16, 120, 84))
    layers: list[nn.Module] = []
    channels_in, size = in_channels, image_size
    for channels in (width, middle):
        padding = padding_for(size, kernel)
        layers += [nn.Conv2d(channels_in, channels, kernel, padding=padding), *_pooled(*after(channels))]
        height, breadth = (output_side(size[axis], kernel, 1, padding[axis]) // 2 for axis in (0, 1))
        channels_in, size = channels, (height, breadth)
    layers += [nn.Conv2d(middle, middle, 1), *after(middle), nn.Flatten()]
    features = middle * size[0] * size[1]  # (N, features)
    for features_out in (wide, narrow):
        layers += [nn.Linear(features, features_out), active()]
        features = features_out
    return nn.Sequential(*layers, nn.Linear(features, num_classes))


def _pooled(norm: nn.Module, activation: nn.Module) -> list[nn.Module]:
    """Return norm, activation and pool that follow a convolution, (N, C, H, W) to (N, C, H // 2, W // 2).

    The largest value stays the largest through ReLU, so that comes last, where a quarter of the values is left: equal
    values and gradients, and up to 1.2 times as many steps in a second (`docs/decisions.md`).
    """
    pool = nn.MaxPool2d(2)
    return [norm, pool, activation] if isinstance(activation, nn.ReLU) else [norm, activation, pool]
