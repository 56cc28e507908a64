"""What a study would take and could tell: epochs against real decisions, gaps against simulated studies."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis import intervals
from study import forecast
from study.forecast import detectable, expected_epochs
from study.job import EpochProbe
from study.packing import Packing
from study.plan import Plan

PACKING = Packing(together=2, slots=2, cpus=1, gpus=0.5)


def foreseen(plan: Plan, seconds: tuple[float, ...] = (2.0, 1.0)) -> forecast.Forecast:
    probes = [EpochProbe(f"space{place}", taken, 2_000_000, 500_000) for place, taken in enumerate(seconds)]
    return forecast.forecast(plan, probes, PACKING, test_images=1000, classes=10)


@pytest.mark.parametrize(("trials", "low", "high"), [(1, 9, 9), (2, 10, 18), (200, 2 * 200, 3.6 * 200)])
def test_epochs_expected_lie_between_the_first_rung_and_full_length(trials: int, low: float, high: float) -> None:
    """With 200 trials and rungs at 1, 2, 4 and 8 of 9: 1 + 1/2 + 2/4 + 4/8 + 1/16 = 2.56 a trial if a half goes on."""
    assert low <= expected_epochs(Plan(("a",), trials=trials, max_epochs=9)) <= high


def test_hours_are_those_of_all_slots_and_gpu_hours_those_of_their_gpus(tmp_path: Path) -> None:
    plan = Plan(("a", "b"), trials=10, max_epochs=9, final_configs=1, final_seeds=4, runs=tmp_path / "runs")
    found = foreseen(plan)
    seconds = (90 + 36) * 2.0 + (90 + 36) * 1.0
    assert found.hours("epochs_at_most") == pytest.approx(seconds / 2 / 3600)
    assert found.gpu_hours("epochs_at_most") == pytest.approx(seconds / 2 / 3600)
    assert found.hours("epochs_expected") < found.hours("epochs_at_most")
    assert found.disk_bytes["checkpoints"] == (2 * 10 + 2 * PACKING.slots) * 2_000_000
    assert found.disk_bytes["final runs"] == 2 * 4 * (500_000 + 1000 * 48)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ({"epoch_budget": 40}, [40, 40]),
        ({"gpu_budget": 20.0}, [20, 40]),
        ({"time_budget": 30.0}, [15, 30]),
        ({}, [90, 90]),
    ],
)
def test_budgets_limit_what_each_space_takes(budget: dict[str, float], expected: list[int]) -> None:
    plan = Plan(("a", "b"), trials=10, max_epochs=9, **budget)  # type: ignore[arg-type]
    assert [space.epochs_at_most for space in foreseen(plan).spaces] == expected


@pytest.mark.parametrize("n", [3, 4, 10])
def test_the_gap_that_can_be_told_is_the_one_that_needs_so_many_seeds(n: int) -> None:
    gap = intervals.detectable_gap(n, 0.01, 0.004, 0.95)
    assert intervals.needed_seeds(gap, 0.01, 0.004, 0.95) == n
    assert intervals.needed_seeds(0.999 * gap, 0.01, 0.004, 0.95) == n + 1


def test_no_gap_far_out_is_lost() -> None:
    """Where the gap is many errors wide, scipy's noncentral t has holes."""
    deviation, images = math.sqrt(0.08 / 360), math.sqrt(0.04 / 360)
    gaps = np.linspace(0.1, 1.0, 500)
    assert min(intervals.power(gap, np.array([4.0]), deviation, images, 0.95)[0] for gap in gaps) > 0.99


def test_four_of_five_simulated_studies_tell_the_gap_that_can_be_told() -> None:
    n, deviation, images, draws = 4, 0.01, 0.004, np.random.default_rng(0)
    gap = intervals.detectable_gap(n, deviation, images, 0.95)
    told = 0
    for _ in range(2000):
        seeds = gap + draws.normal(0, images) + draws.normal(0, deviation, n)
        mean = intervals.mean_of(seeds, draws)
        reaches = mean.reach(0.95), intervals.normal_reach(images, 0.95)
        told += intervals.square_and_add(mean.value, n, *reaches).low > 0
    assert told / 2000 == pytest.approx(0.8, abs=0.04)


def test_what_a_study_resolves_follows_seeds_images_and_pairs() -> None:
    few, many = (detectable(Plan(("a", "b"), final_seeds=4), 2, images) for images in (360, 10_000))
    assert list(few) == [4, 5, 10, 20]
    assert sorted(few.values(), reverse=True) == list(few.values())
    assert many[4] == pytest.approx(few[4] * math.sqrt(360 / 10_000), rel=0.05)
    assert detectable(Plan(("a", "b"), final_seeds=4), 6, 360)[4] > few[4]  # 15 pairs to judge
    none = Plan(("a",), final_seeds=2)
    assert math.isnan(detectable(none, 1, 360)[2])
    assert "nothing: 2 final seeds give no interval" in forecast.resolution(none, detectable(none, 1, 360), 360)


def test_it_says_all_of_it_and_that_the_disk_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(("a", "b"), trials=10, max_epochs=9)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 1_000_000})())
    said = forecast.rows(plan, foreseen(plan), 1000)
    assert list(said) == ["Trials", "Epochs", "Measured", "Time", "GPU-hours", "Disk", "Resolves"]
    assert said["Trials"] == "10 of each space, 20 in all; rungs at epoch 1, 2, 4, 8 of 9"
    assert "at most 252, of them 72 in final runs" in said["Epochs"]
    assert said["Disk"].endswith("1 MB are free. THERE IS TOO LITTLE.")
    assert "percentage points in 4 of 5 studies" in said["Resolves"]


def test_what_goes_to_a_storage_is_not_held_against_the_disk_of_the_run_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(("a", "b"), trials=10, max_epochs=9, storage="s3://bucket/ours")
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 20_000_000})())
    found = foreseen(plan)
    said = forecast.rows(plan, found, 1000)
    assert found.stored_bytes["checkpoints"] == (2 * 10 + 2 * PACKING.slots) * 2_000_000
    assert said["Disk"].endswith(", report 8.39 MB); 20 MB are free.")
    assert "checkpoints" not in said["Disk"]
    stored = "52.4 MB (checkpoints 48 MB, final runs 4.38 MB)"
    assert said["Storage"] == f"about {stored}; how much is free there is not known"
    assert "THERE IS TOO LITTLE" in forecast.rows(plan, foreseen(replace(plan, storage=None)), 1000)["Disk"]
