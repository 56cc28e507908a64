"""What a random search alone would have found: the expected best score of k random trials."""

import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Patch

from analysis import budget, style, wording
from analysis.figures.cost import log_axis
from analysis.figures.figure import Figure, Plan
from analysis.tables import StudyTables


def best_of_k_data(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `k`, `epochs`, `low`, `high`, `low_unbiased`, `high_unbiased`, `n`: a row per number of random
    trials, as `budget.best_of_k` has it.

    `epochs` is what k trials of the random arm took on average; the unbiased ends are those of draws without
    replacement. Spaces of which no random trial has a score are left out.
    """
    parts = [
        _of_space(tables, str(space), rows) for space, rows in budget.best_of_k(tables).groupby("space", sort=False)
    ]
    columns = ["space", "k", "epochs", "low", "high", "low_unbiased", "high_unbiased", "n"]
    return pd.DataFrame(pd.concat(parts, ignore_index=True) if parts else [], columns=columns)


def _of_space(tables: StudyTables, space: str, rows: pd.DataFrame) -> pd.DataFrame:
    arm = budget.random_arm(tables, space)
    if arm["best_score"].isna().all():
        return rows.head(0)
    k, ends = rows["k"].to_numpy(), {end: arm[end].to_numpy() for end in ("low", "high")}
    unbiased = {f"{end}_unbiased": budget.unbiased_best(scores, k) for end, scores in ends.items()}
    return rows.assign(epochs=k * arm["epochs_trained"].mean(), **unbiased)


def draw_best_of_k(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw the lower bound of each space as its line, a band up to the upper one; against trials and epochs."""
    canvas.set_figheight(3.3)
    panels = canvas.subplots(1, 2, sharey=True)
    for axes, (column, label) in zip(panels, (("k", "random trials"), ("epochs", "epochs they took")), strict=True):
        for space, rows in data.groupby("space", sort=False):
            look = style.look(str(space), plan)
            mark = {"color": look["color"], "linestyle": look["linestyle"]}
            axes.fill_between(rows[column], rows["low"], rows["high"], color=look["color"], alpha=0.15, linewidth=0)
            axes.plot(rows[column], rows["high"], linewidth=0.9, gid=f"high-{space}", **mark)
            places = {"marker": look["marker"], "markersize": 5, "markevery": [0, len(rows) - 1]}
            axes.plot(rows[column], rows["low"], linewidth=2, label=str(space), gid=f"low-{space}", **mark, **places)
        log_axis(axes, data[column])
        axes.set_xlabel(label)
        axes.grid(axis="y")
    style.score_axis(panels[0].yaxis, plan, "validation")
    lines = [line for line in panels[0].lines if not str(line.get_label()).startswith("_")]
    if (data["high"] > data["low"]).any():
        lines.append(Patch(facecolor=style.QUIET, alpha=0.3, label="what stopping leaves open"))
    style.legend_below(canvas, lines)


def caption_best_of_k(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say from whom it is estimated, how far it holds, and what the band is."""
    sizes = wording.listed([f"{space} n = {n}" for space, n in data.groupby("space", sort=False)["n"].first().items()])
    return (
        f"Expected best validation {tables.plan['metric']['name']} of k trials at full length (Dodge et al. 2019), "
        f"from the random arm alone ({sizes}), whose trials are independent; up to half of them, since beyond that it "
        "mostly repeats the one best. Thick: a stopped trial counts with its best so far; thin: with the most that it "
        "can have where stopping kept the order (the worst random one at full length, or the worst there of those "
        "ahead of it where it stopped; with many trials the truth may be a little above); diverged and failed ones as "
        f"{wording.baseline(tables.plan)}. Right: against the epochs that k such trials took on average, stopping "
        "included. No interval over trials. To hold one of the best share s with 95 % it takes 3 / s random trials: "
        "60 for the best 5 %."
    )


def alt_best_of_k(data: pd.DataFrame, tables: StudyTables) -> str:
    """State the bounds at the largest k."""
    parts = []
    for space, rows in data.groupby("space", sort=False):
        last = rows.iloc[-1]
        low, high = (wording.score(last[end], tables.plan) for end in ("low", "high"))
        upper = f" to {high}" if last["high"] > last["low"] else "" if last["high"] == last["low"] else " or more"
        trials = wording.count(int(last["k"]), "random trial")
        parts.append(f"{space} {low}{upper} with {trials} ({last['epochs']:,.0f} epochs)")
    return f"Expected best: {'; '.join(parts)}."


BEST_OF_K = Figure(
    title="Expected best of k random trials",
    data=best_of_k_data,
    draw=draw_best_of_k,
    caption=caption_best_of_k,
    alt=alt_best_of_k,
    absent="Fewer than two trials of the random arm have ended with a score, so nothing can be expected of others.",
)
