"""ResNet with basic blocks, and the same network without shortcuts ("plain").

Source: He et al., Deep Residual Learning for Image Recognition, 2016 (arXiv 1512.03385), in the form of references A
and B: a 3x3 stem without pooling, made for small images. What differs from A and B: the width of the first stage and
the blocks per stage are hyperparameters. Width 64 with 2 blocks is their ResNet-18: 11,173,962 parameters for
3x32x32 images and 10 classes.
"""

from torch import Tensor, nn
from torch.nn import functional as F

STAGE_STRIDES = (1, 2, 2, 2)


class BasicBlock(nn.Module):
    """conv3x3-BN-ReLU-conv3x3-BN, plus the shortcut, then ReLU. (N, C, H, W) to (N, C', H/stride, W/stride)."""

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = _shortcut(in_channels, channels, stride) if shortcut else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return F.relu(y)


class ResNet(nn.Module):
    """Stem, four stages of `blocks` blocks with widths 1, 2, 4, 8 times `width`, global average, linear."""

    def __init__(self, in_channels: int, num_classes: int, width: int, blocks: int, shortcut: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        stages: list[nn.Module] = []
        channels_in = width
        for stage, stride in enumerate(STAGE_STRIDES):
            channels = width * 2**stage
            for block in range(blocks):
                stages.append(BasicBlock(channels_in, channels, stride if block == 0 else 1, shortcut))
                channels_in = channels
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels_in, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, width, H, W)
        x = self.stages(x)  # (N, 8 * width, H/8, W/8)
        x = x.mean(dim=(2, 3))  # (N, 8 * width)
        logits: Tensor = self.head(x)  # (N, num_classes)
        return logits


def _shortcut(in_channels: int, channels: int, stride: int) -> nn.Module:
    """Identity where the shape stays, else 1x1 convolution and batch norm (option B of the paper)."""
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels))


def resnet(*, in_channels: int, num_classes: int, image_size: tuple[int, int], width: int, blocks: int) -> ResNet:
    """ResNet of 2 + 8 * `blocks` layers (`blocks` 2: ResNet-18), first stage `width` channels wide."""
    del image_size  # padding and the global average take any size
    return ResNet(in_channels, num_classes, width, blocks, shortcut=True)


def plain(*, in_channels: int, num_classes: int, image_size: tuple[int, int], width: int, blocks: int) -> ResNet:
    """The same layers without shortcuts (reference B, "plain-18")."""
    del image_size
    return ResNet(in_channels, num_classes, width, blocks, shortcut=False)
