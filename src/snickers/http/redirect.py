"""Sites that send every visitor elsewhere.

The host a visitor is sent to comes from the configuration alone: nothing a request contains may
change it, and nothing a request contains may end the Location field or leave the page's link.
"""

from __future__ import annotations

import re

from zope.interface import implementer

from snickers.config.values import Redirect
from snickers.interfaces.exchange import Fields, IExchange, IHandler

_UNSAFE = re.compile(rb'[^\x21-\x7e]|["#<>\\]')
"""What has no place in a path or a query (RFC 3986) and a meaning somewhere else: browsers read
a backslash as a slash."""
_ENCODED = [
    b"%%%02X" % byte if _UNSAFE.match(bytes((byte,))) else bytes((byte,)) for byte in range(256)
]
_TO = re.compile(rb"((?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*)?([^?#]*)(?:\?([^#]*))?(#.*)?", re.S)
_TYPE = (b"Content-Type", b"text/html; charset=utf-8")
_BEFORE = b'<!DOCTYPE html>\n<html lang="en"><title>Moved</title><p>This page is now <a href="'
_AFTER = b'">here</a>.\n'


@implementer(IHandler)
class RedirectHandler:
    """Sends every request to where `Redirect` says (RFC 9110 §15.4).

    With *keep path*, the request's path follows the one of ``to``, without a double slash
    between them, and its query follows the one of ``to``, joined by ``&``; a fragment of ``to``
    stays last. Both are passed on as received, but for what may not stand in a URI, which is
    percent-encoded.
    """

    __slots__ = ("_base", "_fixed", "_fragment", "_keep", "_query", "_status")

    def __init__(self, redirect: Redirect) -> None:
        to = re.sub(
            rb"[^\x21-\x7e]|[\"<>\\]",
            lambda found: b"%%%02X" % found[0][0],
            redirect.to.encode("utf-8"),
        )
        parts = _TO.fullmatch(to)
        authority, path, query, fragment = parts.groups() if parts else (None, to, None, None)
        self._status = redirect.status
        self._keep = redirect.keep_path
        self._base: bytes = (authority or b"") + path.rstrip(b"/")
        self._query: bytes = query or b""
        self._fragment: bytes = fragment or b""
        self._fixed = _answer(to)

    def handle(self, exchange: IExchange) -> None:
        target = exchange.request.target
        # Anything but origin form has no path to keep: "@elsewhere" would change the host.
        if self._keep and target[:1] == b"/":
            fields, body = _answer(self._location(target))
        else:
            fields, body = self._fixed
            fields = fields.copy()
        exchange.answer(self._status, fields, len(body), body, True)

    def close(self) -> None:
        """Nothing is kept between requests."""

    def _location(self, target: bytes) -> bytes:
        target = safe_target(target)
        path, _, query = target.partition(b"?")
        if not self._base:
            # Nothing stands before the path: "//elsewhere" would name a host.
            path = b"/" + path.lstrip(b"/")
        if self._query:
            query = self._query + b"&" + query if query else self._query
        location = self._base + path
        return (location + b"?" + query if query else location) + self._fragment


def safe_target(target: bytes) -> bytes:
    """Return *target* with what may not stand in a Location percent-encoded, the rest as it is."""
    if _UNSAFE.search(target) is None:
        return target
    # A call for each odd byte would cost fifteen times as much, and a client can send many.
    return b"".join(map(_ENCODED.__getitem__, target))


def _answer(location: bytes) -> tuple[Fields, bytes]:
    shown = location.replace(b"&", b"&amp;").replace(b"'", b"&#39;")
    return [(b"Location", location), _TYPE], _BEFORE + shown + _AFTER
