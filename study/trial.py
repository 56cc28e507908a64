"""Train one configuration: plain PyTorch, no Ray. Build, loop over epochs, hand back rows, save and restore.

A search trial and a final run are the same thing with another seed and another folder; the `Job` says which.
"""

import io
import json
import math
import os
import socket
import time
import traceback
import zipfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

import models
from analysis.events import Event
from data_utils.batches import Batches
from models import summary
from models.trained import PREPROCESSING
from study.config import Config
from study.faults import FilesError, files_in, ran_out
from study.job import Job
from study.optimization import learning_rate, optimizer, schedule
from study.precision import forward, precision
from study.secrets import masked
from study.storage import Files
from study.tasks import task_module

Row = dict[str, Any]


@dataclass(frozen=True)
class TrialData:
    """The data of a search on one device, and what a network must fit. `mirror`: see `Dataset`.

    `num_classes` is 0 where the answers are images.
    """

    train: Batches
    validation: Batches
    num_classes: int
    mirror: bool = False

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image, (C, H, W)."""
        return self.train.image_shape


class Diverged(ArithmeticError):  # noqa: N818  a state of a trial, not a programming error
    """A loss is not finite; the message names the epoch."""


def train(job: Job, data: TrialData, device: torch.device) -> Iterator[Event]:
    """Train `job` and give what happens: `started`, an `epoch` for each one not yet in the log, `ended` on a failure.

    Whoever listens decides when to stop: nothing is said at full length. Errors end the trial, not the worker; their
    traceback goes to trial.log.
    """
    try:
        if job.storage is None:
            with files_in(job.folder):  # a node without it shall not train from the beginning what others did
                job.folder.stat()
        trial = Trial(job, data, device)
        yield {"event": "started", **_place(trial, device)}
        yield from ({"event": "epoch", **row} for row in trial.rows[job.logged_epochs :])
        while not trial.done:
            row = trial.train_epoch()
            if trial.done and job.kind == "final":
                trial.keep_model()
            elif row["epoch"] in job.rungs:  # where it may pause, to go on in another slot
                trial.save()
            elif not trial.done:
                trial.save_if_cheap()
            yield {"event": "epoch", **row}
    except Diverged as divergence:
        yield {"event": "ended", "state": "diverged", "error": str(divergence)}
    except FilesError as error:  # for want of files or memory the engine says what becomes of the trial
        yield {"event": "ended", "state": "cannot_write" if error.unwritable else "no_files", "error": str(error)}
    except Exception as error:
        _keep_traceback(job)
        state = "out_of_memory" if ran_out(error) else "failed"
        yield {"event": "ended", "state": state, "error": _one_line(error)}


def _keep_traceback(job: Job) -> None:
    """Append the error at hand to trial.log."""
    with suppress(FilesError):
        _add_to_log(Files(job.folder, job.storage), masked(traceback.format_exc()))


def _add_to_log(files: Files, text: str) -> None:
    """Append to trial.log, if that can be written: what stands in the event log counts."""
    with suppress(FilesError, OSError):
        files.fetch("trial.log")
        with (files.folder / "trial.log").open("a") as file:
            file.write(text)
        files.keep("trial.log")


def _place(trial: "Trial", device: torch.device) -> dict[str, Any]:
    return {
        "from_epoch": trial.from_epoch,
        "parameters": models.count_parameters(trial.model),
        "multiply_adds": trial.multiply_adds(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "precision": str(trial.precision).removeprefix("torch."),
        "node": socket.gethostname(),
        "worker": os.getpid(),
    }


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:500]


class Trial:
    """One configuration in training. `epoch` counts finished epochs; `rows` holds one row for each of them."""

    def __init__(self, job: Job, data: TrialData, device: torch.device) -> None:
        self.job = job
        self._data = data
        self._device = device
        config = Config(job.config)
        torch.manual_seed(job.seed)  # initial weights; order and augmentation have a generator of their own
        network = models.build(**network_arguments(job, config, data))
        self.model = on_device(network, device)
        self.precision = precision(device, data.image_shape[1:], fp32=job.fp32)
        self._order = torch.Generator().manual_seed(job.seed)
        self._batch_size: int = config["batch_size"]
        self._task = task_module(data.validation)
        self._objective = self._task.Objective(config, data)
        self._norms = RunningStatistics(self.model)
        self._optimizer = optimizer(config, self.model)
        steps = job.max_epochs * data.train.steps(self._batch_size)
        self._schedule = schedule(config, self._optimizer, steps)
        if config.unread:
            raise ValueError(f"Nothing uses the hyperparameters {', '.join(config.unread)} of {job.key}.")
        self.epoch = 0
        self.rows: list[Row] = []
        self._files = Files(job.folder, job.storage)
        self._files.fetch("last.pt")
        self._restore()
        self.from_epoch = self.epoch
        self._seconds_to_save: deque[float] = deque(maxlen=3)
        self._last_saved = time.perf_counter()

    @property
    def checkpoint(self) -> Path:
        """Where this trial keeps what it needs to go on."""
        return self._files.folder / "last.pt"

    @property
    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must have been made for to be gone on from."""
        return {"seed": self.job.seed, "max_epochs": self.job.max_epochs, "config": dict(self.job.config)}

    @property
    def previous_checkpoint(self) -> Path:
        """The one before, for the case that the last one is damaged."""
        return self._files.folder / "previous.pt"

    @property
    def done(self) -> bool:
        """Whether the full length is trained."""
        return self.epoch >= self.job.max_epochs

    def train_epoch(self) -> Row:
        """Train and validate one epoch and return its row. Raises `Diverged` after a non-finite loss."""
        start = time.perf_counter()
        loss, score = self._train()
        trained = time.perf_counter()
        if not math.isfinite(loss):
            raise Diverged(f"training loss is {loss} in epoch {self.epoch + 1}")
        val_loss, val_score = self._task.evaluate(self.model, self._data.validation, self.precision)
        if not math.isfinite(val_loss):
            raise Diverged(f"validation loss is {val_loss} in epoch {self.epoch + 1}")
        self.epoch += 1
        end = time.perf_counter()
        images = self._data.train.steps(self._batch_size) * min(self._batch_size, len(self._data.train))
        self.rows.append(
            {
                "epoch": self.epoch,
                "train_loss": loss,
                "train_score": score,
                "val_loss": val_loss,
                "val_score": val_score,
                "lr": self._lr,
                "seconds": end - start,
                "images_per_second": images / (trained - start),
            }
        )
        return self.rows[-1]

    def _train(self) -> tuple[float, float]:
        """One pass over the training images; mean loss and score over its batches, read once at its end."""
        self.model.train()
        losses: list[Tensor] = []
        scores: list[Tensor] = []
        done = self.epoch * self._data.train.steps(self._batch_size)
        batches = self._data.train.shuffled(self._batch_size, self._order, self._objective.augmentation)
        for step, (images, answers) in enumerate(batches, done):
            self._norms.begin(step)
            outputs = forward(self.model, images, self.precision)  # logits (B, classes), or images (B, C, H, W)
            loss: Tensor = self._objective.loss(outputs, answers)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self._lr = learning_rate(self._optimizer)
            self._optimizer.step()
            self._schedule.step()
            losses.append(loss.detach())
            scores.append(self._objective.score(outputs.detach(), answers))
        means = torch.stack([torch.stack(losses).mean(), torch.stack(scores).mean()]).tolist()
        return means[0], means[1]

    def save_if_cheap(self, share: float = 0.05) -> None:
        """Save unless saving would take more than `share` of the time since the last checkpoint.

        It is taken to last as long as the quickest of the last three: a single one may have been held up by other work.
        """
        if time.perf_counter() - self._last_saved >= min(self._seconds_to_save, default=0.0) / share:
            self.save()

    def save(self) -> None:
        """Write the checkpoint: to a temporary name first, so that a kill leaves the old one whole.

        Raises `FilesError` where it cannot be written.
        """
        start = time.perf_counter()
        state = {
            "made_for": self._identity,
            "epoch": self.epoch,
            "rows": self.rows,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.last_epoch,
            "order": self._order.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None,
        }
        temporary, content = self.checkpoint.with_suffix(".tmp"), io.BytesIO()
        torch.save(state, content)  # torch's own writer of files does not say why it failed
        with files_in(self._files.folder):
            temporary.write_bytes(content.getbuffer())
            if self.checkpoint.exists():
                self.checkpoint.replace(self.previous_checkpoint)
            temporary.replace(self.checkpoint)
        with suppress(FilesError):  # a storage that does not answer costs no trial: the next checkpoint asks it again
            self._files.keep("last.pt")
        self._last_saved = time.perf_counter()
        self._seconds_to_save.append(self._last_saved - start)

    def _restore(self) -> None:
        """Go on from the last checkpoint, or the one before where that is damaged, or else from the beginning."""
        for path in (self.checkpoint, self.previous_checkpoint):
            with files_in(path):
                content = path.read_bytes() if path.exists() else None
            if content is not None:
                try:
                    state = _loaded(content)
                except Exception as error:  # zip, pickle and torch have many for a file that is not what it was
                    _add_to_log(self._files, f"{path} is damaged and not used: {_one_line(error)}\n")
                else:
                    if state.get("made_for") == self._identity:  # else its log lost its end, and now suggests otherwise
                        self._take_over(state)
                    return

    def _take_over(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]
        self.rows = state["rows"]
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.last_epoch = state["schedule"]
        self._order.set_state(state["order"])
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None and self._device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"], self._device)

    def multiply_adds(self) -> int | None:
        """Multiply-adds for one image; None for a network of the user's that does not take a single one."""
        try:
            return models.multiply_adds(self.model, self._data.image_shape)
        except Exception:  # whatever is wrong with the network, the training will say
            return None

    def keep_model(self) -> None:
        """Write the weights as model.safetensors, the arguments of `models.build` and how images are normalised as
        model.json, and layers.json. Raises `FilesError` where they cannot be written.
        """
        folder = self._files.folder
        temporary, layers = folder / "model.tmp", self._layers()
        arguments = network_arguments(self.job, self.job.config, self._data)
        normalised = {"mean": self._data.train.mean, "deviation": self._data.train.deviation}
        with files_in(folder):
            temporary.write_bytes(save({name: value.contiguous() for name, value in self.model.state_dict().items()}))
            (folder / "model.json").write_text(json.dumps({**arguments, PREPROCESSING: normalised}, indent=1))
            (folder / "layers.json").write_text(json.dumps(layers, indent=1))
            temporary.rename(folder / "model.safetensors")
        self._files.keep("model.json", "layers.json", "model.safetensors")

    def _layers(self) -> list[dict[str, Any]]:
        """The layers of the network; none of one of the user's that cannot be looked at."""
        try:
            return summary.layers(self.model, self._data.image_shape)
        except Exception:  # as above: the run is not lost for a table
            return []


def _loaded(checkpoint: bytes) -> dict[str, Any]:
    """Return what a checkpoint holds. Raises whatever zip, pickle and torch do for a damaged one, and `ValueError`."""
    with zipfile.ZipFile(io.BytesIO(checkpoint)) as parts:  # torch itself does not look at the checksums
        if damaged := parts.testzip():
            raise ValueError(f"the checksum of {damaged} is wrong")
    state: dict[str, Any] = torch.load(io.BytesIO(checkpoint), weights_only=True, map_location="cpu")
    return state


class RunningStatistics:
    """The running means and variances of batch norm, without a share of the 0 and 1 that they begin with.

    At momentum 0.1 these still weigh 0.43 after 8 steps, which with few images are an epoch: a network that has learnt
    is judged at chance, and the larger its batches the longer. So the first steps are averaged evenly, until a step
    weighs as little as the momentum says. (PyTorch's `momentum=None` averages evenly for ever.)
    """

    def __init__(self, network: nn.Module) -> None:
        self._momenta: list[tuple[nn.Module, float]] = []
        for module in network.modules():
            momentum = getattr(module, "momentum", None)
            if isinstance(momentum, float) and momentum > 0 and hasattr(module, "running_mean"):
                self._momenta.append((module, momentum))
        self._last = max((math.ceil(1 / momentum) for _, momentum in self._momenta), default=0)

    def begin(self, step: int) -> None:
        """Set the momenta for training step `step`, counted from 0."""
        if step <= self._last:
            for module, momentum in self._momenta:
                module.momentum = max(momentum, 1 / (step + 1))  # type: ignore[assignment]


def network_arguments(job: Job, config: Mapping[str, Any], data: TrialData) -> dict[str, Any]:
    """Return the arguments of `models.build` for `job`: its network, the data's shape, its architecture."""
    channels, height, width = data.image_shape
    shape: dict[str, Any] = {"in_channels": channels, "image_size": (height, width)}
    if data.num_classes:
        shape["num_classes"] = data.num_classes
    architecture = {name: config[name] for name in job.architecture if name in config}
    return {"name": job.network, **shape, **architecture}


def on_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to `device` in the memory order that convolutions are fastest in."""
    return network.to(device).to(memory_format=torch.channels_last)
