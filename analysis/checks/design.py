"""Is the comparison fair by its design? Checks 9 to 13 and 16."""

import glob
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

import pandas as pd

from analysis import stats, wording
from analysis.checks.axes import parts
from analysis.checks.check import Answer, Check, each_space
from analysis.checks.record import Parameter, Record
from analysis.checks.remedies import EDIT, REPORT
from analysis.tables import searched

UNEQUAL: Final = 2.0  # most against fewest trials of a value
UNFAIR: Final = 1.2  # largest against smallest budget of a space
VOID: Final = 2.0
ROLES: Final = ("scientific", "nuisance", "fixed")
LEARNING_RATE: Final = re.compile(r"(^|_)(lr|learning_rate)$")
LENGTHS: Final = re.compile(r"(^|_)(max_)?(epochs|steps)$")
RANGE: Final = ("type", "low", "high", "log", "choices")


def isolation(record: Record, space: str) -> Iterator[Answer]:
    """Ask whether the values of the scientific hyperparameters had as many trials, so that their best compare."""
    ended = record.ended(space)
    scientific = [parameter for parameter in record.parameters(space) if parameter.get("role") == "scientific"]
    asked = [parameter for parameter in scientific if not parameter["when"] and _several(parameter)]
    if not asked:
        yield Answer("NOT TESTABLE", space, "no scientific hyperparameter applies to every trial")
        return
    counts = {parameter["name"]: _trials_of_values(parameter, ended) for parameter in asked}
    most = max(len(values) for values in counts.values())
    if len(ended) < 2 * most:
        found = f"{wording.count(len(ended), 'trial')} for up to {most} values of a hyperparameter; {2 * most} needed"
        yield Answer("NOT TESTABLE", space, found, "run more trials", {"trials": 2 * most})
        return
    unequal = {name: values for name, values in counts.items() if max(values) > UNEQUAL * min(values)}
    said = [f"{name} {min(values)} to {max(values)}" for name, values in (unequal or counts).items()]
    found = f"trials of each value: {wording.listed(said)}"
    if unequal:
        remedy = "do not read the best of each value as its effect; give each value a space of its own to compare them"
        yield Answer("WARN", space, found, remedy)
    else:
        yield Answer("PASS", space, found)


def _several(parameter: Parameter) -> bool:
    if parameter["type"] == "categorical":
        return len(parameter["choices"]) > 1
    return bool(parameter["low"] < parameter["high"])


def _trials_of_values(parameter: Parameter, trials: pd.DataFrame) -> list[int]:
    """Return the number of trials with each value, or in each quarter of a range; 0 where there are none."""
    found = parts(parameter, trials[str(parameter["name"])].dropna()).value_counts()
    values = len(parameter["choices"]) if parameter["type"] == "categorical" else _values(parameter)
    return [*found.to_list(), *[0] * (values - len(found))]


def _values(parameter: Parameter) -> int:
    whole = parameter["type"] == "int" and not parameter["log"]
    return min(4, parameter["high"] - parameter["low"] + 1) if whole else 4


def plots(record: Record) -> Iterator[Answer]:
    """Ask whether the report draws every hyperparameter of every trial, and every curve."""
    folder = record.tables.run_dir / "report" / "figures"
    for space in record.spaces:
        trials = record.tables.trials.query("space == @space")
        if trials.empty:
            yield Answer("NOT TESTABLE", space, "no trial yet")
            continue
        files = [path for name in ("", "-part*") for path in folder.glob(f"effects-{glob.escape(space)}{name}.csv")]
        drawn = pd.concat([pd.DataFrame(), *(pd.read_csv(path, usecols=["parameter", "trial"]) for path in files)])
        shown = drawn.nunique() if len(drawn) else {"parameter": 0, "trial": 0}
        varied = int(trials[[p["name"] for p in searched(record.plan, space)]].notna().any().sum())
        found = f"{shown['parameter']} of {varied} hyperparameters, {shown['trial']} of {len(trials)} trials drawn"
        curves = trials["epochs_trained"].max() == 0 or any(folder.glob("learning_curves*.csv"))
        effects = not varied or (shown["parameter"] == varied and shown["trial"] == len(trials))
        complete = effects and curves
        if complete:
            yield Answer("PASS", space, found)
        else:
            yield Answer("WARN", space, found, "write the report", REPORT)


def roles(record: Record, space: str) -> Iterator[Answer]:
    """Ask whether each hyperparameter says what it is there for; fixed ones are caveats of every conclusion."""
    parameters = record.parameters(space)
    if not parameters:
        yield Answer("NOT TESTABLE", space, "the space has no hyperparameter")
        return
    by_role = defaultdict(list)
    for parameter in parameters:
        by_role[parameter.get("role")].append(parameter["name"])
    undeclared = [name for role, names in by_role.items() if role not in ROLES for name in names]
    single = [p["name"] for p in parameters if not _several(p) and p.get("role") != "fixed"]
    found = ", ".join(f"{len(by_role[role])} {role}" for role in ROLES)
    if by_role["fixed"]:
        found += f"; only valid for {wording.listed([_fixed(p) for p in parameters if p.get('role') == 'fixed'])}"
    problems = [f"{name} has no role" for name in undeclared] + [f"{name} has one value" for name in single]
    if not by_role["nuisance"]:
        problems.append("nothing is tuned as nuisance")
    if problems:
        remedy = "declare in the space file: scientific (asked), nuisance (tuned away) or fixed (a caveat)"
        yield Answer("WARN", space, f"{found}; {wording.listed(problems)}", remedy, EDIT)
    else:
        yield Answer("PASS", space, found)


def _fixed(parameter: Parameter) -> str:
    value = parameter["choices"][0] if parameter["type"] == "categorical" else parameter["low"]
    return f"{parameter['name']} = {wording.value(value)}"


def fairness(record: Record) -> Iterator[Answer]:
    """Ask whether the spaces had the same trials, epochs, seconds and ranges."""
    if len(record.spaces) < 2:
        yield Answer("NOT TESTABLE", "study", "one space: nothing is compared", "name a second one with --space")
        return
    ended = {space: record.ended(space) for space in record.spaces}
    if not all(map(len, ended.values())):
        empty = wording.listed([space for space, trials in ended.items() if trials.empty])
        yield Answer("NOT TESTABLE", "study", f"no trial of {empty} ended", "resume", {"trials": record.planned_trials})
        return
    budgets = {
        "trials": {space: float(len(trials)) for space, trials in ended.items()},
        "epochs": {space: float(trials["epochs_trained"].sum()) for space, trials in ended.items()},
    }
    limited = "epochs" if "epochs" in stats.binding(record.tables).values() else "trials"
    for name, budget in budgets.items():
        yield _budget(record, name, budget, limited)
    yield _seconds(record, {space: float(trials["train_seconds"].sum()) for space, trials in ended.items()})
    yield from _ranges(record)
    yield from _help(record)


def _help(record: Record) -> Iterator[Answer]:
    """Configurations of earlier studies: a space that had more of them than another began with more than its budget."""
    warm = record.tables.trials[record.tables.trials["origin"] == "warm"]
    if warm.empty:
        return
    counts = warm["space"].value_counts().reindex(record.spaces, fill_value=0)
    found = wording.listed([f"{space} {number}" for space, number in counts.items()])
    if counts.nunique() > 1:
        remedy = "warm-start every space from a study of its own, or none"
        yield Answer("WARN", "earlier studies", f"configurations of earlier studies: {found}", remedy)
    else:
        yield Answer("PASS", "earlier studies", f"configurations of earlier studies: {found}")


def _budget(record: Record, name: str, budget: dict[str, float], limited: str) -> Answer:
    """Compare what the spaces have spent; `limited` is what the study set equal for all."""
    most, least = max(budget, key=budget.__getitem__), min(budget, key=budget.__getitem__)
    ratio = budget[most] / budget[least] if budget[least] else float("inf")
    found = f"{most} {budget[most]:,.0f}, {least} {budget[least]:,.0f} (ratio {ratio:.3g})"
    if ratio <= UNFAIR:
        return Answer("PASS", name, found)
    if name == "trials" and limited == "epochs":
        return Answer("PASS", name, f"{found}; what was equal is the epochs")
    status, grown = ("FAIL" if name == "trials" and ratio > VOID else "WARN"), record.planned_trials
    if name == "trials":  # a resume brings every space to the number planned
        return Answer(status, name, found, "resume until every space has its trials", {"trials": grown})  # type: ignore[arg-type]
    remedy = "ASHA stopped one space earlier than the other; more trials even that out"
    return Answer("WARN", name, found, remedy, {"trials": 2 * grown})


def _seconds(record: Record, seconds: dict[str, float]) -> Answer:
    """Time differs by architecture; it is unfair only where the leader had more of it."""
    if record.scores.empty or not min(seconds.values()):
        return Answer("NOT TESTABLE", "seconds", "no winner, or no time known")
    leader = _leader(record)
    least = min(seconds, key=seconds.__getitem__)
    ratio = seconds[leader] / seconds[least]
    found = f"the leader {leader} {wording.duration(seconds[leader])}, {least} {wording.duration(seconds[least])}"
    if ratio <= UNFAIR:
        return Answer("PASS", "seconds", f"{found} (ratio {ratio:.3g})")
    remedy = f"say 'at equal trials', not 'at equal time'; or give {least} as much time in a study of its own"
    trials = round(ratio * record.planned_trials)
    return Answer("WARN", "seconds", f"{found} (ratio {ratio:.3g})", remedy, {"spaces": [least], "trials": trials})


def _leader(record: Record) -> str:
    """The space that leads: by the mean test score of its winner, before there is one by its validation score."""
    tested = stats.winning_finals(record.tables).dropna(subset="test_score").groupby("space")["test_score"].mean()
    if len(tested) == len(record.winners):
        return str(tested.idxmax())
    return str(record.scores.idxmax())


def _ranges(record: Record) -> Iterator[Answer]:
    """Hyperparameters of training that several spaces have, but not in the same range."""
    ranges: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for space in record.spaces:
        for parameter in record.parameters(space):
            if parameter.get("role") != "scientific":
                ranges[parameter["name"]][str([parameter.get(key) for key in RANGE])].append(space)
    different = [name for name, found in ranges.items() if len(found) > 1]
    shared = sum(len(spaces) > 1 for found in ranges.values() for spaces in found.values())
    if different:
        remedy = "give them the same range in both spaces, or say why not"
        yield Answer("WARN", "ranges", f"not the same in all spaces: {wording.listed(different)}", remedy, EDIT)
    else:
        yield Answer("PASS", "ranges", f"{wording.count(shared, 'nuisance hyperparameter')} with equal ranges")


def pooling(record: Record, space: str) -> Iterator[Answer]:
    """Ask whether one learning rate serves several optimizers; list what else has several parents."""
    parameters = {parameter["name"]: parameter for parameter in record.parameters(space)}
    rates = [parameter for name, parameter in parameters.items() if LEARNING_RATE.search(name)]
    optimizers: list[Any] = parameters.get("optimizer", {}).get("choices", [])
    if len(optimizers) < 2 or not rates:
        yield Answer("NOT TESTABLE", space, "no choice of optimizer, or no learning rate in the space")
        return
    served: dict[str, list[Any]] = {rate["name"]: (rate["when"] or {}).get("optimizer", optimizers) for rate in rates}
    pooled = [f"{name} for {wording.listed(list(map(str, of)))}" for name, of in served.items() if len(of) > 1]
    others = [
        name
        for name, parameter in parameters.items()
        if name not in served and any(len(values) > 1 for values in (parameter["when"] or {}).values())
    ]
    if pooled:
        remedy = "give each optimizer a learning rate with a name and a range of its own"
        yield Answer("WARN", space, wording.listed(pooled), remedy, EDIT)
        return
    beside = f"; read by value of their parent: {wording.listed(others)}" if others else ""
    yield Answer("PASS", space, f"{wording.count(len(rates), 'learning rate')}, one optimizer each{beside}")


def same_length(record: Record) -> Iterator[Answer]:
    """Ask whether all that is compared was trained equally long, and no space tunes the length."""
    tuned = sorted(
        {p["name"] for space in record.spaces for p in record.parameters(space) if LENGTHS.search(p["name"])}
    )
    runs: list[Any] = [record.tables.trials, record.tables.final]
    lengths = pd.concat([table.query("state == 'finished'")["epochs_trained"] for table in runs])
    if lengths.empty:
        yield Answer("NOT TESTABLE", "study", "no run finished", "resume", {"trials": record.planned_trials})
        return
    span = str(lengths.max()) if lengths.nunique() == 1 else f"{lengths.min()} to {lengths.max()}"
    found = f"{wording.count(len(lengths), 'finished run')} of {span} epochs"
    if lengths.nunique() > 1:
        remedy = "do not compare them; run them again at one length"
        yield Answer("FAIL", "study", f"{found}, {record.max_epochs} planned", remedy, EDIT)
    elif tuned:
        remedy = "take it out of the space: short trials would win by the schedule, not by the network"
        yield Answer("WARN", "study", f"{found}; tuned: {wording.listed(tuned)}", remedy, EDIT)
    else:
        yield Answer("PASS", "study", found)


ISOLATION = Check(
    number=9,
    title="Best per value comparable",
    answers=each_space(isolation),
    warn=f"some value of a scientific hyperparameter has more than {UNEQUAL:g} times the trials of another",
    figure="effects",
)
PLOTS = Check(
    number=10,
    title="Every hyperparameter drawn",
    answers=plots,
    warn="a hyperparameter, a trial or the learning curves missing in the figures of the report",
    figure="effects",
)
ROLES_DECLARED = Check(
    number=11,
    title="Roles declared",
    answers=each_space(roles),
    warn="a hyperparameter without a role or with one value and not called fixed; no nuisance at all",
)
FAIRNESS = Check(
    number=12,
    title="Equal budget of the spaces",
    answers=fairness,
    warn=f"ratio above {UNFAIR:g} in trials or epochs, or in seconds for the leader; ranges differ",
    fail=f"ratio above {VOID:g} in trials",
    figure="best_so_far",
)
POOLING = Check(
    number=13,
    title="Conditional ones kept apart",
    answers=each_space(pooling),
    warn="one learning rate for several optimizers",
    figure="effects",
)
SAME_LENGTH = Check(
    number=16,
    title="Length not tuned",
    answers=same_length,
    warn="a hyperparameter sets the number of epochs or steps",
    fail="finished runs of different lengths",
    figure="learning_curves",
)
