"""How numbers, intervals and configurations are written, the same way in captions, tables and sentences."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.intervals import SMALLEST_SAMPLE, Interval
from analysis.tables import is_restoration

Setting = str | float | None  # bool and int are floats to the type checker
MISSING = "\N{EN DASH}"
MOST_RANGES = 8  # that a cell of a table holds
STUCK = "\N{NO-BREAK SPACE}"  # a number and its unit stay on one line


def is_fraction(plan: Mapping[str, Any]) -> bool:
    """Whether the metric is a fraction, which is written in per cent."""
    return bool(plan["metric"]["unit"] == "fraction")


def score(value: float, plan: Mapping[str, Any]) -> str:
    """Return a score with its unit: `97.2 %`, or `31.25 dB`."""
    if pd.isna(value):
        return MISSING
    if is_fraction(plan):
        return f"{100 * value:.1f}{STUCK}%"
    unit = plan["metric"]["unit"]
    return f"{value:.2f}{STUCK}dB" if unit == "dB" else f"{value:.4g}{STUCK}{unit}".rstrip(STUCK)


def difference(value: float, plan: Mapping[str, Any]) -> str:
    """Return a difference of scores, without its unit: percentage points of a fraction; two decimals below 1."""
    if pd.isna(value):
        return MISSING
    if not is_fraction(plan):
        return f"{value:.2f}" if plan["metric"]["unit"] == "dB" else f"{value:.3g}"
    points = 100 * value
    return f"{points:.1f}" if abs(points) >= 1 or not points else f"{points:.2f}"


def difference_unit(plan: Mapping[str, Any]) -> str:
    """Return the unit of a difference of scores."""
    return "percentage points" if is_fraction(plan) else str(plan["metric"]["unit"] or plan["metric"]["name"])


def baseline(plan: Mapping[str, Any]) -> str:
    """Return what has the score `chance` of the metric: guessing, or leaving the images as they are."""
    return "the images as they are" if is_restoration(plan) else "chance"


def at_baseline(plan: Mapping[str, Any]) -> str:
    """Return what a score is that says nothing was learned."""
    return "no better than the images as they are" if is_restoration(plan) else "at chance"


def metric(plan: Mapping[str, Any]) -> str:
    """Return the name of the metric as a sentence begins with it: `Accuracy`, `PSNR`."""
    name = str(plan["metric"]["name"])
    return name[:1].upper() + name[1:]


def interval(found: Interval, plan: Mapping[str, Any]) -> str:
    """Return a mean with its interval and n: `97.2 % (95 % interval 96.8 % to 97.6 %, n = 4 seeds)`."""
    mean, seeds = score(found.mean, plan), count(found.n, "seed")
    if not found.known:
        why = "too few for an interval" if found.n < SMALLEST_SAMPLE else "nothing varies, so no interval"
        return f"{mean} (n{STUCK}={STUCK}{seeds}: {why})"
    low, high = within(found, plan)
    return f"{mean} (95{STUCK}% interval {score(low, plan)} to {score(high, plan)}, n{STUCK}={STUCK}{seeds})"


def short_interval(found: Interval, plan: Mapping[str, Any]) -> str:
    """Return a mean with the ends of its interval, where there is one: `97.2 % (96.8 to 97.6)`."""
    if not found.known:
        return score(found.mean, plan)
    ends = [score(end, plan).partition(STUCK)[0] for end in within(found, plan)]
    return f"{score(found.mean, plan)} ({' to '.join(ends)})"


def limits(plan: Mapping[str, Any]) -> tuple[float, float]:
    """Return the least and the greatest that a score can be."""
    return (0.0, 1.0) if is_fraction(plan) else (-math.inf, math.inf)


def within(found: Interval, plan: Mapping[str, Any]) -> tuple[float, float]:
    """Return the ends of an interval of a score, cut where no score can be."""
    least, most = limits(plan)
    return max(found.low, least), min(found.high, most)


def cut(found: Interval, plan: Mapping[str, Any]) -> Interval:
    """Return an interval of a score as it is written and drawn: `within` what a score can be."""
    low, high = within(found, plan)
    return replace(found, low=low, high=high)


def stuck(text: str) -> str:
    """Return the text with each number and its per cent sign on one line."""
    return re.sub(r"(?<=\d) %", f"{STUCK}%", text)


def count(number: int, noun: str) -> str:
    """Return a number with its noun in singular or plural: `1 trial`, `2,400 trials`."""
    return f"{number:,}{STUCK}{noun}" if number == 1 else f"{number:,}{STUCK}{noun}s"


def listed(parts: list[str]) -> str:
    """Return `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def ranges(numbers: list[int]) -> str:
    """Return rising whole numbers, three or more that follow one another as a range: `1-500`, `3, 4, 9-12`.

    At most `MOST_RANGES` parts are written; of the rest, how many numbers there are.
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [[str(number) for number in run] if len(run) < 3 else [f"{run[0]}-{run[-1]}"] for run in runs]
    more = sum(map(len, runs[MOST_RANGES:]))
    written = ", ".join(text for part in parts[:MOST_RANGES] for text in part)
    return f"{written} and {more:,} more" if more else written


def drawn(dataset: Mapping[str, Any]) -> str:
    """Say how a part of the training images came about."""
    return "drawn by class" if dataset["classes"] else "drawn at random"


def duration(seconds: float) -> str:
    """Return seconds as people say them: `42 s`, `3.5 min`, `2.1 h`."""
    if pd.isna(seconds):
        return MISSING
    if seconds < 120:
        return f"{seconds:.3g}{STUCK}s"
    return f"{seconds / 60:.3g}{STUCK}min" if seconds < 7200 else f"{seconds / 3600:,.3g}{STUCK}h"


def value(setting: Setting) -> str:
    """Return a hyperparameter's value with at most four significant digits; missing where it does not
    apply.
    """
    if isinstance(setting, str | bool | np.bool_):
        return str(setting)
    if setting is None or pd.isna(setting):
        return MISSING
    return f"{setting:d}" if isinstance(setting, int) else f"{setting:.4g}"


def configuration(trial: Mapping[str, Any], space: Mapping[str, Any]) -> str:
    """Return the hyperparameters of a row of `.trials` that apply: `width 16, optimizer sgd`."""
    names = [parameter["name"] for parameter in space["parameters"]]
    return ", ".join(f"{name} {value(trial[name])}" for name in names if value(trial[name]) != MISSING)


def condition(parameter: Mapping[str, Any]) -> str:
    """Return when a hyperparameter applies: `optimizer = sgd`; empty where it always does."""
    when = parameter["when"] or {}
    return " and ".join(f"{name} = {' or '.join(map(value, allowed))}" for name, allowed in when.items())
