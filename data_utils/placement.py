"""Where a slot's images lie: in shared memory, on the GPU, or in shared memory and streamed to the GPU."""

import warnings
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IMAGE_SHARE: Final = 0.5  # of the GPU memory that a slot may take; the rest is for the network


class Resident:
    """Images (N, H, W, C) uint8 that lie on the device. On the CPU that is the array itself, not a copy."""

    def __init__(self, images: NDArray[np.uint8], device: torch.device) -> None:
        self._images = as_tensor(images).to(device)

    def batches(self, order: Tensor, size: int) -> Iterator[Tensor]:
        """Give the images at the positions `order` (n,), `size` at a time, on the device: (size, C, H, W)."""
        for index in torch.split(order.to(self._images.device), size):
            yield channels_first(self._images.index_select(0, index))


class Streamed:
    """Images (N, H, W, C) uint8 that stay on the host. A batch goes to the device while the one before it is used."""

    def __init__(self, images: NDArray[np.uint8], device: torch.device) -> None:
        self._images = as_tensor(images)
        self._device = device
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def batches(self, order: Tensor, size: int) -> Iterator[Tensor]:
        """Give the images at the positions `order` (n,), `size` at a time, on the device: (size, C, H, W)."""
        ahead = None
        for index in torch.split(order, size):
            sent = self._send(index)
            if ahead is not None:
                yield self._receive(*ahead)
            ahead = sent
        if ahead is not None:
            yield self._receive(*ahead)

    def _send(self, index: Tensor) -> tuple[Tensor, torch.Event | None]:
        """Gather a batch and begin its copy; the event tells its end."""
        # A fresh buffer for each batch: torch keeps pinned memory for reuse, and only after copies from it have ended.
        pinned = self._copies is not None
        staged = torch.empty((len(index), *self._images.shape[1:]), dtype=torch.uint8, pin_memory=pinned)
        torch.index_select(self._images, 0, index, out=staged)
        if self._copies is None:
            return channels_first(staged), None
        with torch.cuda.stream(self._copies):
            sent = staged.to(self._device, non_blocking=True)
            return channels_first(sent), self._copies.record_event()

    def _receive(self, images: Tensor, copied: torch.Event | None) -> Tensor:
        """Let what is computed from now on wait for the copy of `images`."""
        if copied is not None:
            computing = torch.cuda.current_stream(self._device)
            computing.wait_event(copied)
            images.record_stream(computing)  # else the copying stream could overwrite it while it is in use
        return images


Source = Resident | Streamed


def channels_first(images: Tensor) -> Tensor:
    """Show images (B, H, W, C) as (B, C, H, W), in the same memory: what torch calls channels_last."""
    return images.permute(0, 3, 1, 2)


def place(images: NDArray[np.uint8], device: torch.device, gpus: float, arrays: int = 1) -> Source:
    """Put `images` on the device if they fit. `gpus` is the slot's share of a GPU, or how many it has.

    `arrays` as large as this one are to lie there.
    """
    if device.type == "cuda" and not fits(
        arrays * images.nbytes, *torch.cuda.mem_get_info(device), share=min(gpus, 1.0)
    ):
        return Streamed(images, device)
    return Resident(images, device)


def fits(images: int, free: int, total: int, share: float) -> bool:
    """Whether `images` bytes leave room for the network on a GPU with `free` of `total` bytes, shared by slots."""
    return images <= IMAGE_SHARE * min(free, share * total)


def as_tensor(array: NDArray[np.uint8]) -> Tensor:
    """Return a tensor on the memory of `array`, not to be written to: Ray's is every worker's, a file's read-only."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
        return torch.from_numpy(array)
