"""The verdict's figure: test scores of the winners, every seed shown."""

import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from analysis import stats, style, verdicts, wording
from analysis.figures.figure import Figure, Plan
from analysis.intervals import SMALLEST_SAMPLE
from analysis.tables import StudyTables


def test_scores_data(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `trial`, `kind`, `seed`, `score`, `tie`, `low`, `high`, `n`: a row per seed, then a
    `mean` per space.

    `tie` counts the earlier seeds of the space with the same score, so that they can be drawn beside each
    other.
    """
    tested = stats.winning_finals(tables).dropna(subset="test_score")
    seeds = tested[["space", "trial", "seed"]].assign(kind="seed", score=tested["test_score"])
    trials = tested.drop_duplicates("space").set_index("space")["trial"]
    means = [
        {
            "space": space,
            "trial": trials[space],
            "kind": "mean",
            "score": i.mean,
            "low": i.low,
            "high": i.high,
            "n": i.n,
        }
        for space, i in verdicts.score_intervals(tables).items()
    ]
    columns = ["space", "trial", "kind", "seed", "score", "tie", "low", "high", "n"]
    seeds["tie"] = seeds.groupby(["space", "score"]).cumcount()
    both = [*seeds.to_dict("records"), *means]
    return pd.DataFrame(both, columns=columns)


def draw_test_scores(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a row per space: seeds as hollow marks, the mean with its interval above them."""
    spaces = [space for space in plan["spaces"] if (data["space"] == space).any()]
    canvas.set_size_inches(style.WIDTH, 1.3 + 0.7 * len(spaces))
    axes = canvas.subplots()
    for row, space in enumerate(spaces):
        look, mine = style.look(space, plan), data[data["space"] == space]
        seeds, mean = mine[mine["kind"] == "seed"], mine[mine["kind"] == "mean"].iloc[0]
        mark = {"color": look["color"], "marker": look["marker"], "linestyle": ""}
        axes.plot(seeds["score"], row + 0.12 + 0.13 * seeds["tie"], markerfacecolor="none", markersize=6, **mark)
        axes.plot([mean["low"], mean["high"]], [row - 0.16] * 2, color=look["color"], linewidth=2, marker="|")
        axes.plot(mean["score"], row - 0.16, markersize=7, **mark)
    axes.set_yticks(range(len(spaces)), spaces)
    axes.set_ylim(len(spaces) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.08)
    axes.grid(axis="x")
    style.score_axis(axes.xaxis, plan, "test")
    style.legend_below(canvas, _legend(drawn=bool(data["low"].notna().any())))


def _legend(drawn: bool) -> list[Line2D]:
    """Name the interval only where one is drawn."""
    seed = Line2D([], [], color=style.QUIET, marker="o", linestyle="", markerfacecolor="none", label="one seed")
    width, label = (2, "mean and 95 % interval") if drawn else (0, "mean")
    mean = Line2D([], [], color=style.QUIET, marker="o", linewidth=width, label=label)
    return [mean, seed]


def caption_test_scores(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say over what the interval is taken."""
    means = data[data["kind"] == "mean"]
    sizes = wording.listed([f"{row.space} n = {row.n}" for row in means.astype({"n": int}).itertuples()])
    images = stats.test_images(tables)
    over = f"seeds and the {images:,} test images" if images else "seeds, for this test split"
    return (
        f"Test {tables.plan['metric']['name']} of the winner of each space, retrained with fresh seeds ({sizes}). "
        f"Filled: mean with its 95 % interval over {over}, drawn from {SMALLEST_SAMPLE} seeds on; hollow: one seed. "
        "The interval holds the choice of the winner fixed."
    )


def alt_test_scores(data: pd.DataFrame, tables: StudyTables) -> str:
    """State mean, interval and n of every space."""
    intervals = verdicts.score_intervals(tables)
    known = [space for space in tables.plan["spaces"] if (data["space"] == space).any()]
    stated = [f"{space} {wording.interval(intervals[space], tables.plan)}" for space in known]
    return f"Test {tables.plan['metric']['name']}: " + "; ".join(stated) + "."


TEST_SCORES = Figure(
    title="Test score of the winners",
    data=test_scores_data,
    draw=draw_test_scores,
    caption=caption_test_scores,
    alt=alt_test_scores,
    absent="The test split has not been opened yet: no final run has a test score.",
)
