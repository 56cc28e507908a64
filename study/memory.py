"""Memory of a trial on its device: what it will need, and what it took."""

import gc
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile, supported_activities
from torch.utils._pytree import tree_leaves

import models
from data_utils.batches import Batches
from models.counting import EagerMode
from study.config import Config
from study.job import Job, Probe
from study.optimization import optimizer
from study.trial import Trial, TrialData, network_arguments

PROBE_STEPS = 100  # training steps that a probe takes at most, three times: to warm up, for the clock, for the GPU's
GIB = 2**30
CONTEXT = 512 * 2**20  # bytes that CUDA takes for each process besides tensors: 0.3 to 0.6 GiB, by GPU and version


# What a configuration will need


class LiveBytes(EagerMode):
    """Counts the bytes of all tensors made inside it while they live: `peak` is the most at any moment.

    It sees every tensor that an operation returns, what is kept for the backward pass and gradients included, also on
    the meta device, where nothing is computed. Scratch space inside an operation is not seen.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live, self.peak = 0, 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage not in self._known:
            self._known.add(storage)
            self._change(storage.nbytes())
            weakref.finalize(storage, self._change, -storage.nbytes())

    def _change(self, count: int) -> None:
        self.live += count
        self.peak = max(self.peak, self.live)


def bytes_needed(job: Job, data: TrialData, dtype: torch.dtype) -> int:
    """Return the bytes that training `job` in `dtype` must have at its peak, the data set not counted.

    Nothing is computed. A lower bound: weights, what the backward pass needs, gradients, moments of the optimizer, maps
    of an evaluation. Workspaces of convolutions, gaps between blocks and the CUDA context come on top. In bf16, where
    autocast keeps weights and gradients in float32, the network is taken to be all bf16, with the weights once more.
    """
    return peak_bytes(job, data, torch.device("meta"), dtype)


def peak_bytes(job: Job, data: TrialData, device: torch.device, dtype: torch.dtype) -> int:
    """Return the greatest sum of bytes that live at once in two training steps and an evaluation on `device`."""
    config = Config(job.config)
    with LiveBytes() as memory, device:
        network = models.build(**network_arguments(job, config, data)).to(memory_format=torch.channels_last)
        weights = sum(parameter.nbytes for parameter in network.parameters())
        network.to(dtype)
        for _ in range(2):  # in the second the gradients of the first are still there
            _step(network, torch.zeros(min(config["batch_size"], len(data.train)), *data.image_shape, dtype=dtype))
        network.zero_grad()
        with torch.inference_mode():
            network.eval()(torch.empty(data.validation.evaluation_batch, *data.image_shape, dtype=dtype))
    copies = _moments(config) + (dtype is not torch.float32)
    return int(memory.peak + copies * weights)


def _step(network: nn.Module, images: Tensor) -> None:
    """A training step as `Trial` takes it, without the optimizer's, which makes nothing new after the first."""
    answers = network(images).float()
    if answers.ndim == 2:
        loss = F.cross_entropy(answers, torch.zeros(len(images), dtype=torch.long))
    else:
        loss = F.mse_loss(answers, torch.zeros_like(answers))
    network.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]


def _moments(config: Config) -> float:
    """Return how many numbers the optimizer of `config` keeps for each weight, by looking at a small one."""
    small = nn.Linear(32, 32, bias=False)
    made = optimizer(config, small)
    small.weight.grad = torch.zeros_like(small.weight)
    made.step()
    state = made.state[small.weight].values()
    return sum(kept.numel() for kept in state if isinstance(kept, Tensor) and kept.ndim) / small.weight.numel()


def shortage(job: Job, data: TrialData, dtype: torch.dtype, available: int) -> str | None:
    """Return why `job` cannot run in `available` bytes, None where it can or where its network cannot be looked at."""
    try:
        needed = bytes_needed(job, data, dtype)
    except Exception:  # a network of the user's that computes with values: it is run unseen, or says what is wrong
        return None
    if needed <= available:
        return None
    return f"needs {needed / GIB:.2f} GiB, a slot has {available / GIB:.2f}: refused before it started"


# What a slot has, and what a trial took


def available_bytes(device: torch.device, gpus: float) -> int | None:
    """Return what a slot with `gpus` has left of a GPU's memory beside the data set; None without a GPU."""
    if device.type != "cuda":
        return None
    total = torch.cuda.get_device_properties(device).total_memory
    return int(total * min(gpus, 1.0)) - CONTEXT - torch.cuda.memory_allocated(device)


def release(device: torch.device) -> None:
    """Give what no tensor uses back to the GPU, for the other trials there."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


class FewSteps:
    """Batches whose epochs end after `PROBE_STEPS` steps."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)

    def __len__(self) -> int:
        return len(self._batches)

    def steps(self, batch_size: int) -> int:
        """Training steps of an epoch."""
        return min(PROBE_STEPS, self._batches.steps(batch_size))

    def shuffled(self, *arguments: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of an epoch, as those of `Batches`."""
        yield from islice(self._batches.shuffled(*arguments), PROBE_STEPS)


def measure(job: Job, data: TrialData, device: torch.device) -> Probe:
    """Train `job` for three short epochs on an otherwise idle GPU and return what it took."""
    release(device)
    torch.cuda.reset_peak_memory_stats(device)
    trial = Trial(job, replace(data, train=FewSteps(data.train)), device)  # type: ignore[arg-type]
    trial.train_epoch()
    row = trial.train_epoch()
    busy = busy_seconds(trial) / row["seconds"]
    free, _total = torch.cuda.mem_get_info(device)
    return Probe(
        space=job.key,
        device=torch.cuda.get_device_name(device),
        gpu_bytes=free + torch.cuda.memory_reserved(device) + CONTEXT,
        trial_bytes=torch.cuda.max_memory_reserved(device) + CONTEXT,
        images_per_second=row["images_per_second"],
        busy=min(busy, 1.0) or None,
    )


def busy_seconds(trial: Trial) -> float:
    """Train an epoch and return for how long the GPU computed; 0 where its counters cannot be read."""
    if ProfilerActivity.CUDA not in supported_activities():  # type: ignore[no-untyped-call]
        return 0.0
    with profile(activities=[ProfilerActivity.CUDA]) as record:
        trial.train_epoch()
    # An annotation such as "Optimizer.step" spans kernels that have rows of their own.
    rows = [row for row in record.key_averages() if not row.is_user_annotation]
    kernels = [row for row in rows if row.device_type is torch.profiler.DeviceType.CUDA]
    return float(sum(row.self_device_time_total for row in kernels)) / 1e6  # from microseconds
