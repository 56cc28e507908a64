"""Passwords and keys: found in URLs, which the plan refuses, and hidden in whatever is written down."""

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Final

PASSPHRASE: Final = re.compile(r"passw(or)?d|passphrase|(?<![a-z])(pass|pwd)(?![a-z])", re.I)
SECRET: Final = re.compile(
    rf"{PASSPHRASE.pattern}|secret|token|credential|signature|connection[_-]?string|(access|account|api|private)_?key"
    r"|(?<![a-z])(key|sig)(?![a-z])",  # as words, like pass and pwd: MYSQL_PWD and api-key, but not MONKEY
    re.I,
)
# After the name, to the last @: a password may hold / ? and #, and what looks like a port may be one.
PASSWORD: Final = re.compile(r"(://[^/:?#]*):.*", re.S)
USER: Final = re.compile(r"://[^/:?#\s]*:")
PAIR: Final = re.compile(r"(?<![\w-])([\w-]+)=([^;&\s]+)")  # in a query, or in a connection string
# SIGNATURE_VERIFICATION=optional is a setting. Who makes up keys and tokens mixes characters, or has more of them; a
# password may be any word.
WORD: Final = re.compile(r"[a-z]{1,15}")
KEY_FILE: Final = re.compile(r"[\w./~%+-]+\.(pem|key|crt|cer|der|p12|pfx|jks|json)", re.I)
LONGEST: Final = 4096  # characters of a password in a URL of a variable
MOST_AT: Final = 8  # @ that are looked at in one
LEAST: Final = 8  # characters of a value that is hidden wherever it stands: "test" may be a password, and a word
HIDDEN: Final = "***"


def masked_url(url: str) -> str:
    """Return `url` with its password, and what its query says of keys, replaced by `HIDDEN`."""
    before, at, after = url.rpartition("@")
    place, mark, query = (PASSWORD.sub(rf"\1:{HIDDEN}", before) + at + after).partition("?")
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
    parts = [_parts(value) for value in variables.values()]
    pairs = (pair for found, _ in parts for pair in found)
    named = {value for name, value in (*variables.items(), *pairs) if _secret(name, value) and not _word(name, value)}
    return {value for value in named.union(*(inside for _, inside in parts)) if len(value) >= LEAST}


@lru_cache(maxsize=1024)
def _parts(value: str) -> tuple[tuple[tuple[str, str], ...], frozenset[str]]:
    """Return the pairs that the value of a variable holds, and what may be passwords of its URLs."""
    return tuple(PAIR.findall(value)), frozenset(_passwords(value))


def _passwords(value: str) -> Iterator[str]:
    """Yield, for each URL in `value`, the text up to each @: it may be of the password, or of what follows."""
    for user in USER.finditer(value):
        rest = re.split(r"\s", value[user.end() : user.end() + LONGEST], maxsplit=1)[0]
        yield from (rest[: at.start()] for at in islice(re.finditer("@", rest), MOST_AT))


def _word(name: str, value: str) -> bool:
    """Whether the value of a variable is a plain word, which it sets, and which hidden would spoil every sentence."""
    return WORD.fullmatch(value) is not None and PASSPHRASE.search(name) is None


def _secret(name: str, value: str) -> bool:
    """Whether a value of this name is none to be shown. The path of a file with a key is no key."""
    if SECRET.search(name) is None:
        return False
    if KEY_FILE.fullmatch(value) and PASSPHRASE.search(name) is None:  # relative, or on another machine
        return False
    return not (os.path.isabs(value) and os.path.exists(value))  # noqa: PTH110, PTH117 - Path raises for a long value
