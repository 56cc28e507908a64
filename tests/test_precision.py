"""bf16 where the hardware has it: chosen by rule, near fp32 in value, training to the same accuracy."""

from pathlib import Path

import numpy as np
import pytest
import torch

import models
from data_utils.images import Images
from study import precision as rule
from study.precision import exact_products, forward, precision
from study.spaces import SPACES
from study.trial import Trial, TrialData
from tests.conftest import CPU, architecture, batches_of, narrow, shape_for
from tests.test_trial import job


@pytest.fixture(params=[True, False], ids=["with bf16", "without bf16"])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(rule, "_native", lambda _device: request.param)
    return bool(request.param)


def test_bf16_is_for_hardware_that_has_it_and_images_that_are_worth_it(native: bool) -> None:
    assert precision(CPU, (32, 32), fp32=False) is (torch.bfloat16 if native else torch.float32)
    assert precision(CPU, (16, 16), fp32=False) is (torch.bfloat16 if native else torch.float32)
    assert precision(CPU, (8, 8), fp32=False) is torch.float32
    assert precision(CPU, (32, 32), fp32=True) is torch.float32


def test_fp32_means_convolutions_without_tf32_too() -> None:
    before = torch.backends.cudnn.allow_tf32
    for fp32 in (True, False):
        exact_products(fp32=fp32)
        assert torch.backends.cudnn.allow_tf32 is not fp32
    exact_products(fp32=not before)


def test_the_rule_asks_this_machine() -> None:
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    assert (precision(CPU, (32, 32), fp32=False) is torch.bfloat16) == ("amx_bf16" in flags)


@pytest.mark.parametrize("space", SPACES)
def test_logits_in_bf16_are_near_those_in_fp32_and_come_as_fp32(space: str) -> None:
    torch.manual_seed(0)
    config = narrow(SPACES[space], dict(SPACES[space].reference))
    options = architecture(SPACES[space], config)
    network = models.build(SPACES[space].network, **shape_for(SPACES[space].task, 3, (32, 32)), **options)
    images = torch.randn(4, 3, 32, 32)
    network.eval()
    with torch.inference_mode():
        exact, near = (forward(network, images, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert near.dtype is torch.float32
    assert not torch.equal(near, exact)
    assert (near - exact).abs().max() < 0.05 * exact.abs().max() + 0.02


def test_a_trial_computes_in_what_the_rule_says_and_learns_as_well(tmp_path: Path, native: bool) -> None:
    """Images of 16x16 whose class is the bright quadrant."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 512)
    images = generator.integers(0, 128, (512, 16, 16, 1), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[8 * (label // 2) : 8 * (label // 2) + 8, 8 * (label % 2) : 8 * (label % 2) + 8] += 64
    batches = batches_of(Images(images, labels), [0.3], [0.2])
    trial = Trial(job(tmp_path, max_epochs=3, schedule="one_cycle"), TrialData(batches, batches, 4), CPU)
    rows = [trial.train_epoch() for _ in range(3)]
    assert trial.precision is (torch.bfloat16 if native else torch.float32)
    assert rows[-1]["val_score"] > 0.95
