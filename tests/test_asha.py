"""ASHA's decisions, case by case: each one is a way in which other implementations go wrong."""

import math
import random

import pytest

from study.asha import Asha, Decision, rungs


def arrive(asha: Asha, epoch: int, scores: list[float], first: int = 0) -> list[str]:
    """Let trials arrive at a rung one after another and return what was decided."""
    actions: list[str] = []
    for number, score in enumerate(scores, first):
        decision = asha.judge(f"t{number}", epoch, score)
        assert decision is not None
        asha.record(f"t{number}", epoch, score)
        actions.append(decision.action)
    return actions


@pytest.fixture
def asha() -> Asha:
    return Asha((1, 3), reduction_factor=3)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_non_finite_score_is_refused_and_never_enters_a_rung(asha: Asha, score: float) -> None:
    with pytest.raises(ValueError, match="non-finite"):
        asha.judge("t0", 1, score)
    assert asha.scores(1) == {}


def test_twenty_dead_networks_at_chance_do_not_all_go_on(asha: Asha) -> None:
    assert arrive(asha, 1, [0.1] * 20) == ["continue"] + ["stop"] * 19


def test_a_dead_network_never_ties_its_way_into_a_good_rung(asha: Asha) -> None:
    arrive(asha, 1, [0.1, 0.9, 0.8, 0.1, 0.1])
    assert asha.judge("t9", 1, 0.1) == Decision("stop", 0.8, 6)


def test_a_tie_goes_to_the_earlier_arrival(asha: Asha) -> None:
    assert arrive(asha, 1, [0.9, 0.9]) == ["continue", "stop"]


def test_the_first_arrival_goes_on_and_the_second_must_beat_it(asha: Asha) -> None:
    assert asha.judge("t0", 1, 0.5) == Decision("continue", None, 1)
    asha.record("t0", 1, 0.5)
    assert asha.judge("t1", 1, 0.4) == Decision("stop", 0.5, 2)
    assert asha.judge("t1", 1, 0.6) == Decision("continue", 0.5, 2)


@pytest.mark.parametrize("population", [2, 3, 8, 16, 32, 64])
def test_falling_scores_promote_the_first_alone_in_small_populations(population: int) -> None:
    asha = Asha((1,), reduction_factor=4)
    actions = arrive(asha, 1, [1 - number / 100 for number in range(population)])
    assert actions.count("continue") == 1


def test_at_most_one_in_three_of_a_shuffled_rung_is_behind_the_quota_at_any_moment(asha: Asha) -> None:
    scores = [((37 * number) % 101) / 101 for number in range(100)]
    seen: list[float] = []
    for number, score in enumerate(scores):
        decision = asha.judge(f"t{number}", 1, score)
        asha.record(f"t{number}", 1, score)
        seen.append(score)
        quota = max(1, len(seen) // 3)
        assert decision is not None
        assert (decision.action == "continue") == (sorted(seen, reverse=True).index(score) < quota)


def test_a_skipped_milestone_decides_nothing_and_fills_no_rung(asha: Asha) -> None:
    assert asha.judge("t0", 2, 0.9) is None
    assert asha.judge("t0", 20, 0.9) is None
    assert asha.scores(1) == {}
    assert asha.scores(3) == {}


def test_the_score_of_a_failed_trial_is_taken_back_from_every_rung(asha: Asha) -> None:
    arrive(asha, 1, [0.99])
    arrive(asha, 3, [0.99])
    asha.retract("t0")
    assert arrive(asha, 1, [0.5], first=1) == ["continue"]
    assert asha.scores(3) == {}


def test_a_trial_is_not_compared_with_its_own_earlier_record(asha: Asha) -> None:
    arrive(asha, 1, [0.5])
    assert asha.judge("t0", 1, 0.5) == Decision("continue", None, 1)


@pytest.mark.parametrize(
    ("max_epochs", "grace", "expected"),
    [(9, 1, (1, 3)), (2, 1, (1,)), (18, 2, (2, 6)), (243, 1, (1, 3, 9, 27, 81)), (1, 1, ()), (27, 3, (3, 9))],
)
def test_rungs_are_exact_powers_below_the_full_length(max_epochs: int, grace: int, expected: tuple[int, ...]) -> None:
    assert rungs(max_epochs, 3, grace) == expected


def test_decisions_are_those_of_a_plain_sort_whatever_came_and_was_taken_back(asha: Asha) -> None:
    draws, known = random.Random(0), dict[str, float]()
    for number in range(400):
        trial, score = f"t{draws.randrange(300)}", round(draws.random(), 2)  # some come twice, many tie
        others = sorted((value for name, value in known.items() if name != trial), reverse=True)
        quota = max(1, (len(others) + 1) // 3)
        cutoff = others[quota - 1] if len(others) >= quota else None
        goes_on = cutoff is None or score > cutoff
        assert asha.judge(trial, 1, score) == Decision("continue" if goes_on else "stop", cutoff, len(others) + 1)
        asha.record(trial, 1, score)
        known[trial] = score
        if number % 5 == 0:
            gone = draws.choice(list(known))
            asha.retract(gone)
            del known[gone]
    assert asha.scores(1) == known
