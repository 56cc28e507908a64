"""In which number format networks compute: bf16 where the hardware multiplies it natively and images are worth it."""

from typing import Final

import torch
from torch import Tensor, nn

WORTH_IT: Final = 16 * 16  # pixels: below, casting weights costs more than the faster products gain (docs/decisions.md)


def precision(device: torch.device, image_size: tuple[int, int], *, fp32: bool) -> torch.dtype:
    """Return bfloat16 or float32 for images of `image_size` (H, W) on `device`; `fp32` asks for the latter."""
    small = image_size[0] * image_size[1] < WORTH_IT
    return torch.float32 if fp32 or small or not _native(device) else torch.bfloat16


def exact_products(*, fp32: bool) -> None:
    """Have float32 convolutions on a GPU be float32, if `fp32` asks for it: by default they round inputs to TF32."""
    torch.backends.cudnn.allow_tf32 = not fp32


def _native(device: torch.device) -> bool:
    """Whether `device` has bf16 matrix units. CPUs that have bf16 but no AMX were not measured, so they do without."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def forward(network: nn.Module, images: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the logits of `network` as float32, computed in `dtype`. Weights and gradients stay float32 (autocast)."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=dtype is torch.bfloat16):
        logits: Tensor = network(images)
    return logits.float()
