"""The simulator: its clock by hand, its curves, the policies it compares, what it makes of traces, its command line."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState
from scipy.stats import spearmanr

from analysis.events import Event, read_events
from study.engine import Engine
from study.log import Log
from study.packing import Packing
from study.policy import Policy
from study.sampler import draw
from study.simulate import main
from study.simulation import comparison
from study.simulation.clock import Choice, Task, simulate
from study.simulation.curves import BEST, CHANCE, FAMILIES, Curve, Problem, made_up, places
from study.simulation.policies import BASE, POLICIES, Brackets, OneEpoch, Study, trials_for
from study.simulation.ray_pair import RayPair
from study.spaces import SPACES

SPACE = SPACES["mlp"]


def scripted(curves: dict[str, tuple[list[float], float]]) -> Problem:
    """A problem whose configurations are names of curves: scores, and seconds of an epoch; worth is the last score."""

    def curve(config: Any, seed: int) -> Curve:
        del seed
        scores, seconds = curves[config["curve"]]
        return Curve(np.array(scores), seconds, scores[-1] if math.isfinite(scores[-1]) else 0.1)

    return Problem(SPACE, 3, curve, best=1.0, usual=0.5)


class Scripted:
    """Hands out named tasks in order and stops those that are named with an epoch."""

    def __init__(self, tasks: list[Task], stops: dict[str, int]) -> None:
        self.tasks, self.stops, self.reports = tasks, stops, list[tuple[str, int, float]]()

    def next(self) -> Task | None:
        return self.tasks.pop(0) if self.tasks else None

    def standing(self, scores: Sequence[float]) -> float:
        return scores[-1]

    def report(self, key: str, epoch: int, score: float, seconds: float) -> bool:
        del seconds
        self.reports.append((key, epoch, score))
        return math.isfinite(score) and self.stops.get(key) != epoch


def task(name: str, epochs: int = 0) -> Task:
    return Task(name, {"curve": name}, seed=0, epochs=epochs)


def test_the_clock_runs_slots_beside_one_another_as_worked_out_by_hand() -> None:
    problem = scripted({"a": ([0.2, 0.3, 0.4], 2.0), "b": ([0.6, 0.7, 0.8], 3.0), "c": ([0.1, 0.9, 0.9], 1.0)})
    search = Scripted([task("a"), task("b"), task("c")], stops={"a": 2})
    moments = simulate(search, problem, slots=2, epochs=100)
    # a ends epochs at 2 and 4 s and is stopped; b at 3, 6, 9; c takes a's slot: 5, 6, 7
    expected = [("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 2), ("c", 2), ("c", 3), ("b", 3)]
    assert [(key, epoch) for key, epoch, _ in search.reports] == expected
    assert [(m.epochs, m.seconds, round(m.regret, 9)) for m in moments] == [
        (1, 2.0, 1.2),  # a, worth 0.4
        (2, 3.0, 0.4),  # b
        (6, 6.0, 0.2),  # c
        (8, 9.0, 0.2),  # the end
    ]
    assert moments[-1].trials == 3


def test_the_clock_stops_at_the_budget_and_goes_on_with_a_paused_trial() -> None:
    problem = scripted({"a": ([0.2, 0.3, 0.4], 1.0)})
    search = Scripted([task("a"), task("a", epochs=1)], stops={"a": 1})
    assert simulate(search, problem, slots=1, epochs=2)[-1].epochs == 2
    assert search.reports == [("a", 1, 0.2), ("a", 2, 0.3)]


def test_the_choice_is_the_best_last_score_and_a_diverged_trial_loses_it() -> None:
    choice = Choice(lambda scores: scores[-1])
    assert choice.report("a", 1, 0.5)
    assert not choice.report("b", 1, 0.4)
    assert choice.report("a", 2, 0.3)  # a has become worse than b
    assert choice.key == "b"
    assert choice.report("b", 2, math.nan)
    assert choice.key == "a"
    assert choice.report("a", 3, math.nan)
    assert choice.key is None


# Curves


@cache
def curves(family: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores (trials, epochs), worth and seconds of random configurations, over some drawn problems."""
    found = []
    for seed in range(3):
        problem, generator = made_up(family, SPACE, 27, seed), np.random.default_rng(seed)
        found += [problem.curve(draw(SPACE, generator), number) for number in range(40)]
    return np.array([c.scores for c in found]), np.array([c.worth for c in found]), np.array([c.seconds for c in found])


def order_kept(family: str, epoch: int) -> float:
    scores, worth, _ = curves(family)
    whole = np.isfinite(scores[:, -1])
    return float(spearmanr(scores[whole, epoch - 1], worth[whole])[0])


def test_families_have_the_properties_they_are_named_for() -> None:
    assert order_kept("orderly", 1) > 0.6
    assert order_kept("slow starters", 1) < order_kept("orderly", 1) - 0.3
    assert order_kept("crossing", 3) < order_kept("orderly", 3) - 0.05
    steps = {family: np.nanstd(np.diff(curves(family)[0][:, 20:], axis=1)) for family in ("noisy", "orderly")}
    assert steps["noisy"] > 3 * steps["orderly"]
    diverged = {family: np.isnan(curves(family)[0][:, -1]).mean() for family in FAMILIES}
    assert 0.2 < diverged.pop("diverging") < 0.45
    assert all(0.005 < share < 0.15 for share in diverged.values())


def test_annealed_schedules_gain_late_in_the_crossing_family() -> None:
    problem, generator = made_up("crossing", SPACE, 27, 0), np.random.default_rng(1)
    late: dict[bool, list[float]] = {True: [], False: []}
    for number in range(150):
        config = draw(SPACE, generator)
        scores = problem.curve(config, number).scores
        late[config["schedule"] != "constant"].append((scores[-1] - scores[17]) / max(scores[-1] - CHANCE, 0.1))
    assert np.nanmedian(late[True]) > np.nanmedian(late[False]) + 0.08


@pytest.mark.parametrize("family", FAMILIES)
def test_a_problem_is_drawn_from_its_seed_and_has_the_stated_scale(family: str) -> None:
    problem, same, other = (made_up(family, SPACE, 9, seed) for seed in (1, 1, 2))
    config = draw(SPACE, np.random.default_rng(0))
    assert np.array_equal(problem.curve(config, 5).scores, same.curve(config, 5).scores, equal_nan=True)
    assert problem.curve(config, 5).worth != other.curve(config, 5).worth
    worth = [problem.curve(draw(SPACE, np.random.default_rng(n)), n).worth for n in range(100)]
    assert CHANCE <= min(worth) <= max(worth) <= BEST
    assert problem.regret(BEST) == 0
    assert abs(np.median([problem.regret(value) for value in worth]) - 1) < 0.6
    reference = problem.curve(SPACE.reference, 0)
    assert np.isfinite(reference.scores).all()
    assert 0 < problem.regret(reference.worth) < 1
    assert np.log(curves(family)[2]).std() == pytest.approx(FAMILIES[family].cost_spread, rel=0.15)


def test_distances_count_each_hyperparameter_alike_whether_it_applies_or_not() -> None:
    def distance(first: dict[str, Any], second: dict[str, Any]) -> float:
        return float(((np.array(places(SPACE, first)) - np.array(places(SPACE, second))) ** 2).sum())

    config = dict(SPACE.reference)
    assert distance(config, config) == 0
    assert distance(config, {**config, "activation": "tanh"}) == pytest.approx(1)
    assert distance(config, {**config, "dropout": 0.6}) == pytest.approx(1)
    assert distance(config, {**config, "dropout": 0.3}) == pytest.approx(0.25)
    smaller, larger = ({**config, "decay": "weights", "weight_decay": value} for value in (1e-5, 1e-1))
    assert distance(config, smaller) == distance(config, larger) == pytest.approx(2)  # the choice and what it brings


# Policies


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_spends_its_budget_begins_with_the_reference_and_repeats_itself(name: str) -> None:
    problem = made_up("diverging", SPACE, 9, 0)
    begun = []
    for _ in range(2):
        search = POLICIES[name](problem, 3, 2, 60)
        seen: list[dict[str, Any]] = []
        search.next = partial(kept, search.next, seen)  # type: ignore[method-assign]
        moments = simulate(search, problem, 2, 60)
        assert moments[-1].epochs == 60
        assert all(earlier.epochs <= later.epochs for earlier, later in itertools.pairwise(moments))
        begun.append(seen)
    assert begun[0] == begun[1]
    assert begun[0][0] == SPACE.reference


def kept(following: Callable[[], Task | None], seen: list[dict[str, Any]]) -> Task | None:
    task = following()
    if task is not None:
        seen.append(task.config)
    return task


def test_the_engine_decides_in_the_simulator_as_on_a_real_log_and_its_replay(tmp_path: Path) -> None:
    problem, policy = made_up("noisy", SPACE, 9, 0), Policy(random_share=0.5, first_rung=9)
    simulated = Study(problem, 4, 3, 100, policy, no_stopping=False)
    events: list[Event] = []
    simulated.engine.watchers.append(events.append)
    simulate(simulated, problem, 3, 100)

    plan = simulated.engine.plan
    real = Study(problem, 4, 3, 100, policy, no_stopping=False)
    real.engine = Engine(plan, {"mlp": SPACE}, Log(tmp_path / "events.jsonl"))
    real.engine.open([Packing(3, 3, 1, 0)], ["test"], trials=10_000)
    simulate(real, problem, 3, 100)
    real.engine.close()
    logged = [e for e in read_events(tmp_path / "events.jsonl")[0] if e["event"] != "study_opened"]
    decisions = [untimed(e) for e in events if e["event"] == "decision"]
    assert len(decisions) > 20
    assert decisions == [untimed(e) for e in logged if e["event"] == "decision"]
    log = Log(tmp_path / "events.jsonl")
    replayed = Engine(plan, {"mlp": SPACE}, log)
    log.close()
    for rung in plan.rungs:
        assert replayed.state.asha["mlp"].scores(rung) == simulated.engine.state.asha["mlp"].scores(rung)


def untimed(event: Event) -> Event:
    return {name: value for name, value in event.items() if name != "time"}


def test_the_number_of_trials_that_a_budget_is_for() -> None:
    assert trials_for(270, 27, 3, ()) == 10
    assert trials_for(270, 27, 3, (3, 9)) == round(270 / (3 + 6 / 3 + 18 / 9))


def drive(search: Any, count: int, score: Any) -> list[tuple[str, int]]:
    """One slot: train each task to where the search stops it; return the first and last epoch of each."""
    done = []
    for _ in range(count):
        begun = search.next()
        epoch = begun.epochs
        while True:
            epoch += 1
            if not search.report(begun.key, epoch, score(begun.key, epoch), 1.0) or epoch == 9:
                break
        done.append((begun.key, epoch))
    return done


def test_one_epoch_each_then_the_best_in_their_order() -> None:
    problem = made_up("orderly", SPACE, 9, 0)
    search = OneEpoch(problem, 0, 1, epochs=60)  # 60 // 24 = 2 go on, 60 - 2 * 8 = 44 have one epoch
    done = drive(search, 46, lambda key, epoch: int(key[-4:]) % 44 / 100 + epoch / 1000)
    assert [epoch for _, epoch in done[:44]] == [1] * 44
    assert done[44:] == [("mlp-0043", 9), ("mlp-0042", 9)]


def test_brackets_get_the_shares_of_hyperband() -> None:
    search = Brackets(made_up("orderly", SPACE, 9, 0), 0, 1, 100)  # rungs 1, 3: brackets of 9 / 3, 3 / 2, 1 / 1
    for _ in range(110):
        search.next()
    assert search._counts == pytest.approx(110 * np.array([3, 1.5, 1]) / 5.5, abs=1)


def test_pausing_takes_up_the_best_third_and_no_one_before_there_are_three() -> None:
    policy = Policy(random_share=1.0, reduction_factor=3, pausing=True, reference_first=True)
    search = Study(made_up("orderly", SPACE, 9, 0), 0, 1, 100, policy, no_stopping=False)
    scores = {"mlp-0000": 0.1, "mlp-0001": 0.5, "mlp-0002": 0.7, "mlp-0003": 0.2, "mlp-0004": 0.3}
    done = drive(search, 5, lambda key, epoch: scores[key] + epoch / 100)
    assert done[0] == ("mlp-0000", 9)  # the reference setting never pauses
    assert done[1:] == [("mlp-0001", 1), ("mlp-0002", 3), ("mlp-0003", 1), ("mlp-0004", 1)]


# Ray's pair


def ray_pair(scores: dict[int, list[float]], length: int = 20) -> tuple[RayPair, list[int]]:
    """Train trials one after another on scripted scores; return the pair and the epochs each came to."""
    pair, came = RayPair(SPACE, length, seed=0, chance=0.1), []
    for number in range(len(scores)):
        key = pair.next().key
        epoch = 1
        while pair.report(key, epoch, scores[number][min(epoch, len(scores[number])) - 1], 1.0):
            epoch += 1
        came.append(epoch)
    return pair, came


def test_rays_scheduler_stops_below_the_upper_quartile_of_the_others_and_never_at_a_tie() -> None:
    _, came = ray_pair({0: [0.5], 1: [0.5], 2: [0.49], 3: [0.6], 4: [0.52]})
    # rungs 1, 4, 16; quartile of 0.5, 0.5, 0.49 is 0.5; of these and 0.6 it is 0.525, above 0.52
    assert came == [20, 20, 1, 20, 1]


def test_rays_searcher_is_told_a_stopped_trial_is_complete_with_its_last_score() -> None:
    pair, came = ray_pair({0: [0.5], 1: [0.3], 2: [0.7, math.nan]})
    trials = pair._searcher._ot_study.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3
    assert [trial.value for trial in trials] == [0.5, 0.3, 0.1]
    assert came == [20, 1, 4]  # NaN counts as chance, which falls at the next rung
    assert trials[0].params == SPACE.reference


# Statistics


def traced(**regrets: list[list[float]]) -> pd.DataFrame:
    """Regret after 1, 2, 3, ... full lengths for each seed of each policy of one problem."""
    rows = [
        {"problem": "p", "policy": policy, "seed": seed, "spent": float(place), "regret": value}
        for policy, seeds in regrets.items()
        for seed, values in enumerate(seeds)
        for place, value in enumerate(values, 1)
    ]
    return pd.DataFrame(rows).replace({"policy": {"base": BASE}})


def test_regret_is_that_of_the_last_choice_and_one_before_the_first() -> None:
    table = comparison.regrets(traced(base=[[0.5, 0.3]]), np.array([0.5, 1.0, 1.5, 9.0]))
    assert list(table.xs(("p", BASE, 0)).to_numpy()) == [1.0, 0.5, 0.5, 0.3]


def test_speed_ranks_and_gaps_by_hand() -> None:
    grid = np.arange(1.0, 5.0)
    made = traced(base=[[0.9, 0.8, 0.7, 0.4]] * 3, fast=[[0.6, 0.4, 0.4, 0.2]] * 3, never=[[0.9, 0.9, 0.9, 0.5]] * 3)
    table = comparison.regrets(made, grid)
    means = comparison.mean_regrets(table)
    speeds = {policy: comparison.speed(means, grid, "p", policy)[0] for policy in (BASE, "fast", "never")}
    assert speeds == {BASE: 1.0, "fast": 2.0, "never": 0.0}
    assert comparison.ranks(table).to_numpy().tolist() == [[2.5, 2, 2, 2], [1, 1, 1, 1], [2.5, 3, 3, 3]]
    assert comparison.gaps(table, "fast", BASE)["gap"].tolist() == pytest.approx([-0.3, -0.2])


def test_intervals_hold_the_true_mean_in_about_95_of_100_cases() -> None:
    generator, held = np.random.default_rng(0), Counter[bool]()
    for _ in range(40):
        seeds = generator.normal(0.3, 0.1, 30)
        table = comparison.regrets(traced(base=[[value] for value in seeds]), np.array([1.0]))
        _, low, high = comparison.interval(comparison.mean_regrets(table)["p", BASE][:, -1])
        held[low <= 0.3 <= high] += 1
    assert 34 <= held[True] <= 40


# The command line


def test_a_problem_whose_danger_lies_at_the_reference_setting_is_drawn_anew() -> None:
    """With the danger first drawn for this seed it would diverge however good it is: no draw of the rest would do."""
    space = SPACES["plain_cnn"]
    assert np.isfinite(made_up("diverging", space, 27, seed=32).curve(space.reference, 1).scores).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--families orderli", "Did you mean 'orderly'"),
        ("--policies best", "Unknown policy 'best'"),
        ("--space net", "Unknown space 'net'"),
        ("--seeds 0", "--seeds is 0, but must be at least 1 seed"),
        ("--first-seed -1", "--first-seed is -1, but must be at least 0"),
        ("--families", "nothing to search on"),
        ("--families --curves /nowhere", "/nowhere is no run folder"),
    ],
)
def test_bad_input_ends_with_code_2_and_says_why(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_comparison_prints_its_tables_draws_its_figure_and_keeps_what_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--families", "orderly", "--space", "mlp", "--max-epochs", "3", "--lengths", "6", "--policies"]
    line += ["random + ASHA", "--out", str(tmp_path / "out")]
    assert main([*line, "--seeds", "2"]) == 0
    printed = capsys.readouterr().out
    assert f"| orderly | {BASE} |" in printed  # always takes part
    assert "| orderly | random + ASHA |" in printed
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"settings.json", "traces.csv", "tables.md", "search.svg", "search.png", "search.pdf"}
    before = (tmp_path / "out" / "traces.csv").read_text()
    assert main([*line, "--seeds", "3"]) == 0
    assert (tmp_path / "out" / "traces.csv").read_text().startswith(before)
    assert set(pd.read_csv(tmp_path / "out" / "traces.csv")["seed"]) == {0, 1, 2}
    assert main([*line, "--seeds", "1", "--first-seed", "7"]) == 0
    assert set(pd.read_csv(tmp_path / "out" / "traces.csv")["seed"]) == {0, 1, 2, 7}
    assert main([*line, "--lengths", "7"]) == 2
    assert "Choose another --out" in capsys.readouterr().err
