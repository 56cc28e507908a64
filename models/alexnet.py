"""AlexNet (source D; B allows it to be fitted to the data).

Source: Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, 2012. Width 96 without
norm has 46,764,746 parameters for 1x224x224 and 10 classes. What differs from the paper, as in D: one stream, no
local response normalisation. What differs from D: all widths follow the first one; the flattened size follows the
image; batch norm or another activation if wanted. Below 65 pixels, the smallest that the printed strides take, the
first convolution is 3x3 and the pools halve (the 32x32 form), with stride 2 from 48 pixels on: so no image has more
parameters than 224x224 has in the printed form.
"""

from torch import nn

from models.choices import check_counts, classifier, normed, start_xavier
from models.sizes import Size, check_size, map_size, small_stride

SMALLEST = 8
SMALLEST_PRINTED = 65


def alexnet(
    *,
    in_channels: int,
    num_classes: int,
    image_size: Size,
    width: int,
    norm: str,
    activation: str,
    dropout: float,
) -> nn.Sequential:
    """AlexNet with `width` channels in its first convolution and 4096/96 times as many in its linear layers.

    Shapes at 1x224x224, width 96: 96x54x54, 96x26x26, 256x26x26, 256x12x12, 384x12x12 twice, 256x12x12, 256x5x5,
    6400, 4096, 4096, classes; at 32x32: 96x32x32, 96x16x16, 256x16x16, 256x8x8, 384x8x8 twice, 256x8x8, 256x4x4, 4096.
    """
    check_size("alexnet", image_size, SMALLEST)
    check_counts(width=width)
    printed = min(image_size) >= SMALLEST_PRINTED
    second, third, wide = (round(width * channels / 96) for channels in (256, 384, 4096))
    window, first = (3, (11, 4, 1)) if printed else (2, (3, small_stride(image_size), 1))
    after = normed(norm, activation)

    def convolution(channels_in: int, channels: int, kernel: int, stride: int, padding: int) -> list[nn.Module]:
        return [nn.Conv2d(channels_in, channels, kernel, stride=stride, padding=padding), *after(channels)]

    features = nn.Sequential(
        *convolution(in_channels, width, *first),
        nn.MaxPool2d(window, stride=2),
        *convolution(width, second, 5, 1, 2),
        nn.MaxPool2d(window, stride=2),
        *convolution(second, third, 3, 1, 1),
        *convolution(third, third, 3, 1, 1),
        *convolution(third, second, 3, 1, 1),
        nn.MaxPool2d(window, stride=2),
    )
    height, breadth = map_size(features, image_size)
    network = nn.Sequential(
        features,
        nn.Flatten(),
        *classifier(second * height * breadth, wide, num_classes, activation, dropout),
    )
    start_xavier(network)
    return network
