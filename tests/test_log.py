"""The event log: whole lines, one writer, a torn end."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from analysis.events import EVENTS, BrokenLogError, Event, read_events
from study.log import LockedError, Log

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
