"""What goes into a paper: LaTeX and CSV tables, figures as wide as a venue prints them."""

import itertools
import re
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text

import analysis
from analysis import latex, style, venues, verdicts
from analysis.figures import FIGURES
from analysis.paper_tables import leaders, paper_tables
from analysis.parts import write_figure
from analysis.tables import StudyTables
from tests.sample_run import SampleRun

POINTS = 72  # in an inch


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> StudyTables:
    classes = ("airplane", "automobile", "a rather long name", *map(str, range(7)))
    spaces = ("densenet_simple", "handwritten", "plain_cnn", "googlenet")
    asked = {"name": "own", "figures": [], "baseline": spaces[0], "steps": list(spaces)}
    run = SampleRun(spaces=spaces, classes=classes, experiment=asked)
    return analysis.read(run.write(tmp_path_factory.mktemp("paper") / "run"))


@pytest.fixture(scope="module")
def restored(tmp_path_factory: pytest.TempPathFactory) -> StudyTables:
    return analysis.read(SampleRun(restored=True).write(tmp_path_factory.mktemp("paper") / "restored"))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a_b & 5 % of $#{}", r"a\_b \& 5 \% of \$\#\{\}"),
        ("\\~^", r"\textbackslash{}\textasciitilde{}\textasciicircum{}"),
        ("<i>|", r"\textless{}i\textgreater{}\textbar{}"),
        ("[2em]*", "{[}2em{]}{*}"),
        ("plain-net--v2", "plain-net-{}-v2"),
        ("line\nbreak\x00", "line break "),
        ("\u732b \u00fc", "\u732b \u00fc"),
        ("\u2013 \u2265\u00a05", r"-- $\geq$~5"),
    ],
)
def test_every_character_is_printed_as_it_is(text: str, written: str) -> None:
    assert latex.escape(text) == written


def test_a_table_in_latex() -> None:
    shown = pd.DataFrame({"space_1": ["a&b", "\u732b"], "gap (%)": ["-1.5 (-2 to 1)", "3-4"]})
    text = latex.tabular(shown, "50 % of\nit", {(0, 1)})
    comments, lines = text.splitlines()[:3], text.splitlines()[3:]
    assert comments[1:] == ["% needs XeLaTeX or LuaLaTeX and a font that has \u732b", "% 50 % of it"]
    assert lines == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"space\_1 & gap (\%) \\",
        r"\midrule",
        r"a\&b & \textbf{$-$1.5 ($-$2 to 1)} \\",
        "\u732b & 3-4 " + r"\\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_tables_have_units_in_the_head_and_everything_in_the_csv(tables: StudyTables, tmp_path: Path) -> None:
    judged = verdicts.judge(tables)
    found = dict(paper_tables(tables, judged))
    assert list(found) == ["overview", "pairs", "costs", "budget", "importance", "final"]
    for name, table in found.items():
        table.write(tmp_path / name)
        shown = (tmp_path / f"{name}.tex").read_text()
        body = shown[shown.index(r"\midrule") :]
        assert not re.search(r"\d~?(\\%|s|min|h)\b", body), name  # no cell has a unit
        assert body.count(r" \\") == len(table.shown)
        assert "nan" not in body
        csv = pd.read_csv(tmp_path / f"{name}.csv")
        assert len(csv) == len(table.full)
    csv = pd.read_csv(tmp_path / "final.csv")
    assert list(csv["test_score"]) == list(tables.final["test_score"])
    assert "test (%)" in found["final"].shown
    assert found["final"].shown["test (%)"].iloc[0] == f"{100 * csv['test_score'].iloc[0]:.1f}"
    assert "gap (pp)" in found["pairs"].shown


def test_bold_says_no_more_than_the_verdicts() -> None:
    def ranking(*rows: tuple[float, float]) -> pd.DataFrame:
        return pd.DataFrame(rows, columns=["rank_low", "low"]).assign(test=0.5)

    assert leaders(ranking((1, 0.4), (2, 0.4))) == [True, False]
    assert leaders(ranking((1, 0.4), (1, 0.4))) == [False, False]  # nobody is told from anybody
    assert leaders(ranking((1, 0.4), (1, 0.4), (3, 0.4))) == [True, True, False]
    assert leaders(ranking((1, 0.4), (2, 0.4), (1, float("nan")))) == [True, False, False]  # no interval, no claim


def test_files_are_as_wide_as_the_venue_prints_them_and_the_page_is_not(tables: StudyTables, tmp_path: Path) -> None:
    figure = FIGURES["test_scores"]
    data = figure.data(tables)
    shown = write_figure(figure, data, tables.plan, tmp_path / "screen", None)
    printed = write_figure(figure, data, tables.plan, tmp_path / "icml", venues.venue("icml"))
    assert printed == shown
    pdf = (tmp_path / "icml.pdf").read_bytes()
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", pdf)
    assert box is not None
    assert float(box[1]) == pytest.approx(3.25 * POINTS, abs=0.1)
    assert b"/FontFile2" in pdf  # TrueType, which is Type 42
    assert b"/Type3" not in pdf


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_a_narrow_figure_is_not_cut_and_its_type_can_be_read(
    tables: StudyTables, restored: StudyTables, name: str
) -> None:
    tables = tables if FIGURES[name].is_for(tables.plan) else restored
    _, figure, data = next(iter(FIGURES[name].parts(name, tables)))
    narrowest = venues.venue("acl" if figure.narrow else "neurips")
    for printed, points in ((narrowest, 8), (venues.venue("nature"), 7)):
        with style.style(printed.type_size):
            canvas = figure.canvas(data, tables.plan, printed.column if figure.narrow else printed.text)
            texts = [text for text in canvas.findobj(Text) if text.get_visible() and text.get_text().strip()]
            assert len(texts) > 3
            assert all(6 <= float(text.get_fontsize()) <= points for text in texts)
            if printed is narrowest:
                check(canvas)


def check(canvas: Canvas) -> None:
    ConstrainedLayoutEngine().execute(canvas)  # as `style.files` does
    bounds = canvas.get_tightbbox()
    assert min(bounds.x0, bounds.y0) >= -0.01
    assert bounds.x1 <= canvas.get_figwidth() + 0.01
    assert bounds.y1 <= canvas.get_figheight() + 0.01
    for axes in canvas.axes:
        if axes.get_visible():
            apart(axes.xaxis, "x")
            apart(axes.yaxis, "y")


def apart(axis: Axis, along: str) -> None:
    """No tick label reaches into the next one of its axis."""
    labels = [label for label in axis.get_ticklabels() if label.get_text() and label.get_visible()]
    if any(label.get_rotation() for label in labels):
        return
    spans = sorted(tuple(getattr(label.get_window_extent(), f"interval{along}")) for label in labels)
    for (_, end), (begin, _) in itertools.pairwise(spans):
        assert end <= begin + 1, [label.get_text() for label in labels]
