"""The sentences at the top of the report: what was found, for how much, and how sure."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import stats, wording
from analysis.tables import StudyTables


@dataclass(frozen=True)
class Finding:
    """What is said about one space: `space`, `configuration` of its winner (or empty), `sentence`."""

    space: str
    configuration: str
    sentence: str


def progress(tables: StudyTables) -> str:
    """Say whether the study is done, and how far it is."""
    states = tables.trials["state"].value_counts()
    done = len(tables.trials) - int(states.get("running", 0)) - int(states.get("interrupted", 0))
    total = _planned_trials(tables) * len(tables.plan["spaces"])
    reason = _reason(tables)
    counted = f"{done} of {wording.count(total, 'trial')} ended"
    parts = [f"{number} {state}" for state, number in states.items()]
    detail = f" ({wording.listed(parts)})" if parts else ""
    return f"{reason}: {counted}{detail}, {wording.count(len(tables.final), 'final run')}."


def _planned_trials(tables: StudyTables) -> int:
    return int(tables.sessions["trials"].iloc[-1]) if len(tables.sessions) else int(tables.plan["trials"])


def _reason(tables: StudyTables) -> str:
    if tables.sessions.empty:
        return "Not started"
    reason = tables.sessions["reason"].iloc[-1]
    if pd.isna(reason):
        return "Still running, or its driver died without a word"
    ends = {"finished": "Finished", "time budget": "Ended by the time budget (can be resumed)"}
    return ends.get(reason, f"{reason.capitalize()} (can be resumed)")


def findings(tables: StudyTables) -> list[Finding]:
    """Return one finding per space, in the order of the plan."""
    winners = stats.winners(tables).set_index("space").to_dict("index")
    spent = stats.spending(tables).set_index("space").to_dict("index")
    intervals = stats.test_intervals(tables)
    return [
        _finding(tables, space, winners.get(space), spent[space], intervals.get(space))
        for space in tables.plan["spaces"]
    ]


def _finding(
    tables: StudyTables,
    space: str,
    winner: dict[Any, Any] | None,
    spent: dict[Any, Any],
    found: stats.Interval | None,
) -> Finding:
    budget = _budget(spent)
    if winner is None:
        return Finding(space, "", f"no trial has finished at full length, so there is no winner; {budget}.")
    trial = tables.trials.set_index("trial").loc[winner["trial"]].to_dict()
    configuration = wording.configuration(trial, tables.plan["spaces"][space])
    name = tables.plan["metric"]["name"]
    validation = f"{wording.score(winner['score'], tables.plan)} validation {name} in the search"
    if found is None:
        sentence = f"{winner['trial']} with {validation}; not tested yet, so no verdict; {budget}."
    else:
        tested = wording.interval(found, tables.plan)
        sentence = f"{winner['trial']}, retrained, has {tested} test {name}; {validation}; {budget}."
    return Finding(space, configuration, sentence)


def _budget(spent: dict[Any, Any]) -> str:
    trials, epochs = wording.count(spent["trials"], "trial"), wording.count(spent["epochs"], "epoch")
    planned, saved = spent["epochs_planned"], spent["epochs_saved"]
    share = f" ({100 * saved / planned:.0f}{wording.STUCK}% of {planned:,})" if planned else ""
    return f"{trials} cost {epochs}, stopping saved {saved:,}{share}"


def verdicts(tables: StudyTables) -> list[str]:
    """Return one sentence per pair of spaces; `cannot tell` is an answer."""
    if len(tables.plan["spaces"]) < 2:
        return []
    pairs = stats.gaps(tables)
    if pairs.empty:
        return ["Which space is better: cannot tell, since fewer than two have a tested winner."]
    return [_verdict(row, tables) for row in pairs.to_dict("records")]


def _verdict(row: dict[Any, Any], tables: StudyTables) -> str:
    unit, seeds = wording.difference_unit(tables.plan), wording.count(row["n"], "shared seed")
    ends = [wording.difference(row[end], tables.plan) for end in ("gap", "low", "high")]
    if pd.isna(row["low"]):
        return f"{row['first']} or {row['second']}: cannot tell, with {seeds} there is no interval."
    gap = f"{ends[0]} {unit}, {100 * row['level']:.4g} % paired t interval {ends[1]} to {ends[2]}, n = {seeds}"
    if row["low"] > 0:
        return f"{row['first']} is better than {row['second']} by {gap}."
    return f"{row['first']} or {row['second']}: cannot tell; the gap is {gap}."
