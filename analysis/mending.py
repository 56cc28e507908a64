"""A damaged event log, mended from its copy. `events.copy.jsonl` has every line of the log behind its checksum.

A file system that loses power, an editor or a bad block can leave lines that are cut, doubled or garbled, some of them
still JSON. The log alone cannot tell what stood there; the copy can, unless both were hit.
"""

import json
from pathlib import Path
from typing import Final
from zlib import crc32

CHECKSUM: Final = 9  # bytes before each line of the copy: eight hexadecimal digits and a blank


def copy_of(log: Path) -> Path:
    """Where the copy of `log` lies."""
    return log.with_suffix(".copy.jsonl")


def guarded(line: bytes) -> bytes:
    """Return a line of the log, its newline included, as it stands in the copy."""
    return b"%08x %s" % (crc32(line), line)


def mended_lines(log: Path) -> tuple[list[bytes], bool]:
    """Return the lines of `log` with their newlines, damaged ones as the copy has them, and whether nothing is wrong.

    A last line without a newline is what a killed writer leaves and is not counted. Where the copy is missing or itself
    damaged the lines are those of `log`, each once; whether they are events is for the caller to see.
    """
    lines, copied = _whole_lines(log), _whole_lines(copy_of(log))
    if [guarded(line) for line in lines] == copied:
        return lines, True
    intact = [line[CHECKSUM:] for line in copied if line == guarded(line[CHECKSUM:])]
    if not intact or len(intact) < len(copied) or lines[: len(intact)] == intact:
        return list(dict.fromkeys(lines)), False
    known = set(intact)
    # What was written after the copy's last line is in the log alone: a kill can fall between the two.
    last = len(lines) - lines[::-1].index(intact[-1]) if intact[-1] in lines else len(intact)
    if known.issubset(lines):  # nothing is missing in the log; lines that the copy lacks are events or were put in
        sound = (line for line in lines[:last] if line in known or _is_json(line))
        return list(dict.fromkeys([*sound, *lines[last:]])), False
    return list(dict.fromkeys([*intact, *lines[last:]])), False


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _whole_lines(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")  # splitlines() would also split at what may stand in garbage
    return [line + b"\n" for line in lines[:-1]]
