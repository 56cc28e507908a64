"""What the winners make of the test images where the answers are images: examples, and PSNR before and after."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from analysis import restorations, style, wording
from analysis.figures.figure import Figure, Plan
from analysis.figures.predictions import enlarged
from analysis.tables import StudyTables

ROWS = ("input", "output", "target")
NONE_YET = "No final run has made anything of the test images yet."


def draw_restored(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:  # noqa: ARG001
    """Draw a column per image: as it is, as the network restores it, as it shall be."""
    _, height, breadth, _ = data["image"].iloc[0].shape
    cell = canvas.get_figwidth() / restorations.EXAMPLES
    canvas.set_figheight(0.2 + len(ROWS) * (cell * height / breadth + 0.22))
    grid = canvas.subplots(len(ROWS), restorations.EXAMPLES, squeeze=False)
    for column, example in enumerate(data.to_dict("records")):
        titles = (f"{example['before']:.1f} dB", f"{example['after']:.1f} dB", "")
        for row, (pixels, title) in enumerate(zip(example["image"], titles, strict=True)):
            _show(grid[row][column], pixels, title)
    for name, row in zip(ROWS, grid, strict=True):
        row[0].set_ylabel(name, fontweight="bold")
        for axes in row[len(data) :]:
            axes.set_visible(False)


def _show(axes: Axes, pixels: "np.typing.NDArray[np.uint8]", title: str) -> None:
    axes.imshow(enlarged(pixels), cmap="gray", vmin=0, vmax=255, interpolation="none")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=style.at_most(8), fontweight="normal", loc="center", pad=3)


def caption_restored(data: pd.DataFrame, tables: StudyTables) -> str:  # noqa: ARG001
    """Say how the images were picked."""
    return (
        f"{wording.count(len(data), 'test image')} as they are, as the winner's first final run restores them, and as "
        "they shall be; above them PSNR against the target. Evenly from the worst to the best restored of the pairs "
        "stored with the study, which are a fixed random choice."
    )


def alt_restored(data: pd.DataFrame, tables: StudyTables) -> str:  # noqa: ARG001
    """State PSNR before and after."""
    shown = [f"{row['before']:.1f} dB becomes {row['after']:.1f} dB" for row in data.to_dict("records")]
    return f"{data['space'].iloc[0]}: {wording.listed(shown)}."


def draw_before_and_after(canvas: Canvas, data: pd.DataFrame, plan: Plan) -> None:
    """Draw a mark per image; above the line it has become better."""
    side = min(4.6, canvas.get_figwidth())
    canvas.set_size_inches(canvas.get_figwidth(), side)
    axes = canvas.subplots()
    spaces = list(data["space"].unique())
    every = data[["before", "after"]].to_numpy(dtype=float)
    ends = (float(every.min()) - 1, float(every.max()) + 1)
    axes.plot(ends, ends, color=style.QUIET, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    for space in spaces:
        rows, look = data[data["space"] == space], style.look(space, plan)
        axes.plot(
            *(rows[name] for name in ("before", "after")),
            **{"color": look["color"], "marker": look["marker"], "linestyle": "", "markersize": 3.5, "alpha": 0.7},
            label=space,
            rasterized=len(data) > style.MANY_MARKS,
        )
    axes.set_xlim(ends)
    axes.set_ylim(ends)
    axes.set_aspect("equal")
    axes.grid()
    name, unit = plan["metric"]["name"], plan["metric"]["unit"]
    axes.set_xlabel(f"{name} of a test image as it is ({unit})")
    axes.set_ylabel(f"{name} as restored ({unit})")
    style.legend_below(canvas, axes.get_legend_handles_labels()[0] if len(spaces) > 1 else [])


def caption_before_and_after(data: pd.DataFrame, tables: StudyTables) -> str:
    """Say what a mark is."""
    first = data.drop_duplicates("space")
    runs = wording.listed([f"{row['space']} {wording.count(row['seeds'], 'seed')}" for row in first.to_dict("records")])
    return (
        f"{tables.plan['metric']['name']} of each of the {data['index'].nunique():,} test images, as it is and as the "
        f"winner restores it: mean over its final runs ({runs}). On the dashed line nothing has changed."
    )


def alt_before_and_after(data: pd.DataFrame, tables: StudyTables) -> str:
    """State the means and how many images became better."""
    parts = []
    for space, rows in data.groupby("space", sort=False):
        before, after = (wording.score(rows[name].mean(), tables.plan) for name in ("before", "after"))
        better = int((rows["after"] > rows["before"]).sum())
        parts.append(f"{space}: {before} becomes {after}, better for {better} of {wording.count(len(rows), 'image')}")
    return f"{'; '.join(parts)}."


RESTORED = Figure(
    title="Test images: input, output, target",
    data=restorations.examples,
    draw=draw_restored,
    caption=caption_restored,
    alt=alt_restored,
    absent=NONE_YET,
    per_space=True,
    task="restoration",
)
BEFORE_AND_AFTER = Figure(
    title="Each test image before and after",
    data=restorations.images,
    draw=draw_before_and_after,
    caption=caption_before_and_after,
    alt=alt_before_and_after,
    absent=NONE_YET,
    task="restoration",
)
