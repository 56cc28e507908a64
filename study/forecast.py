"""What a study would take, and what it could tell, before anything of it runs: `--plan`. Arithmetic alone.

Epochs are expected by letting ASHA itself judge trials in a random order. Differences that can be resolved follow from
the final seeds and the test images, with assumptions that are printed: see `docs/statistics.md`.
"""

import math
import shutil
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis import intervals
from study.asha import Asha
from study.job import EpochProbe
from study.packing import Packing
from study.plan import Plan

ROUNDS: Final = 100  # simulated searches
WRONG: Final = 0.1  # assumed share of test images that a winner classifies wrongly
RESEEDED: Final = 0.8  # assumed: of as many images as are wrong, those on which two seeds of a network differ
APART: Final = 0.4  # assumed: the same for two architectures, on what all of their seeds have in common
LINE_BYTES: Final = 2 * 345  # of an epoch in the log and in its copy, measured
TRIAL_BYTES: Final = 2 * 1510  # of all else that both say of a trial
REPORT_BYTES: Final = 8 * 2**20  # figures and page


@dataclass(frozen=True)
class SpaceForecast:
    """What one space would take: epochs of its search, at most and expected, and of its final runs; hours of slots."""

    space: str
    epochs_at_most: int
    epochs_expected: float
    final_epochs: int
    seconds_per_epoch: float

    def slot_hours(self, epochs: float) -> float:
        """Hours that a slot is busy with so many epochs and the final runs."""
        return (epochs + self.final_epochs) * self.seconds_per_epoch / 3600


@dataclass(frozen=True)
class Forecast:
    """What a study would take in all. Hours: `expected` and `most`; GPU-hours are those times what a slot has.

    `disk_bytes` go to the run folder, whose disk has `free_bytes`; `stored_bytes` to a storage, if there is one.
    """

    spaces: tuple[SpaceForecast, ...]
    packing: Packing
    disk_bytes: Mapping[str, float]
    stored_bytes: Mapping[str, float]
    free_bytes: int
    gaps: dict[int, float]

    def hours(self, epochs: str) -> float:
        """Hours on the clock if every slot is busy all the time: `epochs_expected` or `epochs_at_most`."""
        return sum(space.slot_hours(getattr(space, epochs)) for space in self.spaces) / self.packing.slots

    def gpu_hours(self, epochs: str) -> float:
        """Hours of a GPU."""
        return self.hours(epochs) * self.packing.slots * self.packing.gpus


def forecast(plan: Plan, probes: Sequence[EpochProbe], packing: Packing, test_images: int, classes: int) -> Forecast:
    """Return what `plan` would take, by what an epoch of each space's reference setting took."""
    expected = expected_epochs(plan)
    finals = plan.final_configs * plan.final_seeds
    spaces = []
    for probe in probes:
        most = min(plan.trials * plan.max_epochs, *_limits(plan, probe, packing, len(probes)))
        likely = min(expected, most)
        spaces.append(SpaceForecast(probe.space, int(most), likely, finals * plan.max_epochs, probe.seconds))
    model = max(probe.model_bytes for probe in probes)
    disk = {
        "log": sum(space.epochs_at_most + space.final_epochs for space in spaces) * LINE_BYTES
        + len(probes) * plan.trials * TRIAL_BYTES,
        "checkpoints": _checkpoint_bytes(plan, probes, packing),
        "final runs": len(probes) * finals * (model + test_images * 4 * (classes + 2)),
        "report": REPORT_BYTES,
    }
    stored = {} if plan.storage is None else {"checkpoints": disk.pop("checkpoints"), "final runs": disk["final runs"]}
    place = next(path for path in (plan.runs.absolute(), *plan.runs.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    gaps = detectable(plan, len(probes), test_images) if classes else {}
    return Forecast(tuple(spaces), packing, disk, stored, free, gaps)


def _checkpoint_bytes(plan: Plan, probes: Sequence[EpochProbe], packing: Packing) -> int:
    """Return the bytes of the checkpoints that lie there at once: two of each slot, one of each trial that pauses."""
    at_work = 2 * packing.slots * max(probe.checkpoint_bytes for probe in probes)
    if plan.rungs and plan.policy.pausing:
        return at_work + plan.trials * sum(probe.checkpoint_bytes for probe in probes)
    return at_work


def _limits(plan: Plan, probe: EpochProbe, packing: Packing, spaces: int) -> list[float]:
    """Epochs that the budgets allow the search of one space, a time budget as if slots were always busy."""
    limits = [math.inf]
    if plan.epoch_budget is not None:
        limits.append(plan.epoch_budget)
    if plan.gpu_budget is not None and packing.gpus:
        limits.append(plan.gpu_budget / (probe.seconds * packing.gpus))
    if plan.time_budget is not None:
        limits.append(plan.time_budget * packing.slots / spaces / probe.seconds)
    return limits


def expected_epochs(plan: Plan) -> float:
    """Return the epochs that the search of a space takes on average if trials come in a random order of quality.

    Each trial has one rank, the same at every rung. A search that gets better as it goes stops fewer, and takes more.
    """
    draws = np.random.default_rng(0)
    return float(np.mean([_epochs(plan, draws.random(plan.trials).tolist()) for _ in range(ROUNDS)]))


def _epochs(plan: Plan, scores: Sequence[float]) -> int:
    asha = Asha(plan.rungs, plan.policy.reduction_factor, pausing=plan.policy.pausing)
    known = {f"t{number}": score for number, score in enumerate(scores)}
    total = plan.max_epochs  # of the reference, whatever its rank
    for trial in list(known)[1:]:
        total += _go_on(plan, asha, trial, known[trial], 0) + _promoted(plan, asha, known, 0)
    return total + _promoted(plan, asha, known, 1)


def _promoted(plan: Plan, asha: Asha, scores: Mapping[str, float], least: int) -> int:
    """Return the epochs that paused trials take that may go on now."""
    total = 0
    while (promotion := asha.promotion(least)) is not None:
        asha.take_up(promotion.trial, promotion.epoch)
        total += _go_on(plan, asha, promotion.trial, scores[promotion.trial], promotion.epoch)
    return total


def _go_on(plan: Plan, asha: Asha, trial: str, score: float, trained: int) -> int:
    """Return how many epochs `trial` takes from `trained` on until it is stopped or at full length."""
    for rung in plan.rungs[bisect_right(plan.rungs, trained) :]:
        decision = asha.judge(trial, rung, score)
        asha.record(trial, rung, score)
        if decision is not None and decision.action == "stop":
            asha.pause(trial, rung)
            return rung - trained
    return plan.max_epochs - trained


def detectable(plan: Plan, spaces: int, test_images: int) -> dict[int, float]:
    """Return by number of seeds the smallest gap between two winners that 80 % of studies would tell from 0.

    With the plan's seeds, and with some more. At the strictest level of Holm's step-down over all pairs of `spaces`.
    """
    pairs = max(1, spaces * (spaces - 1) // 2)
    level = 1 - (1 - intervals.LEVEL) / pairs
    deviation = math.sqrt(RESEEDED * WRONG / test_images)  # of the differences over seeds
    images = math.sqrt(APART * WRONG / test_images)
    numbers = sorted({plan.final_seeds, *(more for more in (3, 5, 10, 20) if more > plan.final_seeds)})
    return {n: intervals.detectable_gap(n, deviation, images, level) for n in numbers}


def rows(plan: Plan, found: Forecast, test_images: int) -> dict[str, str]:
    """Say it, heading by heading."""
    from study.progress import duration

    most, likely = "epochs_at_most", "epochs_expected"
    spaces = [
        f"{one.space} {one.seconds_per_epoch:.2g} s an epoch of its reference setting, "
        f"{one.epochs_expected:,.0f} of at most {one.epochs_at_most:,} epochs"
        for one in found.spaces
    ]
    finals = sum(one.final_epochs for one in found.spaces)
    total = sum(found.disk_bytes.values())
    short = " THERE IS TOO LITTLE." if total > found.free_bytes else ""
    said = {
        "Trials": f"{plan.trials:,} of each space, {plan.trials * len(found.spaces):,} in all; rungs at epoch "
        f"{', '.join(map(str, plan.rungs)) or '(none)'} of {plan.max_epochs}",
        "Epochs": f"expected {sum(one.epochs_expected for one in found.spaces) + finals:,.0f}, at most "
        f"{sum(one.epochs_at_most for one in found.spaces) + finals:,}, of them {finals:,} in final runs",
        "Measured": "; ".join(spaces) + ". Other configurations take less or more",
        "Time": f"expected {duration(3600 * found.hours(likely))}, at most {duration(3600 * found.hours(most))}, on "
        f"{found.packing.slots} slots that are always busy (starting and waiting come on top)",
    }
    if found.packing.gpus:
        said["GPU-hours"] = f"expected {found.gpu_hours(likely):,.3g}, at most {found.gpu_hours(most):,.3g}"
    said["Disk"] = f"about {_sizes(found.disk_bytes)}; {size(found.free_bytes)} are free.{short}"
    if found.stored_bytes:
        said["Storage"] = f"about {_sizes(found.stored_bytes)}; how much is free there is not known"
    return said | {"Resolves": resolution(plan, found.gaps, test_images)}


def resolution(plan: Plan, gaps: dict[int, float], test_images: int) -> str:
    """Say how large a gap between two architectures must be to be found."""
    if not gaps:
        return "not known before: how far the PSNR of seeds scatters depends on the images"
    named = {n: f"{100 * gap:.2g}" for n, gap in gaps.items() if not math.isnan(gap)}
    assumed = (
        f"assuming that winners are wrong on {WRONG:.0%} of the {test_images:,} test images, seeds of one differ on "
        f"{RESEEDED * WRONG:.0%}, architectures lastingly on {APART * WRONG:.0%}; the luck of the search is not in it"
    )
    more = ", ".join(f"{gap} with {n} seeds" for n, gap in named.items() if n != plan.final_seeds)
    if plan.final_seeds not in named:
        return f"nothing: {plan.final_seeds} final seeds give no interval; {more} (percentage points, {assumed})"
    return f"a gap of {named[plan.final_seeds]} percentage points in 4 of 5 studies ({more}), {assumed}"


def _sizes(parts: Mapping[str, float]) -> str:
    named = ", ".join(f"{name} {size(number)}" for name, number in parts.items())
    return f"{size(sum(parts.values()))} ({named})"


def size(count: float) -> str:
    """Return bytes as people say them: 12 MB, 3.4 GB."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"
