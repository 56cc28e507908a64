"""Learning curves of a whole search: quantiles over all trials, stopped ones ranked below those that went on."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from analysis import style, wording
from analysis.figures.figure import Figure, Plan
from analysis.tables import StudyTables

LAST = ["stopped", "diverged", "failed"]  # states of those who rank below whoever went on
SHARES = {"best trial": 0.0, "best 10 %": 0.1, "best 25 %": 0.25, "better half": 0.5}


def quantile_curves_data(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `share`, `epoch`, `score`, `rank`, `at_risk`, `n`: the score of the trial of that `rank`.

    `rank` is the `share` of the `n` trials that are known to have trained that epoch (`at_risk`) or to have ended
    before by stopping, divergence or failure; who was cut off before counts in neither. The latter rank below, so a
    row exists only where `rank` is at most `at_risk`.
    """
    trials = tables.trials[["trial", "space", "state", "epochs_trained"]]
    rows = tables.epochs[["trial", "epoch", "val_score"]].dropna(subset="val_score").merge(trials, on="trial")
    rows = rows.sort_values("val_score", ascending=False, kind="stable")
    ended = trials[trials["state"].isin(LAST)]
    there = dict(list(rows.groupby(["space", "epoch"])))
    parts = [
        _at(there.get((space, epoch), rows.head(0)), int((ended["space"] == space).sum()), space, epoch)
        for space in tables.plan["spaces"]
        for epoch in range(1, tables.plan["max_epochs"] + 1)
    ]
    columns = ["space", "share", "epoch", "score", "rank", "at_risk", "n"]
    return pd.DataFrame([row for part in parts for row in part], columns=columns)


def _at(there: pd.DataFrame, ended: int, space: str, epoch: int) -> list[dict[str, object]]:
    """Return the rows of a space and epoch: `there` are its trials with a score there, the best first, and `ended` how
    many of all ended early.
    """
    n = len(there) + ended - int(there["state"].isin(LAST).sum())
    scores = there["val_score"].to_numpy()
    ranks = {name: max(1, int(np.ceil(share * n))) for name, share in SHARES.items()}
    known = {"space": space, "epoch": epoch, "at_risk": len(there), "n": n}
    return [
        {**known, "share": name, "rank": rank, "score": scores[rank - 1]}
        for name, rank in ranks.items()
        if rank <= len(scores)
    ]


def draw_quantile_curves(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a panel per share of the trials, a line per space."""
    canvas.set_figheight(4.6)
    grid = canvas.subplots(2, 2, sharex=True, sharey=True)
    for axes, share in zip(grid.flat, SHARES, strict=True):
        for rung in plan["rungs"]:
            axes.axvline(rung, color=style.QUIET, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        for space, rows in data[data["share"] == share].groupby("space", sort=False):
            look = style.look(str(space), plan)
            axes.plot(rows["epoch"], rows["score"], label=str(space), markersize=4, markevery=[-1], **look)
        axes.set_title(share)
        axes.grid(axis="y")
        style.epoch_axis(axes, plan["max_epochs"])
        style.score_axis(axes.yaxis, plan, "validation")
    for axes in (*grid[0], *grid[:, 1]):
        axes.label_outer()
    lines = {line.get_label(): line for line in grid[0, 0].lines if not str(line.get_label()).startswith("_")}
    style.legend_below(canvas, list(lines.values()))


def caption_quantile_curves(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say who counts, and why lines end."""
    sizes = [f"{space} n = {n}" for space, n in data.groupby("space", sort=False)["n"].max().items()]
    return (
        f"Validation {tables.plan['metric']['name']} that the best trial, and the worst of the best 10 %, 25 % and "
        f"half, of all trials had after each epoch ({wording.listed(sizes)}). Stopped, diverged and failed trials "
        "rank below those that went on; a line ends where so few are left that its rank is among the stopped. A point "
        "is another trial at each epoch, of this one search: no band. Dotted: rungs."
    )


def alt_quantile_curves(data: pd.DataFrame, tables: StudyTables) -> str:
    """State the last known point of each line of the better half and of the best 10 %."""
    parts = []
    for (space, share), rows in data[data["share"].isin(["best 10 %", "better half"])].groupby(
        ["space", "share"], sort=False
    ):
        last = rows.iloc[-1]
        parts.append(f"{space}, {share}: at least {wording.score(last['score'], tables.plan)} at epoch {last['epoch']}")
    return "; ".join(parts) + "."


QUANTILE_CURVES = Figure(
    title="Learning curves of the search as a whole",
    data=quantile_curves_data,
    draw=draw_quantile_curves,
    caption=caption_quantile_curves,
    alt=alt_quantile_curves,
    absent="No trial has completed an epoch with a finite score yet.",
)
