"""What the test split, opened once, says of the retrained winners."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

import models
from analysis.events import Event
from data_utils.batches import Batches
from study.job import OpenTest
from study.precision import precision
from study.storage import Files
from study.tasks import task_of
from study.trial import on_device


def examine(job: OpenTest, test_split: Batches, device: torch.device) -> Iterator[Event]:
    """Give a `final_tested` event for each final run; keep its predictions, and test images for the report."""
    files = Files(job.folder, job.storage)
    folder = files.folder
    task = task_of(test_split)
    dtype = precision(device, test_split.image_shape[1:], fp32=job.fp32)
    for key, network in zip(job.finals, job.networks, strict=True):
        files.fetch(f"{key}/model.json", f"{key}/model.safetensors")
        loss, score = task.examine(load_network(folder / key, network, device), test_split, dtype, folder / key)
        files.keep(f"{key}/predictions.npz")
        numbers = {"test_loss": loss, "test_score": score, "images": len(test_split)}
        yield {"event": "final_tested", "final": key, **numbers}
    files.fetch(*(f"{key}/predictions.npz" for key in job.tested))  # whose mistakes are to be shown too
    task.keep_images(folder, test_split)
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
