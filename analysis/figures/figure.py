"""What a figure is: a data function (tables -> small table) and a draw function that computes nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Canvas

from analysis.style import new_canvas
from analysis.tables import StudyTables

Plan = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """One figure of the report.

    `data` gives the table that is drawn (and written as CSV, except a column `image`); where it is empty, the
    report prints `absent` instead. `draw` puts that table on an empty canvas; labels and scales come from the
    plan. `caption` says estimator, band, n and filter; `alt` states the finding with numbers. `per_space`:
    one figure for each space.
    """

    title: str
    data: Callable[[StudyTables], pd.DataFrame]
    draw: Callable[[Canvas, pd.DataFrame, Plan], None]
    caption: Callable[[pd.DataFrame, StudyTables], str]
    alt: Callable[[pd.DataFrame, StudyTables], str]
    absent: str
    per_space: bool = False

    def canvas(self, data: pd.DataFrame, plan: Plan) -> Canvas:
        """Return the drawn figure; call it inside `analysis.style.style()`."""
        canvas = new_canvas(height=3)
        self.draw(canvas, data, plan)
        return canvas

    def parts(self, name: str, tables: StudyTables) -> Iterator[tuple[str, "Figure", pd.DataFrame]]:
        """Yield file name, figure and data: once for the whole study, or once per space where `per_space`."""
        data = self.data(tables)
        if not self.per_space or data.empty:
            yield name, self, data
            return
        for space in (space for space in tables.plan["spaces"] if (data["space"] == space).any()):
            titled = replace(self, title=f"{self.title}: {space}")
            yield f"{name}-{space}", titled, data[data["space"] == space].reset_index(drop=True)
