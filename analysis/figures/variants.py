"""An ablation: each variant against the baseline, and the gain of each step over the one before."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Canvas

from analysis import stats, style, verdicts, wording
from analysis.figures.figure import Figure, Plan
from analysis.figures.seeds import draw_rows, legend, present, sizes
from analysis.intervals import SMALLEST_SAMPLE
from analysis.tables import StudyTables, asked

ISOLATION_COLUMNS = ["space", "baseline", "kind", "seed", "value", "low", "high", "level", "n", "verdict"]
STEP_COLUMNS = ["space", "step", "against", "kind", "value", "low", "high", "level", "n", "verdict"]


def isolation_data(tables: StudyTables) -> pd.DataFrame:
    """Return `ISOLATION_COLUMNS`: a row per seed and a `mean` per tested variant, and its `gap` to the baseline."""
    baseline, judged = asked(tables.plan, "baseline"), verdicts.judge(tables, tables.margin)
    others = [space for space in judged.tested if space != baseline]
    if baseline not in judged.tested or not others:
        return pd.DataFrame(columns=ISOLATION_COLUMNS)
    tested = stats.winning_finals(tables).dropna(subset="test_score")
    seeds = tested[["space", "seed"]].assign(kind="seed", value=tested["test_score"]).to_dict("records")
    means = [
        {"space": space, "kind": "mean", "value": i.mean, **vars(wording.cut(i, tables.plan))}
        for space, i in judged.tested.items()
    ]
    gaps = [_gap(judged.pairs, space, baseline) | {"space": space, "kind": "gap"} for space in others]
    return pd.DataFrame([*seeds, *means, *gaps], columns=ISOLATION_COLUMNS).assign(baseline=baseline)


def _gap(decided: pd.DataFrame, space: str, other: str) -> dict[str, Any]:
    found = verdicts.gap_to(decided, space, other)
    return {**found, "value": found["gap"]}


def draw_isolation(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a row per variant: left its scores, right its gap to the baseline with the verdict."""
    spaces = present(data, plan)
    canvas.set_figheight(1.4 + style.height_of_rows(len(spaces), 0.6))
    left, right = canvas.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    draw_rows(left, data, plan)
    for row, space in enumerate(spaces):
        look = style.look(space, plan)
        mark = {"color": look["color"], "marker": look["marker"], "linestyle": ""}
        for gap in data[(data["space"] == space) & (data["kind"] == "gap")].to_dict("records"):
            right.hlines(row, gap["low"], gap["high"], color=look["color"], linewidth=2)
            right.plot(gap["value"], row, markersize=7, gid=f"gap-{space}", **mark)
            right.annotate(gap["verdict"], (gap["value"], row), (0, 7), textcoords="offset points", ha="center")
    baseline = data[(data["space"] == data["baseline"]) & (data["kind"] == "mean")]["value"].iloc[0]
    left.axvline(baseline, color=style.QUIET, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
    right.axvline(0, color=style.QUIET, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
    left.set_ylim(len(spaces) - 0.4, -0.6)
    left.margins(x=0.1)
    right.margins(x=0.3)  # room for a verdict over the outermost gap
    style.score_axis(left.xaxis, plan, "test")
    style.difference_axis(right.xaxis, f"gap to {data['baseline'].iloc[0]}", plan)
    right.tick_params(axis="y", length=0)
    right.grid(axis="x")
    style.legend_below(canvas, legend(data, "mean, gap", "mean, gap: with interval"))


def caption_isolation(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say what is compared with what, and how the intervals of both sides differ."""
    return (
        f"Left: test {tables.plan['metric']['name']} of each variant's winner, retrained with fresh seeds "
        f"({sizes(data)}); hollow: one seed, filled: mean with its 95 % interval over {stats.spread(tables)}, from "
        f"{SMALLEST_SAMPLE} seeds on. Right: its gap to {data['baseline'].iloc[0]}, over shared "
        f"{stats.spread(tables)}, with the interval at the level at which the pair was judged: the verdicts of all "
        f"pairs hold together with 95 %. Dashed: the baseline. Equivalent: within {tables.margin:g} "
        f"{wording.difference_unit(tables.plan)}. Every variant had the same number of trials."
    )


def alt_isolation(data: pd.DataFrame, tables: StudyTables) -> str:
    """State gap, interval and verdict of every variant."""
    gaps = data[data["kind"] == "gap"].to_dict("records")
    stated = [f"{gap['space']} {difference(gap, tables.plan)}: {gap['verdict']}" for gap in gaps]
    unit = wording.difference_unit(tables.plan)
    return f"Gap to {data['baseline'].iloc[0]} in {unit}: " + "; ".join(stated) + "."


def difference(gap: dict[Any, Any], plan: Plan) -> str:
    """Return a gap with its interval, where there is one: `+1.2 (0.4 to 2.0)`."""
    value, low, high = (wording.difference(gap[end], plan) for end in ("value", "low", "high"))
    signed = value if value.startswith("-") else f"+{value}"
    return f"{signed} ({low} to {high})" if pd.notna(gap["low"]) else signed


def steps_data(tables: StudyTables) -> pd.DataFrame:
    """Return `STEP_COLUMNS`: for each tested step its `score`, its gain `over the first` and `over the one before`."""
    judged = verdicts.judge(tables, tables.margin)
    steps = [step for step in asked(tables.plan, "steps") or [] if step in judged.tested]
    rows: list[dict[str, Any]] = []
    for place, space in enumerate(steps if len(steps) > 1 else []):
        mean = wording.cut(judged.tested[space], tables.plan)
        known = {"space": space, "step": place}
        rows.append({**known, "kind": "score", "value": mean.mean, "low": mean.low, "high": mean.high, "n": mean.n})
        if place:
            against = {"over the first": steps[0], "over the one before": steps[place - 1]}
            rows += [
                {**_gap(judged.pairs, space, other), **known, "kind": kind, "against": other}
                for kind, other in against.items()
            ]
    return pd.DataFrame(rows, columns=STEP_COLUMNS)


def draw_steps(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw the score of each step above, below what it gained."""
    canvas.set_figheight(4.6)
    above, below = canvas.subplots(2, 1, sharex=True)
    scores = data[data["kind"] == "score"]
    above.vlines(scores["step"], scores["low"], scores["high"], color=style.INK, linewidth=2)
    above.plot(scores["step"], scores["value"], color=style.INK, marker="o", linewidth=1)
    style.score_axis(above.yaxis, plan, "test")
    for shift, (kind, look) in zip((-0.08, 0.08), _STEP_LOOKS.items(), strict=True):
        rows = data[data["kind"] == kind]
        below.vlines(rows["step"] + shift, rows["low"], rows["high"], color=look["color"], linewidth=2)
        below.plot(rows["step"] + shift, rows["value"], linestyle="", markersize=7, label=f"gain {kind}", **look)
    below.axhline(0, color=style.QUIET, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
    style.difference_axis(below.yaxis, "gain", plan)
    names = [str(name).replace("_", "\n") for name in scores["space"]]
    below.set_xticks(scores["step"], names)
    below.set_xlim(-0.5, len(names) - 0.5)
    for axes in (above, below):
        axes.grid(axis="y")
    canvas.align_ylabels()
    style.legend_below(canvas, below.get_legend_handles_labels()[0])


_STEP_LOOKS: dict[str, dict[str, Any]] = {
    "over the first": {"color": "#0072B2", "marker": "o"},
    "over the one before": {"color": "#D55E00", "marker": "s"},
}


def caption_steps(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say what a step is and at which level its gain was judged."""
    return (
        f"Above: test {tables.plan['metric']['name']} of each step's winner, mean of its retrained seeds "
        f"({sizes(data, 'score')}) with the 95 % interval over {stats.spread(tables)}. Below: its gain over the first "
        f"step and over the one before it, over shared {stats.spread(tables)}, with the interval at the level at "
        f"which the pair was judged; none below {SMALLEST_SAMPLE} seeds. Every step was tuned with the same number of "
        "trials. Marks are set apart sideways."
    )


def alt_steps(data: pd.DataFrame, tables: StudyTables) -> str:
    """State score and gains of every step."""
    parts = []
    for space, rows in data.groupby("space", sort=False):
        score = rows[rows["kind"] == "score"].iloc[0]
        gains = [
            f"{difference(gap, tables.plan)} {gap['kind']}, {gap['verdict']}"
            for gap in rows[rows["kind"] != "score"].to_dict("records")
        ]
        parts.append(", ".join([f"{space} {wording.score(score['value'], tables.plan)}", *gains]))
    return f"Step by step, gains in {wording.difference_unit(tables.plan)}: " + "; ".join(parts) + "."


ISOLATION = Figure(
    title="Each variant against the baseline",
    data=isolation_data,
    draw=draw_isolation,
    caption=caption_isolation,
    alt=alt_isolation,
    absent="No variant has been tested beside its baseline yet.",
)
STEPS = Figure(
    title="What each step gained",
    data=steps_data,
    draw=draw_steps,
    caption=caption_steps,
    alt=alt_steps,
    absent="Fewer than two of the experiment's steps have been tested yet.",
)
