"""Seeds beside their mean, as several figures show them: the rows, their legend, and how many seeds there were."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis import style, wording
from analysis.figures.figure import Plan


def present(data: pd.DataFrame, plan: Plan) -> list[str]:
    """Return the spaces of the study that `data` knows, in the study's order."""
    return [space for space in plan["spaces"] if (data["space"] == space).any()]


def draw_rows(axes: Axes, data: pd.DataFrame, plan: Plan, value: str = "value") -> None:
    """Draw a row per space: seeds as hollow marks, the mean with its interval above them.

    `data` has `space`, `kind` (`seed` or `mean`), the column `value`, `low` and `high`. Seeds with the same value are
    drawn beneath each other.
    """
    spaces = present(data, plan)
    for row, space in enumerate(spaces):
        look, mine = style.look(space, plan), data[data["space"] == space]
        seeds, mean = mine[mine["kind"] == "seed"], mine[mine["kind"] == "mean"].iloc[0]
        mark = {"color": look["color"], "marker": look["marker"], "linestyle": ""}
        ties = seeds.groupby(value, dropna=False).cumcount()
        heights = row + 0.14 + ties * min(0.13, 0.3 / max(1, ties.max()))
        axes.plot(seeds[value], heights, markerfacecolor="none", markersize=5.5, **mark)
        axes.plot([mean["low"], mean["high"]], [row - 0.15] * 2, color=look["color"], linewidth=2, marker="|")
        axes.plot(mean[value], row - 0.15, markersize=7, gid=f"mean-{space}", **mark)
    axes.set_yticks(range(len(spaces)), spaces)
    axes.set_ylim(len(spaces) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def legend(data: pd.DataFrame, mean: str = "mean", interval: str = "mean and 95 % interval") -> list[Line2D]:
    """Name a seed's mark and the mean's, the interval only where one is drawn."""
    drawn = bool(data["low"].notna().any())
    seed = Line2D([], [], color=style.QUIET, marker="o", linestyle="", markerfacecolor="none", label="one seed")
    filled = Line2D([], [], color=style.QUIET, marker="o", linewidth=2 if drawn else 0)
    filled.set_label(interval if drawn else mean)
    return [filled, seed]


def sizes(data: pd.DataFrame, kind: str = "mean") -> str:
    """Return how many seeds each space had: `resnet n = 4 and plain n = 3`."""
    means = data[data["kind"] == kind].astype({"n": int})
    return wording.listed([f"{row.space} n = {row.n}" for row in means.itertuples()])
