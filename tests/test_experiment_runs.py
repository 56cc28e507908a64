"""Every experiment at its small scale, from its file to its report, on one Ray that is started once."""

from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from rich.console import Console

import analysis
from analysis import style
from study import launch, tune
from study.experiment import EXPERIMENTS, read
from study.plan import Plan

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def one_ray() -> Iterator[None]:
    """A Ray that no study starts or ends: that would take most of the time."""
    tune.start(None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tune, "start", lambda *_arguments: None)
        patched.setattr(tune, "stop", lambda: None)
        patched.setattr(style, "FORMATS", ("svg",))  # what the page shows; the other files have tests of their own
        yield
    tune.stop()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs_to_its_report(name: str, one_ray: None, tmp_path: Path) -> None:  # noqa: ARG001
    found = read(name, "small")
    cpus = int(max(node["CPU"] for node in tune.nodes()))  # one slot: each would take seconds to start
    plan = Plan(
        **{"spaces": found.variants, **found.settings}, experiment=found.content, runs=tmp_path, cpus_per_trial=cpus
    )
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
