"""Passwords and keys: found in URLs, which the plan refuses, and hidden in whatever is written down."""

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

SECRET: Final = re.compile(r"secret|password|passwd|token|credential|signature|(access|account|api|private)_?key", re.I)
PASSWORD: Final = re.compile(r"^(\w[\w+.-]*://[^/@:?#]*):(?!\d+(?:/|$))[^?#]*@")  # after a name; not a port
LEAST: Final = 8  # characters of a value that is hidden wherever it stands: "test" may be a password, and a word
HIDDEN: Final = "***"


def masked_url(url: str) -> str:
    """Return `url` with its password, and what its query says of keys, replaced by `HIDDEN`."""
    place, mark, query = PASSWORD.sub(rf"\1:{HIDDEN}@", url).partition("?")
    words = (word.partition("=") for word in query.split("&"))
    return f"{place}{mark}" + "&".join(
        f"{name}{equals}{HIDDEN if value and _secret(name) else value}" for name, equals, value in words
    )


def masked(text: str) -> str:
    """Return `text` with the passwords of its URLs, and the values of this process's secret variables, hidden."""
    text = re.sub(r"[a-z][a-z0-9+.-]*://[^\s'\"<>]+", lambda found: masked_url(found[0]), text, flags=re.I)
    for value in _values():
        text = text.replace(value, HIDDEN)
    return text


@cache
def _values() -> tuple[str, ...]:
    """The longest first, so that one that holds another is hidden whole."""
    return tuple(sorted(secret_values(os.environ), key=len, reverse=True))


def secret_values(variables: Mapping[str, str]) -> set[str]:
    """Return what the `variables` whose names say so hold, and the passwords in those that are URLs."""
    named = {value for name, value in variables.items() if _secret(name)}
    inside = {found[1] for value in variables.values() if (found := re.search(r"://[^/@\s:]*:([^@/\s]+)@", value))}
    return {value for value in named | inside if len(value) >= LEAST and not Path(value).exists()}


def _secret(name: str) -> bool:
    return SECRET.search(name) is not None or name.lower() in ("sig", "pwd", "key")
