"""Conditional requests (RFC 9110 §13): does the client have what it asks for already?

Pure. An answer must never claim that nothing has changed on the word of a date that a strong
comparison would not accept, nor because a field could not be read.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Mapping
from datetime import datetime
from email.utils import formatdate

from attrs import frozen

from snickers.interfaces.exchange import Fields

GO_ON, NOT_MODIFIED, FAILED = 200, 304, 412
"""What `Validators.outcome` returns."""

_NAMES = frozenset(
    (
        b"if-match",
        b"if-none-match",
        b"if-modified-since",
        b"if-unmodified-since",
        b"if-range",
        b"range",
    )
)
MAX_TAGS = 4096
"""Bytes of a list of tags that are looked at: a hundred of them. Whoever says more is answered as
if none of the others were the right one, which is never wrong, only more work for them."""

_TAG = re.compile(rb'(W/)?("[^"]*")')
_MONTHS = (
    *(b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun"),
    *(b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"),
)
_CLOCK = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_MONTH = rb"(?P<month>[A-Z][a-z][a-z])"
_FORMS = (
    re.compile(rb"[A-Z][a-z]+, (?P<day>\d\d) %b (?P<year>\d{4}) %b GMT" % (_MONTH, _CLOCK)),
    re.compile(rb"[A-Z][a-z]+, (?P<day>\d\d)-%b-(?P<year>\d\d) %b GMT" % (_MONTH, _CLOCK)),
    re.compile(rb"[A-Z][a-z]+ %b (?P<day>[ \d]\d) %b (?P<year>\d{4})" % (_MONTH, _CLOCK)),
)


def http_date(seconds: float) -> bytes:
    """Return *seconds* since the epoch as an IMF-fixdate (RFC 9110 §5.6.7)."""
    return formatdate(seconds, usegmt=True).encode("ascii")


def read_date(text: bytes) -> int | None:
    """Return the seconds since the epoch of an HTTP-date in any of its three forms (RFC 9110
    §5.6.7), ``None`` if it is none. Years of two digits lie between 1970 and 2069."""
    for form in _FORMS:
        found = form.fullmatch(text)
        if found is not None and found["month"] in _MONTHS:
            year = int(found["year"])
            if len(found["year"]) == 2:
                year += 2000 if year < 70 else 1900
            try:
                moment = datetime(
                    year,
                    _MONTHS.index(found["month"]) + 1,
                    int(found["day"]),
                    int(found["hour"]),
                    int(found["minute"]),
                    # A leap second counts as the one before it.
                    min(int(found["second"]), 59),
                )
            except ValueError:
                return None
            return timegm(moment.timetuple())
    return None


def read_conditions(fields: Fields) -> dict[bytes, bytes] | None:
    """Return the fields that make a request conditional or partial, names in lower case;
    ``None`` for most requests."""
    found: dict[bytes, bytes] | None = None
    for name, value in fields:
        name = name.lower()
        if name in _NAMES:
            if found is None:
                found = {}
            found[name] = found[name] + b", " + value if name in found else value
    return found


@frozen
class Validators:
    """What tells one state of a file from another (RFC 9110 §8.8)."""

    etag: bytes
    """With its quotes, and ``W/`` when it is weak."""
    modified: int | None
    """Seconds since the epoch; ``None``: not known."""
    strong: bool
    """Whether two states of the file cannot have the same validators."""

    def outcome(self, conditions: Mapping[bytes, bytes]) -> int:
        """Return `GO_ON`, `NOT_MODIFIED` or `FAILED` for a GET or a HEAD, in the order of RFC
        9110 §13.2.2. Range and If-Range are not looked at."""
        match = conditions.get(b"if-match")
        if match is not None:
            if match != b"*" and not self._named(match, weakly=False):
                return FAILED
        elif (since := self._date(conditions.get(b"if-unmodified-since"))) is not None and (
            self.modified is not None and self.modified > since
        ):
            return FAILED
        match = conditions.get(b"if-none-match")
        if match is not None:
            if match in (self.etag, b"*") or self._named(match, weakly=True):
                return NOT_MODIFIED
        elif (since := self._date(conditions.get(b"if-modified-since"))) is not None and (
            self.modified is not None and self.modified <= since
        ):
            return NOT_MODIFIED
        return GO_ON

    def still(self, if_range: bytes) -> bool:
        """Say whether an If-Range field (RFC 9110 §13.1.5) holds: a part of what the client has
        is still a part of this."""
        if not self.strong:
            return False
        if if_range.startswith((b'"', b"W/")):
            return if_range == self.etag
        return self.modified is not None and read_date(if_range) == self.modified

    def _named(self, tags: bytes, weakly: bool) -> bool:
        if not weakly and not self.strong:
            return False
        own = self.etag.removeprefix(b"W/")
        found = _TAG.findall(tags[:MAX_TAGS])
        return any(tag == own and (weakly or not weak) for weak, tag in found)

    @staticmethod
    def _date(text: bytes | None) -> int | None:
        return None if text is None else read_date(text)
