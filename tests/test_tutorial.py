"""docs/tutorial.md: its commands and its Python, run in their order in an empty folder."""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import analysis
from analysis import audit
from study import run as study_run

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "tutorial.md").read_text()
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def run(kind: str, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block as a reader would, in `folder`."""
    words = shlex.split(text) if kind == "sh" else ["python", "-c", text]
    assert words[0] == "python"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, *words[1:]], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_tutorial_works_from_the_first_command_to_the_last(tmp_path: Path) -> None:
    assert [kind for kind, _ in BLOCKS] == ["sh", "sh", "sh", "sh", "sh", "python", "python", "sh"]
    said = {}
    for kind, text in BLOCKS:
        done = run(kind, text, tmp_path)
        assert done.returncode == 0 or (done.returncode == 1 and "analysis.audit" in text), done
        assert "Traceback" not in done.stderr
        said[text.strip()] = done.stdout
    plan, study, audit, resumed, *_ = said.values()
    assert re.search(r"^Resolves +a gap of [\d.]+ percentage points", plan, re.MULTILINE)
    for out in (study, resumed):
        assert re.search(r"^Verdict +(mlp|lenet) has the highest mean", out, re.MULTILINE), out
    assert re.search(r"^19 checks: ", audit, re.MULTILINE)
    tables = analysis.read(tmp_path / "runs" / "first")
    assert tables.trials["space"].value_counts().to_dict() == {"lenet": 12, "mlp": 12}
    for name in ("search.pdf", "runs/first/report/figures/test_scores.pdf", "runs/first/report/tables/overview.tex"):
        assert (tmp_path / name).stat().st_size > 500, name
    with Image.open(tmp_path / "search.png") as drawn, Image.open(ROOT / "docs" / "tutorial" / "search.png") as shown:
        assert drawn.size == shown.size  # 3.25 x 2 inches at 200 dots
    with (tmp_path / "letters.csv").open(newline="") as file:
        rows = {row["file"]: row["prediction"] for row in csv.DictReader(file)}
    # The first digits are 0 to 9, and again; most are recognised: chance is 2.
    assert sum(rows[f"{number}.png"] == str(number % 10) for number in range(20)) >= 12
    assert (tmp_path / "network.pt2").exists()


def test_figures_of_the_tutorial_are_there() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)
    assert shown == ["tutorial/test_scores.png", "tutorial/search.png"]
    assert all((ROOT / "docs" / name).stat().st_size < 50_000 for name in shown)


PARSERS = {"study.run": study_run.parser, "analysis.audit": audit.parser}


def test_where_to_go_from_here_has_flags_and_documents_that_exist() -> None:
    last = TEXT[TEXT.index("## Where to go from here") :]
    spans = [span.split() for span in re.findall(r"`([^`]+)`", last)]
    commands = [words[2:] for words in spans if words[:2] == ["python", "-m"]]
    commands += [["study.run", *words] for words in spans if words[0].startswith("--")]
    assert [words[0] for words in commands] == ["study.run", "analysis.audit", "study.run", "study.run"]
    for module, *words in commands:
        PARSERS[module]().parse_args(words)  # exits where there is no such flag
    documents = [words[0] for words in spans if words[0].startswith("docs/")]
    assert documents == ["docs/cluster.md", "docs/statistics.md"]
    assert all((ROOT / name).is_file() for name in documents)
