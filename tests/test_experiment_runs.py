"""Every experiment at its small scale, from its file to its report: one on Ray, the others in this process."""

import gc
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import analysis
from analysis import report, style
from analysis.figures import QUESTION, chapters
from data_utils.images import Examples
from data_utils.splits import SearchData
from study import launch, tune
from study.engine import Engine
from study.experiment import EXPERIMENTS, read
from study.job import OpenTest
from study.plan import Plan
from study.slot import Slot

pytestmark = pytest.mark.slow

ON_RAY = "two_networks"  # it shows that experiments go that way too; to start Ray for each would take most of the time


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
    if request.node.callspec.params["name"] == ON_RAY:
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
