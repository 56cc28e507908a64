"""The layout's rules: who imports whom, what a worker and the driver load, and a README that tells the truth."""

import ast
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("study", "models", "data_utils", "analysis")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Top-level names that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_keep_to_the_layout(path: Path) -> None:
    package, names = path.relative_to(ROOT).parts[0], imported(path)
    if package != "study":
        assert names & set(PACKAGES) <= {package}
    if path not in (ROOT / "study" / "tune.py", ROOT / "study" / "simulation" / "ray_pair.py"):
        assert "ray" not in names
    if package == "analysis":
        assert not names & {"torch", "torchvision", "ray", "optuna", "sklearn"}


def loaded(module: str, *watched: str) -> set[str]:
    """Which of `watched` a fresh Python has loaded after importing `module`."""
    code = f"import {module}, sys; print(*set(sys.modules) & {set(watched)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


@pytest.mark.slow
def test_a_slot_loads_nothing_that_training_does_not_need() -> None:
    assert loaded("study.slot", "torch", "optuna", "sklearn", "pandas", "ray", "torchvision", "matplotlib") == {"torch"}


@pytest.mark.slow
def test_the_driver_needs_no_torch_and_draws_nothing_before_the_end() -> None:
    assert loaded("study.launch, study.engine, study.tune", "ray", "torch", "matplotlib", "seaborn") == {"ray"}


@pytest.mark.slow
def test_bad_input_is_answered_without_loading_ray_or_torch() -> None:
    assert loaded("study.run", "ray", "torch", "pandas", "sklearn") == set()


def test_a_wheel_holds_every_file_of_the_packages() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for name in tracked():
        package, _, inside = name.partition("/")
        if package in PACKAGES and not name.endswith(".py"):
            assert any(fnmatch(inside, pattern) for pattern in data[package]), name


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, cwd=ROOT)
    return [name for name in done.stdout.splitlines() if (ROOT / name).exists()]


def tree_of_readme() -> dict[str, str]:
    """Path to description of every line of the README's tree."""
    block = re.search(r"## The tree\n.*?```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    found, folder = {}, ""
    for line in block[1].splitlines():
        name, _, description = line.strip().partition("  ")
        if not line.startswith(" "):
            folder = name if name.endswith("/") else ""
        path = name if not line.startswith(" ") else folder + name
        found[path] = description.strip()
    return found


def test_the_tree_in_the_readme_is_the_tree() -> None:
    lines = tree_of_readme()
    files = {name for name in lines if not name.endswith("/")}
    assert files == {name for name in tracked() if not name.endswith("/__init__.py") or name in files}
    assert all(lines.values()), [name for name, description in lines.items() if not description]


def test_ci_runs_the_readmes_test_command() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 2
    assert blocks[1].strip() in (ROOT / ".ci" / "run").read_text()


def test_no_file_names_a_registry_or_a_machine() -> None:
    """Addresses in pins would tie the project to one machine's network."""
    pins = (ROOT / "constraints.txt").read_text()
    assert "://" not in pins
    assert "file:" not in pins
    assert all(
        re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+(\s*;.*)?", line) for line in pins.splitlines() if line[0] != "#"
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_stay_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
            assert node.end_lineno - node.lineno < 60, f"{node.name} in line {node.lineno}"
