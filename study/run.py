"""The command line of a study: `python -m study.run --space resnet`."""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn

from analysis.events import BrokenLogError
from data_utils.datasets import DATASETS, NO_FILES
from data_utils.request import TEST_FRACTION
from study.budget import REASONS
from study.experiment import FULL, listing, read
from study.launch import Outcome, foresee, resume, run
from study.log import LockedError
from study.plan import Plan, PlanError, command_line
from study.secrets import masked
from study.silence import EPOCHS, FIRST_SECONDS
from study.spaces import SPACES

DEFAULT: Final = Plan(spaces=())
BUDGETS: Final = ("trials", "epoch_budget", "gpu_budget", "time_budget")
MIRRORS: Final = ("optuna_storage", "tensorboard", "mlflow")
PLACES: Final = ("cpus_per_trial", "gpus_per_trial", "resources", "address", "storage")
AT_RESUME: Final = ("data_dir", *BUDGETS, "epoch_limit", *PLACES, *MIRRORS)
EXIT_CODES: Final = {"finished": 0, **dict.fromkeys(REASONS.values(), 0), "failed": 1, "interrupted": 130}
UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and ends with exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong without the long usage line."""
        self.exit(2, f"{message}\nAll flags: {self.prog} --help\n")


def _flags() -> Iterator[tuple[str, Callable[[str], Any], str, str]]:
    """Give each flag with a value: its name, its type, what stands for the value in the help, and the help."""
    yield "--dataset", str, "NAME", f"{', '.join(DATASETS)} (default {DEFAULT.dataset}, no download)"
    where = f"where data sets lie or are downloaded to; for folder and pairs: yours (default {DEFAULT.data_dir})"
    yield "--data-dir", Path, "DIR", where
    yield "--image-size", size_of, "SIZE", "resize to this height and width: 64, or 48x64 (default: as the images are)"
    share = f"share of each class for the test, where the source defines none (default {TEST_FRACTION:g})"
    yield "--test-fraction", float, "X", share
    fewer = "train and validate on so many of the training images, drawn by class if any (default: all)"
    yield "--train-images", int, "N", fewer
    yield "--trials", int, "N", f"trials of each space (default {DEFAULT.trials})"
    yield "--max-epochs", int, "N", f"epochs of a trial at full length (default {DEFAULT.max_epochs})"
    yield "--name", str, "NAME", "name of the run folder (default: the spaces and the data set)"
    yield "--runs", Path, "DIR", f"folder of run folders (default {DEFAULT.runs})"
    again = "go on with this study; --trials may be larger than before. Files of spaces that it names are run"
    yield "--resume", Path, "RUN_DIR", again
    yield "--seed", int, "N", f"seed of the study: splits, suggestions, weights (default {DEFAULT.seed})"
    yield "--cpus-per-trial", int, "N", f"CPU cores of a slot (default {DEFAULT.cpus_per_trial})"
    gpus = (
        "GPUs of a slot; 0.25: four share one; auto: measure a trial and choose (default: 1 if there are any, else 0)"
    )
    yield "--gpus-per-trial", _gpus, "X", gpus
    epochs = "epochs that the search of each space may train; what ends first of all budgets, ends it (default: none)"
    yield "--epoch-budget", int, "N", epochs
    hours = "time of a GPU that the search of each space may take; 8h are 8 GPU-hours (default: none)"
    yield "--gpu-budget", _seconds, "TIME", hours
    budget = "time for the search, such as 90s, 30m or 2h, in equal parts for all spaces (default: none)"
    yield "--time-budget", _seconds, "TIME", budget
    hangs = (
        f"a trial without an epoch in this time hangs and is ended (default: {EPOCHS} times the longest epoch, "
        f"{FIRST_SECONDS / 3600:g} hours before one is known)"
    )
    yield "--epoch-limit", _seconds, "TIME", hangs
    yield "--final-configs", int, "N", f"winners of each space that are retrained (default {DEFAULT.final_configs})"
    yield "--final-seeds", int, "N", f"fresh seeds for each of them (default {DEFAULT.final_seeds})"
    yield "--address", str, "ADDRESS", "Ray cluster to join, such as auto or HOST:6379 (default: Ray on this machine)"
    where = "where checkpoints are kept if nodes share no folder, such as s3://BUCKET/FOLDER (default: the run folder)"
    yield "--storage", str, "URI", where
    yield (
        "--optuna-storage",
        str,
        "URL",
        "mirror the search for optuna-dashboard, such as sqlite:///FILE (default: none)",
    )
    yield (
        "--mlflow",
        str,
        "URL",
        "mirror the study into MLflow, such as http://HOST:5000 or sqlite:///FILE (default: none)",
    )


def parser() -> argparse.ArgumentParser:
    """Return the parser. Flags that are not given stay None, so that a resume knows what was asked."""
    made = Parser(
        prog="python -m study.run",
        description="Compare CNN architectures: tune each with the same budget, retrain the winners, report.",
        epilog="Example: python -m study.run --space resnet plain --trials 40 --max-epochs 27 --dataset cifar10",
    )
    spaces = f"architectures to compare: {', '.join(SPACES)}; or a Python file of yours: code, which is run"
    made.add_argument("--space", nargs="+", metavar="NAME", help=spaces)
    named = "run an experiment by name, or a TOML file of yours; flags override it, --space chooses of its variants"
    made.add_argument("--experiment", metavar="NAME", help=f"{named} (default: none)")
    scale = f"{FULL}; small: minutes on two cores, on data that needs no download; printed: the reference settings "
    made.add_argument("--scale", metavar="NAME", help=f"{scale}alone, with several seeds (default: {FULL})")
    made.add_argument("--list-experiments", action="store_true", help="name the experiments (default: run a study)")
    for flag, kind, metavar, text in _flags():
        made.add_argument(flag, type=kind, metavar=metavar, help=text)
    own = "what else of a cluster a slot takes, as nodes were started with it, such as big_disk=1 (default: nothing)"
    made.add_argument("--resources", nargs="+", type=_resource, metavar="NAME=X", help=own)
    files = "mirror the study into TensorBoard files, in the run folder's tensorboard/ (default: no)"
    made.add_argument("--tensorboard", action="store_true", default=None, help=files)
    exact = "compute in fp32; by default bf16 where the hardware has it and images are 16x16 or more"
    made.add_argument("--fp32", action="store_true", default=None, help=exact)
    whole = "train every trial to its full length, to record whole learning curves; by default ASHA has poor ones pause"
    made.add_argument("--no-stopping", action="store_true", default=None, help=whole)
    earlier = "earlier studies, the best of which is tried right after the reference setting (default: none)"
    made.add_argument("--warm-start", nargs="+", type=Path, metavar="RUN_DIR", help=earlier)
    before = "train nothing: say what it would take (epochs, time, disk), and how small a difference it could tell"
    made.add_argument("--plan", action="store_true", default=None, help=before)
    later = "leave the report out; python -m analysis.report RUN_DIR writes it later"
    made.add_argument("--no-report", action="store_true", help=later)
    return made


def _gpus(text: str) -> float | str:
    try:
        return "auto" if text == "auto" else float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of GPUs, such as 0.25, nor auto") from error


def _resource(text: str) -> tuple[str, float]:
    match = re.fullmatch(r"([^=]+)=(\d*\.?\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no resource; give its name and amount, such as big_disk=1")
    return match[1], float(match[2])


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; give a number with s, m or h, such as 90s, 30m or 2h")
    return float(match[1]) * UNITS[match[2]]


def size_of(text: str) -> tuple[int, int]:
    """Read height and width, such as 48x64, or one side of both, such as 64."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give pixels, such as 64, or height x width: 48x64")
    return int(match[1]), int(match[2] or match[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    asked = vars(parser().parse_args(arguments))
    try:
        if asked.pop("list_experiments"):
            _list()
            return 0
        outcome = _start(asked)
        if outcome is None:
            return 0
    except (PlanError, LockedError, BrokenLogError) as error:
        print(masked(str(error)), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted while nothing was trained; what a study has in its folder stays.", file=sys.stderr)
        return EXIT_CODES["interrupted"]
    except OSError as error:
        print(
            f"The study stopped: {masked(str(error))}. Make room or mend it, then resume; what is in the log is safe.",
            file=sys.stderr,
        )
        return 1
    return EXIT_CODES[outcome.reason]


def _start(asked: dict[str, Any]) -> Outcome | None:
    """Run or resume the study that is asked for, or say what it would take."""
    report, folder, only_plan = not asked.pop("no_report"), asked.pop("resume"), asked.pop("plan")
    given = {name: value for name, value in asked.items() if value is not None}
    if "space" in given:
        given["spaces"] = tuple(given.pop("space"))
    if "resources" in given:
        given["resources"] = dict(given["resources"])
    if "warm_start" in given:
        given["warm_start"] = tuple(given["warm_start"])
    if only_plan:
        if folder is not None:
            raise PlanError("--plan is for a new study, and --resume for one that exists. Leave one of them out.")
        foresee(_plan(given))
        return None
    if folder is None:
        return run(replace(_plan(given), command=command_line()), report=report)
    fixed = [f"--{name}".replace("spaces", "space").replace("_", "-") for name in given if name not in AT_RESUME]
    if fixed:
        may = ", ".join("--" + name.replace("_", "-") for name in AT_RESUME)
        raise PlanError(
            f"{', '.join(fixed)} cannot change at a resume: the study would compare unlike things. Only {may} can."
        )
    return resume(folder, report=report, command=command_line(), **given)


def _plan(given: dict[str, Any]) -> Plan:
    """Return the plan of what is asked for: that of an experiment with what is given instead, or of spaces."""
    name, scale = given.pop("experiment", None), given.pop("scale", FULL)
    if name is None:
        if scale != FULL:
            raise PlanError(f"--scale is {scale}, but is of an experiment. Give --experiment NAME.")
        plan = Plan(**{"spaces": (), **given})
    else:
        found = read(name, scale)
        plan = Plan(**{"spaces": found.variants, **found.settings, **given}, experiment=found.content)
    if "data_dir" in given and plan.dataset in NO_FILES:
        raise PlanError(
            f"--data-dir is {plan.data_dir}, but is of no use with {plan.dataset}, which needs no files. Leave it out, "
            f"or name the data in it: --dataset folder, pairs or another."
        )
    return plan


def _list() -> None:
    """Print name, source and question of each experiment."""
    rows = listing()
    width = max(len(name) for name, _, _ in rows)
    for name, source, question in rows:
        print(f"{name:<{width}}  {source}  {question}")


if __name__ == "__main__":
    sys.exit(main())
