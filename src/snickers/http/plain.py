"""The plain http listener: visitors of every known host are sent to https.

Must never answer for a site itself: nothing that is said here is sealed.
"""

from __future__ import annotations

from snickers.http.exchange import Exchange
from snickers.http.front import Front
from snickers.http.http1 import Http1
from snickers.http.pages import answer_error
from snickers.stream import Stream


class PlainHttp1(Http1):
    """A connection to the plain http listener."""

    __slots__ = ("_port",)

    def __init__(self, front: Front, transport: Stream, https_port: int) -> None:
        """*https_port*: where visitors find the sites."""
        super().__init__(front, transport, None, False)
        self._port = b"" if https_port == 443 else b":%d" % https_port

    def _dispatch(self, exchange: Exchange) -> None:
        request = exchange.request
        if self.front.sites.find(request.host) is None:
            answer_error(exchange, 404)
            return
        target = b"/" if request.target == b"*" else request.target
        location = b"https://%b%b%b" % (request.host, self._port, target)
        body = b"This site is served over https: %b\n" % location
        exchange.answer(
            308,
            [(b"Location", location), (b"Content-Type", b"text/plain; charset=utf-8")],
            len(body),
            body,
            True,
        )
