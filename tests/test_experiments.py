"""Experiment files: every one of the package is sound; what is wrong in one is said; variants are exact."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.distributions import CategoricalDistribution
from rich.console import Console

import analysis
import models
from analysis.checks import remedies
from analysis.checks.record import Record
from analysis.checks.remedies import commands
from analysis.figures import FIGURES
from analysis.replication import REPORTED
from data_utils.datasets import DATASETS, NO_FILES, load
from data_utils.images import Images
from data_utils.splits import split
from study import launch, variants
from study import plan as planning
from study.experiment import EXPERIMENTS, KEYS, NEEDS, SCALES, VARIANT, Experiment, at_full_length, read, spaces
from study.plan import Plan, PlanError
from study.run import _plan, main, parser
from study.space import Space
from study.spaces import SPACES
from study.spaces.training import HE_2016
from tests.sample_run import SampleRun

NAMES = {
    *("two_networks", "convolution_by_hand", "small_cnn", "dilation", "plain_or_residual"),
    *("feed_forward_or_convolution", "vehicles", "dehazing", "four_networks", "classics", "batch_norm"),
    "improving_cifar100",
}
SHAPES = {"cifar10": (3, 32, 32), "cifar100": (3, 32, 32), "fashion_mnist": (1, 28, 28), "folder": (3, 64, 64)}


def at_scales() -> Iterator[tuple[str, str]]:
    for name, path in EXPERIMENTS.items():
        yield from (
            (name, scale) for scale in ("full", *SCALES) if scale == "full" or f"\n[{scale}" in path.read_text()
        )


def plan_of(experiment: Experiment, **given: Any) -> Plan:
    return Plan(**{"spaces": experiment.variants, **experiment.settings, **given}, experiment=experiment.content)


def shape_of(experiment: Experiment) -> tuple[tuple[int, int, int], int]:
    """Shape (C, H, W) and classes of the data set."""
    name = experiment.settings["dataset"]
    if name in SHAPES:
        channels, height, width = SHAPES[name]
        height, width = experiment.settings.get("image_size", (height, width))
        return (channels, height, width), {"cifar100": 100, "folder": 3}.get(name, 10)
    dataset = load(name, Path("unused"))
    return dataset.image_shape, len(dataset.classes)


def test_every_experiment_of_the_sources_is_there() -> None:
    assert set(EXPERIMENTS) == NAMES


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_has_a_small_scale_on_data_that_needs_no_download(name: str) -> None:
    small = read(name, "small").settings
    assert small["dataset"] in ("digits", "hazy")
    assert small["trials"] * small["max_epochs"] <= 12


@pytest.mark.parametrize(("name", "scale"), list(at_scales()))
def test_an_experiment_can_be_planned_and_its_networks_are_built(name: str, scale: str, tmp_path: Path) -> None:
    experiment = read(name, scale)
    plan = plan_of(experiment, runs=tmp_path)
    plan.check(SPACES, DATASETS)
    assert experiment.content["figures"]
    assert set(experiment.content["figures"]) <= set(FIGURES)
    shape, classes = shape_of(experiment)
    for space in spaces(experiment.content, experiment.variants):
        job = {p.name: space.reference[p.name] for p in space.architecture if p.name in space.reference}
        with torch.device("meta"):
            arguments: dict[str, Any] = {"in_channels": shape[0], "image_size": shape[1:]}
            network = models.build(space.network, **arguments, num_classes=classes or None, **job)
        assert models.count_parameters(network) > 0


@pytest.mark.parametrize("row", [row for row in REPORTED if "experiment" in row], ids=lambda row: str(row["id"]))
def test_the_first_trial_of_a_variant_is_what_its_source_prints(row: dict[str, Any]) -> None:
    experiment = read(row["experiment"], "printed")
    (space,) = spaces(experiment.content, (row["variant"],))
    assert {key: space.reference.get(key) for key in row.get("config", {})} == row.get("config", {})
    options = models.REFERENCES[row["id"]].options
    assert {p.name: space.reference[p.name] for p in space.architecture} == options
    assert all(p.role == "fixed" for p in space.architecture) or row["id"] == "B-conv"  # which asks what they do
    assert experiment.settings["trials"] == 1
    if row["id"] not in ("B-plain18", "B-residual-toy"):  # these need --max-epochs: ResNet-18 beside them has more
        assert experiment.settings["max_epochs"] == row.get("epochs", experiment.settings["max_epochs"])


def test_networks_whose_source_prints_no_training_begin_with_one_recipe() -> None:
    experiment = read("two_networks", "printed")
    for space in spaces(experiment.content, experiment.variants):
        assert {p.name: space.reference[p.name] for p in space.training if p.name in space.reference} == HE_2016


def test_what_is_held_has_one_value_and_what_cannot_apply_is_gone() -> None:
    variant: dict[str, Any] = {
        **{"space": "resnet", "network": "B-resnet18", "fix": {"width": 8, "optimizer": "adam"}},
        **{
            "reference": {"width": 12, "adam_lr": 1e-3, "batch_size": 512},
            "free": ["adam_lr", "batch_size"],
            "also": [],
        },
    }
    space = variants.build("mine", variant)
    by_name = {parameter.name: parameter for parameter in space.parameters}
    assert {name for name, parameter in by_name.items() if parameter.role != "fixed"} == {"adam_lr", "batch_size"}
    assert by_name["width"].distribution == CategoricalDistribution((8,))  # fix goes before both reference and network
    assert not {"sgd_lr", "momentum_form", "momentum", "adamw_lr", "strength", "mix_alpha"} & set(by_name)
    assert space.name == "mine"
    assert space.reference == {
        **{"stem": "3x3", "width": 8, "stages": 4, "blocks": 2, "norm": "batch", "activation": "relu"},
        **{"shortcut": "norm", "optimizer": "adam", "adam_lr": 1e-3, "decay": "weights", "weight_decay": 1e-4},
        **{"batch_size": 512, "schedule": "step", "warm_up": 0.0, "label_smoothing": 0.0},
        **{"augmentation": "none", "mix": "none"},
    }


def test_a_hyperparameter_that_only_some_studies_want_is_searched_from_what_leaves_the_training_as_it_is() -> None:
    variant: dict[str, Any] = {"space": "mlp"}
    variant |= {"network": None, "also": ["class_weights"], "fix": {}, "reference": {}, "free": None}
    space = variants.build("weighted", variant)
    assert [p.name for p in space.parameters][-1] == "class_weights"
    assert space.reference["class_weights"] == "none"
    held = variants.build("held", {**variant, "fix": {"class_weights": "balanced"}})
    assert held.reference["class_weights"] == "balanced"


def test_without_free_everything_else_stays_as_it_was() -> None:
    plain = variants.build(
        "plain", {"space": "conv", "network": None, "fix": {}, "reference": {}, "free": None, "also": []}
    )
    assert plain.to_json()["sha256"] == SPACES["conv"].to_json()["sha256"]


START = 'title = "T"\nsource = "X"\nquestion = "Q?"\n'
ONE = '[variants.a]\nspace = "resnet"\n'
WRONG = {
    'datset = "digits"\nspaces = ["mlp"]': "Unknown key in .*: 'datset'. Did you mean 'dataset'.*Valid: also, base",
    'dataset = "digit"\nspaces = ["mlp"]': "Unknown data set 'digit'. Did you mean 'digits'",
    'trials = "many"\nspaces = ["mlp"]': "trials is 'many' in .*own.toml, but must be a whole number",
    'trials = true\nspaces = ["mlp"]': "trials is True",
    'image_size = [32]\nspaces = ["mlp"]': "image_size is .32., but must be height and width",
    'spaces = ["mlpp"]': "Unknown space 'mlpp'.*Valid: alexnet",
    'figures = ["lines"]\nspaces = ["mlp"]': "Unknown figure of the experiment .*: 'lines'.*Valid: agreement",
    'baseline = "b"\n' + ONE: "Unknown variant as baseline: 'b'. Valid: a",
    'steps = ["b"]\n' + ONE: "Unknown variant in steps: 'b'. Valid: a",
    "[variants.a]\nwidth = 3": "Unknown key in variants.a of .*: 'width'. Valid: also, fix, free, network, reference",
    "[variants.a]\nfix = {}": "variants.a of the experiment .* has no space",
    ONE + "fix = { widht = 8 }": "Unknown hyperparameter in fix of a 'widht'. Did you mean 'width'",
    ONE + "fix = { width = 9 }": "width is 9 in fix of a, but must be one of 8, 12, 16, 24, 32: .*space resnet",
    ONE + 'fix = { sgd_lr = "fast" }': "sgd_lr is 'fast' in fix of a, but must be a number from 0.003 to 2",
    ONE + "fix = { sgd_lr = 5 }": "sgd_lr is 5 in fix of a, but must be a number from 0.003 to 2",
    ONE + "fix = { blocks = 1.5 }": "blocks is 1.5 in fix of a, but must be a whole number from 1 to 3",
    ONE + 'also = ["class_weight"]': "in also, beside resnet: 'class_weight'.*Valid: class_weights",
    ONE + 'free = ["widht"]': "Unknown hyperparameter in free of a 'widht'",
    ONE + 'network = "A-resnet"': "Unknown network of a 'A-resnet'. Did you mean 'A-resnet18'",
    ONE + 'network = "A-densenet"': "has the network A-densenet, a densenet, but the space resnet",
    ONE
    + 'fix = { optimizer = "adam" }': "adam_lr applies in the first trial of a, but the reference setting of resnet",
    ONE + 'free = ["optimizer"]': "adam_lr of a can apply, but has no value to be held at",
    "[fix]\nwidht = 8\n" + ONE: "Unknown hyperparameter in fix of the experiment .*: 'widht'. Did you mean 'width'",
    "": "compares nothing",
    "[small]\nfigures = []\n" + ONE: r"Unknown key in \[small\] of .*: 'figures'",
    "spaces = [": "is no TOML",
    "spaces = [3]": "spaces holds 3 in .*own.toml, but must be a list of spaces, each a text in quotes",
    "free = [3]\n" + ONE: "free holds 3 in .*own.toml",
    ONE + "free = [3]": "free holds 3 in variants.a of .*own.toml",
    "also = [['class_weights']]\n" + ONE: "also holds .'class_weights'. in .*own.toml",
    "steps = [{}]\n" + ONE: "steps holds {} in .*own.toml",
    "figures = [true]\n" + ONE: "figures holds True in .*own.toml",
    "[small]\nfree = [1.5]\n" + ONE: r"free holds 1.5 in \[small\] of .*own.toml",
    "trials = -3\n" + ONE: "trials is -3 in .*own.toml. As a flag: --trials is -3, but must be at least 1 trial",
    "image_size = [4, 4]\n" + ONE: r"image_size is \(4, 4\) in .*own.toml",
    **{
        f'figures = ["{figure}"]\n{ONE}': f"has the figure {figure}, which needs {key}. Name .*, {key} = "
        for figure, key in NEEDS.items()
    },
}


@pytest.mark.parametrize("content", WRONG)
def test_what_is_wrong_in_a_file_is_said_with_what_is_right(content: str, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(START + content)
    with pytest.raises(PlanError, match=WRONG[content]):
        read(str(file))


COMMANDS = {
    "--experiment small_cn": "Unknown experiment 'small_cn'. Did you mean 'small_cnn'?",
    "--experiment nowhere.toml": "The experiment nowhere.toml cannot be read: No such file",
    "--experiment small_cnn --scale large": "Unknown scale of the experiment small_cnn: 'large'. Valid: full, printed",
    "--experiment small_cnn --space resnet": "Unknown variant of the experiment small_cnn: 'resnet'. Valid: conv.",
    "--space mlp --scale small": "--scale is small, but is of an experiment",
    "--experiment small_cnn --scale small --train-images 5000": "--train-images is 5000, but digits has 1437",
    "--experiment small_cnn --scale small --train-images 5": "--train-images is 5: 10 classes need at least 50",
    "--resume runs --experiment small_cnn --scale small": "--experiment, --scale cannot change at a resume",
}


@pytest.mark.parametrize("line", COMMANDS)
def test_bad_input_ends_with_code_2_and_leaves_nothing(
    line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 2
    assert COMMANDS[line] in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_its_ending_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "own").write_text(START + ONE)
    with pytest.raises(PlanError, match=r"own is a file, but its name must end in .toml. Rename it."):
        read(str(tmp_path / "own"))


def test_the_list_names_every_experiment_with_its_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-experiments"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(EXPERIMENTS)
    assert all(line.rstrip().endswith("?") for line in lines)


def test_a_scale_changes_tables_key_by_key_and_flags_go_before_both(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        START + 'dataset = "cifar10"\ntrials = 9\n[fix]\nwidth = 16\ndepth = 2\n[variants.a]\nspace = "conv"\n'
        '[variants.b]\nspace = "mlp"\nfix = { width = 128 }\n[small]\ndataset = "digits"\n[small.fix]\nwidth = 8\n'
        "[small.variants.b.fix]\nwidth = 64\n"
    )
    small = read(str(file), "small")
    fixed = {name: variant["fix"] for name, variant in small.content["variants"].items()}
    assert fixed == {"a": {"width": 8, "depth": 2}, "b": {"width": 64, "depth": 2}}
    assert small.settings == {"dataset": "digits", "trials": 9}
    assert plan_of(small, trials=3).trials == 3
    assert plan_of(small).folder.name == "own-small-digits"
    assert plan_of(small, spaces=("b",)).folder.name == "own-small-b-digits"


OWN = """
from study.spaces import SPACES
from dataclasses import replace
SPACE = replace(SPACES["mlp"], name="own")
"""


def test_an_own_file_finds_the_space_beside_it(tmp_path: Path) -> None:
    (tmp_path / "space.py").write_text(OWN)
    (tmp_path / "own.toml").write_text(START + '[variants.thin]\nspace = "space.py"\nfix = { width = 64 }\n')
    experiment = read(str(tmp_path / "own.toml"))
    (space,) = spaces(experiment.content, experiment.variants)
    assert space.file == tmp_path / "space.py"
    assert space.reference["width"] == 64
    inside = plan_of(experiment, runs=tmp_path.parent, name=tmp_path.name)
    with pytest.raises(PlanError, match=r"names the space file .*, which lies in the run folder"):
        inside.check_own_files()


def stored(experiment: Experiment, tmp_path: Path) -> tuple[planning.Json, Plan, launch.Study]:
    """Study.json of a study, read back, its plan, and what would be resumed."""
    plan = plan_of(experiment, runs=tmp_path)
    study = launch._prepare(plan, Console(quiet=True))
    content = planning.describe(plan, study.spaces, study.dataset, study.data, {})
    plan.folder.mkdir(parents=True)
    (plan.folder / "study.json").write_text(json.dumps(content))
    return planning.read_study(plan.folder), plan, study


def test_a_resume_rebuilds_the_same_spaces_and_data_without_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, plan, before = stored(read("plain_or_residual", "small"), tmp_path)
    again = Plan.from_json(plan.folder, content)
    assert (again.spaces, again.experiment, again.train_images) == (plan.spaces, plan.experiment, 400)
    study = launch._prepare(again, Console(quiet=True), content)
    assert {name: space.to_json() for name, space in study.spaces.items()} == {
        name: space.to_json() for name, space in before.spaces.items()
    }
    planning.check_unchanged(content, study.spaces, study.dataset, study.data)
    assert content["dataset"]["train_images"] == 400
    assert sum(content["dataset"]["splits"][part]["images"] for part in ("train", "validation")) == 400
    assert content["dataset"]["splits"]["test"]["images"] == 360  # the whole one

    changed: Space = SPACES["plain"]
    fewer = tuple(p for p in changed.training if p.name != "adam_lr")
    wider = replace(next(p for p in changed.training if p.name == "adam_lr"), role="scientific")
    place = [p.name for p in changed.training].index("adam_lr")
    monkeypatch.setitem(SPACES, "plain", replace(changed, training=(*fewer[:place], wider, *fewer[place:])))
    study = launch._prepare(again, Console(quiet=True), content)
    with pytest.raises(PlanError, match="Space 'plain' has changed since the study began"):
        planning.check_unchanged(content, study.spaces, study.dataset, study.data)


def test_fewer_images_are_the_same_in_every_study_and_of_every_class(tmp_path: Path) -> None:
    digits = load("digits", tmp_path)
    few, again = (launch._fewer(digits, 100) for _ in range(2))
    assert few.train.sha256() == again.train.sha256()
    assert len(few.train) == 100
    assert isinstance(few.train, Images)
    assert set(few.train.labels.tolist()) == set(range(10))
    assert few.test is digits.test
    assert launch._fewer(digits, None) is digits
    assert len(split(launch._fewer(digits, 50).train, seed=0).validation) == 10
    with pytest.raises(PlanError, match=r"10 classes need at least 50 images: 20 % of them validate"):
        launch._fewer(digits, 49)


DOCUMENT = Path(__file__).parents[1] / "docs" / "experiments.md"


def test_the_document_names_every_experiment_and_every_key_of_a_file() -> None:
    text = DOCUMENT.read_text()
    for name in (*EXPERIMENTS, *(KEYS.keys() | VARIANT.keys())):
        assert f"`{name}`" in text, name


def test_the_example_of_the_document_is_an_experiment(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(DOCUMENT.read_text().partition("```toml\n")[2].partition("```")[0])
    assert read(str(file), "small").variants == ("reference", "wide", "deep")


def test_the_commands_of_the_replication_can_be_planned(tmp_path: Path) -> None:
    commands = re.findall(r"`python -m study.run (--experiment \w+ --scale printed[^`]*)`", DOCUMENT.read_text())
    named = set()
    for command in commands:
        asked = parser().parse_args([*command.split(), "--runs", str(tmp_path)])
        experiment = read(asked.experiment, asked.scale)
        plan_of(experiment, spaces=tuple(asked.space or experiment.variants), runs=tmp_path).check(SPACES, DATASETS)
        named.add(asked.experiment)
    assert named >= {row["experiment"] for row in REPORTED if "experiment" in row}


NEXT = {
    "--experiment batch_norm --scale small": "--experiment batch_norm",
    "--experiment batch_norm --scale small --space lenet padded": "--experiment batch_norm --space lenet padded",
    "--experiment vehicles --scale small": "--experiment vehicles --data-dir YOUR_FOLDER",
    **dict.fromkeys(
        ("--experiment vehicles --scale small --dataset folder --data-dir photos --image-size 32x48",),
        "--experiment vehicles --dataset folder --data-dir photos --image-size 32x48",
    ),
    "--experiment dehazing --scale small": "--experiment dehazing",
    "--experiment dilation --scale small --dataset cifar10": "--experiment dilation --dataset cifar10 --data-dir data",
}


@pytest.mark.parametrize("line", NEXT)
def test_what_comes_after_the_small_form_is_the_same_at_full_length(line: str) -> None:
    def planned(words: list[str]) -> Plan:
        left_out = ("no_report", "list_experiments", "space")
        given = {name: value for name, value in vars(parser().parse_args(words)).items() if value is not None}
        spaces = {"spaces": tuple(given["space"])} if "space" in given else {}
        return _plan({**{name: value for name, value in given.items() if name not in left_out}, **spaces})

    small = planned(line.split())
    command = at_full_length(small)
    assert " ".join(command) == f"python -m study.run {NEXT[line]}"
    full = planned(command[3:])
    assert (full.spaces, full.experiment["scale"]) == (small.spaces, "full")


def test_data_sets_without_files_have_one_list() -> None:
    assert remedies.NO_FILES == NO_FILES


def test_the_commands_of_the_audit_are_of_the_same_experiment(tmp_path: Path) -> None:
    experiment = read("batch_norm", "small")
    run = SampleRun(spaces=experiment.variants, trials=2, experiment=experiment.content).write(tmp_path / "run")
    (command,) = commands(Record(analysis.read(run)), {"max_epochs": 40})
    given = vars(parser().parse_args(command.split()[3:]))
    left_out = ("space", "no_report", "list_experiments")
    given = {name: value for name, value in given.items() if value is not None and name not in left_out}
    plan = _plan(given)
    assert plan.experiment == experiment.content
    assert (plan.max_epochs, plan.trials, plan.spaces) == (40, 2, experiment.variants)
