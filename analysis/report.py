"""The report of a study: `python -m analysis.report runs/NAME` writes one self-contained page and its
figures.

    RUN_DIR/report/report.html                         needs no network; JavaScript only sorts its tables
    RUN_DIR/report/figures/NAME.svg .png .pdf .csv     each figure and the table it draws
    RUN_DIR/report/tables/NAME.tex .csv                tables for a paper

The same run folder gives the same bytes. It may be of a study that still runs. A study of another tool
(`analysis/importers`) gets the same page, without what its source cannot say, in the folder NAME-report beside it.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import audit, budget, experiment, importance, measures, stats, summary, verdicts, wording
from analysis.comparison import write_comparison
from analysis.figures import QUESTION, chapters
from analysis.importers import Wanted, read_other
from analysis.layers import layers
from analysis.paper_tables import paper_tables
from analysis.parts import Panel, Sketch, Table, cells, draw, render, sort_key, write
from analysis.tables import TRIAL_COLUMNS, StudyTables, hyperparameter_kinds, read
from analysis.venues import VENUES, venue

MOST_ROWS = 500  # of trials on the page: a browser opens the file without a pause
MOST_OPEN = 3  # spaces; of more, the figures that each space has are folded

MOST_FILES = 5  # of those left out named on the page; study.json has all


def write_report(
    run_dir: Path | str,
    margin: float = verdicts.MARGIN,
    wanted: Wanted | None = None,
    out: Path | str | None = None,
    printed_by: str | None = None,
) -> Path:
    """Write the report of the run folder, or of the study of another tool, and return the path of its page.

    `margin` is the largest gap that makes no practical difference, in percentage points of a fraction, in units of
    the metric otherwise. `wanted` says what the table of another tool means. `out` is the folder of the page, `report`
    in the run folder if none is given; `printed_by` the venue whose widths the files of the figures have. Raises
    ValueError where `run_dir` is nothing that can be read, its log is damaged, the margin is not above 0, or the venue
    is not known.
    """
    printed = None if printed_by is None else venue(printed_by)
    source = Path(run_dir)
    other = None if (source / "study.json").exists() else wanted
    tables = replace(read(source) if other is None else read_other(source, other), margin=margin)
    judged = verdicts.judge(tables, margin)
    default = source / "report" if other is None else source.with_name(f"{source.stem}-report")
    folder = default if out is None else Path(out)
    for kind in ("figures", "tables"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    panels = draw(_sketches(tables), tables, folder / "figures", printed)
    for name, table in paper_tables(tables, judged):
        table.write(folder / "tables" / name)
    page = folder / "report.html"
    write(page, _page(tables, panels, judged))
    return page


def _sketches(tables: StudyTables) -> Iterator[Sketch]:
    number = 0
    for chapter, figures in chapters(tables.plan).items():
        for name, figure in figures.items():
            if not figure.is_for(tables.plan):
                continue
            for file, part, data in figure.parts(name, tables):
                number += not data.empty
                space = part.title.removeprefix(f"{figure.title}: ") if figure.per_space and len(data) else ""
                drawn = Panel(file, part.title, number, chapter, family=figure.title, space=space)
                absent = Panel(file, part.title, 0, chapter, absent=part.absent)
                yield absent if data.empty else drawn, part, data


def _page(tables: StudyTables, panels: list[Panel], judged: verdicts.Verdicts) -> bytes:
    imported = tables.plan.get("imported")
    answers = [] if imported else audit.audit(tables)  # it asks about how a study of ours was planned
    anchors = frozenset(panel.name for panel in panels)
    return render(
        "report.html",
        plan=tables.plan,
        imported=imported,
        progress=summary.progress(tables)
        if imported
        else f"{summary.progress(tables)} Budget: {summary.budget(tables)}",
        headline=summary.headline(tables, judged),
        overview=cells(summary.overview(tables, judged), summary.explained(tables)),
        sentences=[
            *summary.sentences(tables, judged),
            *measures.sentences(tables),
            *summary.warnings(tables, judged),
        ],
        pairs=cells(summary.pair_rows(tables, judged), summary.pairs_explained(tables, judged)),
        worth=cells(summary.worth_rows(tables, judged)),
        difference_unit=wording.difference_unit(tables.plan),
        findings=summary.findings(tables, judged),
        fold=len(tables.plan["spaces"]) > MOST_OPEN,
        experiment=_experiment(tables, panels, judged) if experiment.is_one(tables) else None,
        contents={
            name: shown
            for name in chapters(tables.plan)
            if (shown := [panel for panel in panels if panel.chapter == name])
        },
        costs=cost_table(tables),
        importance=importance_table(tables),
        layers={space: layer_table(rows) for space, rows in layers(tables).items()},
        budget=budget_table(tables),
        trials=trial_table(tables),
        final=final_table(tables),
        provenance=provenance(tables),
        audit=Table(list(audit.COLUMNS), audit.page_rows(answers, anchors), links=anchors),
        audit_outcome=audit.outcome(answers),
        audited=audit.counted(answers),
    )


def _experiment(tables: StudyTables, panels: list[Panel], judged: verdicts.Verdicts) -> dict[str, Any]:
    return {
        **experiment.head(tables),
        "variants": cells(experiment.variant_rows(tables, judged), experiment.variants_explained(tables)),
        "reported": cells(experiment.reported_rows(tables)),
        "panels": [panel for panel in panels if panel.chapter == QUESTION],
    }


def budget_table(tables: StudyTables) -> Table:
    """Return what each space got and used: a row per space."""
    durations = ("seconds", "final_seconds")
    spent = stats.spending(tables)
    rows = [
        [
            (wording.duration(value) if name in durations else _cell(value), sort_key(value))
            for name, value in row.items()
        ]
        for row in spent.to_dict("records")
    ]
    return Table([str(name).replace("_", " ") for name in spent.columns], rows)


def cost_table(tables: StudyTables) -> Table:
    """Return what each winner costs and how fast it is: a row per space with final runs."""
    found = budget.winner_costs(tables)
    durations = ("train_seconds", "seconds")
    rows = [
        [
            (wording.duration(value) if name in durations else _cell(value), sort_key(value))
            for name, value in row.items()
        ]
        for row in found.to_dict("records")
    ]
    target = wording.score(budget.target_score(tables), tables.plan)
    note = (
        "Training time: mean of the final runs. Images per second: median over their epochs, training alone. Reached: "
        f"how many of the n final runs came to {target} validation {tables.plan['metric']['name']}, with the median "
        "epochs and seconds to get there; missing where fewer than half did. Times depend on the machine and on what "
        "ran beside it."
    )
    named = {"epochs": "epochs to target", "seconds": "time to target"}
    return Table([named.get(str(name), str(name).replace("_", " ")) for name in found.columns], rows, note)


def importance_table(tables: StudyTables) -> Table:
    """Return the numbers of the figures of importance, and why there are none where there are none."""
    found = importance.importances(tables)
    rows = []
    for row in found.sort_values(["epoch", "importance"], ascending=False, kind="stable").to_dict("records"):
        cells: list[tuple[str, str]] = [(_cell(row[name]), sort_key(row[name])) for name in importance.COLUMNS[:4]]
        share = f"{_percent(row['importance'])} ({_percent(row['low'])} to {_percent(row['high'])})"
        cells += [(share, sort_key(row["importance"])), (_percent(row["null"]), sort_key(row["null"]))]
        above = "above chance" if row["importance"] > row["null"] else "not told from chance"
        rows.append(
            [*cells, (above, above), *((_cell(row[name]), sort_key(row[name])) for name in ("best", "reached", "n"))]
        )
    refused = [f"{space} at full length: {reason}." for space, reason in importance.refusals(tables).items()]
    note = (
        "Share of the variance of being among the best that a hyperparameter explains on its own, with its 95 % "
        "interval, and the 95 % quantile of what chance gives. Target best: the best tenth, at least five trials; "
        f"half: the better half. {' '.join(refused)}"
    )
    columns = [*importance.COLUMNS[:4], "importance", "chance", "verdict", "best trials", "with a score there", "n"]
    return Table(columns, rows, note.strip())


def _percent(share: float) -> str:
    return f"{100 * share:.0f}{wording.STUCK}%"


def layer_table(rows: pd.DataFrame) -> Table:
    """Return the layers of a network, each indented by its depth."""
    indent = 2 * wording.STUCK
    cells = [
        [
            (f"{indent * row['depth']}{row['layer']} {row['name']}".rstrip(), row["layer"]),
            ("x".join(map(str, row["output"])), ""),
            *((_cell(row[count]), sort_key(row[count])) for count in ("parameters", "multiply_adds")),
        ]
        for row in rows.to_dict("records")
    ]
    return Table(["layer", "output", "parameters", "multiply-adds"], cells)


def trial_table(tables: StudyTables) -> Table:
    """Return the trials, at most `MOST_ROWS` of them: then those trained longest, the best of them first."""
    shown = tables.trials
    note = ""
    if len(shown) > MOST_ROWS:
        shown = shown.sort_values(["epochs_trained", "score"], ascending=False, kind="stable").head(MOST_ROWS)
        total = len(tables.trials)
        note = f"The {MOST_ROWS:,} trials trained longest, of {total:,}; analysis.read gives all of them."
    names = [
        "trial",
        "origin",
        "state",
        "epochs_trained",
        "score",
        "best_score",
        "parameters",
        "multiply_adds",
        "train_seconds",
    ]
    return _table(shown[[*names, *hyperparameter_kinds(tables.plan), "error"]], tables, note)


def final_table(tables: StudyTables) -> Table:
    """Return the final runs, a row each."""
    names = [
        "final",
        "state",
        "epochs_trained",
        "val_score",
        "test_score",
        "test_loss",
        "train_seconds",
        "error",
    ]
    also = measures.by_final(tables)
    names[5:5] = list(also)
    return _table(tables.final.assign(**also)[names], tables, measures.explained(tables))


def _table(frame: pd.DataFrame, tables: StudyTables, note: str = "") -> Table:
    """Return a table without the columns in which nothing is known."""
    frame = frame.dropna(axis="columns", how="all") if len(frame) else frame
    scores = {
        name
        for name in frame.columns
        if name.endswith(("score", "balanced_accuracy")) and name not in hyperparameter_kinds(tables.plan)
    }
    rows = [
        [
            (wording.score(value, tables.plan) if name in scores else _cell(value), sort_key(value))
            for name, value in row
        ]
        for row in (list(zip(frame.columns, values, strict=True)) for values in frame.itertuples(index=False))
    ]
    own = {name: name.replace("_", " ") for name in (*TRIAL_COLUMNS, *tables.final.columns)} | measures.COLUMNS
    return Table([own.get(name, name) for name in frame.columns], rows, note)


def _cell(value: wording.Setting) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))
    return wording.value(value)


def provenance(tables: StudyTables) -> list[tuple[str, list[str]]]:
    """Return what a reader needs to repeat the study, as names with one or several values."""
    plan = tables.plan
    if imported := plan.get("imported"):
        return [("Source", [imported["path"], f"sha256 {imported['sha256']}"]), ("Kind", [imported["tool"]])]
    dataset, git = plan["dataset"], plan["git"] or {}
    splits = [f"{name}: {part['images']} images, sha256 {part['sha256']}" for name, part in dataset["splits"].items()]
    spaces = [f"{name}: {space['description']} sha256 {space['sha256']}" for name, space in plan["spaces"].items()]
    versions = [f"{name} {version}" for name, version in plan["versions"].items()]
    fresh = wording.count(plan["final"]["seeds"], "fresh seed")
    dirty = " with uncommitted changes" if git.get("dirty") else ""
    return [
        ("Command", [" ".join(plan["command"]) or "called from Python"]),
        ("Created", [plan["created"]]),
        ("Git commit", [f"{git['commit']}{dirty}" if git.get("commit") else "unknown"]),
        ("Versions", [", ".join(versions)]),
        ("Hardware", [_pairs(plan["hardware"]), f"each trial: {_pairs(plan['resources'])}"]),
        *_data(dataset),
        ("Splits", splits),
        ("Spaces", spaces),
        (
            "Seeds",
            [f"study seed {plan['seed']}; {fresh} for each final configuration"],
        ),
        ("Budget", [_budget(plan)]),
        ("Sampler", [_pairs(plan["sampler"])]),
        ("Times the driver ran", _sessions(tables)),
        ("Openings of the test split", _openings(tables)),
    ]


def _data(dataset: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return where the images are from, how the test split came about, their size and which files are left out."""
    source, _, drawn = dataset["source"].partition("; test: ")
    rows = [("Data", [f"{dataset['name']}: {source}"])]
    if count := dataset.get("train_images"):
        used = f"{count:,}, {wording.drawn(dataset)}; they are trained on and validated with"
        rows.append(("Training images", [used]))
    if drawn:
        rows.append(("Test split", [drawn]))
    if dataset.get("image_size"):
        height, width = dataset["image_size"]
        rows.append(("Image size", [f"resized to {height}x{width} pixels"]))
    if skipped := dataset.get("skipped"):
        named = [f"{file['file']} ({file['reason']})" for file in skipped[:MOST_FILES]]
        more = f" and {len(skipped) - MOST_FILES:,} more" if len(skipped) > MOST_FILES else ""
        rows.append(("Left out", [f"{wording.count(len(skipped), 'file')}: {', '.join(named)}{more}"]))
    return rows


def _pairs(values: dict[str, Any]) -> str:
    shown = {name: value for name, value in values.items() if value not in ([], {}, None)}
    return ", ".join(f"{name.replace('_', ' ')} {_nested(value)}" for name, value in shown.items())


def _nested(value: object) -> str:
    if isinstance(value, dict):
        return f"({_pairs(value)})"
    return ", ".join(map(_nested, value)) if isinstance(value, list) else str(value)


def _budget(plan: dict[str, Any]) -> str:
    rungs = wording.listed([str(rung) for rung in plan["rungs"]])
    others = "pausing" if plan.get("policy", {}).get("pausing") else "stopped"
    factor = plan["reduction_factor"]
    stopping = f"ASHA: at epoch {rungs} 1 in {factor} goes on, the others {others}" if rungs else "none stopped"
    averaged = plan.get("policy", {}).get("averaged")
    judged = f"the mean score of the last {averaged:.0%} of their epochs" if averaged else "their last score"
    return (
        f"{wording.count(plan['trials'], 'trial')} per space as first planned, at most "
        f"{wording.count(plan['max_epochs'], 'epoch')} each; {stopping}; trials are judged, and the "
        f"winner is chosen, by {judged}"
    )


def _sessions(tables: StudyTables) -> list[str]:
    return [
        f"{_moment(row['opened'])} to {_moment(row['closed'])}, {row['slots']:g} slots: {wording.value(row['reason'])}"
        for row in tables.sessions.to_dict("records")
    ] or ["none"]


def _openings(tables: StudyTables) -> list[str]:
    times = [
        f"{_moment(row['time'])}: {wording.count(row['finals'], 'final run')} on {row['images']} images, "
        f"sha256 {row['sha256']}"
        for row in tables.openings.to_dict("records")
    ]
    return [wording.count(len(times), "opening"), *times]


def _moment(seconds: float) -> str:
    if pd.isna(seconds):
        return "?"
    return datetime.fromtimestamp(float(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m analysis.report", description="Write the report of a study, or one page that compares several."
    )
    made.add_argument(
        "run_dir", nargs="+", help="folder that study.run wrote, such as runs/resnet-digits, or, alone, see below"
    )
    made.add_argument(
        "--margin",
        type=float,
        default=verdicts.MARGIN,
        help="largest gap that makes no practical difference, in percentage points or dB (default: %(default)s)",
    )
    made.add_argument(
        "--out",
        metavar="FOLDER",
        help="folder of the page (default: RUN_DIR/report; of several: report-NAME-NAME beside the first RUN_DIR)",
    )
    made.add_argument(
        "--venue", metavar="NAME", help=f"draw the files of figures/ as wide as it prints them: {', '.join(VENUES)}"
    )
    other = made.add_argument_group(
        "studies of other tools", "RUN_DIR may be a Ray Tune experiment folder, an Optuna SQLite file or a CSV file."
    )
    other.add_argument("--metric", help="what was measured: the name of a result or of a column")
    other.add_argument("--mode", choices=("max", "min"), default="max", help="whether more or less of it is better")
    other.add_argument("--by", metavar="NAME", help="hyperparameter that names the architecture (default: one for all)")
    named = "the hyperparameters, where some columns are results (default: all that change within no trial)"
    other.add_argument("--parameters", nargs="+", metavar="NAME", default=[], help=named)
    other.add_argument("--study", metavar="NAME", help="which study of an Optuna storage")
    other.add_argument("--trial-column", metavar="NAME", default="trial", help="CSV: the trial (default: %(default)s)")
    other.add_argument("--epoch-column", metavar="NAME", help="CSV: the epoch, from 1 (default: a row is a trial)")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code: 0, or 2 for what cannot be read."""
    given = parser().parse_args(arguments)
    columns = {"trial": given.trial_column, "epoch": given.epoch_column, "parameters": tuple(given.parameters)}
    wanted = Wanted(given.metric, given.mode, given.by, given.study, **columns)
    try:
        if len(given.run_dir) > 1:
            page = write_comparison(given.run_dir, given.margin, given.out, given.venue)
        else:
            page = write_report(given.run_dir[0], given.margin, wanted, given.out, given.venue)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"The report could not be written: {error}. Make room or mend it, then write it again.", file=sys.stderr)
        return 1
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
