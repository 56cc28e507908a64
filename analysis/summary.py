"""What the top of the report and the end of a study in the terminal say: the ranking, one sentence, the pairs."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import stats, wording
from analysis.intervals import SMALLEST_SAMPLE, Interval
from analysis.tables import StudyTables, is_restoration
from analysis.verdicts import Verdicts

Cells = dict[str, tuple[str, Any]]  # heading to what is shown and what it is sorted by
MOST_SENTENCES = 5  # of the leader against each of the others; the table has all pairs
MOST_NAMES = 3  # of spaces in one part of the headline


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
    planned = _planned_trials(tables) * len(tables.plan["spaces"])
    total = len(tables.trials) if "imported" in tables.plan else planned
    reason = _reason(tables)
    counted = f"{done:,} of {wording.count(total, 'trial')} ended"
    parts = [f"{number:,} {state}" for state, number in states.items()]
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
    if reason == "finished":
        return "Finished"
    ended = f"Ended by the {reason}" if reason.endswith("budget") else reason.capitalize()
    return f"{ended} (can be resumed)"


def budget(tables: StudyTables) -> str:
    """Say what each space could spend in the search, that it was the same for all, and what ended each search."""
    limits, ended = stats.budget(tables), stats.binding(tables)
    words = {
        "trials": lambda value: wording.count(int(value), "trial"),
        "epochs": lambda value: wording.count(int(value), "epoch"),
        "GPU time": lambda value: f"{wording.duration(value)} of a GPU",
        "time": lambda value: f"an equal part of {wording.duration(value)}",
    }
    several = len(tables.plan["spaces"]) > 1
    most = wording.listed([words[unit](value) for unit, value in limits.items()])
    said = f"{'Equal for every space' if several else 'The search had'}: at most {most}."
    by_unit = {unit: [space for space, its in ended.items() if its == unit] for unit in limits}
    parts = [f"{unit} ({wording.listed(spaces)})" for unit, spaces in by_unit.items() if spaces]
    return f"{said} What ran out: {wording.listed(parts) if parts else 'nothing yet'}."


def findings(tables: StudyTables, verdicts: Verdicts) -> list[Finding]:
    """Return one finding per space, in the order of the plan: its winner's settings, and what the search cost."""
    winners = stats.winners(tables).set_index("space").to_dict("index")
    spent = stats.spending(tables).set_index("space").to_dict("index")
    notes = verdicts.worth.set_index("space")["note"].to_dict()
    return [
        _finding(tables, space, winners.get(space), spent[space], notes.get(space, ""))
        for space in tables.plan["spaces"]
    ]


def _finding(
    tables: StudyTables, space: str, winner: dict[Any, Any] | None, spent: dict[Any, Any], note: str
) -> Finding:
    budget = _budget(spent)
    if winner is None:
        return Finding(space, "", f"no trial has finished at full length, so there is no winner; {budget}.")
    trial = tables.trials.set_index("trial").loc[winner["trial"]].to_dict()
    configuration = wording.configuration(trial, tables.plan["spaces"][space])
    lost = _lost(tables, space)
    untested = "not tested" if lost else "not retrained yet, so not tested"
    parts = [f"{winner['trial']}, {'retrained' if winner['retrained'] else untested}", lost, note, budget]
    return Finding(space, configuration, "; ".join(part for part in parts if part) + ".")


def _lost(tables: StudyTables, space: str) -> str:
    lost, total, reason = stats.lost_finals(tables, space)
    return f"{lost} of {wording.count(total, 'final run')} diverged or failed: {reason}" if lost else ""


def _whole(winner: dict[Any, Any], tables: StudyTables) -> bool:
    return bool(winner["epochs_trained"] >= tables.plan["max_epochs"])


def _budget(spent: dict[Any, Any]) -> str:
    trials, epochs = wording.count(spent["trials"], "trial"), wording.count(spent["epochs"], "epoch")
    planned, saved = spent["epochs_planned"], spent["epochs_saved"]
    share = f" ({100 * saved / planned:.0f}{wording.STUCK}% of {planned:,})" if planned else ""
    return f"{trials} cost {epochs}, stopping saved {saved:,}{share}"


def overview(tables: StudyTables, verdicts: Verdicts) -> list[Cells]:
    """Return a row per space, the best first, as the page and the terminal show it."""
    return [_overview_row(row, tables) for row in verdicts.ranking.to_dict("records")]


def _overview_row(row: dict[Any, Any], tables: StudyTables) -> Cells:
    plan = tables.plan
    mean = Interval(row["test"], row["low"], row["high"], row["n"])
    tested = pd.notna(row["test"])
    places = sorted({row["rank_low"], row["rank_high"]}) if tested else []
    rank = "-".join(f"{place:.0f}" for place in places) or wording.MISSING
    validation = wording.score(row["validation"], plan)
    if pd.notna(row["epochs_trained"]) and not _whole(row, tables):
        validation += f" (epoch {row['epochs_trained']:.0f} of {plan['max_epochs']})"
    gain = wording.difference(row["gain"], plan)
    return {
        "rank": (rank, row["rank_low"]),
        "space": (row["space"], row["space"]),
        f"test {plan['metric']['name']}": (wording.short_interval(mean, plan), row["test"]),
        "n": (str(row["n"]), row["n"]),
        "validation": (validation, row["validation"]),
        "gain": (gain if gain.startswith(("-", wording.MISSING)) else f"+{gain}", row["gain"]),
        "parameters": (_whole_number(row["parameters"]), row["parameters"]),
        "s/epoch": (wording.value(row["seconds_per_epoch"]), row["seconds_per_epoch"]),
    }


def _whole_number(value: float) -> str:
    return wording.MISSING if pd.isna(value) else f"{value:,.0f}"


def explained(tables: StudyTables) -> str:
    """Say what the columns of the overview are."""
    name, unit = tables.plan["metric"]["name"], wording.difference_unit(tables.plan)
    return (
        f"Rank: the places that the verdicts leave open. Test {name}: mean of the winner's n retrained seeds, with "
        f"the 95{wording.STUCK}% interval over {stats.spread(tables)}, from {SMALLEST_SAMPLE} seeds on. Validation: "
        f"the winner's score in the search. Gain: that minus the reference setting's, in {unit}, one run each. Chosen "
        "by validation; the test split decides nothing."
    )


def headline(tables: StudyTables, verdicts: Verdicts) -> str:
    """Say who leads, by how much and how sure, or why nobody can tell; then which space its final runs left out."""
    lost = {space: _lost(tables, space) for space in tables.plan["spaces"] if space not in verdicts.tested}
    named = [f"{space} ({reason})" for space, reason in lost.items() if reason]
    return _leader(tables, verdicts) + (f" Not tested: {wording.listed(named)}." if named else "")


def _leader(tables: StudyTables, verdicts: Verdicts) -> str:
    plan, tested, name = tables.plan, verdicts.tested, tables.plan["metric"]["name"]
    if not tested:
        return "No verdict: no winner has been tested."
    leader = str(verdicts.ranking["space"].iloc[0])
    best = f"{wording.score(tested[leader].mean, plan)} test {name}"
    if len(plan["spaces"]) == 1:
        return f"{leader} has a test {name} of {wording.interval(tested[leader], plan)}."
    if len(tested) == 1:
        return "Which space is better: cannot tell, since fewer than two have a tested winner."
    if verdicts.pairs["low"].isna().all():
        most = wording.count(int(verdicts.pairs["n"].max()), "shared seed")
        why = f"No pair can be decided: {most}, an interval needs {SMALLEST_SAMPLE}."
        return f"{why} {leader} has the highest mean, {best}."
    found = _against(leader, verdicts)
    unit = wording.difference_unit(plan)
    least = wording.difference(found.loc[found["verdict"] == "better", "low"].min(), plan)
    texts = {
        "better": f"better than {{}} by at least {least} {unit}",
        "worse": "worse than {} on the seeds that both have",
        "equivalent": f"equivalent to {{}} (within {verdicts.margin:g} {unit})",
        "cannot tell": "cannot be told from {}",
    }
    groups = {verdict: found.loc[found["verdict"] == verdict, "other"].to_list() for verdict in texts}
    parts = [text.format(_some(groups[verdict])) for verdict, text in texts.items() if groups[verdict]]
    return f"{leader} has the highest mean, {best}: {'; '.join(parts)}."


def _against(leader: str, verdicts: Verdicts) -> pd.DataFrame:
    """Return the pairs of the leader with `other` and the verdict as it is for the leader, who may be second where
    not all seeds are shared.
    """
    pairs = verdicts.pairs
    ahead, behind = pairs[pairs["first"] == leader], pairs[pairs["second"] == leader]
    turned = behind["verdict"].replace("better", "worse")
    return pd.concat([ahead.assign(other=ahead["second"]), behind.assign(other=behind["first"], verdict=turned)])


def _some(names: list[str]) -> str:
    return wording.listed(names) if len(names) <= MOST_NAMES else f"{len(names)} others"


def sentences(tables: StudyTables, verdicts: Verdicts) -> list[str]:
    """Return a sentence for the leader against each of the next few; `cannot tell` is an answer."""
    if verdicts.pairs["low"].isna().all():
        return []
    leader = verdicts.ranking["space"].iloc[0]
    mine = verdicts.pairs[verdicts.pairs["first"] == leader].head(MOST_SENTENCES)
    return [_sentence(row, tables, verdicts.margin) for row in mine.to_dict("records")]


def _sentence(row: dict[Any, Any], tables: StudyTables, margin: float) -> str:
    unit = wording.difference_unit(tables.plan)
    pair = f"{row['first']} or {row['second']}"
    if pd.isna(row["low"]):
        return f"{pair}: cannot tell, there is no interval; it needs {_to_decide(row)}."
    seeds = wording.count(row["n"], "shared seed" if row["paired"] else "seed")
    gap, low, high = (wording.difference(row[end], tables.plan) for end in ("gap", "low", "high"))
    level = f"{100 * row['level']:.4g}{wording.STUCK}% interval {low} to {high}"
    ends = f"{gap} {unit} ({level}, n{wording.STUCK}={wording.STUCK}{seeds})"
    if row["verdict"] == "better":
        return f"{row['first']} is better than {row['second']} by {ends}."
    if row["verdict"] == "equivalent":
        return f"{pair}: equivalent; the gap {ends} lies within ±{margin:g} {unit}."
    return f"{pair}: cannot tell; the gap is {ends}; to decide it needs {_to_decide(row)}."


def _to_decide(row: dict[Any, Any]) -> str:
    if row["verdict"] != "cannot tell":
        return wording.MISSING
    if pd.notna(row["needed_images"]):
        return f"≥ {row['needed_images']:,.0f} test images"
    seeds = row["needed_seeds"]
    return "> 1,000 seeds" if seeds == float("inf") else f"≥ {seeds:.0f} seeds"


def warnings(tables: StudyTables, verdicts: Verdicts) -> list[str]:
    """Return a sentence for each thing that makes scores less than they seem, with its spaces, and for lost final runs
    of a space.
    """
    lost = {space: _lost(tables, space) for space in tables.plan["spaces"]}
    noted = verdicts.worth[verdicts.worth["warning"].astype(bool)]  # without rows the column has no type
    groups = [(rows["space"].to_list(), note) for note, rows in noted.groupby("note", sort=False)]
    groups += [([space], reason) for space, reason in lost.items() if reason]
    return [f"{wording.listed(spaces)}: {note}." for spaces, note in groups]


def pair_rows(tables: StudyTables, verdicts: Verdicts) -> list[Cells]:
    """Return a row per pair of tested winners."""
    return [_pair_row(row, tables) for row in verdicts.pairs.to_dict("records")]


def _pair_row(row: dict[Any, Any], tables: StudyTables) -> Cells:
    plan = tables.plan
    gap, low, high = (wording.difference(row[end], plan) for end in ("gap", "low", "high"))
    known = pd.notna(row["low"])
    chance = f"{row['superiority']:.2f}" if pd.notna(row["superiority"]) else wording.MISSING
    if pd.notna(row["superiority_low"]):
        chance += f" ({row['superiority_low']:.2f} to {row['superiority_high']:.2f})"
    return {
        "first": (row["first"], row["first"]),
        "second": (row["second"], row["second"]),
        "verdict": (row["verdict"], row["verdict"]),
        "gap": (f"{gap} ({low} to {high})" if known else gap, row["gap"]),
        "level": (f"{100 * row['level']:.4g}{wording.STUCK}%" if known else wording.MISSING, row["level"]),
        "n": (str(row["n"]) if row["paired"] else f"{row['n']}, not paired", row["n"]),
        "to decide": (_to_decide(row), row["needed_seeds"]),
        "P(first > second)": (chance, row["superiority"]),
        **_alone(row, tables),
        "ahead from epoch": (wording.value(row["ahead_from"]), row["ahead_from"]),
        "curves cross at": (row["crossings"] or wording.MISSING, row["crossings"]),
        "second ahead at k trials": (row["few_trials"] or wording.MISSING, row["few_trials"]),
    }


def _alone(row: dict[Any, Any], tables: StudyTables) -> Cells:
    """Return on how many test images only one is right, where an answer can be right."""
    if is_restoration(tables.plan):
        return {}
    alone = "/".join(wording.value(row[name]) for name in ("only_first", "only_second"))
    return {"only first/second right": (alone if pd.notna(row["only_first"]) else wording.MISSING, row["only_first"])}


def pairs_explained(tables: StudyTables, verdicts: Verdicts) -> str:
    """Say how the verdicts are reached."""
    unit = wording.difference_unit(tables.plan)
    restored = is_restoration(tables.plan)
    alone = "" if restored else "Only right: test images that only one of the two has right, mean over seeds. "
    return (
        f"Gap in {unit}, with its interval over {stats.spread(tables)}. Better: the interval lies above 0. "
        f"Equivalent: it lies within ±{verdicts.margin:g} {unit} (--margin). Cannot tell: neither. Each interval has "
        f"the level at which Holm's step-down judged the pair, so all verdicts together hold with 95{wording.STUCK}%. "
        f"To decide: what gives 80{wording.STUCK}% power, if the true gap is the one seen, or {verdicts.margin:g} if "
        "that is larger; test images where no number of seeds is enough. P: how often a seed of the first beats the "
        f"same seed of the second (ties half), with the exact 95{wording.STUCK}% interval. {alone}Ahead and cross: "
        "mean validation curves of the final runs. Second ahead: numbers k of random trials whose best is expected to "
        "be better in the second space."
    )


def worth_rows(tables: StudyTables, verdicts: Verdicts) -> list[Cells]:
    """Return a row per winner: what tuning gained, and how much the search overstated it."""
    return [_worth_row(row, tables) for row in verdicts.worth.to_dict("records")]


def _worth_row(row: dict[Any, Any], tables: StudyTables) -> Cells:
    plan = tables.plan
    gap, low, high = (wording.difference(row[end], plan) for end in ("selection_gap", "low", "high"))
    return {
        "space": (row["space"], row["space"]),
        "winner": (row["trial"], row["trial"]),
        "reference": (wording.score(row["reference"], plan), row["reference"]),
        "winner's validation": (wording.score(row["validation"], plan), row["validation"]),
        "gain": (wording.difference(row["gain"], plan), row["gain"]),
        "luck": (wording.difference(row["luck"], plan), row["luck"]),
        "selection gap": (f"{gap} ({low} to {high})" if pd.notna(row["low"]) else gap, row["selection_gap"]),
        "n": (str(row["n"]), row["n"]),
    }
