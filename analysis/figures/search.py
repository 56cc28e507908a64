"""How the search went: the best score so far against what was spent."""

import pandas as pd
from matplotlib.figure import Figure as Canvas

from analysis import stats, style, wording
from analysis.figures.figure import Figure, Plan
from analysis.tables import StudyTables


def draw_best_so_far(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a staircase per space and a mark per trial at full length."""
    canvas.set_size_inches(style.WIDTH, 3.4)
    axes = canvas.subplots()
    many = len(data) > style.MANY_MARKS
    for space in data["space"].unique():
        rows, look = data[data["space"] == space], style.look(space, plan)
        axes.plot(
            rows["epochs_spent"],
            rows["best"],
            drawstyle="steps-post",
            color=look["color"],
            linestyle=look["linestyle"],
            linewidth=2,
            label=f"{space}, best so far",
        )
        axes.scatter(
            rows["epochs_spent"],
            rows["score"],
            color=look["color"],
            marker=look["marker"],
            s=18,
            alpha=0.6,
            linewidths=0,
            rasterized=many,
            label=f"{space}, one trial at full length",
        )
    axes.set_xlim(left=0)
    axes.set_xlabel("epochs spent on the space")
    axes.grid(axis="y")
    style.score_axis(axes.yaxis, plan, "validation")
    style.legend_below(canvas, axes.get_legend_handles_labels()[0], columns=2)


def caption_best_so_far(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say which trials count, and that one study has no band."""
    sizes = data.dropna(subset="trial").groupby("space", sort=False).size()
    counted = wording.listed([f"{space} n = {n}" for space, n in sizes.items()])
    return (
        f"Best validation {tables.plan['metric']['name']} so far among trials at the full length of "
        f"{tables.plan['max_epochs']} epochs ({counted}); trials stopped earlier do not count as scores, but "
        "their epochs "
        "count as spent. One study: no uncertainty of the search."
    )


def alt_best_so_far(data: pd.DataFrame, tables: StudyTables) -> str:
    """State the best score and the budget at which it was found."""
    parts = []
    for space, rows in data.groupby("space", sort=False):
        best = rows.iloc[int(rows["score"].argmax())]
        parts.append(
            f"{space} reaches {wording.score(best['score'], tables.plan)} after {best['epochs_spent']} of "
            f"{wording.count(int(rows['epochs_spent'].max()), 'epoch')}"
        )
    return "Best so far: " + "; ".join(parts) + "."


BEST_SO_FAR = Figure(
    title="Best so far against epochs spent",
    data=stats.incumbent,
    draw=draw_best_so_far,
    caption=caption_best_so_far,
    alt=alt_best_so_far,
    absent="No trial has finished at full length yet, so there is no score to compare.",
)
