"""Importance: against Optuna's where nothing was stopped, by hand where trials were."""

from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

import analysis
from analysis import importance
from analysis.tables import StudyTables
from tests.sample_run import MAX_EPOCHS, SampleRun

KINDS: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-4, 1.0, log=True),
    "dropout": FloatDistribution(0.0, 0.6),
    "blocks": IntDistribution(1, 4),
    "hidden": IntDistribution(8, 300, log=True),
    "activation": CategoricalDistribution(("relu", "gelu", "silu")),
    "momentum": FloatDistribution(0.0, 0.99),  # of "relu" alone
}


def parameters() -> list[dict[str, Any]]:
    """The hyperparameters of `KINDS` as a space stores them."""
    rows: list[dict[str, Any]] = []
    for name, kind in KINDS.items():
        if isinstance(kind, CategoricalDistribution):
            rows.append({"name": name, "type": "categorical", "choices": list(kind.choices)})
            continue
        assert isinstance(kind, FloatDistribution | IntDistribution)
        of = "int" if isinstance(kind, IntDistribution) else "float"
        rows.append({"name": name, "type": of, "low": kind.low, "high": kind.high, "log": kind.log})
    return rows


def searched(n: int, seed: int) -> tuple[optuna.Study, pd.DataFrame]:
    """A finished random search, as a study of Optuna and as a table."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=seed))
    rng = np.random.default_rng(seed)
    for _ in range(n):
        trial = study.ask({name: kind for name, kind in KINDS.items() if name != "momentum"})
        if trial.params["activation"] == "relu":
            trial.suggest_float("momentum", 0.0, 0.99)
        good = -((np.log10(trial.params["lr"]) + 1) ** 2) + trial.params.get("momentum", 0.5)
        study.tell(trial, good + rng.normal(0, 0.3))
    rows = [{**trial.params, "score": trial.value} for trial in study.trials]
    return study, pd.DataFrame(rows).sort_values("score", ascending=False, kind="stable", ignore_index=True)


@pytest.mark.parametrize(("n", "quantile"), [(30, 0.2), (60, 0.1), (200, 0.1), (200, 0.5)])
def test_the_numbers_are_those_of_optuna(n: int, quantile: float) -> None:
    study, table = searched(n, seed=n)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
    known = evaluator.evaluate(study)
    weights = importance.resamples(n, np.random.default_rng(0))
    among = importance.among_best(np.arange(n), weights, int(np.ceil(quantile * n)))
    share = among.sum(axis=1) / n
    for parameter in parameters():
        cells, size = importance.grid_cells(parameter, table[parameter["name"]])
        places = (cells[:, None] == np.arange(size)).astype(np.float32)
        categorical = parameter["type"] == "categorical"
        found = importance.explained(among @ places, weights @ places, share, n, categorical)
        own_unit = found[0] * (1 / share[0] - 1) * share[0] ** 2
        assert own_unit == pytest.approx(known[parameter["name"]], rel=1e-5), parameter["name"]
        assert (found >= 0).all()


def test_those_who_tie_share_the_last_places() -> None:
    weights = np.array([[1, 1, 1, 1, 1], [0, 2, 0, 1, 2]], dtype=np.float32)
    among = importance.among_best(np.array([0, 1, 1, 1, 2]), weights, 2)
    assert among[0] == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3, 0])
    assert among[1] == pytest.approx([0, 4 / 3, 0, 2 / 3, 0])


def test_resamples_hold_each_trial_once_and_then_n_draws() -> None:
    found = importance.resamples(30, np.random.default_rng(1))
    assert found.shape == (1 + importance.RESAMPLES, 30)
    assert (found[0] == 1).all()
    assert (found.sum(axis=1) == 30).all()
    assert found[1:].var(axis=1).mean() == pytest.approx(1 - 1 / 30, rel=0.1)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> StudyTables:
    return analysis.read(SampleRun(spaces=("resnet",), trials=60, final=False).write(tmp_path_factory.mktemp("run")))


def test_stopped_trials_stand_below_and_cut_off_ones_nowhere(tables: StudyTables) -> None:
    full, third = (importance.standing(tables, "resnet", epoch) for epoch in (MAX_EPOCHS, 3))
    trials = tables.trials
    states = full.trials["state"].to_list()
    assert full.reached == (trials["state"] == "finished").sum()
    assert set(states[: full.reached]) == {"finished"}
    assert set(states[-2:]) == {"diverged", "failed"}
    stopped = full.trials[full.trials["state"] == "stopped"]
    assert len(stopped) == (trials["state"] == "stopped").sum()
    assert stopped["epochs_trained"].is_monotonic_decreasing
    assert stopped[stopped["epochs_trained"] == 1]["score"].is_monotonic_decreasing
    assert "interrupted" not in states  # cut off at epoch 5
    assert "interrupted" in third.trials["state"].to_list()
    assert third.reached == (trials["epochs_trained"] >= 3).sum()
    assert full.key[-1] == full.key[-2] == full.key.max()


def test_few_trials_and_few_survivors_are_refused(tables: StudyTables) -> None:
    few = StudyTables(**{**vars(tables), "trials": tables.trials.head(15)})
    assert "it needs 20" in importance.refusals(few)["resnet"]
    assert importance.importances(few).empty
    ranking = importance.standing(tables, "resnet", MAX_EPOCHS)
    assert not ranking.refusal("best")
    assert "stopping hid the rest" in importance.Standing(ranking.trials, ranking.key, 5).refusal("best")
    assert importance.Standing(ranking.trials.head(25), ranking.key[:25], 25).best("best") == 5


def test_what_decides_stands_above_chance_and_what_does_not_below(tables: StudyTables) -> None:
    """Made-up trials in which the learning rate decides all, and augmentation nothing; most are stopped."""
    found = importance.importances(tables)
    assert set(found["epoch"]) == {1, 3, MAX_EPOCHS}
    assert found.query("target == 'half'")["epoch"].nunique() == 1
    best = found.query("target == 'best'").set_index(["epoch", "parameter"])
    first = best.xs(1, level="epoch")
    assert first["importance"].idxmax() in {"sgd_lr", "adamw_lr"}
    assert (best["low"] <= best["importance"]).all()
    assert (best["importance"] <= best["high"]).all()
    assert (first["importance"] < first["null"])["augment"]
    assert (best["best"] == 6).all()
    assert (best.xs(MAX_EPOCHS, level="epoch")["n"] == 59).all()  # the one that was cut off is left out
