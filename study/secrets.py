"""Passwords and keys: found in URLs, which the plan refuses, and hidden in whatever is written down."""

import os
import re
from collections.abc import Mapping
from typing import Final

SECRET: Final = re.compile(
    r"secret|passw(or)?d|passphrase|token|credential|signature|connection[_-]?string|(access|account|api|private)_?key"
    r"|(?<![a-z])(pass|pwd|key|sig)(?![a-z])",  # as words: MYSQL_PWD and api-key, but not MONKEY
    re.I,
)
# After the name, to the last @: a password may hold / ? and #, and what looks like a port may be one.
PASSWORD: Final = re.compile(r"(://[^/:?#]*):(.*)@", re.S)
PAIR: Final = re.compile(r"([\w-]+)=([^;&\s]+)")  # in a query, or in a connection string
LEAST: Final = 8  # characters of a value that is hidden wherever it stands: "test" may be a password, and a word
HIDDEN: Final = "***"


def masked_url(url: str) -> str:
    """Return `url` with its password, and what its query says of keys, replaced by `HIDDEN`."""
    place, mark, query = PASSWORD.sub(rf"\1:{HIDDEN}@", url).partition("?")
    words = (word.partition("=") for word in query.split("&"))
    return f"{place}{mark}" + "&".join(
        f"{name}{equals}{HIDDEN if value and _secret(name, value) else value}" for name, equals, value in words
    )


def masked(text: str) -> str:
    """Return `text` with the passwords of its URLs, and the values of this process's secret variables, hidden."""
    text = re.sub(r"://[^\s'\"<>]+", lambda found: masked_url(found[0]), text)
    for value in sorted(secret_values(os.environ), key=len, reverse=True):  # one that holds another is hidden whole
        text = text.replace(value, HIDDEN)
    return text


def secret_values(variables: Mapping[str, str]) -> set[str]:
    """Return what the `variables` whose names say so hold, and what those that are URLs or lists of pairs do."""
    pairs = [pair for value in variables.values() for pair in PAIR.findall(value)]
    named = {value for name, value in (*variables.items(), *pairs) if _secret(name, value)}
    inside = {found[2] for value in variables.values() if (found := PASSWORD.search(value))}
    return {value for value in named | inside if len(value) >= LEAST}


def _secret(name: str, value: str) -> bool:
    """Whether a value of this name is none to be shown. The path of a file with a key is no key."""
    if SECRET.search(name) is None:
        return False
    return not (os.path.isabs(value) and os.path.exists(value))  # noqa: PTH110, PTH117 - Path raises for a long value
