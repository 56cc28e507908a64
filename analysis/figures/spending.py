"""Where the budget went: epochs by what became of them, and who ran when."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis import stats, style, wording
from analysis.figures.figure import Figure, Plan
from analysis.tables import StudyTables

# What epochs went to: how dark, which hatch.
PARTS = {
    "trials at full length": (1.0, ""),
    "stopped trials": (0.55, ""),
    "lost or unfinished trials": (0.55, "\\\\\\"),
    "final runs": (0.25, "||"),
    "saved by stopping": (0.0, "//"),
}
ENDS_PER_SLOT = 100  # up to here a bar is wide enough for a white end
NAMED_SLOTS = 24  # up to here each slot has its number
BAR = 0.6  # height of a bar in the row of its slot
FULL, OTHER = 0.9, 0.35  # how dark a trial at full length or a final run is, and any other trial


def spending_data(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `part`, `epochs`: how many epochs of each space went to each of `PARTS`."""
    spent = stats.spending(tables).set_index("space")
    states = tables.trials.groupby(["space", "state"])["epochs_trained"].sum()
    rows = []
    for space, row in spent.iterrows():
        full, stopped = (int(states.get((space, state), 0)) for state in ("finished", "stopped"))
        counts = (full, stopped, row["epochs"] - full - stopped, row["final_epochs"], row["epochs_saved"])
        rows += [(space, part, int(count)) for part, count in zip(PARTS, counts, strict=True)]
    found = pd.DataFrame(rows, columns=["space", "part", "epochs"])
    return found if found["epochs"].any() else found.head(0)


def draw_spending(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a stacked bar per space."""
    spaces = list(data["space"].unique())
    canvas.set_figheight(1.4 + style.height_of_rows(len(spaces), 0.42))
    axes = canvas.subplots()
    table = data.pivot_table(index="space", columns="part", values="epochs", sort=False).loc[spaces]
    begin = np.zeros(len(spaces))
    for part, (dark, hatch) in PARTS.items():
        for row, space in enumerate(spaces):
            colour = style.look(space, plan)["color"]
            face = _pale(colour, dark)
            axes.barh(
                row, table.loc[space, part], left=begin[row], height=0.6, facecolor=face, edgecolor=colour, hatch=hatch
            )
        begin += table[part].to_numpy()
    axes.set_yticks(range(len(spaces)), spaces)
    axes.set_ylim(len(spaces) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("epochs")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    used = [part for part in PARTS if table[part].any()]
    grey = style.QUIET
    handles = [Patch(facecolor=_pale(grey, PARTS[p][0]), edgecolor=grey, hatch=PARTS[p][1], label=p) for p in used]
    style.legend_below(canvas, handles, columns=3)


def _pale(colour: str, dark: float) -> tuple[float, float, float]:
    """Return the colour mixed with white. Through a face that lets light through, SVG files would show no hatch."""
    red, green, blue = (1 - dark * (1 - int(colour[at : at + 2], 16) / 255) for at in (1, 3, 5))
    return red, green, blue


def caption_spending(data: pd.DataFrame, tables: StudyTables) -> str:  # noqa: ARG001
    """Say what is counted."""
    trials = wording.count(len(tables.trials), "trial")
    return (
        f"Epochs trained for each space by what became of them ({trials}, "
        f"{wording.count(len(tables.final), 'final run')}), "
        "and, hatched and empty, those that stopped trials did not train of their full length of "
        f"{tables.plan['max_epochs']} epochs. Diverged, failed and unfinished trials save nothing."
    )


def alt_spending(data: pd.DataFrame, tables: StudyTables) -> str:  # noqa: ARG001
    """State what was saved."""
    table = data.pivot_table(index="space", columns="part", values="epochs", sort=False)
    parts = []
    for space, row in table.iterrows():
        saved, spent = int(row["saved by stopping"]), int(row.drop("saved by stopping").sum())
        parts.append(f"{space}: {wording.count(spent, 'epoch')} trained, {saved:,} saved by stopping")
    return "; ".join(parts) + "."


def timeline_data(tables: StudyTables) -> pd.DataFrame:
    """Return `slot`, `run`, `kind`, `space`, `attempt`, `state`, `began`, `ended`: a row per attempt, in seconds since
    the first.

    `slot` counts from 1, node by node; a worker that came after another one had gone has its slot.
    """
    found = tables.attempts
    columns = ["slot", "run", "kind", "space", "attempt", "state", "began", "ended"]
    if found.empty:
        return pd.DataFrame(columns=columns)
    start = found["began"].min()
    rows = found.assign(slot=_slots(found), began=found["began"] - start, ended=found["ended"] - start)
    return rows[columns].round({"began": 3, "ended": 3})


def _slots(attempts: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the slot of each attempt: workers of a node that were there one after the other share one."""
    spans = attempts.groupby(["node", "worker"]).agg(began=("began", "min"), ended=("ended", "max")).reset_index()
    lanes: list[tuple[str, float]] = []  # node, and when its last worker was gone
    taken = {}
    for row in spans.sort_values(["node", "began", "worker"]).to_dict("records"):
        free = [lane for lane, (node, until) in enumerate(lanes) if node == row["node"] and until <= row["began"]]
        lane = free[0] if free else len(lanes)
        lanes[lane : lane + 1] = [(row["node"], row["ended"])]
        taken[row["node"], row["worker"]] = lane + 1
    return np.array([taken[pair] for pair in zip(attempts["node"], attempts["worker"], strict=True)])


def draw_timeline(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a bar per attempt in the row of its slot."""
    slots = int(data["slot"].max())
    canvas.set_figheight(1.3 + min(0.34 * slots, 5.5))
    axes = canvas.subplots()
    unit, name = _unit(data["ended"].max())
    many = len(data) > style.MANY_MARKS
    for space in (space for space in plan["spaces"] if (data["space"] == space).any()):
        _bars(axes, data[data["space"] == space], space, plan, unit, many)
    for state, mark in (("failed", "s"), ("diverged", "X")):
        rows = data[data["state"] == state]
        axes.plot(rows["ended"] / unit, rows["slot"], mark, color=style.BAD, markersize=4, rasterized=many, gid=state)
    axes.set_ylim(slots + 0.5, 0.5)
    axes.set_yticks(range(1, slots + 1) if slots <= NAMED_SLOTS else [1, slots])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, data["ended"].max() / unit or 1)
    axes.set_xlabel(f"{name} since the first trial began")
    axes.set_ylabel("slot")
    style.legend_below(canvas, _legend(data, plan))


def _bars(axes: Axes, rows: pd.DataFrame, space: str, plan: Plan, unit: float, many: bool) -> None:
    full = (rows["kind"] == "final") | (rows["state"] == "finished")
    for mine, dark in ((rows[~full], OTHER), (rows[full], FULL)):
        corners = _corners(mine, unit)
        look = _bar(space, plan, dark, hatched=not many)
        axes.add_collection(PolyCollection(list(corners), linewidths=0, rasterized=many, gid=f"bars-{space}", **look))
    final = _corners(rows[rows["kind"] == "final"], unit)[:, :2]
    final[..., 1] += BAR / 2
    axes.add_collection(LineCollection(list(final), linewidths=2, colors=style.INK, rasterized=many))
    if len(rows) > ENDS_PER_SLOT * rows["slot"].nunique():  # the white ends would hide the bars
        return
    ends = LineCollection(list(_corners(rows, unit)[:, 1:3]), colors="white", linewidths=0.7, rasterized=many)
    axes.add_collection(ends)


def _corners(rows: pd.DataFrame, unit: float) -> npt.NDArray[np.float64]:
    """Return the corners of the bars, (rows, 4, 2), from where each begins, around."""
    began, ended = rows["began"].to_numpy(dtype=float) / unit, rows["ended"].to_numpy(dtype=float) / unit
    above = rows["slot"].to_numpy(dtype=float) - BAR / 2
    x, y = np.column_stack([began, ended, ended, began]), np.column_stack([above, above, above + BAR, above + BAR])
    return np.stack([x, y], axis=2)


def _bar(space: str, plan: Plan, dark: float, *, hatched: bool) -> dict[str, Any]:
    """Return how the bars of a space look: the colour, and lines of the other lightness over it.

    Of very many bars each is thinner than the lines, which would take seconds to draw.
    """
    colour = style.look(space, plan)["color"]
    lines = "white" if dark == FULL else colour
    hatch = style.hatch(space, plan) if hatched else None
    return {"facecolor": _pale(colour, dark), "edgecolor": lines, "hatch": hatch}


def _unit(seconds: float) -> tuple[float, str]:
    if seconds < 300:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")


def _legend(data: pd.DataFrame, plan: Plan) -> list[Artist]:
    spaces = [space for space in plan["spaces"] if (data["space"] == space).any()]
    hatched = len(data) <= style.MANY_MARKS
    lines: list[Artist] = [
        Patch(linewidth=0, label=space, **_bar(space, plan, FULL, hatched=hatched)) for space in spaces
    ]
    kinds = [((data["kind"] == "trial") & (data["state"] == "finished"), FULL, "trial at full length")]
    kinds.append(((data["kind"] == "trial") & (data["state"] != "finished"), OTHER, "stopped or not finished"))
    lines += [Patch(facecolor=_pale(style.QUIET, dark), label=name) for rows, dark, name in kinds if rows.any()]
    if (data["kind"] == "final").any():
        lines.append(Line2D([], [], color=style.INK, linewidth=2, label="core: final run"))
    for state, mark in (("failed", "s"), ("diverged", "X")):
        if (data["state"] == state).any():
            lines.append(Line2D([], [], linestyle="", marker=mark, color=style.BAD, markersize=5, label=state))
    return lines


def caption_timeline(data: pd.DataFrame, tables: StudyTables) -> str:  # noqa: ARG001
    """Say what a bar is and how its beginning is known."""
    again = int((data["attempt"] > 1).sum())
    more = f"; {again:,} of them began again after a pause or an interruption" if again else ""
    alike = " Spaces are told apart by colour alone." if len(data) > style.MANY_MARKS else ""
    return (
        f"When each of {wording.count(len(data), 'attempt')} was on which of "
        f"{wording.count(int(data['slot'].max()), 'slot')}"
        f"{more}. A bar ends when the driver heard of the end, and begins no later than its epochs took, so what lies "
        "between bars is building, waiting and reports. White, where there is room: the end of a bar."
        f"{alike}"
    )


def alt_timeline(data: pd.DataFrame, tables: StudyTables) -> str:  # noqa: ARG001
    """State how long it took and how busy the slots were."""
    span, slots = float(data["ended"].max()), int(data["slot"].max())
    busy = float((data["ended"] - data["began"]).sum()) / (span * slots) if span else 0.0
    counts = data["state"].replace("stopped", "stopped or paused").value_counts()
    parts = [f"{number:,} {state}" for state, number in counts.items()]
    return (
        f"{wording.count(slots, 'slot')}, {wording.duration(span)} from the first start to the last end, slots "
        f"occupied {100 * min(busy, 1):.0f} % of it: {wording.listed(parts)}."
    )


SPENDING = Figure(
    title="What the epochs went to, and what stopping saved",
    narrow=True,
    data=spending_data,
    draw=draw_spending,
    caption=caption_spending,
    alt=alt_spending,
    absent="No epoch has been trained yet.",
)
TIMELINE = Figure(
    title="Who ran when",
    data=timeline_data,
    draw=draw_timeline,
    caption=caption_timeline,
    alt=alt_timeline,
    absent="No trial has been on a slot yet.",
)
