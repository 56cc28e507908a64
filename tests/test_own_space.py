"""A space and a network of the user's own, from a file: the README's example, and files that are none."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import analysis
import models
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


def test_other_ranges_for_a_network_of_the_package_need_no_network_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "narrow.py"
    imports = "from dataclasses import replace\nfrom study.spaces import SPACES\n"
    path.write_text(imports + "SPACE = replace(SPACES['resnet'], name='mine')")
    assert find(str(path)).network == SPACES["resnet"].network


@pytest.mark.slow
def test_a_study_of_an_own_space_beside_one_of_the_package(example: Path, tmp_path: Path) -> None:
    flags = ["--trials=2", "--max-epochs=3", "--final-seeds=3", "--runs=runs", "--name=own", "--no-report"]
    command = [sys.executable, "-m", "study.run", "--space", example.name, "plain", *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    tables = analysis.read(tmp_path / "runs" / "own")
    assert tables.final.groupby("space")["test_score"].count().to_dict() == {"plain": 3, "two_layers": 3}
    command = [sys.executable, "-m", "study.run", "--resume", "runs/own", "--trials", "3", "--no-report"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert len(analysis.read(tmp_path / "runs" / "own").trials) == 6
