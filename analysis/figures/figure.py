"""What a figure is: a data function (tables of one study or of several -> small table) and a draw function that
computes nothing.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
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


def pages(data: pd.DataFrame, column: str, most: int) -> list[pd.DataFrame]:
    """Return the data in as few pieces as have at most `most` values of `column` each, in their order and evenly."""
    values = data[column].unique()
    groups = np.array_split(np.arange(len(values)), max(1, -(-len(values) // most)))
    return [data[data[column].isin(values[group])].reset_index(drop=True) for group in groups]


def file_name(space: str) -> str:
    """Return what a space is called in names of files: that of another tool's study may be any text, such as fb/resnet.
    Two spaces never get the same name: of another character each byte is written as two digits, = included.
    """
    return re.sub(r"[^\w.-]", lambda found: "".join(f"={byte:02X}" for byte in _bytes(found[0])), space)


def _bytes(character: str) -> bytes:
    return character.encode(errors="surrogatepass")  # JSON may hold half a character


@dataclass(frozen=True)
class Figure(Generic[Source]):
    """One figure of the report.

    `data` gives the table that is drawn (and written as CSV, except a column `image`); where it is empty, the
    report prints `absent` instead. `draw` puts that table on an empty canvas of a given width, whose height it sets;
    labels and scales come from the plan. `caption` says estimator, band, n and filter; `alt` states the finding with
    numbers. `per_space`: one figure for each space. `pieces`: what is drawn in figures of its own, so that each fits a
    page. `narrow`: it stands in one column of a page that has two. `task`: the only one whose studies have it,
    `classification` or `restoration`; empty: all.
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
        """Yield file name, figure and data: for each piece of the study, or of each space where `per_space`."""
        data = self.data(tables)
        if data.empty:
            yield name, self, data
        elif not self.per_space:
            yield from self._split(name, self.title, data)
        else:
            for space in (space for space in tables.plan["spaces"] if (data["space"] == space).any()):
                rows = data[data["space"] == space].reset_index(drop=True)
                yield from self._split(f"{name}-{file_name(space)}", f"{self.title}: {space}", rows)

    def _split(self, name: str, title: str, data: pd.DataFrame) -> Iterator[tuple[str, "Figure[Source]", pd.DataFrame]]:
        pieces = self.pieces(data)
        for number, piece in enumerate(pieces, 1):
            of = f" ({number} of {len(pieces)})" if len(pieces) > 1 else ""
            yield f"{name}-part{number}" if number > 1 else name, replace(self, title=f"{title}{of}"), piece
