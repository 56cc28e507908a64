"""Networks by name. One architecture per file; `MODELS` is the list; `build` makes one for a data set."""

import runpy
from collections.abc import Callable
from typing import Any, Final

from torch import nn

from models.resnet import plain, resnet

MODELS: Final[dict[str, Callable[..., nn.Module]]] = {
    "plain": plain,
    "resnet": resnet,
}


def build(
    name: str, *, in_channels: int, num_classes: int, image_size: tuple[int, int], **architecture: Any
) -> nn.Module:
    """Return the network `name` for images (N, in_channels, *image_size); it gives logits (N, num_classes).

    `architecture` holds the network's own hyperparameters; each is required, so that none is left at a value that
    nobody sees. Raises `ValueError` for an unknown name or an image too small for the network.
    """
    return _builder(name)(in_channels=in_channels, num_classes=num_classes, image_size=image_size, **architecture)


def _builder(name: str) -> Callable[..., nn.Module]:
    """Return the function that makes a network: one of `MODELS`, or, for FILE.py:FUNCTION, one of a file."""
    file, _, function = name.rpartition(":")
    if file.endswith(".py"):
        made: Callable[..., nn.Module] = runpy.run_path(file)[function]
        return made
    if name not in MODELS:
        raise ValueError(f"Unknown network {name!r}. Valid: {', '.join(sorted(MODELS))}.")
    return MODELS[name]


def count_parameters(module: nn.Module) -> int:
    """Trainable parameters of `module`: weights, biases, batch-norm scales and shifts."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
