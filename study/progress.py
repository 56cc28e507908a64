"""What the terminal shows: the plan, a live table (plain lines where there is no terminal), what came out."""

import math
import time
from pathlib import Path
from shlex import join, quote
from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from analysis.events import Event
from data_utils.datasets import task_of
from data_utils.images import Dataset
from data_utils.splits import SearchData
from study.engine import Engine
from study.experiment import at_full_length
from study.plan import Plan, PlanError
from study.policy import Model
from study.secrets import masked
from study.state import Run
from study.warm import words

PLAIN_SECONDS: Final = 10.0  # between two plain lines
LIVE_SECONDS: Final = 0.25  # between two redraws
FEW_WORDS: Final = 60  # characters
MODELS: Final[dict[Model, str]] = {"tpe": "TPE", "gp": "a Gaussian process"}


class Loading:
    """Shows how far the decoding of images is: a bar in a terminal, else a line now and then. Use it as a context."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._console = console
        self._bar = Bar(*columns, console=console, transient=True) if console.is_terminal else None
        self._shown = time.monotonic()
        self._doing = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, doing: str, done: int, total: int) -> None:
        """Show that `done` of `total` are done; a total of 0 is unknown."""
        if self._bar is not None:
            self._bar.start()
            task = self._bar.task_ids[0] if self._bar.task_ids else self._bar.add_task(doing)
            self._bar.update(task, description=doing, completed=done, total=total or None)
        elif doing != self._doing or time.monotonic() - self._shown >= PLAIN_SECONDS:
            self._doing, self._shown = doing, time.monotonic()
            count = f" {done:,} of {total:,}" if total else ""
            self._console.print(f"{doing} ...{count}", markup=False, soft_wrap=True, highlight=False)


class Progress:
    """Watches an engine. Use it as a context; in a terminal the table goes when it ends."""

    def __init__(self, engine: Engine, console: Console) -> None:
        self._engine = engine
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._unit = " dB" if task_of(engine.plan.dataset) == "restoration" else ""
        self._begun = self._shown = time.monotonic()
        engine.watchers.append(self._watch)

    def __enter__(self) -> None:
        if self._live is not None:
            self._live.start()
            self._show()

    def __exit__(self, *_exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _watch(self, event: Event) -> None:
        if event["event"] in ("ended", "final_ended") and event["error"] is not None:
            self._tell_failure(event)
        elif event["event"] in ("started", "final_started"):
            self._tell_repetition(event)
        elif event["event"] == "packing_changed" and event["together"] is not None:
            sharing = self._engine.packing.sharing
            self._console.print(f"From now on {sharing}; the trial goes on from its checkpoint.", soft_wrap=True)
        elif event["event"] == "slots_changed":
            nodes = f"{event['nodes']} {'node' if event['nodes'] == 1 else 'nodes'}"
            waiting = "" if event["slots"] else ": waiting for one with room for a trial"
            self._console.print(f"Now {_count(event['slots'], 'slot')} on {nodes}{waiting}.", soft_wrap=True)
        due = LIVE_SECONDS if self._live is not None else PLAIN_SECONDS
        if time.monotonic() - self._shown >= due:
            self._show()

    def _tell_failure(self, event: Event) -> None:
        """One line for a trial that did not end well; the traceback is in its log."""
        run = self._run(event)
        log = self._engine.folder(run) / "trial.log"
        where = f" ({log})" if log.exists() else ""
        self._console.print(f"{run.key} {event['state']}: {event['error']}{where}", markup=False, soft_wrap=True)

    def _tell_repetition(self, event: Event) -> None:
        run = self._run(event)
        if event["from_epoch"] < run.epochs:
            again = f"{run.key} trains again from epoch {event['from_epoch'] + 1}, of {run.epochs} that were done"
            self._console.print(f"{again}: its checkpoint was older, damaged or gone.", markup=False, soft_wrap=True)

    def _run(self, event: Event) -> Run:
        return self._engine.state.runs[event["final"] if "final" in event else event["trial"]]

    def _show(self) -> None:
        self._shown = time.monotonic()
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
            return
        parts = "; ".join(f"{row[0]}: {row[1]}, best {row[2]}" for row in self._rows())
        self._console.print(f"{self._clock()}  {parts}", markup=False, soft_wrap=True, highlight=False)

    def _table(self) -> Table:
        table = Table(title=self._clock(), title_justify="left", title_style="", box=None, padding=(0, 2, 0, 0))
        for heading in ("space", "trials", "best validation score so far"):
            table.add_column(heading, overflow="fold")
        for row in self._rows():
            table.add_row(*row)
        return table

    def _rows(self) -> list[tuple[str, str, str]]:
        return [(space, self._counts(space), self._best(space)) for space in self._engine.spaces]

    def _counts(self, space: str) -> str:
        state = self._engine.state
        trials = state.tallies["trial"][space]
        # Of the winners of now: an earlier session may have retrained others.
        finals = [run for run in state.of_kind("final", space) if run.trial in state.chosen.get(space, ())]
        counts = f"{trials.ended}/{state.trials} done, {trials.states['running']} running"
        counts += f", {trials.states['stopped']} stopped early"
        bad = trials.states["failed"] + trials.states["diverged"]
        if bad:
            counts += f", {bad} failed or diverged"
        if finals:
            planned = self._engine.plan.final_configs * self._engine.plan.final_seeds
            counts += f", {sum(run.ended for run in finals)}/{planned} final runs"
        return counts

    def _best(self, space: str) -> str:
        """The best score at full length, or, before there is one, the best of those that came furthest."""
        best = self._engine.state.tallies["trial"][space].best
        if best is None:
            return "none yet"
        return f"{best.score:.4f}{self._unit} ({best.key}, epoch {best.epochs})"

    def _clock(self) -> str:
        left = self._seconds_left()
        words = "" if left is None else f", about {duration(left)} left"
        return f"{duration(time.monotonic() - self._begun)}{words}"

    def _seconds_left(self) -> float | None:
        """Slot seconds still to spend over the slots; what a trial takes is the mean of those that ended."""
        state, plan = self._engine.state, self._engine.plan
        trials, finals = state.tallies["trial"].values(), state.tallies["final"].values()
        ended, epochs = sum(tally.ended for tally in trials), sum(tally.epochs for tally in trials)
        if not ended or not epochs:
            return None
        per_trial = sum(tally.ended_seconds for tally in trials) / ended
        per_epoch = sum(tally.seconds for tally in trials) / epochs
        search = (len(self._engine.spaces) * state.trials - ended) * per_trial
        if plan.epoch_budget is not None:
            search = min(search, (len(self._engine.spaces) * plan.epoch_budget - epochs) * per_epoch)
        planned = len(self._engine.spaces) * plan.final_configs * plan.final_seeds
        done = sum(tally.epochs for tally in finals)
        slots = self._engine.packing.slots
        waves = math.ceil(planned / slots) * slots  # the last wave may leave slots empty
        return max(0.0, (search + (waves * plan.max_epochs - done) * per_epoch) / slots)


def duration(seconds: float) -> str:
    """Return seconds as people say them: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def show_plan(
    engine: Engine, dataset: Dataset, data: SearchData, dashboard: str | None, packed_why: str, console: Console
) -> None:
    """Print what is about to run, before anything does. `packed_why` says what the slots follow from, if measured."""
    plan, trials = engine.plan, engine.state.trials
    channels, height, width = dataset.image_shape
    runs = len(engine.spaces) * (trials + plan.final_configs * plan.final_seeds)
    again = f" ({len(engine.state.of_kind('trial'))} trials are in the log)" if engine.state.runs else ""
    rows: dict[str, str] = {
        **({"Question": plan.experiment["question"]} if plan.experiment else {}),
        "Study": f"{', '.join(engine.spaces)} on {dataset.name}{again}",
        "Data": f"{_answers(dataset)}, {channels}x{height}x{width}: {len(data.train):,} images to train, "
        f"{len(data.validation):,} to validate, {len(dataset.test):,} to test{_drawn(dataset)}",
        **_left_out(dataset, plan.folder),
        "Search": f"{_count(trials, 'trial')} of each space: the reference setting, {plan.random_trials} random, "
        f"the rest by {MODELS[plan.policy.model]}",
        **({"Warm start": f"{words(plan.warm)}; they follow the reference setting"} if plan.warm else {}),
        **_budgets(plan),
        "Stopping": _stopping(plan),
        "Final": f"{plan.final_configs} winner of each space retrained with {_count(plan.final_seeds, 'fresh seed')}, "
        f"then the test split, once",
        "At most": f"{runs * plan.max_epochs:,} epochs",
        "Slots": _slots(engine, packed_why),
        "Folder": str(plan.folder),
        "Dashboard": f"{dashboard} (it asks for a token: ray get-auth-token)" if dashboard else "could not start",
    }
    show_rows(rows, console)


def _budgets(plan: Plan) -> dict[str, str]:
    """Say what may end the search of a space besides its trials."""
    limits = []
    if plan.epoch_budget is not None:
        limits.append(f"{plan.epoch_budget:,} epochs of each space")
    if plan.gpu_budget is not None:
        limits.append(f"{duration(plan.gpu_budget)} of a GPU for each space")
    if plan.time_budget is not None:
        limits.append(f"{duration(plan.time_budget)} in all, an equal part for each space")
    return {"Budget": f"{' and '.join(limits)}; what it cuts off can be resumed"} if limits else {}


def _stopping(plan: Plan) -> str:
    full = f"{plan.max_epochs} epochs at full length"
    if not plan.rungs:
        return full
    others = "pause" if plan.policy.pausing else "are stopped"
    rungs = ", ".join(map(str, plan.rungs))
    return f"{full}; at epoch {rungs} 1 in {plan.policy.reduction_factor} goes on, the others {others}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _answers(dataset: Dataset) -> str:
    return "images with their targets" if dataset.task == "restoration" else f"{len(dataset.classes)} classes"


def _drawn(dataset: Dataset) -> str:
    """Say how the test split came about, if that takes a few words only."""
    words = dataset.source.partition("; test: ")[2]
    return f" ({words})" if 0 < len(words) <= FEW_WORDS else ""


def _left_out(dataset: Dataset, folder: Path) -> dict[str, str]:
    """Say which files of the data folder are not used."""
    if not dataset.skipped:
        return {}
    named = ", ".join(f"{file} ({reason})" for file, reason in dataset.skipped[:3])
    more = " ..." if len(dataset.skipped) > 3 else ""
    files = _count(len(dataset.skipped), "file")
    return {"Left out": f"{files}, all named in {folder / 'study.json'}: {named}{more}"}


def _slots(engine: Engine, why: str) -> str:
    """How many slots, of what, and why."""
    packing = engine.packing
    gpus = f" and {packing.gpus:g} GPU" if packing.gpus else ""
    gpus += "".join(f" and {amount:g} {name}" for name, amount in packing.resources.items())
    if engine.state.together is not None:
        why = "fewer since memory ran out; --cpus-per-trial and --gpus-per-trial choose anew"
    reason = f"; {packing.sharing}: {why}" if why else ""
    return f"{packing.slots}, each with {packing.cpus:g} CPU{gpus}{reason}"


def show_end(engine: Engine, report: Path | None, console: Console) -> None:
    """Print what came out, what it cost, and what to do next."""
    from analysis import audit, measures, read
    from analysis.stats import spending
    from analysis.summary import budget, headline, overview, warnings
    from analysis.verdicts import judge

    tables, plan = read(engine.plan.folder), engine.plan
    if engine.outcome == "failed":
        none = f"every trial of {', '.join(engine.failed_spaces)} failed; trial.log in their folders says why"
        why = engine.repeated_failure or (none if engine.failed_spaces else "no final run reached the test split")
        console.print(f"The study failed: {masked(why)}", markup=False, soft_wrap=True)
    judged = judge(tables)
    _show_columns([{name: text for name, (text, _) in row.items()} for row in overview(tables, judged)], console)
    rows = {"Verdict": headline(tables, judged)}
    if beside := measures.sentences(tables):
        rows["Beside"] = " ".join(beside)
    if found := warnings(tables, judged):
        rows["Mind"] = " ".join(found)
    folder = quote(str(plan.folder))
    rows["Audit"] = f"{audit.outcome(audit.audit(tables))}: python -m analysis.audit {folder}"
    spent = spending(tables)
    epochs, final_epochs, saved = (int(spent[name].sum()) for name in ("epochs", "final_epochs", "epochs_saved"))
    rows["Budget"] = budget(tables)
    rows["Epochs"] = f"{epochs:,} in the search, {saved:,} saved by stopping, {final_epochs:,} in final runs"
    rows["Report"] = str(report) if report else f"python -m analysis.report {folder}"
    if plan.experiment:
        if plan.experiment["scale"] == "small":
            rows |= _full_length(plan)
    elif plan.dataset in ("digits", "mnist", "fashion_mnist"):
        spaces = " ".join(map(quote, plan.spaces))
        rows["Next"] = f"python -m study.run --space {spaces} --dataset cifar10 --max-epochs 27  (the same on CIFAR-10)"
    more = "" if engine.outcome != "finished" else f" --trials {2 * engine.state.trials}"
    rows["Resume"] = f"python -m study.run --resume {folder}{more}"
    show_rows(rows, console)


def _full_length(plan: Plan) -> dict[str, str]:
    """Return what to run after the small form of an experiment; nothing where its file has gone or changed."""
    try:
        return {"Next": f"{join(at_full_length(plan))}  (the same at full length)"}
    except PlanError:
        return {}


def _show_columns(rows: list[dict[str, str]], console: Console) -> None:
    """Print a line for each row under its headings; the second column, names, to the left."""
    lines = [dict(zip(rows[0], rows[0], strict=True)), *rows]
    widths = {name: max(len(line[name]) for line in lines) for name in rows[0]}
    for line in lines:
        cells = [
            f"{text:<{widths[name]}}" if name == "space" else f"{text:>{widths[name]}}" for name, text in line.items()
        ]
        console.print("  ".join(cells).replace("\u00a0", " "), markup=False, highlight=False, soft_wrap=True)


def show_rows(rows: dict[str, str], console: Console) -> None:
    """Print a line for each row after its heading."""
    width = max(len(name) for name in rows)
    for name, text in rows.items():
        plain = text.replace("\u00a0", " ")  # the report's sentences keep numbers and units together
        console.print(f"{name:<{width}}  {plain}", markup=False, highlight=False, soft_wrap=True)
