"""Image-to-image network (source B, its exercise in dehazing): an image in, one of the same size out.

A first convolution, a body of equal layers that keep the size, a last convolution. Bodies: `plain` convolutions;
`dilated` ones with dilations 1, 2, 5 in turn, which leave no pixel out (`models/conv.py`); `residual` blocks of two
convolutions each (`models/resnet.py`). With `skip` the network says what to add to its input. B prints no layers: these
are ours.
"""

from itertools import cycle, islice

from torch import Tensor, nn

from models.choices import Normed, check_choice, check_counts, normed
from models.resnet import BasicBlock
from models.sizes import Size, check_size

SMALLEST = 1
BODIES = ("plain", "dilated", "residual")
TEETH = (1, 2, 5)


class Restorer(nn.Module):
    """Layers from images (N, C, H, W) to images of the same shape; `skip` adds the input to what they give."""

    def __init__(self, layers: nn.Sequential, *, skip: bool) -> None:
        super().__init__()
        self.layers = layers
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.skip else y


def dehaze(
    *,
    in_channels: int,
    image_size: Size,
    body: str,
    width: int,
    depth: int,
    skip: str,
    norm: str,
    activation: str,
) -> Restorer:
    """`depth` convolutions `width` wide between a first and a last one. All shapes are (N, width, H, W)."""
    check_size("dehaze", image_size, SMALLEST)
    check_counts(width=width, depth=depth)
    check_choice("skip", skip, ("none", "input"))
    first = nn.Conv2d(in_channels, width, 3, padding=1)
    last = nn.Conv2d(width, in_channels, 3, padding=1)
    after = normed(norm, activation)
    layers = (first, *after(width), *_body(body, width, depth, norm, activation), last)
    return Restorer(nn.Sequential(*layers), skip=skip == "input")


def _body(body: str, width: int, depth: int, norm: str, activation: str) -> list[nn.Module]:
    check_choice("body", body, BODIES)
    if body == "residual":
        if depth % 2:
            raise ValueError(f"depth is {depth}, but a residual block has two convolutions. Take {depth + 1}.")
        shortcut = "bare" if norm == "none" else "norm"
        return [BasicBlock(width, width, 1, shortcut, norm, activation) for _ in range(depth // 2)]
    dilations = [1] * depth if body == "plain" else islice(cycle(TEETH), depth)
    return [layer for dilation in dilations for layer in _layer(width, dilation, normed(norm, activation))]


def _layer(width: int, dilation: int, after: Normed) -> list[nn.Module]:
    return [nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), *after(width)]
