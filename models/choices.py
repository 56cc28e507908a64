"""Layers that a hyperparameter chooses by name, checks of its value, and the starts that the sources give weights."""

import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar

from torch import nn

T = TypeVar("T")
Normed = Callable[[int], list[nn.Module]]  # norm and activation for so many channels

ACTIVATIONS: Final[dict[str, Callable[[], nn.Module]]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
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


def check_choice(option: str, value: Any, valid: Collection[Any]) -> None:
    """Refuse a value that is not one of `valid`."""
    if value not in valid:
        raise ValueError(f"{option} is {value!r}. Valid: {', '.join(map(str, valid))}.")


def pick(option: str, value: Any, table: Mapping[Any, T]) -> T:
    """Return what `table` holds for the value of a hyperparameter. Raises `ValueError` with the valid ones."""
    check_choice(option, value, table)
    return table[value]


def check_counts(**counts: int) -> None:
    """Refuse what is no whole number of at least 1."""
    for option, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{option} is {value!r}, but must be a whole number of at least 1.")


def check_kernel(kernel: int) -> None:
    """Refuse an even kernel, which has no middle: its map would be half a pixel off."""
    check_counts(kernel=kernel)
    if kernel % 2 == 0:
        raise ValueError(f"kernel is {kernel}, but must be odd. Take {kernel - 1} or {kernel + 1}.")


def numbers(option: str, text: str) -> list[int]:
    """Return the whole numbers of a text such as "6-12-24-16"."""
    if re.fullmatch(r"[1-9][0-9]*(-[1-9][0-9]*)*", text) is None:
        raise ValueError(f"{option} is {text!r}, but must be whole numbers of at least 1 joined by -, such as 1-2-5.")
    return [int(part) for part in text.split("-")]


def normed(norm: str, activation: str) -> Normed:
    """Return what makes the norm and the activation that follow a convolution, given its channels."""
    make_norm, make_activation = pick("norm", norm, NORMS), pick("activation", activation, ACTIVATIONS)
    return lambda channels: [make_norm(channels), make_activation()]


def classifier(features: int, wide: int, classes: int, activation: str, dropout: float) -> list[nn.Module]:
    """Return the end that AlexNet and VGG share: two hidden layers `wide` wide, (N, features) to (N, classes)."""
    active = pick("activation", activation, ACTIVATIONS)
    hidden = (nn.Linear(features, wide), active(), nn.Dropout(dropout), nn.Linear(wide, wide), active())
    return [*hidden, nn.Dropout(dropout), nn.Linear(wide, classes)]


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
