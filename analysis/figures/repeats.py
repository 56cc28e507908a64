"""What the final runs say seed by seed: throughput, time against a baseline, agreement with it, late spread."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from analysis import intervals, stats, style, wording
from analysis.figures.figure import Figure, Plan
from analysis.figures.seeds import draw_rows, legend, present, sizes
from analysis.intervals import LEVEL, SMALLEST_SAMPLE
from analysis.predictions import read_predictions
from analysis.tables import StudyTables, asked

LATE = 0.25  # of the epochs, the last ones
LEAST_SHOWN = 1e-9  # nats: a logarithmic axis has no place for 0, which is what equal losses differ by
COLUMNS = ["space", "kind", "seed", "value", "low", "high", "n"]
AGREEMENT_COLUMNS = ["space", "baseline", "seed", "epoch", "difference", "shown", "probability", "same_class", "images"]


def _runs(tables: StudyTables) -> pd.DataFrame:
    """Return the epochs of the winners' final runs, with `space` and `seed`."""
    runs = stats.winning_finals(tables)
    finished = runs[runs["state"] == "finished"]
    return finished[["final", "space", "seed"]].merge(tables.final_epochs, on="final")


def _with_means(seeds: pd.DataFrame, *, ratio: bool) -> pd.DataFrame:
    """Add to `space`, `seed`, `value` a mean per space with its 95 % interval over seeds, that of logs of a `ratio`."""
    rows: list[dict[Any, Any]] = seeds.assign(kind="seed").to_dict("records")
    there, back = (np.log, np.exp) if ratio else (np.asarray, np.asarray)
    for space, mine in seeds.groupby("space", sort=False):
        mean = intervals.mean_of(there(mine["value"].to_numpy(dtype=float)), stats.generator())
        found = intervals.square_and_add(mean.value, mean.n, mean.reach(LEVEL))
        low, value, high = (float(back(end)) for end in (found.low, found.mean, found.high))
        ends = {"low": max(low, 0.0) if found.known else low, "high": high}  # nothing here can be below 0
        rows.append({"space": space, "kind": "mean", "value": value, **ends, "n": mean.n})
    return pd.DataFrame(rows, columns=COLUMNS)


def throughput_data(tables: StudyTables) -> pd.DataFrame:
    """Return `COLUMNS`: training images per second of each final run, the median of its epochs, and their mean."""
    found = _runs(tables).groupby(["space", "seed"], sort=False)["images_per_second"].median()
    return _with_means(found.rename("value").reset_index(), ratio=True)


def time_ratio_data(tables: StudyTables) -> pd.DataFrame:
    """Return `COLUMNS`: the median seconds per epoch of each final run over those of the baseline's with its seed."""
    baseline = asked(tables.plan, "baseline")
    table = _runs(tables).groupby(["seed", "space"], sort=False)["seconds"].median().unstack()
    if baseline not in table:
        return pd.DataFrame(columns=COLUMNS)
    ratios = table.div(table[baseline], axis=0).drop(columns=baseline)
    seeds = ratios.rename_axis(columns="space").stack().rename("value").reset_index()
    return _with_means(seeds.sort_values("space", kind="stable"), ratio=True)


def late_spread_data(tables: StudyTables) -> pd.DataFrame:
    """Return `COLUMNS`: how much the validation score of each final run changes on average from epoch to epoch late."""
    runs = _runs(tables).sort_values("epoch")
    late = runs[runs["epoch"] >= first_late(tables.plan)]
    changes = late.groupby(["space", "seed"], sort=False)["val_score"].agg(lambda scores: scores.diff().abs().mean())
    return _with_means(changes.dropna().rename("value").reset_index(), ratio=False)


def first_late(plan: Plan) -> int:
    """Return the first of the last epochs, of which there are at least two."""
    last = int(plan["max_epochs"])
    return min(last - 1, int(last * (1 - LATE)) + 1)


def _draw(canvas: Canvas, data: pd.DataFrame, plan: Plan, *, label: str, log: bool, score: bool = False) -> None:
    """Draw a row per space: seeds as hollow marks, the mean with its interval above them."""
    canvas.set_figheight(1.3 + style.height_of_rows(len(present(data, plan)), 0.6))
    axes = canvas.subplots()
    draw_rows(axes, data, plan)
    axes.margins(x=0.08)
    if log:
        shown = data[["value", "low", "high"]].to_numpy(dtype=float)
        axes.set_xscale("log")
        axes.set_xlim(np.nanmin(shown) / 1.1, np.nanmax(shown) * 1.1)  # a mean of equal logs rounds otherwise
        axes.xaxis.set_major_formatter(lambda value, _: _number(value, plan))
        axes.xaxis.set_minor_formatter(lambda value, _: _number(value, plan) if f"{value:e}"[0] in "25" else "")
    if score:
        style.difference_axis(axes.xaxis, label, plan, signed=False)
    else:
        axes.set_xlabel(label)
    style.legend_below(canvas, legend(data))


def _alt(data: pd.DataFrame, tables: StudyTables, *, says: str, write: Callable[[float, Plan], str]) -> str:
    """State the mean of every space, with its interval where there is one."""
    parts = []
    for row in data[data["kind"] == "mean"].to_dict("records"):
        ends = f" ({write(row['low'], tables.plan)} to {write(row['high'], tables.plan)})"
        parts.append(f"{row['space']} {write(row['value'], tables.plan)}{ends if pd.notna(row['low']) else ''}")
    return f"{says}: " + "; ".join(parts) + "."


def _change(value: float, plan: Plan) -> str:
    return f"{wording.difference(value, plan)} {wording.difference_unit(plan)}"


def _number(value: float, _plan: Plan) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def caption_throughput(data: pd.DataFrame, tables: StudyTables) -> str:  # noqa: ARG001
    """Say what is counted and what it depends on."""
    return (
        f"Training images per second of the winners' final runs ({sizes(data)}): hollow, the median over the epochs of "
        "a seed; filled, the geometric mean over seeds with its 95 % interval (t on logarithms), from "
        f"{SMALLEST_SAMPLE} seeds on. Training alone, without validation. It depends on the machine and on what ran "
        "beside it."
    )


def caption_time_ratio(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say what is divided by what."""
    return (
        f"Seconds per epoch, training and validation, over those of {asked(tables.plan, 'baseline')} with the same "
        f"seed ({sizes(data)}): hollow, the ratio of medians over the epochs of a seed; filled, the geometric mean "
        f"over seeds with its 95 % interval (t on logarithms), from {SMALLEST_SAMPLE} seeds on. It depends on the "
        "machine and on what ran beside it."
    )


def caption_late_spread(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say over which epochs and what is averaged."""
    plan = tables.plan
    return (
        f"Mean absolute change of validation {plan['metric']['name']} from one epoch to the next over epochs "
        f"{first_late(plan)} to {plan['max_epochs']} of the winners' final runs ({sizes(data)}). Hollow: one seed. "
        f"Filled: mean with its 95 % interval over seeds (Student's t), from {SMALLEST_SAMPLE} seeds on. A schedule "
        "that lets the learning rate fall calms a network whatever its layers."
    )


def agreement_data(tables: StudyTables) -> pd.DataFrame:
    """Return `AGREEMENT_COLUMNS`: a row per final run and epoch, its loss against that of the baseline's equal seed.

    `difference` is the absolute one of the validation losses in nats, `shown` what is drawn of it; `probability` the
    largest difference of the probability of a class on the test `images` after the last epoch, `same_class` the share
    of them that both networks put into the same class.
    """
    baseline, runs = asked(tables.plan, "baseline"), _runs(tables)
    if baseline not in set(runs["space"]):
        return pd.DataFrame(columns=AGREEMENT_COLUMNS)
    theirs = runs[runs["space"] == baseline][["seed", "epoch", "val_loss"]]
    mine = runs[runs["space"] != baseline].merge(theirs, on=["seed", "epoch"], suffixes=("", "_of_baseline"))
    mine["difference"] = (mine["val_loss"] - mine["val_loss_of_baseline"]).abs()
    mine["shown"] = mine["difference"].clip(lower=LEAST_SHOWN)
    same = _same_classes(tables, baseline)
    found = mine.merge(same, on=["space", "seed"], how="left").assign(baseline=baseline)
    return pd.DataFrame(found, columns=AGREEMENT_COLUMNS)


def _same_classes(tables: StudyTables, baseline: str) -> pd.DataFrame:
    runs = stats.winning_finals(tables).sort_values("seed", kind="stable")
    said = read_predictions(tables)
    rows = []
    for space, predictions in said.items():
        for place, (one, other) in enumerate(zip(predictions, said.get(baseline, []), strict=False)):
            seed = int(runs[runs["space"] == space]["seed"].iloc[place])
            share = float((one.predicted == other.predicted).mean())
            apart = float(np.abs(one.probability - other.probability).max())
            row = {"space": space, "seed": seed, "probability": apart, "same_class": share, "images": len(one.label)}
            rows.append(row)
    return pd.DataFrame(rows, columns=["space", "seed", "probability", "same_class", "images"])


def draw_agreement(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a line per seed on a logarithmic axis."""
    canvas.set_figheight(3.2)
    axes = canvas.subplots()
    for (space, _), rows in data.groupby(["space", "seed"], sort=False):
        look = style.look(str(space), plan)
        ordered = rows.sort_values("epoch")
        axes.plot(ordered["epoch"], ordered["shown"], color=look["color"], marker=look["marker"], markersize=4)
    axes.set_yscale("log")
    axes.grid(axis="y")
    axes.set_ylabel("difference of validation losses (nats)")
    style.epoch_axis(axes, plan["max_epochs"])
    looks = {space: style.look(space, plan) for space in data["space"].unique()}
    style.legend_below(
        canvas,
        [Line2D([], [], color=look["color"], marker=look["marker"], label=space) for space, look in looks.items()],
    )


def caption_agreement(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say what would be drawn of two networks that compute the same."""
    seeds = wording.count(int(data["seed"].nunique()), "seed")
    return (
        f"Absolute difference of the validation loss after each epoch from that of {data['baseline'].iloc[0]} with the "
        f"same seed: with equal settings, the same first weights and the same batches. A line per seed (n = {seeds}). "
        f"The same function, computed in another order, rounds otherwise, here in {_precision(tables)}, and training "
        f"makes such differences larger. What is below {LEAST_SHOWN:g} is drawn there.{_tested(data)}"
    )


def _tested(data: pd.DataFrame) -> str:
    """Say how far the networks agree on the test images; nothing where they were not tested."""
    known = data.dropna(subset="same_class")
    if known.empty:
        return ""
    return (
        f" On the {int(known['images'].iloc[0]):,} test images, after the last epoch, the probability of a class "
        f"differs by at most {known['probability'].max():.2g}, and at least {100 * known['same_class'].min():.4g} % "
        "get the same class."
    )


def _precision(tables: StudyTables) -> str:
    return "fp32" if tables.plan.get("fp32") else "the precision of this study"


def alt_agreement(data: pd.DataFrame, tables: StudyTables) -> str:
    """State the first and the last difference, and the classes."""
    last, parts = tables.plan["max_epochs"], []
    for space, rows in data.groupby("space", sort=False):
        first, end = (rows[rows["epoch"] == epoch]["difference"].max() for epoch in (1, last))
        parts.append(f"{space} differs by at most {first:.2g} nats after epoch 1 and {end:.2g} after {last}")
    return f"Against {data['baseline'].iloc[0]}: " + "; ".join(parts) + f".{_tested(data)}"


AGREEMENT = Figure(
    title="Agreement with the baseline",
    data=agreement_data,
    draw=draw_agreement,
    caption=caption_agreement,
    alt=alt_agreement,
    absent="No final run shares a seed with a final run of the baseline yet.",
)
TIME_RATIO = Figure(
    title="Time of an epoch against the baseline",
    data=time_ratio_data,
    draw=partial(_draw, label="seconds per epoch over the baseline's", log=True),
    caption=caption_time_ratio,
    alt=partial(_alt, says="Time of an epoch over that of the baseline", write=_number),
    absent="No final run shares a seed with a final run of the baseline yet.",
)
THROUGHPUT = Figure(
    title="Training images per second",
    data=throughput_data,
    draw=partial(_draw, label="training images per second", log=True),
    caption=caption_throughput,
    alt=partial(_alt, says="Training images per second", write=_number),
    absent="No final run has finished yet.",
)
LATE_SPREAD = Figure(
    title="How calm the end of the training is",
    data=late_spread_data,
    draw=partial(_draw, label="change of the validation score from epoch to epoch", log=False, score=True),
    caption=caption_late_spread,
    alt=partial(_alt, says="Change from epoch to epoch late in the training", write=_change),
    absent="No final run has finished yet.",
)
