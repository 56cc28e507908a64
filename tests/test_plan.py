"""Plans: what is refused before anything starts, what study.json says, and where trials fit."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from unittest.mock import Mock

import pytest
from rich.console import Console

from data_utils.datasets import DATASETS, load
from data_utils.splits import split
from study import launch
from study import plan as planning
from study.packing import packings
from study.plan import Plan, PlanError
from study.policy import Model, Policy
from study.sampler import model_settings
from study.spaces import SPACES


def check(**changes: Any) -> None:
    Plan(**{"spaces": ("resnet",), **changes}).check(SPACES, DATASETS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spaces": ()}, "No space is given.*Valid: alexnet, .*, vgg"),
        ({"spaces": ("resnett",)}, "Unknown space 'resnett'. Did you mean 'resnet'.* Valid: alexnet, .*, vgg"),
        ({"spaces": ("resnet", "resnet")}, "'resnet' is given twice"),
        ({"dataset": "cifar"}, "Unknown data set 'cifar'. Did you mean 'cifar10'.*cifar10, cifar100, digits"),
        ({"trials": 0}, "--trials is 0, but must be at least 1"),
        ({"max_epochs": 1}, "--max-epochs is 1, but must be at least 2.*first rung"),
        ({"seed": -1}, "--seed is -1"),
        ({"seed": 2**32}, "--seed is 4294967296, but must be below"),
        ({"name": "x" * 300}, "is 300 bytes long.*200"),
        ({"cpus_per_trial": 0}, "--cpus-per-trial is 0"),
        ({"gpus_per_trial": -0.5}, "--gpus-per-trial is -0.5.*share between 0 and 1"),
        ({"gpus_per_trial": 1.5}, "--gpus-per-trial is 1.5"),
        ({"time_budget": 0.0}, "--time-budget is 0 s.*30m"),
        ({"epoch_limit": 0.0}, "--epoch-limit is 0 s.*30m"),
        ({"final_configs": 0}, "--final-configs is 0"),
        ({"final_seeds": 0}, "--final-seeds is 0"),
        ({"name": "a/b"}, "--name is 'a/b'"),
        ({"name": ".."}, "--name is '..'"),
    ],
)
def test_bad_values_are_named_with_rule_and_remedy(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=message):
        check(runs=tmp_path / "runs", **changes)
    assert not (tmp_path / "runs").exists()


def test_a_run_folder_that_exists_says_how_to_resume_or_rename(tmp_path: Path) -> None:
    (tmp_path / "resnet-digits").mkdir()
    with pytest.raises(PlanError, match=rf"--resume {tmp_path}/resnet-digits.*--name NEW_NAME"):
        check(runs=tmp_path)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlanError, match=r"nothing can be written to .*file.*--runs"):
        check(runs=tmp_path / "file" / "runs")


def test_the_default_plan_is_sound(tmp_path: Path) -> None:
    check(runs=tmp_path)
    assert Plan(("resnet", "plain")).folder == Path("runs/resnet-plain-digits")
    assert Plan(("resnet",)).rungs == (1, 2, 4, 8, 16)


@pytest.mark.parametrize(
    ("epochs", "rungs"), [(2, (1,)), (3, (1, 2)), (9, (1, 2, 4, 8)), (27, (1, 2, 4, 8, 16)), (90, (4, 8, 16, 32, 64))]
)
def test_rungs_follow_the_full_length(epochs: int, rungs: tuple[int, ...]) -> None:
    assert Plan(("resnet",), max_epochs=epochs).rungs == rungs


@pytest.mark.parametrize(
    ("node", "cpus", "gpus", "slots"),
    [
        ({"CPU": 2.0}, 1, None, 2),
        ({"CPU": 7.0}, 2, None, 3),
        ({"CPU": 16.0, "GPU": 8.0}, 1, None, 8),
        ({"CPU": 16.0, "GPU": 1.0}, 1, 0.25, 4),
        ({"CPU": 16.0, "GPU": 2.0}, 1, 0.4, 4),
        ({"CPU": 16.0, "GPU": 8.0}, 1, 2, 4),
        ({"CPU": 3.0, "GPU": 8.0}, 1, 1, 3),
        ({"CPU": 4.0, "GPU": 1.0}, 1, 0, 4),
    ],
)
def test_slots_are_counted_on_the_nodes(node: dict[str, float], cpus: int, gpus: float | None, slots: int) -> None:
    plan = Plan(("resnet",), cpus_per_trial=cpus, gpus_per_trial=gpus)
    assert packings(planning.place(plan, [node]), [node])[0].slots == slots
    assert packings(planning.place(plan, [node, node]), [node, node])[0].slots == 2 * slots


def test_more_than_any_node_has_is_refused_with_what_there_is() -> None:
    plan = Plan(("resnet",), gpus_per_trial=2)
    with pytest.raises(PlanError, match=r"asks for 1 CPUs and 2 GPUs.*there are 4 CPUs and 1 GPUs.*Lower"):
        planning.place(plan, [{"CPU": 4.0, "GPU": 1.0}])


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """study.json of a new study, read back."""
    plan = Plan(("resnet",), runs=tmp_path, gpus_per_trial=0.0)
    dataset = load("digits", plan.data_dir)
    data = split(dataset.train, plan.seed)
    described = planning.describe(plan, {"resnet": SPACES["resnet"]}, dataset, data, planning.hardware([{"CPU": 2.0}]))
    planning.write_study(plan, described)
    return planning.read_study(plan.folder)


def test_a_resume_finds_the_plan_that_was_used(content: dict[str, Any], tmp_path: Path) -> None:
    plan = Plan.from_json(tmp_path / "resnet-digits", content)
    before = Plan(
        ("resnet",), data_dir=Path("data").absolute(), runs=tmp_path, name="resnet-digits", gpus_per_trial=0.0
    )
    assert plan == replace(before, began_as="resnet-digits")


def test_what_was_asked_of_the_data_is_asked_again_at_a_resume(content: dict[str, Any], tmp_path: Path) -> None:
    content["dataset"] |= {"name": "cars", "loader": "folder", "image_size": [32, 48], "test_fraction": 0.3}
    plan = Plan.from_json(tmp_path / "resnet-cars", content, data_dir=Path("moved"))
    assert (plan.dataset, plan.data_dir) == ("folder", Path("moved"))
    assert (plan.image_size, plan.test_fraction) == ((32, 48), 0.3)
    for name in ("loader", "image_size", "test_fraction"):  # a study from before they existed
        del content["dataset"][name]
    content["dataset"]["name"] = "digits"
    before = Plan.from_json(tmp_path / "resnet-digits", content)
    assert (before.dataset, before.image_size, before.test_fraction) == ("digits", None, None)


def test_the_policy_of_a_study_stays_what_it_was(content: dict[str, Any], tmp_path: Path) -> None:
    other = Policy(random_share=0.1, reduction_factor=4, first_rung=20, stopped="last")
    plan = Plan(("resnet",), policy=other, no_stopping=True)
    dataset = load("digits", plan.data_dir)
    described = planning.describe(plan, {"resnet": SPACES["resnet"]}, dataset, split(dataset.train, 0), {})
    assert (described["rungs"], described["no_stopping"], described["sampler"]["random"]) == ([], True, 4)
    stored = Plan.from_json(tmp_path / "resnet-digits", json.loads(json.dumps({**content, **described})))
    assert (stored.policy, stored.no_stopping, stored.rungs) == (other, True, ())
    assert replace(stored, no_stopping=False).rungs == (1, 4, 16)
    for name in ("policy", "no_stopping"):  # a study from before they existed
        del content[name]
    before = Plan.from_json(tmp_path / "resnet-digits", content)
    assert (before.rungs, before.random_trials, before.policy.stopped) == ((3, 9), 20, "pruned")
    assert not before.policy.pausing
    assert before.policy.start_up is None
    assert before.policy.model == "tpe"
    for name in ("start_up", "model"):  # one from before trials took turns and there was another model
        del described["policy"][name]
    earlier = Plan.from_json(tmp_path / "resnet-digits", {**content, **described})
    assert earlier.policy == replace(other, start_up=None, model="tpe")


@pytest.mark.parametrize("model", get_args(Model))
def test_study_json_says_which_model_suggests_and_how(model: Model) -> None:
    described = model_settings(Policy(model=model))
    assert described["model"] == model
    assert described[model]["looks_at"] > described[model]["best"]
    assert ("candidates" in described[model]) == (model == "gp")
    assert json.loads(json.dumps(described)) == described


def test_a_study_of_a_folder_is_named_by_it() -> None:
    assert Plan(("resnet",), dataset="folder", data_dir=Path("photos/vehicles/")).folder.name == "resnet-vehicles"
    assert Plan(("resnet",), dataset="folder").folder.name == "resnet-data"


def test_study_json_says_what_ran_on_what(content: dict[str, Any]) -> None:
    assert content["dataset"]["splits"]["test"]["images"] == 360
    assert content["metric"] == {"name": "accuracy", "unit": "fraction", "direction": "maximize", "chance": 0.1}
    assert set(content["versions"]) >= {"python", "torch", "ray", "optuna"}
    assert len(content["spaces"]["resnet"]["sha256"]) == 64
    assert content["git"]["commit"] is None or len(content["git"]["commit"]) == 40


def test_a_changed_space_or_changed_data_are_noticed(content: dict[str, Any]) -> None:
    dataset = load("digits", Path("data"))
    data, spaces = split(dataset.train, 0), {"resnet": SPACES["resnet"]}
    planning.check_unchanged(content, spaces, dataset, data)
    with pytest.raises(PlanError, match="Space 'resnet' has changed"):
        planning.check_unchanged(content, {"resnet": SPACES["plain"]}, dataset, data)
    with pytest.raises(PlanError, match="train split of digits is not the one"):
        planning.check_unchanged(content, spaces, dataset, split(dataset.train, 1))
    with pytest.raises(PlanError, match="test split of digits is not the one"):
        planning.check_unchanged(content, spaces, replace(dataset, test=dataset.train), data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no run folder: it has no study.json"),
        ("{", "not readable as JSON"),
        ("[]", "holds no study"),
        ('{"format": 99}', "format 99"),
    ],
)
def test_a_folder_that_is_no_study_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "study.json").write_text(text)
    with pytest.raises(PlanError, match=message):
        planning.read_study(tmp_path)


def test_a_study_json_without_what_a_resume_needs_says_what(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"lacks data_dir, dataset, final"):
        Plan.from_json(tmp_path, {"format": 1})


def test_study_json_is_plain_json_without_non_finite_numbers(content: dict[str, Any]) -> None:
    assert json.loads(json.dumps(content, allow_nan=False)) == content


@pytest.mark.parametrize("mirror", [False, True])
def test_whether_images_may_be_mirrored_reaches_the_search(mirror: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load("digits", Path("unused"))
    monkeypatch.setitem(DATASETS, "digits", lambda _folder: replace(digits, mirror=mirror))
    study = launch._prepare(Plan(("resnet",)), Console(quiet=True))
    assert study.data.mirror == mirror
    described = planning.describe(study.plan, study.spaces, study.dataset, study.data, {})
    assert described["dataset"]["mirror"] == mirror


@pytest.mark.parametrize(
    ("node", "amount", "expected"),
    [
        ({"CPU": 8, "fast": 2}, 1, 2),
        ({"CPU": 8, "fast": 1}, 0.25, 4),
        ({"CPU": 2, "fast": 9}, 1, 2),
        ({"CPU": 8}, 1, 0),
    ],
)
def test_slots_take_a_clusters_own_resources(node: dict[str, float], amount: float, expected: int) -> None:
    plan = Plan(("resnet",), resources={"fast": amount}, gpus_per_trial=0)
    if expected == 0:
        with pytest.raises(
            PlanError, match=r"asks for 1 CPUs and 0 GPUs and 1 fast, .*: there are 8 CPUs .* and 0 fast"
        ):
            planning.place(plan, [node])
        return
    for packing in packings(planning.place(plan, [node]), [node]):
        assert packing.resources == {"fast": amount}
        assert packing.slots <= expected
    assert packings(plan, [node])[0].slots == expected
    assert packings(plan, [])[0].slots == 0


def test_a_kill_or_a_full_disk_leaves_a_whole_run_folder_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(("resnet",), runs=tmp_path / "runs", name="s")
    for error, seen in ((SystemExit(), SystemExit), (OSError(28, "No space left on device"), PlanError)):
        with monkeypatch.context() as during:
            during.setattr(os, "fsync", Mock(side_effect=error))
            with pytest.raises(seen):
                planning.write_study(plan, {"a": 1})
        assert not plan.folder.exists()
        plan.check(SPACES, DATASETS)
    planning.write_study(plan, {"a": 1})
    assert [path.name for path in plan.folder.iterdir()] == ["study.json"]
    with pytest.raises(PlanError, match="The run folder cannot be made"):
        planning.write_study(plan, {"a": 2})
