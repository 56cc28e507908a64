"""Does a network of the user's own build and answer? Asked before anything starts, since every trial would fail."""

from typing import Any

import torch

import models
from study.space import Space


def problem(space: Space, image_shape: tuple[int, int, int], classes: int) -> str | None:
    """Return what is wrong with the network in the reference setting of `space`, or None.

    It is built and sees two images in training mode, on the CPU. `image_shape` is (C, H, W), `classes` 0 where the
    answers are images.
    """
    channels, height, width = image_shape
    shape: dict[str, Any] = {"in_channels": channels, "image_size": (height, width), "num_classes": classes or None}
    wanted = (2, classes) if classes else (2, *image_shape)
    answer = f"logits {wanted}" if classes else f"images {wanted}"
    options = {p.name: space.reference[p.name] for p in space.architecture if p.name in space.reference}
    number = f" and {classes} classes" if classes else ""
    asked = f"for images {channels}x{height}x{width}{number}, in the reference setting"
    try:
        network = models.build(space.network, **shape, **options)
        with torch.no_grad():
            answers = network.train()(torch.zeros(2, channels, height, width))
    except Exception as error:  # it is the user's code: anything may come
        first = (str(error).strip().splitlines() or [""])[0]
        return f"it fails {asked}: {type(error).__name__}: {first}"
    found = tuple(getattr(answers, "shape", ()))
    if found != wanted:
        return f"it must give {answer} for two images, but gives {found or type(answers).__name__} {asked}"
    return None
