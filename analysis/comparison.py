"""The report of several studies: `python -m analysis.report RUN_DIR RUN_DIR ...` writes one page, data sets as rows.

    FOLDER/report.html                          FOLDER is --out, or report-NAME-NAME... beside the first run folder
    FOLDER/figures/NAME.svg .png .pdf .csv
    FOLDER/tables/NAME.tex .csv                 scores, verdicts

Each study keeps its own verdicts: seeds of different data sets are never pooled. What may be said over data sets is in
`analysis/several.py`; where it refuses, the page prints why.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pandas as pd

from analysis import studies as together
from analysis import summary, verdicts, wording
from analysis.figures.together import FIGURES
from analysis.intervals import Interval
from analysis.paper_tables import PaperTable, bare, leaders, pair_texts, score_unit
from analysis.parts import Panel, Sketch, cells, draw, render, write
from analysis.studies import Over, Studies, Study
from analysis.venues import venue

LONGEST_NAME: Final = 200  # letters of a folder's name; file systems take 255 bytes
MOST_PAIRS: Final = 10  # with a sentence of their own; the table has all


def write_comparison(
    run_dirs: Sequence[Path | str],
    margin: float = verdicts.MARGIN,
    out: Path | str | None = None,
    printed_by: str | None = None,
) -> Path:
    """Write the page of several studies and return its path.

    Arguments as for `analysis.report.write_report`; `out` is `report-NAME-NAME...` beside the first run folder if none
    is given. Raises ValueError where a run folder cannot be read or is named twice, metrics differ, or no name is left
    for the folder.
    """
    printed = None if printed_by is None else venue(printed_by)
    found = together.read_studies(run_dirs, margin)
    folder = _folder(found) if out is None else Path(out)
    for kind in ("figures", "tables"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    panels = draw(_sketches(found), found, folder / "figures", printed)
    for name, table in _paper_tables(found):
        table.write(folder / "tables" / name)
    page = folder / "report.html"
    write(page, _page(found, panels, folder, margin))
    return page


def _folder(found: Studies) -> Path:
    runs = [study.tables.run_dir.resolve() for study in found.studies]
    name = "-".join(["report", *(run.name for run in runs)])
    if len(name) > LONGEST_NAME:
        raise ValueError(f"The folder {name[:40]}... would have a name of {len(name)} letters. Name one with --out.")
    return runs[0].with_name(name)


def _sketches(found: Studies) -> Iterator[Sketch]:
    """Yield each figure with its data; where these are empty, the panel has no number."""
    why = {"profile": together.profiles(found).refused, "ranks": together.ranks(found).refused}
    number = 0
    for name, figure in FIGURES.items():
        data = figure.data(found)
        number += not data.empty
        drawn, absent = Panel(name, figure.title, number, ""), why.get(name) or figure.absent
        yield replace(drawn, number=0, absent=absent) if data.empty else drawn, figure, data


def _page(found: Studies, panels: list[Panel], folder: Path, margin: float) -> bytes:
    middle = together.middles(found)
    return render(
        "several.html",
        name=" · ".join(dict.fromkeys(study.data_set for study in found.studies)),
        spaces=list(found.plan["spaces"]),
        count=f"{len(found.studies)}{wording.STUCK}studies",
        headline=headline(found),
        sentences=sentences(found),
        remarks=together.remarks(found),
        scores=cells(_score_rows(found), _scores_explained(found)),
        pairs=cells(_pair_rows(found), _pairs_explained(found, margin)),
        middles=cells(_middle_rows(middle, found), _middles_explained(middle, found)),
        refused=middle.refused,
        panels=panels,
        studies=[_source(study, folder) for study in found.studies],
    )


def _by_pair(found: Studies) -> dict[tuple[str, str], dict[str, list[str]]]:
    """Return for each pair of architectures, in the order of the plan, which verdict holds on which data sets.

    `better` is the first's verdict, `worse` its opposite.
    """
    order = {space: place for place, space in enumerate(found.plan["spaces"])}
    said: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in found.pairs.to_dict("records"):
        first, second, verdict = row["first"], row["second"], row["verdict"]
        if order[first] > order[second]:
            first, second, verdict = second, first, "worse" if verdict == "better" else verdict
        said.setdefault((first, second), {}).setdefault(verdict, []).append(str(row["data_set"]))
    return dict(sorted(said.items(), key=lambda item: (order[item[0][0]], order[item[0][1]])))


def headline(found: Studies) -> str:
    """Say which verdict holds on every data set on which its pair was tested, or that none does."""
    whole = []
    for (first, second), kinds in _by_pair(found).items():
        ((verdict, names),) = kinds.items() if len(kinds) == 1 else (("", []),)
        if verdict in ("better", "worse", "equivalent") and len(names) == len(found.studies):
            ends = (second, first) if verdict == "worse" else (first, second)
            word = "equivalent to" if verdict == "equivalent" else "better than"
            whole.append(f"{ends[0]} {word} {ends[1]}")
    if not _by_pair(found):
        return "No verdict: no study has two tested winners."
    if not whole:
        return "No verdict holds in all of these studies."
    shown, more = whole[: summary.MOST_NAMES], len(whole) - summary.MOST_NAMES
    shown += [f"{more} more"] if more > 0 else []
    return f"In all of these studies: {wording.listed(shown)}."


def sentences(found: Studies) -> list[str]:
    """Return a sentence for each pair: the data sets by verdict."""
    words = {"better": "better on", "worse": "worse on", "equivalent": "equivalent on", "cannot tell": "cannot tell on"}
    said = []
    for (first, second), kinds in list(_by_pair(found).items())[:MOST_PAIRS]:
        parts = [f"{text} {wording.listed(kinds[verdict])}" for verdict, text in words.items() if verdict in kinds]
        said.append(f"{first} against {second}: {'; '.join(parts)}.")
    return said


def _cell(found: Interval | None, plan: dict[str, Any]) -> str:
    if found is None:
        return wording.MISSING
    return f"{wording.short_interval(found, plan)}, n{wording.STUCK}={wording.STUCK}{found.n}"


def _score_rows(found: Studies) -> list[summary.Cells]:
    rows = []
    for study in found.studies:
        row: summary.Cells = {"data set": (study.name, study.name)}
        for space in found.plan["spaces"]:
            mean = study.judged.tested.get(space)
            row[space] = (_cell(mean, found.plan), None if mean is None else mean.mean)
        rows.append(row)
    return rows


def _scores_explained(found: Studies) -> str:
    name = found.plan["metric"]["name"]
    return (
        f"Test {name} of each winner: mean over its n retrained seeds, with the 95{wording.STUCK}% interval of that "
        f"study's own report. {wording.MISSING}: not tested there. Rows are not pooled."
    )


def _pair_rows(found: Studies) -> list[summary.Cells]:
    keep = ("first", "second", "verdict", "gap", "level", "n", "to decide")
    return [
        {"data set": (study.name, study.name), **{name: row[name] for name in keep}}
        for study in found.studies
        for row in summary.pair_rows(study.tables, study.judged)
    ]


def _pairs_explained(found: Studies, margin: float) -> str:
    unit = wording.difference_unit(found.plan)
    sets = len(found.studies)
    together_hold = max(0, 100 - 5 * sets)
    return (
        f"Gap in {unit}; equivalent: within ±{margin:g} {unit}. Each row is a verdict of its own study, reached there "
        f"as its report says. The verdicts of one study hold together with 95{wording.STUCK}%; those of all {sets} "
        f"with at least {together_hold}{wording.STUCK}%."
    )


def _middle_rows(middle: Over, found: Studies) -> list[summary.Cells]:
    rows = middle.table.to_dict("records")
    means = [(row, Interval(row["mean"], row["low"], row["high"], row["n"])) for row in rows]
    return [
        {
            "architecture": (row["space"], row["space"]),
            "interquartile mean": (wording.short_interval(mean, found.plan), row["mean"]),
            "data sets": (str(row["data_sets"]), row["data_sets"]),
            "runs": (str(row["n"]), row["n"]),
        }
        for row, mean in means
    ]


def _middles_explained(middle: Over, found: Studies) -> str:
    if middle.refused:
        return ""
    left = [space for space in found.plan["spaces"] if space not in found.common]
    out = f" Left out, not tested everywhere: {wording.listed(left)}." if left else ""
    return (
        "Mean of the middle half of all runs, scores as measured, not normalised, so data sets with very high or low "
        "scores are mostly cut away. Interval: 95 % percentiles of a bootstrap over seeds within each data set "
        "(Agarwal et al. 2021): these data sets are taken as given, others may differ, and with few seeds on each it "
        f"is too narrow.{out}"
    )


def _source(study: Study, folder: Path) -> dict[str, Any]:
    """Return what the page says of a study: where its run folder and its own report are, as seen from the page."""
    run = Path(os.path.relpath(study.tables.run_dir.resolve(), folder.resolve()))
    own = run / "report" / "report.html"
    plan = study.tables.plan
    splits = plan["dataset"]["splits"]
    return {
        "name": study.name,
        "folder": run.as_posix(),
        "report": quote(own.as_posix()) if (study.tables.run_dir / "report" / "report.html").is_file() else "",
        "headline": summary.headline(study.tables, study.judged),
        "progress": f"{summary.progress(study.tables)} Budget: {summary.budget(study.tables)}",
        "data": ", ".join(
            f"{part['images']:,} {name} images, sha256 {part['sha256'][:12]}" for name, part in splits.items()
        ),
    }


def _paper_tables(found: Studies) -> Iterator[tuple[str, PaperTable]]:
    plan = found.plan
    if len(found.scores):
        yield "scores", _scores_table(found)
    if len(found.pairs):
        note = _pairs_explained(found, found.studies[0].judged.margin)
        yield "pairs", PaperTable(found.pairs, pair_texts(_pair_rows(found), plan), note)
    middle = together.middles(found)
    if len(middle.table):
        rows = _middle_rows(middle, found)
        shown = [
            {
                f"{name}{score_unit(plan)}" if "mean" in name else name: bare(text, plan)
                for name, (text, _) in row.items()
            }
            for row in rows
        ]
        yield "interquartile_mean", PaperTable(middle.table, pd.DataFrame(shown), _middles_explained(middle, found))


def _scores_table(found: Studies) -> PaperTable:
    """Return the data sets as rows; bold in each row who leads there by its own verdicts."""
    plan = found.plan
    shown, bold = [], set()
    for at, study in enumerate(found.studies):
        ranking = study.judged.ranking
        first = set(ranking["space"][leaders(ranking)])
        row = {"data set": study.name}
        for place, space in enumerate(plan["spaces"], 1):
            row[f"{space}{score_unit(plan)}"] = bare(_cell(study.judged.tested.get(space), plan), plan)
            if space in first:
                bold.add((at, place))
        shown.append(row)
    note = f"{_scores_explained(found)} Bold: no verdict of that study says that another is better, unless none does."
    return PaperTable(found.scores, pd.DataFrame(shown), note, bold)
