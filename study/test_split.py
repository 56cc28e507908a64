"""What the test split, opened once, says of the retrained winners."""

from collections.abc import Iterator

import torch

import models
from analysis.events import Event
from data_utils.batches import Batches
from study.job import OpenTest
from study.precision import precision
from study.storage import Files
from study.tasks import task_module
from study.trial import on_device


def examine(job: OpenTest, test_split: Batches, device: torch.device) -> Iterator[Event]:
    """Give a `final_tested` event for each final run; keep its predictions, and test images for the report."""
    files = Files(job.folder, job.storage)
    folder = files.folder
    task = task_module(test_split)
    dtype = precision(device, test_split.image_shape[1:], fp32=job.fp32)
    for key, network in zip(job.finals, job.networks, strict=True):
        files.fetch(f"{key}/model.json", f"{key}/model.safetensors")
        # The study's network, not that which model.json names: what lies in a folder shall not say which code is run.
        model = on_device(models.load_network(folder / key, network), device)
        loss, score = task.examine(model, test_split, dtype, folder / key)
        files.keep(f"{key}/predictions.npz")
        numbers = {"test_loss": loss, "test_score": score, "images": len(test_split)}
        yield {"event": "final_tested", "final": key, **numbers}
    files.fetch(*(f"{key}/predictions.npz" for key in job.tested))  # whose mistakes are to be shown too
    task.keep_images(folder, test_split)
    files.keep("test_images.npz")
