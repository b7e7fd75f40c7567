"""The owner's decisions around a site's handler: who comes in, how much they send, what they get.

In this order: where the client comes from, its password, the size of its body; then the site's
own handler answers. Every answer is dressed on its way out, those of the guard among them. Sites
about which nothing was decided never come here. Nothing that is shared between exchanges (an
upstream's answer, a list of fields, a request that a connection remembers) may be changed.
"""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from snickers.config.values import Site
from snickers.http.answer import Answer, IForwardingExchange
from snickers.http.checks import ADMITTED, BUSY, WRONG
from snickers.http.pages import answer_error
from snickers.http.passwords import Door, read_basic
from snickers.http.policy import Edits, Networks, without_field
from snickers.interfaces.exchange import Fields, IHandler, IResponder


def is_guarded(site: Site) -> bool:
    """Say whether anything was decided about *site* that a guard must see to."""
    return bool(
        site.hsts or site.headers or site.allow_from or site.basic_auth or site.max_body is not None
    )


@implementer(IForwardingExchange)
class DressedExchange:
    """An exchange as the site's handler sees it: its answer is dressed, its body counted."""

    __slots__ = (
        "_begun",
        "_edits",
        "_exchange",
        "_left",
        "_responder",
        "peer",
        "request",
        "secure",
    )

    def __init__(self, exchange: Any, edits: Edits) -> None:
        self._exchange = exchange
        self._edits = edits
        self._responder: IResponder | None = None
        self._left: int | None = None
        self._begun = False
        self.request = exchange.request
        self.peer: bytes = exchange.peer
        self.secure: bool = exchange.secure

    def limit(self, most: int) -> None:
        """Take no more than *most* bytes of a body whose length was not announced."""
        self._left = most

    @property
    def responder(self) -> IResponder | None:
        return self._responder

    @responder.setter
    def responder(self, responder: IResponder | None) -> None:
        self._responder = responder
        if self._left is not None and responder is not None:
            responder = _Counting(self, responder)
        self._exchange.responder = responder

    @property
    def id(self) -> bytes:
        """The request's id."""
        known: bytes = self._exchange.id
        return known

    @property
    def user(self) -> bytes:
        """Who asked, once that was checked."""
        user: bytes = self._exchange.user
        return user

    @user.setter
    def user(self, user: bytes) -> None:
        self._exchange.user = user

    @property
    def forwarding(self) -> bytes:
        """The lines that tell a site who asked (see `IForwardingExchange`)."""
        forwarding: bytes = self._exchange.forwarding
        return forwarding

    def count(self, size: int) -> bool:
        """Count *size* more bytes of the body; return whether they may be taken.

        When not, the exchange is over: the handler hears that the client has gone, the client
        gets 413, or notices that its answer is not complete.
        """
        assert self._left is not None
        self._left -= size
        if self._left >= 0:
            return True
        responder = self._responder
        self._responder = self._exchange.responder = None
        if responder is not None:
            responder.gone()
        if self._begun:
            self._exchange.abort()
        else:
            answer_error(self, 413)
        return False

    def receive(self) -> None:
        self._exchange.receive()

    def pause_body(self) -> None:
        self._exchange.pause_body()

    def resume_body(self) -> None:
        self._exchange.resume_body()

    def inform(self, status: int, fields: Fields) -> None:
        self._exchange.inform(status, fields)

    def answer(
        self,
        status: int,
        fields: Fields,
        length: int | None,
        data: bytes = b"",
        end: bool = False,
    ) -> None:
        self._begun = True
        self._exchange.answer(status, self._edits.fields(fields), length, data, end)

    def forward(self, answer: Answer, data: bytes, end: bool) -> None:
        self._begun = True
        self._exchange.forward(self._edits.answer(answer), data, end)

    def write(self, data: bytes) -> None:
        self._exchange.write(data)

    def finish(self, trailers: Fields | None = None) -> None:
        self._exchange.finish(self._edits.without(trailers) if trailers else trailers)

    def abort(self) -> None:
        self._exchange.abort()

    def upgrade(self, fields: Fields) -> Any:
        self._begun = True
        return self._exchange.upgrade(self._edits.fields(fields))


@implementer(IResponder)
class _Counting:
    """Stands between the client and a handler's responder, and counts the body."""

    __slots__ = ("_dressed", "_responder")

    def __init__(self, dressed: DressedExchange, responder: IResponder) -> None:
        self._dressed = dressed
        self._responder = responder

    def body(self, data: bytes) -> None:
        if self._dressed.count(len(data)):
            self._responder.body(data)

    def body_end(self, trailers: Fields | None) -> None:
        self._responder.body_end(trailers)

    def pause(self) -> None:
        self._responder.pause()

    def resume(self) -> None:
        self._responder.resume()

    def gone(self) -> None:
        self._responder.gone()


@implementer(IResponder)
class _Waiting:
    """An exchange that waits at the door."""

    __slots__ = ("_dressed", "_handler", "_paused", "over")

    def __init__(self, handler: GuardedHandler, dressed: DressedExchange) -> None:
        self._handler = handler
        self._dressed = dressed
        self._paused = False
        self.over = False

    def told(self, verdict: int) -> None:
        """What the door says."""
        dressed = self._dressed
        self.over = True
        dressed.responder = None
        self._handler.judged(dressed, verdict)
        if self._paused and dressed.responder is not None:
            dressed.responder.pause()

    def body(self, data: bytes) -> None:
        """Never called: the body is not received yet."""

    def body_end(self, trailers: object) -> None:
        """Never called: the body is not received yet."""

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    def gone(self) -> None:
        self.over = True


@implementer(IHandler)
class GuardedHandler:
    """Gives exchanges to *inner* when the owner's decisions allow it."""

    def __init__(self, inner: IHandler, site: Site, door: Door | None = None) -> None:
        """*door*: of a site with ``basic auth``."""
        self._inner = inner
        self._door = door
        self._networks = Networks(site.allow_from) if site.allow_from else None
        self._max_body = site.max_body
        self._edits = Edits(site.headers, site.hsts)
        realm = site.name.encode("ascii")
        self._challenge = (b"WWW-Authenticate", b'Basic realm="%b", charset="UTF-8"' % realm)

    def handle(self, exchange: Any) -> None:
        dressed = DressedExchange(exchange, self._edits)
        if self._networks is not None and not self._networks.holds(exchange.peer):
            answer_error(dressed, 403)
            return
        door = self._door
        if door is None:
            self._enter(dressed)
            return
        waiting = _Waiting(self, dressed)
        # Before the question, since a door may answer by `told` at once.
        dressed.responder = waiting
        verdict = door.ask(exchange.request.get(b"authorization"), exchange.peer, waiting)
        if verdict is not None:
            waiting.told(verdict)

    def judged(self, dressed: DressedExchange, verdict: int) -> None:
        """Let the exchange in, or answer it with what the door has said."""
        if verdict == ADMITTED:
            # It was for us: the site's server has no business with the password.
            read = read_basic(dressed.request.get(b"authorization") or b"")
            if read is not None:
                dressed.user = read[0]
            dressed.request = without_field(dressed.request, b"authorization")
            self._enter(dressed)
        elif verdict == WRONG:
            answer_error(dressed, WRONG, extra=[self._challenge])
        else:
            answer_error(dressed, verdict, "busy" if verdict == BUSY else "")

    def _enter(self, dressed: DressedExchange) -> None:
        most = self._max_body
        if most is not None:
            length = dressed.request.length
            if length is None:
                dressed.limit(most)
            elif length > most:
                answer_error(dressed, 413)
                return
        self._inner.handle(dressed)

    def close(self) -> None:
        self._inner.close()
