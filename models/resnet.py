"""ResNet with basic blocks, the same network without shortcuts ("plain"), and a residual toy: one stage, one block.

Source: He et al., Deep Residual Learning for Image Recognition, 2016 (arXiv 1512.03385). Five sources write ResNet-18
in three stems and two kinds of shortcut; all are options here, with width 64, 4 stages, 2 blocks:

| stem        | after it, from 3x32x32  | source  |
|-------------|-------------------------|---------|
| `3x3`       | 64x32x32                | A, B    |
| `7x7`       | 64x8x8 (224: 64x56x56)  | C, D    |
| `3x3-valid` | 64x15x15                | E       |

Shortcuts `norm` are 1x1 convolution and batch norm, and no convolution has a bias, since batch norm has one (A, B).
Shortcuts `bare` are 1x1 convolution with bias alone, and every convolution has a bias (C, D, E). What differs: C as
printed has no ReLU inside its blocks, shares the weights of one stage and draws its shortcuts anew in each call; here
they are right. E pools by 2 at the end, which at 32x32 is the global average that all others take.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from models.sizes import Size, check_size

STAGE_STRIDES = (1, 2, 2, 2)
SMALLEST = {"3x3": 1, "7x7": 1, "3x3-valid": 4}


class BasicBlock(nn.Module):
    """conv3x3-BN-ReLU-conv3x3-BN, plus the shortcut, then ReLU. (N, C, H, W) to (N, C', H/stride, W/stride)."""

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: str | None) -> None:
        super().__init__()
        bias = shortcut == "bare"
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=bias)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = _shortcut(in_channels, channels, stride, bias) if shortcut is not None else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return F.relu(y)


class ResNet(nn.Module):
    """Stem, stages of `blocks` blocks with widths 1, 2, 4, 8 times `width`, global average, linear."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        stem: str,
        width: int,
        stages: int,
        blocks: int,
        shortcut: str | None,
    ) -> None:
        super().__init__()
        self.stem = _stem(stem, in_channels, width, bias=shortcut == "bare")
        layers: list[nn.Module] = []
        channels_in = width
        for stage, stride in enumerate(STAGE_STRIDES[:stages]):
            channels = width * 2**stage
            layers.append(_stage(channels_in, channels, stride, blocks, shortcut))
            channels_in = channels
        self.stages = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels_in, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, width, H, W), or a quarter of the side: see the table above
        x = self.stages(x)  # (N, 8 * width, H/8, W/8)
        x = self.pool(x)  # (N, 8 * width, 1, 1)
        logits: Tensor = self.head(x.flatten(1))  # (N, num_classes)
        return logits


def _stem(kind: str, in_channels: int, width: int, *, bias: bool) -> nn.Sequential:
    if kind == "3x3":
        return nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=bias), nn.BatchNorm2d(width), nn.ReLU()
        )  # (N, width, H, W)
    if kind == "7x7":
        return nn.Sequential(
            nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=bias),  # (N, width, H/2, W/2)
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),  # (N, width, H/4, W/4)
        )
    if kind == "3x3-valid":
        return nn.Sequential(
            nn.Conv2d(in_channels, width, 3, bias=bias),  # (N, width, H-2, W-2)
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),  # (N, width, (H-2)/2, (W-2)/2)
        )
    raise ValueError(f"Unknown stem {kind!r}. Valid: {', '.join(SMALLEST)}.")


def _stage(in_channels: int, channels: int, stride: int, blocks: int, shortcut: str | None) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1, shortcut) for _ in range(blocks - 1)))


def _shortcut(in_channels: int, channels: int, stride: int, bias: bool) -> nn.Module:
    """Identity where the shape stays, else 1x1 convolution (option B of the paper), by itself if it has a bias."""
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    convolution = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=bias)
    return convolution if bias else nn.Sequential(convolution, nn.BatchNorm2d(channels))


def resnet(
    *,
    in_channels: int,
    num_classes: int,
    image_size: Size,
    stem: str,
    width: int,
    stages: int,
    blocks: int,
    shortcut: str,
) -> ResNet:
    """ResNet of 2 + 2 x `stages` x `blocks` layers (4 and 2: ResNet-18), first stage `width` channels wide."""
    check_size(f"resnet with stem {stem}", image_size, SMALLEST.get(stem, 1))
    return ResNet(in_channels, num_classes, stem=stem, width=width, stages=stages, blocks=blocks, shortcut=shortcut)


def plain(
    *, in_channels: int, num_classes: int, image_size: Size, stem: str, width: int, stages: int, blocks: int
) -> ResNet:
    """The same layers without shortcuts (source B, "plain-18")."""
    check_size(f"plain with stem {stem}", image_size, SMALLEST.get(stem, 1))
    return ResNet(in_channels, num_classes, stem=stem, width=width, stages=stages, blocks=blocks, shortcut=None)
