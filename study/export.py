"""A trained network for those who have not this package: torch.export or ONNX, held against the network itself."""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import models
from study.plan import PlanError

TOLERANCE: Final = 1e-3  # largest difference of two answers, of the largest of them
IMAGES: Final = 3  # random ones that both are asked about; the export is made with two


def export(network: models.Trained, path: Path) -> str:
    """Write `network` to `path`, as .pt2 (torch.export) or .onnx; return what was found of it.

    It takes images (B, C, H, W) uint8 as `network` does, any number of them, to restore of any height and width
    too. It is written only if it answers alike.
    Raises `PlanError` for another ending, a file that exists, packages that lack, or answers that differ.
    """
    if path.suffix not in WRITERS:
        raise PlanError(f"--export is {path}, but its ending must be one of {', '.join(WRITERS)}.")
    if path.exists():
        raise PlanError(f"--export is {path}, which exists. Give another name, or remove it.")
    images = torch.randint(256, (IMAGES, *network.image_shape), dtype=torch.uint8)
    with torch.inference_mode():
        expected = network(images).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        answered = WRITERS[path.suffix](network, images, temporary)
        furthest = float(np.abs(answered - expected).max() / np.abs(expected).max())
        if not furthest <= TOLERANCE:
            raise PlanError(
                f"What was exported answers otherwise: by {furthest:.1e} of the largest answer, but at most "
                f"{TOLERANCE:g} may be. Nothing is written to {path}."
            )
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    return f"{path}: answers as the network does on {IMAGES} random images, to {furthest:.1e} of the largest"


def _program(network: models.Trained, images: Tensor) -> torch.export.ExportedProgram:
    free = {0: torch.export.Dim("batch", min=1)}
    if network.restores:
        free |= dict.fromkeys((2, 3), torch.export.Dim.AUTO)  # fixed where a network of one's own has them so
    return torch.export.export(network, (images[:2],), dynamic_shapes=(free,))


def _write_program(network: models.Trained, images: Tensor, path: Path) -> NDArray[np.float32]:
    """Write with torch.export; return what the file, read again, answers."""
    torch.export.save(_program(network, images), path)
    answered: NDArray[np.float32] = torch.export.load(path).module()(images).detach().numpy()
    return answered


def _write_onnx(network: models.Trained, images: Tensor, path: Path) -> NDArray[np.float32]:
    """Write as ONNX; return what ONNX Runtime answers."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch.onnx writes with it
    except ImportError as error:
        raise PlanError(
            f"--export to ONNX needs {error.name}, which is not installed. pip install 'archstudy[onnx]', or give a "
            f"file that ends in .pt2."
        ) from error
    program = torch.onnx.export(
        _program(network, images), input_names=["images"], output_names=["answers"], dynamo=True, verbose=False
    )
    assert program is not None
    program.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    answered: NDArray[np.float32] = session.run(None, {"images": images.numpy()})[0]
    return answered


WRITERS: Final = {".pt2": _write_program, ".onnx": _write_onnx}
