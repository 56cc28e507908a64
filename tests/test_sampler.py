"""The sampler: the order of origins, and that a replay suggests what an uninterrupted study would have."""

import random
from typing import get_args

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import TrialState

from study.policy import Model, Policy, Stopped
from study.sampler import HISTORY, History, Sampler, _draw_one, seed_of
from study.spaces import SPACES

Told = list[tuple[str, tuple[object, ...]]]


MODELS: tuple[Model, ...] = get_args(Model)


def live(seed: int, trials: int, model: Model) -> tuple[Sampler, Told]:
    """Run a sampler through all that can happen to trials; return it with the calls that it was fed."""
    sampler, told = Sampler(SPACES["resnet"], seed, 27, policy=Policy(model=model)), []

    def feed(method: str, *arguments: object) -> None:
        told.append((method, arguments))
        getattr(sampler, method)(*arguments)

    for index in range(trials):
        key = f"resnet-{index:04d}"
        feed("add", key, sampler.suggest(index, trials=9)[1])
        if index % 6 == 5:
            continue  # still running
        feed("report", key, 1, 0.5 + 0.01 * index)
        if index % 3 == 0:
            feed("tell", key, "finished", 0.8 + 0.01 * index)
        else:
            feed("tell", key, "stopped" if index % 3 == 1 else ("diverged", "failed")[index % 2], None)
    return sampler, told


@pytest.mark.parametrize("model", MODELS)
def test_reference_then_random_then_the_models(model: Model) -> None:
    sampler = Sampler(SPACES["resnet"], 0, 27, policy=Policy(model=model))
    origins = []
    for index in range(7):
        origin, config = sampler.suggest(index, trials=7)
        sampler.add(f"resnet-{index:04d}", config)
        origins.append(origin)
    assert origins == ["reference", "random", "random", "random", model, model, model]
    assert Sampler(SPACES["resnet"], 5, 27).suggest(0, 7) == ("reference", dict(SPACES["resnet"].reference))


@pytest.mark.parametrize("model", MODELS)
def test_a_replayed_sampler_suggests_as_if_never_interrupted(model: Model) -> None:
    sampler, told = live(seed=7, trials=15, model=model)
    again = Sampler(SPACES["resnet"], 7, 27, policy=Policy(model=model))
    for method, arguments in told:
        getattr(again, method)(*arguments)
    for index in range(15, 20):
        origin, config = sampler.suggest(index, 9)
        assert origin == model
        assert again.suggest(index, 9) == (origin, config)
        for one in (sampler, again):
            one.add(f"resnet-{index:04d}", config)


@pytest.mark.parametrize("model", MODELS)
def test_asking_twice_changes_nothing(model: Model) -> None:
    sampler, _ = live(seed=1, trials=8, model=model)
    assert sampler.suggest(8, 9) == sampler.suggest(8, 9)


@pytest.mark.parametrize("model", MODELS)
def test_equal_seeds_agree_and_different_seeds_do_not(model: Model) -> None:
    first, second, other = (live(seed, 9, model)[0].suggest(9, 9) for seed in (2, 2, 3))
    assert first == second
    assert first != other


@pytest.mark.parametrize("model", MODELS)
def test_a_model_learns_from_what_it_is_told(model: Model) -> None:
    """With scores that reward high label smoothing alone, it must go there; at random the mean is 0.5."""
    sampler, space = Sampler(SPACES["resnet"], 0, 27, policy=Policy(model=model)), SPACES["resnet"]
    places = []
    for index in range(60):
        origin, config = sampler.suggest(index, trials=41)
        place = config["label_smoothing"] / 0.2
        key = f"{space.name}-{index:04d}"
        sampler.add(key, config)
        sampler.tell(key, "finished", place)
        places += [place] if origin == model else []
    assert np.mean(places[-20:]) > 0.8


@pytest.mark.parametrize("model", MODELS)
def test_a_model_learns_to_keep_away_from_what_diverges_however_good_it_looked_before(model: Model) -> None:
    sampler = Sampler(SPACES["resnet"], 0, 27, policy=Policy(model=model))
    bad = 0
    for index in range(60):
        origin, config = sampler.suggest(index, trials=41)
        key, diverges = f"resnet-{index:04d}", config["optimizer"] == "adamw"
        sampler.add(key, config)
        sampler.report(key, 3, 0.9 if diverges else 0.5)
        sampler.tell(key, "diverged" if diverges else "stopped", None)
        bad += diverges and origin == model and index >= 40
    assert bad <= 4  # half of 20 at random, nearly all if the scores before the end counted


@pytest.mark.parametrize("model", MODELS)
def test_what_a_model_looks_at_stops_growing_and_holds_the_best_and_the_last(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best must be those that TPE would rank first, had it been told everything."""
    policy, looked_at = Policy(model=model), HISTORY[model]
    short, whole = (Sampler(SPACES["resnet"], 0, 27, policy=policy) for _ in range(2))
    draws, ends = random.Random(1), ("finished", "stopped", "stopped", "diverged", "failed")
    number = looked_at.looks_at + 150
    for sampler, history in ((short, looked_at), (whole, History(number, looked_at.best))):
        monkeypatch.setitem(HISTORY, model, history)
        draws.seed(1)
        for index in range(number):
            key, state = f"t{index}", draws.choice(ends)
            sampler.add(key, SPACES["resnet"].reference)
            if index % 40 == 7:
                continue  # still running
            for epoch in range(1, draws.randrange(3)):
                sampler.report(key, epoch, round(draws.random(), 1))
            sampler.tell(key, state, round(draws.random(), 1) if state == "finished" else None)
    study = optuna.create_study(direction="maximize")
    good, _ = _split_trials(study, whole.history(), looked_at.best)
    seen = [trial.number for trial in short.history()]
    ended = [trial.number for trial in short.history() if trial.state.is_finished()]
    assert len(ended) == looked_at.looks_at
    assert len(seen) == looked_at.looks_at + sum(index % 40 == 7 for index in range(number))
    assert seen == sorted(seen)
    assert {trial.number for trial in good} <= set(ended)
    rest = [trial.number for trial in whole.history() if trial.state.is_finished() and trial not in good]
    assert set(rest[-(looked_at.looks_at - looked_at.best) :]) == set(ended) - {trial.number for trial in good}


def test_the_best_that_tpe_looks_at_are_those_that_it_calls_good() -> None:
    assert default_gamma(HISTORY["tpe"].looks_at) == HISTORY["tpe"].best


@pytest.mark.parametrize(
    ("distribution", "middle"),
    [
        (FloatDistribution(1e-4, 1.0, log=True), 1e-2),
        (FloatDistribution(2.0, 4.0), 3.0),
        (IntDistribution(1, 3), 2),
        (IntDistribution(1, 64, log=True), 8),
    ],
)
def test_draws_are_uniform_on_the_scale_of_the_range(
    distribution: FloatDistribution | IntDistribution, middle: float
) -> None:
    generator = np.random.default_rng(0)
    draws = np.array([_draw_one(distribution, generator) for _ in range(4000)])
    assert draws.min() >= distribution.low
    assert draws.max() <= distribution.high
    below, above = (draws < middle).mean(), (draws > middle).mean()
    assert abs(below - above) < 0.08


@pytest.mark.parametrize(("trials", "expected"), [(1, 0), (2, 0), (24, 12), (25, 12), (101, 50)])
def test_a_share_of_the_trials_besides_the_reference_is_random(trials: int, expected: int) -> None:
    assert Policy(random_share=0.5).random_trials(trials) == expected
    assert Policy(random_share=1.0).random_trials(trials) == trials - 1


@pytest.mark.parametrize("warm", [0, 7])
@pytest.mark.parametrize("start_up", [None, 0, 5, 40])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("trials", [1, 2, 9, 41, 252])
def test_after_the_first_random_trials_the_others_are_spread_evenly(
    trials: int, share: float, start_up: int | None, warm: int
) -> None:
    policy, count = Policy(random_share=share, start_up=start_up), max(0, trials - 1 - warm)
    kinds = [policy.is_random(number, trials, warm) for number in range(1, count + 20)]
    planned, random = kinds[:count], min(policy.random_trials(trials), count)
    assert sum(planned) == random  # the random arm keeps its size
    assert not any(kinds[count:])  # those of a resume are TPE's
    first = random if start_up is None else min(start_up, random)
    assert all(planned[:first])
    rest = planned[first:]
    for end in range(len(rest) + 1):
        assert abs(sum(rest[:end]) - (random - first) * end / max(1, len(rest))) < 1


@pytest.mark.parametrize(
    ("scores", "expected"), [([3.0], 3.0), ([1, 2, 3, 4, 5, 6, 7], 7.0), ([0] * 10 + [4, 5, 6], 5)]
)
def test_a_trial_stands_where_the_last_quarter_of_its_epochs_does(scores: list[float], expected: float) -> None:
    assert Policy().standing(scores) == expected
    assert Policy(averaged=0).standing(scores) == scores[-1]


def told(stopped: Stopped) -> list[tuple[TrialState, float | None]]:
    """What TPE sees of five trials with rungs at 1 and 3, of which the first was let pass for want of others."""
    sampler = Sampler(SPACES["resnet"], 0, 27, policy=Policy(model="tpe", stopped=stopped, reduction_factor=3))
    for key in "abcde":
        sampler.add(key, SPACES["resnet"].reference)
    sampler.report("a", 1, 0.2)
    for key, score in (("b", 0.5), ("c", 0.4)):
        sampler.report(key, 1, score)
    sampler.tell("c", "stopped", None)  # second of 0.5, 0.4, 0.2
    sampler.report("a", 3, 0.3)
    sampler.tell("a", "finished", 0.6)  # third at the first rung, of which the best passes
    sampler.report("b", 3, 0.7)
    sampler.tell("b", "stopped", None)  # first at both rungs, and not compared at full length
    sampler.report("d", 1, 0.9)
    sampler.tell("d", "diverged", None)
    return [(trial.state, trial.value) for trial in sampler.history()]


@pytest.mark.parametrize(
    ("stopped", "complete"),
    [
        ("pruned", {"a": 0.6}),
        ("last", {"a": 0.6, "b": 0.7, "c": 0.4}),
        ("rung-rank", {"a": 1 - 2.5 / 3, "b": 2 - 0.5 / 2, "c": 1 - 1.5 / 3}),
    ],
)
def test_what_tpe_is_told_of_stopped_trials_is_the_policys(stopped: Stopped, complete: dict[str, float]) -> None:
    expected: list[tuple[TrialState, float | None]] = []
    for key in "abc":
        expected.append((TrialState.COMPLETE, complete[key]) if key in complete else (TrialState.PRUNED, None))
    found = told(stopped)
    assert [state for state, _ in found] == [state for state, _ in expected] + [TrialState.PRUNED, TrialState.RUNNING]
    assert [value for _, value in found[:3]] == pytest.approx([value for _, value in expected])


def test_a_score_that_is_taken_back_ranks_no_one() -> None:
    sampler = Sampler(SPACES["resnet"], 0, 27, policy=Policy(model="tpe", stopped="rung-rank"))
    for key, score in (("a", 0.9), ("b", 0.5)):
        sampler.add(key, SPACES["resnet"].reference)
        sampler.report(key, 1, score)
    sampler.tell("a", "failed", None)
    sampler.tell("b", "stopped", None)
    assert [trial.value for trial in sampler.history()] == [None, 0.5]  # alone at the rung: 1 - 0.5 / 1


def test_a_seed_depends_on_every_part() -> None:
    seeds = {seed_of(0, "resnet-0001"), seed_of(1, "resnet-0001"), seed_of(0, "resnet-0002"), seed_of("0", "final", 1)}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)
