"""Unbalanced classes: balanced accuracy and recall against scikit-learn's, weights of the loss."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, recall_score
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

import analysis
from analysis import balance, measures
from analysis.paper_tables import paper_tables
from analysis.report import final_table
from analysis.tables import StudyTables
from analysis.verdicts import judge
from study.config import Config
from study.tasks.classification import class_weights
from tests.sample_run import SampleRun

VEHICLES = ("bus", "car", "truck")
COUNTS = (40, 160, 60)


@pytest.fixture(scope="module")
def vehicles(tmp_path_factory: pytest.TempPathFactory) -> StudyTables:
    """A study whose final runs have a test split of unequal classes."""
    run = SampleRun(classes=VEHICLES, trials=3, seeds=2, accidents=False).write(tmp_path_factory.mktemp("v") / "run")
    rng, label = np.random.default_rng(0), np.repeat(np.arange(3), COUNTS)
    for path in run.glob("final/*/predictions.npz"):
        said = np.where(rng.random(len(label)) < np.array([0.5, 0.95, 0.8])[label], label, 1)
        np.savez(path, label=label, probability=np.eye(3)[said])
    return analysis.read(run)


def test_balanced_accuracy_and_recall_are_those_of_scikit_learn(vehicles: StudyTables) -> None:
    found, recalls = balance.balanced_accuracy(vehicles), {}
    for name in vehicles.final["final"]:
        with np.load(vehicles.run_dir / "final" / name / "predictions.npz") as arrays:
            label, said = arrays["label"], arrays["probability"].argmax(axis=1)
        assert found[name] == pytest.approx(balanced_accuracy_score(label, said))
        recalls[name] = recall_score(label, said, average=None)
    table = balance.recall(vehicles)
    assert list(table.columns) == ["class", "images", "resnet", "densenet"]
    mine = [recalls[name] for name in recalls if name.startswith("resnet")]
    assert table["resnet"].tolist() == pytest.approx(np.mean(mine, axis=0).tolist())
    assert table["images"].tolist() == list(COUNTS)


def test_unbalanced_classes_have_their_column_and_table_and_balanced_ones_have_none(
    vehicles: StudyTables, tmp_path: Path
) -> None:
    assert balance.class_sizes(vehicles) == (40, 160)
    assert "balanced accuracy" in final_table(vehicles).columns
    tables = dict(paper_tables(vehicles, judge(vehicles)))
    assert list(tables["classes"].shown.columns) == ["class", "test images", "resnet (%)", "densenet (%)"]
    assert "balanced accuracy (%)" not in tables["classes"].shown
    (said,) = measures.sentences(vehicles)
    assert said.startswith("Classes are unbalanced (40 to 160 test images)")
    alike = analysis.read(SampleRun(classes=VEHICLES, trials=2, seeds=1, accidents=False).write(tmp_path / "run"))
    assert balance.class_sizes(alike) is None
    assert measures.sentences(alike) == []
    assert "classes" not in dict(paper_tables(alike, judge(alike)))


def test_balanced_weights_are_those_of_scikit_learn_and_make_classes_weigh_alike() -> None:
    labels = torch.tensor(np.repeat(np.arange(3), COUNTS))
    found = class_weights(Config({"class_weights": "balanced"}), labels, 3)
    assert found is not None
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    assert found.tolist() == pytest.approx(expected.tolist())
    logits = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0))
    by_class = torch.stack([F.cross_entropy(logits[labels == one], labels[labels == one]) for one in range(3)])
    assert F.cross_entropy(logits, labels, found).item() == pytest.approx(by_class.mean().item(), rel=1e-5)
    for without in ({}, {"class_weights": "none"}):
        assert class_weights(Config(without), labels, 3) is None
    with pytest.raises(ValueError, match=r"class_weights is 'heavy'. Valid: none, balanced"):
        class_weights(Config({"class_weights": "heavy"}), labels, 3)
