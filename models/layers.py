"""Convolution, pooling and batch norm written by hand (sources B and D), equal to torch's in value and gradient.

Convolution has three forms with the same result: `loop` is the definition, for teaching and as the oracle; `unfold`
gathers all patches and takes one matrix product, usable in training; `torch` is `F.conv2d`. What differs from B: its
batched version summed over the images too. What differs from D: running statistics are buffers, so a state dict holds
them, and `training` chooses the mode instead of whether gradients are on.
"""

import math
from collections.abc import Callable
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.choices import check_choice
from models.sizes import output_side

Pair = tuple[int, int]


def correlate(image: Tensor, kernel: Tensor) -> Tensor:
    """Return Y[i, j] = sum(X[i:i+kh, j:j+kw] * K): (H, W) and (kh, kw) to (H-kh+1, W-kw+1)."""
    height, width = kernel.shape
    rows, columns = image.shape[0] - height + 1, image.shape[1] - width + 1
    values = [(image[i : i + height, j : j + width] * kernel).sum() for i in range(rows) for j in range(columns)]
    return torch.stack(values).reshape(rows, columns)


def _output_size(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    height, width = (
        output_side(x.shape[2 + axis], weight.shape[2 + axis], stride[axis], padding[axis], dilation[axis])
        for axis in (0, 1)
    )
    return height, width


def convolve_by_loop(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """Return the convolution of x (N, C, H, W) with weight (O, C, kh, kw): one output position after another."""
    height, width = _output_size(x, weight, stride, padding, dilation)
    x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    reach = [(weight.shape[2 + axis] - 1) * dilation[axis] + 1 for axis in (0, 1)]
    values = []
    for i in range(0, height * stride[0], stride[0]):
        for j in range(0, width * stride[1], stride[1]):
            patch = x[:, None, :, i : i + reach[0] : dilation[0], j : j + reach[1] : dilation[1]]  # (N, 1, C, kh, kw)
            values.append((patch * weight).sum(dim=(2, 3, 4)))  # (N, O); B sums over N too
    return torch.stack(values, dim=2).reshape(x.shape[0], weight.shape[0], height, width)


def convolve_by_unfold(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """Return the same: all patches as columns (N, C kh kw, positions), then one product with (O, C kh kw)."""
    height, width = _output_size(x, weight, stride, padding, dilation)
    kernel_size = (weight.shape[2], weight.shape[3])
    columns = F.unfold(x, kernel_size, dilation=dilation, padding=padding, stride=stride)
    return (weight.flatten(1) @ columns).reshape(x.shape[0], weight.shape[0], height, width)


def convolve_by_torch(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """Return the same, by torch."""
    return F.conv2d(x, weight, stride=stride, padding=padding, dilation=dilation)


FORMS: Final[dict[str, Callable[[Tensor, Tensor, Pair, Pair, Pair], Tensor]]] = {
    "loop": convolve_by_loop,
    "torch": convolve_by_torch,
    "unfold": convolve_by_unfold,
}


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value


class Conv2d(nn.Module):
    """Convolution (N, C, H, W) to (N, O, H', W') in one of the `FORMS`; state dict and start as `nn.Conv2d`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        *,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        bias: bool = True,
        form: str = "unfold",
    ) -> None:
        super().__init__()
        check_choice("form", form, FORMS)
        self.stride, self.padding, self.dilation, self.form = _pair(stride), _pair(padding), _pair(dilation), form
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *_pair(kernel_size)))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        y = FORMS[self.form](x, self.weight, self.stride, self.padding, self.dilation)
        return y if self.bias is None else y + self.bias[:, None, None]


class Pool2d(nn.Module):
    """Greatest value or mean of each window: (N, C, H, W) to (N, C, H', W'). The step is the window unless given.

    Padding counts as zeros in a mean and never wins a maximum, as in torch.
    """

    def __init__(
        self, window: int | Pair, *, mode: Literal["max", "avg"], stride: int | Pair | None = None, padding: int = 0
    ) -> None:
        super().__init__()
        check_choice("mode", mode, ("avg", "max"))
        self.window, self.mode, self.padding = _pair(window), mode, padding
        self.stride = self.window if stride is None else _pair(stride)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (self.padding,) * 4, value=-math.inf if self.mode == "max" else 0.0)
        windows = x.unfold(2, self.window[0], self.stride[0]).unfold(3, self.window[1], self.stride[1])
        values = windows.flatten(4)  # (N, C, H', W', kh, kw) to (N, C, H', W', kh * kw)
        return values.max(dim=4).values if self.mode == "max" else values.mean(dim=4)


class BatchNorm(nn.Module):
    """Batch norm of (N, C) or (N, C, H, W) over all but C; state dict as `nn.BatchNorm1d` and `nn.BatchNorm2d`.

    D keeps 0.9 of the running value at each step: `momentum` 0.1 here, the share of the new one, as in torch.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self._batch_statistics(x) if self.training else (self.running_mean, self.running_var)
        shape = (1, -1) + (1,) * (x.ndim - 2)  # to stand beside C
        normal = (x - mean.view(shape)) / torch.sqrt(variance.view(shape) + self.eps)
        return normal * self.weight.view(shape) + self.bias.view(shape)

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the batch, (C,) each, moved into the running ones; those hold the unbiased variance."""
        others = [axis for axis in range(x.ndim) if axis != 1]
        x = x.to(self.weight.dtype)
        mean, variance = x.mean(dim=others), x.var(dim=others, correction=0)
        count = x.numel() // x.shape[1]
        if count < 2:
            raise ValueError("Batch norm in training needs more than one value per channel: take a larger batch.")
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        return mean, variance
