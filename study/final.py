"""Whom the search chose: the trials whose configurations are retrained with fresh seeds."""

from collections.abc import Sequence

from study.state import Run


def winners(trials: Sequence[Run], count: int) -> list[Run]:
    """Return the best `count` trials: those of full length by what they are judged by, equal ones by validation loss.

    Where fewer reached full length, those that came furthest fill up: it is the best there is, and the log says how
    far they came. Failed and diverged trials never win.
    """
    usable = [run for run in trials if run.score is not None and run.state not in ("failed", "diverged")]
    usable.sort(key=lambda run: (-run.epochs, -(run.standing or 0.0), run.val_loss or 0.0))
    return usable[:count]
