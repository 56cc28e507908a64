"""Several studies side by side: data sets as rows, architectures as columns. Nothing here pools seeds of different data
sets into one verdict.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from analysis import several, stats, wording
from analysis.intervals import SMALLEST_SAMPLE, Floats
from analysis.tables import StudyTables, read
from analysis.verdicts import Verdicts, judge

THRESHOLDS: Final = 101  # of a performance profile


@dataclass(frozen=True)
class Study:
    """One study: its tables, its verdicts, and the name of its row."""

    name: str
    tables: StudyTables
    judged: Verdicts

    @property
    def data_set(self) -> str:
        """The name of its data set."""
        return str(self.tables.plan["dataset"]["name"])


@dataclass(frozen=True, eq=False)
class Studies:
    """Studies to compare, in the order in which they were named."""

    studies: tuple[Study, ...]

    @cached_property
    def plan(self) -> dict[str, Any]:
        """What figures need: every architecture of any study, in the order of the first that has it, and the metric."""
        spaces = {space: None for study in self.studies for space in study.tables.plan["spaces"]}
        return {"spaces": spaces, "metric": self.studies[0].tables.plan["metric"]}

    @cached_property
    def scores(self) -> pd.DataFrame:
        """`data_set` (the name of the row), `space`, `test`, `low`, `high`, `n`: a row per tested architecture of a
        study, with the interval of that study's own page, cut where no score can be.
        """
        rows = [
            {"data_set": study.name, "space": space, "test": i.mean, **vars(wording.cut(i, study.tables.plan))}
            for study in self.studies
            for space, i in study.judged.tested.items()
        ]
        return pd.DataFrame(rows, columns=["data_set", "space", "test", "low", "high", "n"])

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """The pairs of every study, with `data_set` before the columns of `verdicts.pairs`."""
        parts = [study.judged.pairs.assign(data_set=study.name) for study in self.studies]
        found = pd.concat(parts, ignore_index=True)
        return found[["data_set", *found.columns.drop("data_set")]]

    @cached_property
    def common(self) -> list[str]:
        """The architectures that every study with a tested winner has tested."""
        tested = [study.judged.tested for study in self.studies if study.judged.tested]
        return [space for space in self.plan["spaces"] if tested and all(space in one for one in tested)]

    def same_data(self) -> list[list[str]]:
        """Return the names of studies of one data set, group by group."""
        groups: list[list[Study]] = []
        for study in self.studies:
            mine = next((group for group in groups if any(_same(study, other) for other in group)), None)
            groups.append([study]) if mine is None else mine.append(study)
        return [[study.name for study in group] for group in groups if len(group) > 1]

    def seeds(self, space: str) -> dict[str, Floats]:
        """Return the test scores of the winner's seeds by data set."""
        found = {}
        for study in self.studies:
            rows = stats.winning_finals(study.tables).dropna(subset="test_score")
            mine = rows.loc[rows["space"] == space, "test_score"]
            if len(mine):
                found[study.name] = mine.to_numpy(dtype=float)
        return found


def read_studies(run_dirs: Sequence[Path | str], margin: float) -> Studies:
    """Return the studies in the run folders. Raises ValueError where one cannot be read or named twice, or where they
    have not all the same metric.
    """
    folders = [Path(folder) for folder in run_dirs]
    twice = [str(folder) for folder, n in Counter(folder.resolve() for folder in folders).items() if n > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} is named twice; a study is compared with others. Name each run folder once.")
    found = [read(folder) for folder in folders]
    _check_metrics(found)
    names = _names(found)
    return Studies(tuple(Study(name, one, judge(one, margin)) for name, one in zip(names, found, strict=True)))


def _check_metrics(found: Sequence[StudyTables]) -> None:
    keys = ("name", "unit", "direction")
    by_metric: dict[str, list[str]] = {}
    for tables in found:
        said = ", ".join(str(tables.plan["metric"].get(key)) for key in keys)
        by_metric.setdefault(said, []).append(str(tables.run_dir))
    if len(by_metric) > 1:
        said = "; ".join(f"{metric} in {wording.listed(folders)}" for metric, folders in by_metric.items())
        raise ValueError(
            f"The studies have {len(by_metric)} metrics ({said}), but scores compare only in one and the same. "
            "Name the run folders of one metric."
        )


def _names(found: Sequence[StudyTables]) -> list[str]:
    """Name each row after its data set; where two have one name, after the run folder, or its whole path."""
    data = [str(tables.plan["dataset"]["name"]) for tables in found]
    choices: tuple[Callable[[StudyTables, str], str], ...] = (
        lambda _, name: name,
        lambda tables, name: f"{name} ({tables.run_dir.resolve().name})",
        lambda tables, name: f"{name} ({tables.run_dir})",
    )
    rows = []
    for tables, name in zip(found, data, strict=True):
        for choice in choices:
            said = choice(tables, name)
            if sum(choice(*other) == said for other in zip(found, data, strict=True)) == 1:
                break
        rows.append(said)
    return rows


def _same(one: Study, other: Study) -> bool:
    """Whether two studies are of the same images: one of their splits is the same, or they come from one source."""
    first, second = (study.tables.plan["dataset"] for study in (one, other))
    shared = {split["sha256"] for split in first["splits"].values()}
    sources = {(data["name"], str(data["source"]).partition("; test: ")[0]) for data in (first, second)}
    return len(sources) == 1 or any(split["sha256"] in shared for split in second["splits"].values())


def remarks(studies: Studies) -> list[str]:
    """Return a sentence for each thing that makes the studies less comparable than rows of one table look."""
    said = [
        f"{wording.listed(group)} are studies of the same data set: rows of their own here, but one data set, so "
        "nothing is computed over data sets."
        for group in studies.same_data()
    ]
    for space in studies.plan["spaces"]:
        absent = [study.name for study in studies.studies if space not in study.tables.plan["spaces"]]
        if absent:
            said.append(f"{space} is not part of {wording.listed(absent)}.")
    for study in studies.studies:
        missing = [space for space in study.tables.plan["spaces"] if space not in study.judged.tested]
        if missing:
            said.append(f"{study.name}: {wording.listed(missing)} not tested.")
    return [*said, *_ranges(studies), *_budgets(studies)]


def _ranges(studies: Studies) -> list[str]:
    """Name architectures that were searched in other ranges in other studies."""
    said = []
    for space in studies.plan["spaces"]:
        kinds: dict[str, list[str]] = {}
        for study in studies.studies:
            if space in study.tables.plan["spaces"]:
                kinds.setdefault(str(study.tables.plan["spaces"][space].get("sha256")), []).append(study.name)
        if len(kinds) > 1:
            groups = wording.listed([" with ".join(names) for names in kinds.values()])
            said.append(f"{space} was not searched in the same space everywhere: it differs between {groups}.")
    return said


def _budgets(studies: Studies) -> list[str]:
    """Name what the searches could spend where that is not the same in all studies."""
    settings: dict[str, Callable[[StudyTables], Any]] = {
        **{unit: _limit(unit) for unit in ("trials", "epochs", "GPU time", "time")},
        "epochs of a trial": lambda tables: tables.plan["max_epochs"],
        "seeds of a winner": lambda tables: tables.plan["final"]["seeds"],
        "configurations retrained": lambda tables: tables.plan["final"]["configs"],
    }
    said = []
    for name, value in settings.items():
        values = {study.name: value(study.tables) for study in studies.studies}
        if len(set(values.values())) > 1:
            each = [f"{wording.value(number) if number else 'no limit'} in {row}" for row, number in values.items()]
            said.append(f"Budgets differ between studies, {name}: {wording.listed(each)}.")
    return said


def _limit(unit: str) -> Callable[[StudyTables], float | None]:
    return lambda tables: stats.budget(tables).get(unit)


@dataclass(frozen=True)
class Over:
    """What is computed over data sets, for the architectures that all of them have: `table`, or why it is `refused`."""

    table: pd.DataFrame
    refused: str = ""


def middles(studies: Studies) -> Over:
    """Return `space`, `mean`, `low`, `high`, `n`, `data_sets`: the interquartile mean of each common architecture."""

    def rows() -> list[dict[str, Any]]:
        found = []
        for space in studies.common:
            scores = studies.seeds(space)
            middle = several.interquartile_mean(scores, stats.generator())
            found.append({"space": space, **vars(middle), "data_sets": len(scores)})
        return found

    return _over(studies, rows, SMALLEST_SAMPLE)


def profiles(studies: Studies) -> Over:
    """Return `space`, `threshold`, `share`: the share of runs above each threshold, as a mean over data sets."""

    def rows() -> list[dict[str, Any]]:
        every = {space: studies.seeds(space) for space in studies.common}
        pooled = np.concatenate([part for scores in every.values() for part in scores.values()])
        thresholds = np.linspace(pooled.min(), pooled.max(), THRESHOLDS)
        return [
            {"space": space, "threshold": threshold, "share": share}
            for space, scores in every.items()
            for threshold, share in zip(thresholds, several.performance_profile(scores, thresholds), strict=True)
        ]

    return _over(studies, rows, 1)


def ranks(studies: Studies) -> Over:
    """Return `space`, `rank`, `p`, `critical_difference`, `data_sets`: Friedman's test over mean scores."""

    def rows() -> list[dict[str, Any]]:
        means = {
            study.name: {space: study.judged.tested[space].mean for space in studies.common}
            for study in studies.studies
            if study.judged.tested
        }
        test = several.critical_difference(means)
        shared = {"p": test.p, "critical_difference": test.critical_difference, "data_sets": test.data_sets}
        return [{"space": space, "rank": rank, **shared} for space, rank in test.ranks.items()]

    return _over(studies, rows, 1)


def _over(studies: Studies, rows: Callable[[], list[dict[str, Any]]], fewest: int) -> Over:
    """Return the table of `rows`, or the reason why there is none; each run counts from `fewest` seeds on."""
    nothing = pd.DataFrame()
    if groups := studies.same_data():
        names = "; ".join(wording.listed(group) for group in groups)
        return Over(nothing, f"Studies of one data set ({names}) are not two data sets. Name one study of each.")
    if not studies.common:
        return Over(nothing, "No architecture has been tested in every study. Compare studies that share some.")
    sizes = {f"{s} on {name}": len(part) for s in studies.common for name, part in studies.seeds(s).items()}
    few = [cell for cell, size in sizes.items() if size < fewest]
    if few:
        return Over(nothing, f"An interval needs {fewest} seeds in each cell; fewer have {wording.listed(few)}.")
    try:
        return Over(pd.DataFrame(rows()))
    except ValueError as error:
        return Over(nothing, str(error))
