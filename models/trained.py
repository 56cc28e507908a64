"""A trained network with the preprocessing that it was trained with: images as files have them in, answers out."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import models

PREPROCESSING = "preprocessing"  # of model.json; the rest are the arguments of `build`


class Trained(nn.Module):
    """Takes images (B, C, H, W), uint8 or floats from 0 to 255, and gives what its network answers, in float32.

    That is logits (B, classes), or, where `restores`, images (B, C, H, W) from 0 to 1, which is black and white.
    `image_shape` is the (C, H, W) that it was trained with: images must have it, but to restore, the channels alone. It
    is in evaluation mode, on the CPU.
    """

    def __init__(
        self,
        network: nn.Module,
        image_shape: tuple[int, int, int],
        mean: list[float],
        deviation: list[float],
        *,
        restores: bool,
    ) -> None:
        super().__init__()
        self.network = network
        self.image_shape = image_shape
        self.restores = restores
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).reshape(1, -1, 1, 1))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Normalise with the statistics of the training images, ask the network, undo it for restored images."""
        self._check(images)
        answers: Tensor = self.network((images.to(torch.float32) / 255 - self.mean) / self.deviation)
        return (answers * self.deviation + self.mean).clamp(0, 1) if self.restores else answers

    def _check(self, images: Tensor) -> None:
        """Raise `ValueError` for a shape that the network was not trained with, which torch may answer."""
        shape = tuple(images.shape)
        if len(shape) != 4:
            raise ValueError(f"images have the shape {shape}, but must have (B, C, H, W): one is images[None].")
        channels, height, width = self.image_shape
        if shape[1] != channels:
            raise ValueError(
                f"images have the shape {shape}, but must have (B, {channels}, H, W), as in training: convert them, "
                f"with Pillow's convert({'L' if channels == 1 else 'RGB'!r}) for instance."
            )
        if not self.restores and shape[2:] != (height, width):
            raise ValueError(
                f"images have the shape {shape}, but must have (B, {channels}, {height}, {width}), as in training: "
                f"resize them, with Pillow's resize(({width}, {height})) for instance."
            )


def load(path: Path | str, network: str | None = None) -> Trained:
    """Return the trained network in `path`, the folder of a final run, such as runs/NAME/final/resnet-0003-seed1.

    `network`, where it is given, is built in place of the one that the folder names. It has to be for one of a Python
    file, FILE.py:FUNCTION: that is code, and which code is run no folder decides. Raises `ValueError` for a folder
    without a network, or one from before the preprocessing was kept.
    """
    folder = Path(path)
    if not (folder / "model.json").is_file() or not (folder / "model.safetensors").is_file():
        raise ValueError(
            f"{folder} holds no trained network: it has no model.json with model.safetensors. Give the folder of a "
            f"final run that has finished, RUN_DIR/final/NAME."
        )
    arguments = read_arguments(folder)
    if PREPROCESSING not in arguments:
        raise ValueError(
            f"{folder / 'model.json'} does not say how images were normalised: it is from an earlier version. Train "
            f"the final run again."
        )
    preprocessing = arguments.pop(PREPROCESSING)
    if network is None and ".py:" in arguments["name"]:
        raise ValueError(
            f"{folder} was trained with {arguments['name']}, which is code of its own. If you trust it, give it: "
            f"load(PATH, network='FILE.py:FUNCTION')."
        )
    return Trained(
        load_network(folder, network or arguments["name"]),
        (arguments["in_channels"], *arguments["image_size"]),
        **preprocessing,
        restores="num_classes" not in arguments,
    )


def load_network(folder: Path, name: str) -> nn.Module:
    """Return the network of a final run in `folder`, with its weights, for images that are normalised.

    Its `name` is asked for, though model.json has one: see `load`.
    """
    arguments = read_arguments(folder)
    arguments.pop(PREPROCESSING, None)
    network = models.build(**{**arguments, "name": name})
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network


def read_arguments(folder: Path) -> dict[str, Any]:
    """Return what model.json holds: the arguments of `build`, and how images are normalised."""
    arguments: dict[str, Any] = json.loads((folder / "model.json").read_text())
    return {**arguments, "image_size": tuple(arguments["image_size"])}
