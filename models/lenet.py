"""LeNet-5 (source D), with and without batch norm written by hand.

Source: LeCun et al., Gradient-based Learning Applied to Document Recognition, 1998. D's LeNet has 61,706 parameters
for 1x28x28 and 10 classes, D's with batch norm 44,878: it does not pad the first convolution (`border` valid). What
differs from the paper, as in D: average pools without weights and a linear output. What differs from D: all widths
follow the first one (6, 16, 120, 84 at width 6); the flattened size follows the image; a convolution is padded where
without it less than half of the side would be left; D's slips in batch norm are mended (`models/layers.py`).
"""

from collections.abc import Callable

from torch import nn

from models.choices import ACTIVATIONS, check_choice, check_counts, check_kernel, pick, start_xavier
from models.layers import BatchNorm
from models.sizes import Size, check_size, output_side, padding_for

SMALLEST = 6
POOLS = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}
NORMS_BY_HAND: dict[str, Callable[[int], nn.Module]] = {"batch": BatchNorm, "none": lambda _features: nn.Identity()}


def lenet(
    *,
    in_channels: int,
    num_classes: int,
    image_size: Size,
    width: int,
    kernel: int,
    border: str,
    pool: str,
    norm: str,
    activation: str,
) -> nn.Sequential:
    """LeNet; `border` "padded" keeps the side in the first convolution, "valid" does not.

    Shapes at 1x28x28, padded: 6x28x28, 6x14x14, 16x10x10, 16x5x5, 400, 120, 84, classes;
    valid: 6x24x24, 6x12x12, 16x8x8, 16x4x4, 256, 120, 84, classes.
    """
    check_size("lenet", image_size, SMALLEST)
    check_counts(width=width)
    check_kernel(kernel)
    check_choice("border", border, ("padded", "valid"))
    make_norm, active = pick("norm", norm, NORMS_BY_HAND), pick("activation", activation, ACTIVATIONS)
    make_pool = pick("pool", pool, POOLS)
    middle, wide, narrow = (round(width * channels / 6) for channels in (16, 120, 84))
    layers: list[nn.Module] = []
    channels_in, size, padded = in_channels, image_size, border == "padded"
    for channels in (width, middle):
        padding = (kernel // 2, kernel // 2) if padded else padding_for(size, kernel)
        layers += [nn.Conv2d(channels_in, channels, kernel, padding=padding), make_norm(channels)]
        layers += [active(), make_pool(2)]  # (N, channels, *size)
        height, breadth = (output_side(size[axis], kernel, 1, padding[axis]) // 2 for axis in (0, 1))
        channels_in, size, padded = channels, (height, breadth), False
    layers.append(nn.Flatten())
    features = middle * size[0] * size[1]  # (N, features)
    for features_out in (wide, narrow):
        layers += [nn.Linear(features, features_out), make_norm(features_out), active()]
        features = features_out
    network = nn.Sequential(*layers, nn.Linear(features, num_classes))
    start_xavier(network)
    return network
