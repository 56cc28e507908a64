"""What the pages are made of: figures and tables as they are shown, and the files beside them."""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import joblib
import pandas as pd

from analysis import style, wording
from analysis.figures.figure import Figure
from analysis.summary import Cells
from analysis.venues import Venue

TEMPLATES = Path(__file__).parent / "templates"
LARGEST_CSV = 100_000  # bytes; a larger one is beside the report, not in it
MOST_PROCESSES = 4  # that draw; each takes a second and 150 MiB to begin
NO_FONT = (
    "No font of the machine that drew this has {}: boxes in the PNG and PDF files. The page and the SVG file keep them "
    "as text. Install a font that has them, such as Noto Sans CJK, and write the report again."
)


@dataclass(frozen=True)
class Panel:
    """One figure as the page shows it; where there is nothing to draw, `image` is empty and `absent` says
    why. Of a figure that each space has, `space` is the one that this is of, and `family` the title of all.
    """

    name: str
    title: str
    number: int
    chapter: str
    family: str = ""
    space: str = ""
    caption: str = ""
    alt: str = ""
    image: str = ""
    csv: str = ""
    rows: int = 0
    absent: str = ""


Sketch = tuple[Panel, Figure[Any], pd.DataFrame]  # a figure that is to be drawn; without a number it is absent


@dataclass(frozen=True)
class Table:
    """A table as the page shows it: `rows` hold pairs of the text of a cell and what it is sorted by. A cell whose text
    is one of `links` leads to what has that id on the page.
    """

    columns: list[str]
    rows: list[list[tuple[str, str]]]
    note: str = ""
    links: frozenset[str] = frozenset()


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


def draw(sketches: Iterable[Sketch], source: Any, folder: Path, venue: Venue | None) -> list[Panel]:
    """Return the panels, their figures drawn and written to `folder` by as many processes as there are cores, while
    `sketches` gathers the data of the next. `source` is what the figures are of.
    """
    begun: list[Sketch] = []

    def jobs() -> Iterator[Any]:
        for sketch in sketches:
            begun.append(sketch)
            panel, figure, data = sketch
            if panel.number:
                yield joblib.delayed(write_figure)(figure, data, source.plan, folder / panel.name, venue)

    processes = min(joblib.cpu_count(), MOST_PROCESSES)
    drawn = iter(joblib.Parallel(processes, pre_dispatch="all", max_nbytes=None)(jobs()))
    return [_said(sketch, next(drawn), source) if sketch[0].number else sketch[0] for sketch in begun]


def _said(sketch: Sketch, shown: dict[str, Any], source: Any) -> Panel:
    """Return the panel with what of the figure stands on the page, its caption and its text."""
    panel, figure, data = sketch
    lacking = shown.pop("lacking")
    boxes = f" {NO_FONT.format(lacking)}" if lacking else ""
    caption = wording.stuck(figure.caption(data, source) + boxes)
    return replace(panel, caption=caption, alt=wording.stuck(figure.alt(data, source)), **shown)


def write_figure(
    figure: Figure[Any], data: pd.DataFrame, plan: dict[str, Any], stem: Path, venue: Venue | None
) -> dict[str, Any]:
    """Write the figure's files, as wide as the venue prints them, and return what of it stands on the page: `image`,
    `csv`, `rows` and the letters that no font has. The page has it as wide as ever.
    """
    with style.style():
        canvas = figure.canvas(data, plan)
        shown, lacking = style.files(canvas), style.lacking(canvas)
    written = shown
    if venue is not None:
        with style.style(venue.type_size):
            width = venue.column if figure.narrow else venue.text
            written = style.files(figure.canvas(data, plan, width), style.PRINTED_DPI)
    csv = data.drop(columns="image", errors="ignore").to_csv(index=False, lineterminator="\n").encode()
    for kind, content in {**written, "csv": csv}.items():
        write(stem.with_name(f"{stem.name}.{kind}"), content)
    return {
        "image": image_uri(shown["svg"]),
        "csv": data_uri("text/csv", csv) if len(csv) <= LARGEST_CSV else "",
        "rows": len(data),
        "lacking": lacking,
    }


def image_uri(svg: bytes) -> str:
    """Return the image as an address of its own: three quarters of its length in base64, where it holds pixels."""
    return "data:image/svg+xml," + quote(svg.replace(b"\n", b" "), safe=" /:;=,()+*!@$?{}[]")


def data_uri(kind: str, content: bytes) -> str:
    """Return the content as an address, so that the page holds it."""
    return f"data:{kind};base64,{b64encode(content).decode()}"
