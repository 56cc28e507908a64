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
they are right. E pools by 2 at the end, which at 32x32 is the global average that all others take. Group norm or
another activation if wanted.
"""

from torch import Tensor, nn

from models.choices import ACTIVATIONS, NORMS, Normed, check_choice, check_counts, normed, pick
from models.sizes import Size, check_size

STAGE_STRIDES = (1, 2, 2, 2)
SMALLEST = {"3x3": 1, "7x7": 1, "3x3-valid": 4}  # by stem


class BasicBlock(nn.Module):
    """conv3x3-norm-activation-conv3x3-norm, plus the shortcut, then activation. (N, C, H, W) to (N, C', H/s, W/s)."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, shortcut: str | None, norm: str, activation: str
    ) -> None:
        super().__init__()
        bias = shortcut == "bare"
        make_norm = pick("norm", norm, NORMS)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=bias)
        self.norm1 = make_norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.norm2 = make_norm(channels)
        self.shortcut = _shortcut(in_channels, channels, stride, bias, norm) if shortcut is not None else None
        self.activation = pick("activation", activation, ACTIVATIONS)()

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        result: Tensor = self.activation(y)
        return result


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
        norm: str,
        activation: str,
    ) -> None:
        super().__init__()
        check_counts(width=width, blocks=blocks)
        check_stages(stages)
        self.stem = make_stem(stem, in_channels, width, normed(norm, activation), bias=shortcut == "bare")
        layers: list[nn.Module] = []
        channels_in = width
        for stage, stride in enumerate(STAGE_STRIDES[:stages]):
            channels, made = width * 2**stage, []
            for block in range(blocks):
                made.append(BasicBlock(channels_in, channels, 1 if block else stride, shortcut, norm, activation))
                channels_in = channels
            layers.append(nn.Sequential(*made))
        self.stages = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels_in, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, width, H, W), or a quarter of the side: see the table above
        x = self.stages(x)  # (N, 8 * width, H/8, W/8)
        x = self.pool(x)  # (N, 8 * width, 1, 1)
        logits: Tensor = self.head(x.flatten(1))  # (N, num_classes)
        return logits


def check_stages(stages: int) -> None:
    """Refuse more stages than the paper's four, or none."""
    check_choice("stages", stages, range(1, len(STAGE_STRIDES) + 1))


def make_stem(stem: str, in_channels: int, width: int, after: Normed, *, bias: bool) -> nn.Sequential:
    """Return the stem of this name: (N, in_channels, H, W) to (N, width, H', W'), H' by the table above."""
    check_choice("stem", stem, SMALLEST)
    if stem == "3x3":
        return nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=bias), *after(width))  # (N, width, H, W)
    if stem == "7x7":
        return nn.Sequential(
            nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=bias),  # (N, width, H/2, W/2)
            *after(width),
            nn.MaxPool2d(3, stride=2, padding=1),  # (N, width, H/4, W/4)
        )
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, bias=bias),  # (N, width, H-2, W-2)
        *after(width),
        nn.MaxPool2d(2),  # (N, width, (H-2)/2, (W-2)/2)
    )


def _shortcut(in_channels: int, channels: int, stride: int, bias: bool, norm: str) -> nn.Module:
    """Identity where the shape stays, else 1x1 convolution (option B of the paper), by itself if it has a bias."""
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    convolution = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=bias)
    return convolution if bias else nn.Sequential(convolution, NORMS[norm](channels))


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
    norm: str,
    activation: str,
) -> ResNet:
    """ResNet of 2 + 2 x `stages` x `blocks` layers (4 and 2: ResNet-18), first stage `width` channels wide."""
    check_size(f"resnet with stem {stem}", image_size, SMALLEST.get(stem, 1))
    check_choice("shortcut", shortcut, ("bare", "norm"))
    sizes: dict[str, int] = {"width": width, "stages": stages, "blocks": blocks}
    return ResNet(in_channels, num_classes, stem=stem, shortcut=shortcut, norm=norm, activation=activation, **sizes)


def plain(
    *,
    in_channels: int,
    num_classes: int,
    image_size: Size,
    stem: str,
    width: int,
    stages: int,
    blocks: int,
    norm: str,
    activation: str,
) -> ResNet:
    """The same layers without shortcuts (source B, "plain-18")."""
    check_size(f"plain with stem {stem}", image_size, SMALLEST.get(stem, 1))
    sizes: dict[str, int] = {"width": width, "stages": stages, "blocks": blocks}
    return ResNet(in_channels, num_classes, stem=stem, shortcut=None, norm=norm, activation=activation, **sizes)
