"""One trial on real digits: it learns, resumes exactly, ends in order on bad luck, and uses every hyperparameter."""

import copy
import errno
import json
import math
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import models
from analysis.events import Event
from data_utils.augmentation import MIXES
from study import test_split
from study.config import Config
from study.job import Job, OpenTest
from study.optimization import SCHEDULES, learning_rate, optimizer, schedule
from study.policy import Policy
from study.sampler import Sampler
from study.spaces import SPACES
from study.spaces.training import CLASS_WEIGHTS, TRAINING
from study.tasks.classification import evaluate
from study.trial import Trial, TrialData, train
from tests.conftest import CPU, full_disk, narrow

SMALL = {"width": 8, "blocks": 1, "batch_size": 32}  # for resnet


def job(folder: Path, space: str = "resnet", *, max_epochs: int = 4, **config: Any) -> Job:
    """A job of the reference setting, made small, with changes."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {**SPACES[space].reference, **SMALL, **config}
    left_out = {parameter.name for parameter in SPACES[space].parameters} - set(SPACES[space].active(chosen))
    chosen = {name: value for name, value in chosen.items() if name not in left_out}
    architecture = tuple(parameter.name for parameter in SPACES[space].architecture)
    return Job("trial", "t", SPACES[space].network, architecture, chosen, 1, max_epochs, (1, 3), folder, 0, fp32=False)


def curve(events: list[Event]) -> list[tuple[float, ...]]:
    """What was learned, without what the clock says."""
    names = ("epoch", "train_loss", "train_score", "val_loss", "val_score", "lr")
    return [tuple(event[name] for name in names) for event in events if event["event"] == "epoch"]


def test_it_learns_the_digits(tmp_path: Path, trial_data: TrialData) -> None:
    events = list(train(job(tmp_path, max_epochs=8, schedule="one_cycle"), trial_data, CPU))
    assert [event["event"] for event in events] == ["started"] + ["epoch"] * 8
    rows = curve(events)
    assert [row[0] for row in rows] == list(range(1, 9))
    assert rows[-1][1] < 0.5 * rows[0][1]
    assert rows[-1][4] > 0.8  # ten classes: chance is 0.1
    assert events[0]["parameters"] == 77858


def test_equal_seeds_give_equal_rows_and_different_seeds_do_not(tmp_path: Path, trial_data: TrialData) -> None:
    curves = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        asked = replace(job(tmp_path / name, max_epochs=2), seed=seed)
        curves.append(curve(list(train(asked, trial_data, CPU))))
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


class Reads(TorchDispatchMode):
    """Counts how often a value of a tensor is read on the host, for which a GPU would have to be waited for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("asked", [{"sgd_lr": 0.01}, {"adam_lr": 0.01}, {"adamw_lr": 0.01}], ids=str)
def test_an_epoch_reads_no_number_of_the_device_before_its_end(
    tmp_path: Path, trial_data: TrialData, asked: dict[str, Any]
) -> None:
    [rate] = asked
    trial = Trial(job(tmp_path, optimizer=rate.removesuffix("_lr"), **asked), trial_data, CPU)
    with Reads() as reads:
        trial._train()
    assert trial.epoch == 0
    assert reads.count == 0  # its means come over as a list, once
    assert trial._optimizer.defaults["fused"]


def test_batch_norm_is_judged_by_statistics_of_its_batches_from_the_first_step_on(
    tmp_path: Path, trial_data: TrialData
) -> None:
    """One batch of all images, and weights that hardly move: trained and judged, the network is the same."""
    asked = job(tmp_path, optimizer="sgd", sgd_lr=1e-6, batch_size=256, momentum_form="none", label_smoothing=0.0)
    trial = Trial(asked, replace(trial_data, validation=trial_data.train), CPU)
    for _ in range(4):
        row = trial.train_epoch()
        assert row["val_loss"] == pytest.approx(row["train_loss"], abs=0.02)


@pytest.mark.parametrize(
    ("stop_after", "images"),
    [
        (3, {}),
        (1, {"augmentation": "cutout", "strength": 0.5, "mix": "mixup", "mix_alpha": 0.5}),
        (3, {"augmentation": "colour", "strength": 0.5, "mix": "cutmix", "mix_alpha": 0.5}),
    ],
    ids=str,
)
def test_a_resumed_trial_goes_on_exactly(
    tmp_path: Path, trial_data: TrialData, stop_after: int, images: dict[str, Any]
) -> None:
    settings: dict[str, Any] = {"optimizer": "sgd", "schedule": "cosine", **images}
    whole = curve(list(train(job(tmp_path / "whole", **settings), trial_data, CPU)))
    asked = job(tmp_path / "cut", **settings)
    first = Trial(asked, trial_data, CPU)
    for _ in range(stop_after):
        first.train_epoch()
    first.save()
    torch.rand(7)  # another trial used the global generator meanwhile
    events = list(train(replace(asked, logged_epochs=stop_after), trial_data, CPU))
    assert events[0]["from_epoch"] == stop_after
    assert curve(events) == whole[stop_after:]


@pytest.mark.parametrize("mix", MIXES)
def test_the_score_of_mixed_images_is_against_the_label_that_weighs_most(
    tmp_path: Path, trial_data: TrialData, mix: str
) -> None:
    """With so small an alpha most batches are nearly unmixed, so the score must rise as it does without."""
    events = list(train(job(tmp_path, mix=mix, mix_alpha=0.1), trial_data, CPU))
    assert events[-1]["train_score"] > 0.5


def test_epochs_that_the_log_missed_come_from_the_checkpoint(tmp_path: Path, trial_data: TrialData) -> None:
    asked = job(tmp_path)
    trial = Trial(asked, trial_data, CPU)
    rows = [trial.train_epoch() for _ in range(3)]
    trial.save()
    events = list(train(replace(asked, logged_epochs=1), trial_data, CPU))
    assert [event["epoch"] for event in events[1:]] == [2, 3, 4]
    assert {key: events[1][key] for key in rows[1]} == rows[1]


@pytest.mark.parametrize(("took", "saved"), [((1.0, 0.001), True), ((1.0,), False), ((0.001, 1.0, 1.0, 1.0), False)])
def test_one_slow_write_skips_no_checkpoint_and_a_slow_disk_does(
    tmp_path: Path, trial_data: TrialData, took: tuple[float, ...], saved: bool
) -> None:
    """Of the last three writes the quickest counts: at 1 s the next one is 20 s later, at 1 ms 20 ms later."""
    trial = Trial(job(tmp_path), trial_data, CPU)
    trial._seconds_to_save.extend(took)
    time.sleep(0.05)
    trial.save_if_cheap()
    assert trial.checkpoint.exists() == saved


def test_a_kill_while_saving_leaves_the_old_checkpoint_whole(tmp_path: Path, trial_data: TrialData) -> None:
    asked = job(tmp_path)
    trial = Trial(asked, trial_data, CPU)
    trial.train_epoch()
    trial.save()
    (tmp_path / "last.tmp").write_bytes(b"half a checkpoint")
    assert Trial(asked, trial_data, CPU).epoch == 1


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 torn", None])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken(
    tmp_path: Path, trial_data: TrialData, damage: bytes | None
) -> None:
    asked = job(tmp_path)
    whole = curve(list(train(job(tmp_path / "whole"), trial_data, CPU)))
    trial = Trial(asked, trial_data, CPU)
    for _ in range(2):
        trial.train_epoch()
        trial.save()
    last = tmp_path / "last.pt"
    last.write_bytes(last.read_bytes()[:-2000] if damage is None else damage)
    events = list(train(replace(asked, logged_epochs=2), trial_data, CPU))
    assert events[0]["from_epoch"] == 1
    assert curve(events) == whole[1:]  # the epoch in the log once more, which the engine knows
    assert f"{last} is damaged and not used" in (tmp_path / "trial.log").read_text()
    for path in (last, tmp_path / "previous.pt"):
        path.write_bytes(b"no checkpoint")
    events = list(train(replace(asked, logged_epochs=2), trial_data, CPU))
    assert events[0]["from_epoch"] == 0
    assert curve(events) == whole


@pytest.mark.parametrize("place", [0.5, -46], ids=str)
def test_a_checkpoint_with_one_byte_changed_is_not_gone_on_from(
    tmp_path: Path, trial_data: TrialData, place: float
) -> None:
    """In the middle of the file, where weights lie, nothing but its checksum tells; near the end is what zip reads."""
    trial = Trial(job(tmp_path), trial_data, CPU)
    for _ in range(2):
        trial.train_epoch()
        trial.save()
    last = tmp_path / "last.pt"
    content = bytearray(last.read_bytes())
    content[int(place * len(content)) if place > 0 else int(place)] ^= 128
    last.write_bytes(content)
    assert Trial(job(tmp_path), trial_data, CPU).epoch == 1
    assert f"{last} is damaged and not used: " in (tmp_path / "trial.log").read_text()


def test_a_node_that_does_not_see_the_run_folder_trains_nothing(tmp_path: Path, trial_data: TrialData) -> None:
    asked = job(tmp_path / "t")
    asked.folder.rmdir()
    [ended] = train(asked, trial_data, CPU)
    assert (ended["state"], ended["error"]) == (
        "no_files",
        f"{asked.folder} on {socket.gethostname()}: No such file or directory",
    )


def test_what_a_network_may_not_read_is_its_own_fault(
    tmp_path: Path, trial_data: TrialData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(**_arguments: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "weights.pt")

    monkeypatch.setattr(models, "build", locked)
    [ended] = train(job(tmp_path), trial_data, CPU)
    assert (ended["state"], ended["error"][:15]) == ("failed", "PermissionError")


def test_a_full_disk_under_a_checkpoint_or_the_weights_says_so_and_leaves_the_old_ones(
    tmp_path: Path, trial_data: TrialData
) -> None:
    asked = replace(job(tmp_path, max_epochs=2), kind="final")
    before = Trial(asked, trial_data, CPU)
    before.train_epoch()
    before.save()
    for epochs in (2, 3):  # the last epoch writes the weights, any other a checkpoint
        with full_disk(50_000):  # bytes
            events = list(train(replace(asked, max_epochs=epochs), trial_data, CPU))
        assert events[-1]["state"] == "cannot_write"
        assert "File too large" in events[-1]["error"]
        assert not (tmp_path / "model.safetensors").exists()
        assert Trial(asked, trial_data, CPU).epoch == 1


def test_a_loss_that_is_not_finite_ends_the_trial_with_its_epoch(tmp_path: Path, trial_data: TrialData) -> None:
    events = list(train(job(tmp_path, space="plain", sgd_lr=1e30, momentum=0.9), trial_data, CPU))
    assert events[-1]["event"] == "ended"
    assert events[-1]["state"] == "diverged"
    assert events[-1]["error"].startswith("training loss is")
    assert events[-1]["error"].endswith("in epoch 1")
    assert curve(events) == []


def test_an_error_ends_the_trial_with_one_line_and_leaves_the_traceback_in_its_log(
    tmp_path: Path, trial_data: TrialData
) -> None:
    events = list(train(job(tmp_path, optimizer="lion"), trial_data, CPU))
    assert events == [{"event": "ended", "state": "failed", "error": "KeyError: 'lion'"}]
    assert "Traceback" in (tmp_path / "trial.log").read_text()


def test_a_hyperparameter_that_nothing_reads_fails_the_trial(tmp_path: Path, trial_data: TrialData) -> None:
    [ended] = train(job(tmp_path, dropout_of_thought=0.5), trial_data, CPU)
    assert ended["state"] == "failed"
    assert "dropout_of_thought" in ended["error"]


def configuration(space: str, index: int) -> dict[str, Any]:
    """Configuration `index` of the random arm, narrow; the first is the reference."""
    sampler = Sampler(SPACES[space], seed=0, max_epochs=27, policy=Policy(random_share=1))
    return narrow(SPACES[space], sampler.suggest(index, trials=51)[1])


@pytest.mark.parametrize("space", SPACES)
def test_configurations_that_a_space_offers_build_and_learn(
    tmp_path: Path, data_for: Callable[[str], TrialData], space: str
) -> None:
    trial_data = data_for(space)
    for index in range(2):
        config = configuration(space, index)
        events = list(train(replace(job(tmp_path / str(index), space, max_epochs=1), config=config), trial_data, CPU))
        assert [event["event"] for event in events] in (["started", "epoch"], ["started", "ended"])
        assert events[-1].get("state") in (None, "diverged")


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES)
def test_twenty_configurations_of_a_space_build_and_take_a_step(
    tmp_path: Path, data_for: Callable[[str], TrialData], space: str
) -> None:
    trial_data = data_for(space)
    one_step = replace(trial_data, train=trial_data.validation)
    for index in range(20):
        config = {**configuration(space, index), "batch_size": 64}
        events = list(train(replace(job(tmp_path / str(index), space, max_epochs=1), config=config), one_step, CPU))
        assert events[-1].get("state") in (None, "diverged"), events[-1]


ADAM = {"optimizer": "adam", "adam_lr": 1e-3}
ADAMW = {"optimizer": "adamw", "adamw_lr": 1e-3}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"optimizer": "sgd"}, ADAM),
        ({"sgd_lr": 0.01}, {"sgd_lr": 0.2}),
        ({"momentum_form": "none"}, {"momentum_form": "classical"}),
        ({"momentum_form": "classical"}, {"momentum_form": "nesterov"}),
        ({"momentum": 0.5}, {"momentum": 0.95}),
        (ADAM, {**ADAM, "adam_lr": 1e-2}),
        (ADAMW, {**ADAMW, "adamw_lr": 1e-2}),
        ({**ADAM, "weight_decay": 0.1}, {**ADAMW, "weight_decay": 0.1}),
        ({"decay": "none"}, {"decay": "weights"}),
        ({"weight_decay": 1e-5}, {"weight_decay": 0.1}),
        ({"batch_size": 32}, {"batch_size": 64}),
        ({"schedule": "constant"}, {"schedule": "step"}),
        ({"schedule": "constant"}, {"schedule": "one_cycle"}),
        ({"warm_up": 0.0}, {"warm_up": 0.5}),
        ({"label_smoothing": 0.0}, {"label_smoothing": 0.2}),
        ({"class_weights": "none"}, {"class_weights": "balanced"}),
        ({"augmentation": "none"}, {"augmentation": "basic", "strength": 0.5}),
        ({"augmentation": "basic", "strength": 0.5}, {"augmentation": "basic", "strength": 1.0}),
        ({"augmentation": "basic", "strength": 0.5}, {"augmentation": "cutout", "strength": 0.5}),
        ({"augmentation": "cutout", "strength": 0.5}, {"augmentation": "colour", "strength": 0.5}),
        ({"mix": "none"}, {"mix": "mixup", "mix_alpha": 0.5}),
        ({"mix": "mixup", "mix_alpha": 0.5}, {"mix": "cutmix", "mix_alpha": 0.5}),
        ({"mix": "mixup", "mix_alpha": 0.2}, {"mix": "mixup", "mix_alpha": 1.0}),
    ],
    ids=lambda change: "-".join(f"{name}={value}" for name, value in change.items()),
)
def test_every_hyperparameter_of_training_changes_it(
    tmp_path: Path, trial_data: TrialData, before: dict[str, Any], after: dict[str, Any]
) -> None:
    losses = []
    for name, change in (("before", before), ("after", after)):
        events = list(train(job(tmp_path / name, max_epochs=1, **change), trial_data, CPU))
        losses.append(events[-1]["train_loss"])
    assert losses[0] != losses[1]


def test_the_list_of_changes_above_names_every_hyperparameter() -> None:
    mark = next(m for m in test_every_hyperparameter_of_training_changes_it.pytestmark if m.name == "parametrize")
    named = {name for before, after in mark.args[1] for name in {**before, **after}}
    shared = {parameter.name for parameter in (*TRAINING, CLASS_WEIGHTS)}
    assert named == shared
    own = {parameter.name for space in SPACES.values() for parameter in space.training} - shared
    assert own == {"loss"}  # of restoration: tests/test_restoration.py


def rates(steps: int, **config: Any) -> list[float]:
    """The learning rate of each step, for a peak of 0.1."""
    chosen = Config({**SPACES["resnet"].reference, "sgd_lr": 0.1, **config})
    made = optimizer(chosen, torch.nn.Linear(1, 1))
    planned, found = schedule(chosen, made, steps=steps), []
    for _ in range(steps):
        found.append(learning_rate(made))
        made.step()
        planned.step()
    return found


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_stay_within_the_peak_and_only_constant_does_not_fall(name: str) -> None:
    found = rates(100, schedule=name)
    assert max(found) <= 0.1 * (1 + 1e-12)
    assert found[99] == pytest.approx(0.1 if name == "constant" else 0.0, abs=1.001e-3)
    assert (found[0] == 0.1) == (name != "one_cycle")


def test_steps_fall_to_a_tenth_after_half_and_after_three_quarters() -> None:
    assert rates(8, schedule="step") == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2)


def test_a_warm_up_rises_to_the_schedule_in_equal_steps() -> None:
    found = rates(20, schedule="constant", warm_up=0.2)
    assert found == pytest.approx([0.025, 0.05, 0.075] + [0.1] * 17)
    cosine = rates(20, schedule="cosine", warm_up=0.2)
    assert cosine[3:] == rates(20, schedule="cosine")[3:]
    assert all(rate > 0 for rate in cosine)


@pytest.mark.parametrize(
    ("name", "kind", "more"),
    [
        ("adam", torch.optim.Adam, {}),
        ("adamw", torch.optim.AdamW, {}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ],
)
def test_an_optimizer_steps_as_torchs_own_with_the_settings_of_its_name(
    name: str, kind: Callable[..., torch.optim.Optimizer], more: dict[str, Any]
) -> None:
    config = {"optimizer": name, f"{name}_lr": 0.01, "decay": "weights", "weight_decay": 0.03}
    config |= {"momentum_form": "nesterov", "momentum": 0.9} if name == "sgd" else {}
    ours = torch.nn.Linear(5, 3)
    theirs = copy.deepcopy(ours)
    made = optimizer(Config(config), ours)
    own = kind(theirs.parameters(), lr=0.01, weight_decay=0.03, fused=True, **more)
    for step in range(5):
        if step == 3:  # it goes on from a checkpoint
            state, made = made.state_dict(), optimizer(Config(config), ours)
            made.load_state_dict(state)
        for network, steps in ((ours, made), (theirs, own)):
            steps.zero_grad(set_to_none=True)
            network(torch.full((2, 5), step + 1.0)).square().sum().backward()
            steps.step()
        assert torch.equal(ours.weight, theirs.weight), step
    assert type(made).__name__ == kind.__name__


@pytest.mark.slow
def test_a_slot_does_without_torchs_compiler(tmp_path: Path) -> None:
    """It takes a worker more than a second to import; optimizers and what counts operations would do so unasked."""
    code = """
import sys
from pathlib import Path
from data_utils.datasets import load
from data_utils.splits import split
from study.slot import Slot
from tests.test_trial import job
digits = load("digits", Path("unused"))
data = split(digits.train, seed=0)
slot = Slot(data, data.channel_statistics(), lambda: digits.test, classes=10, cpus=1)
slot.begin(job(Path(sys.argv[1]), max_epochs=2))
facts = []
while more := slot.facts():
    facts += more
print(*(fact["event"] for fact in facts))
print(*(name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["started epoch epoch", ""]


@pytest.mark.parametrize("form", ["none", "classical", "nesterov"])
def test_sgd_takes_the_momentum_of_its_form(form: str) -> None:
    momentum = {} if form == "none" else {"momentum": 0.7}
    config = {"optimizer": "sgd", "sgd_lr": 0.1, "momentum_form": form, **momentum, "decay": "none"}
    group = optimizer(Config(config), torch.nn.Linear(1, 1)).param_groups[0]
    expected = (0.0 if form == "none" else 0.7, form == "nesterov", 0.0)
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == expected


def test_the_mean_loss_is_over_every_image_and_the_score_is_accuracy(trial_data: TrialData) -> None:
    class Constant(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([3.0] + [0.0] * 9).expand(len(images), 10)

    loss, score = evaluate(Constant(), trial_data.validation, torch.float32)
    share = (trial_data.validation.labels == 0).float().mean().item()
    log_sum = math.log(math.exp(3) + 9)
    assert score == pytest.approx(share)
    assert loss == pytest.approx(log_sum - 3 * share, rel=1e-5)


def test_a_final_run_keeps_a_model_that_gives_the_same_answers(tmp_path: Path, trial_data: TrialData) -> None:
    asked = replace(job(tmp_path / "t-seed1", max_epochs=2), kind="final")
    events = list(train(asked, trial_data, CPU))
    network = models.load_network(asked.folder, asked.network)
    assert evaluate(network, trial_data.validation, torch.float32)[1] == events[-1]["val_score"]
    assert json.loads((asked.folder / "model.json").read_text())["width"] == 8
    [tested] = test_split.examine(
        OpenTest(("t-seed1",), (asked.network,), tmp_path, fp32=False), trial_data.validation, CPU
    )
    assert tested["test_score"] == pytest.approx(events[-1]["val_score"])
    assert tested["test_loss"] == pytest.approx(events[-1]["val_loss"], rel=1e-4)
    assert tested["images"] == 64


def test_a_checkpoint_of_another_configuration_is_not_gone_on_from(tmp_path: Path, trial_data: TrialData) -> None:
    """A log that lost its end may give a name, and so a folder, to another configuration."""
    cases: list[tuple[dict[str, Any], int]] = [({}, 0), ({}, 1), ({"batch_size": 64}, 0)]
    for changes, expected in cases:
        started, first = islice(train(job(tmp_path, max_epochs=3, **changes), trial_data, CPU), 2)
        assert (started["from_epoch"], first["epoch"]) == (expected, 1)
