"""A small network of layers written by hand (source B): conv3x3-BN-ReLU, average over the map, linear.

By hand are the convolution, the batch norm and the average pool (`models/layers.py`); ReLU and the linear layer are
torch's. Width 32 has 1,290 parameters for 3 channels and 10 classes. What differs from B: in the form `unfold` the
convolution takes one matrix product instead of a loop, which took B over 5 hours an epoch on CIFAR-10; batch norm is
by hand too; the average is over the whole map, 30x30 at 32x32, whatever its size; small images are padded.
"""

from torch import Tensor, nn

from models.choices import check_counts, check_kernel
from models.layers import BatchNorm, Conv2d, Pool2d
from models.sizes import Size, check_size, output_side, padding_for

SMALLEST = 1


class Handwritten(nn.Module):
    """(N, C, *size) to (N, num_classes) by the layers of `models/layers.py`."""

    def __init__(self, in_channels: int, num_classes: int, size: Size, width: int, kernel: int, form: str) -> None:
        super().__init__()
        padding = padding_for(size, kernel)
        height, breadth = (output_side(size[axis], kernel, 1, padding[axis]) for axis in (0, 1))
        self.conv = Conv2d(in_channels, width, kernel, padding=padding, form=form)
        self.bn = BatchNorm(width)
        self.pool = Pool2d((height, breadth), mode="avg")
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)  # (N, width, H-2, W-2)
        x = self.bn(x)
        x = x.relu()
        x = self.pool(x)  # (N, width, 1, 1)
        logits: Tensor = self.head(x.flatten(1))  # (N, num_classes)
        return logits


def handwritten(
    *, in_channels: int, num_classes: int, image_size: Size, width: int, kernel: int, form: str
) -> Handwritten:
    """One convolution of `width` channels, `kernel` x `kernel`, in one of the forms of `models/layers.py`."""
    check_size("handwritten", image_size, SMALLEST)
    check_counts(width=width)
    check_kernel(kernel)
    return Handwritten(in_channels, num_classes, image_size, width, kernel, form)
