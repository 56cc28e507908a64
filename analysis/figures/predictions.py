"""What the winners say about the test split: accuracy per class, confusion, examples."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from analysis import balance, predictions, style, wording
from analysis.figures.figure import Figure, Plan, pages
from analysis.tables import StudyTables

WRITTEN_CLASSES = 20  # up to here a confusion matrix has room for its numbers and names
EXAMPLE_PIXELS = 128  # small images are enlarged to at least this, without smoothing


def _class_height(spaces: int) -> float:
    return 0.18 + 0.13 * spaces  # inches


def class_pieces(data: pd.DataFrame) -> list[pd.DataFrame]:
    """Return as many classes together as fit a page."""
    return pages(data, "class", max(1, int(style.ROWS / _class_height(data["space"].nunique()))))


def draw_class_accuracy(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a row per class, the spaces beside each other in it."""
    spaces, classes = list(data["space"].unique()), list(data["class"].unique())
    canvas.set_figheight(1.2 + _class_height(len(spaces)) * len(classes))
    axes = canvas.subplots()
    step = min(0.22, 0.8 / len(spaces))  # the marks of a class stay between the lines around it
    for line in range(len(classes) - 1):
        axes.axhline(line + 0.5, color=axes.xaxis.get_gridlines()[0].get_color(), linewidth=0.8, zorder=0)
    for place, space in enumerate(spaces):
        rows, look = data[data["space"] == space], style.look(space, plan)
        y = np.arange(len(rows)) + step * (place - (len(spaces) - 1) / 2)
        axes.hlines(y, rows["low"], rows["high"], color=look["color"], linewidth=1.6)
        axes.plot(rows["accuracy"], y, color=look["color"], marker=look["marker"], linestyle="", markersize=5)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_ylabel("true class")
    style.score_axis(axes.xaxis, plan, "test")
    style.legend_below(canvas, [_space_mark(space, plan) for space in spaces] if len(spaces) > 1 else [])


def _space_mark(space: str, plan: Plan) -> Line2D:
    look = style.look(space, plan)
    return Line2D([], [], color=look["color"], marker=look["marker"], linewidth=1.6, markersize=5, label=space)


def caption_class_accuracy(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say what the interval counts."""
    first = data.drop_duplicates("space")
    runs = wording.listed([f"{row['space']} {wording.count(row['seeds'], 'seed')}" for row in first.to_dict("records")])
    mine = data[data["space"] == data["space"].iloc[0]]
    images = tables.plan["dataset"]["splits"]["test"]["images"]
    sizes = " to ".join(str(size) for size in sorted({mine["images"].min(), mine["images"].max()}))
    return (
        f"Test accuracy per class of each winner, mean over its final runs ({runs}), with the 95 % Wilson interval of "
        f"one test set of {sizes} images per class: the seeds see the same images, so more seeds do not narrow it. All "
        f"{images:,} test images of {tables.plan['dataset']['name']}. {balance.said(tables)}".strip()
    )


def alt_class_accuracy(data: pd.DataFrame, tables: StudyTables) -> str:
    """State the hardest and the easiest class."""
    parts = []
    for space, rows in data.dropna(subset="accuracy").groupby("space", sort=False):
        low, high = (rows.iloc[int(at)] for at in (rows["accuracy"].argmin(), rows["accuracy"].argmax()))
        parts.append(
            f"{space}: lowest for class {low['class']} ({wording.score(low['accuracy'], tables.plan)}), highest for "
            f"class {high['class']} ({wording.score(high['accuracy'], tables.plan)})"
        )
    return "Accuracy per class. " + "; ".join(parts) + "."


def draw_confusion(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:  # noqa: ARG001
    """Draw rows of true classes; the colour is the share of the row, the number the count."""
    from seaborn import heatmap  # here: a second of import that only this figure needs

    classes = list(data["truth"].drop_duplicates())
    shape = (len(classes), len(classes))
    share = data["share"].to_numpy(dtype=float).reshape(shape)
    counts = data["count"].to_numpy().reshape(shape)
    width = canvas.get_figwidth()
    canvas.set_size_inches(0.82 * width, 0.7 * width)
    axes = canvas.subplots()
    room = len(classes) <= WRITTEN_CLASSES
    names = list(short_names(classes).values()) if room else "auto"
    heatmap(
        share,
        annot=np.where(counts > 0, counts.astype(str), "") if room else False,
        fmt="",
        annot_kws={"size": style.at_most(8 if len(classes) <= 10 else 6)},
        vmin=0,
        vmax=1,
        cmap="Blues",
        square=True,
        linewidths=0.5 if room else 0,
        xticklabels=names,
        yticklabels=names,
        cbar_kws={"label": "share of the true class", "shrink": 0.75, "use_gridspec": False},
        ax=axes,
    )
    axes.tick_params(length=0)
    turned = room and max(map(len, classes)) > 3
    axes.tick_params(axis="x", rotation=40 if turned else 0)
    axes.tick_params(axis="y", rotation=0)
    canvas.axes[-1].yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")


def caption_confusion(data: pd.DataFrame, tables: StudyTables) -> str:  # noqa: ARG001
    """Say what is summed."""
    return (
        f"Predictions on the test split, summed over {wording.count(int(data['seeds'].iloc[0]), 'final run')} of the "
        f"winner: {int(data['count'].sum()):,} predictions. Rows are true classes, columns predicted ones; the colour "
        "is the share of the row. A cell without a number is 0."
    )


def alt_confusion(data: pd.DataFrame, tables: StudyTables) -> str:  # noqa: ARG001
    """State how many are right and which mistake is the most frequent."""
    right = data["truth"] == data["prediction"]
    total, correct = int(data["count"].sum()), int(data.loc[right, "count"].sum())
    text = f"{data['space'].iloc[0]}: {correct} of {total} predictions are correct"
    wrong = data[~right]
    if correct == total or wrong.empty:
        return text + "."
    worst = wrong.iloc[int(wrong["count"].argmax())]
    times = f"{wording.count(int(worst['count']), 'time')}"
    return f"{text}; the most frequent mistake is {worst['truth']} taken for {worst['prediction']}, {times}."


def draw_examples(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:  # noqa: ARG001
    """Draw a row of correct images and a row of mistakes, truth and prediction above each."""
    kinds = [kind for kind in ("correct", "mistake") if (data["kind"] == kind).any()]
    canvas.set_figheight(0.1 + 1.35 * len(kinds))
    names = list(pd.unique(data[["truth", "prediction"]].to_numpy().ravel()))
    grid = canvas.subplots(len(kinds), predictions.EXAMPLES, squeeze=False)
    for row, kind in zip(grid, kinds, strict=True):
        shown = data[data["kind"] == kind]
        for axes, example in zip(row, shown.to_dict("records"), strict=False):
            _show(axes, example, names)
        for axes in row[len(shown) :]:
            axes.set_visible(False)
        row[0].set_ylabel("correct" if kind == "correct" else "mistakes", fontweight="bold")


def _show(axes: Axes, example: Mapping[Hashable, Any], names: Sequence[str]) -> None:
    pixels = enlarged(example["image"])
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="none")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    sure = f"{100 * example['confidence']:.0f} %"
    right = example["kind"] == "correct"
    fitting = short_names(names, 12 if right else 8)
    truth, prediction = fitting[example["truth"]], fitting[example["prediction"]]
    said = f"{truth}\n{sure}" if right else f"is {truth}\nsaid {prediction}\n{sure}"
    axes.set_title(
        said, fontsize=style.at_most(7.5), fontweight="normal", loc="center", color=style.INK if right else style.BAD
    )


def short_names(names: Sequence[str], room: int = 12) -> dict[str, str]:
    """Return each class name cut in its middle to at most `room` characters; more where two would look the same."""
    rooms = dict.fromkeys(names, room)
    while True:
        shown = {name: _cut(name, most) for name, most in rooms.items()}
        times = Counter(shown.values())
        alike = [name for name in shown if times[shown[name]] > 1]
        if not alike:
            return shown
        rooms |= {name: rooms[name] + 1 for name in alike}


def _cut(name: str, room: int) -> str:
    if len(name) <= room:
        return name
    tail = (room - 1) // 2
    return f"{name[: room - 1 - tail]}…{name[-tail:]}"


def enlarged(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return (H, W) or (H, W, 3) from (H, W, C): every pixel repeated, so that no viewer can smooth it."""
    factor = -(-EXAMPLE_PIXELS // min(image.shape[:2]))
    large = image.repeat(factor, axis=0).repeat(factor, axis=1)
    return large[..., 0] if large.shape[-1] == 1 else large


def caption_examples(data: pd.DataFrame, tables: StudyTables) -> str:  # noqa: ARG001
    """Say how the images were picked."""
    return (
        "Test images stored with the study, as the winner's first final run sees them: above each its true class, "
        "what was said instead if it is a mistake, and the probability given to the prediction. Correct: the first of "
        "each class in turn; mistakes: the most confident first. Picked to be looked at, not representative."
    )


def alt_examples(data: pd.DataFrame, tables: StudyTables) -> str:  # noqa: ARG001
    """Name the mistakes that are shown."""
    wrong = data[data["kind"] == "mistake"]
    shown = [
        f"{row['truth']} taken for {row['prediction']} at {100 * row['confidence']:.0f} %"
        for row in wrong.to_dict("records")
    ]
    correct = wording.count(int((data["kind"] == "correct").sum()), "image")
    mistakes = f"mistakes: {wording.listed(shown)}" if shown else "no mistake among the stored images"
    return f"{data['space'].iloc[0]}: {correct} classified correctly; {mistakes}."


CLASS_ACCURACY = Figure(
    title="Accuracy per class",
    narrow=True,
    data=predictions.class_accuracy,
    draw=draw_class_accuracy,
    caption=caption_class_accuracy,
    alt=alt_class_accuracy,
    absent="No final run has predictions of the test split yet.",
    pieces=class_pieces,
    task="classification",
)
CONFUSION = Figure(
    title="Confusion matrix of the winner",
    data=predictions.confusion,
    draw=draw_confusion,
    caption=caption_confusion,
    alt=alt_confusion,
    absent="No final run has predictions of the test split yet.",
    task="classification",
    per_space=True,
)
EXAMPLES = Figure(
    title="Test images and what the winner says",
    data=predictions.examples,
    draw=draw_examples,
    caption=caption_examples,
    alt=alt_examples,
    absent="No final run has predictions of stored test images yet.",
    task="classification",
    per_space=True,
)
