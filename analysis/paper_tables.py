"""The tables of the report that go into papers, for its folder `tables/`.

Each is written twice. `NAME.csv` has every row and column in full, named as in docs/tables.md: scores as they were
measured, times in seconds. `NAME.tex` has what a reader of a paper needs, in the numbers of the page, with units in its
head; a score stands in bold where no verdict says that another space is better, unless that is so of all.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pandas as pd

from analysis import balance, budget, importance, latex, measures, parts, stats, summary, wording
from analysis.tables import StudyTables
from analysis.verdicts import Verdicts

STATES: Final = ("stopped", "diverged", "failed", "interrupted", "running")


@dataclass(frozen=True)
class PaperTable:
    """`full` goes into the CSV file, `shown`, all texts, into LaTeX; `bold` holds row and column of marked cells."""

    full: pd.DataFrame
    shown: pd.DataFrame
    note: str
    bold: set[tuple[int, int]] = field(default_factory=set)

    def write(self, stem: Path) -> None:
        """Write `stem`.csv and `stem`.tex."""
        csv = self.full.to_csv(index=False, lineterminator="\n")
        parts.write(stem.with_name(f"{stem.name}.csv"), csv.encode())
        parts.write(stem.with_name(f"{stem.name}.tex"), latex.tabular(self.shown, self.note, self.bold).encode())


def paper_tables(tables: StudyTables, judged: Verdicts) -> Iterator[tuple[str, PaperTable]]:
    """Yield name and table of those that have a row."""
    made: Mapping[str, Callable[[StudyTables, Verdicts], PaperTable]] = {
        "overview": overview,
        "pairs": pairs,
        "costs": costs,
        "budget": spent,
        "importance": important,
        "final": final,
        "classes": classes,
    }
    for name, make in made.items():
        table = make(tables, judged)
        if len(table.full):
            yield name, table


def score_unit(plan: Mapping[str, Any]) -> str:
    """Return the unit of a score as a head has it: ` (%)`, ` (dB)`, or nothing."""
    unit = "%" if wording.is_fraction(plan) else plan["metric"]["unit"]
    return f" ({unit})" if unit else ""


def gap_unit(plan: Mapping[str, Any]) -> str:
    """Return the unit of a difference of scores as a head has it."""
    return " (pp)" if wording.is_fraction(plan) else score_unit(plan)


def bare(text: str, plan: Mapping[str, Any]) -> str:
    """Return a score's text without its unit, which stands in the head."""
    unit = "%" if wording.is_fraction(plan) else plan["metric"]["unit"]
    return text.replace(f"{wording.STUCK}{unit}", "") if unit else text


def leaders(ranking: pd.DataFrame) -> list[bool]:
    """Return for each row of a ranking whether it has an interval and no verdict says that another is better; none
    where that holds for all that are tested.
    """
    first = (ranking["rank_low"] == 1) & ranking["low"].notna()
    return list(first & (first.sum() < ranking["test"].notna().sum()))


def overview(tables: StudyTables, judged: Verdicts) -> PaperTable:
    """Return the ranking."""
    plan, rows = tables.plan, summary.overview(tables, judged)
    tested = f"test {plan['metric']['name']}"
    units = {tested: score_unit(plan), "validation": score_unit(plan), "gain": gap_unit(plan)}
    shown = _texts(rows, units, plan)
    column = list(rows[0]).index(tested)
    bold = {(row, column) for row, leads in enumerate(leaders(judged.ranking)) if leads}
    ends = judged.ranking[["low", "high"]].clip(*wording.limits(plan))
    return PaperTable(judged.ranking.assign(**ends), shown, _with_bold(summary.explained(tables)), bold)


def _with_bold(note: str) -> str:
    return f"{note} Bold: no verdict says that another one is better; none where that is so of all."


def _texts(rows: list[summary.Cells], units: Mapping[str, str], plan: Mapping[str, Any]) -> pd.DataFrame:
    """Return the texts of the page's cells, the units moved into the head."""
    return pd.DataFrame(
        [
            {
                f"{name}{units.get(name, '')}": bare(text, plan) if name in units else text
                for name, (text, _) in row.items()
            }
            for row in rows
        ]
    )


def pairs(tables: StudyTables, judged: Verdicts) -> PaperTable:
    """Return every pair with its verdict."""
    keep = ("first", "second", "verdict", "gap", "level", "n", "to decide", "P(first > second)")
    rows = [{name: row[name] for name in keep} for row in summary.pair_rows(tables, judged)]
    return PaperTable(judged.pairs, pair_texts(rows, tables.plan), summary.pairs_explained(tables, judged))


def pair_texts(rows: list[summary.Cells], plan: Mapping[str, Any]) -> pd.DataFrame:
    """Return the texts of pairs, the units of gap and level in the head."""
    percent = f"{wording.STUCK}%"
    names = {"gap": f"gap{gap_unit(plan)}", "level": "level (%)"}
    return pd.DataFrame(
        [{names.get(name, name): text.removesuffix(percent) for name, (text, _) in row.items()} for row in rows]
    )


def costs(tables: StudyTables, judged: Verdicts) -> PaperTable:  # noqa: ARG001
    """Return what each winner costs."""
    found = budget.winner_costs(tables)
    if found.empty:
        return PaperTable(found, found, "")
    target = wording.score(budget.target_score(tables), tables.plan)
    shown = pd.DataFrame(
        {
            "space": found["space"],
            "parameters": found["parameters"].map(_whole),
            "multiply-adds": found["multiply_adds"].map(_whole),
            **_time("training", found["train_seconds"]),
            "images/s": found["images_per_second"].map(_whole),
            "reached": found["reached"].map(wording.value) + " of " + found["n"].map(wording.value),
            "epochs to target": found["epochs"].map(wording.value),
            **_time("time to target", found["seconds"]),
        }
    )
    note = (
        "Training: mean of the final runs. Images/s: median over their epochs, training alone. Target: "
        f"{target} validation {tables.plan['metric']['name']}; reached by how many of the n final runs, with the "
        "median epochs and time to get there."
    )
    return PaperTable(found, shown, note)


def spent(tables: StudyTables, judged: Verdicts) -> PaperTable:  # noqa: ARG001
    """Return what each space got and used; states in which no trial ended are left out."""
    found = stats.spending(tables)
    happened = [state for state in STATES if found[state].any()]
    shown = pd.DataFrame(
        {
            "space": found["space"],
            **{name: found[name].map(_whole) for name in ("trials", "finished", *happened, "epochs")},
            "saved epochs": found["epochs_saved"].map(_whole),
            **_time("time", found["seconds"]),
            "final runs": found["final_runs"].map(_whole),
            "their epochs": found["final_epochs"].map(_whole),
            **_time("their time", found["final_seconds"]),
        }
    )
    return PaperTable(found, shown, "Saved epochs: what stopped trials did not train of their full length.")


def important(tables: StudyTables, judged: Verdicts) -> PaperTable:  # noqa: ARG001
    """Return the importance of the hyperparameters; in LaTeX for the best at the last epoch at which they are known
    and for the better half.
    """
    found = importance.importances(tables)
    last = found[found["target"] == "best"].groupby("space")["epoch"].max()
    rows = found[(found["target"] == "half") | (found["epoch"] == found["space"].map(last))]
    order = {space: place for place, space in enumerate(tables.plan["spaces"])}
    rows = rows.assign(place=rows["space"].map(order))
    rows = rows.sort_values(["place", "target", "importance"], ascending=[True, True, False], kind="stable")
    share = [_percent(rows[name]) for name in ("importance", "low", "high", "null")]
    shown = pd.DataFrame(
        {
            **{name: rows[name] for name in ("space", "target", "parameter")},
            "epoch": rows["epoch"].map(_whole),
            "importance (%)": share[0] + " (" + share[1] + " to " + share[2] + ")",
            "chance (%)": share[3],
            "best": rows["best"].map(_whole),
            "n": rows["n"].map(_whole),
        }
    )
    note = (
        "Share of the variance of being among the best, or in the better half, that a hyperparameter explains on its "
        "own, with its 95 % interval over trials, and the 95 % quantile of what chance gives."
    )
    return PaperTable(found, shown, note)


def final(tables: StudyTables, judged: Verdicts) -> PaperTable:  # noqa: ARG001
    """Return the final runs, a row each."""
    found, unit = tables.final, score_unit(tables.plan)
    scores = {
        f"{split}{unit}": [bare(wording.score(score, tables.plan), tables.plan) for score in found[name]]
        for split, name in (("validation", "val_score"), ("test", "test_score"))
    }
    shown = pd.DataFrame(
        {
            **{name: found[name] for name in ("space", "trial")},
            "seed": found["seed"].map(wording.value),
            "state": found["state"],
            "epochs": found["epochs_trained"].map(_whole),
            **scores,
            **{
                measures.COLUMNS[name]: measures.texts(name, found["final"].map(values), tables)
                for name, values in measures.by_final(tables).items()
            },
            "test loss": found["test_loss"].map(wording.value),
            **_time("training", found["train_seconds"]),
        }
    )
    return PaperTable(found, shown, f"{wording.metric(tables.plan)} of the final runs, a row each.")


def classes(tables: StudyTables, judged: Verdicts) -> PaperTable:  # noqa: ARG001
    """Return the recall of each class, where classes are unbalanced; nothing where they are not."""
    if balance.class_sizes(tables) is None:
        return PaperTable(pd.DataFrame(), pd.DataFrame(), "")
    found = balance.recall(tables)
    spaces = [name for name in found.columns if name not in ("class", "images")]
    texts = {
        f"{space} (%)": [bare(wording.score(share, tables.plan), tables.plan) for share in found[space]]
        for space in spaces
    }
    shown = pd.DataFrame({"class": found["class"], "test images": found["images"].map(_whole), **texts})
    return PaperTable(found, shown, f"Recall of each class on the test split. {balance.said(tables)}")


def _whole(number: float) -> str:
    return wording.MISSING if pd.isna(number) else f"{number:,.0f}"


def _percent(shares: "pd.Series[Any]") -> "pd.Series[Any]":
    return shares.map(lambda share: f"{100 * share:.0f}")


def _time(name: str, seconds: "pd.Series[Any]") -> dict[str, "pd.Series[Any]"]:
    """Return the column of times in the unit in which the largest reads best, with that unit in its head."""
    most = seconds.max()
    size, unit = (1, "s") if pd.isna(most) or most < 120 else (60, "min") if most < 7200 else (3600, "h")
    texts = (seconds / size).map(lambda time: wording.MISSING if pd.isna(time) else f"{time:,.3g}")
    return {f"{name} ({unit})": texts}
