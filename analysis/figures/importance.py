"""Which hyperparameters decide who is among the best, with their uncertainty, and epoch by epoch."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from analysis import importance, style, wording
from analysis.figures.figure import Figure, Plan
from analysis.tables import StudyTables

PALE = 0.55  # from here on a cell of the strip is dark, and its number white


def draw_importance(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a row per hyperparameter: importance for the best, for the better half, and for the best at each epoch."""
    space = data["space"].iloc[0]
    last = importance.main_epoch(data)
    best, half = data[data["target"] == "best"], data[data["target"] == "half"]
    names = list(best[best["epoch"] == last].sort_values("importance", ascending=False, kind="stable")["parameter"])
    epochs = [epoch for epoch in [*plan["rungs"], plan["max_epochs"]] if (best["epoch"] == epoch).any()]
    canvas.set_figheight(1.3 + style.height_of_rows(len(names), 0.2))
    panels = canvas.subplots(1, 3, sharey=True, width_ratios=[3, 3, 0.6 + 0.45 * len(epochs)])
    _dots(panels[0], best[best["epoch"] == last], names, space, plan)
    panels[0].set_title(f"best {best['best'].iloc[0]} at epoch {last}")
    if half.empty:
        panels[1].set_axis_off()
    else:
        _dots(panels[1], half, names, space, plan)
        panels[1].set_title(f"better half at epoch {half['epoch'].iloc[0]}")
    _strip(panels[2], best, names, epochs)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    style.legend_below(canvas, _legend(space, plan))


def _dots(axes: Axes, rows: pd.DataFrame, names: Sequence[str], space: str, plan: Plan) -> None:
    look, table = style.look(space, plan), rows.set_index("parameter").loc[list(names)]
    y = np.arange(len(names))
    axes.hlines(y, table["low"].clip(0, 1), table["high"].clip(0, 1), color=look["color"], linewidth=1.6)
    clear = (table["importance"] > table["null"]).to_numpy()
    mark = {"color": look["color"], "marker": look["marker"], "linestyle": "", "markersize": 5}
    axes.plot(table["importance"][clear], y[clear], gid="clear", **mark)
    axes.plot(table["importance"][~clear], y[~clear], gid="chance", markerfacecolor="white", **mark)
    axes.plot(table["null"], y, linestyle="", marker="|", markersize=9, color=style.INK, gid="null")
    axes.set_xlim(-0.03, 1.03)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y")
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel("variance explained")


def _strip(axes: Axes, rows: pd.DataFrame, names: Sequence[str], epochs: Sequence[int]) -> None:
    shares = rows.pivot_table(index="parameter", columns="epoch", values="importance").loc[list(names), list(epochs)]
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="none")
    cells = shares.to_numpy(dtype=float)
    for row, column in np.ndindex(*cells.shape):
        share = float(cells[row, column])
        colour = "white" if share > PALE else style.INK
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(epochs)), [str(epoch) for epoch in epochs])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("epoch")
    axes.set_title("best, in %")


def _legend(space: str, plan: Plan) -> list[Line2D]:
    look = style.look(space, plan)
    mark = {"color": look["color"], "marker": look["marker"], "markersize": 5}
    return [
        Line2D([], [], linewidth=1.6, label="importance, 95 % interval", **mark),
        Line2D([], [], linestyle="", markerfacecolor="white", label="not above chance", **mark),
        Line2D([], [], linestyle="", marker="|", markersize=9, color=style.INK, label="95 % of what chance gives"),
    ]


def caption_importance(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say what is estimated, over whom, and what is assumed of stopped trials."""
    space = data["space"].iloc[0]
    last = importance.main_epoch(data)
    row = data[(data["target"] == "best") & (data["epoch"] == last)].iloc[0]
    refusal = importance.refusals(tables).get(str(space), "")
    later = f" At full length: {refusal}." if refusal else ""
    return (
        f"PED-ANOVA on all n = {row['n']} ended trials: the share of the variance of being among the best that each "
        "hyperparameter explains on its own. Left: what wins, the best tenth, at least five trials. Middle: what "
        "spares a trial the worse half. Right: the left panel at each epoch compared. Bars: 95 % percentile interval "
        f"over resampled trials ({importance.RESAMPLES} bootstraps). Ticks: 95 % quantile with the best drawn by "
        "chance. Stopped trials count as not among the best, by the rule that none of them would have overtaken those "
        f"that went on; {row['reached']} have a score at epoch {last}.{later} A hyperparameter that depends on "
        "another is compared only where it applies."
    )


def alt_importance(data: pd.DataFrame, tables: StudyTables) -> str:  # noqa: ARG001
    """State what stands above chance."""
    space = data["space"].iloc[0]
    last = importance.main_epoch(data)
    rows = data[(data["target"] == "best") & (data["epoch"] == last)].sort_values("importance", ascending=False)
    clear = rows[rows["importance"] > rows["null"]]
    said = [f"{row['parameter']} ({100 * row['importance']:.0f} %)" for row in clear.head(5).to_dict("records")]
    what = f"{len(clear)} of {wording.count(len(rows), 'hyperparameter')} stand above chance: {wording.listed(said)}"
    none = f"none of {wording.count(len(rows), 'hyperparameter')} stands above chance"
    return f"{space}, the best {rows['best'].iloc[0]} at epoch {last}: {what if said else none}."


IMPORTANCE = Figure(
    title="Which hyperparameters decide",
    data=importance.importances,
    draw=draw_importance,
    caption=caption_importance,
    alt=alt_importance,
    absent=f"Too few trials: the best {importance.FEWEST_BEST} of at least {importance.FEWEST_TRIALS} ended "
    "trials are needed, all of them with a score at the same epoch.",
    per_space=True,
)
