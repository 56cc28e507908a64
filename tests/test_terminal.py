"""What a study prints is lost where nobody can have it, and the study goes on."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PRINTS = """
import sys
from study import terminal
console = terminal.console()
for number in range(3):
    console.print("x" * 9_000)
print("one more", flush=True)
print("all said", file=sys.stderr)
"""


def unread_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def full_disk() -> int:
    if not Path("/dev/full").exists():
        pytest.skip("needs Linux")
    return os.open("/dev/full", os.O_WRONLY)


@pytest.mark.parametrize("make", [unread_pipe, full_disk])
def test_a_console_goes_on_where_nobody_can_have_it(make: Callable[[], int]) -> None:
    where = make()
    done = subprocess.run([sys.executable, "-c", PRINTS], stdout=where, stderr=subprocess.PIPE, check=False)
    os.close(where)
    assert (done.returncode, done.stderr.decode()) == (0, "all said\n")


def test_what_is_printed_is_seen() -> None:
    seen = subprocess.run([sys.executable, "-c", PRINTS], capture_output=True, check=True)
    assert seen.stdout.decode().replace("\n", "") == "x" * 27_000 + "one more"
