"""Random faults on a running study, and what they cost it.

    python -m benchmarks.faults [--faults 100] [--seed 0]

A Ray cluster of a head and two worker nodes on this machine runs a study of tiny trials (some 0.7 s an epoch, mostly
asleep) in a process of its own. One fault after the other strikes it; between two of them it must train an epoch. At
the end the study is left to finish, and its log is held against what a study without faults would have written: every
trial once and ended, its epochs 1 to n once each, seeds and configurations as planned, the decisions those of a fresh
ASHA and a fresh sampler fed with the same log. Printed is a table of kinds with what went wrong after
faults of that kind.

"Epochs repeated" are those that a trial had in the log when it was started anew from a checkpoint before them. A trial
whose own model raised, diverged or found no memory when alone has ended as it should and is not lost. Without the right
to mount, or to limit the memory of a process, kinds that need it are left out, and named.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from resource import RLIMIT_FSIZE, prlimit
from typing import Any, Final

from analysis.events import BrokenLogError, Event, read_events
from study.asha import Asha, Decision
from study.plan import Plan, read_study
from study.sampler import Sampler, seed_of
from study.spaces import find

EPOCHS: Final = 9  # full length
PATIENCE: Final = 600.0  # seconds until a fault must have shown its effect
MEMORY: Final = 64 * 2**20  # bytes that a caged worker may take beside those that it has

SPACE: Final = '''
"""A tiny network that does what is written into a file with its process id: raise, hang, and so on."""
import ctypes, os, time
from dataclasses import replace
from pathlib import Path
import torch
from optuna.distributions import CategoricalDistribution
from torch import nn
from study.space import Parameter
from study.spaces import SPACES

def fail(): raise RuntimeError("injected")
ORDERS = Path({orders!r})
ACTS = {{
    "raise": fail,
    "hang": lambda: time.sleep(1e6),
    "allocate": lambda: torch.empty(2**58),
    "grow": lambda: [bytearray(os.urandom(2**20)) for _ in range(10_000)],
    "crash": lambda: ctypes.string_at(0),
    "nan": lambda: None,
}}

class Tiny(nn.Module):
    def __init__(self, pixels, classes, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, classes))
        self.factor = 1.0

    def forward(self, images):
        order = ORDERS / str(os.getpid())
        if self.training:
            time.sleep(0.02)
            if order.exists():
                kind = order.read_text()
                order.unlink()
                self.factor = float("nan") if kind == "nan" else 1.0
                ACTS[kind]()
        return self.layers(images) * self.factor

def tiny(*, in_channels, num_classes, image_size, width):
    return Tiny(in_channels * image_size[0] * image_size[1], num_classes, width)

WIDTH = Parameter("width", CategoricalDistribution((8, 16, 32)), "scientific")
MLP = SPACES["mlp"]
training = tuple(p for p in MLP.training if p.name != "batch_size")
BATCH = Parameter("batch_size", CategoricalDistribution((32, 48)), "nuisance")
reference = {{p.name: MLP.reference[p.name] for p in training if p.name in MLP.reference}}
SPACE = replace(MLP, name="tiny", network="tiny", architecture=(WIDTH,), training=(BATCH, *training),
                reference={{"width": 16, "batch_size": 32, **reference}})
'''
# A driver whose clock is a day early, right, or a day late, by turns of two seconds.
JUMPING_CLOCK: Final = """
import runpy, sys, time
real = time.time
time.time = lambda: real() + 86400 * (int(time.monotonic() / 2) % 3 - 1)
sys.argv[0] = "study.run"
runpy.run_module("study.run", run_name="__main__", alter_sys=True)
"""


class NotSeenError(RuntimeError):
    """A fault did not show the effect it must have, or a driver did not end as it must."""


@dataclass
class Injected:
    """A fault that struck: its kind, and how many events were in the log then."""

    kind: str
    position: int


@dataclass
class Stage:
    """The cluster, the place of the study, and the driver that runs it now.

    `limit` is the study's --epoch-limit in seconds, `margin` how many trials a driver has left when it is started.
    """

    cluster: Any
    base: Path
    mounted: bool
    cage: Path | None
    random: random.Random
    limit: int
    margin: int
    folder: Path = field(init=False)
    driver: subprocess.Popen[bytes] | None = None
    injected: list[Injected] = field(default_factory=list)
    jumping_clock: bool = False
    trials: int = 0  # that the study was last asked for; the log, when it is damaged, may not know

    def __post_init__(self) -> None:
        self.folder = self.base / "disk" / "study"
        (self.base / "orders").mkdir()
        (self.base / "tiny.py").write_text(SPACE.format(orders=str(self.base / "orders")))

    # The driver

    def start(self) -> None:
        """Begin or resume the study; it always has some trials left."""
        known = sum(event["event"] == "suggested" for event in self.events())
        self.trials = max(self.trials, known + self.margin)
        trials = ["--trials", str(self.trials)]
        if self.folder.exists():
            what = ["--resume", str(self.folder)]
        else:
            what = ["--space", str(self.base / "tiny.py"), "--runs", str(self.folder.parent), "--name", "study"]
            trials += ["--max-epochs", str(EPOCHS), "--final-seeds", "1"]
        self.driver = self._run([*what, *trials], self.base / "driver.txt")
        self.jumping_clock = False

    def _run(self, arguments: list[str], out: Path) -> subprocess.Popen[bytes]:
        start = ["-c", JUMPING_CLOCK] if self.jumping_clock else ["-m", "study.run"]
        limits = ["--epoch-limit", f"{self.limit}s", "--cpus-per-trial", "1", "--no-report"]
        command = [sys.executable, *start, "--address", self.cluster.address, *limits, *arguments]
        with out.open("wb") as file:
            return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)

    def end_of_driver(self, code: int, said: str) -> None:
        """Wait until the driver ends by itself, with this exit code and these words."""
        assert self.driver is not None
        found, out = self.driver.wait(timeout=2 * PATIENCE), (self.base / "driver.txt").read_text()
        if found != code or said not in out:
            raise NotSeenError(f"exit code {found}, not {code}, or without {said!r}: {out[-2000:]}")
        self.driver = None

    def kill_driver(self) -> None:
        assert self.driver is not None
        self.driver.kill()
        self.driver.wait()
        self.driver = None

    def refused(self, said: str) -> None:
        """Start another driver on the study, which must refuse with these words and touch nothing."""
        found = self._run(["--resume", str(self.folder)], self.base / "other.txt").wait(timeout=PATIENCE)
        out = (self.base / "other.txt").read_text()
        if self.driver is not None and self.driver.poll() is not None:
            raise ProcessLookupError("the first driver has ended meanwhile")
        if found not in (1, 2) or said not in out:
            raise NotSeenError(f"exit code {found}, or without {said!r}: {out[-2000:]}")

    # The log

    def events(self) -> list[Event]:
        try:
            return read_events(self.folder / "events.jsonl")[0]
        except BrokenLogError:  # the moment between a line in the log and in its copy
            time.sleep(0.2)
            return read_events(self.folder / "events.jsonl")[0]

    def wait_for(self, seen: Callable[[list[Event]], Any], since: int, what: str) -> None:
        """Wait until the events after number `since` satisfy `seen`. A study that has finished gets more trials."""
        deadline = time.monotonic() + PATIENCE
        while not seen(self.events()[since:]):
            if self.driver is not None and self.driver.poll() is not None:
                self.end_of_driver(0, "Verdict")
                self.start()
            if time.monotonic() > deadline:
                printed = (self.base / "driver.txt").read_text()[-2000:]
                raise NotSeenError(f"{what}: not seen in {PATIENCE:.0f} s; last: {self.events()[-3:]}; {printed}")
            time.sleep(0.1)

    def wait_for_work(self) -> None:
        """Wait until the study has trained an epoch since now."""
        if self.driver is None:
            self.start()
        self.wait_for(lambda events: any(event["event"] == "epoch" for event in events), len(self.events()), "an epoch")

    def victim(self) -> tuple[str, int]:
        """A running trial, not the reference setting, that has trained an epoch where it runs; its worker's process."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            running: dict[str, int] = {}
            working: set[str] = set()
            for event in self.events():
                key = event.get("trial", "")
                if event["event"] == "started" and not key.endswith("-0000"):
                    running[key] = event["worker"]
                elif event["event"] == "epoch" and event["epoch"] < EPOCHS - 1:
                    working.add(key)
                elif event["event"] in ("ended", "epoch"):
                    running.pop(key, None)
                    working.discard(key)
                elif event["event"] == "study_opened":
                    running.clear()
                    working.clear()
            found = [(key, worker) for key, worker in running.items() if key in working]
            if found:
                return self.random.choice(found)
            self.wait_for_work()
        raise NotSeenError("no trial runs")

    def order(self, kind: str) -> str:
        """Have a running trial do something; return its name once its worker has read the order."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            trial, worker = self.victim()
            path = self.base / "orders" / str(worker)
            path.with_suffix(".new").write_text(kind)
            path.with_suffix(".new").rename(path)
            for _ in range(40):
                time.sleep(0.05)
                if not path.exists():
                    return trial
            path.unlink(missing_ok=True)
        raise NotSeenError(f"nobody obeyed: {kind}")


# Faults. Those on a running study return what must then be seen in the log.

Seen = Callable[[Event], bool]


def _error(begins: str) -> Seen:
    return lambda event: event["event"] in ("ended", "final_ended") and (event["error"] or "").startswith(begins)


def kill_worker(stage: Stage) -> Seen:
    """SIGKILL of a worker."""
    os.kill(stage.victim()[1], signal.SIGKILL)
    return _error("worker lost")


def crash_worker(stage: Stage) -> Seen:
    """A model that takes its process along."""
    stage.order("crash")
    return _error("worker lost")


def lose_node(stage: Stage) -> Seen:
    """A node goes with its workers, another comes."""
    parent = int(Path(f"/proc/{stage.victim()[1]}/stat").read_text().rpartition(")")[2].split()[1])
    nodes = {node.all_processes["raylet"][0].process.pid: node for node in stage.cluster.worker_nodes}
    node = nodes[parent]
    cpus = node.get_resource_and_label_spec().num_cpus
    stage.cluster.remove_node(node, allow_graceful=False)
    stage.cluster.add_node(num_cpus=cpus)
    return _error("node lost")


def raise_error(stage: Stage) -> Seen:
    """A model that raises."""
    stage.order("raise")
    return _error("RuntimeError: injected")


def diverge(stage: Stage) -> Seen:
    """A loss that is not a number."""
    stage.order("nan")
    return lambda event: event["event"] == "ended" and event["state"] == "diverged"


def hang(stage: Stage) -> Seen:
    """A model that never returns."""
    stage.order("hang")
    return _error("hung")


def stop_worker(stage: Stage) -> Seen:
    """SIGSTOP of a worker."""
    os.kill(stage.victim()[1], signal.SIGSTOP)
    return _error("hung")


def find_no_memory(stage: Stage) -> Seen:
    """An allocation that is refused."""
    stage.order("allocate")
    return _error("out of memory")


def grow(stage: Stage) -> Seen:
    """A worker that the kernel kills because it outgrew its memory."""
    _, worker = stage.victim()
    assert stage.cage is not None
    (stage.cage / "cgroup.procs").write_text(str(worker))
    order = stage.base / "orders" / str(worker)
    order.with_suffix(".new").write_text("grow")
    order.with_suffix(".new").rename(order)
    return lambda event: _error("out of memory")(event) and "the kernel" in event["error"]


def damage_checkpoint(stage: Stage) -> Seen:
    """The last checkpoint of a trial is damaged, and its worker dies."""
    trial, worker = stage.victim()
    os.kill(worker, signal.SIGKILL)
    with suppress(FileNotFoundError):  # the worker was faster, and the trial is done
        path = stage.folder / "trials" / trial / "last.pt"
        content = path.read_bytes()
        middle = len(content) // 2
        changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes(stage.random.choice([b"", content[:middle], bytes(len(content)), changed]))
    return _error("worker lost")


def second_driver(stage: Stage) -> Seen:
    """Another driver is started on the folder."""
    stage.refused("is being run by another process")
    return lambda event: event["event"] == "epoch"


RUNNING: Final[dict[str, tuple[int, Callable[[Stage], Seen]]]] = {
    "worker killed": (16, kill_worker),
    "worker crashed": (6, crash_worker),
    "node lost": (8, lose_node),
    "model raises": (8, raise_error),
    "loss not finite": (8, diverge),
    "trial hangs": (3, hang),
    "worker stopped": (2, stop_worker),
    "allocation refused": (4, find_no_memory),
    "killed by the kernel for memory": (3, grow),
    "checkpoint damaged, worker killed": (6, damage_checkpoint),
    "second driver": (4, second_driver),
}


# Faults that end the driver, or strike while none runs.


def kill_driver(stage: Stage) -> None:
    """SIGKILL of the driver."""
    stage.kill_driver()


def fill_log(stage: Stage) -> None:
    """The log cannot grow: no file of the driver can, beyond the log's size."""
    assert stage.driver is not None
    size = (stage.folder / "events.jsonl").stat().st_size + stage.random.randrange(300)
    prlimit(stage.driver.pid, RLIMIT_FSIZE, (size, size))
    stage.end_of_driver(1, "File too large")


def _fill(ballast: Path) -> None:
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def fill_disk(stage: Stage) -> None:
    """The disk is full when a checkpoint is written, until the driver has ended; no report can be written either."""
    ballast = stage.folder.parent / "ballast"
    _fill(ballast)
    assert stage.driver is not None
    while stage.driver.wait(timeout=2 * PATIENCE) == 0:  # it was near its end, and its own checkpoints made room
        ballast.unlink()
        stage.start()
        stage.wait_for_work()
        _fill(ballast)
    stage.end_of_driver(1, "No space left on device")
    report = [sys.executable, "-m", "analysis.report", str(stage.folder)]
    done = subprocess.run(report, capture_output=True, text=True, check=False)
    if done.returncode != 1 or "The report could not be written" not in done.stderr:
        raise NotSeenError(f"a report on a full disk: {done}")
    ballast.unlink()


STOPS: Final[dict[str, tuple[int, Callable[[Stage], None]]]] = {
    "driver killed": (9, kill_driver),
    "disk full: log": (3, fill_log),
    "disk full: checkpoint, report": (3, fill_disk),
}


def _change_log(change: Callable[[list[bytes], int], list[bytes]]) -> Callable[[Stage], None]:
    def changed(stage: Stage) -> None:
        path = stage.folder / "events.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(change(lines, stage.random.randrange(1, len(lines)))))

    return changed


def move(stage: Stage) -> None:
    """The folder is moved."""
    there = stage.folder.with_name(f"study-{len(stage.injected)}")
    stage.folder = stage.folder.rename(there)


def forbid_writing(stage: Stage) -> None:
    """The folder is read-only, so a driver must refuse; then it can be written again."""
    disk = str(stage.folder.parent)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    stage.refused("Read-only file system")
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


def let_clock_jump(stage: Stage) -> None:
    """The clock of the next driver jumps to and fro."""
    stage.jumping_clock = True


STOPPED: Final[dict[str, tuple[int, Callable[[Stage], None]]]] = {
    "log line garbled": (4, _change_log(lambda lines, at: [*lines[:at], os.urandom(40) + b"\n", *lines[at + 1 :]])),
    "log line doubled": (4, _change_log(lambda lines, at: [*lines[:at], lines[at - 1], *lines[at:]])),
    "log line cut": (
        4,
        _change_log(lambda lines, at: [*lines[:at], lines[at][: len(lines[at]) // 2], *lines[at + 1 :]]),
    ),
    "log cut off": (2, _change_log(lambda lines, at: [*lines[:at], lines[at][:5]])),
    "folder moved": (3, move),
    "folder read-only": (2, forbid_writing),
    "clock jumps": (3, let_clock_jump),
}
NEED_MOUNT: Final = {"disk full: checkpoint, report", "folder read-only"}
FEWER_SLOTS: Final = {"allocation refused", "killed by the kernel for memory"}
NEED_CAGE: Final = {"killed by the kernel for memory"}


def small_cage(name: str) -> Path | None:
    """A control group with room for `MEMORY` bytes, None where none can be made."""
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        cage = Path(root) / f"{name}-cage"
        try:
            cage.mkdir(exist_ok=True)
            if (cage / limit).exists():
                (cage / limit).write_text(str(MEMORY))
                return cage
            cage.rmdir()
        except OSError:
            continue
    return None


# What the log says of it all

WRONGS: Final = ("trials lost", "trials doubled", "epochs lost", "epochs repeated", "rungs changed", "plans changed")
AS_INJECTED: Final = ("RuntimeError: injected", "out of memory when alone")


class Judge:
    """Goes through a finished log and counts what is wrong with it, for each kind of fault that came before."""

    def __init__(self, folder: Path, injected: list[Injected]) -> None:
        content = read_study(folder)
        self._plan = Plan.from_json(folder, content)
        space = find(self._plan.spaces[0])
        self._reference = f"{space.name}-0000"
        policy = self._plan.policy
        self._sampler = Sampler(space, self._plan.seed, self._plan.max_epochs, policy=policy)
        self._asha = Asha(self._plan.rungs, policy.reduction_factor, pausing=policy.pausing)
        self._planned = self._plan.trials
        self.injected = injected
        self._trials = 0
        self._scores: dict[str, list[float]] = {}  # of each epoch
        self._reference_due = False  # half of the trials had begun when one last began or went on
        self._epochs: dict[str, int] = {}
        self._states: dict[str, str] = {}
        self._owed: tuple[str, int] | None = None  # a rung that was reached and must be judged next
        self.wrongs: dict[str, Counter[str]] = {fault.kind: Counter() for fault in injected}
        self.found = ""  # each wrong with its event, in words
        self.most_repeated = 0
        self._now = 0
        self._event: Event = {}

    def judge(self, events: list[Event]) -> None:
        """Take in the whole log."""
        for self._now, event in enumerate(events):
            self._event = event
            kind = event["event"].removeprefix("final_")
            if self._owed and kind not in ("decision", "study_opened"):
                self._count("rungs changed")
                self._owed = None
            take_in = getattr(self, f"_{kind}", None)
            if take_in is not None:
                take_in(event)
        for key, state in self._states.items():
            self._event = {"at the end": state, "of": key}
            self._count("trials lost", state in ("open", "interrupted"))

    def _count(self, wrong: str, number: int = 1) -> None:
        before = [fault for fault in self.injected if fault.position <= self._now] or self.injected[:1]
        self.wrongs[before[-1].kind][wrong] += number
        if number:
            self.found += f"{wrong} ({number}), event {self._now}: {self._event}\n"

    def _suggested(self, event: Event) -> None:
        key = event["trial"]
        self._count("trials doubled", key in self._states)
        self._count("trials lost", event["index"] != self._trials)
        self._trials += 1
        again = self._sampler.suggest(event["index"], self._plan.trials)
        planned = (event["origin"], event["config"], event["seed"])
        self._count("plans changed", planned != (*again, seed_of(self._plan.seed, key)))
        self._sampler.add(key, event["config"])
        self._states[key] = "open"
        self._see_to_reference()

    def _see_to_reference(self) -> None:
        self._reference_due |= 2 * self._trials >= self._planned

    def _standing(self, key: str) -> float | None:
        return self._plan.policy.standing(self._scores[key]) if self._scores.get(key) else None

    def _started(self, event: Event) -> None:
        key = event.get("final") or event["trial"]
        self._states.setdefault(key, "open")
        repeated = max(0, self._epochs.get(key, 0) - event["from_epoch"])
        self._count("epochs repeated", repeated)
        self.most_repeated = max(self.most_repeated, repeated)

    def _epoch(self, event: Event) -> None:
        key = event.get("final") or event["trial"]
        expected = self._epochs.get(key, 0) + 1
        self._count("epochs lost", max(0, event["epoch"] - expected))
        self._count("trials doubled", event["epoch"] < expected or self._states[key] not in ("open", "interrupted"))
        self._epochs[key] = event["epoch"]
        if event["val_score"] is None:  # it diverged: nothing to be judged by
            self._scores[key] = []
        else:
            self._scores.setdefault(key, []).append(event["val_score"])
        if event["event"] == "epoch" and event["epoch"] in self._plan.rungs and event["val_score"] is not None:
            self._owed = (key, event["epoch"])

    def _decision(self, event: Event) -> None:
        key, epoch, score = event["trial"], event["epoch"], event["score"]
        if self._states[key] == "stopped":
            self._taken_up(event)
            return
        again = self._asha.judge(key, epoch, score)
        assert again is not None
        action = "continue" if key == self._reference and self._reference_due else again.action
        found = (score, event["cutoff"], event["compared"], event["action"], (key, epoch))
        expected = (self._standing(key), again.cutoff, again.compared, action, self._owed)
        self._count("rungs changed", found != expected)
        self._owed = None
        self._asha.record(key, epoch, score)
        self._sampler.report(key, epoch, score)

    def _taken_up(self, event: Event) -> None:
        key, epoch = event["trial"], event["epoch"]
        busy = any(state in ("open", "interrupted") for trial, state in self._states.items() if "seed" not in trial)
        due = self._asha.promotion(least=int(self._trials == self._planned and not busy))
        if self._reference_due and self._states[self._reference] == "stopped":
            due = self._asha.whatever_its_rank(self._reference, self._epochs[self._reference])
        numbers = Decision(event["action"], event["cutoff"], event["compared"])
        self._count("rungs changed", due != (key, epoch, numbers) or event["score"] != self._standing(key))
        self._asha.take_up(key, epoch)
        self._sampler.take_up(key)
        self._states[key] = "open"
        self._see_to_reference()

    def _study_opened(self, event: Event) -> None:
        self._planned = event["trials"]

    def _ended(self, event: Event) -> None:
        key, state = event.get("final") or event["trial"], event["state"]
        self._count("trials doubled", self._states.get(key, "open") not in ("open", "interrupted"))
        self._count("trials lost", state == "failed" and not event["error"].startswith(AS_INJECTED))
        self._count("epochs lost", state == "finished" and self._epochs[key] != EPOCHS)
        self._states[key] = state
        if state != "interrupted" and event["event"] == "ended":
            if state == "stopped":
                self._asha.pause(key, self._epochs[key])
            elif state in ("failed", "diverged"):
                self._asha.retract(key)
            self._sampler.tell(key, state, self._standing(key))

    @property
    def all_is_well(self) -> bool:
        """Whether nothing was lost, doubled or changed, and no fault had more than one epoch trained again."""
        numbers = sum(self.wrongs.values(), Counter())
        repeated = numbers.pop("epochs repeated", 0)
        return not numbers.total() and self.most_repeated <= 1 and repeated <= len(self.injected)

    def summary(self) -> dict[str, Any]:
        """How large the study became and how its trials ended."""
        return {
            "trials": self._trials,
            "epochs": sum(self._epochs.values()),
            "states": dict(Counter(self._states.values())),
            "epochs repeated at once, at most": self.most_repeated,
        }


# The campaign


def draw(faults: int, generator: random.Random) -> list[list[str]]:
    """Draw kinds of faults by their weights, in random order.

    A step is one fault that strikes a running study, or a stop with what strikes before the next start. Before a stop
    comes, too, what leaves fewer slots: a resume gives them back, and with one slot every death is a long wait.
    """
    every = {kind: weight for kinds in (RUNNING, STOPS, STOPPED) for kind, (weight, _) in kinds.items()}
    drawn = generator.choices(list(every), list(every.values()), k=faults)
    steps = [[kind] for kind in drawn if kind not in STOPPED and kind not in FEWER_SLOTS]
    if not any(step[0] in STOPS for step in steps):
        steps.append(["driver killed"])
    stops = [step for step in steps if step[0] in STOPS]
    for kind in drawn:
        if kind in STOPPED:
            generator.choice(stops).append(kind)
        elif kind in FEWER_SLOTS:
            generator.choice(stops).insert(0, kind)
    generator.shuffle(steps)
    return steps


def _inject(stage: Stage, fault: Callable[[Stage], Seen]) -> Seen:
    """Inject a fault. The process that it was meant for may have ended meanwhile: then another one is meant."""
    while True:
        try:
            return fault(stage)
        except (ProcessLookupError, FileNotFoundError):
            stage.wait_for_work()


def strike(stage: Stage, kind: str) -> None:
    """Inject one fault and see its effect."""
    before = stage.events()
    stage.injected.append(Injected(kind, len(before)))
    if kind in RUNNING:
        seen = _inject(stage, RUNNING[kind][1])
        stage.wait_for(lambda events: any(map(seen, events)), len(before), kind)
    else:
        {**STOPS, **STOPPED}[kind][1](stage)
    if kind not in STOPPED and stage.events()[: len(before)] != before:
        raise NotSeenError(f"{kind} changed what was in the log")


@contextmanager
def a_stage(seed: int, limit: int, margin: int) -> Iterator[Stage]:
    """A cluster of two nodes, a small disk of its own where that can be mounted, and room for all files."""
    from ray.cluster_utils import Cluster

    with ExitStack() as cleanup:
        base = Path(tempfile.mkdtemp(prefix="archstudy-faults-"))
        cleanup.callback(shutil.rmtree, base, ignore_errors=True)
        disk = base / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(disk)]
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        if mounted:
            cleanup.callback(subprocess.run, ["umount", "-l", str(disk)], check=False)
        cage = small_cage(base.name)
        if cage is not None:
            cleanup.callback(cage.rmdir)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        cleanup.callback(cluster.shutdown)
        for cpus in (2, 1):
            cluster.add_node(num_cpus=cpus)
        stage = Stage(cluster, base, mounted, cage, random.Random(seed), limit, margin)
        try:
            yield stage
        finally:
            if stage.driver is not None:
                stage.kill_driver()


def campaign(steps: list[list[str]], seed: int, limit: int = 120, margin: int = 30) -> Judge:
    """Let faults strike a study, have it finish, and judge its log. The faults of a step follow on one another."""
    with a_stage(seed, limit, margin) as stage:
        left_out = set() if stage.mounted else NEED_MOUNT
        if stage.cage is None:
            left_out = left_out | NEED_CAGE
        if left_out:
            print(f"Left out, for want of rights: {', '.join(sorted(left_out))}.")
        with suppress(KeyboardInterrupt):  # a campaign that is cut short has the study finish all the same
            for kind in (kind for step in steps for kind in step if kind not in left_out):
                if kind not in STOPPED:
                    stage.wait_for_work()
                elif stage.driver is not None:  # what would have stopped it was left out
                    stage.kill_driver()
                begun = time.monotonic()
                strike(stage, kind)
                print(f"{len(stage.injected):>4}  {kind}  ({time.monotonic() - begun:.1f} s)", flush=True)
        if stage.driver is None:
            stage.start()
        stage.end_of_driver(0, "Verdict")
        judge = Judge(stage.folder, stage.injected)
        judge.judge(stage.events())
        return judge


def main() -> int:
    """Print the table; exit code 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--faults", type=int, default=100, help="how many (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="which, and where they strike (default 0)")
    given = parser.parse_args()
    begun = time.monotonic()
    judge = campaign(draw(given.faults, random.Random(given.seed)), given.seed)
    numbers = Counter(fault.kind for fault in judge.injected)
    print(f"\n{'kind':<34}{'faults':>7}" + "".join(f"{wrong:>17}" for wrong in WRONGS))
    rows = [(kind, numbers[kind], judge.wrongs[kind]) for kind in sorted(numbers)]
    total = sum((wrongs for _, _, wrongs in rows), Counter())
    for kind, number, wrongs in [*rows, ("in all", len(judge.injected), total)]:
        print(f"{kind:<34}{number:>7}" + "".join(f"{wrongs[wrong]:>17}" for wrong in WRONGS))
    print(judge.found + json.dumps(judge.summary()))
    print(f"{time.monotonic() - begun:.0f} s")
    return int(not judge.all_is_well)


if __name__ == "__main__":
    sys.exit(main())
