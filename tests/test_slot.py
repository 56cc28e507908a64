"""One slot: what it hands over at a time, with a clock so impatient that every fact is overdue."""

from dataclasses import replace
from pathlib import Path

import pytest

from data_utils.splits import SearchData
from study import slot
from study.job import OpenTest
from study.slot import Slot
from study.trial import TrialData, train
from tests.conftest import CPU
from tests.test_trial import job


@pytest.fixture
def impatient(digits: SearchData, monkeypatch: pytest.MonkeyPatch) -> Slot:
    monkeypatch.setattr(slot, "REPORT_SECONDS", -1.0)
    few = replace(digits, train_index=digits.train_index[:128], validation_index=digits.validation_index[:64])
    test = digits.images.take(few.validation_index)
    return Slot(few, few.channel_statistics(), lambda: test, classes=10, cpus=1)


def test_a_training_reports_when_it_is_due_and_can_be_left_for_another(impatient: Slot, tmp_path: Path) -> None:
    impatient.begin(job(tmp_path / "first", max_epochs=2))
    assert [fact["event"] for fact in impatient.facts()] == ["started"]
    assert [fact["event"] for fact in impatient.facts()] == ["epoch"]
    impatient.begin(job(tmp_path / "second", max_epochs=2))
    assert [fact["event"] for fact in impatient.facts()] == ["started"]


def test_the_results_on_the_test_split_come_in_one_piece_however_long_they_take(
    impatient: Slot, tmp_path: Path, trial_data: TrialData
) -> None:
    """In two pieces the study would open the test split twice."""
    for key in ("t-seed1", "t-seed2"):
        list(train(replace(job(tmp_path / key, max_epochs=1), kind="final"), trial_data, CPU))
    impatient.begin(OpenTest(("t-seed1", "t-seed2"), tmp_path, fp32=False))
    assert [fact["final"] for fact in impatient.facts()] == ["t-seed1", "t-seed2"]
