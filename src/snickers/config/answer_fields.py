"""Which fields an owner may add to the answers of a site, and what their values may be.

Must never let a name through that frames a message or belongs to one hop, nor a value that
could end its line: the data plane writes both as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from snickers.config.formats import Format, Place, one_line, same
from snickers.config.wrong import Wrong

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)

FRAMING = frozenset(
    {
        "connection",
        "content-length",
        "content-encoding",
        "content-range",
        "date",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "www-authenticate",
    }
)
"""Lower case: what frames or codes a body, speaks to one hop, or is said by Snickers itself."""


def name_fault(name: str) -> str:
    """Return what is wrong with *name* as the name of an added field, or ``""``."""
    if _TOKEN.fullmatch(name) is None:
        return f"{name!r} is no name of a field; write letters, digits and '-'"
    lower = name.lower()
    if lower in FRAMING or lower.startswith("sec-websocket-"):
        return f"{name} is set by Snickers and the site's server; it cannot be changed here"
    return ""


def _read_value(text: str, place: Place) -> str:
    line = one_line(text, place)
    if not line.isascii():
        raise Wrong("may contain only ASCII letters; write the rest as the field's standard says")
    return line


FIELD_VALUE: Format[str] = Format("text", _read_value, same)


def by_name(fields: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return *fields* sorted by name; of several that differ in case only, the last."""
    found = {name.lower(): (name, value) for name, value in fields}
    return tuple(found[lower] for lower in sorted(found))
