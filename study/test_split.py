"""What the test split, opened once, says of the retrained winners."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

import models
from analysis.events import Event
from data_utils.batches import Batches
from study.job import OpenTest
from study.precision import precision
from study.storage import Files
from study.trial import on_device, predict

SHOWN_IMAGES: Final = 200  # test images kept for the report: the most confident mistakes first


def examine(job: OpenTest, test_split: Batches, device: torch.device) -> Iterator[Event]:
    """Give a `final_tested` event for each final run; keep its predictions, and test images for the report."""
    files = Files(job.folder, job.storage)
    folder = files.folder
    dtype = precision(device, test_split.image_shape[1:], fp32=job.fp32)
    for key, network in zip(job.finals, job.networks, strict=True):
        files.fetch(f"{key}/model.json", f"{key}/model.safetensors")
        logits = predict(load_network(folder / key, network, device), test_split, dtype)  # (N, classes)
        loss = F.cross_entropy(logits, test_split.labels).item()
        score = (logits.argmax(dim=1) == test_split.labels).float().mean().item()
        _keep_predictions(folder / key, logits, test_split.labels)
        files.keep(f"{key}/predictions.npz")
        numbers = {"test_loss": loss, "test_score": score, "images": len(test_split)}
        yield {"event": "final_tested", "final": key, **numbers}
    files.fetch(*(f"{key}/predictions.npz" for key in job.tested))  # whose mistakes are to be shown too
    _keep_images(folder, test_split)
    files.keep("test_images.npz")


def load_network(folder: Path, name: str, device: torch.device) -> nn.Module:
    """Return the network that `Trial.keep_model` wrote to `folder`, with its weights.

    Its `name` is asked for, though model.json has one: it may be that of a Python file, and a file that was found in a
    folder shall not say which code is run.
    """
    arguments = json.loads((folder / "model.json").read_text())
    network = models.build(**{**arguments, "name": name, "image_size": tuple(arguments["image_size"])})
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return on_device(network, device)


def _keep_predictions(folder: Path, logits: Tensor, labels: Tensor) -> None:
    probability = logits.softmax(dim=1).cpu().numpy().astype(np.float32)
    _save_arrays(folder / "predictions.npz", label=labels.cpu().numpy(), probability=probability)


def _keep_images(folder: Path, test_split: Batches) -> None:
    """Keep the images with the most confident mistakes of any run so far, filled up in a fixed random order."""
    labels = test_split.labels.cpu().numpy()
    mistaken = np.zeros(len(labels))
    for path in sorted(folder.glob("*/predictions.npz")):
        probability = np.load(path)["probability"]
        wrong = probability.argmax(axis=1) != labels
        mistaken = np.maximum(mistaken, np.where(wrong, probability.max(axis=1), 0.0))
    shuffled = np.random.default_rng(0).permutation(len(labels))
    order = shuffled[np.argsort(-mistaken[shuffled], kind="stable")]
    # Half are kept for mistakes, so that right answers can be shown beside them.
    mistakes = order[: SHOWN_IMAGES // 2]
    index = np.concatenate([mistakes, np.setdiff1d(shuffled, mistakes, assume_unique=True)])[:SHOWN_IMAGES]
    [chosen] = test_split.pixels(torch.from_numpy(index), len(index))
    _save_arrays(folder / "test_images.npz", index=index, image=chosen.permute(0, 2, 3, 1).cpu().numpy())


def _save_arrays(path: Path, **arrays: Any) -> None:
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **arrays)
    temporary.rename(path)
