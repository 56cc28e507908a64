"""Does the upper bound of the expected best of k random trials hold? In simulated studies hidden scores are known.

    python -m benchmarks.bounds [--seeds 16] [--first-seed 4000] [--lengths 40]

Each study is a search of the `plain_cnn` space with the default policy and two slots under a simulated clock, on
made-up curves (`study/simulation/curves.py`): 40 trials of 27 epochs, or, with `--lengths`, as many as a budget of so
many full lengths pays for. Its log is read as any other. Beside the bounds of `analysis.budget.best_of_k` stands what
the trials of the random arm would have had, had none been stopped: a row for each kind of curves and k, with the share
of studies that have an upper bound, and of these: the share in which that is above it, by how much in the mean, and
how far the bounds are apart.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import analysis
from analysis import budget
from analysis.events import read_events
from data_utils.datasets import load
from data_utils.splits import split
from study.engine import Engine
from study.log import Log
from study.packing import Packing
from study.plan import Plan, describe, hardware, write_study
from study.simulation.clock import Task, simulate
from study.simulation.curves import CHANCE, FAMILIES, Problem, made_up
from study.simulation.policies import ENDLESS, Study, trials_for
from study.spaces import SPACES

SPACE = "plain_cnn"
EPOCHS, SLOTS = 27, 2


class Search(Study):
    """The search of a study with a run folder, without its final runs."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def next(self) -> Task | None:
        """Return the engine's next trial, begun."""
        task = super().next()
        return None if task is None or "-seed" in task.key else task


def study(folder: Path, problem: Problem, seed: int, lengths: int | None) -> analysis.StudyTables:
    """Simulate a study in `folder` and return its tables."""
    epochs = None if lengths is None else lengths * EPOCHS
    plan = Plan((SPACE,), max_epochs=EPOCHS, seed=seed, runs=folder, name="made-up", epoch_budget=epochs)
    if epochs is not None:
        plan = replace(plan, trials=trials_for(epochs, EPOCHS, plan.policy.reduction_factor, plan.rungs))
    digits = load("digits", Path("unused"))
    write_study(plan, describe(plan, {SPACE: problem.space}, digits, split(digits.train, seed=0), hardware([])))
    engine = Engine(plan, {SPACE: problem.space}, Log(plan.folder / "events.jsonl"))
    engine.open([Packing(SLOTS, SLOTS, 1, 0.0)], ["benchmark"], plan.trials if epochs is None else ENDLESS)
    simulate(Search(engine), problem, SLOTS, epochs or ENDLESS)
    engine.close()
    return analysis.read(plan.folder)


def rows(family: str, seed: int, lengths: int | None) -> Iterator[dict[str, Any]]:
    """Give a row for k of 1, 3 and half of the random arm."""
    problem = made_up(family, SPACES[SPACE], EPOCHS, seed)
    with tempfile.TemporaryDirectory() as folder:
        tables = study(Path(folder), problem, seed, lengths)
        events, _ = read_events(tables.run_dir / "events.jsonl")
    begun = [event for event in events if event["event"] == "suggested"]
    bounds = budget.best_of_k(tables).set_index("k")
    arm = set(budget.random_arm(tables, SPACE)["trial"])
    curves = [problem.curve(event["config"], event["seed"]).scores for event in begun if event["trial"] in arm]
    scores = np.array([curve[-1] if np.isfinite(curve).all() else CHANCE for curve in curves])
    for name, k in (("1", 1), ("3", 3), ("n / 2", len(scores) // 2)):
        if k in bounds.index:
            true = budget.expected_best(scores, np.array([k]))[0]
            low, high = (float(bounds[end][k]) for end in ("low", "high"))
            known = bool(np.isfinite(high))
            over = max(true - high, 0.0) if known else np.nan
            row = {"n": len(scores), "bounded": known, "above": float(over > 0) if known else np.nan, "by": over}
            yield {"curves": family, "k": name, **row, "apart": high - low}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=16, help="studies of each kind of curves (default 16)")
    parser.add_argument("--first-seed", type=int, default=4000, help="seed of the first one (default 4000)")
    parser.add_argument("--lengths", type=int, help="budget in full lengths (default: 40 trials, no budget)")
    asked = parser.parse_args()
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    found = pd.DataFrame([row for name in FAMILIES for seed in seeds for row in rows(name, seed, asked.lengths)])
    print(found.groupby(["curves", "k"], sort=False).mean().round(3).to_string())


if __name__ == "__main__":
    main()
