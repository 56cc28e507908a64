"""When the reference setting goes on whatever its rank."""

import pytest

from study.reference import Spent, is_due


@pytest.mark.parametrize(
    ("begun", "trials", "budgets", "expected"),
    [
        (1, 1, [], True),
        (19, 40, [], False),
        (20, 40, [], True),
        (1, 40, [Spent(49, 100, 10)], False),
        (1, 40, [Spent(50, 100, 10)], True),
        (1, 40, [Spent(29, 100, 35)], False),  # all but two full lengths are 30
        (1, 40, [Spent(30, 100, 35)], True),
        (1, 40, [Spent(0, 100, 60)], True),  # there is not even so much
        (1, 40, [Spent(10, 100, 10), Spent(6, 10, 1)], True),
    ],
)
def test_it_is_due_at_half_of_any_budget_or_while_two_full_lengths_are_left(
    begun: int, trials: int, budgets: list[Spent], expected: bool
) -> None:
    assert is_due(begun, trials, budgets) is expected
