"""Layers that a hyperparameter chooses by name, and the starts that the sources give their weights."""

import math
from collections.abc import Callable
from typing import Final

from torch import nn

ACTIVATIONS: Final[dict[str, Callable[[], nn.Module]]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}


def _group(channels: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(8, channels), channels)


# By channels, for maps (N, C, H, W). "none" leaves no trace in the state dict.
NORMS: Final[dict[str, Callable[[int], nn.Module]]] = {
    "batch": nn.BatchNorm2d,
    "group": _group,
    "none": lambda _channels: nn.Identity(),
}

# By features, for (N, C).
FLAT_NORMS: Final[dict[str, Callable[[int], nn.Module]]] = {
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "none": lambda _features: nn.Identity(),
}


def start_xavier(network: nn.Module) -> None:
    """Draw every weight of convolutions and linear layers as source D does; sigmoid networks do not learn without."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)


def start_kaiming(network: nn.Module) -> None:
    """Draw every weight of convolutions as source A does for DenseNet: normal, He et al. 2015 (arXiv 1502.01852)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
