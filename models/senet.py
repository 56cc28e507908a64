"""SE-ResNet: pre-activation blocks whose channels are weighed by squeeze and excitation.

Sources: Hu et al., Squeeze-and-Excitation Networks, 2018 (arXiv 1709.01507); He et al., Identity Mappings, 2016
(arXiv 1603.05027). In the form of source C, SE-ResNet-18 at width 64, 2 blocks, squeeze 16: a 3x3 stem, convolutions
without bias except the two of the squeeze, no batch norm after the last block. What differs from C: its average pool
of 4, the global average at 32x32, is the global average at every size; stem, stages, norm and activation may differ,
with the same choices as in `resnet`, so that the two can be compared. The squeeze keeps its ReLU.
"""

from torch import Tensor, nn

from models.choices import ACTIVATIONS, NORMS, check_counts, normed, pick
from models.resnet import SMALLEST, STAGE_STRIDES, check_stages, make_stem
from models.sizes import Size, check_size


class SqueezeBlock(nn.Module):
    """norm-activation-conv3x3 twice, weighed by channel, plus the shortcut. (N, C, H, W) to (N, C', H/s, W/s)."""

    def __init__(self, in_channels: int, channels: int, stride: int, squeeze: int, norm: str, activation: str) -> None:
        super().__init__()
        make_norm = pick("norm", norm, NORMS)
        self.norm1 = make_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.norm2 = make_norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.activation = pick("activation", activation, ACTIVATIONS)()
        narrow = max(1, channels // squeeze)
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),  # (N, C', 1, 1)
            nn.Conv2d(channels, narrow, 1),
            nn.ReLU(),
            nn.Conv2d(narrow, channels, 1),
            nn.Sigmoid(),  # (N, C', 1, 1)
        )
        changes = stride != 1 or in_channels != channels
        self.shortcut = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(y)  # taken after the first norm and activation
        y = self.conv1(y)
        y = self.conv2(self.activation(self.norm2(y)))
        weights: Tensor = self.weigh(y)  # (N, C', 1, 1)
        total: Tensor = y * weights + shortcut
        return total


def senet(
    *,
    in_channels: int,
    num_classes: int,
    image_size: Size,
    stem: str,
    width: int,
    stages: int,
    blocks: int,
    squeeze: int,
    norm: str,
    activation: str,
) -> nn.Sequential:
    """SE-ResNet of 2 + 2 x `stages` x `blocks` layers; the excitation of C channels squeezes them to C / `squeeze`."""
    check_size(f"senet with stem {stem}", image_size, SMALLEST.get(stem, 1))
    check_counts(width=width, blocks=blocks, squeeze=squeeze)
    check_stages(stages)
    layers: list[nn.Module] = [*make_stem(stem, in_channels, width, normed(norm, activation), bias=False)]
    channels_in = width
    for stage, stride in enumerate(STAGE_STRIDES[:stages]):
        channels = width * 2**stage  # (N, channels, H / 2**stage, W / 2**stage)
        for block in range(blocks):
            layers.append(SqueezeBlock(channels_in, channels, 1 if block else stride, squeeze, norm, activation))
            channels_in = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels_in, num_classes))
