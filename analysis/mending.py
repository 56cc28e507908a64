"""A damaged event log, mended from its copy. `events.copy.jsonl` has every line of the log behind its checksum.

A file system that loses power, an editor or a bad block can leave lines that are cut, doubled or garbled, some of them
still JSON. The log alone cannot tell what stood there; the copy can, unless both were hit.
"""

import json
from pathlib import Path
from zlib import crc32


def copy_of(log: Path) -> Path:
    """Where the copy of `log` lies."""
    return log.with_suffix(".copy.jsonl")


def guarded(line: bytes) -> bytes:
    """Return a line of the log, its newline included, as it stands in the copy."""
    return b"%08x %s" % (crc32(line), line)


def mended_lines(log: Path) -> list[bytes]:
    """Return the lines of `log` without newlines, each once, damaged ones as the copy has them.

    A last line without a newline is what a killed writer leaves and is not counted. Where the copy is missing or itself
    damaged the lines are those of `log`; whether they are events is for the caller to see.
    """
    lines = _whole_lines(log)
    copied = _whole_lines(copy_of(log))
    intact = [line[9:] for line in copied if line == guarded(line[9:] + b"\n")[:-1]]
    if not intact or len(intact) < len(copied) or lines[: len(intact)] == intact:
        return list(dict.fromkeys(lines))
    known = set(intact)
    # What was written after the copy's last line is in the log alone: a kill can fall between the two.
    last = len(lines) - lines[::-1].index(intact[-1]) if intact[-1] in lines else len(intact)
    if known.issubset(lines):  # nothing is missing in the log; lines that the copy lacks are events or were put in
        sound = (line for line in lines[:last] if line in known or _is_json(line))
        return list(dict.fromkeys([*sound, *lines[last:]]))
    return list(dict.fromkeys([*intact, *lines[last:]]))


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _whole_lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []
