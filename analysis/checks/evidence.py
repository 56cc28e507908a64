"""How sure is the answer? Checks 14, 15, 17 of the Playbook, and two of ours: 18 and 19."""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from analysis import stats, wording
from analysis.checks.check import Answer, Check, each_space
from analysis.checks.record import SEEDS, Record

SURE: Final = 2.0  # standard errors
POWER: Final = (1.96 + 0.84) ** 2  # two-sided 5 %, found in 80 % of studies
MOST_SEEDS: Final = 30  # beyond, a gap is too small to be worth it
RANKS: Final = 0.7
FEWEST_RANKED: Final = 8
STUDIES: Final = 2
OPENINGS: Final = 1
TOO_MANY: Final = 3


def seeds(record: Record) -> Iterator[Answer]:
    """Ask whether the winners were retrained often enough, and whether the leader's lead is more than their scatter."""
    scores = {space: _scores(record, space) for space in record.spaces}
    for space, values in scores.items():
        if values.empty:
            yield _no_seeds(record, space)
        elif len(values) < SEEDS:
            found = f"{wording.count(len(values), 'seed')}, {SEEDS} needed for an interval"
            yield Answer("WARN", space, found, "retrain with more seeds", {"final_seeds": SEEDS + 1})
        else:
            scatter = wording.difference(float(values.std()), record.plan)
            found = f"{wording.count(len(values), 'seed')}, sd {scatter} {wording.difference_unit(record.plan)}"
            yield Answer("PASS", space, found)
    known = sorted((space for space in scores if len(scores[space])), key=lambda space: -scores[space].mean())
    if len(known) > 1:
        yield _lead(record, known[0], known[1], scores[known[0]] - scores[known[1]])


def _no_seeds(record: Record, space: str) -> Answer:
    if lost := _all_lost(record, space):
        remedy = "read why in their trial.log; retrain several of the best, so that another can win"
        return Answer("NOT TESTABLE", space, lost, remedy, {"final_configs": 1 + record.plan["final"]["configs"]})
    changes = {"trials": record.planned_trials}
    return Answer("NOT TESTABLE", space, f"no final run; {SEEDS} seeds needed", "resume to the end", changes)


def _all_lost(record: Record, space: str) -> str:
    lost, total, _ = stats.lost_finals(record.tables, space)
    return f"its {wording.count(total, 'final run')} diverged or failed" if lost == total > 0 else ""


def _scores(record: Record, space: str) -> pd.Series:
    """Test scores of the winner's final runs by seed; validation scores while none is tested."""
    finals = record.finals(space).set_index("seed")
    column = "test_score" if finals["test_score"].notna().any() else "val_score"
    return finals[column].dropna()


def _lead(record: Record, first: str, second: str, difference: pd.Series) -> Answer:
    """Compare the two leading spaces over the seeds that both have."""
    paired, where = difference.dropna(), f"{first} before {second}"
    if len(paired) < SEEDS:
        found = f"{wording.count(len(paired), 'shared seed')}, {SEEDS} needed"
        return Answer("NOT TESTABLE", where, found, "retrain with more seeds", {"final_seeds": SEEDS + 1})
    gap, sd = float(paired.mean()), float(paired.std())
    error = sd / math.sqrt(len(paired))
    ratio = gap / error if error else math.inf
    unit = wording.difference_unit(record.plan)
    found = f"{wording.difference(gap, record.plan)} {unit}, {ratio:.2g} standard errors, {len(paired)} seeds"
    if ratio >= SURE:
        return Answer("PASS", where, found)
    needed = math.ceil(POWER * (sd / gap) ** 2) if gap > 0 else MOST_SEEDS + 1
    if needed > MOST_SEEDS:
        return Answer("WARN", where, found, f"call them equal: more than {MOST_SEEDS} seeds would be needed")
    changes = {"final_seeds": max(needed, len(paired) + 1)}
    return Answer("WARN", where, found, "retrain with more seeds, or say 'cannot tell'", changes)


def repeats(record: Record) -> Iterator[Answer]:
    """Ask whether the search was repeated with another seed, and whether the same space leads then."""
    studies = [record, *(Record(tables) for tables in record.repeats)]
    leaders = [study.scores for study in studies]
    if any(scores.empty for scores in leaders):
        yield Answer("NOT TESTABLE", "study", "no winner yet", "resume", {"trials": record.planned_trials})
        return
    first = str(leaders[0].idxmax())
    number = len({study.plan["seed"] for study in studies})
    best = [float(scores.get(first, np.nan)) for scores in leaders]
    ends = [wording.score(end, record.plan) for end in (np.nanmin(best), np.nanmax(best))]
    found = f"{wording.count(number, 'search seed')}; best of {first} {' to '.join(dict.fromkeys(ends))}"
    another = {"seed": 1 + max(int(study.plan["seed"]) for study in studies)}
    if number < STUDIES:
        remedy = "repeat the study with another seed, then audit both with --repeat"
        yield Answer("WARN", "study", f"{found}: nothing is known of the search's own scatter", remedy, another)
    elif len({scores.idxmax() for scores in leaders}) > 1:
        named = wording.listed([str(scores.idxmax()) for scores in leaders])
        yield Answer("WARN", "study", f"{found}; leaders {named}", "say 'cannot tell', or repeat more often", another)
    else:
        yield Answer("PASS", "study", found)


def rounds(record: Record, space: str) -> Iterator[Answer]:
    """Ask whether scores at the first rung ordered the trials as their scores at full length did."""
    full = record.full(space)
    rungs = [rung for rung in record.plan["rungs"] if rung < record.max_epochs]
    if not rungs:
        yield Answer("NOT TESTABLE", space, "no rungs: nothing was stopped early")
        return
    if len(full) < FEWEST_RANKED:
        found = f"{wording.count(len(full), 'trial')} at full length past a rung, {FEWEST_RANKED} needed"
        changes = {"trials": record.trials_for(FEWEST_RANKED, space)}
        yield Answer("NOT TESTABLE", space, found, "run more trials", changes)
        return
    early = record.curves(full["trial"], "val_score")[:, rungs[0] - 1]
    late = full["score"].to_numpy()
    known = np.isfinite(early)
    if len(set(early[known])) < 2 or len(set(late[known])) < 2:
        yield Answer("NOT TESTABLE", space, "all scores at the first rung, or at the end, are equal")
        return
    rho = float(spearmanr(early[known], late[known])[0])
    found = f"rank correlation {rho:.2f}, epoch {rungs[0]} to {record.max_epochs}, {known.sum()} survivors"
    if rho < RANKS:
        remedy = "distrust early stops: longer trials put the first rung later"
        yield Answer("WARN", space, found, remedy, {"max_epochs": record.longer})
    else:
        yield Answer("PASS", space, found)


def openings(record: Record) -> Iterator[Answer]:
    """Ask how often the test split was opened for each space; runs opened again after a crash count once."""
    tables = record.tables
    space_of = tables.final.set_index("final")["space"].to_dict()
    times, seen = dict.fromkeys(record.spaces, 0), set[str]()
    for names in tables.openings["names"]:
        new = set(names.split()) - seen
        seen |= new
        for space in {space_of[name] for name in new if name in space_of}:
            times[space] += 1
    unlogged = tables.final[tables.final["test_score"].notna() & ~tables.final["final"].isin(list(seen))]
    for space, number in times.items():
        secret = int((unlogged["space"] == space).sum())
        tested = int(tables.final.loc[tables.final["space"] == space, "test_score"].notna().sum())
        found = f"{wording.count(number, 'opening')}, {wording.count(tested, 'final run')}"
        if secret:
            remedy = "restore events.jsonl from a copy: a test score without its opening proves nothing"
            yield Answer("FAIL", space, f"{found}, {secret} tested without an opening in the log", remedy)
        elif number > OPENINGS:
            status = "FAIL" if number >= TOO_MANY else "WARN"
            remedy = "report the score of the first opening, or take test images nobody has used"
            yield Answer(status, space, found, remedy)  # type: ignore[arg-type]
        elif number:
            yield Answer("PASS", space, found)
        elif lost := _all_lost(record, space):
            yield Answer("NOT TESTABLE", space, f"not opened: {lost}")
        else:
            changes = {"trials": record.planned_trials}
            yield Answer("NOT TESTABLE", space, "not opened yet", "resume to the end", changes)


def reference(record: Record, space: str) -> Iterator[Answer]:
    """Ask whether the published setting, and anything else in the space, learned more than chance."""
    trials = record.ended(space)
    first = trials[trials["origin"] == "reference"]
    full = record.full(space)
    measured = first["trial"].isin(full["trial"]) | first["state"].isin(["diverged", "failed"])
    if not measured.any():
        changes = {"trials": record.planned_trials}
        yield Answer("NOT TESTABLE", space, "the reference setting has not ended at full length", "resume", changes)
        return
    row = first[measured].iloc[0]
    lost = row["state"] in ("diverged", "failed")
    said = row["state"] if lost else wording.score(row["score"], record.plan)
    chance = wording.score(record.plan["metric"].get("chance", np.nan), record.plan)
    found = f"reference {said}, {wording.baseline(record.plan)} {chance}"
    if not lost and row["score"] >= record.floor:
        yield Answer("PASS", space, found)
    elif len(full) and full["score"].iloc[0] >= record.floor:
        remedy = "what is gained over the reference says nothing here; train longer, or mend the reference"
        best = wording.score(full["score"].iloc[0], record.plan)
        yield Answer("WARN", space, f"{found}; best {best}", remedy, {"max_epochs": record.longer})
    else:
        remedy = "nothing in this space learned: look for a bug, or train longer"
        yield Answer("FAIL", space, found, remedy, {"max_epochs": record.longer})


SEEDS_CHECK = Check(
    number=14,
    title="Seeds of the winners",
    answers=seeds,
    warn=f"fewer than {SEEDS}, or the leader ahead by less than {SURE:g} standard errors (paired)",
    figure="test_scores",
)
REPEATS = Check(
    number=15,
    title="Search repeated",
    answers=repeats,
    warn=f"fewer than {STUDIES} search seeds, or another space leads",
)
ROUNDS = Check(
    number=17,
    title="Short trials tell of long ones",
    answers=each_space(rounds),
    warn=f"rank correlation of first rung and end below {RANKS:g} among survivors",
    figure="learning_curves",
)
OPENINGS_CHECK = Check(
    number=18,
    title="Test split opened once",
    answers=openings,
    warn="2 openings for a space",
    fail=f"{TOO_MANY} or more, or a test score without an opening in the log",
    figure="test_scores",
)
REFERENCE = Check(
    number=19,
    title="Reference above chance",
    answers=each_space(reference),
    warn="reference diverged, failed or below twice chance at full length",
    fail="and nothing else in the space is above",
    figure="effects",
)
