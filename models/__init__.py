"""Networks by name. One architecture per file; `MODELS` is the list; `build` makes one for a data set."""

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
    if name not in MODELS:
        raise ValueError(f"Unknown network {name!r}. Valid: {', '.join(sorted(MODELS))}.")
    return MODELS[name](in_channels=in_channels, num_classes=num_classes, image_size=image_size, **architecture)


def count_parameters(module: nn.Module) -> int:
    """Trainable parameters of `module`: weights, biases, batch-norm scales and shifts."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
