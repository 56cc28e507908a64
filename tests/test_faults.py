"""What Ray and the kernel say of dead workers, and the campaign of benchmarks/faults.py in its short form."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults import MEMORY, RUNNING, STOPPED, STOPS, campaign, small_cage
from study import faults

# As Ray 2.60 says it.
KILLED = """1 (occurred at 2026-11-22_08-58-21)
The actor died unexpectedly before finishing this task.
\tclass_name: Worker
\tactor_id: 1cb0fee9f49b4a3be592208d01000000
\tpid: 21981
\tip: 127.0.0.1
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker \
unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was killed \
by the OOM killer due to high memory usage, (2) ray stop --force was called, or (3) the worker crashed unexpectedly.
"""
NOT_STARTED = """1 (occurred at 2026-11-22_08-58-21)
The actor died because of an error raised in its creation task, ray::W.__init__() (pid=21982)
  File "trainable.py", line 151, in __init__
    self.setup(copy.deepcopy(self.config))
RuntimeError: no torch here
"""
NO_MEMORY = NOT_STARTED.replace("RuntimeError: no torch here", "torch.OutOfMemoryError: CUDA out of memory.")


@pytest.mark.parametrize(
    ("said", "line", "never_started", "ran_out"),
    [
        (KILLED, "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR", False, False),
        (NOT_STARTED, "RuntimeError: no torch here", True, False),
        (NO_MEMORY, "torch.OutOfMemoryError: CUDA out of memory.", True, True),
        ("", "Ray gives no reason", False, False),
    ],
    ids=["killed", "not started", "no memory", "nothing"],
)
def test_what_ray_says_of_a_dead_worker_is_told_apart(said: str, line: str, never_started: bool, ran_out: bool) -> None:
    assert faults.in_one_line(said).startswith(line)
    assert "\n" not in faults.in_one_line(said)
    assert faults.worker_never_started(said) == never_started
    assert faults.worker_ran_out(said) == ran_out


def test_a_full_or_locked_disk_is_no_fault_of_a_trial_and_a_missing_file_is() -> None:
    assert faults.cannot_write(OSError(errno.ENOSPC, "No space left on device"))
    assert faults.cannot_write(PermissionError(errno.EACCES, "Permission denied"))
    assert not faults.cannot_write(FileNotFoundError(errno.ENOENT, "No such file"))
    assert not faults.cannot_write(RuntimeError("No space left on device"))


def test_the_kernels_count_rises_with_a_process_that_it_kills_for_memory(tmp_path: Path) -> None:
    cage = small_cage(tmp_path.name)
    if cage is None:
        pytest.skip("no right to limit the memory of a process")
    before = faults.kernel_kills()
    eat = f"open({str(cage / 'cgroup.procs')!r}, 'w').write('0'); x = bytearray(b'1' * {4 * MEMORY})"
    assert subprocess.run([sys.executable, "-c", eat], check=False).returncode == -9
    assert faults.kernel_kills() > before
    cage.rmdir()


@pytest.mark.slow
def test_a_study_survives_faults_of_every_sort() -> None:
    steps = [["node lost"], ["checkpoint damaged, worker killed"]]
    steps += [["disk full: checkpoint, report", "log line garbled", "folder moved", "clock jumps"]]
    assert {kind for step in steps for kind in step} <= {*RUNNING, *STOPS, *STOPPED}
    judge = campaign(steps, seed=0, limit=600, margin=8)  # on a busy machine a worker may need minutes to start
    assert judge.all_is_well, judge.found
    assert judge.summary()["states"].keys() >= {"finished", "stopped"}
