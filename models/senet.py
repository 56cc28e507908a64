"""SE-ResNet: pre-activation blocks whose channels are weighed by squeeze and excitation.

Sources: Hu et al., Squeeze-and-Excitation Networks, 2018 (arXiv 1709.01507); He et al., Identity Mappings, 2016
(arXiv 1603.05027). In the form of source C, SE-ResNet-18 at width 64, 2 blocks, squeeze 16: a 3x3 stem, convolutions
without bias except the two of the squeeze, no batch norm after the last block. What differs from C: its average pool
of 4, the global average at 32x32, is the global average at every size.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from models.sizes import Size, check_size

STAGE_STRIDES = (1, 2, 2, 2)
SMALLEST = 1


class SqueezeBlock(nn.Module):
    """BN-ReLU-conv3x3-BN-ReLU-conv3x3, weighed by channel, plus the shortcut. (N, C, H, W) to (N, C', H/s, W/s)."""

    def __init__(self, in_channels: int, channels: int, stride: int, squeeze: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
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
        y: Tensor = F.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(y)  # taken after the first BN-ReLU
        y = self.conv1(y)
        y = self.conv2(F.relu(self.bn2(y)))
        weights: Tensor = self.weigh(y)  # (N, C', 1, 1)
        total: Tensor = y * weights + shortcut
        return total


def senet(
    *, in_channels: int, num_classes: int, image_size: Size, width: int, blocks: int, squeeze: int
) -> nn.Sequential:
    """SE-ResNet of 2 + 8 x `blocks` layers; the excitation of C channels squeezes them to C / `squeeze`."""
    check_size("senet", image_size, SMALLEST)
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
    channels_in = width
    for stage, stride in enumerate(STAGE_STRIDES):
        channels = width * 2**stage  # (N, channels, H / 2**stage, W / 2**stage)
        for block in range(blocks):
            layers.append(SqueezeBlock(channels_in, channels, stride if block == 0 else 1, squeeze))
            channels_in = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels_in, num_classes))
