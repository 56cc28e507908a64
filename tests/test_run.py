"""The command line: its flags, its refusals, what a study prints. Real studies are in test_study.py."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from data_utils.datasets import load
from data_utils.splits import split
from study.progress import Progress, duration, show_end, show_plan
from study.run import main, parser
from tests.test_engine import finish, jobs, make

FLAGS = [
    "--help",
    *("--space", "--dataset", "--data-dir", "--trials", "--max-epochs", "--name", "--runs", "--resume", "--seed"),
    *("--cpus-per-trial", "--gpus-per-trial", "--time-budget", "--final-configs", "--final-seeds", "--address"),
    *("--fp32", "--no-report"),
]


def test_the_flags_are_these_and_hyperparameters_are_none_of_them() -> None:
    found = [option for action in parser()._actions for option in action.option_strings if option.startswith("--")]
    assert found == FLAGS


def test_every_flag_explains_itself_with_its_default() -> None:
    for action in parser()._actions:
        assert action.help
        if action.option_strings[-1] not in ("--help", "--space", "--resume", "--no-report"):
            assert "default" in action.help, action.option_strings


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "No space is given"),
        ("--space resnett", "Did you mean 'resnet'"),
        ("--space resnet --dataset digit", "Did you mean 'digits'"),
        ("--space resnet --trials 0", "--trials is 0"),
        ("--space resnet --trials many", "--trials: invalid int value: 'many'"),
        ("--space resnet --max-epochs 1", "--max-epochs is 1"),
        ("--space resnet --time-budget soon", "'soon' is no time"),
        ("--space resnet --lr 0.1", "unrecognized arguments: --lr 0.1"),
        ("--resume /nowhere", "/nowhere is no run folder"),
        ("--resume /nowhere --dataset mnist --space plain", "--dataset, --space cannot change at a resume"),
    ],
)
def test_bad_input_ends_with_code_2_and_says_why(
    line: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(line.split())
    except SystemExit as exit_:  # argparse
        code = int(exit_.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200)])
def test_times_are_read_in_their_unit(text: str, seconds: float) -> None:
    assert parser().parse_args(["--time-budget", text]).time_budget == seconds


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 s"), (59.4, "59 s"), (65, "1 min 05 s"), (7800, "2 h 10 min")])
def test_durations_are_written_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def console(terminal: bool = False) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=100), out


def test_the_plan_names_trials_rungs_epochs_at_most_and_slots(tmp_path: Path) -> None:
    engine, (screen, out) = make(tmp_path), console()
    digits = load("digits", tmp_path)
    show_plan(engine, digits, split(digits.train, 0), 2, "http://127.0.0.1:8265", screen)
    engine.close()
    text = out.getvalue()
    for expected in (
        "6 trials of each space",
        "at epoch 1 and 3",
        "72 epochs",
        "2, each with 1 CPU",
        "get-auth-token",
    ):
        assert expected in text


def test_a_failed_trial_costs_one_line_with_the_place_of_its_log(tmp_path: Path) -> None:
    engine, (screen, out) = make(tmp_path, trials=1), console()
    with Progress(engine, 1, screen):
        for job in jobs(engine):
            (job.folder / "trial.log").write_text("Traceback ...")
            engine.report(job.key, [{"event": "ended", "state": "failed", "error": "E: [odd] x"}])
    engine.close()
    assert out.getvalue() == f"resnet-0000 failed: E: [odd] x ({tmp_path}/s/trials/resnet-0000/trial.log)\n"


def test_the_live_table_counts_trials_and_names_the_best(tmp_path: Path) -> None:
    engine, (screen, out) = make(tmp_path), console(terminal=True)
    progress = Progress(engine, 1, screen)
    with progress:
        finish(engine)
        progress._show()
    engine.close()
    best = engine.state.runs[engine.state.chosen["resnet"][0]]
    stopped = sum(run.state == "stopped" for run in engine.state.of_kind("trial"))
    assert f"6/6 done, 0 running, {stopped} stopped early, 2/2 final runs" in out.getvalue()
    assert f"{best.score:.4f} ({best.key}, epoch 9)" in out.getvalue()


def test_the_end_says_what_it_cost_and_how_to_go_on(tmp_path: Path) -> None:
    from tests.sample_run import SampleRun

    engine, (screen, out) = make(tmp_path), console()
    finish(engine)
    engine.close()
    spaces = ("resnet", "plain", "densenet_simple")
    SampleRun(spaces=spaces).write(engine.plan.folder)
    show_end(engine, tmp_path / "report.html", screen)
    lines = out.getvalue().splitlines()
    assert [line.split()[1] for line in lines[:4]] == ["space", *spaces]
    assert all(len(line) <= 100 for line in lines[:4])
    assert sum(line.startswith("Verdict") for line in lines) == 1
    for expected in (
        "Verdict  resnet has the highest mean",
        "saved by stopping",
        str(tmp_path / "report.html"),
        "--dataset cifar10",
    ):
        assert expected in out.getvalue()
    assert f"--resume {engine.plan.folder} --trials 12" in out.getvalue()
