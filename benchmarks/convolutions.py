"""What a convolution costs in each of its three forms: the definition in a loop, one matrix product, torch's.

    python -m benchmarks.convolutions [--batch 32] [--repeats 5]

Times forward and backward of 3 to 32 channels, 3x3, on images of 32x32, the layer of the small network by hand, on one
thread; prints the median of each form with its range, and its ratio to torch's.
"""

import argparse
import statistics
import time

import torch

from models.layers import FORMS, Conv2d


def seconds(layer: Conv2d, images: torch.Tensor, repeats: int) -> list[float]:
    """Seconds of each of `repeats` passes forward and backward, after one that does not count."""
    found = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        layer(images).sum().backward()
        found.append(time.perf_counter() - begun)
    return found[1:]


def main() -> None:
    """Print a line for each form."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--batch", type=int, default=32, help="images in a pass (default 32)")
    parser.add_argument("--repeats", type=int, default=5, help="passes of each form (default 5)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    images = torch.randn(asked.batch, 3, 32, 32, requires_grad=True)
    found = {form: seconds(Conv2d(3, 32, 3, form=form), images, asked.repeats) for form in FORMS}
    for form, times in found.items():
        middle = statistics.median(times)
        ratio = middle / statistics.median(found["torch"])
        span = f"{1e3 * min(times):.1f} to {1e3 * max(times):.1f}"
        print(f"{form:<8} {1e3 * middle:9.1f} ms ({span}) {ratio:8.1f} x torch")


if __name__ == "__main__":
    main()
