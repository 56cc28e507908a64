"""The networks of the sources A to E, exactly: `REFERENCES` maps each to its network, options, input and classes.

The sources are lab reports and course notes: A compares ResNet-18 and DenseNet on CIFAR-10; B writes convolution by
hand, dilates it and drops shortcuts; C compares four networks on CIFAR-10; D is a course from LeNet to DenseNet on
Fashion-MNIST; E trains ResNet-18 on CIFAR-100. Where a source prints no size, as B for the residual toy, the
feed-forward network and dehazing, the options are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

import models


@dataclass(frozen=True)
class Reference:
    """One network of a source. `input_shape` is (C, H, W)."""

    network: str
    options: Mapping[str, Any]
    input_shape: tuple[int, int, int]
    classes: int | None  # None: its answers are images

    def build(self) -> nn.Module:
        """Return the network, freshly drawn."""
        channels, height, width = self.input_shape
        shape: dict[str, Any] = {"in_channels": channels, "num_classes": self.classes, "image_size": (height, width)}
        return models.build(self.network, **shape, **self.options)


CIFAR: Final = (3, 32, 32)
IMAGENET_GREY: Final = (1, 224, 224)  # Fashion-MNIST as D resizes it
RESNET_18: Final = {"width": 64, "stages": 4, "blocks": 2, "norm": "batch", "activation": "relu"}
LENET: Final = {"width": 6, "kernel": 5, "pool": "avg", "activation": "sigmoid"}
BARE: Final = {"norm": "none", "activation": "relu"}
DENSE: Final = {"norm": "batch", "activation": "relu", "dropout": 0.0}
BY_HAND: Final = {"width": 32, "kernel": 3}
THREE_LAYERS: Final = {"width": 32, "norm": "batch", "activation": "relu"}
DEHAZE: Final = {"body": "plain", "width": 16, "depth": 4, "skip": "input", "norm": "batch", "activation": "relu"}

REFERENCES: Final[dict[str, Reference]] = {
    "A-resnet18": Reference("resnet", {**RESNET_18, "stem": "3x3", "shortcut": "norm"}, CIFAR, 10),
    "A-densenet": Reference(
        "densenet",
        {"stem": "3x3", "growth": 12, "blocks": "6-12-24-16", "bottleneck": True, "compression": 0.5, **DENSE},
        CIFAR,
        10,
    ),
    "B-handwritten": Reference("handwritten", {**BY_HAND, "form": "unfold"}, CIFAR, 10),
    "B-handwritten-loop": Reference("handwritten", {**BY_HAND, "form": "loop"}, CIFAR, 10),
    "B-handwritten-torch": Reference("handwritten", {**BY_HAND, "form": "torch"}, CIFAR, 10),
    "B-conv": Reference("conv", {**THREE_LAYERS, "kernel": 3, "depth": 3}, CIFAR, 10),
    "B-dilated": Reference("dilated", {**THREE_LAYERS, "dilations": "1-2-5"}, CIFAR, 10),
    "B-residual-toy": Reference(
        "resnet", {**RESNET_18, "width": 32, "stages": 1, "blocks": 1, "stem": "3x3", "shortcut": "norm"}, CIFAR, 10
    ),
    "B-resnet18": Reference("resnet", {**RESNET_18, "stem": "3x3", "shortcut": "norm"}, CIFAR, 10),
    "B-plain18": Reference("plain", {**RESNET_18, "stem": "3x3"}, CIFAR, 10),
    "B-dehaze": Reference("dehaze", DEHAZE, (3, 100, 200), None),
    "B-mlp": Reference("mlp", {"width": 512, "depth": 2, **BARE, "dropout": 0.0}, CIFAR, 10),
    "C-plain-cnn": Reference("plain_cnn", {"width": 6, "kernel": 5, **BARE}, CIFAR, 10),
    "C-resnet18": Reference("resnet", {**RESNET_18, "stem": "7x7", "shortcut": "bare"}, CIFAR, 10),
    "C-densenet": Reference("densenet_simple", {"growth": 32, "layers": 6, "hidden": 512, **DENSE}, CIFAR, 10),
    "C-se-resnet18": Reference("senet", {**RESNET_18, "stem": "3x3", "squeeze": 16}, CIFAR, 10),
    "D-lenet": Reference("lenet", {**LENET, "border": "padded", "norm": "none"}, (1, 28, 28), 10),
    "D-lenet-bn": Reference("lenet", {**LENET, "border": "valid", "norm": "batch"}, (1, 28, 28), 10),
    "D-alexnet": Reference("alexnet", {"width": 96, **BARE, "dropout": 0.5}, IMAGENET_GREY, 10),
    "D-vgg11": Reference("vgg", {"width": 64, "depth": 11, **BARE, "dropout": 0.5}, IMAGENET_GREY, 10),
    "D-nin": Reference("nin", {"width": 96, **BARE, "dropout": 0.5}, IMAGENET_GREY, 10),
    "D-googlenet": Reference("googlenet", {"stem": "7x7", "width": 64, **BARE, "dropout": 0.0}, (1, 96, 96), 10),
    "D-resnet18": Reference("resnet", {**RESNET_18, "stem": "7x7", "shortcut": "bare"}, IMAGENET_GREY, 10),
    "D-densenet": Reference(
        "densenet",
        {"stem": "7x7", "growth": 32, "blocks": "4-4-4-4", "bottleneck": False, "compression": 0.5, **DENSE},
        IMAGENET_GREY,
        10,
    ),
    "E-resnet18": Reference("resnet", {**RESNET_18, "stem": "3x3-valid", "shortcut": "bare"}, CIFAR, 100),
}
