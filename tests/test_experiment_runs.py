"""Every experiment at its small scale, from its file to its report: one on Ray, the others in this process."""

import gc
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from sklearn.metrics import balanced_accuracy_score, recall_score

import analysis
from analysis import balance, report, style
from analysis.figures import QUESTION, chapters
from data_utils.decoding import decode
from data_utils.images import Examples, Images
from data_utils.splits import SearchData
from study import launch, tune
from study.engine import Engine
from study.experiment import EXPERIMENTS, read
from study.job import OpenTest
from study.plan import Plan
from study.slot import Slot

pytestmark = pytest.mark.slow

ON_RAY = "two_networks"  # it shows that experiments go that way too; to start Ray for each would take most of the time
VEHICLES = {"bus": (22, 7), "car": (78, 23), "truck": (36, 11)}  # photographs, and the last 30 % of them
SIZE = (16, 16)  # to which they are resized


class Held:
    """What `tune.Stored` holds, without an object store."""

    def __init__(self, value: Any) -> None:
        self.value = value


def execute(engine: Engine, data: Held, test: Held, classes: int, *_code: object) -> None:
    """Do what `tune.execute` does, one job after another in this process."""
    split, examples = data.value, test.value
    assert isinstance(split, SearchData)
    assert isinstance(examples, Examples)
    slot = Slot(split, split.channel_statistics(), lambda: examples, classes, cpus=1)
    gc.freeze()  # as a worker does
    try:
        _work(engine, slot, examples)
    finally:
        gc.unfreeze()


def _work(engine: Engine, slot: Slot, test: Examples) -> None:
    while not isinstance(job := engine.next_job(), str):
        slot.begin(job)
        if isinstance(job, OpenTest):
            engine.open_test(job, len(test), test.sha256())
            engine.report_test(slot.facts())
        else:
            while engine.report(job.key, slot.facts()):
                pass


@pytest.fixture
def without_ray(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a study train here and draw what it asks for, unless it is `ON_RAY`, which is done whole."""
    if request.node.name.endswith(f"[{ON_RAY}]"):
        return
    monkeypatch.setattr(report, "chapters", lambda plan: {QUESTION: chapters(plan)[QUESTION]})
    monkeypatch.setattr(style, "FORMATS", ("svg",))  # what the page shows
    monkeypatch.setattr(tune, "start", lambda *_arguments: None)
    monkeypatch.setattr(tune, "stop", lambda: None)
    monkeypatch.setattr(tune, "nodes", lambda: [{"CPU": 1.0}])
    monkeypatch.setattr(tune, "Stored", Held)
    monkeypatch.setattr(tune, "execute", execute)


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.usefixtures("without_ray")
def test_an_experiment_runs_to_its_report(name: str, tmp_path: Path) -> None:
    found = read(name, "small")
    plan = Plan(**{"spaces": found.variants, **found.settings}, experiment=found.content, runs=tmp_path)
    outcome = launch.run(plan, console=Console(quiet=True))
    assert outcome.reason == "finished"
    tables = analysis.read(outcome.folder)
    assert tables.plan["experiment"] == found.content
    assert tables.trials.groupby("space").size().to_dict() == dict.fromkeys(found.variants, plan.trials)
    assert tables.final.dropna(subset="test_score").groupby("space").size().to_dict() == dict.fromkeys(
        found.variants, plan.final_seeds
    )
    page = (outcome.folder / "report" / "report.html").read_text()
    top = unescape(page[: page.index('<section id="summary">')])
    assert found.content["question"] in top
    for figure in found.content["figures"]:
        assert f'<figure id="{figure}' in top or (figure in ("importance",) and f'id="{figure}"' in top)
    if found.content["baseline"]:
        assert f"gap to {found.content['baseline']}" in top


def photographs(folder: Path) -> list[Path]:
    """Write photographs of `VEHICLES`, which differ in colour and have sizes of their own; return those of the test."""
    rng, last = np.random.default_rng(0), []
    for label, (name, (count, tested)) in enumerate(VEHICLES.items()):
        (folder / name).mkdir(parents=True)
        paths = [folder / name / f"{number}.png" for number in range(count)]
        for path in paths:
            pixels = rng.normal(110, 50, (*rng.integers(12, 40, 2), 3))
            pixels[..., label] += 60
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
        last += paths[-tested:]
    return last


def vehicles_of(folder: Path) -> analysis.StudyTables:
    """The small form of `vehicles` on the photographs in `folder`."""
    small = read("vehicles", "small")
    settings = {**small.settings, "dataset": "folder", "image_size": SIZE, "train_images": None, "max_epochs": 4}
    plan = Plan(spaces=small.variants, **settings, data_dir=folder, experiment=small.content, runs=folder.parent)
    return analysis.read(launch.run(plan, console=Console(quiet=True)).folder)


@pytest.mark.usefixtures("without_ray")
def test_vehicles_are_told_in_class_folders_of_photographs_of_different_sizes(tmp_path: Path) -> None:
    last = photographs(tmp_path / "vehicles")
    tables = vehicles_of(tmp_path / "vehicles")
    labels = np.repeat(np.arange(3), [tested for _, tested in VEHICLES.values()])
    expected = Images(np.stack([decode(path, SIZE) for path in last]), labels)
    assert tables.openings["sha256"].tolist() == [expected.sha256()]
    balanced, recalls = balance.balanced_accuracy(tables), []
    for final in tables.final["final"]:
        with np.load(tables.run_dir / "final" / final / "predictions.npz") as arrays:
            said = arrays["probability"].argmax(axis=1)
        assert balanced[final] == pytest.approx(balanced_accuracy_score(labels, said))
        recalls.append(recall_score(labels, said, average=None))
    table = balance.recall(tables)
    assert table[["class", "images"]].to_numpy().tolist() == [["bus", 7], ["car", 23], ["truck", 11]]
    for space in ("plain_cnn", "resnet"):
        mine = [found for found, of in zip(recalls, tables.final["space"], strict=True) if of == space]
        assert len(mine) == 2
        assert table[space].tolist() == pytest.approx(np.mean(mine, axis=0).tolist())
    assert max(balanced) > 0.6  # chance is a third
    assert "balanced accuracy" in (tables.run_dir / "report" / "report.html").read_text()
