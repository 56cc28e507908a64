"""Memory: the estimate against what a training really takes, refusals in a slot, and errors that say it ran out."""

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from data_utils.images import Images
from data_utils.splits import SearchData
from study import memory
from study.config import Config
from study.faults import ran_out, worker_ran_out
from study.job import Job
from study.packing import reference_jobs
from study.plan import Plan
from study.probe import time_epoch
from study.slot import Slot
from study.spaces import SPACES
from study.trial import Trial, TrialData
from tests.conftest import CPU, batches_of
from tests.test_trial import job

FP32 = torch.float32


def reference(space: str) -> Job:
    """The reference setting as a probe takes it, with few images in a batch."""
    [asked] = reference_jobs(Plan((space,), max_epochs=2), {space: SPACES[space]})
    return replace(asked, config={**asked.config, "batch_size": 32})


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES)
def test_every_network_can_be_estimated_and_twice_the_batch_takes_more(
    space: str, data_for: Callable[[str], TrialData]
) -> None:
    asked, trial_data = reference(space), data_for(space)
    larger = replace(asked, config={**asked.config, "batch_size": 256})
    needed = memory.bytes_needed(asked, trial_data, FP32)
    assert 0 < needed < memory.bytes_needed(larger, trial_data, FP32)
    assert memory.shortage(asked, trial_data, FP32, needed) is None
    assert "refused before it started" in (memory.shortage(asked, trial_data, FP32, needed - 1) or "")


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES)
def test_the_estimate_is_below_what_torch_allocates_in_a_real_training_and_close_to_it(
    space: str, data_for: Callable[[str], TrialData]
) -> None:
    asked, trial_data = reference(space), data_for(space)
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        Trial(asked, trial_data, CPU).train_epoch()
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    assert 0.7 * peak < memory.bytes_needed(asked, trial_data, FP32) <= peak


@pytest.mark.parametrize("space", ["resnet", "handwritten", "lenet", "mlp"])
def test_looked_at_without_computing_it_is_the_same_as_computed(space: str, trial_data: TrialData) -> None:
    asked = reference(space)
    assert memory.bytes_needed(asked, trial_data, FP32) == memory.peak_bytes(asked, trial_data, CPU, FP32)


@pytest.mark.parametrize("space", ["resnet", "densenet"])
def test_bf16_takes_less_and_more_than_half(space: str, trial_data: TrialData) -> None:
    whole, half = (memory.bytes_needed(reference(space), trial_data, dtype) for dtype in (FP32, torch.bfloat16))
    assert 0.5 * whole < half < whole


def test_large_images_are_evaluated_a_few_at_a_time_in_the_estimate_too() -> None:
    """21 of 3x256x256 have 16 MiB of pixels: as many images more as there may be take no more memory."""

    def needed(count: int) -> int:
        images = Images(np.zeros((count, 256, 256, 3), np.uint8), np.zeros(count, np.int64))
        validation = batches_of(images, [0.5] * 3, [0.5] * 3)
        one = batches_of(images.take(np.arange(1)), [0.5] * 3, [0.5] * 3)
        return memory.bytes_needed(reference("conv"), TrialData(one, validation, num_classes=10), FP32)

    assert needed(10) < needed(21) == needed(40)


def test_a_probe_trains_few_steps_of_a_large_data_set(trial_data: TrialData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PROBE_STEPS", 3)
    few = memory.FewSteps(trial_data.train)
    trial = Trial(reference("mlp"), replace(trial_data, train=few), CPU)  # type: ignore[arg-type]
    drawn: list[object] = []
    monkeypatch.setattr(trial._schedule, "step", lambda: drawn.append(None))
    trial.train_epoch()
    assert (few.steps(32), len(few), len(drawn)) == (3, 256, 3)


def test_an_epoch_is_timed_by_its_first_steps_and_its_validation(
    trial_data: TrialData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 of 8 steps of 32 images at 64 images a second take 1 s of the 10; all 8 take 4."""
    monkeypatch.setattr(memory, "PROBE_STEPS", 2)
    train_epoch = Trial.train_epoch

    def slow(trial: Trial) -> dict[str, float]:
        return {**train_epoch(trial), "seconds": 10.0, "images_per_second": 64.0}

    monkeypatch.setattr(Trial, "train_epoch", slow)
    job = reference("mlp")
    job = replace(job, config={**job.config, "batch_size": 32})
    probe = time_epoch(job, trial_data, CPU)
    assert probe.seconds == pytest.approx(10 - 1 + 4)
    parameters = sum(weights.numel() for weights in Trial(job, trial_data, CPU).model.parameters())
    assert 4 * parameters < probe.model_bytes < 4 * parameters + 10_000
    assert probe.checkpoint_bytes > 3 * 4 * parameters  # weights and two moments of Adam
    assert not job.folder.exists() or not (job.folder / "last.pt").exists()


def test_live_bytes_by_hand() -> None:
    with memory.LiveBytes() as seen:
        first = torch.zeros(1000)  # 4000 bytes
        second = first.view(10, 100)  # the same ones
        third = second + 1
        del third
        torch.zeros(500)
    assert (seen.live, seen.peak) == (4000, 8000)


@pytest.mark.parametrize(
    ("config", "moments"),
    [
        ({"optimizer": "sgd", "sgd_lr": 0.1, "momentum_form": "none"}, 0),
        ({"optimizer": "sgd", "sgd_lr": 0.1, "momentum_form": "classical", "momentum": 0.9}, 1),
        ({"optimizer": "adam", "adam_lr": 0.1}, 2),
        ({"optimizer": "adamw", "adamw_lr": 0.1}, 2),
    ],
)
def test_an_optimizer_keeps_so_many_numbers_for_each_weight(config: dict[str, object], moments: int) -> None:
    assert memory._moments(Config({**config, "decay": "none"})) == moments


def test_a_slot_refuses_what_needs_more_than_it_has_and_trains_the_rest(digits: SearchData, tmp_path: Path) -> None:
    few = replace(digits, train_index=digits.train_index[:128], validation_index=digits.validation_index[:64])
    slot = Slot(few, few.channel_statistics(), lambda: few.images, classes=10, cpus=1)
    assert slot.available is None  # no GPU
    slot.available = 2**20
    slot.begin(job(tmp_path, max_epochs=1))
    [refused] = slot.facts()
    assert (refused["event"], refused["state"]) == ("ended", "out_of_memory")
    assert refused["error"].endswith("GiB, a slot has 0.00: refused before it started")
    slot.available = 2**30
    slot.begin(job(tmp_path, max_epochs=1))
    facts = list(slot.facts())
    while facts[-1]["event"] == "started":  # handed over by itself where the epoch takes long
        facts += slot.facts()
    assert [fact["event"] for fact in facts] == ["started", "epoch"]


def test_a_network_that_cannot_be_looked_at_is_not_refused(trial_data: TrialData, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "from torch import nn\n"
        "class Own(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.head = nn.Linear(64, 10)\n"
        "    def forward(self, x):\n"
        "        return self.head(x.flatten(1)) * (2 if x.sum().item() > 0 else 1)\n"
        "def own(**_):\n"
        "    return Own()\n"
    )
    asked = replace(reference("mlp"), network=f"{file}:own", architecture=())
    with pytest.raises(RuntimeError, match="meta"):
        memory.bytes_needed(asked, trial_data, FP32)
    assert memory.shortage(asked, trial_data, FP32, 1) is None


@pytest.mark.parametrize(
    ("error", "memory_is_short"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("Ran out of memory of what was said"), False),
    ],
)
def test_errors_that_say_that_memory_ran_out(error: Exception, memory_is_short: bool) -> None:
    assert ran_out(error) == memory_is_short


def test_what_torch_says_when_the_machine_has_too_little_is_understood() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert ran_out(raised.value)


def test_rays_memory_monitor_is_told_from_other_deaths() -> None:
    assert worker_ran_out("ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.")
    assert not worker_ran_out("The actor died unexpectedly before finishing this task. SIGKILL")
