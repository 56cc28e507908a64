"""The verdict's figure: test scores of the winners, every seed shown."""

import pandas as pd
from matplotlib.figure import Figure as Canvas

from analysis import stats, style, verdicts, wording
from analysis.figures.figure import Figure, Plan
from analysis.figures.seeds import draw_rows, legend, present, sizes
from analysis.intervals import LEVEL, SMALLEST_SAMPLE, Interval, mean_of, share_reach, square_and_add
from analysis.tables import StudyTables

STAGES = (
    "reference setting,\nvalidation",
    "winner's search,\nvalidation",
    "retrained,\nvalidation",
    "retrained,\ntest",
)


def test_scores_data(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `trial`, `kind`, `seed`, `score`, `low`, `high`, `n`: a row per seed, then a `mean` per space."""
    tested = stats.winning_finals(tables).dropna(subset="test_score")
    seeds = tested[["space", "trial", "seed"]].assign(kind="seed", score=tested["test_score"])
    trials = tested.drop_duplicates("space").set_index("space")["trial"]
    means = [
        {"space": space, "trial": trials[space], "kind": "mean", "score": i.mean, **vars(wording.cut(i, tables.plan))}
        for space, i in verdicts.score_intervals(tables).items()
    ]
    columns = ["space", "trial", "kind", "seed", "score", "low", "high", "n"]
    both = [*seeds.to_dict("records"), *means]
    return pd.DataFrame(both, columns=columns)


def draw_test_scores(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a row per space: seeds as hollow marks, the mean with its interval above them."""
    canvas.set_figheight(1.3 + style.height_of_rows(len(present(data, plan)), 0.7))
    axes = canvas.subplots()
    draw_rows(axes, data, plan, "score")
    axes.margins(x=0.08)
    style.score_axis(axes.xaxis, plan, "test")
    style.legend_below(canvas, legend(data))


def caption_test_scores(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say over what the interval is taken."""
    return (
        f"Test {tables.plan['metric']['name']} of the winner of each space, retrained with fresh seeds "
        f"({sizes(data)}). Filled: mean with its 95 % interval over {stats.spread(tables)}, drawn from "
        f"{SMALLEST_SAMPLE} seeds on; hollow: one seed. The interval holds the choice of the winner fixed."
    )


def alt_test_scores(data: pd.DataFrame, tables: StudyTables) -> str:
    """State mean, interval and n of every space."""
    intervals = verdicts.score_intervals(tables)
    known = [space for space in tables.plan["spaces"] if (data["space"] == space).any()]
    stated = [f"{space} {wording.interval(intervals[space], tables.plan)}" for space in known]
    return f"Test {tables.plan['metric']['name']}: " + "; ".join(stated) + "."


TEST_SCORES = Figure(
    title="Test score of the winners",
    narrow=True,
    data=test_scores_data,
    draw=draw_test_scores,
    caption=caption_test_scores,
    alt=alt_test_scores,
    absent="The test split has not been opened yet: no final run has a test score.",
)


def worth_data(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `trial`, `stage`, `score`, `low`, `high`, `n`: a row per winner and stage known, from the
    reference setting over the search to the retrained seeds.

    The interval is over validation images (Wilson) for one run, over seeds and images for retrained ones.
    """
    tested = verdicts.score_intervals(tables)
    worth = verdicts.search_worth(tables, tested)
    rows = []
    for row in worth.to_dict("records"):
        final = stats.winning_finals(tables)
        seeds = final[(final["space"] == row["space"]) & (final["state"] == "finished")]["val_score"].dropna()
        found: list[Interval | None] = [_one_run(row[name], tables) for name in ("reference", "validation")]
        found += [_retrained(seeds, tables), tested.get(str(row["space"]))]
        rows += [
            {"space": row["space"], "trial": row["trial"], "stage": place, **vars(wording.cut(i, tables.plan))}
            for place, i in enumerate(found)
            if i is not None
        ]
    columns = ["space", "trial", "stage", "mean", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns).rename(columns={"mean": "score"}).dropna(subset="score")


def _one_run(score: float, tables: StudyTables) -> Interval:
    images = stats.validation_images(tables)
    parts = [share_reach(score, images)] if images and score == score else []
    return square_and_add(score, 1, *parts) if parts else Interval(score, float("nan"), float("nan"), 1)


def _retrained(scores: "pd.Series[float]", tables: StudyTables) -> Interval | None:
    if scores.empty:
        return None
    mean, images = mean_of(scores, stats.generator()), stats.validation_images(tables)
    parts = [share_reach(mean.value, images)] if images else []
    return square_and_add(mean.value, mean.n, mean.reach(LEVEL), *parts)


def draw_worth(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a line per space from stage to stage."""
    spaces = [space for space in plan["spaces"] if (data["space"] == space).any()]
    canvas.set_figheight(3.5)
    axes = canvas.subplots()
    step = min(0.12, 0.5 / len(spaces))
    for place, space in enumerate(spaces):
        rows, look = data[data["space"] == space].sort_values("stage"), style.look(space, plan)
        x = rows["stage"] + step * (place - (len(spaces) - 1) / 2)
        axes.vlines(x, rows["low"], rows["high"], color=look["color"], linewidth=1.4)
        axes.plot(x, rows["score"], markersize=6, linewidth=1.2, label=space, **look)
    axes.set_xticks(range(len(STAGES)), STAGES)
    axes.set_xlim(-0.5, len(STAGES) - 0.5)
    axes.grid(axis="y")
    style.score_axis(axes.yaxis, plan, "")
    axes.set_ylabel(axes.get_ylabel().strip())
    style.legend_below(canvas, axes.get_legend_handles_labels()[0])


def caption_worth(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say what each stage is and what falls between them."""
    sizes = [
        f"{space} n = {n}" for space, n in data[data["stage"] >= 2].groupby("space", sort=False)["n"].max().items()
    ]
    retrained = f" ({wording.listed(sizes)})" if sizes else ""
    over = "of retrained runs over seeds, for these images"
    if stats.validation_images(tables):
        over = "of one run over images (Wilson), of retrained ones over seeds and images"
    return (
        f"{wording.metric(tables.plan)} from the reference setting over the winner in the search, one run each, to the "
        f"mean of the winner's retrained seeds{retrained}, on the validation and on the test split. Bars: 95 % "
        f"intervals, {over}; none below {SMALLEST_SAMPLE} seeds. First step: what tuning gained, with the luck of "
        "having been chosen; second: that luck; from the second mark to the last: the selection gap. Marks are set "
        "apart sideways."
    )


def alt_worth(data: pd.DataFrame, tables: StudyTables) -> str:
    """State every stage of every space."""
    names = ("reference", "search", "retrained, validation", "retrained, test")
    parts = []
    for space, rows in data.groupby("space", sort=False):
        said = [f"{names[row['stage']]} {wording.score(row['score'], tables.plan)}" for row in rows.to_dict("records")]
        parts.append(f"{space}: {', '.join(said)}")
    return "; ".join(parts) + "."


WORTH = Figure(
    title="Reference, search, retrained: what tuning gained, and how much of it was luck",
    data=worth_data,
    draw=draw_worth,
    caption=caption_worth,
    alt=alt_worth,
    absent="No trial has finished at full length yet, so there is no winner.",
)
