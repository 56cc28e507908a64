"""A study read from Python: run `python docs/library.py runs/resnet-digits`, or its cells one by one in a notebook."""

# %% The tables of a run folder; docs/tables.md explains each column
import sys

from matplotlib.figure import Figure

import analysis
from analysis import style, verdicts, wording
from analysis.figures import FIGURES

tables = analysis.read(sys.argv[1])
print(tables.trials.groupby(["space", "state"]).size().unstack(fill_value=0))

# %% The verdict: every pair of winners, with a margin of half a percentage point
judged = verdicts.judge(tables, margin=0.5)
for pair in judged.pairs.to_dict("records"):
    gap = wording.difference(pair["gap"], tables.plan)
    print(f"{pair['first']} against {pair['second']}: {pair['verdict']}, gap {gap}, n = {pair['n']}")
for space, score in judged.tested.items():
    print(f"{space}: {wording.interval(score, tables.plan)}")

# %% A figure of the report as it is: a function makes a small table, another one draws it
report_figure = FIGURES["test_scores"]
small_table = report_figure.data(tables)
with style.style():
    report_figure.canvas(small_table, tables.plan).savefig("test_scores.pdf", bbox_inches="tight")
print(report_figure.caption(small_table, tables))

# %% The small table of a figure on Axes of your own, in a paper's column
best = FIGURES["best_so_far"].data(tables)
with style.style():
    figure = Figure(figsize=(3.4, 2.2), layout="constrained")
    axes = figure.subplots()
    for space, rows in best.groupby("space", sort=False):
        look = style.look(str(space), tables.plan)
        axes.step(rows["epochs_spent"], rows["best"], where="post", color=look["color"], label=str(space))
    axes.set_xlabel("epochs")
    style.score_axis(axes.yaxis, tables.plan, "validation")
    axes.legend()
    figure.savefig("best_so_far.pdf")
