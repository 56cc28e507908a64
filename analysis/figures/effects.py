"""What each hyperparameter did: the score of every trial against its value. Shows, does not fit."""

import textwrap
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from analysis import stats, style, wording
from analysis.figures.figure import Figure, Plan, pages
from analysis.tables import StudyTables, searched

COLUMNS = 3
MOST_LINES = 4  # of panels in one figure: a page is 9 inches high, and a line 2.1
MOST_SHOWN = 75  # trials of a kind in a panel; more would hide one another, and make a file too large to open
FEW = 12  # whole numbers in a range up to here are spread like choices
GOLDEN = 0.618034  # multiples of it, modulo 1, spread evenly: a jitter that is the same every time


_WINNER: Final[dict[str, Any]] = {"markersize": 8, "markeredgecolor": style.INK, "markeredgewidth": 1.3}


def effects_data(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `parameter`, `trial`, `value`, `place`, `score`, `state`, `length`, `winner`: a row per setting
    that applies.

    `place` is where the value stands on its axis: the number itself, or the choice's place in the space; a
    few choices or whole numbers are spread a little, so that marks do not hide each other. `length` is
    `full`, `short` (the score is that of fewer epochs) or `none` (diverged, failed, or no score yet).
    """
    columns = ["space", "parameter", "trial", "value", "place", "score", "state", "length", "winner"]
    won = dict(stats.winners(tables)[["space", "trial"]].itertuples(index=False, name=None))
    parts = [
        _one_effect(tables, name, parameter, won.get(name))
        for name in tables.plan["spaces"]
        for parameter in searched(tables.plan, name)
    ]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _one_effect(tables: StudyTables, space: str, parameter: Mapping[str, Any], winner: str | None) -> pd.DataFrame:
    name = parameter["name"]
    columns = ["space", "trial", "index", "state", "score", "epochs_trained"]  # all would be copied for each of them
    rows = tables.trials.loc[tables.trials["space"] == space, [*columns, name]].dropna(subset=name)
    rows = rows[columns].assign(parameter=name, value=rows[name].astype(object))
    jitter = _jitter_width(parameter) * ((rows["index"] * GOLDEN) % 1 - 0.5)
    choices = {choice: place for place, choice in enumerate(parameter.get("choices", ()))}
    rows["place"] = rows["value"].map(choices) + jitter if choices else rows["value"].astype(float) + jitter
    rows["length"] = _lengths(rows, tables.plan)
    rows["winner"] = rows["trial"] == winner
    return rows


def _lengths(trials: pd.DataFrame, plan: Plan) -> npt.NDArray[np.str_]:
    useless = trials["state"].isin(["diverged", "failed"]) | trials["score"].isna()
    full = (trials["state"] == "finished") & (trials["epochs_trained"] >= plan["max_epochs"])
    return np.select([useless, full], ["none", "full"], "short")


def _jitter_width(parameter: Mapping[str, Any]) -> float:
    """Return the width in which marks of one value are spread: none on an axis where values differ anyway."""
    if parameter["type"] == "categorical":
        return 0.5
    few = parameter["type"] == "int" and not parameter["log"] and parameter["high"] - parameter["low"] <= FEW
    return 0.3 if few else 0.0


def draw_effects(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a panel per hyperparameter in `data`, of one space, in the order of the space."""
    space = data["space"].iloc[0]
    parameters = [parameter for parameter in searched(plan, space) if (data["parameter"] == parameter["name"]).any()]
    data = shown(data)
    lines = -(-len(parameters) // COLUMNS)
    canvas.set_figheight(0.5 + 2.08 * lines)
    grid = canvas.subplots(lines, COLUMNS, sharey=True, squeeze=False)
    for axes, parameter in zip(grid.flat, parameters, strict=False):
        rows = data[data["parameter"] == parameter["name"]]
        _panel(axes, rows, parameter, space, plan)
    for axes in grid.flat[len(parameters) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        style.score_axis(axes.yaxis, plan, "validation")
    if data["score"].isna().all():
        grid[0, 0].set_yticks([])  # no score, so no scale
    style.legend_below(canvas, _legend(data, plan))


def shown(data: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are drawn: of each panel and `length` at most `MOST_SHOWN`, evenly over their ranking by
    score, the best and the worst among them, and the winner.
    """
    ranked = data.sort_values("score", ascending=False, kind="stable")
    groups = ranked.groupby(["parameter", "length"], sort=False)
    size, place = groups["trial"].transform("size"), groups.cumcount()
    nearest = (np.arange(MOST_SHOWN) / (MOST_SHOWN - 1) * (n - 1) for n in size.unique())
    chosen = {n: set(places.round().astype(int)) for n, places in zip(size.unique(), nearest, strict=True)}
    drawn = [n <= MOST_SHOWN or at in chosen[n] for n, at in zip(size, place, strict=True)]
    kept: pd.DataFrame = data.loc[ranked.index[drawn | ranked["winner"].to_numpy(dtype=bool)]].sort_index()
    return kept


def _panel(axes: Axes, rows: pd.DataFrame, parameter: Mapping[str, Any], space: str, plan: Plan) -> None:
    look = style.look(space, plan)
    marks = {
        "marker": look["marker"],
        "linestyle": "",
        "markersize": 4.5,
        "color": look["color"],
    }
    full, short = rows[rows["length"] == "full"], rows[rows["length"] == "short"]
    _mark_reference(axes, parameter, plan["spaces"][space]["reference"])
    axes.plot(short["place"], short["score"], markerfacecolor="white", gid="short", zorder=3, **marks)
    axes.plot(full["place"], full["score"], gid="full", zorder=4, **marks)
    won = rows[rows["winner"]]
    axes.plot(won["place"], won["score"], gid="winner", zorder=5, **marks | _WINNER)
    none = rows[rows["length"] == "none"]
    edge = axes.get_xaxis_transform()  # y from 0 to 1: a trial without a score stands on the lower edge
    axes.plot(none["place"], [0.03] * len(none), "x", color=style.BAD, markersize=5, transform=edge, gid="none")
    axes.grid(axis="y")
    axes.tick_params(axis="x", labelsize=style.at_most(8))
    _parameter_axis(axes, parameter)


def _mark_reference(axes: Axes, parameter: Mapping[str, Any], reference: Mapping[str, Any]) -> None:
    if parameter["name"] not in reference:
        return
    setting = reference[parameter["name"]]
    place = parameter["choices"].index(setting) if parameter["type"] == "categorical" else setting
    axes.axvline(place, color=style.QUIET, linewidth=1, linestyle=(0, (4, 2)), zorder=1, gid="reference")


def _parameter_axis(axes: Axes, parameter: Mapping[str, Any]) -> None:
    """Set name, scale, range and order as the space stores them."""
    only = wording.condition(parameter)
    condition = f"\n{textwrap.fill(f'(only {only})', 30)}" if only else ""  # characters: the width of a panel
    axes.set_xlabel(f"{parameter['name']}{condition}")
    if parameter["type"] == "categorical":
        names = [wording.value(choice) for choice in parameter["choices"]]
        turned = sum(map(len, names)) > 24
        axes.set_xticks(range(len(names)), names, rotation=30 if turned else 0, ha="right" if turned else "center")
        axes.set_xlim(-0.5, len(names) - 0.5)
        return
    low, high = parameter["low"], parameter["high"]
    if parameter["log"]:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: wording.value(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(low * (low / high) ** 0.05, high * (high / low) ** 0.05)
        return
    edge = 0.05 * (high - low) + _jitter_width(parameter) / 2 or 0.5
    axes.set_xlim(low - edge, high + edge)
    axes.locator_params(axis="x", nbins=5, integer=parameter["type"] == "int")


def _legend(data: pd.DataFrame, plan: Plan) -> list[Line2D]:
    look = style.look(data["space"].iloc[0], plan)
    mark = {"linestyle": "", "marker": look["marker"], "color": look["color"], "markersize": 4.5}
    found = set(data["length"])
    handles = [Line2D([], [], label="full length", **mark)] if "full" in found else []
    if "short" in found:
        handles.append(Line2D([], [], markerfacecolor="white", label="fewer epochs", **mark))
    if data["winner"].any():
        handles.insert(0, Line2D([], [], label=f"winner, {_winner(data)}", **mark | _WINNER))
    if "none" in found:
        handles.append(Line2D([], [], linestyle="", marker="x", color=style.BAD, label="no usable score"))
    handles.append(Line2D([], [], color=style.QUIET, linewidth=1, linestyle=(0, (4, 2)), label="reference setting"))
    return handles


def _winner(data: pd.DataFrame) -> str:
    """Return the winner's name; empty where none of its settings is among them."""
    return str(data.loc[data["winner"], "trial"].iloc[0]) if data["winner"].any() else ""


def caption_effects(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say what the marks are and that this is no experiment on one hyperparameter."""
    every = tables.trials[tables.trials["space"] == data["space"].iloc[0]]
    trials = pd.Series(_lengths(every, tables.plan)).value_counts()
    large = f" Large: the winner, {_winner(data)}." if _winner(data) else ""
    left_out = (
        f" Of more than {MOST_SHOWN} trials of one kind in a panel, {MOST_SHOWN} are drawn, evenly over their ranking "
        "by score, the best and the worst among them; the CSV file has all."
        if len(shown(data)) < len(data)
        else ""
    )
    return (
        f"Validation {tables.plan['metric']['name']} at the last epoch trained, against each hyperparameter on the "
        f"scale of its space, over all {wording.count(int(trials.sum()), 'trial')}: {trials.get('full', 0)} at full "
        f"length, {trials.get('short', 0)} with fewer epochs (their scores are not comparable), "
        f"{trials.get('none', 0)} without a usable score (crosses on the lower edge).{large} A hyperparameter that "
        "depends on another is drawn only where it applies. Marks on a few values are spread sideways so that they can "
        f"be told apart.{left_out} All settings vary at once and the search looks where it was good: read as hints, "
        "not as causes."
    )


def alt_effects(data: pd.DataFrame, tables: StudyTables) -> str:
    """State the winner's settings of these hyperparameters."""
    space, rows = data["space"].iloc[0], data[data["winner"]]
    if rows.empty and space in set(stats.winners(tables)["space"]):
        return f"{space}: none of these hyperparameters applies to the winner."
    if rows.empty:
        return f"{space}: no trial at full length, so no setting can be called best."
    settings = wording.listed([f"{row['parameter']} {wording.value(row['value'])}" for row in rows.to_dict("records")])
    found = wording.score(rows["score"].iloc[0], tables.plan)
    whole = "" if rows["length"].iloc[0] == "full" else " with fewer epochs than planned"
    return f"{space}: the winner, {_winner(data)}, {found} in the search{whole}, has {settings}."


EFFECTS = Figure(
    title="Effect of each hyperparameter",
    data=effects_data,
    draw=draw_effects,
    caption=caption_effects,
    alt=alt_effects,
    absent="No trial has been suggested yet.",
    per_space=True,
    pieces=partial(pages, column="parameter", most=COLUMNS * MOST_LINES),
)
