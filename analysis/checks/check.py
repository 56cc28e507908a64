"""What a check is and what it answers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from analysis.checks.record import Record

Status = Literal["FAIL", "WARN", "NOT TESTABLE", "PASS"]
STATUSES: Final[tuple[Status, ...]] = ("FAIL", "WARN", "NOT TESTABLE", "PASS")  # worst first


@dataclass(frozen=True)
class Answer:
    """What a check says about one thing: a space, a hyperparameter, a pair of spaces.

    `found` has the number. `changes` are what a study would have to do otherwise, by the names of `Plan`; from them
    `remedies.commands` makes commands. None: no command helps.
    """

    status: Status
    where: str
    found: str
    remedy: str = ""
    changes: Mapping[str, Any] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Check:
    """One question to a study. `warn` and `fail` say when it answers so (`fail` empty: it never does).

    `number` is that of docs/audit.md; `figure` is the name in `FIGURES` that shows it, empty where none does.
    """

    number: int
    title: str
    answers: Callable[[Record], Iterator[Answer]]
    warn: str
    fail: str = ""
    figure: str = ""


def each_space(ask: Callable[[Record, str], Iterator[Answer]]) -> Callable[[Record], Iterator[Answer]]:
    """Return a question to the study from a question to one space of it."""

    def answers(record: Record) -> Iterator[Answer]:
        for space in record.spaces:
            yield from ask(record, space)

    return answers
