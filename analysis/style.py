"""How figures look: sizes, colours, and files with the same bytes for the same input.

Nothing here touches the global settings of matplotlib: a figure is made, drawn and written inside `style()`.
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Final, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.font_manager import FontProperties, findfont, get_font, get_font_names
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis import wording

WIDTH: Final = 7.2  # inches: the text width of most two-column pages
ROWS: Final = 7.2  # inches that the rows of a figure take at most, so that it fits a page of 9
DPI: Final = 150  # of PNG files, and of what is drawn as pixels in the others
PRINTED_DPI: Final = 300  # the least that journals take
SMALLEST_TYPE: Final = 6.0  # points: smaller type is not read in print
FORMATS: Final = ("svg", "png", "pdf")


class TypeSize(NamedTuple):
    """Points of text, of titles and of legends."""

    text: float = 9
    title: float = 9.5
    legend: float = 8.5


ON_SCREEN: Final = TypeSize()
MANY_MARKS: Final = 2_000  # more than this in one figure are drawn as pixels: a vector file would be too large to open

INK: Final = "#222222"
QUIET: Final = "#6b6b6b"  # 5.3:1 on white
BAD: Final = "#a01c1c"

# Okabe and Ito: told apart with the common kinds of colour blindness. Their yellow is too pale on white.
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS: Final = ("o", "s", "D", "^", "v", "P", "X")
_DASHES: Final = (
    "solid",
    (0, (5, 2)),
    (0, (2, 1.2)),
    (0, (6, 2, 1.5, 2)),
    (0, (1, 1)),
    (0, (8, 2)),
    (0, (3, 3)),
)

_HATCHES: Final = ("", "////", "....", "\\\\\\\\", "xxxx", "||||", "ooo")

_SETTINGS: Final = {
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "grid.color": "#ececec",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",  # text stays text: searchable and small
    "svg.hashsalt": "archstudy",
    "path.simplify": True,
}


# Asked in turn for the characters that the fonts before lack, where they are installed.
_FALLBACKS: Final = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei"),
    *("SimHei", "Microsoft YaHei", "PingFang SC", "Hiragino Sans", "Malgun Gothic", "Arial Unicode MS"),
)


# Of the numbers in an SVG file, outside of its texts, all but two decimals: a hundredth of a point is not seen, and the
# rest is a third of the file.
_DECIMALS: Final = re.compile(rb"(<text.*?</text>)|(\.\d\d)\d+(?=[\s\"])", re.DOTALL)


@contextmanager
def style(size: TypeSize = ON_SCREEN) -> Iterator[None]:
    """Draw with the settings of this project, whatever the user's matplotlibrc says, and leave no trace.

    Characters that no font here has are drawn as boxes, silently: `lacking` tells which. SVG files keep them as text.
    """
    installed = set(get_font_names())
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from", UserWarning)
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)  # type: ignore[arg-type]
        mpl.rcParams.update({"font.size": size.text, "axes.titlesize": size.title, "legend.fontsize": size.legend})
        mpl.rcParams["font.family"] = ["sans-serif", *(name for name in _FALLBACKS if name in installed)]
        yield


def at_most(points: float) -> float:
    """Return the type size for text that is to be smaller than the rest, never below what can be read."""
    return max(SMALLEST_TYPE, min(points, float(mpl.rcParams["font.size"])))


def height_of_rows(count: int, each: float) -> float:
    """Return the inches of `count` rows: `each` as long as the figure fits a page, less where there are many."""
    return min(count * each, ROWS)


def new_canvas(height: float, width: float = WIDTH) -> Canvas:
    """Return an empty figure of that size in inches, outside of pyplot and its global list."""
    canvas = Canvas(figsize=(width, height))
    FigureCanvasAgg(canvas)
    return canvas


def look(space: str, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return `color`, `marker` and `linestyle` of a space: those of its place in the plan, in every
    figure.
    """
    place = list(plan["spaces"]).index(space)
    return {
        "color": _COLOURS[place % len(_COLOURS)],
        "marker": _MARKERS[place % len(_MARKERS)],
        "linestyle": _DASHES[place % len(_DASHES)],
    }


def hatch(space: str, plan: Mapping[str, Any]) -> str:
    """Return what tells the bars of a space apart where colours do not: in grey print, and to who sees no colours."""
    return _HATCHES[list(plan["spaces"]).index(space) % len(_HATCHES)]


def files(canvas: Canvas, dpi: int = DPI) -> dict[str, bytes]:
    """Return the figure in each of `FORMATS`.

    The layout is settled once, here: an engine that stayed with the figure would draw it twice more for each
    format.
    """
    ConstrainedLayoutEngine().execute(canvas)
    written = {}
    with _fonts_without_layout():
        for kind in FORMATS:
            buffer = BytesIO()
            canvas.savefig(buffer, format=kind, dpi=dpi, metadata=_undated(kind))
            written[kind] = buffer.getvalue()
    return {**written, "svg": _DECIMALS.sub(rb"\1\2", written["svg"])}


@contextmanager
def _fonts_without_layout() -> Iterator[None]:
    """Have PDF files embed fonts without what these say of placing letters: the letters have their places.

    To cut that down to the letters used takes ten times as long as the letters themselves.
    """
    from fontTools.subset import Options  # takes a second, which only writing a PDF needs

    before = Options._drop_tables_default
    Options._drop_tables_default = [*before, "GSUB", "GPOS", "GDEF"]
    try:
        yield
    finally:
        Options._drop_tables_default = before


def lacking(canvas: Canvas) -> str:
    """Return the characters in the texts of a drawn figure that no font here has; call it inside `style()`."""
    texts: list[Any] = canvas.findobj(Text)
    said = {character for text in texts for character in text.get_text() if ord(character) > 127}
    fonts = [get_font(findfont(FontProperties(family=[name]))) for name in mpl.rcParams["font.family"]]
    return "".join(
        sorted(c for c in said if c.isprintable() and not any(font.get_char_index(ord(c)) for font in fonts))
    )


def _undated(kind: str) -> dict[str, Any]:
    return {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})


def score_axis(axis: Axis, plan: Mapping[str, Any], split: str) -> None:
    """Name the axis after the study's metric on that split; a fraction is written in per cent, up to 100."""
    axis.set_label_text(f"{split} {plan['metric']['name']}")
    if plan["metric"]["unit"] == "fraction":
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %" if value < 1.001 else ""))
    elif plan["metric"]["unit"]:
        axis.set_label_text(f"{split} {plan['metric']['name']} ({plan['metric']['unit']})")


def difference_axis(axis: Axis, label: str, plan: Mapping[str, Any], *, signed: bool = True) -> None:
    """Name the axis `label` with the unit of differences of the study's metric; those of a fraction are in points."""
    if wording.is_fraction(plan):
        sign = "+" if signed else ""
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:{sign}.3g}" if value else "0"))
    axis.set_label_text(f"{label} ({'points' if wording.is_fraction(plan) else wording.difference_unit(plan)})")


def epoch_axis(axes: Axes, last: int, label: str = "epoch") -> None:
    """Let x run over the epochs 1 to `last`, ticks at whole epochs only."""
    axes.set_xlim(0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9, min_n_ticks=1))
    axes.set_xlabel(label)


def legend_below(canvas: Canvas, handles: Sequence[Any], columns: int = 4) -> None:
    """Put one legend for the whole figure under it, where it can hide no data.

    In fewer columns where the figure is too narrow for so many; then it grows by the rows that this takes.
    """
    if not handles:
        return
    wanted = min(columns, len(handles))
    dashed = any(isinstance(handle, Line2D) and handle.is_dashed() for handle in handles)
    long = 4.0 if dashed else None  # so that each pattern of dashes is seen whole
    for fitting in range(wanted, 0, -1):
        legend = canvas.legend(handles=list(handles), loc="outside lower center", ncols=fitting, handlelength=long)
        if fitting == 1 or legend.get_window_extent().width <= canvas.bbox.width:
            break
        legend.remove()
    more = -(-len(handles) // fitting) - -(-len(handles) // wanted)
    canvas.set_figheight(canvas.get_figheight() + more * 1.5 * float(mpl.rcParams["legend.fontsize"]) / 72)
