"""What the sources reported beside what studies of ours measured: `python -m analysis.replication RUN_DIR ...`.

    docs/replication.csv    what was measured: a row for each reported score and number of images and epochs
    docs/replication.md     the table that follows from it

Run folders of experiments add to the former (`python -m study.run --experiment NAME --scale printed`); without one the
page is written again. What was reported is in `analysis/reported.toml`. A run counts where its network, data, size of
images, and whatever else the source prints are those of the source, and nothing was tuned.
"""

import argparse
import csv
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from analysis import stats, verdicts, wording
from analysis.events import read_events
from analysis.intervals import SMALLEST_SAMPLE, Interval
from analysis.tables import StudyTables, read

REPORTED: Final[list[dict[str, Any]]] = tomllib.loads(
    (Path(__file__).parent / "reported.toml").read_text(encoding="utf-8")
)["row"]


class Published(NamedTuple):
    """A data set as published: images of the training and of the test split, classes, and pixels (height, width)."""

    train: int
    test: int
    classes: int
    size: tuple[int, int]


PUBLISHED: Final = {
    "cifar10": Published(50_000, 10_000, 10, (32, 32)),
    "cifar100": Published(50_000, 10_000, 100, (32, 32)),
    "fashion_mnist": Published(60_000, 10_000, 10, (28, 28)),
}
NUMBERS: Final = ("mean", "low", "high", "n", "epochs", "train_images", "test_images")
COLUMNS: Final = ("id", *NUMBERS, "run_as", "date", "machine", "command", "commit")
PART: Final = "on a part of the images"  # a score of all of them is neither inside nor outside of its interval
ACCURACY: Final = {"metric": {"name": "accuracy", "unit": "fraction"}}

Row = dict[str, Any]


def measure(tables: StudyTables) -> list[tuple[Row, Row | None, str]]:
    """Return each reported row of the study's experiment, what the study measured of it, or None and why not."""
    name = (tables.plan.get("experiment") or {}).get("name")
    tested = verdicts.score_intervals(tables)
    found: list[tuple[Row, Row | None, str]] = []
    for row in REPORTED:
        if row.get("experiment") == name:
            why = _unlike(row, tables, tested)
            found.append((row, None if why else _measured(row, tables, tested[row["variant"]]), why))
    return found


def _unlike(row: Row, tables: StudyTables, tested: Mapping[str, Interval]) -> str:
    """Return why the study says nothing about a reported row; empty where it does."""
    if why := _other_experiment(tables.plan["experiment"]) or _other_data(row, tables.plan["dataset"]):
        return why
    if row["variant"] not in tested:
        return f"{row['variant']} was not tested"
    return _other_network(row, tables.plan) or _other_training(row, tables)


def _other_experiment(experiment: Mapping[str, Any]) -> str:
    if experiment["file"] is not None:
        return f"an experiment of your own, {experiment['file']}"
    return "the small form of the experiment" if experiment["scale"] == "small" else ""


def _other_data(row: Row, dataset: Mapping[str, Any]) -> str:
    if dataset["name"] != row["dataset"]:
        return f"{dataset['name']} instead of {row['dataset']}"
    published, size = PUBLISHED[row["dataset"]], tuple(dataset["image_shape"][1:])
    if len(dataset["classes"]) != published.classes:
        return f"{len(dataset['classes'])} classes instead of {published.classes}"
    printed = tuple(row.get("image_size", published.size))
    if size != printed:
        return f"images of {'x'.join(map(str, size))} instead of {'x'.join(map(str, printed))} pixels"
    return ""


def _other_network(row: Row, plan: Mapping[str, Any]) -> str:
    """Say in what the variant's architecture is not the source's, whose networks have the names of rows."""
    variant, space = plan["experiment"]["variants"][row["variant"]], plan["spaces"][row["variant"]]
    architecture = {p["name"] for p in space["parameters"] if p["kind"] == "architecture"}
    if variant["network"] is None:  # then the row's `config` has the layers
        unsaid = architecture & space["reference"].keys() - row.get("config", {}).keys()
        return f"{', '.join(sorted(unsaid))} not held as in a network of the source" if unsaid else ""
    if variant["network"] != row["id"]:
        return f"the network {variant['network']} instead of {row['id']}"
    given = {**variant["reference"], **variant["fix"]}
    changed = [f"{name} {given[name]}" for name in given if name in architecture]
    return f"not the source's network: {', '.join(changed)}" if changed else ""


def _other_training(row: Row, tables: StudyTables) -> str:
    epochs = tables.plan["max_epochs"]
    if row.get("epochs", epochs) != epochs:
        return f"{epochs} epochs instead of {row['epochs']}"
    winner = _winner(tables, row["variant"])
    if winner["origin"] != "reference":
        return f"the winner {winner['trial']} was tuned"
    printed = row.get("config", {})
    apart = [f"{key} {wording.value(winner.get(key))}" for key in printed if winner.get(key) != printed[key]]
    return f"not as printed: {', '.join(apart)}" if apart else ""


def _winner(tables: StudyTables, variant: str) -> Row:
    chosen = stats.winners(tables).set_index("space")["trial"][variant]
    return {str(key): value for key, value in tables.trials.set_index("trial", drop=False).loc[chosen].items()}


def _measured(row: Row, tables: StudyTables, mean: Interval) -> Row:
    plan = tables.plan
    splits, hardware = plan["dataset"]["splits"], plan["hardware"]
    accelerators = ", ".join(hardware.get("accelerators", [])) if plan["resources"].get("gpus_per_trial") else ""
    moment = tables.openings["time"].max()
    return {
        "id": row["id"],
        "mean": mean.mean,
        "low": mean.low,
        "high": mean.high,
        "n": mean.n,
        "epochs": plan["max_epochs"],
        "train_images": splits["train"]["images"] + splits["validation"]["images"],
        "test_images": splits["test"]["images"],
        "run_as": _run_as(tables, row["variant"]),
        "date": datetime.fromtimestamp(float(moment), UTC).strftime("%Y-%m-%d"),
        "machine": f"{hardware['cpu']}, {hardware['cpus']} cores, {accelerators or 'no GPU'}",
        "command": " ".join(plan["command"]) or "called from Python",
        "commit": _commit(plan["git"] or {}),
    }


def _run_as(tables: StudyTables, variant: str) -> str:
    plan = tables.plan
    training = _training(plan["spaces"][variant], _winner(tables, variant))
    return f"{training}, {plan['max_epochs']} epochs{_precision(tables, variant)}{_from(plan)}"


def _precision(tables: StudyTables, variant: str) -> str:
    """Say what the final runs of a variant computed in, where the log has it; two machines need not agree."""
    finals = set(tables.final.loc[tables.final["space"] == variant, "final"])
    events = read_events(tables.run_dir / "events.jsonl")[0]
    started = [event for event in events if event["event"] == "final_started" and event["final"] in finals]
    used = sorted({str(event["precision"]) for event in started if event.get("precision")})
    return f" in {' and '.join(used)}" if used else ""


def _from(plan: Mapping[str, Any]) -> str:
    """Say where images are read from files, whose pixels need not be those that were published, as JPEGs' are not."""
    dataset = plan["dataset"]
    return ", images read from a folder of files" if dataset.get("loader", dataset["name"]) == "folder" else ""


def _training(space: Mapping[str, Any], trial: Row) -> str:
    """Return the training of a trial, without what it does not do."""
    names = [parameter["name"] for parameter in space["parameters"] if parameter["kind"] == "training"]
    done = [name for name in names if wording.value(trial[name]) not in (wording.MISSING, "none", "0")]
    return ", ".join(f"{name} {wording.value(trial[name])}" for name in done)


def _commit(git: Mapping[str, Any]) -> str:
    changed = " with changes" if git.get("dirty") else ""
    return f"{(git.get('commit') or 'unknown')[:12]}{changed}"


def shown(row: Row, measured: Row | None) -> dict[str, str]:
    """Return the cells of a reported row, beside one measurement of it or none."""
    cells = {
        "source": row["source"],
        "network": f"{row['network']}, {row['on']}",
        "setting": row["setting"],
        "reported": row["text"],
        "ours": "not measured",
        "reported lies": wording.MISSING,
    }
    if measured is None:
        return cells
    found = Interval(*(measured[name] for name in ("mean", "low", "high", "n")))
    published = PUBLISHED[row["dataset"]]
    splits = (
        ("training", measured["train_images"], published.train),
        ("test", measured["test_images"], published.test),
    )
    fewer = [f"{mine:,} of {whole:,} {split} images" for split, mine, whole in splits if mine != whole]
    seeds = f"n{wording.STUCK}={wording.STUCK}{found.n}"
    cells["ours"] = ", ".join([wording.short_interval(found, ACCURACY), seeds, *fewer])
    if "reported" in row:
        cells["reported lies"] = PART if fewer else _place(row, found)
    return cells


def _place(row: Row, found: Interval) -> str:
    """Say whether the interval holds the reported score, or one that is printed so: 60 % is anything from 59.5 on."""
    if not found.known:
        return f"no interval below {SMALLEST_SAMPLE} seeds"
    low, high = wording.within(found, ACCURACY)
    printed = re.match(r"[\d]+(?:\.(\d+))? %", row["text"])
    assert printed is not None, row["id"]
    half = 0.5 * 10.0 ** -(2 + len(printed[1] or ""))
    if low <= row["reported"] + half and row["reported"] - half <= high:
        return "inside"
    return f"outside: ours is {'higher' if row['reported'] < low else 'lower'}"


def load(path: Path) -> list[Row]:
    """Return what was measured, from the CSV file; nothing where there is none."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    whole = ("n", "epochs", "train_images", "test_images")
    return [
        {**row, **{name: int(row[name]) if name in whole else float(row[name]) for name in NUMBERS}} for row in rows
    ]


def save(rows: Iterable[Row], path: Path) -> None:
    """Write what was measured as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def merged(before: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """Return all rows in the order of the reported ones.

    A new one replaces that of as many images of both splits and as many epochs, unless that has more seeds.
    """
    by_key = {_key(row): row for row in before}
    for row in new:
        if row["n"] >= by_key.get(_key(row), row)["n"]:
            by_key[_key(row)] = row
    order = {row["id"]: place for place, row in enumerate(REPORTED)}
    return [by_key[key] for key in sorted(by_key, key=lambda key: (order[key[0]], *key[1:]))]


def _key(row: Row) -> tuple[Any, ...]:
    return row["id"], row["train_images"], row["test_images"], row["epochs"]


def _kept(row: Row, rows: Iterable[Row]) -> str:
    """Say that a measurement is not among `rows`, where one of more seeds stands; empty where it is."""
    there = next(other for other in rows if _key(other) == _key(row))
    if there["n"] <= row["n"]:
        return ""
    return (
        f"{row['id']}: measured with n = {row['n']}, but the table has n = {there['n']}, which stays. To replace it, "
        f"remove its row from the table."
    )


INTRODUCTION: Final = """# What the sources reported, and what we measured

Written by `python -m analysis.replication`, from `replication.csv` beside it and `analysis/reported.toml`: do not
edit. The sources are those of `models/references.py`. "Ours" is the mean test accuracy of the same setting without a
search, retrained with n fresh seeds, with its 95 % interval over seeds and test images; "reported lies" says whether
the reported score, one run of theirs, may lie in that interval as it is rounded, or that ours is of a part of the
images, which is no replication: the files at hand held the first of them alone. Ours always differs in this: a fifth of
the training images are kept for validation and not trained on (40,000 of 50,000 are left, 48,000 of 60,000), pixels are
normalised by the mean and deviation of each channel, batches are shuffled, a last, smaller batch is left out, the
running statistics of batch norm are averaged evenly over the first steps, and networks compute in bf16 where the
hardware has it and images have at least 16x16 pixels. Where a source prints no training, `run as` below says what was
taken, with the precision where the run folder knows it.
"""


def page(measurements: list[Row]) -> str:
    """Return the table as Markdown: a line for each reported score, and how each measurement was made."""
    names = ("source", "network", "setting", "reported", "ours", "reported lies")
    lines = [INTRODUCTION, _line((*names, "remark")), _line(["---"] * (len(names) + 1))]
    for row in REPORTED:
        mine: list[Row | None] = [found for found in measurements if found["id"] == row["id"]]
        for measured in mine or [None]:
            cells = shown(row, measured)
            lines.append(_line([*(cells[name] for name in names), row["reason"] or wording.MISSING]))
    lines += ["", "## How each was measured", ""]
    if not measurements:
        return "\n".join([*lines, "Nothing has been measured yet.", ""])
    lines += [_line(("what", "images", "run as", "date", "machine", "command", "commit")), _line(["---"] * 7)]
    names_of = {row["id"]: f"{row['source']}, {row['network']}" for row in REPORTED}
    for found in measurements:
        images = f"{found['train_images']:,} training, {found['test_images']:,} test"
        told = (found["run_as"], found["date"], found["machine"], f"`{found['command']}`", found["commit"])
        lines.append(_line((names_of[found["id"]], images, *told)))
    return "\n".join([*lines, ""])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace(wording.STUCK, ' ').replace('|', '/') for cell in cells)} |"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m analysis.replication", description="Put what was measured beside what the sources reported."
    )
    made.add_argument("run_dir", nargs="*", help="folders of experiments, run with --scale printed")
    made.add_argument(
        "--table", type=Path, default=Path("docs/replication.csv"), help="what was measured (default: %(default)s)"
    )
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code: 0, or 2 for what cannot be read."""
    given = parser().parse_args(arguments)
    if not given.table.parent.is_dir():
        print(
            f"--table is {given.table}, but there is no folder {given.table.parent}, and none is made. Give it with "
            f"--table FILE, or run this in the folder of archstudy's sources.",
            file=sys.stderr,
        )
        return 2
    new: list[Row] = []
    try:
        for folder in given.run_dir:
            found = measure(read(folder))
            for row, measured, why in found:
                print(f"{folder}: {row['id']}: {'measured' if measured else why}")
            if not found:
                print(f"{folder}: it belongs to no experiment of a source")
            new += [measured for _, measured, _ in found if measured is not None]
        rows = merged(load(given.table), new)
        print(*(f"{said}\n" for row in new if (said := _kept(row, rows))), sep="", end="")
    except (ValueError, KeyError) as error:
        print(error, file=sys.stderr)
        return 2
    save(rows, given.table)
    given.table.with_suffix(".md").write_text(page(rows), encoding="utf-8")
    print(given.table.with_suffix(".md"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
