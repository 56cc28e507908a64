"""Several hyperparameters at once: the pairs that decide most, and the settings of the best trials."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from analysis import importance, stats, style, wording
from analysis.figures.figure import Figure, Plan
from analysis.figures.heights import heights, ticks
from analysis.tables import StudyTables, searched

PAIRED = 3  # pairs shown
CANDIDATES = 5  # hyperparameters of which they are made
MOST_SHOWN = 150  # marks of a kind in a panel; more would hide one another
FEW = 12  # whole numbers in a range up to here are spread like choices
FEWEST = 5  # trials to which both apply
BEST = 10  # trials drawn as the best
OTHERS = 100  # trials drawn behind them, evenly over the ranking
AXES = 12  # hyperparameters that fit side by side
NOWHERE = -0.12  # height of a hyperparameter that does not apply
# Multiples of these two, modulo 1, fill a square evenly (Roberts 2018, the R2 sequence): a jitter that is the same
# every time, and in which what it adds to x says nothing of what it adds to y.
TURNS = {"x": 0.7548776662, "y": 0.5698402910}


def pairs_data(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `x_parameter`, `y_parameter`, `trial`, `x`, `y`, `x_height`, `y_height`, `best`, `epoch`.

    A row per trial to which both apply, the best first, for each of the `PAIRED` pairs of the most important
    hyperparameters of each space, of those that stand above chance; pairs of which hardly a trial has both are passed
    over. `best` as in the figure of importance, at `epoch`.
    """
    columns = ["space", "x_parameter", "y_parameter", "trial", "x", "y", "x_height", "y_height", "best", "epoch"]
    parts = [part for space in tables.plan["spaces"] for part in _pairs(tables, space)]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _pairs(tables: StudyTables, space: str) -> list[pd.DataFrame]:
    epoch, names = importance.above_chance(tables, space)
    if len(names) < 2:
        return []
    ranking = importance.standing(tables, space, epoch)
    best = importance.among_best(ranking.key, np.ones((1, len(ranking.key)), np.float32), ranking.best("best"))[0] > 0
    kinds = {parameter["name"]: parameter for parameter in tables.plan["spaces"][space]["parameters"]}
    parts = []
    for first, second in sorted(combinations(range(min(CANDIDATES, len(names))), 2), key=sum):
        x, y = names[first], names[second]
        rows = ranking.trials[["trial", "index", x, y]].assign(best=best).dropna(subset=[x, y])
        where = {f"{axis}_height": _spread(kinds[of], rows, axis) for axis, of in (("x", x), ("y", y))}
        values = {"x": rows[x].astype(object), "y": rows[y].astype(object)}
        parts.append(rows[["trial", "best"]].assign(space=space, x_parameter=x, y_parameter=y, **values, **where))
        parts[-1]["epoch"] = epoch
    return [part for part in parts if len(part) >= FEWEST and part["best"].any()][:PAIRED]


def _spread(parameter: Mapping[str, Any], rows: pd.DataFrame, axis: str) -> Any:
    """Return heights, those of choices and of few whole numbers spread a little: marks do not hide each other."""
    turn = rows["index"] * TURNS[axis] % 1 - 0.5
    return heights(parameter, rows[parameter["name"]]) + _room(parameter) * turn


def _room(parameter: Mapping[str, Any]) -> float:
    """Return how far marks of one value are spread, in heights."""
    if parameter["type"] == "categorical":
        return 0.5 / len(parameter["choices"])
    values = parameter["high"] - parameter["low"]
    few = parameter["type"] == "int" and not parameter["log"] and 0 < values <= FEW
    return min(0.2, 0.4 / values) if few else 0.0


def draw_pairs(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a panel per pair, the best trials filled."""
    space = data["space"].iloc[0]
    kinds = {parameter["name"]: parameter for parameter in plan["spaces"][space]["parameters"]}
    pairs = list(data[["x_parameter", "y_parameter"]].drop_duplicates().itertuples(index=False, name=None))
    canvas.set_figheight(3.1)
    grid = canvas.subplots(1, PAIRED, squeeze=False)[0]
    look = style.look(space, plan)
    for axes, (x, y) in zip(grid, pairs, strict=False):
        rows = data[(data["x_parameter"] == x) & (data["y_parameter"] == y)]
        for best, mark in ((False, _behind()), (True, _among_best(look))):
            part = _thinned(rows[rows["best"] == best])
            axes.plot(part["x_height"], part["y_height"], linestyle="", markersize=5, **mark)
        _axis(axes, "x", kinds[x])
        _axis(axes, "y", kinds[y])
    for axes in grid[len(pairs) :]:
        axes.set_visible(False)
    mark = {"linestyle": "", "markersize": 5}
    best_line = Line2D([], [], label="among the best", **_among_best(look), **mark)
    style.legend_below(canvas, [best_line, Line2D([], [], label="not", **_behind(), **mark)])


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """Return at most `MOST_SHOWN` of the rows, evenly over their ranking."""
    if len(rows) <= MOST_SHOWN:
        return rows
    return rows.iloc[np.linspace(0, len(rows) - 1, MOST_SHOWN).round().astype(int)]


def _among_best(look: Mapping[str, Any]) -> dict[str, Any]:
    return {"color": look["color"], "marker": look["marker"], "alpha": 0.8, "markeredgewidth": 0}


def _behind() -> dict[str, Any]:
    return {"color": style.QUIET, "marker": "o", "markerfacecolor": "none", "alpha": 0.6, "markeredgewidth": 0.8}


def _axis(axes: Axes, of: str, parameter: Mapping[str, Any]) -> None:
    places, names = ticks(parameter)
    long = sum(map(len, names)) > 16
    edge = 0.06 + (_room(parameter) / 2 if parameter["type"] != "categorical" else 0)
    if of == "x":
        axes.set_xticks(
            places, names, rotation=35 if long else 0, ha="right" if long else "center", fontsize=style.at_most(7.5)
        )
        axes.set_xlabel(parameter["name"])
        axes.set_xlim(-edge, 1 + edge)
    else:
        axes.set_yticks(places, names, fontsize=style.at_most(7.5))
        axes.set_ylabel(parameter["name"])
        axes.set_ylim(-edge, 1 + edge)


def caption_pairs(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say which pairs, who is filled, and which spaces have none."""
    kinds = data.groupby(["x_parameter", "y_parameter", "best"]).size()
    thinned = (
        f" Of more than {MOST_SHOWN} of a kind in a panel, {MOST_SHOWN} are drawn, evenly over their ranking; the CSV "
        "file has all."
        if kinds.max() > MOST_SHOWN
        else ""
    )
    without = [space for space in tables.plan["spaces"] if len(importance.above_chance(tables, space)[1]) < 2]
    others = f" In {wording.listed(without)} fewer than two stand above chance, so no pair is drawn." if without else ""
    return (
        "Pairs of the hyperparameters that decide most, of those that stand above chance (the figure of "
        f"importance), each on its search scale: all ended trials to which both apply, filled where among the best at "
        f"epoch {data['epoch'].iloc[0]}, stopped trials counted as not. Choices and few whole numbers are spread a "
        f"little.{thinned} Nothing is fitted: a filled corner may be where the search looked most.{others}"
    )


def alt_pairs(data: pd.DataFrame, tables: StudyTables) -> str:  # noqa: ARG001
    """Say which pairs are shown and how many of the best."""
    parts = [
        f"{x} against {y}: {int(rows['best'].sum())} of {wording.count(len(rows), 'trial')} among the best"
        for (x, y), rows in data.groupby(["x_parameter", "y_parameter"], sort=False)
    ]
    return f"{data['space'].iloc[0]}: {'; '.join(parts)}."


def best_settings_data(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `trial`, `rank`, `winner`, `best`, `parameter`, `value`, `height`: a row per trial and axis.

    The winner, the `BEST` trials by their standing at full length, and at most `OTHERS` of the rest, evenly over the
    ranking. `AXES` hyperparameters, those that apply to the winner before others, the most important of them, or the
    first ones of the space; in its order.
    """
    columns = ["space", "trial", "rank", "winner", "best", "parameter", "value", "height"]
    parts = [part for space in tables.plan["spaces"] for part in _settings(tables, space)]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _settings(tables: StudyTables, space: str) -> list[pd.DataFrame]:
    ranking = importance.standing(tables, space, tables.plan["max_epochs"])
    known = ranking.trials.reset_index(drop=True)
    place = np.flatnonzero(known["trial"].isin(stats.winners(tables)["trial"]))
    if not (ranking.reached and len(place)):
        return []
    best = min(BEST, ranking.reached)
    others = np.unique(np.linspace(best, len(known) - 1, OTHERS).astype(int)) if len(known) > best else np.arange(0)
    winner = int(place[0])
    rows = known.iloc[np.unique([*range(best), winner, *others])]
    rows = rows.assign(rank=rows.index + 1, winner=rows.index == winner, best=rows.index < best, space=space)
    parameters = searched(tables.plan, space)
    names = importance.deciding(tables, space)[1] or [parameter["name"] for parameter in parameters]
    wanted = sorted(names, key=lambda name: pd.isna(known[name].iloc[winner]))[:AXES]
    return [
        rows[["space", "trial", "rank", "winner", "best"]].assign(
            parameter=parameter["name"],
            value=rows[parameter["name"]].astype(object),
            height=heights(parameter, rows[parameter["name"]]),
        )
        for parameter in parameters
        if parameter["name"] in wanted
    ]


def draw_best_settings(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw an axis per hyperparameter and a line per trial, the best ones in front, before them the winner."""
    space = data["space"].iloc[0]
    names = list(data["parameter"].unique())
    kinds = {parameter["name"]: parameter for parameter in plan["spaces"][space]["parameters"]}
    canvas.set_figheight(4.4)
    axes = canvas.subplots()
    wide = data.pivot(index=["winner", "best", "rank"], columns="parameter", values="height")[names]
    y = wide.fillna(NOWHERE).to_numpy()
    lines = np.stack([np.broadcast_to(np.arange(len(names)), y.shape), y], axis=2)  # (trials, axes, 2)
    best = wide.index.get_level_values("best").to_numpy(dtype=bool)
    won = wide.index.get_level_values("winner").to_numpy(dtype=bool)
    colour = style.look(space, plan)["color"]
    axes.add_collection(
        LineCollection(list(lines[~best & ~won]), colors="#c8c8c8", linewidths=0.6, alpha=0.6, zorder=1)
    )
    axes.add_collection(LineCollection(list(lines[best & ~won]), colors=colour, linewidths=1.2, alpha=0.8, zorder=3))
    axes.add_collection(LineCollection(list(lines[won]), colors=style.INK, linewidths=2.4, zorder=4, gid="winner"))
    for place, name in enumerate(names):
        axes.axvline(place, color=style.QUIET, linewidth=0.8, zorder=2)
        for height, label in zip(*ticks(kinds[name]), strict=True):
            axes.text(place + 0.05, height, label, fontsize=6.5, va="center", zorder=5, bbox=_plate())
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    axes.set_yticks([NOWHERE], ["does not\napply"])
    axes.tick_params(axis="y", length=0, labelsize=style.at_most(7.5))
    axes.set_ylim(-0.18, 1.05)
    axes.set_xlim(-0.3, len(names) - 0.3)
    axes.spines[:].set_visible(False)
    style.legend_below(canvas, _legend(_winner(data), int((best & ~won).sum()), int((~best & ~won).sum()), colour))


def _plate() -> dict[str, Any]:
    return {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}


def _winner(data: pd.DataFrame) -> str:
    return str(data.loc[data["winner"], "trial"].iloc[0])


def _legend(winner: str, best: int, others: int, colour: str) -> list[Line2D]:
    lines = [Line2D([], [], color=style.INK, linewidth=2.4, label=f"winner, {winner}")]
    if best:
        lines.append(Line2D([], [], color=colour, linewidth=1.2, label=f"{best} more of the best"))
    return lines + ([Line2D([], [], color="#c8c8c8", linewidth=1, label=f"{others} others")] if others else [])


def caption_best_settings(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say who is drawn, and on which scale."""
    best, drawn = int(data.loc[data["best"], "rank"].max()), data["trial"].nunique()
    every = tables.trials[tables.trials["space"] == data["space"].iloc[0]]
    front = data.loc[data["best"] | data["winner"], "trial"].nunique()
    return (
        f"Settings of the winner, {_winner(data)}, and of the best {wording.count(best, 'trial')} at full length (by "
        f"validation {tables.plan['metric']['name']}; one line each) before {drawn - front} others, spread evenly over "
        f"the ranking of all {len(every)}. Each axis runs over the hyperparameter's range on its search scale; shown "
        f"are at most {AXES}, those that apply to the winner before others, the most important of them, in the order "
        "of the space."
    )


def alt_best_settings(data: pd.DataFrame, tables: StudyTables) -> str:
    """State all settings of the winner, those without an axis too."""
    space, won = data["space"].iloc[0], _winner(data)
    trial: dict[Any, Any] = tables.trials.set_index("trial").loc[won].to_dict()
    mine = tables.trials[tables.trials["space"] == space]
    as_far = mine[mine["epochs_trained"] >= trial["epochs_trained"]]
    better, equal = int((as_far["score"] > trial["score"]).sum()), int((as_far["score"] == trial["score"]).sum()) - 1
    tie = f", with {wording.count(equal, 'other')} of that score" if equal else ""
    settings = wording.configuration(trial, tables.plan["spaces"][space])
    return f"{space}: the winner, {won}, number {better + 1:,} of the ranking{tie}, has {settings}."


PAIRS = Figure(
    title="Pairs of the hyperparameters that decide most",
    data=pairs_data,
    draw=draw_pairs,
    caption=caption_pairs,
    alt=alt_pairs,
    absent="Fewer than two hyperparameters stand above chance (the figure of importance), so no pair can be said to "
    "decide.",
    per_space=True,
)
BEST_SETTINGS = Figure(
    title="Settings of the best trials",
    data=best_settings_data,
    draw=draw_best_settings,
    caption=caption_best_settings,
    alt=alt_best_settings,
    absent="No trial has finished at full length yet, so none can be called best.",
    per_space=True,
)
