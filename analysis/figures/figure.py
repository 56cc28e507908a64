"""What a figure is: a data function (tables of one study or of several -> small table) and a draw function that
computes nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import pandas as pd
from matplotlib.figure import Figure as Canvas

from analysis.style import WIDTH, new_canvas
from analysis.tables import is_restoration

Plan = dict[str, Any]


class Planned(Protocol):
    """What a figure is of: a study, or several, with what names its spaces and its metric."""

    @property
    def plan(self) -> Plan: ...


Source = TypeVar("Source", bound=Planned)


def whole(data: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the data of a figure as its only piece."""
    return [data]


@dataclass(frozen=True)
class Figure(Generic[Source]):
    """One figure of the report.

    `data` gives the table that is drawn (and written as CSV, except a column `image`); where it is empty, the
    report prints `absent` instead. `draw` puts that table on an empty canvas of a given width, whose height it sets;
    labels and scales come from the plan. `caption` says estimator, band, n and filter; `alt` states the finding with
    numbers. `per_space`: one figure for each space, and of that one for each of the `pieces` of its data. `narrow`: it
    stands in one column of a page that has two. `task`: the only one whose studies have it, `classification` or
    `restoration`; empty: all.
    """

    title: str
    data: Callable[[Source], pd.DataFrame]
    draw: Callable[[Canvas, pd.DataFrame, Plan], None]
    caption: Callable[[pd.DataFrame, Source], str]
    alt: Callable[[pd.DataFrame, Source], str]
    absent: str
    per_space: bool = False
    pieces: Callable[[pd.DataFrame], list[pd.DataFrame]] = whole
    narrow: bool = False
    task: str = ""

    def is_for(self, plan: Plan) -> bool:
        """Whether this figure has a meaning for the study with that plan."""
        return not self.task or (self.task == "restoration") == is_restoration(plan)

    def canvas(self, data: pd.DataFrame, plan: Plan, width: float = WIDTH) -> Canvas:
        """Return the drawn figure, `width` inches wide; call it inside `analysis.style.style()`."""
        canvas = new_canvas(3, width)
        self.draw(canvas, data, plan)
        return canvas

    def parts(self, name: str, tables: Source) -> Iterator[tuple[str, "Figure[Source]", pd.DataFrame]]:
        """Yield file name, figure and data: once for the whole study, or for each space and piece where `per_space`."""
        data = self.data(tables)
        if not self.per_space or data.empty:
            yield name, self, data
            return
        for space in (space for space in tables.plan["spaces"] if (data["space"] == space).any()):
            pieces = self.pieces(data[data["space"] == space].reset_index(drop=True))
            for number, piece in enumerate(pieces, 1):
                of = f" ({number} of {len(pieces)})" if len(pieces) > 1 else ""
                ending = f"-part{number}" if number > 1 else ""
                yield f"{name}-{space}{ending}", replace(self, title=f"{self.title}: {space}{of}"), piece
