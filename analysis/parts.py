"""What the pages are made of: figures and tables as they are shown, and the files beside them."""

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from analysis import style, wording
from analysis.figures.figure import Figure
from analysis.summary import Cells
from analysis.venues import Venue

TEMPLATES = Path(__file__).parent / "templates"
LARGEST_CSV = 200_000  # bytes; a larger one is beside the report, not in it


@dataclass(frozen=True)
class Panel:
    """One figure as the page shows it; where there is nothing to draw, `image` is empty and `absent` says
    why.
    """

    name: str
    title: str
    number: int
    chapter: str
    caption: str = ""
    alt: str = ""
    image: str = ""
    csv: str = ""
    rows: int = 0
    absent: str = ""


@dataclass(frozen=True)
class Table:
    """A table as the page shows it: `rows` hold pairs of the text of a cell and what it is sorted by."""

    columns: list[str]
    rows: list[list[tuple[str, str]]]
    note: str = ""


def cells(rows: list[Cells], note: str = "") -> Table:
    """Return the table with these rows, whose names are the columns."""
    columns = list(rows[0]) if rows else []
    return Table(columns, [[(text, sort_key(key)) for text, key in row.values()] for row in rows], note)


def sort_key(value: wording.Setting) -> str:
    """Return what a cell is sorted by: a number in full, text as it is, nothing where it is missing."""
    return "" if value is None or pd.isna(value) else str(value)


def render(template: str, **values: Any) -> bytes:
    """Return the page that a template makes of these values, which are escaped."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(values).encode()


def write(path: Path, content: bytes) -> None:
    """Write the file at once: whoever reads it meanwhile sees the old one or the new one, never half of
    it.
    """
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    temporary.replace(path)


def write_figure(
    figure: Figure[Any], data: pd.DataFrame, plan: dict[str, Any], stem: Path, venue: Venue | None
) -> dict[str, Any]:
    """Write the figure's files, as wide as the venue prints them, and return what of it stands on the page: `image`,
    `csv` and `rows`. The page has it as wide as ever.
    """
    with style.style():
        shown = style.files(figure.canvas(data, plan))
    written = shown
    if venue is not None:
        with style.style(venue.type_size):
            width = venue.column if figure.narrow else venue.text
            written = style.files(figure.canvas(data, plan, width), style.PRINTED_DPI)
    csv = data.drop(columns="image", errors="ignore").to_csv(index=False, lineterminator="\n").encode()
    for kind, content in {**written, "csv": csv}.items():
        write(stem.with_name(f"{stem.name}.{kind}"), content)
    return {
        "image": data_uri("image/svg+xml", shown["svg"]),
        "csv": data_uri("text/csv", csv) if len(csv) <= LARGEST_CSV else "",
        "rows": len(data),
    }


def data_uri(kind: str, content: bytes) -> str:
    """Return the content as an address, so that the page holds it."""
    return f"data:{kind};base64,{b64encode(content).decode()}"
