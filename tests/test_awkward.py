"""Studies of which little can be said, or with names that are hard to print: a sensible page of each."""

import json
import re
from html import unescape
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import analysis
from analysis import report, style, verdicts
from analysis.figures import FIGURES
from analysis.parts import Panel, draw
from analysis.tables import StudyTables
from study.launch import resume
from study.log import Log
from study.plan import PlanError
from tests.sample_run import SampleRun

GREEK, CHINESE, ARABIC = (
    "\u03c0\u03bb\u03ac\u03c4\u03bf\u03c2 \u03ba\u03b1\u03bd\u03b1\u03bb\u03b9\u03ce\u03bd",
    "\u5b66\u4e60 \u7387",
    "\u0642\u0637\u0629 \u0633\u0648\u062f\u0627\u0621",
)
NOWHERE = "\U00016a40"  # a letter of Mro: none of the fonts that are asked has it
FEW: dict[str, Any] = {"spaces": ("resnet",), "seeds": 2, "accidents": False}

STUDIES: dict[str, tuple[dict[str, Any], str]] = {
    "one trial": ({**FEW, "trials": 1}, "the reference setting won: tuning gained nothing"),
    "all failed": ({"trials": 3, "all_failed": True}, "no trial has finished at full length, so there is no winner"),
    "all stopped at the first rung": (
        {"trials": 6, "stopped_first": True, "accidents": False},
        "no trial has finished at full length, so there is no winner; 6 trials cost 6 epochs, stopping saved 48",
    ),
    "one class": ({**FEW, "trials": 2, "classes": ("cat",)}, "resnet has a test accuracy of 100.0 %"),
    "100 classes": (
        {**FEW, "trials": 2, "classes": tuple(f"kind {number}" for number in range(100))},
        "95 % interval over seeds and the 3,600 test images",
    ),
    "letters": ({**FEW, "trials": 3, "classes": (GREEK, CHINESE, ARABIC)}, f"{GREEK} 16, {CHINESE} 2, "),
    "other hyperparameters": ({**FEW, "spaces": ("resnet", "mlp"), "trials": 3}, f"{GREEK} 16, {CHINESE} 2, "),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def written(name: str, folder: Path) -> Path:
    """The run folder of one of `STUDIES`; of the last two, resnet has hyperparameters with other names."""
    run = folder / f"{ARABIC} {GREEK} {name}"
    if not run.exists():
        SampleRun(**STUDIES[name][0]).write(run)
        if name in ("letters", "other hyperparameters"):
            rename(run, "resnet", {"width": GREEK, "blocks": CHINESE})
    return run


def rename(run: Path, space: str, names: dict[str, str]) -> None:
    """Give hyperparameters of a space other names, as if its SPACE had them."""
    plan = json.loads((run / "study.json").read_text())
    for parameter in plan["spaces"][space]["parameters"]:
        parameter["name"] = names.get(parameter["name"], parameter["name"])
    reference = plan["spaces"][space]["reference"]
    plan["spaces"][space]["reference"] = {names.get(name, name): value for name, value in reference.items()}
    plan["name"] = run.name
    (run / "study.json").write_text(json.dumps(plan))
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    for event in events:
        if event["event"] == "suggested" and event["space"] == space:
            event["config"] = {names.get(name, name): value for name, value in event["config"].items()}
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


def plain(page: str) -> str:
    return unescape(page).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_says_what_can_be_said(folder: Path, name: str) -> None:
    tables = analysis.read(written(name, folder))
    page = plain(report._page(tables, [], verdicts.judge(tables)).decode())
    assert STUDIES[name][1] in page
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)


def drawn(name: str, tables: StudyTables) -> list[str]:
    """Draw a figure of every space; return the characters that no font has."""
    lacking = []
    with style.style():
        for _, figure, data in FIGURES[name].parts(name, tables):
            canvas = figure.canvas(data, tables.plan)
            canvas.draw_without_rendering()
            lacking.append(style.lacking(canvas))
    return lacking


@pytest.mark.parametrize("study", ["one class", "100 classes", "letters"])
@pytest.mark.parametrize("name", ["class_accuracy", "confusion", "examples"])
def test_classes_of_any_number_and_name_are_drawn(folder: Path, study: str, name: str) -> None:
    lacking = drawn(name, analysis.read(written(study, folder)))
    assert lacking
    assert all(set(characters) <= set(CHINESE) for characters in lacking)


def test_each_space_shows_its_own_hyperparameters(folder: Path) -> None:
    tables = analysis.read(written("other hyperparameters", folder))
    data = FIGURES["effects"].data(tables)
    shown = {space: set(rows["parameter"]) for space, rows in data.groupby("space")}
    assert {GREEK, CHINESE} <= shown["resnet"]
    assert {"width", "blocks"} <= shown["mlp"]
    assert not {"width", "blocks"} & shown["resnet"]
    assert len(drawn("effects", tables)) == 2


def test_letters_that_no_font_has_are_said_under_the_figure(tmp_path: Path) -> None:
    tables = analysis.read(SampleRun(classes=(f"cat {NOWHERE}", GREEK), **{**FEW, "trials": 1}).write(tmp_path))
    ((name, figure, data),) = FIGURES["class_accuracy"].parts("class_accuracy", tables)
    (tmp_path / "figures").mkdir()
    panel = Panel(name, figure.title, 1, "The classes")
    (made,) = draw([(panel, figure, data)], tables, tmp_path / "figures", venue=None)
    assert f" No font of the machine that drew this has {NOWHERE}: boxes" in made.caption
    assert NOWHERE in (tmp_path / "figures" / "class_accuracy.svg").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_folder_with_such_a_name_has_its_report(folder: Path) -> None:
    run = written("letters", folder)
    page = report.write_report(run)
    assert page == run / "report" / "report.html"
    assert f"<h1>{run.name}</h1>" in page.read_text(encoding="utf-8")


def test_a_mended_log_is_said_in_a_folder_with_a_name_like_markup(tmp_path: Path) -> None:
    run = SampleRun(**FEW, trials=1).write(tmp_path / "my[" / "x]")
    log = run / "events.jsonl"
    Log(log).close()  # has a copy from now on
    log.write_bytes(b"garbage\n" + log.read_bytes())
    printed = StringIO()
    with pytest.raises(PlanError, match="lacks"):  # a sample cannot be resumed
        resume(run, console=Console(file=printed))
    assert f"as it was: {log.with_suffix('.damaged.jsonl')}\n" in printed.getvalue()
