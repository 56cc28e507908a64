"""Where a value stands in the range of its hyperparameter, and what a wider range would be."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import wording
from analysis.intervals import Floats

End = Literal["low", "high"]

MANY: Final = 10  # whole numbers in a range from here on are as good as continuous
PARTS: Final = 4  # parts of a continuous range, where shares are compared
MOST: Final = {"stages": 4}  # what the networks of the package have at most: it makes no range wider to ask for more


@dataclass(frozen=True)
class Axis:
    """The ordered values of a hyperparameter, from `low` to `high`; `values` lists them where they are few."""

    name: str
    low: float
    high: float
    log: bool = False
    whole: bool = False
    values: tuple[float, ...] = ()
    choices: bool = False

    @classmethod
    def of(cls, parameter: dict[str, Any]) -> Self | None:
        """Return the axis of a hyperparameter; None where its values have no order or are fewer than three."""
        name = parameter["name"]
        if parameter["type"] == "categorical":
            numbers = {choice for choice in parameter["choices"] if type(choice) in (int, float)}
            if len(numbers) < max(3, len(parameter["choices"])):
                return None
            whole = all(type(choice) is int for choice in numbers)
            return cls(name, min(numbers), max(numbers), whole=whole, values=tuple(sorted(numbers)), choices=True)
        low, high, whole = parameter["low"], parameter["high"], parameter["type"] == "int"
        if low == high or (whole and high - low < 2):
            return None
        few = whole and not parameter["log"] and high - low < MANY
        return cls(name, low, high, parameter["log"], whole, tuple(range(low, high + 1)) if few else ())

    def places(self, values: pd.Series) -> Floats:
        """Return where `values` stand on the search scale, from 0 to 1; choices by their rank."""
        numbers = values.to_numpy(dtype=float)
        if self.values:
            return np.searchsorted(self.values, numbers) / (len(self.values) - 1)
        if self.log:
            return np.log(numbers / self.low) / math.log(self.high / self.low)
        return (numbers - self.low) / (self.high - self.low)

    def value(self, place: float) -> float:
        """Return the value at a place of a continuous range."""
        if self.log:
            return float(self.low * (self.high / self.low) ** place)
        return float(self.low + place * (self.high - self.low))

    def outer(self, places: Floats, end: End, share: float) -> npt.NDArray[np.bool_]:
        """Which places lie in the outer `share` of the range at `end`; of few values: at the last one."""
        width = 0.5 / (len(self.values) - 1) if self.values else share
        found: npt.NDArray[np.bool_] = places < width if end == "low" else places > 1 - width
        return found

    def is_natural(self, end: End) -> bool:
        """Whether nothing lies beyond: below 0 (below 1 of whole numbers), above 1 of a share or what networks have."""
        if end == "low":
            return self.low in ((0, 1) if self.whole else (0,))
        if self.name in MOST:
            return self.high == MOST[self.name]
        return self.high == 1 and not self.whole and self.low >= 0

    def wider(self, end: End) -> str:
        """Say what range reaches further: a quarter of the range, the next choice."""
        if self.choices:
            return f"add {wording.value(self._next_choice(end))} to its choices"
        low, high = self.low, self.high
        if self.log:
            reach = (high / low) ** 0.25
            low, high = (low / reach, high) if end == "low" else (low, high * reach)
        else:
            reach = (high - low) / 4
            low, high = (low - reach, high) if end == "low" else (low, high + reach)
            if self.low >= 0 and self.high <= 1:  # a share stays one
                low, high = max(low, 0.0), min(high, (1 + self.high) / 2)
        ends = [math.floor(low), math.ceil(high)] if self.whole else [_round(low), _round(high)]
        kept = (ends[0], self.high) if end == "low" else (self.low, ends[1])
        return f"let it range from {wording.value(kept[0])} to {wording.value(kept[1])}"

    def _next_choice(self, end: End) -> float:
        """The choice that would follow: by the same factor if the last two steps have one, else by the same step."""
        a, b, c = self.values[2::-1] if end == "low" else self.values[-3:]
        by_factor = bool(a and b) and math.isclose(c / b, b / a, rel_tol=0.01)
        follows = c * c / b if by_factor else c + (c - b)
        return round(follows) if self.whole else follows


def _round(number: float) -> float:
    return float(f"{number:.2g}")


def parts(parameter: dict[str, Any], values: "pd.Series[Any]") -> pd.Series:
    """Return the part of its range in which each of `values` lies, in words: a choice, or a quarter of the range."""
    axis = Axis.of(parameter)
    if axis is None or axis.values:
        return values.map({value: wording.value(value) for value in values.unique()})
    places = np.clip((axis.places(values) * PARTS).astype(int), 0, PARTS - 1)
    ends = [wording.value(_round(axis.value(edge / PARTS))) for edge in range(PARTS + 1)]
    names = [f"{low} to {high}" for low, high in pairwise(ends)]
    return pd.Series(np.array(names, dtype=object)[places], index=values.index, dtype="str")
