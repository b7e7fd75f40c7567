"""The plain http listener: visitors of every known host are sent to https.

Here, too, a certificate authority finds what it looks for when a name has to be proved to be ours
(http-01, RFC 8555 section 8.3): for any host, since only the token says what it is about. Must
never answer for a site itself: nothing that is said here is sealed.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.http.exchange import Exchange
from snickers.http.front import Front
from snickers.http.http1 import Http1
from snickers.http.pages import answer_error
from snickers.interfaces.exchange import Fields, IExchange, IResponder
from snickers.stream import Stream

CHALLENGES = b"/.well-known/acme-challenge/"

Prove = Callable[[bytes], Deferred[bytes | None]]
"""Fires with the key authorization of a token, whatever bytes that is, with ``None`` where there is
none; fails when that cannot be said now."""


class PlainHttp1(Http1):
    """A connection to the plain http listener."""

    __slots__ = ("_port", "_prove")

    def __init__(self, front: Front, transport: Stream, https_port: int, prove: Prove) -> None:
        """*https_port*: where visitors find the sites; *prove* knows the answers to challenges."""
        super().__init__(front, transport, None, False)
        self._port = b"" if https_port == 443 else b":%d" % https_port
        self._prove = prove

    def _dispatch(self, exchange: Exchange) -> None:
        request = exchange.request
        if request.target.startswith(CHALLENGES):
            self._challenged(exchange, request.target[len(CHALLENGES) :])
            return
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

    def _challenged(self, exchange: Exchange, token: bytes) -> None:
        """Answer an authority. Nobody is sent on from here: what is not known here is not known
        at the site either, and says nothing of which hosts there are."""
        if exchange.request.method not in (b"GET", b"HEAD"):
            answer_error(exchange, 405, extra=[(b"Allow", b"GET, HEAD")])
            return
        asked = _Asked(exchange)
        exchange.responder = asked
        self._prove(token).addCallbacks(asked.proved, asked.failed)


@implementer(IResponder)
class _Asked:
    """An authority's question, or somebody else's, that waits for its answer."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: IExchange) -> None:
        self._exchange: IExchange | None = exchange

    def proved(self, proof: bytes | None) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if proof is None:
            answer_error(exchange, 404)
            return
        fields = [(b"Content-Type", b"application/octet-stream"), (b"Cache-Control", b"no-store")]
        exchange.answer(200, fields, len(proof), proof, True)

    def failed(self, failure: Failure) -> None:
        """It cannot be said now."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            answer_error(exchange, 503, retry_after=1)

    def gone(self) -> None:
        self._exchange = None

    def body(self, data: bytes) -> None:
        """Nobody asks for one."""

    def body_end(self, trailers: Fields | None) -> None:
        """Nobody asks for one."""

    def pause(self) -> None:
        """What is said is said at once."""

    def resume(self) -> None:
        """What is said is said at once."""
