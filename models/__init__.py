"""Networks by name. One architecture per file; `MODELS` is the list; `build` makes one for a data set."""

import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from torch import nn

from models.alexnet import alexnet
from models.choices import check_counts
from models.conv import conv, dilated
from models.counting import count_parameters, multiply_adds
from models.dehaze import dehaze
from models.densenet import densenet, densenet_simple
from models.googlenet import googlenet
from models.handwritten import handwritten
from models.lenet import lenet
from models.mlp import mlp
from models.nin import nin
from models.plain_cnn import plain_cnn
from models.references import REFERENCES, Reference
from models.resnet import plain, resnet
from models.senet import senet
from models.vgg import vgg

__all__ = [
    "CLASSIFIERS",
    "MODELS",
    "REFERENCES",
    "RESTORERS",
    "Reference",
    "build",
    "count_parameters",
    "multiply_adds",
    "reference",
    "use_copies",
]

CLASSIFIERS: Final[dict[str, Callable[..., nn.Module]]] = {
    "alexnet": alexnet,
    "conv": conv,
    "densenet": densenet,
    "densenet_simple": densenet_simple,
    "dilated": dilated,
    "googlenet": googlenet,
    "handwritten": handwritten,
    "lenet": lenet,
    "mlp": mlp,
    "nin": nin,
    "plain": plain,
    "plain_cnn": plain_cnn,
    "resnet": resnet,
    "senet": senet,
    "vgg": vgg,
}
RESTORERS: Final[dict[str, Callable[..., nn.Module]]] = {"dehaze": dehaze}
MODELS: Final = CLASSIFIERS | RESTORERS


_copies: dict[str, str] = {}


def use_copies(copies: Mapping[str, str]) -> None:
    """Take networks of other files from now on: on another machine a file has another place. Names stay the same."""
    _copies.update(copies)


def build(
    name: str, *, in_channels: int, image_size: tuple[int, int], num_classes: int | None = None, **architecture: Any
) -> nn.Module:
    """Return the network `name` for images (N, in_channels, *image_size).

    It gives logits (N, num_classes); one of `RESTORERS`, which has no `num_classes`, images of the same shape.
    `architecture` holds the network's own hyperparameters; each is required, so that none is left at a value that
    nobody sees. Raises `ValueError` for an unknown name, a value that the network has not, or an image too small for
    it.
    """
    answers = {} if num_classes is None else {"num_classes": num_classes}
    check_counts(in_channels=in_channels, **answers)
    if name in MODELS and (name in RESTORERS) != (num_classes is None):
        gives = "images, so it takes no num_classes" if name in RESTORERS else "logits, so it needs num_classes"
        raise ValueError(f"{name} gives {gives}, which is {num_classes!r}.")
    return _builder(name)(in_channels=in_channels, image_size=image_size, **answers, **architecture)


def _builder(name: str) -> Callable[..., nn.Module]:
    """Return the function that makes a network: one of `MODELS`, or, for FILE.py:FUNCTION, one of a file."""
    file, _, function = name.rpartition(":")
    if file.endswith(".py"):
        file = _copies.get(file, file)
        if str(Path(file).parent) not in sys.path:  # a worker: the file may import its neighbours
            sys.path.append(str(Path(file).parent))
        made: Callable[..., nn.Module] = runpy.run_path(file)[function]
        return made
    if name not in MODELS:
        raise ValueError(f"Unknown network {name!r}. Valid: {', '.join(sorted(MODELS))}.")
    return MODELS[name]


def reference(name: str) -> Reference:
    """Return the network that a source describes, such as "D-lenet"; `.build()` makes it."""
    if name not in REFERENCES:
        raise ValueError(f"Unknown reference {name!r}. Valid: {', '.join(REFERENCES)}.")
    return REFERENCES[name]
