"""Whom the search chooses, on small hand-made lists."""

from typing import Any

import pytest

from study.final import winners
from study.state import Run


def run(key: str, epochs: int, score: float | None, state: str = "finished", val_loss: float = 1.0) -> Run:
    fields: dict[str, Any] = {"epochs": epochs, "score": score, "standing": score, "state": state, "val_loss": val_loss}
    return Run("trial", key, "resnet", key, {}, 0, **fields)


@pytest.mark.parametrize(
    ("trials", "count", "expected"),
    [
        ([run("a", 9, 0.8), run("b", 9, 0.9)], 1, ["b"]),
        ([run("a", 9, 0.8), run("b", 9, 0.9)], 2, ["b", "a"]),
        ([run("a", 9, 0.8), run("b", 3, 0.99, "stopped")], 1, ["a"]),  # a score of 3 epochs does not beat one of 9
        ([run("a", 1, 0.9, "stopped"), run("b", 3, 0.7, "stopped")], 1, ["b"]),  # nobody at full length
        ([run("a", 9, 0.9, val_loss=0.5), run("b", 9, 0.9, val_loss=0.4)], 1, ["b"]),
        ([run("a", 9, 0.99, "diverged"), run("b", 9, 0.99, "failed"), run("c", 1, 0.1, "stopped")], 2, ["c"]),
        ([run("a", 0, None, "failed")], 1, []),
        ([], 1, []),
    ],
)
def test_the_best_at_full_length_wins(trials: list[Run], count: int, expected: list[str]) -> None:
    assert [trial.key for trial in winners(trials, count)] == expected
