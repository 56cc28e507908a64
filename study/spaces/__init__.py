"""The spaces by name. One file per family; `SPACES` is the list."""

from typing import Final

from study.space import Space
from study.spaces.classics import ALEXNET, GOOGLENET, NIN, VGG
from study.spaces.conv import CONV, DILATED, HANDWRITTEN
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
    )
}
