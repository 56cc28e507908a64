"""Warm start: what earlier studies give, what of it still fits, and that a study and its resume know of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from rich.console import Console

from study import launch, warm
from study import plan as planning
from study.plan import Plan, PlanError
from study.sampler import Sampler
from study.space import Parameter, Space
from study.spaces import SPACES

LR = Parameter("lr", FloatDistribution(1e-3, 1.0, log=True), "nuisance")
DEPTH = Parameter("depth", IntDistribution(1, 4), "scientific")
KIND = Parameter("kind", CategoricalDistribution(("sgd", "adam")), "nuisance")
BETA = Parameter("beta", FloatDistribution(0.5, 0.99), "nuisance", when={"kind": ("adam",)})
WIDTH = Parameter("width", CategoricalDistribution((8, 16)), "scientific")


def space(*parameters: Parameter, **reference: Any) -> Space:
    return Space("mlp", "mlp", "For a test.", (), parameters, reference)


TODAY = space(LR, DEPTH, KIND, BETA, WIDTH, lr=0.1, depth=2, kind="sgd", width=8)


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        ({"lr": 0.5, "depth": 3, "kind": "adam", "beta": 0.9, "width": 16}, None),
        ({"lr": 0.5, "depth": 3, "kind": "sgd", "width": 16, "dropout": 0.1}, {"lr": 0.5, "depth": 3, "width": 16}),
        ({"lr": 0.5, "kind": "sgd"}, {"lr": 0.5, "depth": 2, "width": 8}),
        ({"lr": 0.5, "depth": 3, "kind": "sgd", "beta": 0.9, "width": 8}, {"lr": 0.5, "depth": 3, "width": 8}),
    ],
)
def test_what_is_gone_is_dropped_and_what_is_new_takes_the_references_value(
    earlier: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    config, reason = warm.fit(TODAY, earlier)
    assert reason is None
    assert config == (earlier if expected is None else {**expected, "kind": "sgd"})
    assert list(config) == TODAY.active(config)


@pytest.mark.parametrize(
    ("earlier", "reason"),
    [
        ({"lr": 2.0}, "lr = 2.0 lies outside its range"),
        ({"lr": "fast"}, "lr = 'fast' lies outside its range"),
        ({"depth": 2.5}, "depth = 2.5 lies outside its range"),
        ({"depth": True}, "depth = True lies outside its range"),
        ({"width": 32}, "width = 32 lies outside its range"),
        ({"kind": "adam"}, "beta is new, and the reference setting has no value for it"),
    ],
)
def test_a_value_that_no_longer_fits_leaves_the_configuration_out_and_says_why(
    earlier: dict[str, Any], reason: str
) -> None:
    assert warm.fit(TODAY, earlier)[1] == reason


def study(folder: Path, *trials: tuple[float | None, dict[str, Any]], name: str = "mlp") -> Path:
    """A run folder whose trials had these scores at full length (None: stopped) and configurations."""
    folder.mkdir()
    (folder / "study.json").write_text(json.dumps({"format": 1, "spaces": {name: {}}}))
    lines: list[dict[str, Any]] = []
    for index, (score, config) in enumerate(trials):
        trial = f"{name}-{index:04d}"
        numbers = dict.fromkeys(("train_loss", "train_score", "val_loss", "lr", "seconds", "images_per_second"), 1.0)
        suggested = {"space": name, "index": index, "origin": "tpe", "config": config, "seed": 1}
        lines.append({"event": "suggested", "trial": trial, **suggested})
        lines.append({"event": "epoch", "trial": trial, "epoch": 1, **numbers, "val_score": 0.99})
        if score is not None:
            lines.append({"event": "epoch", "trial": trial, "epoch": 2, **numbers, "val_score": score})
        state = "stopped" if score is None else "finished"
        lines.append({"event": "ended", "trial": trial, "state": state, "epochs_trained": 2, "error": None})
    (folder / "events.jsonl").write_text("".join(json.dumps({"time": 1.0, **line}) + "\n" for line in lines))
    return folder


def config(lr: float) -> dict[str, Any]:
    return {"lr": lr, "depth": 2, "kind": "sgd", "width": 8}


def test_the_best_of_each_study_come_in_turns_without_doubles_and_without_the_reference(tmp_path: Path) -> None:
    one = study(tmp_path / "a", (0.5, config(0.2)), (0.9, config(0.3)), (None, config(0.4)), (0.7, config(9.0)))
    two = study(tmp_path / "b", (0.2, config(0.3)), (0.1, config(0.5)), (0.3, config(0.1)))
    plan = Plan(("mlp",), trials=40, warm_start=(one, two))
    found = warm.gather(plan, {"mlp": TODAY})["mlp"]
    assert [(one["config"]["lr"], Path(one["run"]).name, one["score"]) for one in found["configs"]] == [
        (0.3, "a", 0.9),
        (0.2, "a", 0.5),
        (0.5, "b", 0.1),
    ]
    assert found["found"] == 6
    assert [(one["trial"], one["reason"]) for one in found["left_out"]] == [
        ("mlp-0003", "lr = 9.0 lies outside its range")
    ]
    assert warm.words({"mlp": found}) == "mlp 3 of 6, 1 do not fit"


@pytest.mark.parametrize(("trials", "taken"), [(40, 5), (12, 3), (3, 0)])
def test_five_at_most_and_a_quarter_of_the_trials(tmp_path: Path, trials: int, taken: int) -> None:
    earlier = study(tmp_path / "a", *[(0.1 * number, config(0.2 + 0.01 * number)) for number in range(8)])
    found = warm.gather(Plan(("mlp",), trials=trials, warm_start=(earlier,)), {"mlp": TODAY})
    assert len(warm.configs(found, "mlp")) == taken


def test_studies_that_give_nothing_are_refused(tmp_path: Path) -> None:
    earlier = study(tmp_path / "a", (0.5, {}), name="conv")
    with pytest.raises(PlanError, match=r"--warm-start gives nothing for mlp: .*a has conv\. Give a study"):
        warm.gather(Plan(("mlp",), warm_start=(earlier,)), {"mlp": TODAY})
    with pytest.raises(PlanError, match="is no run folder"):
        warm.gather(Plan(("mlp",), warm_start=(tmp_path / "nowhere",)), {"mlp": TODAY})


def test_they_follow_the_reference_and_the_random_arm_keeps_its_size() -> None:
    sampler = Sampler(TODAY, 0, 27, [config(0.2), config(0.3)])
    origins, lrs = [], []
    for index in range(7):
        origin, suggested = sampler.suggest(index, trials=7)
        sampler.add(f"mlp-{index:04d}", suggested)
        origins.append(origin)
        lrs.append(suggested["lr"])
    assert origins == ["reference", "warm", "warm", "random", "random", "random", "gp"]
    assert lrs[1:3] == [0.2, 0.3]


def test_the_plan_and_its_resume_know_what_was_taken(tmp_path: Path) -> None:
    good = {**SPACES["mlp"].reference, "depth": 3}
    earlier = study(tmp_path / "a", (0.5, good), (0.6, {**good, "width": 7}))
    asked = Plan(("mlp",), runs=tmp_path, name="s", gpus_per_trial=0.0, warm_start=(earlier,))
    made = launch._prepare(asked, Console(quiet=True))
    described = planning.describe(made.plan, made.spaces, made.dataset, made.data, {})
    planning.write_study(made.plan, described)
    again = Plan.from_json(tmp_path / "s", planning.read_study(tmp_path / "s"))
    for plan in (made.plan, again):
        assert warm.configs(plan.warm, "mlp") == [good]
        assert warm.words(plan.warm) == "mlp 1 of 2, 1 do not fit"
