"""What Ray and the kernel say of dead workers, and the campaign of benchmarks/faults.py in its short form."""

import errno
import socket
import subprocess
import sys
from collections.abc import Callable
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
LEFT = """The actor died unexpectedly before finishing this task.
	ip: 10.0.0.7
The actor died because its node has died. Node Id: 5f
"""
OUT_OF_REACH = (
    "ray.exceptions.ActorUnavailableError: The actor 35 is unavailable: The actor is temporarily unavailable: "
    "RpcError: RPC error: Socket closed rpc_code: 14. The task may or may not have been executed on the actor."
)
NO_MEMORY = NOT_STARTED.replace("RuntimeError: no torch here", "torch.OutOfMemoryError: CUDA out of memory.")


@pytest.mark.parametrize(
    ("said", "line", "is_so"),
    [
        (KILLED, "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR", ()),
        (NOT_STARTED, "RuntimeError: no torch here", (faults.worker_never_started,)),
        (NO_MEMORY, "torch.OutOfMemoryError: CUDA", (faults.worker_never_started, faults.worker_ran_out)),
        (LEFT, "The actor died because its node has died", (faults.node_left,)),
        (OUT_OF_REACH, "ray.exceptions.ActorUnavailableError: The actor 35 is unavailable", (faults.node_left,)),
        ("", "Ray gives no reason", ()),
    ],
    ids=["killed", "not started", "no memory", "left", "out of reach", "nothing"],
)
def test_what_ray_says_of_a_dead_worker_is_told_apart(
    said: str, line: str, is_so: tuple[Callable[[str], bool], ...]
) -> None:
    assert faults.in_one_line(said).startswith(line)
    assert "\n" not in faults.in_one_line(said)
    for asked in (faults.worker_never_started, faults.worker_ran_out, faults.node_left):
        assert asked(said) == (asked in is_so)


@pytest.mark.parametrize(
    ("error", "unwritable", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True, "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied"), True, "Permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file"), False, "No such file"),
        (OSError("AWS Error NETWORK_CONNECTION"), False, "AWS Error NETWORK_CONNECTION"),
    ],
)
def test_what_is_wrong_with_files_of_the_study_says_where_and_whether_room_is_lacking(
    error: OSError, unwritable: bool, said: str
) -> None:
    with pytest.raises(faults.FilesError) as found, faults.files_in("/runs/t"):
        raise error
    assert (found.value.unwritable, str(found.value)) == (unwritable, f"/runs/t on {socket.gethostname()}: {said}")


def test_the_kernels_count_rises_with_a_process_that_it_kills_for_memory(tmp_path: Path) -> None:
    cage = small_cage(tmp_path.name)
    if cage is None:
        pytest.skip("no right to limit the memory of a process")
    before = faults.kernel_kills()
    eat = f"open({str(cage / 'cgroup.procs')!r}, 'w').write('0'); x = bytearray(b'1' * {4 * MEMORY})"
    assert subprocess.run([sys.executable, "-c", eat], check=False).returncode == -9
    assert faults.kernel_kills() > before
    cage.rmdir()


HANGS = """
import time
from study import tune
tune.FIRST_SECONDS, tune.unpack = 0.5, lambda code: time.sleep(60)
tune.Worker.setup(tune.Worker.__new__(tune.Worker), {}, [], None, [], 0, None)
"""


@pytest.mark.slow
def test_a_worker_that_never_comes_up_ends_and_says_where_it_stood() -> None:
    ended = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
    assert "in setup" in ended.stderr


@pytest.mark.slow
def test_a_study_survives_faults_of_every_sort() -> None:
    steps = [["node lost"], ["checkpoint damaged, worker killed"]]
    steps += [["disk full: checkpoint, report", "log line garbled", "folder moved", "clock jumps"]]
    assert {kind for step in steps for kind in step} <= {*RUNNING, *STOPS, *STOPPED}
    judge = campaign(steps, seed=0, limit=600, margin=8)  # on a busy machine a worker may need minutes to start
    assert judge.all_is_well, judge.found
    assert judge.summary()["states"].keys() >= {"finished", "stopped"}
