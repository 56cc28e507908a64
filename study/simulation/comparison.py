"""What came out of simulated searches: regret over epochs, ranks, epochs to a target, with bootstrap intervals.

A trace is a table with the columns of `clock.Moment` and `problem`, `policy`, `seed`, and `spent`, the epochs in units
of the full length. The same seed is the same drawn problem for every policy, so seeds are resampled together.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure as Canvas
from scipy.stats import rankdata

from analysis import style
from study.simulation.policies import BASE

Floats = npt.NDArray[np.float64]

RESAMPLES: Final = 2_000


def regrets(traces: pd.DataFrame, grid: Floats) -> pd.DataFrame:
    """Return the regret after each budget of `grid`: a row per problem, policy and seed, a column per budget.

    Before a search has chosen any trial its regret is 1, that of a random configuration.
    """
    rows = {}
    for name, trace in traces.groupby(["problem", "policy", "seed"], sort=False):
        place = np.searchsorted(trace["spent"], grid, side="right") - 1
        rows[name] = np.where(place >= 0, trace["regret"].to_numpy()[place], 1.0)
    index = pd.MultiIndex.from_tuples(rows, names=["problem", "policy", "seed"])
    return pd.DataFrame(list(rows.values()), index=index, columns=pd.Index(grid, name="spent"))


def resamples(seeds: int) -> npt.NDArray[np.int64]:
    """Return bootstrap samples of `seeds` seeds, the first of which is the seeds themselves, (RESAMPLES + 1, seeds)."""
    drawn = np.random.default_rng(0).integers(seeds, size=(RESAMPLES, seeds))
    return np.vstack([np.arange(seeds), drawn])


def interval(values: Floats) -> tuple[float, float, float]:
    """Return the estimate, which is the first of `values` (RESAMPLES + 1,), and its 95 % percentile interval."""
    low, high = np.quantile(values[1:], [0.025, 0.975], method="inverted_cdf")
    return float(values[0]), float(low), float(high)


def mean_regrets(table: pd.DataFrame) -> dict[tuple[str, str], Floats]:
    """Return mean regret over seeds for each resample, (RESAMPLES + 1, budgets), by problem and policy."""
    seeds = table.index.get_level_values("seed").nunique()
    weights = np.stack([np.bincount(sample, minlength=seeds) for sample in resamples(seeds)]) / seeds
    found = {}
    for (problem, policy), rows in table.groupby(["problem", "policy"], sort=False):
        found[str(problem), str(policy)] = weights @ rows.sort_index(level="seed").to_numpy()
    return found


def speed(means: dict[tuple[str, str], Floats], grid: Floats, problem: str, policy: str) -> Floats:
    """Return by how many times fewer epochs `policy` comes to the mean regret at which random search at full length
    ends, (RESAMPLES + 1,).

    Where it does not get there within the budget the value is 0.
    """
    target = means[problem, BASE][:, -1:]
    there = means[problem, policy] <= target + 1e-12
    return np.where(there.any(axis=1), grid[-1] / grid[there.argmax(axis=1)], 0.0)


def ranks(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean rank of each policy over problems and seeds: a row per policy, a column per budget."""
    policies = list(dict.fromkeys(table.index.get_level_values("policy")))
    cube = np.stack([table.xs(policy, level="policy").sort_index().to_numpy() for policy in policies])
    return pd.DataFrame(rankdata(cube, axis=0).mean(axis=1), index=policies, columns=table.columns)


def by_problem(table: pd.DataFrame, grid: Floats) -> pd.DataFrame:
    """Return a row per problem and policy: mean regret at a quarter and at all of the budget, the latter and the speed
    with their intervals.
    """
    means = mean_regrets(table)
    rows = []
    for (problem, policy), values in means.items():
        row = {"problem": problem, "policy": policy, "at a quarter": values[0, len(grid) // 4 - 1]}
        low, high = interval(values[:, -1])[1:]
        fast = interval(speed(means, grid, problem, policy))
        rows.append(
            {
                **row,
                "at the end": values[0, -1],
                "low": low,
                "high": high,
                "speed": fast[0],
                "slow": fast[1],
                "fast": fast[2],
            }
        )
    return pd.DataFrame(rows)


def overall(table: pd.DataFrame, grid: Floats) -> pd.DataFrame:
    """Return a row per policy: the median over problems of final regret and of speed, with intervals over seeds, and
    mean ranks at a quarter and at all of the budget.
    """
    means, rank = mean_regrets(table), ranks(table)
    problems = list(dict.fromkeys(table.index.get_level_values("problem")))
    rows = []
    for policy in rank.index:
        regret = interval(np.median([means[problem, policy][:, -1] for problem in problems], axis=0))
        fast = interval(np.median([speed(means, grid, problem, policy) for problem in problems], axis=0))
        row = dict(zip(("speed", "slow", "fast", "regret", "low", "high"), (*fast, *regret), strict=True))
        places = {"rank at a quarter": rank.loc[policy].iloc[len(grid) // 4 - 1], "rank": rank.loc[policy].iloc[-1]}
        rows.append({"policy": policy, **row, **places})
    return pd.DataFrame(rows)


def gaps(table: pd.DataFrame, policy: str, other: str) -> pd.DataFrame:
    """Return a row per problem: the mean regret of `policy` less that of `other` at a quarter and at all of the budget,
    with 95 % intervals over seeds. Below 0 `policy` is better.
    """
    means = mean_regrets(table)
    rows = []
    for problem in dict.fromkeys(table.index.get_level_values("problem")):
        apart = means[problem, policy] - means[problem, other]
        for when, column in (("a quarter", apart.shape[1] // 4 - 1), ("the end", -1)):
            gap, low, high = interval(apart[:, column])
            rows.append({"problem": problem, "at": when, "gap": gap, "low": low, "high": high})
    return pd.DataFrame(rows)


def draw_regrets(canvas: Canvas, table: pd.DataFrame, shown: Sequence[str]) -> None:
    """Draw mean regret over epochs with 95 % bootstrap intervals, a panel per problem, of the policies `shown`."""
    problems = list(dict.fromkeys(table.index.get_level_values("problem")))
    columns = min(3, len(problems))
    grid = canvas.subplots(-(-len(problems) // columns), columns, squeeze=False, sharex=True)
    long = table.reset_index().melt(["problem", "policy", "seed"], var_name="spent", value_name="regret")
    for place, (axes, problem) in enumerate(zip(grid.flat, problems, strict=False)):
        rows = long[(long["problem"] == problem) & long["policy"].isin(shown)]
        sns.lineplot(
            rows, x="spent", y="regret", hue="policy", style="policy", hue_order=shown, style_order=shown,
            palette="colorblind", errorbar=("ci", 95), n_boot=200, seed=0, err_kws={"alpha": 0.15, "linewidth": 0},
            ax=axes, legend=problem == problems[0],
        )  # fmt: skip
        axes.set_title(problem)
        axes.set_yscale("log")
        axes.set_ylabel("normalised regret" if axes in grid[:, 0] else "")
        lowest = place + columns >= len(problems)
        axes.set_xlabel("full lengths spent" if lowest else "")
        axes.tick_params(labelbottom=lowest)
        axes.xaxis.label.set_visible(lowest)  # of shared axes, matplotlib shows those of the last row alone
    for axes in grid.flat[len(problems) :]:
        axes.set_axis_off()
    handles = grid.flat[0].get_legend_handles_labels()[0]
    grid.flat[0].get_legend().remove()
    style.legend_below(canvas, handles, columns=3)


def describe(table: pd.DataFrame, grid: Floats, policy: str, other: str) -> str:
    """Return the tables of `overall`, `by_problem` and, where both took part, `gaps` in Markdown."""
    everywhere, each = [], []
    for r in overall(table, grid).to_dict("records"):
        numbers = [_span(r, "speed", "slow", "fast", 1), _span(r, "regret", "low", "high", 3)]
        everywhere.append([r["policy"], *numbers, f"{r['rank at a quarter']:.1f}", f"{r['rank']:.1f}"])
    for r in by_problem(table, grid).to_dict("records"):
        numbers = [_span(r, "at the end", "low", "high", 3), _span(r, "speed", "slow", "fast", 1)]
        each.append([r["problem"], r["policy"], f"{r['at a quarter']:.3f}", *numbers])
    head = ["policy", "times fewer epochs", "final regret", "rank at a quarter", "rank at the end"]
    parts = [_markdown(head, everywhere)]
    parts.append(_markdown(["problem", "policy", "regret at a quarter", "at the end", "times fewer epochs"], each))
    if {policy, other} <= set(table.index.get_level_values("policy")):
        rows = gaps(table, policy, other).to_dict("records")
        cells = [[r["problem"], r["at"], _span(r, "gap", "low", "high", 3)] for r in rows]
        parts.append(_markdown(["problem", "at", f"regret of {policy} less that of {other}"], cells))
    return "\n\n".join(parts)


def _span(row: Mapping[Hashable, Any], middle: str, low: str, high: str, digits: int) -> str:
    return f"{row[middle]:.{digits}f} ({row[low]:.{digits}f} to {row[high]:.{digits}f})"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
