"""What an epoch of a configuration takes on this device, and its files on the disk. In a worker: it needs torch."""

import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from study.job import EpochProbe, Job
from study.memory import FewSteps, release
from study.trial import Trial, TrialData


def time_epoch(job: Job, data: TrialData, device: torch.device) -> EpochProbe:
    """Train `job` for two epochs, the first to warm up, of 100 steps at most, and return what a whole one takes."""
    release(device)
    few = FewSteps(data.train)
    with tempfile.TemporaryDirectory(prefix="archstudy-") as scratch:
        folder = Path(scratch)
        trial = Trial(replace(job, folder=folder), replace(data, train=few), device)  # type: ignore[arg-type]
        trial.train_epoch()
        row = trial.train_epoch()
        trial.save()
        trial.keep_model()
        checkpoint, model = ((folder / name).stat().st_size for name in ("last.pt", "model.safetensors"))
    batch = min(job.config["batch_size"], len(data.train))
    steps = [part.steps(job.config["batch_size"]) for part in (few, data.train)]
    trained, whole = (number * batch / row["images_per_second"] for number in steps)
    return EpochProbe(job.key, row["seconds"] - trained + whole, checkpoint, model)
