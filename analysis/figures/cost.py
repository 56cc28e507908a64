"""What a score costs: against parameters, multiply-adds and training time; and how soon winners reach a target."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from analysis import budget, stats, style, wording
from analysis.figures.figure import Figure, Plan
from analysis.tables import StudyTables

COSTS = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds per image",
    "train_seconds": "training time (s)",
}
FEWEST_TICKS, MOST_TICKS = 2, 5
UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def cost_data(tables: StudyTables) -> pd.DataFrame:
    """Return `cost`, `space`, `trial`, `value`, `score`, `winner`, `front`: a row per trial at full length and cost.

    `front`: no trial of any space is cheaper with a score as high, or as cheap with a higher one.
    """
    full = stats.full_length(tables)
    full = full.assign(winner=full["trial"].isin(stats.winners(tables)["trial"]))
    parts = []
    for cost in COSTS:
        rows = full.assign(cost=cost, value=full[cost]).dropna(subset="value")
        parts.append(rows.assign(front=pareto(rows["value"].to_numpy(), rows["score"].to_numpy())))
    columns = ["cost", "space", "trial", "value", "score", "winner", "front"]
    return pd.concat(parts, ignore_index=True)[columns].astype({"front": bool})


def pareto(cost: npt.NDArray[Any], score: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which points no other one beats: cheaper with a score as high, or as cheap with a higher one."""
    order = np.lexsort((-score, cost))
    before = np.concatenate([[-np.inf], np.maximum.accumulate(score[order])[:-1]]) if len(order) else score
    front = np.zeros(len(cost), dtype=bool)
    front[order] = score[order] > before
    for place in np.flatnonzero(front):  # who is the same point as one on the front is on it too
        front |= (cost == cost[place]) & (score == score[place])
    return front


def draw_cost(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a panel per cost, the front through all spaces."""
    costs = [cost for cost in COSTS if (data["cost"] == cost).any()]
    canvas.set_figheight(3.3)
    grid = canvas.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    for axes, cost in zip(grid, costs, strict=True):
        rows = data[data["cost"] == cost]
        front = rows[rows["front"]].sort_values("value")
        axes.plot(front["value"], front["score"], drawstyle="steps-post", color=style.INK, linewidth=1, gid="front")
        for space in rows["space"].unique():
            _marks(axes, rows[rows["space"] == space], style.look(space, plan), len(data) > style.MANY_MARKS)
        log_axis(axes, rows["value"])
        axes.set_xlabel(COSTS[cost])
        axes.grid(axis="y")
    style.score_axis(grid[0].yaxis, plan, "validation")
    style.legend_below(canvas, _legend(list(data["space"].unique()), plan))


def _marks(axes: Axes, rows: pd.DataFrame, look: dict[str, Any], many: bool) -> None:
    mark = {"color": look["color"], "marker": look["marker"], "linestyle": "", "rasterized": many}
    axes.plot(rows["value"], rows["score"], markersize=4.5, markerfacecolor="white", alpha=0.8, **mark)
    won = rows[rows["winner"]]
    axes.plot(won["value"], won["score"], markersize=8, markeredgecolor=style.INK, gid="winner", **mark)


def log_axis(axes: Axes, values: "pd.Series[Any]") -> None:
    """Give x a logarithmic scale with a few round numbers, a little beyond the values on both sides."""
    axes.set_xscale("log")
    low, high = float(values.min()), float(values.max())
    axes.set_xlim(low / 1.5, high * 1.5)
    marks = _round_numbers(low / 1.5, high * 1.5)
    axes.set_xticks(marks, [large(mark) for mark in marks])
    axes.xaxis.set_minor_formatter(NullFormatter())


def _round_numbers(low: float, high: float) -> list[float]:
    """Return a few round numbers between `low` and `high`, as evenly as a logarithmic axis has them."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for digits in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)):
        found = [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]
        if len(found) >= FEWEST_TICKS:
            break
    return found[:: -(-len(found) // MOST_TICKS)]


def large(value: float) -> str:
    """Return a number with a letter for its thousands: `300 k`, `1.2 G`."""
    for size, letter in UNITS:
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def _legend(spaces: list[str], plan: Plan) -> list[Line2D]:
    lines = []
    for space in spaces:
        look = style.look(space, plan)
        mark = {"color": look["color"], "marker": look["marker"], "linestyle": ""}
        lines.append(Line2D([], [], markersize=4.5, markerfacecolor="white", label=f"{space}, one trial", **mark))
        lines.append(Line2D([], [], markersize=8, markeredgecolor=style.INK, label=f"{space}, winner", **mark))
    return [*lines, Line2D([], [], color=style.INK, linewidth=1, label="front of all spaces")]


def caption_cost(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say who is drawn and what the front is."""
    sizes = [f"{space} n = {n}" for space, n in data.groupby("space", sort=False)["trial"].nunique().items()]
    return (
        f"Validation {tables.plan['metric']['name']} in the search of every trial at full length "
        f"({wording.listed(sizes)}) against the network's parameters, its multiply-adds for one image and the seconds "
        "it trained, which depend on the machine and on what ran beside it. Line: trials that none of any space beats, "
        "cheaper with a score as high or as cheap with a higher one. Large: the winner of a space. One run each, no "
        "band; stopped trials have no score at full length."
    )


def alt_cost(data: pd.DataFrame, tables: StudyTables) -> str:
    """State the ends of the front in parameters."""
    cost = data["cost"].iloc[0]
    front = data[(data["cost"] == cost) & data["front"]].sort_values("value")
    ends = [
        f"{row['trial']} with {large(row['value'])} {COSTS[cost]} at {wording.score(row['score'], tables.plan)}"
        for row in front.iloc[[0, -1] if len(front) > 1 else [0]].to_dict("records")
    ]
    return f"The front holds {wording.count(len(front), 'trial')}: {'from ' * (len(ends) > 1)}{' to '.join(ends)}."


def speed_data(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `unit`, `time`, `share`, `lost`, `n`, `target`: Kaplan and Meier's share of the winner's final
    runs that have reached the target by then.

    `unit` is `epochs` or `seconds`; `lost` marks where a run ends without it.
    """
    target = budget.target_score(tables)
    runs = budget.time_to_target(tables, target)
    rows = [
        {"space": space, "unit": unit, "time": time, "share": share, "lost": lost, "n": len(mine), "target": target}
        for space, mine in runs.groupby("space", sort=False)
        for unit in ("epochs", "seconds")
        for time, share, lost in budget.kaplan_meier(mine[unit], mine["reached"])
    ]
    found = pd.DataFrame(rows, columns=["space", "unit", "time", "share", "lost", "n", "target"])
    return found.dropna(subset="target")


def draw_speed(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw the share of runs that are there, against epochs and against seconds."""
    canvas.set_figheight(2.9)
    panels = canvas.subplots(1, 2, sharey=True)
    for axes, unit in zip(panels, ("epochs", "seconds"), strict=True):
        for space, rows in data[data["unit"] == unit].groupby("space", sort=False):
            look = style.look(str(space), plan)
            line = {"color": look["color"], "linestyle": look["linestyle"], "linewidth": 2}
            axes.plot([0, *rows["time"]], [0, *rows["share"]], drawstyle="steps-post", label=str(space), **line)
            axes.plot(
                rows["time"], rows["share"], linestyle="", color=look["color"], marker=look["marker"], markersize=4
            )
            lost = rows[rows["lost"]]
            axes.plot(lost["time"], lost["share"], linestyle="", color=style.BAD, marker="x", markersize=8, gid="lost")
        axes.set_xlim(left=0)
        axes.grid(axis="y")
    panels[0].set_ylim(-0.04, 1.04)
    panels[0].set_xlabel("epochs")
    panels[1].set_xlabel("seconds of training and validation")
    panels[0].set_ylabel("final runs at the target")
    panels[0].yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    lines = [line for line in panels[0].lines if not str(line.get_label()).startswith("_")]
    if data["lost"].any():
        lines.append(Line2D([], [], linestyle="", color=style.BAD, marker="x", label="ended without reaching it"))
    style.legend_below(canvas, lines)


def caption_speed(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say what the target is and how runs that miss it count."""
    sizes = [f"{space} n = {n}" for space, n in data.groupby("space", sort=False)["n"].first().items()]
    target = wording.score(float(data["target"].iloc[0]), tables.plan)
    return (
        f"Share of the winners' final runs ({wording.listed(sizes)}) whose validation "
        f"{tables.plan['metric']['name']} has reached {target}, 95 % of the way from "
        f"{wording.baseline(tables.plan)} to the best mean of any winner. Kaplan and Meier's estimate: a "
        "run that ends without it counts as later than all that were there by then. Seconds depend on the machine and "
        "on what ran beside it. Few runs: no band."
    )


def alt_speed(data: pd.DataFrame, tables: StudyTables) -> str:
    """State the medians."""
    found = budget.speed(tables, float(data["target"].iloc[0]))
    parts = [
        f"{row['space']}: {row['reached']} of {wording.count(row['n'], 'final run')}, median "
        + (
            f"{row['epochs']:.0f} epochs, {wording.duration(row['seconds'])}"
            if pd.notna(row["epochs"])
            else "not reached"
        )
        for row in found.to_dict("records")
    ]
    return f"Reached {wording.score(float(data['target'].iloc[0]), tables.plan)}. {'; '.join(parts)}."


COST = Figure(
    title="Score against parameters, multiply-adds and time",
    data=cost_data,
    draw=draw_cost,
    caption=caption_cost,
    alt=alt_cost,
    absent="No trial has finished at full length yet, so there is no score to compare.",
)
SPEED = Figure(
    title="How soon the winners reach a target",
    data=speed_data,
    draw=draw_speed,
    caption=caption_speed,
    alt=alt_speed,
    absent="No final run has completed an epoch yet.",
)
