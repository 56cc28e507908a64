"""Does a network of the user's own build and answer? Asked before anything starts, since every trial would fail."""

from typing import Any

import torch

import models
from study.space import Space


def problem(space: Space, image_shape: tuple[int, int, int], classes: int) -> str | None:
    """Return what is wrong with the network in the reference setting of `space`, or None.

    It is built and sees two images in training mode, on the CPU. `image_shape` is (C, H, W).
    """
    channels, height, width = image_shape
    shape: dict[str, Any] = {"in_channels": channels, "num_classes": classes, "image_size": (height, width)}
    options = {p.name: space.reference[p.name] for p in space.architecture if p.name in space.reference}
    asked = f"for images {channels}x{height}x{width} and {classes} classes, in the reference setting"
    try:
        network = models.build(space.network, **shape, **options)
        with torch.no_grad():
            logits = network.train()(torch.zeros(2, channels, height, width))
    except Exception as error:  # it is the user's code: anything may come
        first = (str(error).strip().splitlines() or [""])[0]
        return f"it fails {asked}: {type(error).__name__}: {first}"
    found = tuple(getattr(logits, "shape", ()))
    if found != (2, classes):
        return f"it must give logits (2, {classes}) for two images, but gives {found or type(logits).__name__} {asked}"
    return None
