"""Several studies on one page: what is compared, what is refused, and why."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import studies as together
from analysis import verdicts
from analysis.comparison import headline, sentences
from analysis.figures.together import FIGURES, draw_ranks
from analysis.report import main
from analysis.studies import Studies, read_studies
from analysis.style import new_canvas, style
from tests.sample_run import SampleRun


def studies(folder: Path, *knobs: dict[str, Any]) -> Studies:
    quick = {"trials": 1, "accidents": False}
    runs = [SampleRun(**{**quick, **known}).write(folder / f"run{at}") for at, known in enumerate(knobs)]
    return read_studies(runs, verdicts.MARGIN)


def test_every_row_has_the_interval_and_the_verdicts_of_its_own_study(tmp_path: Path) -> None:
    found = studies(tmp_path, {"seeds": 9}, {"spaces": ("densenet", "resnet"), "data": "other", "seeds": 9})
    assert list(found.plan["spaces"]) == ["resnet", "densenet"]
    for study in found.studies:
        own = verdicts.judge(study.tables)
        rows = found.scores[found.scores["data_set"] == study.name].set_index("space")
        assert {space: (i.mean, i.low, i.n) for space, i in own.tested.items()} == {
            space: (row["test"], row["low"], row["n"]) for space, row in rows.iterrows()
        }
        assert list(found.pairs.loc[found.pairs["data_set"] == study.name, "verdict"]) == list(own.pairs["verdict"])
    assert list(found.pairs["verdict"]) == ["better", "better"]  # of the first space of each study
    assert sentences(found) == ["resnet against densenet: better on digits; worse on other."]
    assert headline(found) == "No verdict holds in all of these studies."
    alone = Studies(found.studies[:1])
    assert headline(alone) == "In all of these studies: resnet better than densenet."


def test_two_studies_of_one_data_set_are_rows_but_not_two_data_sets(tmp_path: Path) -> None:
    found = studies(tmp_path, {}, {}, {"data": "other"})
    assert [study.name for study in found.studies] == ["digits (run0)", "digits (run1)", "other"]
    for over in (together.middles(found), together.profiles(found), together.ranks(found)):
        assert over.table.empty
        assert "digits (run0) and digits (run1)" in over.refused
    assert "one data set" in together.remarks(found)[0]
    two = Studies((found.studies[0], found.studies[2]))
    assert not together.middles(two).refused
    assert "needs at least 10" in together.ranks(two).refused
    found.studies[2].tables.plan["dataset"]["splits"]["test"]["sha256"] = "c3" * 32  # another name, the same images
    assert len(two.same_data()) == 1


def test_over_data_sets_stand_only_architectures_that_all_have_tested(tmp_path: Path) -> None:
    found = studies(tmp_path, {"spaces": ("resnet", "plain", "vgg")}, {"spaces": ("plain", "resnet"), "data": "other"})
    assert found.common == ["resnet", "plain"]
    middle = together.middles(found).table
    assert list(middle["space"]) == ["resnet", "plain"]
    assert list(middle["n"]) == [8, 8]
    pooled = np.sort(np.concatenate(list(found.seeds("resnet").values())))
    assert middle["mean"].iloc[0] == pytest.approx(pooled[2:-2].mean())
    assert "vgg is not part of other." in together.remarks(found)
    few = studies(tmp_path / "few", {"seeds": 2}, {"data": "other"})
    assert "3 seeds in each cell; fewer have resnet on digits and densenet on digits" in together.middles(few).refused
    none = studies(tmp_path / "none", {"spaces": ("vgg",)}, {"data": "other"})
    assert "No architecture has been tested in every study" in together.profiles(none).refused


def test_what_differs_between_studies_is_said(tmp_path: Path) -> None:
    found = studies(tmp_path, {}, {"data": "other", "trials": 2, "seeds": 5})
    found.studies[1].tables.plan["spaces"]["resnet"]["sha256"] = "aa" * 32
    said = together.remarks(found)
    assert "resnet was not searched in the same space everywhere: it differs between digits and other." in said
    assert "Budgets differ between studies, trials: 1 in digits and 2 in other." in said
    assert "Budgets differ between studies, seeds of a winner: 4 in digits and 5 in other." in said
    assert len(said) == 3
    assert together.remarks(studies(tmp_path / "equal", {}, {"data": "other"})) == []


def test_ranks_of_ten_data_sets_are_drawn_with_who_is_within_reach(tmp_path: Path) -> None:
    spaces = ("resnet", "plain", "vgg")
    found = studies(tmp_path, *({"spaces": spaces, "data": f"set{number}", "seeds": 3} for number in range(10)))
    table = together.ranks(found).table
    means = found.scores.pivot(index="data_set", columns="space", values="test")[list(spaces)]
    ranks = means.rank(axis=1, ascending=False).mean()
    assert dict(zip(table["space"], table["rank"], strict=True)) == pytest.approx(ranks.to_dict())
    close = pd.DataFrame({"space": list(spaces), "rank": [1.5, 1.6, 2.9], "critical_difference": 1.0})
    with style():
        canvas = new_canvas(3)
        draw_ranks(canvas, close, found.plan)
    (tie,) = (line for line in canvas.axes[0].lines if line.get_gid() == "tie")
    assert list(np.asarray(tie.get_xdata())) == [1.5, 1.6]


def test_marks_stand_where_the_scores_are(tmp_path: Path) -> None:
    found = studies(tmp_path, {}, {"data": "other"})
    figure = FIGURES["test_scores"]
    with style():
        axes = figure.canvas(figure.data(found), found.plan).axes[0]
    marks = {line.get_gid(): line for line in axes.lines if line.get_gid()}
    for space in found.plan["spaces"]:
        rows = found.scores[found.scores["space"] == space]
        assert list(np.asarray(marks[space].get_xdata())) == list(rows["test"])
        assert [round(float(y)) for y in np.asarray(marks[space].get_ydata())] == [0, 1]


@pytest.mark.slow
def test_command_line_of_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        SampleRun(trials=1, accidents=False, data=data).write(tmp_path / name)
        for name, data in (("one run", "digits"), ("\u732b", "<b>other</b>"))
    ]
    (runs[1] / "report").mkdir()
    (runs[1] / "report" / "report.html").touch()
    assert main([str(run) for run in runs]) == 0
    folder = tmp_path / "report-one run-\u732b"
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<b>other" not in page
    assert "../one run: no report of its own yet" in page
    assert '<a href="../%E7%8C%AB/report/report.html">' in page
    order = [page.index(part) for part in ('class="verdict"', 'id="table-scores"', 'id="table-verdicts"', "<figure")]
    assert order == sorted(order)
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    assert {path.suffix for path in before} == {".html", ".svg", ".png", ".pdf", ".csv", ".tex"}
    assert main([*(str(run) for run in runs), "--out", str(folder)]) == 0
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before
    assert list((runs[1] / "report").iterdir()) == [runs[1] / "report" / "report.html"]  # each keeps its own


def test_what_cannot_be_compared_is_refused_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(SampleRun(trials=0).write(tmp_path / "run"))
    other = str(SampleRun(trials=0, metric="psnr").write(tmp_path / "other"))
    long = str(SampleRun(trials=0, data="other").write(tmp_path / ("x" * 220)))
    cases = {
        (run, other): "2 metrics (accuracy, fraction, maximize in",
        (run, run): "Name each run folder once",
        (run, str(tmp_path)): "is not a run folder",
        (run, long): "Name one with --out",
        (run, other, "--venue", "vogue"): "--venue is 'vogue', but must be one of aaai, acl,",
    }
    for arguments, says in cases.items():
        assert main(list(arguments)) == 2
        assert says in capsys.readouterr().err
    assert not list(tmp_path.rglob("report*"))
