"""The example of docs/library.py, run as it stands."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from tests.sample_run import SampleRun

EXAMPLE = Path(__file__).parents[1] / "docs" / "library.py"


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run = SampleRun(trials=6).write(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["library.py", str(run)])
    names = runpy.run_path(str(EXAMPLE), run_name="__main__")
    said = capsys.readouterr().out
    assert re.search(
        r"^resnet against densenet: (better|equivalent|cannot tell), gap \d+\.\d+, n = 4$", said, re.MULTILINE
    )
    assert "Test accuracy of the winner of each space" in said
    (stairs, _) = names["axes"].lines
    best = names["best"].query("space == 'resnet'")["best"]
    assert stairs.get_ydata().tolist() == best.tolist()
    for name in ("test_scores.pdf", "best_so_far.pdf"):
        assert (tmp_path / name).read_bytes().startswith(b"%PDF")
