"""The event log: whole lines, one writer, a torn end."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from analysis.events import EVENTS, BrokenLogError, Event, read_events
from analysis.mending import copy_of
from study.log import LockedError, Log
from tests.conftest import full_disk

CLOSED: Event = {"event": "study_closed", "reason": "finished"}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with closing(Log(tmp_path / "events.jsonl")) as opened:
        yield opened


@pytest.fixture
def one_line(tmp_path: Path) -> Path:
    """A log with one event, closed."""
    with closing(Log(tmp_path / "events.jsonl")) as opened:
        opened.append(CLOSED)
    return opened.path


def test_what_is_appended_is_read_back(log: Log) -> None:
    written = log.append(CLOSED, {**CLOSED, "reason": "interrupted"})
    assert read_events(log.path)[0] == written
    assert [event["reason"] for event in written] == ["finished", "interrupted"]


def test_a_torn_last_line_is_cut_off_and_the_next_event_stands_alone(one_line: Path) -> None:
    path, whole = one_line, one_line.read_bytes()
    for torn in range(1, len(whole)):
        copy_of(path).unlink()
        path.write_bytes(whole + whole[:torn].rstrip(b"\n"))
        with closing(Log(path)) as log:
            assert len(log.replayed) == 1
            log.append(CLOSED)
        assert len(read_events(path)[0]) == 2


@pytest.mark.parametrize("broken", [b"\x00\x00\n", b"{}\n", b'{"event": "dreamt", "time": 1}\n', b"[1]\n", b"\n"])
def test_a_line_broken_elsewhere_is_an_error_that_names_file_and_line(one_line: Path, broken: bytes) -> None:
    path, line = one_line, one_line.read_bytes()
    path.write_bytes(line + broken + line)
    with pytest.raises(BrokenLogError, match=r"events\.jsonl:2"):
        Log(path)
    assert path.read_bytes() == line + broken + line


def test_a_non_finite_number_is_missing_in_the_log(log: Log) -> None:
    tested = {"event": "final_tested", "final": "f", "test_loss": math.nan, "test_score": math.inf, "images": 1}
    [event] = log.append(tested)
    assert event["test_loss"] is None
    assert event["test_score"] is None
    assert "NaN" not in log.path.read_text()


def test_an_event_with_other_fields_than_documented_is_our_own_mistake(log: Log) -> None:
    with pytest.raises(AssertionError):
        log.append({**CLOSED, "mood": "good"})


def test_a_second_writer_is_refused_while_the_first_lives(log: Log) -> None:
    path = log.path
    code = f"from pathlib import Path\nfrom study.log import Log\nLog(Path({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "LockedError" in done.stderr
    with pytest.raises(LockedError, match="another process"):
        Log(path)
    log.close()
    Log(path).close()


def test_every_event_is_json_with_its_name(log: Log) -> None:
    for name, fields in EVENTS.items():
        log.append({"event": name, **dict.fromkeys(fields, 1)})
    lines = log.path.read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == list(EVENTS)


NUMBERS = {"test_loss": 1.0, "test_score": 0.5, "images": 1}
EPOCHS: list[Event] = [{"event": "final_tested", "final": f"f{number}", **NUMBERS} for number in range(5)]
DAMAGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "doubled": lambda lines: [*lines[:2], lines[1], *lines[2:]],
    "all doubled": lambda lines: [*lines, *lines],
    "garbled": lambda lines: [*lines[:2], b"\xff\x00" + lines[2][2:-5] + b"\n\n", *lines[3:]],
    "another number": lambda lines: [*lines[:2], lines[2].replace(b"0.5", b"0.9"), *lines[3:]],
    "cut": lambda lines: [*lines[:2], lines[2][:20] + lines[3], *lines[4:]],
    "cut off": lambda lines: lines[:2],
    "put in": lambda lines: [*lines[:2], b"\x00\x00\n", *lines[2:]],
    "gone": lambda lines: [*lines[:1], *lines[3:]],
    "last one garbled": lambda lines: [*lines[:4], b"#" * len(lines[4])],
    "empty": lambda _: [],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_log_is_mended_from_its_copy_and_a_damaged_copy_from_the_log(log: Log, damage: str) -> None:
    written = log.append(*EPOCHS)
    log.close()
    whole, copy = log.path.read_bytes(), copy_of(log.path).read_bytes()
    for path in (log.path, copy_of(log.path)):
        damaged = b"".join(DAMAGES[damage](path.read_bytes().splitlines(keepends=True)))
        path.write_bytes(damaged)
        with closing(Log(log.path)) as again:
            assert again.replayed == written
            assert again.damaged == (log.path.with_suffix(".damaged.jsonl") if path == log.path else None)
            if again.damaged is not None:
                assert again.damaged.read_bytes() == damaged
        assert (log.path.read_bytes(), copy_of(log.path).read_bytes()) == (whole, copy)


@pytest.mark.parametrize("damage", ["doubled", "garbled", "cut"])
def test_a_damaged_log_is_read_as_mended_without_being_touched(log: Log, damage: str) -> None:
    written = log.append(*EPOCHS)
    damaged = b"".join(DAMAGES[damage](log.path.read_bytes().splitlines(keepends=True)))
    log.path.write_bytes(damaged)
    assert read_events(log.path)[0] == written
    assert log.path.read_bytes() == damaged


def test_lines_that_a_kill_kept_from_the_copy_are_in_the_log_alone_and_survive_damage_before_them(log: Log) -> None:
    written = log.append(*EPOCHS)
    log.close()
    lines, copied = (path.read_bytes().splitlines(keepends=True) for path in (log.path, copy_of(log.path)))
    copy_of(log.path).write_bytes(b"".join(copied[:3]) + copied[3][:7])
    log.path.write_bytes(b"".join([b"garbage\n", *lines[1:], lines[4][:9]]))
    with closing(Log(log.path)) as again:
        assert again.replayed == written
    assert log.path.read_bytes() == b"".join(lines)
    copy_of(log.path).write_bytes(b"".join(copied) + copied[3][:7])
    Log(log.path).close()
    assert copy_of(log.path).read_bytes() == b"".join(copied)


def test_a_full_disk_leaves_whole_lines_and_the_log_goes_on_once_there_is_room(log: Log) -> None:
    first = log.append(EPOCHS[0])
    for room in (0, 7, 200):  # bytes; the last is enough for one line of three
        with full_disk(log.path.stat().st_size + room), pytest.raises(OSError, match="File too large"):
            log.append(*EPOCHS[1:4])
        assert read_events(log.path)[0] == first
    second = log.append(*EPOCHS[1:4])
    log.close()
    with closing(Log(log.path)) as again:
        assert again.replayed == first + second


def test_a_copy_that_cannot_be_written_harms_nothing_and_is_made_anew(log: Log) -> None:
    written = log.append(EPOCHS[0])
    with full_disk(2 * log.path.stat().st_size + 6):  # enough for two lines in the log, not for two with checksums
        written += log.append(EPOCHS[1])
    written += log.append(EPOCHS[2])
    log.close()
    assert copy_of(log.path).stat().st_size < log.path.stat().st_size
    with closing(Log(log.path)) as again:
        assert again.replayed == written
    assert len(copy_of(log.path).read_bytes().splitlines()) == len(written)


def test_a_clock_that_jumps_changes_no_order(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    for moment in (2e9, 1e9, 3e9):
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        log.append(EPOCHS[0])
    log.close()
    with closing(Log(log.path)) as again:
        assert [event["time"] for event in again.replayed] == [2e9, 1e9, 3e9]
