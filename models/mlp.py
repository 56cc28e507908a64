"""Feed-forward network (source B): the image as one long vector, to compare with convolutions.

What differs from B, which prints no sizes: depth and width, norm, activation and dropout are hyperparameters.
"""

from torch import nn

from models.choices import ACTIVATIONS, FLAT_NORMS, check_counts, pick
from models.sizes import Size, check_size

SMALLEST = 1


def mlp(
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
    """`depth` hidden layers of linear-norm-activation-dropout, `width` wide, then linear."""
    check_size("mlp", image_size, SMALLEST)
    check_counts(width=width, depth=depth)
    make_norm, active = pick("norm", norm, FLAT_NORMS), pick("activation", activation, ACTIVATIONS)
    features = in_channels * image_size[0] * image_size[1]
    layers: list[nn.Module] = [nn.Flatten()]  # (N, C * H * W)
    for _ in range(depth):
        layers += [nn.Linear(features, width), make_norm(width), active(), nn.Dropout(dropout)]
        features = width  # (N, width)
    return nn.Sequential(*layers, nn.Linear(features, num_classes))
