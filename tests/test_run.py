"""The command line: its flags, its refusals, what a study prints. Real studies are in test_study.py."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from data_utils.datasets import load
from data_utils.images import Skipped
from data_utils.splits import split
from study import launch
from study.engine import Engine
from study.job import Job
from study.progress import Loading, Progress, duration, show_end, show_plan
from study.run import main, parser
from tests.test_engine import PLACE, SHORT, finish, jobs, make, row, slots, take, with_slots, work

FLAGS = [
    "--help",
    *(
        "--space",
        "--experiment",
        "--scale",
        "--list-experiments",
        "--dataset",
        "--data-dir",
        "--image-size",
        "--test-fraction",
        "--train-images",
        "--trials",
        "--max-epochs",
        "--name",
        "--runs",
        "--resume",
        "--seed",
    ),
    *("--cpus-per-trial", "--gpus-per-trial", "--epoch-budget", "--gpu-budget", "--time-budget", "--epoch-limit"),
    *("--final-configs", "--final-seeds", "--address", "--storage", "--optuna-storage", "--mlflow"),
    *("--resources", "--tensorboard", "--fp32", "--no-stopping", "--warm-start", "--plan", "--no-report"),
]


def test_the_flags_are_these_and_hyperparameters_are_none_of_them() -> None:
    found = [option for action in parser()._actions for option in action.option_strings if option.startswith("--")]
    assert found == FLAGS


def test_every_flag_explains_itself_with_its_default() -> None:
    for action in parser()._actions:
        assert action.help
        if action.option_strings[-1] not in ("--help", "--space", "--resume", "--plan", "--no-report"):
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
        ("--space resnet --gpus-per-trial many", "'many' is neither a number of GPUs, such as 0.25, nor auto"),
        ("--space resnet --gpus-per-trial 1.5", "--gpus-per-trial is 1.5"),
        ("--space resnet --resources fast", "'fast' is no resource; give its name and amount, such as big_disk=1"),
        ("--space resnet --resources fast=0", "--resources is fast=0, but must be up to 1, or a whole number"),
        ("--space resnet --resources fast=1.5", "--resources is fast=1.5, but must be up to 1, or a whole number"),
        ("--space resnet --resources GPU=2", "--resources names GPU, which has a flag: --gpus-per-trial"),
        ("--space resnet --address ray://host:10001", "a Ray client, which cannot place trials"),
        ("--space resnet --storage nonsense://x", "--storage is nonsense://x, but no file can be kept there"),
        ("--space resnet --optuna-storage nonsense", "--optuna-storage nonsense cannot be used"),
        ("--space resnet --time-budget soon", "'soon' is no time"),
        ("--space resnet --image-size big", "'big' is no size; give pixels"),
        ("--space resnet --image-size 4x64", "--image-size is 4, but must be at least 8"),
        ("--space resnet --test-fraction 1", "--test-fraction is 1, but must lie between 0 and 1"),
        ("--space resnet --dataset mnist --test-fraction 0.1", "mnist defines its own test split"),
        (
            "--space resnet --data-dir photos",
            "--data-dir is photos, but is of no use with digits, which",
        ),
        ("--experiment dehazing --scale small --data-dir photos", "but is of no use with hazy, which needs no files"),
        ("--space resnet --dataset folder", "--data-dir is data, but that does not exist"),
        ("--space resnet --dataset pairs", "resnet answer with a class. Give a space of restoration"),
        (
            "--space dehaze",
            "--dataset digits has classes as answers, but dehaze answer with an image. Give --dataset hazy",
        ),
        ("--space dehaze resnet --dataset hazy", "--dataset hazy has images as answers, but resnet answer"),
        ("--resume /nowhere --image-size 32 --test-fraction 0.1", "--image-size, --test-fraction cannot change"),
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


@pytest.mark.parametrize(("text", "size"), [("64", (64, 64)), ("100x200", (100, 200))])
def test_sizes_are_height_and_width(text: str, size: tuple[int, int]) -> None:
    assert parser().parse_args(["--image-size", text]).image_size == size


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 s"), (59.4, "59 s"), (65, "1 min 05 s"), (7800, "2 h 10 min")])
def test_durations_are_written_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def console(terminal: bool = False) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=100), out


def test_the_plan_names_trials_rungs_epochs_at_most_and_slots(tmp_path: Path) -> None:
    engine, (screen, out) = make(tmp_path), console()
    digits = load("digits", tmp_path)
    show_plan(engine, digits, split(digits.train, 0), "http://127.0.0.1:8265", "", screen)
    engine.close()
    text = out.getvalue()
    for expected in (
        "6 trials of each space",
        "at epoch 1, 2, 4, 8 1 in 2 goes on, the others pause",
        "72 epochs",
        "2, each with 1 CPU",
        "get-auth-token",
        " to test (20 % drawn by class with seed 0)",
    ):
        assert expected in text


def test_the_plan_names_the_files_that_are_left_out(tmp_path: Path) -> None:
    engine, (screen, out) = make(tmp_path), console()
    digits = replace(load("digits", tmp_path), skipped=tuple(Skipped(f"{at}.jpg", "torn [1]") for at in range(4)))
    show_plan(engine, digits, split(digits.train, 0), None, "", screen)
    engine.close()
    expected = f"4 files, all named in {engine.plan.folder}/study.json: 0.jpg (torn [1]), 1.jpg (torn [1]), 2.jpg (torn"
    assert expected in out.getvalue()


def test_decoding_is_shown_as_a_bar_or_in_few_lines() -> None:
    (screen, out), (terminal, drawn) = console(), console(terminal=True)
    for where in (screen, terminal):
        with Loading(where) as loading:
            for done in range(0, 6400, 64):
                loading("Decoding images", done, 6400)
    assert out.getvalue() == "Decoding images ... 0 of 6,400\n"
    assert "6336/6400" in drawn.getvalue()
    with Loading(screen):
        pass
    assert out.getvalue().count("\n") == 1


def test_a_failed_trial_costs_one_line_with_the_place_of_its_log(tmp_path: Path) -> None:
    engine, (screen, out) = make(tmp_path, trials=1), console()
    with Progress(engine, screen):
        for job in jobs(engine):
            (job.folder / "trial.log").write_text("Traceback ...")
            engine.report(job.key, [{"event": "ended", "state": "failed", "error": "E: [odd] x"}])
    engine.close()
    assert out.getvalue() == f"resnet-0000 failed: E: [odd] x ({tmp_path}/s/trials/resnet-0000/trial.log)\n"


def test_that_fewer_run_at_once_is_said_when_it_happens(tmp_path: Path) -> None:
    engine, (screen, out) = with_slots(tmp_path, 4, 2, 1), console()
    with Progress(engine, screen):
        job = take(engine, 4)[2]
        engine.report(job.key, [SHORT])
    engine.close()
    assert out.getvalue().startswith(f"{job.key} interrupted: out of memory with 4 at once: OutOfMemoryError: CUDA")
    assert "From now on 2 trials share a machine; the trial goes on from its checkpoint." in out.getvalue()
    again, (screen, out) = with_slots(tmp_path, 4, 2, 1), console()
    digits = load("digits", tmp_path)
    show_plan(again, digits, split(digits.train, 0), None, "", screen)
    again.close()
    assert "2, each with 2 CPU; 2 trials share a machine: fewer since memory ran out" in out.getvalue()


def test_the_live_table_counts_trials_and_names_the_best(tmp_path: Path) -> None:
    engine, (screen, out) = make(tmp_path), console(terminal=True)
    progress = Progress(engine, screen)
    with progress:
        finish(engine)
        progress._show()
    engine.close()
    best = engine.state.runs[engine.state.chosen["resnet"][0]]
    stopped = sum(run.state == "stopped" for run in engine.state.of_kind("trial"))
    assert f"6/6 done, 0 running, {stopped} stopped early, 2/2 final runs" in out.getvalue()
    assert f"{best.score:.4f} ({best.key}, epoch 9)" in out.getvalue()


def test_final_runs_are_counted_of_the_winner_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_engine.score", lambda job, epoch: epoch / 100 + ("0000" not in job.key) / 2)
    engine = make(tmp_path, trials=1)
    finish(engine)
    engine.close()
    again = make(tmp_path, trials=6)
    again.open(slots(2), ["test"], trials=6)
    progress = Progress(again, console()[0])
    assert "2/2 final runs" in progress._counts("resnet")
    finish(again)
    assert again.state.chosen["resnet"] != ("resnet-0000",)
    assert len(again.state.of_kind("final")) == 4
    assert "2/2 final runs" in progress._counts("resnet")
    again.close()


@pytest.mark.parametrize("state", ["diverged", "failed"])
def test_a_trial_that_diverged_or_failed_is_never_the_best(state: str, tmp_path: Path) -> None:
    engine = make(tmp_path)
    progress = Progress(engine, console()[0])
    first, second = take_some(engine, 2)
    engine.report(first.key, [row(1, 0.9)])
    engine.report(second.key, [row(1, 0.3)])
    assert progress._best("resnet") == f"0.9000 ({first.key}, epoch 1)"
    engine.report(first.key, [{"event": "ended", "state": state, "error": "the loss is not finite"}])
    assert progress._best("resnet") == f"0.3000 ({second.key}, epoch 1)"
    engine.close()


def take_some(engine: Engine, number: int) -> list[Job]:
    """Take so many of the jobs that are there, and start them."""
    taken = [job for job, _ in zip(jobs(engine), range(number), strict=False) if isinstance(job, Job)]
    for job in taken:
        engine.report(job.key, [{"event": "started", **PLACE}])
    return taken


def test_the_report_is_announced_before_it_is_written(tmp_path: Path) -> None:
    from tests.sample_run import SampleRun

    screen, out = console()
    page = launch._write_report(SampleRun(trials=0).write(tmp_path / "run"), screen)
    assert out.getvalue() == "Writing the report ...\n"
    assert page is not None
    assert page.is_file()


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
        f" PASS: python -m analysis.audit {engine.plan.folder}",
        "saved by stopping",
        str(tmp_path / "report.html"),
        "--dataset cifar10",
    ):
        assert expected in out.getvalue()
    assert f"--resume {engine.plan.folder} --trials 12" in out.getvalue()


def test_the_end_says_whose_trials_all_failed(tmp_path: Path) -> None:
    from tests.sample_run import SampleRun

    engine, (screen, out) = make(tmp_path, ("resnet", "plain"), trials=2, final_seeds=1), console()
    for job in jobs(engine):
        if isinstance(job, Job) and job.key.startswith("plain"):
            engine.report(job.key, [{"event": "ended", "state": "failed", "error": f"E: {job.key}"}])
        else:
            work(engine, job)
    engine.close()
    SampleRun(spaces=("resnet", "plain")).write(engine.plan.folder)
    show_end(engine, None, screen)
    assert "The study failed: every trial of plain failed; trial.log in their folders says why" in out.getvalue()
