"""The audit of a study: `python -m analysis.audit runs/NAME` asks it the questions of the Tuning Playbook.

Prints what FAILs and WARNs first, each with its remedy, and the commands that would mend it. Exit code 0 without a
FAIL, 1 with one, 2 for a folder that cannot be read. The report has the same as a table. `docs/audit.md` explains.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from analysis.checks import CHECKS, STATUSES, Answer, Check, Record, Status, remedies
from analysis.tables import StudyTables, read

if TYPE_CHECKING:  # the report has no terminal to write to
    from rich.console import Console
    from rich.text import Text

WIDTH: Final = 100  # columns
COLUMNS: Final = ("result", "check", "where", "found", "remedy", "command", "threshold", "figure")
STYLES: Final[dict[Status, str]] = {"FAIL": "bold red", "WARN": "yellow", "NOT TESTABLE": "cyan", "PASS": "green"}


@dataclass(frozen=True)
class Result:
    """One answer with the check that gave it and the commands that would mend it."""

    check: Check
    answer: Answer
    commands: tuple[str, ...]

    @property
    def threshold(self) -> str:
        """When the check does not pass."""
        fail = f"; FAIL: {self.check.fail}" if self.check.fail else ""
        return f"WARN: {self.check.warn}{fail}"

    def anchor(self, anchors: Collection[str]) -> str:
        """Return which of the figures on a page shows what the answer is about, the space's own first; "" if none."""
        figure, space = self.check.figure, self.answer.where.partition(" ")[0]
        of_a_space = [name for name in anchors if figure and name.startswith(f"{figure}-")]
        found = (name for name in (f"{figure}-{space}", figure, *of_a_space) if name in anchors)
        return next(found, "")


def audit(tables: StudyTables, repeats: Sequence[StudyTables] = ()) -> list[Result]:
    """Ask every check of the study; return the answers, worst first, then by number.

    `repeats` are studies of the same spaces, data and length with other seeds. Raises ValueError where they are not.
    """
    for repeat in repeats:
        _check_repeat(tables, repeat)
    record = Record(tables, repeats)
    results = [result for check in CHECKS.values() for result in ask(record, check)]
    return sorted(results, key=lambda result: (STATUSES.index(result.answer.status), result.check.number))


def ask(record: Record, check: Check) -> Iterator[Result]:
    """Give the answers of one check."""
    for answer in check.answers(record):
        yield Result(check, answer, tuple(remedies.commands(record, answer.changes)))


def _check_repeat(tables: StudyTables, repeat: StudyTables) -> None:
    for name, pick in _SAME.items():
        if pick(tables.plan) != pick(repeat.plan):
            raise ValueError(
                f"{str(repeat.run_dir)!r} is no repeat of {str(tables.run_dir)!r}: its {name} differ. Give --repeat "
                "studies that differ in their seed alone."
            )


_SAME: Final[dict[str, Any]] = {
    "spaces": lambda plan: {name: space["sha256"] for name, space in plan["spaces"].items()},
    "data": lambda plan: (plan["dataset"]["name"], plan["dataset"]["splits"]["test"]),
    "epochs": lambda plan: plan["max_epochs"],
    "trials": lambda plan: plan["trials"],
}


def verdicts(results: Iterable[Result]) -> dict[int, Status]:
    """Return the worst answer of each check, by its number."""
    worst: dict[int, Status] = {}
    for result in results:  # worst first
        worst.setdefault(result.check.number, result.answer.status)
    return worst


def outcome(results: Iterable[Result]) -> str:
    """Return how many checks came out how, without the zeros: `1 FAIL, 5 WARN, 13 PASS`."""
    counts = Counter(verdicts(results).values())
    return ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])


def counted(results: Iterable[Result]) -> str:
    """Return how many checks came out how: `19 checks: 1 FAIL, 5 WARN, 4 NOT TESTABLE, 9 PASS`."""
    worst = verdicts(results)
    counts = Counter(worst.values())
    return f"{len(worst)} checks: {', '.join(f'{counts[status]} {status}' for status in STATUSES)}"


def page_rows(results: Iterable[Result], anchors: Collection[str] = ()) -> list[list[tuple[str, str]]]:
    """Return the rows of the report's table under `COLUMNS`: text and what it is sorted by. `anchors` are the figures
    of the page.
    """
    return [
        [
            (result.answer.status, str(STATUSES.index(result.answer.status))),
            (f"{result.check.number} {result.check.title}", str(result.check.number)),
            *(
                (text, text)
                for text in (
                    result.answer.where,
                    result.answer.found,
                    result.answer.remedy,
                    "; ".join(result.commands),
                    result.threshold,
                    result.anchor(anchors) or result.check.figure,
                )
            ),
        ]
        for result in results
    ]


def plan_of_action(record: Record, results: Iterable[Result]) -> Iterator[tuple[str, list[int], list[str]]]:
    """Give what to do, for which checks, with which commands, so that checks that ask alike are asked once."""
    asked = [(result.check.number, result.answer.changes) for result in results if result.answer.changes is not None]
    joined = [(number, changes) for number, changes in asked if remedies.joins(changes)]
    resumed = [(number, changes) for number, changes in joined if set(changes) == {"trials"}]
    again = " (opens the test split again if another trial wins)" if len(record.tables.openings) else ""
    groups = [(f"More trials of this study{again}", resumed)]
    if len(resumed) < len(joined):
        groups.append(("One new study for all that flags, and edits of the spaces, can mend", joined))
    for title, group in groups:
        if group:
            changes = remedies.together(changes for _, changes in group)
            yield title, sorted({number for number, _ in group}), remedies.commands(record, changes)
    alone = [(number, remedies.commands(record, changes)) for number, changes in asked if not remedies.joins(changes)]
    for commands in dict.fromkeys(tuple(commands) for _, commands in alone):
        yield "Besides", sorted({number for number, found in alone if tuple(found) == commands}), list(commands)


def show(record: Record, results: Sequence[Result], console: "Console") -> None:
    """Print the answers, at most 100 columns wide, and the commands, each on a line that can be copied."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, width=min(WIDTH, console.width))
    table.add_column(width=12)
    table.add_column()
    for (status, number), group in groupby(results, key=lambda result: (result.answer.status, result.check.number)):
        table.add_row(Text(status, STYLES[status]), _said(number, list(group)))
    console.print(counted(results), highlight=False)
    console.print(table)
    for title, numbers, commands in plan_of_action(record, results):
        noun = "check" if len(numbers) == 1 else "checks"
        console.print(f"\n{title}, for {noun} {', '.join(map(str, numbers))}:", highlight=False)
        for command in commands:
            console.print(command, highlight=False, markup=False, soft_wrap=True)


def _said(number: int, results: Sequence[Result]) -> "Text":
    """Say what one check found, title first, and when it would have warned."""
    from rich.text import Text

    said = Text.assemble((f"{number} {results[0].check.title}", "bold"), *(f"\n{line}" for line in _lines(results)))
    return said.append(f"\n{_asked(results[0].check)}", "dim")


def _asked(check: Check) -> str:
    """Return when a check does not pass, and which figure shows it."""
    fail = f"; fails when {check.fail}" if check.fail else ""
    return f"(warns when {check.warn}{fail}{f'; figure {check.figure}' if check.figure else ''})"


def _lines(results: Sequence[Result]) -> Iterator[str]:
    """Say what one check found: each answer with its number, of what is not testable the first."""
    for remedy, group in groupby(results, key=lambda result: result.answer.remedy):
        answers = [result.answer for result in group]
        if answers[0].status == "NOT TESTABLE":
            more = f" (and {len(answers) - 1} more)" if len(answers) > 1 else ""
            yield f"{answers[0].where}{more}: {answers[0].found}"
        else:
            yield from (f"{answer.where}: {answer.found}" for answer in answers)
        asked = remedies.flags(remedies.together(answer.changes or {} for answer in answers))
        if remedy:
            yield f"-> {remedy}{f' [{asked}]' if asked else ''}"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m analysis.audit", description="Ask a study the questions of the Deep Learning Tuning Playbook."
    )
    made.add_argument("run_dir", metavar="RUN_DIR", help="folder that study.run wrote, such as runs/resnet-digits")
    repeat = "the same study with other seeds: is the search repeatable?"
    made.add_argument("--repeat", nargs="+", default=[], metavar="RUN_DIR", help=repeat)
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code: 0, 1 with a FAIL, 2 for a folder that cannot be read."""
    from rich.console import Console

    asked = parser().parse_args(arguments)
    try:
        tables, repeats = read(asked.run_dir), [read(folder) for folder in asked.repeat]
        results = audit(tables, repeats)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    console = Console()
    show(Record(tables, repeats), results, console if console.is_terminal else Console(width=WIDTH))
    return 1 if "FAIL" in verdicts(results).values() else 0


if __name__ == "__main__":
    sys.exit(main())
