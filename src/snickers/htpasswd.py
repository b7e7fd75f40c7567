"""Files of names and passwords, as ``htpasswd -B`` writes them.

Pure, and a meeting place: the configuration looks for faults with the very words by which the
data plane later decides who may come in. Only bcrypt is taken, and what is wrong with a line is
told without repeating any of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from attrs import frozen

MOST_TEXT = 2**20
"""Characters of a file: ten thousand users."""
MOST_COST = 15
"""Each one more doubles the time of a check; 15 takes two to three seconds of a processor."""

# The last letter of the salt holds two bits; with others than these the hash is not one.
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_OTHERS = (
    ("$apr1$", "MD5"),
    ("$1$", "MD5"),
    ("{SHA}", "SHA-1"),
    ("{SSHA}", "SHA-1"),
    ("$5$", "SHA-256"),
    ("$6$", "SHA-512"),
    ("$y$", "yescrypt"),
    ("$argon2", "Argon2"),
)
_RIGHT = "write it with: htpasswd -B FILE NAME"


@frozen
class Htpasswd:
    """What a file says."""

    users: Mapping[bytes, bytes]
    """Names in UTF-8, and their bcrypt hashes."""
    faults: tuple[str, ...]
    """What is wrong, in words that name lines. With any of them nobody may be let in."""


def read_htpasswd(text: str) -> Htpasswd:
    """Read ``NAME:HASH`` lines; empty ones and those that begin with ``#`` say nothing."""
    users: dict[bytes, bytes] = {}
    places: dict[bytes, int] = {}
    faults = []
    if len(text) > MOST_TEXT:
        return Htpasswd(MappingProxyType({}), (f"is larger than {MOST_TEXT // 2**20} megabyte",))
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, colon, hashed = line.partition(":")
        user = name.encode("utf-8", "replace")
        wrong = _wrong(name, hashed) if colon else f"is not NAME:HASH; {_RIGHT}"
        if not wrong and user in places:
            wrong = f"is about the same user as line {places[user]}; remove one of the two"
        if wrong:
            faults.append(f"line {number} {wrong}")
            continue
        places[user] = number
        users[user] = hashed.encode("ascii")
    if not users and not faults:
        faults.append(f"names nobody; {_RIGHT}")
    return Htpasswd(MappingProxyType(users), tuple(faults))


def _wrong(name: str, hashed: str) -> str:
    if not name or not name.isprintable():
        return f"has no proper name; {_RIGHT}"
    matched = _BCRYPT.fullmatch(hashed) if hashed.isascii() else None
    if matched is None:
        kind = next((words for mark, words in _OTHERS if hashed.startswith(mark)), "")
        if kind:
            return f"is hashed with {kind}, and only bcrypt is taken; {_RIGHT}"
        return f"is not hashed with bcrypt; {_RIGHT}"
    cost = int(matched[1])
    if not 4 <= cost <= MOST_COST:
        return f"has the cost {cost}; write one from 4 to {MOST_COST}, such as: htpasswd -B -C 10"
    return ""
