"""A space and a network of the user's own, from a file: the README's example, and files that are none."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import analysis
import models
from study import run
from study.spaces import SPACES, find

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The README's example in a file."""
    block = re.search(r"## Your own architecture\n.*?```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None
    path = tmp_path / "my_space.py"
    path.write_text(block[1])
    return path


def test_the_readmes_example_is_a_space_whose_network_comes_from_its_file(example: Path) -> None:
    space = find(str(example))
    architecture = {parameter.name: space.reference[parameter.name] for parameter in space.architecture}
    network = models.build(space.network, in_channels=3, num_classes=7, image_size=(8, 8), **architecture)
    assert models.count_parameters(network) > 0
    assert len(example.read_text().splitlines()) <= 30


def test_a_change_of_the_code_is_a_change_of_the_space(example: Path) -> None:
    before = find(str(example)).to_json()
    example.write_text(example.read_text().replace("nn.ReLU()", "nn.GELU()"))
    assert find(str(example)).to_json()["sha256"] != before["sha256"]
    assert before["file"] == str(example)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "cannot be run: ZeroDivisionError"),
        ("x = 1", "defines no SPACE"),
        ("SPACE = 'resnet'", "defines no SPACE"),
        (
            "from dataclasses import replace\nfrom study.spaces import SPACES\n"
            "SPACE = replace(SPACES['resnet'], network='resnext')",
            "'resnext' of .* neither a function of that file nor one of the package: .*resnet",
        ),
    ],
)
def test_a_file_that_is_no_space_says_why(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "odd.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        find(str(path))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("channels, dropout)", "channels, dropout_rate)", "TypeError: .*dropout"),
        ("nn.Dropout(dropout)", "nn.Dropout(share)", "NameError: name 'share' is not defined"),
        ("nn.Linear(2 * channels,", "nn.Linear(3 * channels,", "RuntimeError: .*2x32 and 48x10"),
        ("num_classes)),\n    )", "3)),\n    )", r"must give logits \(2, 10\) for two images, but gives \(2, 3\)"),
        ("nn.Flatten(), ", "", r"RuntimeError: .*"),
        ("    return nn.Sequential(", "    return lambda images: None and (", "AttributeError: .*'train'"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused_before_anything_starts(
    example: Path, capsys: pytest.CaptureFixture[str], before: str, after: str, message: str
) -> None:
    assert before in example.read_text()
    example.write_text(example.read_text().replace(before, after))
    assert run.main(["--space", str(example), "plain", f"--runs={example.parent / 'runs'}"]) == 2
    refused = capsys.readouterr().err
    assert re.search(f"The network of two_layers cannot be trained: .*{message}.* Mend {example}", refused)
    assert "images 1x8x8 and 10 classes" in refused
    assert not (example.parent / "runs").exists()


@pytest.mark.parametrize("name", ["my/net", "../net", "my net", "-net", "", "net.py"])
def test_a_name_that_cannot_name_folders_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="may have letters, digits, _"):
        replace(SPACES["resnet"], name=name)
    assert replace(SPACES["resnet"], name="Netz_2-ä").name == "Netz_2-ä"


def test_a_file_may_import_its_neighbours_also_where_the_network_is_built(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "neighbour_of_space.py").write_text("from torch import nn\n")
    example.write_text(example.read_text().replace("from torch import nn", "from neighbour_of_space import nn"))
    shape: dict[str, Any] = {"in_channels": 1, "num_classes": 2, "image_size": (8, 8)}
    steps = (
        lambda: find(str(example)),
        lambda: models.build(f"{example}:two_layers", **shape, channels=2, dropout=0.0),  # in a worker, by itself
    )
    for step in steps:
        monkeypatch.delitem(sys.modules, "neighbour_of_space", raising=False)
        monkeypatch.setattr(sys, "path", [*sys.path])
        before = [*sys.path]
        step()
        assert sys.path == [*before, str(tmp_path)]  # at the end, where it hides no module of Python
        monkeypatch.undo()


def test_other_ranges_for_a_network_of_the_package_need_no_network_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "narrow.py"
    imports = "from dataclasses import replace\nfrom study.spaces import SPACES\n"
    path.write_text(imports + "SPACE = replace(SPACES['resnet'], name='mine')")
    assert find(str(path)).network == SPACES["resnet"].network


@pytest.mark.slow
def test_a_study_of_an_own_space_beside_one_of_the_package(example: Path, tmp_path: Path) -> None:
    flags = ["--trials=2", "--max-epochs=3", "--final-seeds=1", "--runs=runs", "--name=own", "--no-report"]
    command = [sys.executable, "-m", "study.run", "--space", example.name, "plain", *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    tables = analysis.read(tmp_path / "runs" / "own")
    assert tables.final.groupby("space")["test_score"].count().to_dict() == {"plain": 1, "two_layers": 1}
    command = [sys.executable, "-m", "study.run", "--resume", "runs/own", "--trials", "3", "--no-report"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    assert len(analysis.read(tmp_path / "runs" / "own").trials) == 6
