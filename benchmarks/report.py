"""What a report costs as a study grows: seconds, peak memory, size of its page; Optuna's figures of the same trials.

    python -m benchmarks.report [--trials 1000 10000 50000] [--no-stopping] [--optuna 1000 10000] [--keep FOLDER]

A study of so many trials, half of them of each of two spaces, up to 50 epochs long, is written by the study's own
engine under a simulated clock with 16 slots. Learning curves are made up (`study/simulation/curves.py`), configurations
are random, since TPE would take minutes; all else is as in a real one: rungs, stops, divergence, final runs,
predictions.
`--no-stopping`: all trials have 50 epochs. Then `python -m analysis.report` is run on it, a process of its own.

Optuna's side has the trials of the first space in a study in memory, their scores as intermediate values, and makes
each figure of `optuna.visualization` that ours have a counterpart of, with Plotly (where it is installed: it is no
dependency) as one HTML page and with Matplotlib as PNG files, and both of its importances. Its seconds are without
imports and without reading the log; ours are with both.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

# The rest is imported in the children: Linux counts what a parent holds into the peak memory of its children.

Row = dict[str, Any]
SPACES: Final = ("resnet", "plain")
EPOCHS: Final = 50
SLOTS: Final = 16
PLOTS: Final = (
    "plot_optimization_history",
    "plot_intermediate_values",
    "plot_slice",
    "plot_parallel_coordinate",
    "plot_contour",
    "plot_timeline",
    "importance: PED-ANOVA",
    "importance: fANOVA",
)


def write_study(folder: Path, trials: int, stopping: bool) -> None:
    """Write the run folder of a finished study."""
    from data_utils.datasets import load
    from data_utils.splits import split
    from study.engine import Engine
    from study.packing import Packing
    from study.plan import Plan, describe, hardware
    from study.policy import Policy
    from study.simulation.curves import made_up
    from study.spaces import SPACES as ALL

    spaces = {name: ALL[name] for name in SPACES}
    plan = Plan(
        SPACES,
        trials=trials // len(SPACES),
        max_epochs=EPOCHS,
        runs=folder.parent,
        name=folder.name,
        policy=Policy(random_share=1),
        no_stopping=not stopping,
    )
    folder.mkdir()
    digits = load("digits", Path("unused"))
    content = describe(plan, spaces, digits, split(digits.train, seed=0), hardware([]))
    (folder / "study.json").write_text(json.dumps(content))
    log = _simulated_log(folder / "events.jsonl")
    engine = Engine(plan, spaces, log)
    engine.open([Packing(SLOTS, SLOTS, 1, 0.0)], ["benchmark"])
    problems = {name: made_up("orderly", space, EPOCHS, seed=0) for name, space in spaces.items()}
    _Simulation(engine, log, problems, digits.test).run()
    engine.close()


def _simulated_log(path: Path) -> Any:
    """Return a log with a simulated time, written at ease: this one need survive no kill."""
    from analysis.events import Event
    from study.log import Log

    class Simulated(Log):
        now = 1_790_000_000.0

        def append(self, *events: Event) -> list[Event]:
            stamped = [{"event": e["event"], "time": round(self.now, 3), **_finite(e)} for e in events]
            self._file.write(b"".join(json.dumps(event).encode() + b"\n" for event in stamped))
            return stamped

    return Simulated(path)


def _finite(event: Row) -> Row:
    return {name: None if value != value else value for name, value in event.items()}


class _Simulation:
    """Slots that train made-up networks for the engine, and open the test split with made-up answers."""

    def __init__(self, engine: Any, log: Any, problems: Row, test: Any) -> None:
        import numpy as np

        self._engine, self._log, self._problems, self._test = engine, log, problems, test
        self._draws = np.random.default_rng(0)
        self._running: list[tuple[float, int, str, int, Any]] = []  # when its next epoch ends, slot, run, epoch, curve
        self._free = list(range(SLOTS))
        self._worth: dict[str, float] = {}

    def run(self) -> None:
        """Go on until nothing is left to do."""
        from heapq import heappop, heappush

        while self._begin() or self._running:
            self._log.now, slot, key, epoch, curve = heappop(self._running)
            if self._engine.report(key, [self._epoch(epoch, curve)]):
                heappush(self._running, (self._log.now + curve.seconds, slot, key, epoch + 1, curve))
            else:
                self._free.append(slot)

    def _begin(self) -> bool:
        """Give every free slot something to do; return whether one got it."""
        from heapq import heappush

        from study.job import Job, OpenTest

        begun = False
        while isinstance(job := self._engine.next_job(), Job | OpenTest):
            if isinstance(job, OpenTest):
                self._open(job)
                continue
            curve = self._problems[job.key.partition("-")[0]].curve(job.config, job.seed)
            slot = self._free.pop()
            place = {"device": "cpu", "precision": "float32", "node": "node", "worker": slot}
            size = {"parameters": int(1e5 * curve.seconds), "multiply_adds": int(1e7 * curve.seconds)}
            self._engine.report(job.key, [{"event": "started", "from_epoch": 0, **size, **place}])
            self._worth[job.key] = curve.worth
            heappush(self._running, (self._log.now + curve.seconds, slot, job.key, 1, curve))
            begun = True
        return begun

    def _epoch(self, epoch: int, curve: Any) -> Row:
        score = float(curve.scores[epoch - 1])
        numbers = {"train_loss": 2.3 * (1 - score), "train_score": score, "val_loss": 2.4 * (1 - score)}
        rest = {"val_score": score, "lr": 0.1, "seconds": curve.seconds, "images_per_second": 1000 / curve.seconds}
        return {"event": "epoch", "epoch": epoch, **numbers, **rest}

    def _open(self, job: Any) -> None:
        import numpy as np

        labels = self._test.labels
        self._engine.open_test(job, len(labels), self._test.sha256())
        facts = []
        for key in job.finals:
            right = self._draws.random(len(labels)) < self._worth[key]
            said = np.where(right, labels, self._draws.integers(10, size=len(labels)))
            probability = np.full((len(labels), 10), 0.02, dtype=np.float32)
            probability[np.arange(len(labels)), said] = 0.82
            (job.folder / key).mkdir(parents=True, exist_ok=True)
            np.savez(job.folder / key / "predictions.npz", label=labels, probability=probability)
            loss, score = (
                float(-np.log(probability[np.arange(len(labels)), labels]).mean()),
                float((said == labels).mean()),
            )
            facts.append(
                {"event": "final_tested", "final": key, "test_loss": loss, "test_score": score, "images": len(labels)}
            )
        index = np.arange(0, len(labels), 3)
        np.savez(job.folder / "test_images.npz", index=index, image=self._test.images[index])
        self._engine.report_test(facts)


def optuna_figures(run: Path, backend: str, out: Path) -> Iterator[tuple[str, float, int]]:
    """Make Optuna's figures of the first space; give each one's name, seconds and bytes."""
    import warnings

    import optuna

    import analysis
    from study.spaces import SPACES as ALL

    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = _in_memory(analysis.read(run), ALL[SPACES[0]])
    for plot in PLOTS:
        begun = time.monotonic()
        if plot.startswith("importance"):
            ped = optuna.importance.PedAnovaImportanceEvaluator()
            fanova = optuna.importance.FanovaImportanceEvaluator(seed=0)
            optuna.importance.get_param_importances(study, evaluator=ped if "PED" in plot else fanova)
            size = 0
        else:
            size = _draw(study, plot, backend, out)
        yield plot, time.monotonic() - begun, size


def _in_memory(tables: Any, space: Any) -> Any:
    """Return the trials of `space` as an Optuna study."""
    import optuna
    from optuna.trial import TrialState, create_trial

    study = optuna.create_study(direction="maximize")
    scores = {
        trial: dict(zip(rows["epoch"].tolist(), rows["val_score"].tolist(), strict=True))
        for trial, rows in tables.epochs.dropna(subset="val_score").groupby("trial", sort=False)
    }
    ranges = {p.name: p.distribution for p in space.parameters}
    mine = tables.trials[tables.trials["space"] == space.name]
    states = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
    trials = []
    for row in mine.to_dict("records"):
        params = {name: _native(row[name], spread) for name, spread in ranges.items() if row[name] == row[name]}
        state = states.get(row["state"], TrialState.FAIL)
        trials.append(
            create_trial(
                state=state,
                value=row["score"] if state == TrialState.COMPLETE else None,
                params=params,
                distributions={name: ranges[name] for name in params},
                intermediate_values=scores.get(row["trial"], {}),
            )
        )
    study.add_trials(trials)
    return study


def _native(value: Any, spread: Any) -> Any:
    return next((choice for choice in getattr(spread, "choices", ()) if choice == value), value)


def _draw(study: Any, plot: str, backend: str, out: Path) -> int:
    """Draw one figure and write it; return its bytes."""
    import optuna

    more = {"params": ["width", "weight_decay"]} if plot == "plot_contour" else {}
    if backend == "plotly":
        page = getattr(optuna.visualization, plot)(study, **more).to_html(full_html=False, include_plotlyjs=False)
        return len(page)
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    getattr(optuna.visualization.matplotlib, plot)(study, **more)
    plt.savefig(out / f"{plot}.png", dpi=150)
    plt.close("all")
    return (out / f"{plot}.png").stat().st_size


def measured(command: list[str]) -> tuple[float, float, float, str]:
    """Run a command; return its seconds, those of its processors, the peak memory in MiB of the largest of its
    processes, and what it printed.
    """
    begun = time.monotonic()
    with subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        printed = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}")
    return time.monotonic() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**10, printed


def show(what: str, trials: int, seconds: float, cpu: float | None, mib: float | None, size: float) -> None:
    """Print a row of the table."""
    numbers = [f"{seconds:,.1f} s", "" if cpu is None else f"{cpu:,.1f} CPU s"]
    numbers += ["" if mib is None else f"{mib:,.0f} MiB", f"{size:,.2f} MB"]
    print(f"| {what:<36} | {trials:>6,} | {' | '.join(f'{number:>10}' for number in numbers)} |", flush=True)


def one(side: str, run: Path, trials: int, stopping: bool) -> None:
    """Do the part of a child."""
    if side == "write":
        write_study(run, trials, stopping)
        return
    for row in optuna_figures(run, side, run):
        print(json.dumps(row), flush=True)


def compare(run: Path, trials: int, asked: argparse.Namespace) -> None:
    """Write a study of so many trials, unless it is there, and print its rows."""
    if not run.exists():
        more = ["--no-stopping"] if asked.no_stopping else []
        measured(["benchmarks.report", "--one", "write", str(run), str(trials), *more])
    seconds, cpu, mib, page = measured(["analysis.report", str(run)])
    show("archstudy, the whole report", trials, seconds, cpu, mib, Path(page.strip()).stat().st_size / 1e6)
    if trials not in asked.optuna:
        return
    for side in ("plotly", "matplotlib"):
        if find_spec(side) is None:
            print(f"{side} is not installed")
            continue
        _, cpu, mib, printed = measured(["benchmarks.report", "--one", side, str(run), str(trials)])
        rows = [json.loads(line) for line in printed.splitlines()]
        for plot, seconds, size in rows:
            show(f"Optuna, {side}: {plot}", trials // len(SPACES), seconds, None, None, size / 1e6)
        total = [sum(row[column] for row in rows) for column in (1, 2)]
        show(f"Optuna, {side}: all", trials // len(SPACES), total[0], cpu, mib, total[1] / 1e6)


def main() -> None:
    """Print each row as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, nargs="*", default=[1000, 10_000, 50_000], help="sizes of the studies")
    parser.add_argument("--no-stopping", action="store_true", help="all trials have their full length")
    parser.add_argument(
        "--optuna", type=int, nargs="*", default=[1000, 10_000], help="of these, which Optuna shows too"
    )
    parser.add_argument("--keep", type=Path, help="folder for the studies; those there are not written again")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        side, run, trials = asked.one
        one(side, Path(run), int(trials), not asked.no_stopping)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        kind = "full" if asked.no_stopping else "stopped"
        for trials in asked.trials:
            compare(folder / f"{kind}-{trials}", trials, asked)


if __name__ == "__main__":
    main()
