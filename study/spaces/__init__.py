"""The spaces by name. One file per family; `SPACES` is the list."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from study.space import Space
from study.spaces.classics import ALEXNET, GOOGLENET, NIN, VGG
from study.spaces.conv import CONV, DILATED, HANDWRITTEN
from study.spaces.dehaze import DEHAZE
from study.spaces.densenet import DENSENET, DENSENET_SIMPLE
from study.spaces.lenet import LENET, PLAIN_CNN
from study.spaces.mlp import MLP
from study.spaces.resnet import PLAIN, RESNET
from study.spaces.senet import SENET

SPACES: Final[dict[str, Space]] = {
    space.name: space
    for space in (
        *(MLP, HANDWRITTEN, CONV, DILATED),
        *(LENET, PLAIN_CNN, ALEXNET, VGG, NIN, GOOGLENET),
        *(PLAIN, RESNET, SENET, DENSENET, DENSENET_SIMPLE),
        DEHAZE,
    )
}


def find(name: str) -> Space:
    """Return the space called `name`, or the one that the Python file `name` defines as SPACE.

    The file is run: it is code, and may import its neighbours. If it has a function with the name of its space's
    network, that makes the network. Raises `ValueError` for an unknown name or a file that defines no space.
    """
    if not name.endswith(".py"):
        if name not in SPACES:
            raise ValueError(f"Unknown space {name!r}. Valid: {', '.join(sorted(SPACES))}.")
        return SPACES[name]
    file = Path(name).absolute()
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))  # at the end: a neighbour called like a module of Python hides nothing
    try:
        defined = runpy.run_path(str(file))
    except Exception as error:
        raise ValueError(
            f"{name} cannot be run: {type(error).__name__}: {error}. Mend it; it must define SPACE."
        ) from error
    space = defined.get("SPACE")
    if not isinstance(space, Space):
        raise ValueError(f"{name} defines no SPACE that is a study.space.Space. The README shows a complete example.")
    networks = sorted({known.network for known in SPACES.values()})
    if callable(defined.get(space.network)):
        return replace(space, network=f"{file}:{space.network}", file=file)
    if space.network not in networks:
        raise ValueError(
            f"The network {space.network!r} of {name} is neither a function of that file nor one of the package: "
            f"{', '.join(networks)}."
        )
    return replace(space, file=file)
