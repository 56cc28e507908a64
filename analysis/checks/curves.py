"""What do the training curves say? Checks 4 to 8. Only curves of full length are judged for their late part."""

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy.stats import theilslopes

from analysis import wording
from analysis.checks.check import Answer, Check, each_space
from analysis.checks.record import FEWEST_EPOCHS, Record
from analysis.checks.remedies import EDIT
from analysis.intervals import Floats

Bools = npt.NDArray[np.bool_]

SMOOTH: Final = 3  # epochs in a mean or median
LATE: Final = 0.2  # share of the epochs over which noise is measured
FEWEST_LATE: Final = 5
RISE: Final = 2.0  # standard deviations of the noise from epoch to epoch
RELATIVE_RISE: Final = 0.1  # of the lowest validation loss
OVERFITTING: Final = 0.25
LAST: Final = 0.25  # the Playbook's shares of the training in which the best epoch tells something
FIRST: Final = 0.1
SATURATED: Final = 0.5
GROWTH: Final = 0.02  # of the training loss
SHORTEST: Final = 4  # epochs of a curve of which a trend is asked


def long_enough(ask: Callable[[Record, str], Iterator[Answer]], fewest: int) -> Callable[[Record], Iterator[Answer]]:
    """Return the question to the study that asks `ask` of the spaces with `fewest` curves of full length."""

    def answers(record: Record, space: str) -> Iterator[Answer]:
        count = len(record.full(space))
        if record.max_epochs < FEWEST_EPOCHS:
            found = f"trained for {record.max_epochs} epochs, {FEWEST_EPOCHS} needed"
            yield Answer("NOT TESTABLE", space, found, "train longer", {"max_epochs": record.longer})
        elif count < fewest:
            found = f"{wording.count(count, 'trial')} at full length, {fewest} needed"
            yield Answer("NOT TESTABLE", space, found, "run more trials", {"trials": record.trials_for(fewest, space)})
        else:
            yield from ask(record, space)

    return each_space(answers)


def late(epochs: int) -> int:
    """Return how many of `epochs` are the late part of a curve."""
    return max(FEWEST_LATE, math.ceil(LATE * epochs))


def overfits(val_loss: Floats, train_loss: Floats) -> Bools:
    """Return which curves (n, T) end with a validation loss above its lowest while the training loss fell on.

    The mean of the late part is compared with the lowest mean of 3 epochs. The noise is that of second differences in
    the second half, which a trend does not enter: for independent noise of variance v theirs is 6 v.
    """
    smooth, trained = (sliding_window_view(loss, SMOOTH, axis=1).mean(axis=2) for loss in (val_loss, train_loss))
    lowest = np.where(np.isnan(smooth), np.inf, smooth).argmin(axis=1)[:, None]
    least = np.take_along_axis(smooth, lowest, axis=1)[:, 0]
    bend = np.diff(val_loss[:, val_loss.shape[1] // 2 :], n=2, axis=1)
    noise = np.sqrt((bend**2).mean(axis=1) / 6)
    rise = val_loss[:, -late(val_loss.shape[1]) :].mean(axis=1) - least
    falls: Bools = trained[:, -1] < np.take_along_axis(trained, lowest, axis=1)[:, 0]
    found: Bools = falls & (rise > RISE * noise) & (rise > RELATIVE_RISE * least)
    return found


def overfitting(record: Record, space: str) -> Iterator[Answer]:
    """Ask whether the winner, in the search and retrained, overfits, and how many of all trials do."""
    full, finals = record.full(space), record.finals(space)
    finals = finals[finals["epochs_trained"] >= record.max_epochs]
    everyone = overfits(record.curves(full["trial"], "val_loss"), record.curves(full["trial"], "train_loss"))
    retrained = [record.final_curves(finals["final"], name) for name in ("val_loss", "train_loss")]
    runs = overfits(retrained[0], retrained[1])
    winner = everyone[(full["trial"] == record.winners["trial"].get(space)).to_numpy()]
    best = np.concatenate([winner, runs])
    found = f"{best.sum()} of {len(best)} runs of the winner, {everyone.mean():.0%} of {len(full)} at full length"
    if best.mean() > 0.5 or everyone.mean() > OVERFITTING:
        remedy = "regularise: more weight decay, label smoothing, dropout or augmentation in the space"
        yield Answer("WARN", space, found, remedy, EDIT)
    else:
        yield Answer("PASS", space, found)


def luck(record: Record, space: str) -> Iterator[Answer]:
    """Ask whether the choice between the two leaders of a space is larger than the noise of one epoch."""
    leaders = record.full(space).iloc[:2]
    scores = record.curves(leaders["trial"], "val_score")[:, -late(record.max_epochs) :]
    epochs = np.arange(scores.shape[1])
    residuals = scores[0] - np.polyval(np.polyfit(epochs, scores[0], 1), epochs)
    noise = math.sqrt(float((residuals**2).sum()) / (len(epochs) - 2))
    lucky, gap = float(scores[0, -1] - np.median(scores[0])), float(leaders["score"].diff().abs().iloc[-1])
    said = [wording.difference(value, record.plan) for value in (gap, noise, lucky)]
    found = (
        f"gap of the leaders {said[0]} {wording.difference_unit(record.plan)}, epoch noise {said[1]}, luck {said[2]}"
    )
    both = set(leaders["trial"]) <= set(record.tables.final.query("state == 'finished'")["trial"])
    if both:
        yield Answer("PASS", space, f"{found}; both were retrained, which decides")
    elif max(noise, lucky) > gap:
        remedy = "retrain several of the best, so that fresh seeds decide"
        yield Answer("WARN", space, found, remedy, {"final_configs": 1 + record.plan["final"]["configs"]})
    else:
        yield Answer("PASS", space, found)


def length(record: Record, space: str) -> Iterator[Answer]:
    """Ask whether the best trials still improve at the end, or were best at the beginning."""
    curves = record.curves(record.top(space)["trial"], "val_score")
    total = record.max_epochs
    best_epoch = np.where(np.isnan(curves), -np.inf, curves).argmax(axis=1) + 1
    ends, begins = (best_epoch > (1 - LAST) * total), (best_epoch <= FIRST * total)
    window = max(FEWEST_LATE, math.ceil(LAST * total))
    slope, _, low, _ = theilslopes(np.nanmedian(curves[:, -window:], axis=0))
    gain = wording.difference(window * slope, record.plan)
    found = (
        f"best epoch in the last {LAST:.0%} in {ends.sum()} of the best {len(curves)}, in the first {FIRST:.0%} in "
        f"{begins.sum()}; {window} more epochs at this slope: {gain} {wording.difference_unit(record.plan)}"
    )
    if begins.mean() > 0.5:
        shorter = max(FEWEST_EPOCHS, math.ceil(3 * FIRST * total))
        yield Answer(
            "WARN", space, found, "train for fewer epochs, or lower the learning rates", {"max_epochs": shorter}
        )
    elif ends.mean() > 0.5 and low > 0 and not window * slope < record.near(space):
        yield Answer("WARN", space, found, "train longer", {"max_epochs": record.longer})
    else:
        yield Answer("PASS", space, found)


def saturation(record: Record, space: str) -> Iterator[Answer]:
    """Ask after what share of the training the best trials were as good as at its end."""
    epoch = _saturated_from(record, space)
    found = f"as good as at the end from epoch {epoch:g} of {record.max_epochs} on (median of the best trials)"
    if epoch / record.max_epochs < SATURATED:
        # The length is the same for all spaces, so the slowest one sets it.
        slowest = max(_saturated_from(record, other) for other in record.spaces)
        shorter = max(FEWEST_EPOCHS, math.ceil(1.5 * slowest))
        changes = {"max_epochs": shorter} if shorter < record.max_epochs else None
        remedy = "train for fewer epochs and spend them on trials" if changes else "none: another space needs them"
        yield Answer("WARN", space, found, remedy, changes)
    else:
        yield Answer("PASS", space, found)


def _saturated_from(record: Record, space: str) -> float:
    """Return the epoch from which the best trials are within the late noise of their end, in the median of them."""
    curves = record.curves(record.top(space)["trial"], "val_score")
    if not len(curves):
        return float(record.max_epochs)
    smooth = np.median(sliding_window_view(curves, SMOOTH, axis=1), axis=2)  # epoch 3 and later
    tail = curves[:, -late(record.max_epochs) :]
    reached = smooth >= (np.median(tail, axis=1) - tail.std(axis=1, ddof=1))[:, None]
    return float(np.median(reached.argmax(axis=1) + SMOOTH))


def grows(train_loss: Floats) -> Bools:
    """Return which curves (n, T), NaN after their end, rise: last third above the first, most steps upwards."""
    lengths = np.isfinite(train_loss).sum(axis=1)
    found = np.zeros(len(train_loss), dtype=bool)
    for known in np.unique(lengths[lengths >= SHORTEST]):
        rows = lengths == known
        loss, third = train_loss[rows, :known], max(1, known // 3)
        ratio = loss[:, -third:].mean(axis=1) > (1 + GROWTH) * loss[:, :third].mean(axis=1)
        found[rows] = ratio & ((np.diff(loss, axis=1) > 0).mean(axis=1) > 0.5)
    return found


def growing_loss(record: Record, space: str) -> Iterator[Answer]:
    """Ask whether a training loss grew, which is a bug or a learning rate far too high."""
    trials = record.ended(space)
    trials = trials[trials["state"].isin(["finished", "stopped"]) & (trials["epochs_trained"] >= SHORTEST)]
    finals = record.finals(space)
    if trials.empty:
        changes: dict[str, Any] = {"max_epochs": record.longer}
        found = f"no trial with {SHORTEST} epochs"
        yield Answer("NOT TESTABLE", space, found, "train longer", changes)
        return
    grown = trials["trial"][grows(record.curves(trials["trial"], "train_loss"))].to_list()
    runs = finals["final"][grows(record.final_curves(finals["final"], "train_loss"))].to_list()
    runs += [trial for trial in grown if trial == record.winners["trial"].get(space)]
    found = f"{len(grown)} of {wording.count(len(trials), 'trial')}, {len(runs)} runs of the winner"
    if runs or grown:
        named = wording.listed((runs or grown)[:3])
        remedy = f"look for a bug, or lower the learning rates; see {named}"
        yield Answer("FAIL" if runs else "WARN", space, f"{found}: {named}", remedy, EDIT)
    else:
        yield Answer("PASS", space, found)


OVERFITTING_CURVES = Check(
    number=4,
    title="Overfitting",
    answers=long_enough(overfitting, 1),
    warn=f"validation loss ends {RISE:g} sd and {RELATIVE_RISE:.0%} above its lowest in most runs of the winner, or in "
    f"more than {OVERFITTING:.0%} of all",
    figure="final_curves",
)
LUCK = Check(
    number=5,
    title="Luck of the last epoch",
    answers=long_enough(luck, 2),
    warn="epoch noise or luck above the gap of the two leaders, not both retrained",
    figure="learning_curves",
)
LENGTH = Check(
    number=6,
    title="Still improving at the end",
    answers=long_enough(length, FEWEST_LATE - 2),
    warn=f"best epoch of most in the last {LAST:.0%} with a rising slope that seeds do not hide, or in the first "
    f"{FIRST:.0%}",
    figure="learning_curves",
)
SATURATION = Check(
    number=7,
    title="Saturated early",
    answers=long_enough(saturation, FEWEST_LATE - 2),
    warn=f"before {SATURATED:.0%} of the epochs",
    figure="learning_curves",
)
GROWING_LOSS = Check(
    number=8,
    title="Training loss grows",
    answers=each_space(growing_loss),
    warn=f"any trial: last third {GROWTH:.0%} above the first, most steps upwards",
    fail="a run of the winner",
    figure="learning_curves",
)
