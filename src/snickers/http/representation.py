"""A file as HTTP speaks of it: its fields, its validators, and what a request gets of it.

Pure: made from what was found, by nothing but rules.
"""

from __future__ import annotations

from collections.abc import Mapping

from snickers.http.conditions import GO_ON, Validators, http_date
from snickers.http.files import Found
from snickers.http.mediatypes import inherent_coding, media_type
from snickers.http.ranges import Span, read_ranges
from snickers.interfaces.exchange import Fields

VARY = (b"Vary", b"Accept-Encoding")


class Representation:
    """What is said of a file (RFC 9110 §8). The lists are shared: never to be changed."""

    __slots__ = ("fields", "length", "media_type", "not_modified", "validators")

    def __init__(self, found: Found, varies: bool) -> None:
        """*varies*: whether other codings of the file may be served to others."""
        etag = b'"%b"' % found.tag
        if not found.settled:
            etag = b"W/" + etag
        modified = found.modified if found.dated else None
        self.length = found.size
        """Bytes."""
        self.validators = Validators(etag, modified, found.settled)
        self.media_type = media_type(found.name)
        self.not_modified: Fields = [(b"ETag", etag)]
        """Of 304 (RFC 9110 §15.4.5)."""
        if modified is not None:
            self.not_modified.append((b"Last-Modified", http_date(modified)))
        if varies:
            self.not_modified.append(VARY)
        self.fields: Fields = [
            (b"Content-Type", self.media_type),
            *self.not_modified,
            (b"Accept-Ranges", b"bytes"),
        ]
        """Of 200, the Content-Type first."""
        codings = [coding for coding in (inherent_coding(found.name), found.coding) if coding]
        if codings:
            self.fields.append((b"Content-Encoding", b", ".join(codings)))

    def choose(self, method: bytes, conditions: Mapping[bytes, bytes]) -> tuple[int, list[Span]]:
        """Return the status a GET or HEAD gets, and with 206 the spans of the body.

        *conditions*: see `snickers.http.conditions.read_conditions`.
        """
        status = self.validators.outcome(conditions)
        if status == GO_ON and method == b"GET" and b"range" in conditions:
            if_range = conditions.get(b"if-range")
            if if_range is None or self.validators.still(if_range):
                spans = read_ranges(conditions[b"range"], self.length)
                if spans is not None:
                    return (206, spans) if spans else (416, [])
        return status, []
