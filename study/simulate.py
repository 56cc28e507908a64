"""Compare search policies under a simulated clock: `python -m study.simulate`.

A policy gets a number of slots and a budget in epochs; networks are replaced by learning curves, made up
(`study/simulation/curves.py`) or recorded by `python -m study.run --no-stopping`. The study's own engine, sampler and
ASHA take part as they are. docs/search.md says how the figures are to be read.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from analysis import style
from study.plan import PlanError, at_least, check_name
from study.simulation import comparison
from study.simulation.clock import simulate
from study.simulation.curves import FAMILIES, Problem, made_up, recorded
from study.simulation.policies import BASE, OURS, POLICIES, RAY
from study.spaces import SPACES

SHOWN: Final = (BASE, RAY, "random + pausing ASHA, 1/2", "TPE + pausing ASHA", OURS)  # in the figure
SETTINGS: Final = ("space", "max_epochs", "lengths", "slots", "policies")  # what traces in one folder share
STEPS: Final = 48  # points of the budget at which regret is read


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m study.simulate", description="Compare search policies by simulation."
    )
    made.add_argument("--families", nargs="*", default=list(FAMILIES), help=f"made-up curves: {', '.join(FAMILIES)}")
    curves = "studies of --no-stopping; files of spaces that they name are run"
    made.add_argument("--curves", nargs="*", type=Path, default=[], metavar="RUN_DIR", help=curves)
    made.add_argument("--policies", nargs="+", default=list(POLICIES), help=f"any of: {', '.join(POLICIES)}")
    made.add_argument("--space", default="plain_cnn", help="space of the made-up curves (default plain_cnn)")
    made.add_argument("--max-epochs", type=int, default=27, help="full length of the made-up curves (default 27)")
    made.add_argument("--lengths", type=int, default=12, help="budget of a search in full lengths (default 12)")
    made.add_argument("--slots", type=int, default=2, help="trials at once (default 2)")
    made.add_argument("--seeds", type=int, default=30, help="drawn problems of each kind (default 30)")
    made.add_argument(
        "--first-seed", type=int, default=0, help="first of them (default 0): others than a default was chosen on"
    )
    made.add_argument("--processes", type=int, default=1, help="processes (default 1)")
    made.add_argument(
        "--out", type=Path, help="folder for traces, tables and figure; traces there are not made again (default: none)"
    )
    return made


def check(asked: argparse.Namespace) -> None:
    """Raise `PlanError` for what no simulation can do."""
    for family in asked.families:
        check_name("family", family, FAMILIES)
    for policy in asked.policies:
        check_name("policy", policy, POLICIES)
    check_name("space", asked.space, SPACES)
    at_least("--max-epochs", asked.max_epochs, 2, "epochs")
    for name, unit in (("lengths", "full length"), ("slots", "slot"), ("seeds", "seed"), ("processes", "process")):
        at_least(f"--{name}", getattr(asked, name), 1, unit)
    at_least("--first-seed", asked.first_seed, 0, "as a seed is")
    if not asked.families and not asked.curves:
        raise PlanError("There is nothing to search on. Give --families or --curves.")
    for folder in asked.curves:
        _recorded(folder)  # one that cannot be used is refused before anything starts; the others are kept
    asked.policies = list(dict.fromkeys((BASE, *asked.policies)))  # what the others are measured against


def _begin(asked: argparse.Namespace) -> None:
    """Make the folder, or see that what lies in it came from the same settings."""
    asked.out.mkdir(parents=True, exist_ok=True)
    file = asked.out / "settings.json"
    settings = json.dumps({name: getattr(asked, name) for name in SETTINGS}, indent=1)
    if not file.exists():
        file.write_text(settings)
    elif file.read_text() != settings:
        raise PlanError(f"{asked.out} holds traces made with the settings in {file}. Choose another --out.")


@cache
def _recorded(folder: Path) -> dict[str, Problem]:
    return {f"recorded: {problem.space.name}": problem for problem in recorded(folder)}


def traces(asked: argparse.Namespace, kind: str | Path, seed: int) -> pd.DataFrame:
    """Return the traces of every policy on the problems of one kind, a family or a folder of recorded curves."""
    problems = _recorded(kind) if isinstance(kind, Path) else {kind: _made_up(asked, kind, seed)}
    found = []
    for name, problem in problems.items():
        epochs = asked.lengths * problem.max_epochs
        for policy in asked.policies:
            begun = time.process_time()
            search = POLICIES[policy](problem, seed, asked.slots, epochs)
            trace = pd.DataFrame(simulate(search, problem, asked.slots, epochs))
            trace = trace.assign(
                problem=name, policy=policy, kind=str(kind), seed=seed, cpu_seconds=time.process_time() - begun
            )
            found.append(trace.assign(spent=trace["epochs"] / problem.max_epochs))
    return pd.concat(found, ignore_index=True)


def _made_up(asked: argparse.Namespace, family: str, seed: int) -> Problem:
    return made_up(family, SPACES[asked.space], asked.max_epochs, seed)


def compare(asked: argparse.Namespace) -> pd.DataFrame:
    """Return the traces of all. With `--out` they are kept as they come, and what is there is not made again."""
    kept = asked.out / "traces.csv" if asked.out is not None else None
    found = [pd.read_csv(kept)] if kept is not None and kept.exists() else []
    done = set() if not found else set(zip(found[0]["kind"], found[0]["seed"], strict=True))
    kinds = [(kind, seed) for seed in _seeds(asked) for kind in (*asked.families, *asked.curves)]
    left = [(kind, seed) for kind, seed in kinds if (str(kind), seed) not in done]
    for table in _each(asked, left):
        found.append(table)
        if kept is not None:
            table.to_csv(kept, mode="a", header=not kept.exists(), index=False)
    return pd.concat(found, ignore_index=True)


def _seeds(asked: argparse.Namespace) -> range:
    return range(asked.first_seed, asked.first_seed + asked.seeds)


def _each(asked: argparse.Namespace, left: Sequence[tuple[str | Path, int]]) -> Iterator[pd.DataFrame]:
    if asked.processes == 1:
        yield from (traces(asked, kind, seed) for kind, seed in left)
        return
    with ProcessPoolExecutor(asked.processes) as pool:
        yield from pool.map(partial(traces, asked), *zip(*left, strict=True)) if left else ()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, or 2 for bad input."""
    asked = parser().parse_args(arguments)
    try:
        check(asked)
        if asked.out is not None:
            _begin(asked)
        found = compare(asked)
    except ValueError as error:  # a PlanError is one
        print(error, file=sys.stderr)
        return 2
    grid = np.arange(1, STEPS + 1) * asked.lengths / STEPS
    table = comparison.regrets(found, grid)
    tables = comparison.describe(table, grid, OURS, RAY)
    print(tables)
    if asked.out is not None:
        (asked.out / "tables.md").write_text(tables + "\n")
        with style.style():
            canvas = style.new_canvas(height=2.6 * -(-found["problem"].nunique() // 3))
            comparison.draw_regrets(canvas, table, [name for name in SHOWN if name in asked.policies])
            for kind, content in style.files(canvas).items():
                (asked.out / f"search.{kind}").write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
