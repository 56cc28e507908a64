"""Experiments by name: TOML files that say what is compared, on what, for how long, and which figures answer it.

`EXPERIMENTS` are those of the package, `study/experiments/`; `docs/experiments.md` lists every key of a file. What a
study keeps of one, in study.json, is its `content`: a resume and the report need no file.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from data_utils.datasets import DATASETS, NO_FILES
from study.plan import Json, Plan, PlanError, check_name
from study.space import Space
from study.variants import base_of, build, resolved

FOLDER: Final = Path(__file__).parent / "experiments"
EXPERIMENTS: Final[dict[str, Path]] = {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}
FULL: Final = "full"  # the scale of a file as it stands
SCALES: Final = ("small", "printed")  # tables of a file that change it

# What a key of a file holds: its type, and the word for it. Those of `SETTINGS` are fields of `Plan`.
SETTINGS: Final[dict[str, tuple[type, str]]] = {
    "dataset": (str, "the name of a data set"),
    "image_size": (list, "height and width in pixels, such as [96, 96]"),
    "test_fraction": (float, "a share between 0 and 1"),
    "train_images": (int, "a number of images"),
    "trials": (int, "a whole number"),
    "max_epochs": (int, "a whole number"),
    "final_configs": (int, "a whole number"),
    "final_seeds": (int, "a whole number"),
    "fp32": (bool, "true or false"),
    "no_stopping": (bool, "true or false"),
}
SPACES: Final[dict[str, tuple[type, str]]] = {
    "spaces": (list, "a list of spaces"),
    "variants": (dict, "a table of variants"),
    "baseline": (str, "the name of a variant"),
    "steps": (list, "a list of variants"),
}
HELD: Final[dict[str, tuple[type, str]]] = {
    "fix": (dict, "a table of hyperparameters"),
    "reference": (dict, "a table of hyperparameters"),
    "free": (list, "a list of hyperparameters"),
}
QUESTION: Final[dict[str, tuple[type, str]]] = {
    "title": (str, "a text"),
    "source": (str, "a text, such as A"),
    "question": (str, "a text"),
    "figures": (list, "a list of figures"),
}
ALSO: Final[dict[str, tuple[type, str]]] = {"also": (list, "a list of hyperparameters that only some studies want")}
CHANGED: Final = {**ALSO, **SETTINGS, **SPACES, **HELD}  # by a scale
KEYS: Final = {**QUESTION, **CHANGED, **dict.fromkeys(SCALES, (dict, "a table of changes"))}
VARIANT: Final[dict[str, tuple[type, str]]] = {
    "space": (str, "the name of a space"),
    "network": (str, "the name of a network of a source"),
    **ALSO,
    **HELD,
}

# What a figure needs that the experiment names.
NEEDS: Final = {**dict.fromkeys(("isolation", "agreement", "time_ratio"), "baseline"), "steps": "steps"}


@dataclass(frozen=True)
class Experiment:
    """One experiment at one scale: `content` is what study.json keeps of it, `settings` are fields of `Plan`."""

    content: Json
    settings: Json

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of what is compared."""
        return tuple(self.content["variants"])


def read(name: str, scale: str = FULL) -> Experiment:
    """Return the experiment of the package called `name`, or that of the file `name`, at `scale`.

    Raises `PlanError` for whatever is wrong in it: a key, space, hyperparameter, figure or value.
    """
    file = Path(name) if name.endswith(".toml") else None
    if file is None:
        if name not in EXPERIMENTS and Path(name).is_file():
            raise PlanError(f"The experiment {name} is a file, but its name must end in .toml. Rename it.")
        check_name("experiment", name, EXPERIMENTS)
    found = _scaled(_parsed(file or EXPERIMENTS[name]), name, scale)
    variants = _variants(found, name, Path("." if file is None else file.absolute().parent))
    content = {
        **{key: found[key] for key in ("title", "source", "question")},
        "name": name if file is None else file.stem,
        "file": None if file is None else str(file.absolute()),
        "scale": scale,
        "figures": _figures(found.get("figures", []), name),
        "baseline": found.get("baseline"),
        "steps": found.get("steps", []),
        "variants": variants,
    }
    settings = {key: tuple(found[key]) if key == "image_size" else found[key] for key in SETTINGS if key in found}
    experiment = Experiment(content, settings)
    _check(experiment)
    return experiment


def _parsed(file: Path) -> Json:
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"The experiment {file} cannot be read: {error.strerror}. Give the path of a file.") from error
    except ValueError as error:
        raise PlanError(f"The experiment {file} is no TOML: {error}. Mend it.") from error
    _check_table(found, str(file), KEYS)
    for scale in SCALES:
        _check_table(found.get(scale, {}), f"[{scale}] of {file}", CHANGED)
    missing = [key for key in ("title", "source", "question") if key not in found]
    if missing:
        raise PlanError(f"The experiment {file} lacks {', '.join(missing)}. Add it.")
    return found


def _check_table(table: Mapping[str, Any], where: str, known: Mapping[str, tuple[type, str]]) -> None:
    for key, value in table.items():
        check_name(f"key in {where}:", key, known)
        kind, words = known[key]
        kinds = (int, float) if kind is float else kind
        if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool):
            raise PlanError(f"{key} is {value!r} in {where}, but must be {words}.")
        entries = value if isinstance(value, list) and key != "image_size" else []
        other = [entry for entry in entries if not isinstance(entry, str)]
        if other:
            raise PlanError(f"{key} holds {other[0]!r} in {where}, but must be {words}, each a text in quotes.")
    for name, variant in table.get("variants", {}).items():
        if not isinstance(variant, dict):
            raise PlanError(f"variants.{name} is {variant!r} in {where}, but must be a table, such as {{space = ...}}.")
        _check_table(variant, f"variants.{name} of {where}", VARIANT)


def _scaled(found: Json, name: str, scale: str) -> Json:
    """Return the content of a file with the changes of `scale`; tables are changed key by key."""
    there = [FULL, *(known for known in SCALES if known in found)]
    check_name(f"scale of the experiment {name}:", scale, there)
    return _merged({key: value for key, value in found.items() if key not in SCALES}, found.get(scale, {}))


def _merged(before: Json, changes: Mapping[str, Any]) -> Json:
    both = dict(before)
    for key, value in changes.items():
        both[key] = _merged(both.get(key, {}), value) if isinstance(value, dict) else value
    return both


def _variants(found: Json, name: str, folder: Path) -> dict[str, Json]:
    """Return each variant with every key, what is said for all of them added where its space has it."""
    listed = found.get("spaces", [])
    named = {**{Path(space).stem: {"space": space} for space in listed}, **found.get("variants", {})}
    if not named:
        raise PlanError(f"The experiment {name} compares nothing. Give it spaces = [...] or [variants.NAME].")
    if len(named) < len(listed) + len(found.get("variants", {})):
        raise PlanError(f"Two of the spaces and variants of the experiment {name} have one name. Rename a variant.")
    variants, unused = {}, {key: set(found.get(key, ())) for key in HELD}
    for variant, given in named.items():
        if "space" not in given:
            raise PlanError(f"variants.{variant} of the experiment {name} has no space. Give it one: space = ...")
        space = resolved(given["space"], folder)
        also = given.get("also", found.get("also", []))
        has = _hyperparameters(space, also)
        shared = {key: [p for p in found.get(key, ()) if p in has] for key in HELD}
        unused = {key: names - has for key, names in unused.items()}
        variants[variant] = {
            "space": space,
            "network": given.get("network"),
            "also": also,
            **{key: {p: found[key][p] for p in shared[key]} | given.get(key, {}) for key in ("fix", "reference")},
            "free": given.get("free", shared["free"] if "free" in found else None),
        }
    for key, names in unused.items():
        for hyperparameter in sorted(names):  # of no variant: a slip of the pen
            known = {p for variant in variants.values() for p in _hyperparameters(variant["space"], variant["also"])}
            check_name(f"hyperparameter in {key} of the experiment {name}:", hyperparameter, known)
    return variants


def _hyperparameters(space: str, also: list[str]) -> set[str]:
    return {parameter.name for parameter in base_of(space, also).parameters}


def _figures(names: list[Any], experiment: str) -> list[str]:
    from analysis.figures import FIGURES  # here: matplotlib, which a study without an experiment need not load yet

    for name in names:
        check_name(f"figure of the experiment {experiment}:", str(name), FIGURES)
    return names


def _check(experiment: Experiment) -> None:
    content, settings = experiment.content, experiment.settings
    if "dataset" in settings:
        check_name("data set", settings["dataset"], DATASETS)
    size = settings.get("image_size")
    if size is not None and not (len(size) == 2 and all(type(side) is int for side in size)):
        raise PlanError(f"image_size is {list(size)}, but must be height and width in pixels, such as [96, 96].")
    _check_numbers(settings, content["file"] or content["name"])
    for figure in content["figures"]:
        if figure in NEEDS and not content[NEEDS[figure]]:
            raise PlanError(
                f"The experiment {content['name']} has the figure {figure}, which needs {NEEDS[figure]}. Name "
                f"{KEYS[NEEDS[figure]][1]}, {NEEDS[figure]} = ..., or leave the figure out."
            )
    if content["baseline"] is not None:
        check_name("variant as baseline:", content["baseline"], experiment.variants)
    for step in content["steps"]:
        check_name("variant in steps:", step, experiment.variants)
    spaces(content, experiment.variants)


def _check_numbers(settings: Json, where: str) -> None:
    """Raise `PlanError` for a number that no study can have, by the name that it has in the file."""
    for key, value in settings.items():
        try:
            Plan(spaces=(), **{key: value}).check_numbers()
        except PlanError as error:
            raise PlanError(f"{key} is {value} in {where}. As a flag: {error}") from error


def spaces(content: Json, names: tuple[str, ...]) -> list[Space]:
    """Return the spaces of the variants `names`. Raises `PlanError` for what their spaces have not."""
    return [build(name, content["variants"][name]) for name in names]


def at_full_length(plan: Plan) -> list[str]:
    """Return the command of the same as `plan` of an experiment's small form, at full length: its spaces and its data.

    Raises `PlanError` where the file of the experiment is no longer as it was.
    """
    name = plan.experiment["file"] or plan.experiment["name"]
    small, full = ({"dataset": Plan.dataset, **read(name, scale).settings} for scale in ("small", FULL))
    words = ["python", "-m", "study.run", "--experiment", name]
    if plan.spaces != tuple(plan.experiment["variants"]):
        words += ["--space", *plan.spaces]
    own = plan.dataset != small["dataset"]  # of a flag, which goes before the file at full length too
    dataset = plan.dataset if own else full["dataset"]
    words += ["--dataset", dataset] if own else []
    if dataset not in NO_FILES and (plan.dataset == dataset or dataset in ("folder", "pairs")):
        words += ["--data-dir", str(plan.data_dir) if plan.dataset == dataset else "YOUR_FOLDER"]
    if plan.image_size and plan.image_size != small.get("image_size"):
        words += ["--image-size", "x".join(map(str, plan.image_size))]
    if plan.test_fraction not in (None, small.get("test_fraction")):
        words += ["--test-fraction", str(plan.test_fraction)]
    return words


def listing() -> list[tuple[str, str, str]]:
    """Return name, source and question of each experiment of the package."""
    parsed = {name: _parsed(path) for name, path in EXPERIMENTS.items()}
    return [(name, found["source"], found["question"]) for name, found in parsed.items()]
