"""The audit: each check on a study made for it, its numbers by hand or scipy, its commands through the real parsers."""

import copy
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats as reference

import analysis
from analysis import audit, report
from analysis.budget import expected_best
from analysis.checks import CHECKS, STATUSES, Record
from analysis.checks.axes import Axis
from analysis.checks.curves import overfits
from analysis.figures.effects import effects_data
from analysis.parts import TEMPLATES, Table
from analysis.tables import StudyTables
from study import run
from study.plan import Plan
from study.policy import Policy
from study.spaces import SPACES
from tests.sample_run import REFERENCE, SampleRun

PLACE = {
    "attempt": 1,
    "from_epoch": 0,
    "parameters": 500,
    "multiply_adds": 9000,
    "device": "cpu",
    "precision": "float32",
    "node": "n",
}
EPOCHS = 20

Curve = Sequence[float] | npt.NDArray[np.float64]


class Made:
    """A study made by hand: 20 epochs, rungs at 3 and 9. Scores rise in a straight line unless told otherwise."""

    def __init__(self, folder: Path, spaces: Sequence[str] = ("resnet",)) -> None:
        self.folder = folder
        plan = copy.deepcopy(SampleRun(spaces=tuple(spaces)).plan())  # the spaces share no list
        self.plan: dict[str, Any] = plan | {"max_epochs": EPOCHS, "rungs": [3, 9], "trials": 0, "data_dir": "/data"}
        self.lines: list[dict[str, Any]] = []
        self.repeats: list[Made] = []
        self.planned = 1
        self.counts = dict.fromkeys(spaces, 0)

    def add(self, event: str, **fields: object) -> None:
        self.lines.append({"event": event, "time": float(len(self.lines)), **fields})

    def curve(self, event: str, name: str, columns: dict[str, Curve], seconds: float = 1.0) -> None:
        for epoch, row in enumerate(zip(*columns.values(), strict=True), 1):
            values = dict(zip(columns, map(float, row), strict=True))
            rest = {"train_score": 0.5, "lr": 0.1, "seconds": seconds, "images_per_second": 1.0}
            self.add(event, **{event.rpartition("_")[0] or "trial": name}, epoch=epoch, **rest, **values)

    def trial(
        self,
        score: float = 0.9,
        space: str = "resnet",
        state: str = "finished",
        origin: str = "tpe",
        epochs: int | None = None,
        seconds: float = 1.0,
        config: dict[str, Any] | None = None,
        **curves: Curve,
    ) -> str:
        index = self.counts[space]
        self.counts[space] += 1
        trained = {"failed": 0, "diverged": 1, "stopped": 3}.get(state, self.plan["max_epochs"])
        columns = straight(score, trained if epochs is None else epochs, self.plan["max_epochs"]) | curves
        name = f"{space}-{index:04d}"
        chosen = {**middle(index), **(config or {})}
        self.add("suggested", trial=name, space=space, index=index, origin=origin, config=chosen, seed=index)
        self.add("started", trial=name, **PLACE, worker=1)
        self.curve("epoch", name, columns, seconds)
        error = "broken" if state in ("failed", "diverged") else None
        self.add("ended", trial=name, state=state, epochs_trained=len(columns["val_score"]), error=error)
        return name

    def trials(self, count: int, best: float = 0.9, step: float = 0.001, **each: Any) -> list[str]:
        return [self.trial(best - step * place, **each) for place in range(count)]

    def choose(self, trial: str, score: float = 0.9) -> None:
        self.add("final_chosen", space=trial[:-5], rank=1, trial=trial, score=score, epochs_trained=EPOCHS)

    def final(self, trial: str, seed: int, score: float = 0.9, **curves: Curve) -> str:
        name = f"{trial}-seed{seed}"
        self.add("final_started", final=name, space=trial[:-5], trial=trial, seed=seed, **PLACE, worker=1)
        self.curve("final_epoch", name, straight(score, EPOCHS, EPOCHS) | curves)
        self.add("final_ended", final=name, state="finished", epochs_trained=EPOCHS, error=None)
        return name

    def open(self, finals: Sequence[str], score: float | None = 0.9) -> None:
        self.add("test_opened", finals=list(finals), images=100, sha256="00")
        for name in finals if score is not None else ():
            self.add("final_tested", final=name, test_loss=0.3, test_score=score, images=100)

    def retrained(self, scores: Sequence[float], space: str = "resnet") -> None:
        """A trial, chosen, retrained once for each of `scores`, and tested."""
        trial = self.trial(space=space)
        self.choose(trial)
        finals = [self.final(trial, seed, score) for seed, score in enumerate(scores, 1)]
        for name, score in zip(finals, scores, strict=True):
            self.add("test_opened", finals=[name], images=100, sha256="00")
            self.add("final_tested", final=name, test_loss=0.3, test_score=score, images=100)

    def parameter(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(p for p in self.plan["spaces"]["resnet"]["parameters"] if p["name"] == name)
        return found

    def read(self) -> StudyTables:
        self.folder.mkdir(parents=True, exist_ok=True)
        plan = self.plan | {"trials": max(*self.counts.values(), self.planned)}
        (self.folder / "study.json").write_text(json.dumps(plan), encoding="utf-8")
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        (self.folder / "events.jsonl").write_text(text, encoding="utf-8")
        return analysis.read(self.folder)

    def audit(self) -> list[audit.Result]:
        return audit.audit(self.read(), [repeat.read() for repeat in self.repeats])


def straight(score: float, trained: int, total: int) -> dict[str, Curve]:
    """Curves that go straight to `score` at `total` epochs, as far as they were trained."""
    rise = np.linspace(0.0, 1.0, total)[:trained]
    return {"val_score": score - 0.4 * (1 - rise), "val_loss": 2 - rise, "train_loss": 2 - 1.5 * rise}


def middle(index: int) -> dict[str, Any]:
    """A configuration with every choice in turn and every number well inside its range."""
    places = (0.3, 0.5, 0.7)
    return {
        **REFERENCE,
        "width": (8, 16, 32)[index % 3],
        "blocks": 1 + index % 3,
        "activation": ("relu", "gelu", "silu")[index % 3],
        "sgd_lr": log_place(places[index % 3], 1e-3, 1.0),
        "weight_decay": log_place(places[index % 3], 1e-6, 1e-2),
    }


def log_place(place: float, low: float, high: float) -> float:
    return float(low * (high / low) ** place)


def nothing(_: Made) -> None:
    """No trial at all."""


def short(made: Made) -> None:
    made.plan["max_epochs"] = 3
    made.trials(6)


# One maker a status and check, and a piece of what the answer must say.
# 1 to 3: ranges


def inside(made: Made) -> None:
    made.trials(12)


def at_the_end(made: Made) -> None:
    for place in (0.98, 0.97, 0.5, 0.5, 0.5):
        made.trial(0.9 + place / 100, config={"weight_decay": log_place(place, 1e-6, 1e-2)})
    made.trials(7, best=0.8)


def two_survivors(made: Made) -> None:
    made.trials(2)
    made.trials(10, state="stopped")


def some_diverged(made: Made) -> None:
    made.trials(7)
    for place in (0.8, 0.9, 0.95):
        made.trial(state="diverged", config={"sgd_lr": log_place(place, 1e-3, 1.0)})


def most_failed(made: Made) -> None:
    made.trials(4)
    made.trials(6, state="failed")


def spread(made: Made) -> None:
    made.trials(6, step=0.01)


# 4 to 8: curves


def overfit(made: Made) -> None:
    loss = [*np.linspace(2.0, 0.5, 10), *np.linspace(0.55, 1.0, 10)]
    made.choose(made.trial(0.95, val_loss=loss))
    made.trials(9, best=0.9)


def noisy(made: Made) -> None:
    jitter = np.tile([0.01, -0.01], EPOCHS // 2)[::-1]
    made.trial(0.9, val_score=0.89 + jitter)
    made.trial(0.899)


def clear_lead(made: Made) -> None:
    made.trials(2, step=0.05)


def early(made: Made) -> None:
    made.trials(5, val_score=[0.1, 0.5, *[0.9] * 18])


def plateau(made: Made) -> None:
    made.trials(5, val_score=[*np.linspace(0.1, 0.9, 12), *[0.9] * 8])


def one_grows(made: Made) -> None:
    made.trials(5)
    made.trial(0.3, train_loss=np.linspace(2.0, 2.5, EPOCHS))


def the_winner_grows(made: Made) -> None:
    made.trials(5)
    made.trial(0.95, train_loss=np.linspace(2.0, 2.5, EPOCHS))


# 9 to 13, 16: design


def one_width(made: Made) -> None:
    made.trials(8, config={"width": 8})
    made.trials(1, config={"width": 16})


def drawn(made: Made) -> None:
    made.trials(3)
    figures = made.folder / "report" / "figures"
    figures.mkdir(parents=True)
    effects_data(made.read()).to_csv(figures / "effects-resnet.csv", index=False)
    (figures / "learning_curves.csv").write_text("trial\n")


def no_role(made: Made) -> None:
    del made.parameter("augment")["role"]
    made.trials(1)


def no_parameters(made: Made) -> None:
    made.plan["spaces"]["resnet"]["parameters"] = []


def two_equal(made: Made) -> None:
    for space in ("resnet", "plain"):
        made.trials(4, space=space)


def slow_leader(made: Made) -> None:
    made.trials(4, best=0.95, seconds=3.0)
    made.trials(4, space="plain")


def one_short_of_trials(made: Made) -> None:
    made.trials(5)
    made.trials(2, space="plain")


def one_rate(made: Made) -> None:
    made.parameter("sgd_lr")["when"] = None


def no_optimizer(made: Made) -> None:
    made.parameter("optimizer")["choices"] = ["sgd"]


def tuned_length(made: Made) -> None:
    parameter = {**made.parameter("blocks"), "name": "max_epochs", "kind": "training"}
    made.plan["spaces"]["resnet"]["parameters"].append(parameter)
    made.trials(2)


def unequal_lengths(made: Made) -> None:
    made.trials(2)
    made.trial(epochs=15)


# 14, 15, 17 to 19: evidence


def clear_gap(made: Made) -> None:
    made.retrained([0.90, 0.91, 0.92, 0.91])
    made.retrained([0.80, 0.81, 0.82, 0.80], "plain")


def small_gap(made: Made) -> None:
    made.retrained([0.90, 0.92, 0.91])
    made.retrained([0.91, 0.90, 0.90], "plain")


def repeated(made: Made) -> None:
    made.trials(2)
    other = Made(made.folder.with_name("other"))
    other.plan["seed"] = 1
    other.trials(2, best=0.88)
    made.repeats.append(other)


def ranked(made: Made, order: int) -> None:
    for place in range(8):
        first = 0.3 + 0.01 * order * place
        made.trial(val_score=[first] * 3 + [0.8 + 0.01 * place] * 17)


def opened(times: int) -> Callable[[Made], None]:
    def make(made: Made) -> None:
        for _ in range(times):
            trial = made.trial()
            made.choose(trial)
            made.open([made.final(trial, 1), made.final(trial, 2)])

    return make


def referenced(reference_score: float, others: float, state: str = "finished") -> Callable[[Made], None]:
    def make(made: Made) -> None:
        made.trial(reference_score, origin="reference", state=state)
        made.trials(3, best=others)

    return make


Case = tuple[Callable[[Made], None], str]

CASES: dict[str, dict[str, Case]] = {
    "boundaries": {
        "PASS": (inside, "none at an end; asked of 4 ranges"),
        "WARN": (at_the_end, "2 of the best 5 in the outer 10% at the high end (p = 0.081)"),
        "NOT TESTABLE": (two_survivors, "2 at full length of 12"),
    },
    "infeasible": {
        "PASS": (inside, "0% of 12"),
        "WARN": (
            some_diverged,
            "30% of 10 (3 diverged, 0 failed, 0 at chance at full length); most in sgd_lr 0.18 to 1",
        ),
        "FAIL": (most_failed, "60% of 10 (0 diverged, 6 failed"),
        "NOT TESTABLE": (clear_lead, "2 trials ended, 5 needed"),
    },
    "density": {
        "PASS": (inside, "6 of 12 within 0.50 percentage points of the best; lead of the best 0.10"),
        "WARN": (spread, "1 of 6 within 0.5"),
        "NOT TESTABLE": (nothing, "0 trials at full length"),
    },
    "overfitting": {
        "PASS": (inside, "0% of 12"),
        "WARN": (overfit, "1 of 1 runs of the winner, 10% of 10"),
        "NOT TESTABLE": (short, "trained for 3 epochs"),
    },
    "luck": {
        "PASS": (clear_lead, "gap of the leaders 5.0 percentage points, epoch noise 0.0"),
        "WARN": (noisy, "gap of the leaders 0.10 percentage points, epoch noise 1."),
        "NOT TESTABLE": (nothing, "0 trials at full length, 2 needed"),
    },
    "length": {
        "PASS": (plateau, "best epoch in the last 25% in 0 of the best 5"),
        "WARN": (inside, "best epoch in the last 25% in 5 of the best 5, in the first 10% in 0; 5 more epochs at this"),
        "NOT TESTABLE": (clear_lead, "2 trials at full length, 3 needed"),
    },
    "saturation": {
        "PASS": (inside, "from epoch 18 of 20 on"),
        "WARN": (early, "from epoch 4 of 20 on"),
        "NOT TESTABLE": (short, "trained for 3 epochs, 10 needed"),
    },
    "growing_loss": {
        "PASS": (inside, "0 of 12"),
        "WARN": (one_grows, "1 of 6 trials, 0 runs of the winner: resnet-0005"),
        "FAIL": (the_winner_grows, "1 of 6 trials, 1 runs of the winner: resnet-0005"),
        "NOT TESTABLE": (short, "no trial with 4 epochs"),
    },
    "isolation": {
        "PASS": (inside, "width 4 to 4, blocks 4 to 4 and activation 4 to 4"),
        "WARN": (one_width, "width 0 to 8"),
        "NOT TESTABLE": (clear_lead, "6 needed"),
    },
    "plots": {
        "PASS": (drawn, "7 of 7 hyperparameters, 3 of 3 trials drawn"),
        "WARN": (inside, "0 of 7 hyperparameters, 0 of 12 trials drawn"),
        "NOT TESTABLE": (nothing, "no trial yet"),
    },
    "roles": {
        "PASS": (inside, "3 scientific, 5 nuisance, 0 fixed"),
        "WARN": (no_role, "augment has no role"),
        "NOT TESTABLE": (no_parameters, "no hyperparameter"),
    },
    "fairness": {
        "PASS": (two_equal, "resnet 4, resnet 4 (ratio 1)"),
        "WARN": (slow_leader, "the leader resnet 4 min, plain 80 s (ratio 3)"),
        "FAIL": (one_short_of_trials, "resnet 5, plain 2 (ratio 2.5)"),
        "NOT TESTABLE": (inside, "one space"),
    },
    "pooling": {
        "PASS": (inside, "2 learning rates, one optimizer each"),
        "WARN": (one_rate, "sgd_lr for sgd and adamw"),
        "NOT TESTABLE": (no_optimizer, "no choice of optimizer"),
    },
    "seeds": {
        "PASS": (clear_gap, "10.2 percentage points"),
        "WARN": (small_gap, "0.67 percentage points"),
        "NOT TESTABLE": (inside, "no final run"),
    },
    "repeats": {
        "PASS": (repeated, "2 search seeds; best of resnet 88.0 % to 90.0 %"),
        "WARN": (inside, "1 search seed"),
        "NOT TESTABLE": (nothing, "no winner yet"),
    },
    "same_length": {
        "PASS": (inside, "12 finished runs of 20 epochs"),
        "WARN": (tuned_length, "tuned: max_epochs"),
        "FAIL": (unequal_lengths, "3 finished runs of 15 to 20 epochs, 20 planned"),
        "NOT TESTABLE": (nothing, "no run finished"),
    },
    "rounds": {
        "PASS": (lambda made: ranked(made, 1), "rank correlation 1.00, epoch 3 to 20, 8 survivors"),
        "WARN": (lambda made: ranked(made, -1), "rank correlation -1.00"),
        "NOT TESTABLE": (spread, "6 trials at full length past a rung, 8 needed"),
    },
    "openings": {
        "PASS": (opened(1), "1 opening, 2 final runs"),
        "WARN": (opened(2), "2 openings, 4 final runs"),
        "FAIL": (opened(3), "3 openings, 6 final runs"),
        "NOT TESTABLE": (inside, "not opened yet"),
    },
    "reference": {
        "PASS": (referenced(0.5, 0.9), "reference 50.0 %, chance 10.0 %"),
        "WARN": (referenced(0.12, 0.9), "reference 12.0 %, chance 10.0 %; best 90.0 %"),
        "FAIL": (referenced(0.12, 0.15), "reference 12.0 %"),
        "NOT TESTABLE": (referenced(0.5, 0.9, "stopped"), "has not ended at full length"),
    },
}
TWO_SPACES = {"fairness", "seeds"}
LISTED = [(name, status) for name, statuses in CASES.items() for status in statuses]


def make(name: str, status: str, folder: Path) -> Made:
    maker = CASES[name][status][0]
    one = name not in TWO_SPACES or status == "NOT TESTABLE"
    made = Made(folder / "run", ("resnet",) if one else ("resnet", "plain"))
    maker(made)
    return made


def of(made: Made, name: str) -> list[audit.Result]:
    """What one check says of a study, worst first; each of its commands can be typed."""
    record = Record(made.read(), [repeat.read() for repeat in made.repeats])
    results = sorted(audit.ask(record, CHECKS[name]), key=lambda result: STATUSES.index(result.answer.status))
    planned = [command for *_, commands in audit.plan_of_action(record, results) for command in commands]
    for command in [*planned, *(command for result in results for command in result.commands)]:
        check_command(command, record.tables)
    return results


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_has_a_study_for_each_of_its_answers(name: str) -> None:
    possible = {status for status in STATUSES if status != "FAIL" or CHECKS[name].fail}
    assert set(CASES[name]) == possible


@pytest.mark.parametrize(("name", "status"), LISTED)
def test_a_check_says_what_is_so(name: str, status: str, tmp_path: Path) -> None:
    results = of(make(name, status, tmp_path), name)
    assert results[0].answer.status == status, [result.answer for result in results]
    said = " | ".join(result.answer.found for result in results if result.answer.status == status)
    assert CASES[name][status][1] in said.replace("\N{NO-BREAK SPACE}", " ")
    for result in results:
        assert bool(result.answer.remedy) or result.answer.status in ("PASS", "NOT TESTABLE")


def test_numbers_figures_and_the_page_of_the_checks() -> None:
    numbers = [check.number for check in CHECKS.values()]
    assert sorted(numbers) == list(range(1, 20))
    page = (Path(__file__).parents[1] / "docs" / "audit.md").read_text()
    for check in CHECKS.values():
        assert f"## {check.number}. {check.title}\n" in page
        assert check.figure in ("", *analysis.figures.FIGURES)


def check_command(command: str, tables: StudyTables) -> None:
    """Fails where the command would be refused."""
    python, dash_m, module, *arguments = shlex.split(command)
    assert (python, dash_m) == ("python", "-m")
    if module != "study.run":
        asked = {"analysis.audit": audit, "analysis.report": report}[module].parser().parse_args(arguments)
        assert asked.run_dir in (str(tables.run_dir), [str(tables.run_dir)])  # a report may be of several
        return
    given = {name: value for name, value in vars(run.parser().parse_args(arguments)).items() if value is not None}
    assert not given.pop("no_report")
    assert not given.pop("list_experiments")
    if "resume" in given:
        assert given.keys() == {"resume", "trials"}
        assert given["trials"] >= tables.plan["trials"]
        assert given["resume"] == tables.run_dir
        return
    plan = run._plan({"spaces": tuple(given.pop("space")), **given})
    plan.check(SPACES, ["digits", "folder"])
    assert plan.folder.parent == tables.run_dir.parent


def test_the_commands_are_of_all_kinds(tmp_path: Path) -> None:
    made = Made(tmp_path / "run")
    inside(made)
    modules = [[shlex.split(command)[2] for command in of(made, name)[0].commands] for name in ("plots", "repeats")]
    assert modules == [["analysis.report"], ["study.run", "analysis.audit"]]


def test_a_new_study_changes_nothing_but_what_was_to_change(tmp_path: Path) -> None:
    own = tmp_path / "my own.py"
    own.write_text("SPACE = None\n")
    made = Made(tmp_path / "run")
    made.plan |= {"policy": asdict(Policy())}
    made.plan |= {"fp32": True, "no_stopping": True, "seed": 7, "final": {"configs": 2, "seeds": 5}}
    made.plan["dataset"] |= {"name": "leaves", "loader": "folder", "image_size": [48, 64], "test_fraction": 0.3}
    made.plan["spaces"]["resnet"]["file"] = str(own)
    inside(made)
    (command,) = of(made, "length")[0].commands
    given = vars(run.parser().parse_args(shlex.split(command)[3:]))
    other = ("no_report", "space", "list_experiments")
    given = {name: value for name, value in given.items() if value is not None and name not in other}
    before = Plan.from_json(made.folder, made.read().plan, gpus_per_trial=None)
    assert Plan((str(own),), **given) == replace(before, max_epochs=40, name="run-epochs40")


def test_a_study_without_stopping_has_no_early_ranks_to_distrust(tmp_path: Path) -> None:
    made = Made(tmp_path / "run")
    made.plan |= {"rungs": [], "no_stopping": True}
    spread(made)
    (result,) = of(made, "rounds")
    assert (result.answer.status, result.answer.found) == ("NOT TESTABLE", "no rungs: nothing was stopped early")
    assert result.commands == ()


def test_a_resume_asks_for_no_fewer_trials_than_planned(tmp_path: Path) -> None:
    made = Made(tmp_path / "run")
    made.planned = 24
    made.trials(2)
    (result,) = of(made, "infeasible")
    assert result.answer.status == "NOT TESTABLE"
    assert result.commands == (f"python -m study.run --resume {made.folder} --trials 24",)


def test_checks_that_ask_alike_are_served_by_one_command(tmp_path: Path) -> None:
    made = Made(tmp_path / "run")
    spread(made)
    tables = made.read()
    actions = list(audit.plan_of_action(Record(tables), audit.audit(tables)))
    assert [title.split(",")[0] for title, *_ in actions][:2] == [
        "More trials of this study",
        "One new study for all that flags",
    ]
    resume, new = actions[0][2], actions[1][2]
    assert resume == [f"python -m study.run --resume {made.folder} --trials 12"]
    assert "--trials 12 --max-epochs 40" in new[0]


def test_a_study_whose_space_is_edited_is_begun_with_the_best_of_this_one(tmp_path: Path) -> None:
    made = Made(tmp_path / "run")
    at_the_end(made)
    (command,) = next(result.commands for result in of(made, "boundaries") if result.answer.status == "WARN")
    given = vars(run.parser().parse_args(shlex.split(command)[3:]))
    assert given["warm_start"] == [made.folder]
    assert given["name"] == "run-revised"
    (longer,) = of(made, "length")[0].commands
    assert "--warm-start" not in longer  # no range changes
    most_failed(lost := Made(tmp_path / "lost"))
    for line in lost.lines:
        line |= {"state": "failed", "error": "broken"} if line["event"] == "ended" else {}
    (again,) = of(lost, "infeasible")[0].commands
    assert "--warm-start" not in again  # nothing to begin with


# 1: axes


def axis(**parameter: Any) -> Axis:
    found = Axis.of(parameter)
    assert found is not None
    return found


def test_where_a_value_stands_and_what_would_be_wider() -> None:
    rate = axis(name="lr", type="float", low=1e-4, high=1.0, log=True)
    share = axis(name="share", type="float", low=0.0, high=0.2, log=False)
    whole = axis(name="blocks", type="int", low=2, high=5, log=False)
    sizes = axis(name="batch", type="categorical", choices=[128, 32, 64])
    steps = axis(name="width", type="categorical", choices=[8, 12, 16])
    assert rate.places(pd.Series([1e-4, 1e-2, 1.0])) == pytest.approx([0, 0.5, 1])
    assert whole.places(pd.Series([2, 5])).tolist() == [0, 1]
    assert sizes.places(pd.Series([32, 64, 128])).tolist() == [0, 0.5, 1]
    assert rate.wider("low") == "let it range from 1e-05 to 1"
    assert rate.wider("high") == "let it range from 0.0001 to 10"
    assert share.wider("high") == "let it range from 0 to 0.25"
    assert whole.wider("high") == "let it range from 2 to 6"
    assert sizes.wider("high") == "add 256 to its choices"
    assert sizes.wider("low") == "add 16 to its choices"
    assert steps.wider("low") == "add 4 to its choices"
    assert [share.is_natural("low"), share.is_natural("high"), rate.is_natural("low")] == [True, False, False]


@pytest.mark.parametrize("choices", [["a", "b", "c"], [True, False], [8, 16], [8, "auto", 16]])
def test_choices_without_an_order_have_no_end(choices: list[Any]) -> None:
    assert Axis.of({"name": "choice", "type": "categorical", "choices": choices}) is None


@pytest.mark.parametrize(("widest", "warns"), [(3, False), (4, True)])
def test_the_largest_choice_is_an_end_when_the_best_crowd_there(widest: int, warns: bool, tmp_path: Path) -> None:
    made = Made(tmp_path / "run")
    for place in range(5):
        made.trial(0.9 - place / 100, config={"width": 32 if place < widest else 8})
    made.trials(7, best=0.5)
    (result,) = of(made, "boundaries")
    p = float(reference.binom.sf(widest - 1, 5, 1 / 3))
    assert (p < 0.1) is warns
    assert (result.answer.status == "WARN") is warns
    if warns:
        assert result.answer.where == "resnet width"
        assert f"(p = {p:.2g})" in result.answer.found
        assert "the file of study/spaces/ that defines resnet, add 64 to its choices" in result.answer.remedy


def test_a_range_that_the_best_trial_lacks_is_not_asked_of(tmp_path: Path) -> None:
    made = Made(tmp_path / "run")
    made.trial(0.95, config={"optimizer": "adamw", "sgd_lr": None, "adamw_lr": 0.003})
    for _ in range(4):
        made.trial(0.94, config={"sgd_lr": 0.99})
    made.trials(7, best=0.5)
    assert [result.answer.status for result in of(made, "boundaries")] == ["PASS"]


# 2 and 3: infeasible, dense


def test_the_best_beside_an_edge_above_which_all_diverge(tmp_path: Path) -> None:
    made = Made(tmp_path / "run")
    made.trial(0.95, config={"sgd_lr": log_place(0.78, 1e-3, 1.0)})
    made.trials(25)
    for place in (0.85, 0.9, 0.95, 1.0):
        made.trial(state="diverged", config={"sgd_lr": log_place(place, 1e-3, 1.0)})
    (result,) = of(made, "infeasible")
    assert (result.answer.status, result.answer.where) == ("WARN", "resnet sgd_lr")
    assert "all 4 trials from 0.3548 on failed; the best has 0.2188" in result.answer.found


def test_a_stopped_trial_near_chance_is_not_called_infeasible(tmp_path: Path) -> None:
    made = Made(tmp_path / "run")
    made.trials(6)
    made.trials(6, best=0.1, state="stopped")
    made.trial(0.1)
    (result,) = of(made, "infeasible")
    assert result.answer.status == "PASS"
    assert "8% of 13 (0 diverged, 0 failed, 1 at chance at full length)" in result.answer.found


def test_the_gain_of_the_last_doubling_is_that_of_the_random_arm(tmp_path: Path) -> None:
    made = Made(tmp_path / "run")
    scores = [0.90, 0.80, 0.70, 0.60]
    for score in scores:
        made.trial(score, origin="random")
    made.trials(6, state="stopped", origin="random")
    made.trials(6, best=0.9, step=0.0)
    (result,) = of(made, "density")
    arm = np.sort([*scores, *[0.6] * 6])
    five, ten = expected_best(arm, np.array([5, 10]))
    gain = ten - five
    assert result.answer.status == "WARN"
    assert f"gained at least {100 * gain:.1f}" in result.answer.found


# 4 to 8: curves


def test_overfitting_needs_a_training_loss_that_falls_and_a_rise_above_the_noise() -> None:
    noise = 0.2 * np.random.default_rng(0).normal(size=(400, EPOCHS))
    rising = np.concatenate([np.linspace(2.0, 0.5, 10), np.linspace(0.75, 3.0, 10)])
    falling = np.tile(np.linspace(2.0, 0.1, EPOCHS), (400, 1))
    assert overfits(1 + noise, falling).mean() < 0.15
    assert overfits(1 + falling + noise, falling).mean() < 0.05
    assert overfits(rising + noise, falling).mean() > 0.95
    assert not overfits(rising + noise, falling[:, ::-1]).any()


def test_retrained_winners_decide_whether_the_winner_overfits(tmp_path: Path) -> None:
    made = Made(tmp_path / "run")
    loss = np.concatenate([np.linspace(2.0, 0.5, 10), np.linspace(0.55, 1.0, 10)])
    trial = made.trials(5)[0]
    made.choose(trial)
    for seed in (1, 2, 3):
        made.final(trial, seed, val_loss=loss)
    (result,) = of(made, "overfitting")
    assert result.answer.status == "WARN"
    assert result.answer.found.startswith("3 of 4 runs of the winner")


def test_leaders_that_were_both_retrained_need_no_luck(tmp_path: Path) -> None:
    made = Made(tmp_path / "run")
    noisy(made)
    for trial in ("resnet-0000", "resnet-0001"):
        made.final(trial, 1)
    assert "both were retrained" in of(made, "luck")[0].answer.found


def test_best_at_the_beginning_asks_for_less(tmp_path: Path) -> None:
    made = Made(tmp_path / "run")
    made.trials(5, val_score=[0.5, 0.9, *np.linspace(0.8, 0.7, 18)])
    (result,) = of(made, "length")
    assert result.answer.status == "WARN"
    assert "--max-epochs 10 " in result.commands[0]


def test_the_slowest_space_sets_a_shorter_length(tmp_path: Path) -> None:
    made = Made(tmp_path / "run", ("resnet", "plain"))
    made.trials(5, val_score=[0.1, 0.5, *[0.9] * 18])
    made.trials(5, space="plain", val_score=[*np.linspace(0.1, 0.8, 7), *[0.9] * 13])
    first, second = of(made, "saturation")
    assert "from epoch 4 of" in first.answer.found
    assert "from epoch 9 of" in second.answer.found
    assert "--max-epochs 14 " in first.commands[0]  # 1.5 x 9, rounded up
    made.trials(5, best=0.95, space="plain")
    assert of(made, "saturation")[0].commands == ()  # 1.5 x 18 is no less than 20


# 12 to 19: design and evidence


def test_the_slower_space_may_lose(tmp_path: Path) -> None:
    made = Made(tmp_path / "run", ("resnet", "plain"))
    made.trials(4, best=0.8, seconds=3.0)
    made.trials(4, space="plain")
    answers = {result.answer.where: result.answer.status for result in of(made, "fairness")}
    assert answers == {"trials": "PASS", "epochs": "PASS", "seconds": "PASS", "ranges": "PASS"}


def test_ranges_that_differ_between_spaces_are_named(tmp_path: Path) -> None:
    made = Made(tmp_path / "run", ("resnet", "plain"))
    two_equal(made)
    made.parameter("weight_decay")["log"] = False
    made.parameter("width")["choices"] = [8, 16, 64]  # scientific: the spaces' own
    found = {result.answer.where: result.answer for result in of(made, "fairness")}
    assert found["ranges"].status == "WARN"
    assert found["ranges"].found == "not the same in all spaces: weight_decay"


@pytest.mark.parametrize(("helped", "status"), [((1, 1), "PASS"), ((2, 0), "WARN")])
def test_unequal_help_from_earlier_studies_is_named(tmp_path: Path, helped: tuple[int, int], status: str) -> None:
    made = Made(tmp_path / "run", ("resnet", "plain"))
    for space, number in zip(made.counts, helped, strict=True):
        made.trials(number, space=space, origin="warm")
        made.trials(4 - number, space=space)
    answer = next(result.answer for result in of(made, "fairness") if result.answer.where == "earlier studies")
    assert (answer.status, answer.found) == (
        status,
        f"configurations of earlier studies: resnet {helped[0]} and plain {helped[1]}",
    )


def test_a_budget_of_epochs_makes_unequal_numbers_of_trials_fair(tmp_path: Path) -> None:
    made = Made(tmp_path / "run", ("resnet", "plain"))
    made.add("study_opened", trials=100, slots=2, time_budget=None, command=[])
    made.add("budget_set", epochs=4000, gpu_seconds=None, gpus=0.0)
    made.trials(8, space="resnet")
    made.trials(2, space="plain")
    assert {r.answer.where: r.answer.status for r in of(made, "fairness")}["trials"] == "FAIL"  # nothing has run out
    made.add("study_closed", reason="epoch budget")
    found = {r.answer.where: r.answer for r in of(made, "fairness")}
    assert found["trials"].status == "PASS"
    assert found["trials"].found.endswith("; what was equal is the epochs")


def test_the_seeds_that_a_gap_needs(tmp_path: Path) -> None:
    made = Made(tmp_path / "run", ("resnet", "plain"))
    first, second = [0.905, 0.92, 0.91], [0.91, 0.90, 0.90]
    made.retrained(first)
    made.retrained(second, "plain")
    lead = next(result for result in of(made, "seeds") if "before" in result.answer.where)
    t = reference.ttest_rel(first, second).statistic
    assert f"{t:.2g} standard errors, 3 seeds" in lead.answer.found
    difference = np.subtract(first, second)
    needed = np.ceil(2.8**2 * difference.var(ddof=1) / difference.mean() ** 2)
    assert f"--final-seeds {needed:.0f} " in lead.commands[0]


def test_a_repeat_with_another_leader_is_a_warning_and_a_stranger_is_refused(tmp_path: Path) -> None:
    spaces = ("resnet", "plain")
    made, other = Made(tmp_path / "run", spaces), Made(tmp_path / "other", spaces)
    for study, leader, behind in ((made, "resnet", "plain"), (other, "plain", "resnet")):
        study.trials(2, best=0.9, space=leader)
        study.trials(2, best=0.8, space=behind)
    other.plan["seed"] = 1
    made.repeats.append(other)
    (result,) = of(made, "repeats")
    assert result.answer.status == "WARN"
    assert "leaders resnet and plain" in result.answer.found
    assert result.commands[1].endswith(f"--repeat {other.folder} {tmp_path / 'run-seed2'}")
    other.plan["max_epochs"] = 9
    with pytest.raises(ValueError, match=r"is no repeat of .* its epochs differ"):
        made.audit()


def test_a_winner_that_was_stopped_leads_nothing(tmp_path: Path) -> None:
    made = Made(tmp_path / "run", ("resnet", "plain"))
    made.trial(0.8)
    stopped = made.trial(space="plain", state="stopped", val_score=[0.99] * 3)
    made.add("final_chosen", space="plain", rank=1, trial=stopped, score=0.99, epochs_trained=3)
    assert "best of resnet 80.0" in of(made, "repeats")[0].answer.found


def test_runs_opened_again_after_a_crash_count_once(tmp_path: Path) -> None:
    made = Made(tmp_path / "run")
    trial = made.trial()
    finals = [made.final(trial, seed) for seed in (1, 2)]
    made.open(finals, None)
    made.open(finals)
    assert [result.answer.found for result in of(made, "openings")] == ["1\xa0opening, 2\xa0final runs"]


def test_a_test_score_without_an_opening_voids_the_answer(tmp_path: Path) -> None:
    made = Made(tmp_path / "run")
    final = made.final(made.trial(), 1)
    made.add("final_tested", final=final, test_loss=0.3, test_score=0.9, images=100)
    (result,) = of(made, "openings")
    assert result.answer.status == "FAIL"
    assert "1 tested without an opening" in result.answer.found


# The command line and the page


def test_exit_codes_and_width(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fine, bad = Made(tmp_path / "fine"), Made(tmp_path / "bad")
    inside(fine)
    most_failed(bad)
    for made in (fine, bad):
        made.read()
    assert audit.main([str(fine.folder)]) == 0
    told = capsys.readouterr().out
    assert audit.main([str(bad.folder)]) == 1
    failed = capsys.readouterr().out.splitlines()
    assert failed[1].split()[:2] == ["FAIL", "2"]
    assert told.startswith("19 checks: 0 FAIL, ")
    assert max(len(line) for line in told.splitlines() if not line.startswith("python -m")) <= 100
    assert audit.main([str(tmp_path / "none")]) == 2
    assert "is not a run folder" in capsys.readouterr().err


def test_the_page_has_every_answer_worst_first(tmp_path: Path) -> None:
    made = Made(tmp_path / "run")
    most_failed(made)
    results = audit.audit(made.read())
    rows = audit.page_rows(results)
    keys = [row[0][1] for row in rows]
    assert keys == sorted(keys)
    assert (rows[0][0][0], rows[0][1]) == ("FAIL", ("2 Infeasible trials", "2"))
    assert {len(row) for row in rows} == {len(audit.COLUMNS)}
    assert {row[1][1] for row in rows} == {str(number) for number in range(1, 20)}
    assert audit.counted(results).startswith("19 checks: 1 FAIL")


def test_the_terminal_has_the_number_of_what_passed_and_each_threshold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Made(tmp_path / "run")
    inside(made)
    made.read()
    assert audit.main([str(made.folder)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    infeasible = (
        "PASS 2 Infeasible trials resnet: 0% of 12 (0 diverged, 0 failed, 0 at chance at full length) (warns when"
    )
    assert f"{infeasible} more than 20%" in told
    assert "; fails when more than 50%; figure effects)" in told
    assert told.count("(warns when ") == 19


def test_the_page_leads_from_an_answer_to_its_figure(tmp_path: Path) -> None:
    made = Made(tmp_path / "run", ("resnet", "plain"))
    most_failed(made)
    results = audit.audit(made.read())
    anchors = ["learning_curves", "effects-plain", "effects-resnet", "effects-resnet-part2"]
    shown = {row[1][0]: row[-1][0] for row in audit.page_rows(results, anchors) if row[2][0].startswith("resnet")}
    assert shown["2 Infeasible trials"] == "effects-resnet"
    assert shown["8 Training loss grows"] == "learning_curves"
    assert shown["4 Overfitting"] == "final_curves"  # which this page does not have
    table = Table(["figure"], [[("effects-resnet", "")], [("final_curves", "")]], links=frozenset(anchors))
    page = rendered(table)
    assert '<a href="#effects-resnet">effects-resnet</a>' in page
    assert '<td data-key="">final_curves</td>' in page


def rendered(table: Table) -> str:
    loader = jinja2.FileSystemLoader(TEMPLATES)
    template = jinja2.Environment(loader=loader, autoescape=True).get_template("table.html")
    return str(template.module.table(table, "audit"))  # type: ignore[attr-defined]
