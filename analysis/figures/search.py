"""How the search went: the best score so far against what was spent."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from analysis import stats, style, wording
from analysis.figures.figure import Figure, Plan
from analysis.tables import StudyTables


def draw_best_so_far(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a staircase per space and a mark per trial at full length."""
    canvas.set_figheight(3.4)
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
        f"{tables.plan['max_epochs']} epochs ({counted}); trials stopped earlier do not count as scores, but their "
        "epochs count as spent. One study: no uncertainty of the search."
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
    narrow=True,
    data=stats.incumbent,
    draw=draw_best_so_far,
    caption=caption_best_so_far,
    alt=alt_best_so_far,
    absent="No trial has finished at full length yet, so there is no score to compare.",
)


def rung_best_data(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `epoch`, `trial`, `epochs_spent`, `score`, `best`: a row per trial with a score at a rung.

    `best` is the best score known at that epoch by then, `epochs_spent` as in `stats.incumbent`.
    """
    parts = []
    for space in tables.plan["spaces"]:
        mine = tables.trials.loc[tables.trials["space"] == space, "trial"]
        rows = tables.epochs[tables.epochs["trial"].isin(mine)]
        rows = rows.assign(space=space, epochs_spent=np.arange(1, len(rows) + 1), score=rows["val_score"])
        parts.append(rows[rows["epoch"].isin(tables.plan["rungs"])].dropna(subset="score"))
    found = pd.concat(parts, ignore_index=True)
    found["best"] = found.groupby(["space", "epoch"])["score"].cummax()
    return found[["space", "epoch", "trial", "epochs_spent", "score", "best"]]


def draw_rung_best(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a panel per rung: a staircase per space."""
    rungs = sorted(data["epoch"].unique())
    columns = min(3, len(rungs))
    many = len(data) > style.MANY_MARKS
    canvas.set_figheight(0.5 + 2.3 * -(-len(rungs) // columns))
    grid = canvas.subplots(-(-len(rungs) // columns), columns, squeeze=False, sharex=True)
    for axes, rung in zip(grid.flat, rungs, strict=False):
        for space, rows in data[data["epoch"] == rung].groupby("space", sort=False):
            look = style.look(str(space), plan)
            mark = {"color": look["color"], "s": 10, "alpha": 0.5, "linewidths": 0}
            axes.scatter(rows["epochs_spent"], rows["score"], marker=look["marker"], rasterized=many, **mark)
            stairs = {"drawstyle": "steps-post", "linestyle": look["linestyle"], "linewidth": 2}
            axes.plot(rows["epochs_spent"], rows["best"], color=look["color"], label=str(space), **stairs)
        axes.set_title(f"score at epoch {rung}")
        axes.grid(axis="y")
        style.score_axis(axes.yaxis, plan, "validation")
    for place, axes in enumerate(grid.flat[: len(rungs)]):
        if place + columns >= len(rungs):  # the lowest of its column, also where the last row is short
            axes.set_xlabel("epochs spent")
            axes.tick_params(labelbottom=True)
    for axes in grid[:, 1:].flat:
        axes.set_ylabel("")
    for axes in grid.flat[len(rungs) :]:
        axes.set_visible(False)
    lines = {line.get_label(): line for axes in grid.flat for line in axes.lines}
    style.legend_below(canvas, list(lines.values()))


def caption_rung_best(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say that a panel compares equals."""
    sizes = [f"{n} at epoch {epoch}" for epoch, n in data.groupby("epoch").size().items()]
    return (
        f"Best validation {tables.plan['metric']['name']} so far among all trials that reached a rung, as measured "
        f"there: each panel compares trials of the same length, so no line falls (n = {wording.listed(sizes)}, all "
        "spaces). One study: no uncertainty of the search."
    )


def alt_rung_best(data: pd.DataFrame, tables: StudyTables) -> str:
    """State the best score at each rung."""
    parts = []
    for epoch, rows in data.groupby("epoch"):
        best = [
            f"{space} {wording.score(s, tables.plan)}"
            for space, s in rows.groupby("space", sort=False)["best"].max().items()
        ]
        parts.append(f"at epoch {epoch} {wording.listed(best)}")
    return f"Best so far at each rung: {'; '.join(parts)}."


RUNG_BEST = Figure(
    title="Best so far at each rung",
    data=rung_best_data,
    draw=draw_rung_best,
    caption=caption_rung_best,
    alt=alt_rung_best,
    absent="No trial has a score at a rung; a study without rungs trains every trial to full length.",
)
