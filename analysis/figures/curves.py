"""Learning curves: of every trial of the search, and of the final runs."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from analysis import stats, style, wording
from analysis.figures.figure import Figure, Plan, pages
from analysis.tables import StudyTables, is_restoration

# How a curve's end is marked. A finished trial needs no mark: its curve reaches the last epoch.
ENDS: dict[str, tuple[dict[str, Any], str]] = {
    "stopped": ({"marker": "o", "markerfacecolor": "white", "markersize": 4.5}, "stopped by ASHA"),
    "diverged": ({"marker": "X", "markerfacecolor": style.BAD, "markersize": 6}, "diverged"),
    "failed": ({"marker": "s", "markerfacecolor": style.BAD, "markersize": 5}, "failed"),
    "interrupted": ({"marker": "|", "markersize": 8}, "interrupted"),
    "running": ({"marker": ">", "markerfacecolor": "white", "markersize": 5}, "running"),
}
FACETS = 3  # in a row
ROOM = 72  # digits that fit under a facet as wide as the figure
LEVELS = 3  # lines of numbers under a facet: the first rungs stand too close for one
LINE = 0.15  # inches: the height of one


def learning_curves_data(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `trial`, `epoch`, `val_score`, `state`, `winner`, `end`, `at_risk`: a row per finite
    score.

    `end` marks the last row of a trial; `at_risk` is the number of trials of the space that trained that
    epoch.
    """
    trials = tables.trials[["trial", "space", "state"]]
    rows = tables.epochs[["trial", "epoch", "val_score"]].merge(trials, on="trial").dropna(subset="val_score")
    order = {space: place for place, space in enumerate(tables.plan["spaces"])}
    rows = (
        rows.assign(place=rows["space"].map(order))
        .sort_values(["place", "trial", "epoch"], kind="stable")
        .merge(stats.at_risk(tables), on=["space", "epoch"])
    )
    rows["winner"] = rows["trial"].isin(stats.winners(tables)["trial"])
    rows["end"] = ~rows["trial"].duplicated(keep="last")
    return rows[["space", "trial", "epoch", "val_score", "state", "winner", "end", "at_risk"]]


def draw_learning_curves(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a facet per space, the number at risk under its axis."""
    spaces = [space for space in plan["spaces"] if (data["space"] == space).any()]
    columns = min(len(spaces), FACETS)
    rows = -(-len(spaces) // columns)
    printed = _printed_epochs(plan, ROOM // columns // (len(str(data["at_risk"].max())) + 2))
    lines = 1 + max(level for _, level in printed)
    canvas.set_figheight(0.6 + (3.15 + LINE * lines) * rows)
    grid = canvas.subplots(2 * rows, columns, squeeze=False, height_ratios=[3, LINE * (lines + 1)] * rows)
    top = grid[0, 0]
    for place, space in enumerate(spaces):
        row, column = divmod(place, columns)
        axes, under = grid[2 * row, column], grid[2 * row + 1, column]
        if axes is not top:
            axes.sharey(top)
        _facet(axes, data[data["space"] == space], plan, space, many=len(data) > style.MANY_MARKS)
        if column:
            axes.set_ylabel("")
            axes.tick_params(labelleft=False)
        _at_risk_row(under, data[data["space"] == space], plan, printed, first=column == 0)
    for axes in _unused(grid, len(spaces), columns):
        axes.set_visible(False)
    style.legend_below(canvas, _legend(data, plan), columns=5)


def _unused(grid: npt.NDArray[np.object_], used: int, columns: int) -> list[Axes]:
    return [
        grid[2 * (place // columns) + part, place % columns] for place in range(used, grid.size // 2) for part in (0, 1)
    ]


def _facet(axes: Axes, data: pd.DataFrame, plan: Plan, space: str, many: bool) -> None:
    colour = style.look(space, plan)["color"]
    plain, best = _by_trial(data[~data["winner"]]), _by_trial(data[data["winner"]])
    for rung in plan["rungs"]:
        axes.axvline(rung, color=style.QUIET, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    alpha = 0.25 if many else 0.55
    axes.add_collection(LineCollection(plain, colors=colour, linewidths=0.8, alpha=alpha, rasterized=many))
    axes.add_collection(LineCollection(best, colors=style.INK, linewidths=2.2, zorder=4))
    _mark_ends(axes, data[data["end"]], colour, many)
    axes.autoscale_view()
    axes.grid(axis="y")
    axes.set_title(space)
    style.epoch_axis(axes, plan["max_epochs"])
    style.score_axis(axes.yaxis, plan, "validation")


def _by_trial(data: pd.DataFrame) -> list[npt.NDArray[np.float64]]:
    """Return the curve of each trial, (epochs, 2); the rows of a trial stand together."""
    points = data[["epoch", "val_score"]].to_numpy(dtype=float)
    return np.split(points, np.flatnonzero(data["end"])[:-1] + 1) if len(points) else []


def _mark_ends(axes: Axes, ends: pd.DataFrame, colour: str, many: bool) -> None:
    for state, (mark, _) in ENDS.items():
        rows = ends[ends["state"] == state]
        axes.plot(
            rows["epoch"],
            rows["val_score"],
            linestyle="",
            color=colour,
            zorder=3,
            rasterized=many,
            gid=state,
            **mark,
        )
    full = ends[ends["state"] == "finished"]
    axes.plot(
        full["epoch"],
        full["val_score"],
        linestyle="",
        color=colour,
        marker=".",
        rasterized=many,
        gid="finished",
    )


def _at_risk_row(axes: Axes, data: pd.DataFrame, plan: Plan, printed: list[tuple[int, int]], first: bool) -> None:
    """Print how many trials trained that epoch, at the epochs and in the lines of `printed`."""
    counts = data.drop_duplicates("epoch").set_index("epoch")["at_risk"]
    lines = 1 + max(level for _, level in printed)
    text: dict[str, Any] = {"ha": "center", "va": "center", "color": style.INK, "fontsize": style.at_most(8)}
    for epoch, level in printed:
        axes.text(epoch, 1 - (level + 0.5) / lines, str(counts.get(epoch, 0)), **text)
    axes.set_xlim(0.5, plan["max_epochs"] + 0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if first:
        digits = len(str(counts.max()))
        axes.set_ylabel("trials", rotation=0, ha="right", va="center", fontsize=style.at_most(8), labelpad=4 * digits)


def _printed_epochs(plan: Plan, numbers: int) -> list[tuple[int, int]]:
    """Return the epochs whose numbers are printed, with the line of each, where so many fit side by side: the last, the
    rungs, at which trials drop out, in further lines where they stand close, the first, and every nth.
    """
    last = plan["max_epochs"]
    apart = max(1, -(-last // max(1, min(9, numbers))))
    printed: list[tuple[int, int]] = []

    def free(epoch: int, level: int) -> bool:
        return all(abs(epoch - other) >= apart for other, line in printed if line == level)

    for epoch in dict.fromkeys((last, *plan["rungs"], 1)):
        printed += [(epoch, level) for level in range(LEVELS) if free(epoch, level)][:1]
    for epoch in range(1, last + 1, apart):
        if all(free(epoch, level) for level in range(LEVELS)):
            printed.append((epoch, 0))
    return sorted(printed)


def _legend(data: pd.DataFrame, plan: Plan) -> list[Line2D]:
    handles = [
        Line2D([], [], linestyle="", color=style.QUIET, label=label, **mark)
        for state, (mark, label) in ENDS.items()
        if (data["state"] == state).any()
    ]
    if data["winner"].any():
        handles.insert(0, Line2D([], [], color=style.INK, linewidth=2.2, label="winner of the search"))
    if plan["rungs"]:
        handles.append(Line2D([], [], color=style.QUIET, linewidth=0.8, linestyle=(0, (1, 2)), label="rung"))
    return handles


def caption_learning_curves(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say what is drawn and that no mean is."""
    drawn, total = data["trial"].nunique(), int(tables.trials["space"].isin(data["space"]).sum())
    left = total - drawn
    missing = f" {wording.count(left, 'trial')} without any finite score cannot be drawn." if left else ""
    return (
        f"Validation {tables.plan['metric']['name']} after each epoch, one line per trial (n = {drawn:,} of "
        f"{total:,}); a mark shows where and why a trial ended early. Dotted: the rungs at which ASHA decides. The "
        "numbers below count the trials that trained that epoch: the rungs', the first and the last, and some between. "
        f"No mean is drawn: it would be one of survivors.{missing}"
    )


def alt_learning_curves(data: pd.DataFrame, tables: StudyTables) -> str:
    """State how many trials were left at the end."""
    ends = data[data["end"]]
    parts = []
    for space, rows in ends.groupby("space", sort=False):
        full = int((rows["epoch"] == tables.plan["max_epochs"]).sum())
        best = wording.score(data[data["space"] == space]["val_score"].max(), tables.plan)
        parts.append(
            f"{space}: {full} of {wording.count(len(rows), 'trial')} reached epoch "
            f"{tables.plan['max_epochs']}, "
            f"the highest validation {tables.plan['metric']['name']} of any epoch is {best}"
        )
    return "Learning curves. " + "; ".join(parts) + "."


def final_curves_data(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `final`, `seed`, `epoch`, `quantity`, `split`, `kind`, `value` of the winners' final
    runs.

    `quantity` is `loss` or `score`, `split` is `train` or `validation`; `kind` is `seed` for a run and `mean`
    for the mean over the runs of a space (then `final` and `seed` are missing), at epochs that all of its
    runs have.
    """
    runs = stats.winning_finals(tables)[["final", "space", "seed"]]
    wide = runs.merge(tables.final_epochs, on="final")
    parts = [
        wide[["space", "final", "seed", "epoch"]].assign(quantity=quantity, split=split, value=wide[column])
        for column, quantity, split in (
            ("train_loss", "loss", "train"),
            ("val_loss", "loss", "validation"),
            ("train_score", "score", "train"),
            ("val_score", "score", "validation"),
        )
    ]
    seeds = pd.concat(parts, ignore_index=True).assign(kind="seed")
    cells = seeds.groupby(["space", "epoch", "quantity", "split"], sort=False)["value"]
    means = cells.mean().reset_index()
    whole = cells.count().to_numpy() == means["space"].map(runs["space"].value_counts()).to_numpy()
    both = pd.concat([seeds, means[whole].assign(kind="mean")], ignore_index=True)
    columns = ["space", "final", "seed", "epoch", "quantity", "split", "kind", "value"]
    return pd.DataFrame(both, columns=columns)


def draw_final_curves(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw loss above, score below; training left, validation right."""
    canvas.set_figheight(5.2)
    grid = canvas.subplots(2, 2, sharex=True, sharey="row")
    for row, quantity in enumerate(("loss", "score")):
        for column, split in enumerate(("train", "validation")):
            cell = data[(data["quantity"] == quantity) & (data["split"] == split)]
            _final_panel(grid[row, column], cell, plan)
    for axes, title in zip(grid[0], ("training split", "validation split"), strict=True):
        axes.set_title(title)
        axes.set_xlabel("")
    grid[0, 0].set_yscale("log")  # one bad epoch would flatten all others
    grid[0, 0].set_ylabel("loss (pixels 0 to 1)" if is_restoration(plan) else "loss (nats per image)")
    style.score_axis(grid[1, 0].yaxis, plan, "")
    grid[1, 0].set_ylabel(grid[1, 0].get_ylabel().strip())
    canvas.align_ylabels()
    spaces = [space for space in plan["spaces"] if (data["space"] == space).any()]
    style.legend_below(canvas, [_space_line(space, plan) for space in spaces])


def _space_line(space: str, plan: Plan) -> Line2D:
    look = style.look(space, plan)
    return Line2D([], [], color=look["color"], linestyle=look["linestyle"], linewidth=2.2, label=f"{space}, mean")


def _final_panel(axes: Axes, cell: pd.DataFrame, plan: Plan) -> None:
    for space in cell["space"].unique():
        look = style.look(space, plan)
        rows = cell[cell["space"] == space]
        seeds = [run[["epoch", "value"]].to_numpy() for _, run in rows[rows["kind"] == "seed"].groupby("final")]
        axes.add_collection(LineCollection(seeds, colors=look["color"], linewidths=0.8, alpha=0.45))
        mean = rows[rows["kind"] == "mean"]
        axes.plot(mean["epoch"], mean["value"], color=look["color"], linestyle=look["linestyle"], linewidth=2.2)
    axes.autoscale_view()
    axes.grid(axis="y")
    style.epoch_axis(axes, plan["max_epochs"])


def caption_final_curves(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say what thin and thick lines are."""
    runs = data.dropna(subset="final").groupby("space", sort=False)["final"].nunique()
    sizes = wording.listed([f"{space} n = {n}" for space, n in runs.items()])
    of_loss = " Label smoothing and mixed images raise the loss of training, not that of validation."
    if is_restoration(tables.plan):
        of_loss = " Loss of training: the one that the winner was trained with; of validation: mean squared error."
    return (
        f"Loss and {tables.plan['metric']['name']} of the final runs of each winner, retrained from scratch with "
        f"fresh seeds ({sizes}). Thin: one seed. Thick: mean over the seeds, at epochs that all of them have; no "
        "band. Training values are means over the epoch in training mode, validation values are taken after "
        f"it.{of_loss}"
    )


def alt_final_curves(data: pd.DataFrame, tables: StudyTables) -> str:
    """State the last mean scores on both splits."""
    parts = []
    last = data[data["kind"] == "mean"].sort_values("epoch").groupby(["space", "quantity", "split"]).tail(1)
    for space, rows in last.groupby("space", sort=False):
        value = rows.set_index(["quantity", "split"])["value"]
        train = wording.score(value.get(("score", "train"), np.nan), tables.plan)
        validation = wording.score(value.get(("score", "validation"), np.nan), tables.plan)
        parts.append(f"{space} ends at {train} on the training and {validation} on the validation split")
    return f"Final runs, mean {tables.plan['metric']['name']}: " + "; ".join(parts) + "."


LEARNING_CURVES = Figure(
    title="Learning curves of all trials",
    data=learning_curves_data,
    draw=draw_learning_curves,
    caption=caption_learning_curves,
    alt=alt_learning_curves,
    absent="No trial has completed an epoch with a finite score yet.",
    pieces=partial(pages, column="space", most=2 * FACETS),
)
FINAL_CURVES = Figure(
    title="Loss and score of the final runs",
    data=final_curves_data,
    draw=draw_final_curves,
    caption=caption_final_curves,
    alt=alt_final_curves,
    absent="No final run has completed an epoch yet.",
)
