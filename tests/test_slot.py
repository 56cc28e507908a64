"""One slot: what it hands over at a time, with a clock so impatient that every fact is overdue."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data_utils.splits import SearchData
from study import slot
from study.job import OpenTest
from study.slot import Slot
from study.trial import TrialData, train
from tests.conftest import CPU
from tests.test_trial import job

BASIC: dict[str, Any] = {"augmentation": "basic", "strength": 0.1}


@pytest.fixture
def impatient(digits: SearchData, monkeypatch: pytest.MonkeyPatch) -> Slot:
    monkeypatch.setattr(slot, "REPORT_SECONDS", -1.0)
    few = replace(digits, train_index=digits.train_index[:128], validation_index=digits.validation_index[:64])
    test = digits.images.take(few.validation_index)
    return Slot(few, few.channel_statistics(), lambda: test, classes=10, cpus=1)


@pytest.mark.parametrize("fp32", [True, False])
def test_a_job_in_fp32_multiplies_in_fp32_and_the_next_one_as_it_says(
    impatient: Slot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fp32: bool
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", fp32)
    impatient.begin(replace(job(tmp_path), fp32=fp32))
    assert torch.backends.cudnn.allow_tf32 is not fp32


def test_a_training_reports_when_it_is_due_and_can_be_left_for_another(impatient: Slot, tmp_path: Path) -> None:
    impatient.begin(job(tmp_path / "first", max_epochs=2))
    assert [fact["event"] for fact in impatient.facts()] == ["started"]
    assert [fact["event"] for fact in impatient.facts()] == ["epoch"]
    impatient.begin(job(tmp_path / "second", max_epochs=2))
    assert [fact["event"] for fact in impatient.facts()] == ["started"]


def test_only_images_that_may_be_mirrored_are(digits: SearchData, tmp_path: Path) -> None:
    """At this strength no image is cropped: only a mirrored one can tell an augmented training from a plain one."""
    few = replace(digits, train_index=digits.train_index[:128], validation_index=digits.validation_index[:64])
    losses = {}
    kinds: list[tuple[bool, dict[str, Any]]] = [(False, {}), (False, BASIC), (True, BASIC)]
    for mirror, config in kinds:
        place = Slot(replace(few, mirror=mirror), few.channel_statistics(), lambda: few.images, classes=10, cpus=1)
        place.begin(job(tmp_path / f"{mirror}-{len(config)}", max_epochs=1, **config))
        losses[mirror, bool(config)] = place.facts()[-1]["train_loss"]
    assert losses[False, True] == losses[False, False] != losses[True, True]


def test_the_results_on_the_test_split_come_in_one_piece_however_long_they_take(
    impatient: Slot, tmp_path: Path, trial_data: TrialData
) -> None:
    """In two pieces the study would open the test split twice."""
    for key in ("t-seed1", "t-seed2"):
        list(train(replace(job(tmp_path / key, max_epochs=1), kind="final"), trial_data, CPU))
    impatient.begin(OpenTest(("t-seed1", "t-seed2"), ("resnet", "resnet"), tmp_path, fp32=False))
    assert [fact["final"] for fact in impatient.facts()] == ["t-seed1", "t-seed2"]
