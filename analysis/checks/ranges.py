"""Was the search space large enough, feasible, and sampled densely enough? Checks 1 to 3."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pandas as pd
from scipy.special import bdtrc

from analysis import wording
from analysis.budget import expected_best, random_arm
from analysis.checks.axes import Axis, End, parts
from analysis.checks.check import Answer, Check, each_space
from analysis.checks.record import TOP, Parameter, Record
from analysis.checks.remedies import EDIT, file_of

EDGE: Final = 0.05  # the best trial lies at an end of the range: in this outer share of it
OUTER: Final = 0.1  # the best trials crowd at an end: in this outer share of it
BEST_THERE: Final = 0.1  # p below which they crowd, where the best one is among them
CROWD: Final = 0.01  # p below which they crowd anyway
FEWEST_BEST: Final = 3
FEWEST_TRIALS: Final = 10

INFEASIBLE: Final = 0.2
MOSTLY_INFEASIBLE: Final = 0.5
FEWEST_ENDED: Final = 5

GOOD: Final = 5
FEWEST_RANDOM: Final = 10


def boundaries(record: Record, space: str) -> Iterator[Answer]:
    """Ask whether the best trials lie at an end of a range that could be wider.

    Asked of the hyperparameters that the best trial has: under others the winner cannot improve by a wider range.
    """
    top, ended = record.top(space), len(record.ended(space))
    if len(top) < FEWEST_BEST or ended < FEWEST_TRIALS:
        need = max(record.trials_for(FEWEST_BEST, space), FEWEST_TRIALS)
        found = f"{len(top)} at full length of {wording.count(ended, 'trial')}; {FEWEST_BEST} of {FEWEST_TRIALS} needed"
        yield Answer("NOT TESTABLE", space, found, "run more trials", {"trials": need})
        return
    asked, at_end = 0, []
    for parameter in record.parameters(space):
        axis = Axis.of(parameter)
        if axis is None or pd.isna(top[axis.name].iloc[0]):
            continue
        asked += 1
        at_end += list(_at_end(record, space, parameter, axis, top))
    yield from at_end
    if not at_end:
        status, said = ("PASS", "none at an end") if asked else ("NOT TESTABLE", "no range with an order")
        yield Answer(status, space, f"{said}; asked of {wording.count(asked, 'range')}, best {len(top)} trials")  # type: ignore[arg-type]


def _at_end(record: Record, space: str, parameter: Parameter, axis: Axis, top: pd.DataFrame) -> Iterator[Answer]:
    values = top[axis.name].dropna()
    places = axis.places(values)
    ends: tuple[End, ...] = ("low", "high")
    for end in ends:
        there = int(axis.outer(places, end, OUTER).sum())
        chance = 1 / len(axis.values) if axis.values else OUTER
        p = float(bdtrc(there - 1, len(places), chance)) if there else 1.0
        best = bool(axis.outer(places[:1], end, EDGE)[0])
        if axis.is_natural(end) or not (p < CROWD or (best and p < BEST_THERE)):
            continue
        range_ = f"{wording.value(axis.low)} to {wording.value(axis.high)}"
        where = "last choice" if axis.values else f"outer {OUTER:.0%}"
        found = (
            f"best {wording.value(values.iloc[0])} of {range_}; {there} of the best {len(places)} in the {where} "
            f"at the {end} end (p = {p:.2g})"
        )
        remedy = f"in {file_of(record, space, parameter)}, {axis.wider(end)}; then a new study"
        yield Answer("WARN", f"{space} {axis.name}", found, remedy, EDIT)


def infeasible(record: Record, space: str) -> Iterator[Answer]:
    """Ask how many trials gave nothing, where in the space they lie, and whether the best one lies beside them."""
    ended, bad = record.ended(space), record.infeasible(space)
    if len(ended) < FEWEST_ENDED:
        found = f"{wording.count(len(ended), 'trial')} ended, {FEWEST_ENDED} needed"
        yield Answer("NOT TESTABLE", space, found, "run more trials", {"trials": FEWEST_ENDED})
        return
    share, states = bad.mean(), ended["state"].value_counts()
    lost = [f"{states.get(state, 0)} {state}" for state in ("diverged", "failed")]
    at_chance = int(bad.sum()) - sum(int(states.get(state, 0)) for state in ("diverged", "failed"))
    learnt_nothing = f"{at_chance} {wording.at_baseline(record.plan)} at full length"
    found = f"{share:.0%} of {len(ended)} ({', '.join(lost)}, {learnt_nothing})"
    region = _worst_region(record, space, ended, bad)
    if share > INFEASIBLE:
        status = "FAIL" if share > MOSTLY_INFEASIBLE else "WARN"
        remedy = f"leave out of its range: {region}" if region else "read trial.log of the failed trials"
        yield Answer(status, space, f"{found}{f'; most in {region}' if region else ''}", remedy, EDIT)  # type: ignore[arg-type]
        return
    edges = list(_stability_edges(record, space, ended, bad))
    yield from edges or [Answer("PASS", space, found)]


def _worst_region(record: Record, space: str, ended: pd.DataFrame, bad: "pd.Series[bool]") -> str:
    """Name the choice, or the quarter of a range, that holds more infeasible trials than chance would put there."""
    worst, least = "", 0.05
    for parameter in record.parameters(space):
        name = str(parameter["name"])
        known = ended[name].dropna()
        if known.empty:
            continue
        counts = bad[known.index].groupby(parts(parameter, known)).agg(["sum", "size"])
        p = bdtrc(counts["sum"].to_numpy() - 1, counts["size"].to_numpy(), bad.mean())
        p = np.where(counts["sum"] > 0, p, 1.0)
        if p.min() < least:
            least, row = float(p.min()), counts.iloc[int(p.argmin())]
            worst = f"{name} {counts.index[int(p.argmin())]} ({row['sum']} of {row['size']})"
    return worst


def _stability_edges(record: Record, space: str, ended: pd.DataFrame, bad: "pd.Series[bool]") -> Iterator[Answer]:
    """Find ranges above some value of which everything fails, with the best trial just below it."""
    if record.full(space).empty:
        return
    best = record.full(space).iloc[:1]
    for parameter in record.parameters(space):
        axis = Axis.of(parameter)
        if axis is None or axis.values or best[axis.name].isna().all():
            continue
        known = ended[axis.name].dropna()
        places = axis.places(known)
        order = np.argsort(-places, kind="stable")
        failing = int(np.cumprod(bad[known.index].to_numpy()[order]).sum())
        if failing < FEWEST_BEST or bad.mean() ** failing > CROWD:
            continue
        edge = places[order][failing - 1]
        if edge - axis.places(best[axis.name])[0] < OUTER:
            found = f"all {failing} trials from {wording.value(axis.value(edge))} on failed; the best has "
            found += wording.value(best[axis.name].iloc[0])
            remedy = "train more stably: warm-up, clipping, another norm; the optimum may lie beyond"
            yield Answer("WARN", f"{space} {axis.name}", found, remedy, EDIT)


def density(record: Record, space: str) -> Iterator[Answer]:
    """Ask whether several trials are as good as the best, and whether twice the trials still gained."""
    full, near = record.full(space), record.near(space)
    if len(full) < 2 or np.isnan(near):
        need = {"trials": record.trials_for(GOOD, space)}
        found = f"{wording.count(len(full), 'trial')} at full length; 2 and a known scatter of seeds needed"
        yield Answer("NOT TESTABLE", space, found, "run more trials", need)
        return
    scores = full["score"].to_numpy()
    good, lead = int((scores >= scores[0] - near).sum()), scores[0] - scores[1]
    gain = _gain_of_doubling(record, space)
    unit = wording.difference_unit(record.plan)
    found = (
        f"{good} of {len(full)} within {wording.difference(near, record.plan)} {unit} of the best; "
        f"lead of the best {wording.difference(lead, record.plan)}"
    )
    if np.isfinite(gain):
        found += f"; the last doubling of random trials gained at least {wording.difference(gain, record.plan)}"
    if good < GOOD or gain > near:
        yield Answer(
            "WARN",
            space,
            found,
            "run more trials",
            {"trials": max(2 * record.planned_trials, record.trials_for(GOOD, space))},
        )
    else:
        yield Answer("PASS", space, found)


def _gain_of_doubling(record: Record, space: str) -> float:
    """Return a lower bound of the expected best of n less that of n / 2 random trials; NaN where there are few.

    Only the random arm, whose trials are independent (Dodge et al. 2019). A trial without a full-length score is
    given what it would have at most (`budget.random_arm`), and no less than the worst that has one: so the gain is at
    least what comes out.
    """
    full = record.full(space)
    arm, known = random_arm(record.tables, space), full[full["origin"] == "random"]["score"]
    if len(arm) < FEWEST_RANDOM or len(known) < FEWEST_BEST:
        return np.nan
    scores = np.maximum(arm["high"].to_numpy(), known.min())
    half, whole = expected_best(scores, np.array([len(scores) // 2, len(scores)]))
    return float(whole - half)


BOUNDARIES = Check(
    number=1,
    title="Best trials at an end of a range",
    answers=each_space(boundaries),
    warn=f"best in the outer {EDGE:.0%} and the best {TOP} crowd there (p < {BEST_THERE}), or p < {CROWD}",
    figure="effects",
)
INFEASIBLE_TRIALS = Check(
    number=2,
    title="Infeasible trials",
    answers=each_space(infeasible),
    warn=f"more than {INFEASIBLE:.0%}, or all above a value and the best within {OUTER:.0%} of the range below it",
    fail=f"more than {MOSTLY_INFEASIBLE:.0%}",
    figure="effects",
)
DENSITY = Check(
    number=3,
    title="Enough good trials",
    answers=each_space(density),
    warn=f"fewer than {GOOD} near the best, or doubling the random trials gained more than seeds scatter",
    figure="effects",
)
