"""The spaces by name. One file per family; `SPACES` is the list."""

from typing import Final

from study.space import Space
from study.spaces.resnet import PLAIN, RESNET

SPACES: Final[dict[str, Space]] = {space.name: space for space in (PLAIN, RESNET)}
