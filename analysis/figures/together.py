"""Figures of several studies: data sets as rows, and what may be computed over them."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from analysis import studies as together
from analysis import style, wording
from analysis.figures.figure import Figure, Plan
from analysis.intervals import SMALLEST_SAMPLE, Floats, Interval
from analysis.studies import Studies


def scores_data(studies: Studies) -> pd.DataFrame:
    """Return `data_set`, `space`, `test`, `low`, `high`, `n`."""
    return studies.scores


def draw_scores(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a row per data set, the architectures beside each other in it."""
    rows, spaces = list(data["data_set"].unique()), [s for s in plan["spaces"] if (data["space"] == s).any()]
    canvas.set_figheight(1.1 + style.height_of_rows(len(rows), 0.22 + 0.14 * len(spaces)))
    axes = canvas.subplots()
    step = min(0.22, 0.8 / len(spaces))
    for line in range(len(rows) - 1):
        axes.axhline(line + 0.5, color=axes.xaxis.get_gridlines()[0].get_color(), linewidth=0.8, zorder=0)
    for place, space in enumerate(spaces):
        mine, look = data[data["space"] == space], style.look(space, plan)
        y = mine["data_set"].map(rows.index).to_numpy() + step * (place - (len(spaces) - 1) / 2)
        axes.hlines(y, mine["low"], mine["high"], color=look["color"], linewidth=1.6)
        mark = {"color": look["color"], "marker": look["marker"], "markersize": 5}
        axes.plot(mine["test"], y, linestyle="", gid=space, **mark)
    axes.set_yticks(range(len(rows)), [row.replace(" (", "\n(", 1) for row in rows])  # the run folder below
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.04)
    axes.grid(axis="x")
    style.score_axis(axes.xaxis, plan, "test")
    style.legend_below(canvas, [_mark(space, plan) for space in spaces])


def _mark(space: str, plan: Plan) -> Line2D:
    look = style.look(space, plan)
    return Line2D([], [], color=look["color"], marker=look["marker"], linewidth=1.6, markersize=5, label=space)


def caption_scores(data: pd.DataFrame, studies: Studies) -> str:
    """Say what a mark is, and that rows are not pooled."""
    low, high = int(data["n"].min()), int(data["n"].max())
    sizes = f"{low}" if low == high else f"{low} to {high}"
    return (
        f"Test {studies.plan['metric']['name']} of the winner of each architecture on each data set: mean over its "
        f"retrained seeds (n = {sizes}) with the 95 % interval of that study's own report, drawn from "
        f"{SMALLEST_SAMPLE} seeds on. Each row is a study of its own; whether two marks differ is said by its "
        "verdicts, which use that seeds and images are shared."
    )


def alt_scores(data: pd.DataFrame, studies: Studies) -> str:
    """State every mean with its interval."""
    parts = []
    for name, rows in data.groupby("data_set", sort=False):
        each = [
            f"{row['space']} {wording.short_interval(_interval(row), studies.plan)}" for row in rows.to_dict("records")
        ]
        parts.append(f"{name}: {wording.listed(each)}")
    return "; ".join(parts) + "."


def _interval(row: Mapping[Hashable, Any]) -> Interval:
    return Interval(row["test"], row["low"], row["high"], int(row["n"]))


def draw_profile(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a line per architecture."""
    canvas.set_figheight(3.2)
    axes = canvas.subplots()
    for space, rows in data.groupby("space", sort=False):
        look = style.look(str(space), plan)
        line = {"color": look["color"], "linestyle": look["linestyle"], "linewidth": 2}
        axes.plot(rows["threshold"], rows["share"], drawstyle="steps-post", label=str(space), **line)
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_ylabel("runs above, mean over data sets")
    axes.grid(axis="y")
    style.score_axis(axes.xaxis, plan, "test")
    style.legend_below(canvas, axes.get_legend_handles_labels()[0])


def caption_profile(data: pd.DataFrame, studies: Studies) -> str:
    """Say what a line is."""
    sets = studies.scores["data_set"].nunique()
    sizes = [f"{s} n = {sum(map(len, studies.seeds(s).values()))}" for s in data["space"].unique()]
    return (
        f"Performance profile: share of final runs with a test {studies.plan['metric']['name']} above the value below, "
        f"as a mean over {wording.count(sets, 'data set')} ({wording.listed(sizes)} runs), scores as measured, not "
        "normalised. A line above another one everywhere is better at every value; no band. Each run is one seed of "
        "one search."
    )


def alt_profile(data: pd.DataFrame, studies: Studies) -> str:
    """State where half of the runs are."""
    parts = []
    for space, rows in data.groupby("space", sort=False):
        above = rows[rows["share"] >= 0.5]["threshold"]
        half = wording.score(float(above.max()) if len(above) else np.nan, studies.plan)
        parts.append(f"{space} {half}")
    return f"Half of the runs are above: {wording.listed(parts)}."


def draw_ranks(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a row per architecture at its mean rank, the critical difference above, and a line under whoever is within
    it of another.
    """
    found = data.sort_values("rank", kind="stable").reset_index(drop=True)
    reach, count = float(found["critical_difference"].iloc[0]), len(found)
    canvas.set_figheight(1.4 + 0.3 * count)
    axes = canvas.subplots()
    for row, (space, rank) in enumerate(zip(found["space"], found["rank"], strict=True)):
        look = style.look(str(space), plan)
        axes.hlines(row, 1, rank, color=style.QUIET, linewidth=0.8)
        axes.plot(rank, row, linestyle="", color=look["color"], marker=look["marker"], markersize=7)
        _together(axes, found["rank"].to_numpy(), row, reach)
    axes.plot([1, 1 + reach], [-1, -1], color=style.INK, linewidth=1.4, marker="|", gid="critical")
    axes.set_yticks([-1, *range(count)], ["critical difference", *found["space"]])
    axes.set_ylim(count - 0.5, -1.6)
    axes.set_xlim(0.9, max(count, 1 + reach) + 0.1)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("mean rank (1 is the best)")
    bar = Line2D([], [], color=style.INK, linewidth=3, alpha=0.35, label="ranks that cannot be told apart")
    style.legend_below(canvas, [bar] if any(line.get_gid() == "tie" for line in axes.lines) else [])


def _together(axes: Axes, ranks: Floats, first: int, reach: float) -> None:
    """Draw an upright line from an architecture to the last that is within reach, unless one before reaches as far."""
    last = int(np.flatnonzero(ranks <= ranks[first] + reach)[-1])
    before = first > 0 and ranks[last] <= ranks[first - 1] + reach
    if last > first and not before:
        axes.plot([ranks[first], ranks[last]], [first, last], color=style.INK, linewidth=3, alpha=0.35, gid="tie")


def caption_ranks(data: pd.DataFrame, studies: Studies) -> str:  # noqa: ARG001
    """Say which test it is, and what it does not say."""
    first = data.iloc[0]
    return (
        f"Mean rank over {first['data_sets']} data sets, Friedman's p = {first['p']:.3g}, Nemenyi's critical "
        f"difference {first['critical_difference']:.2f} at 95 % (Demsar 2006). Ranks discard how large gaps are, and "
        "a rank depends on who else is compared: for a pair, read its verdicts."
    )


def alt_ranks(data: pd.DataFrame, studies: Studies) -> str:  # noqa: ARG001
    """State every rank."""
    found = data.sort_values("rank", kind="stable")
    said = [f"{space} {rank:.2f}" for space, rank in zip(found["space"], found["rank"], strict=True)]
    return f"Mean ranks: {wording.listed(said)}; critical difference {found['critical_difference'].iloc[0]:.2f}."


FIGURES: dict[str, Figure[Studies]] = {
    "test_scores": Figure(
        title="Test score on each data set",
        data=scores_data,
        draw=draw_scores,
        caption=caption_scores,
        alt=alt_scores,
        absent="No study has tested a winner yet.",
        narrow=True,
    ),
    "profile": Figure(
        title="Performance profile over the data sets",
        data=lambda studies: together.profiles(studies).table,
        draw=draw_profile,
        caption=caption_profile,
        alt=alt_profile,
        absent="",
        narrow=True,
    ),
    "ranks": Figure(
        title="Critical-difference diagram",
        data=lambda studies: together.ranks(studies).table,
        draw=draw_ranks,
        caption=caption_ranks,
        alt=alt_ranks,
        absent="",
        narrow=True,
    ),
}
