"""Values of any hyperparameter as heights from 0 to 1 on its search scale, for figures with many of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import wording
from analysis.intervals import Floats

MOST_TICKS = 6  # choices named on an axis; of more, only some


def heights(parameter: Mapping[str, Any], values: "pd.Series[Any]") -> Floats:
    """Return where `values` stand, (N,): choices evenly spread, ranges on their scale; NaN where it does not apply."""
    if parameter["type"] == "categorical":
        choices = {choice: place for place, choice in enumerate(parameter["choices"])}
        places = values.map(choices).to_numpy(dtype=float)
        return np.asarray((places + 0.5) / len(choices))
    numbers, low, high = values.to_numpy(dtype=float), parameter["low"], parameter["high"]
    if low == high:
        return np.where(np.isnan(numbers), np.nan, 0.5)
    if parameter["log"]:
        numbers, low, high = np.log(numbers), np.log(low), np.log(high)
    return np.asarray((numbers - low) / (high - low))


def ticks(parameter: Mapping[str, Any]) -> tuple[list[float], list[str]]:
    """Return heights and names of the ticks: the choices, or both ends of the range and its middle."""
    if parameter["type"] == "categorical":
        names = [wording.value(choice) for choice in parameter["choices"]]
        every = -(-len(names) // MOST_TICKS)
        shown = range(0, len(names), every)
        return [(place + 0.5) / len(names) for place in shown], [names[place] for place in shown]
    low, high = parameter["low"], parameter["high"]
    if parameter["type"] == "int" and high - low < MOST_TICKS:
        numbers = [float(number) for number in range(low, high + 1)]
    else:
        middle = (low * high) ** 0.5 if parameter["log"] else (low + high) / 2
        numbers = [low, round(middle) if parameter["type"] == "int" else float(f"{middle:.2g}"), high]
    return heights(parameter, pd.Series(numbers)).tolist(), [wording.value(number) for number in numbers]
