"""An exchange without a client: it records what a handler does, and holds it to the contract.

For tests of handlers. A call that `IExchange` does not allow raises `AssertionError` at once,
so that a test need not look for it.
"""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from snickers.interfaces.exchange import Fields, IExchange, IRequest, IResponder


@implementer(IRequest)
class FakeRequest:
    """A request head, as a front would have made it."""

    def __init__(
        self,
        method: bytes = b"GET",
        target: bytes = b"/",
        fields: Fields | None = None,
        host: bytes = b"a.example",
        version: int = 11,
        length: int | None = 0,
        upgrade: bytes = b"",
    ) -> None:
        self.method = method
        self.target = target
        self.host = host
        self.authority = host
        self.version = version
        self.fields = [(b"Host", host), *(fields or [])]
        self.length = length
        self.upgrade = upgrade

    def get(self, name: bytes) -> bytes | None:
        values = [value for known, value in self.fields if known.lower() == name]
        return b", ".join(values) if values else None


@implementer(IExchange)
class RecordingExchange:
    """Records one answer: `status`, `fields`, `length`, `data`, and how it `ended`.

    *window*: bytes of the answer's body after which the client is full: ``responder.pause()``
    is called within the write that reaches it, until `drain`. ``None``: never.
    """

    def __init__(
        self,
        method: bytes = b"GET",
        target: bytes = b"/",
        fields: Fields | None = None,
        window: int | None = None,
        peer: bytes = b"192.0.2.1",
        secure: bool = True,
        **request: Any,
    ) -> None:
        self.request = FakeRequest(method, target, fields, **request)
        self.peer = peer
        self.secure = secure
        self.id = b"test-1"
        self.user = b""
        self.responder: IResponder | None = None
        self.status: int | None = None
        self.fields: Fields = []
        self.length: int | None = None
        self.pieces: list[bytes] = []
        self.trailers: Fields | None = None
        self.informed: list[tuple[int, Fields]] = []
        self.ended = ""
        """``"finish"``, ``"abort"``, ``"upgrade"``, ``"gone"``, or ``""``: not yet."""
        self.receiving = False
        self.body_paused = False
        self.paused = False
        self.upgraded: tuple[Any, bytes] = (None, b"")
        """What `upgrade` returns."""
        self._window = window
        self._unread = 0

    # What a test looks at

    @property
    def data(self) -> bytes:
        """The answer's body so far."""
        return b"".join(self.pieces)

    def get(self, name: bytes) -> bytes | None:
        """Return the only value of the answer's field *name* (lower case), ``None`` without."""
        values = [value for known, value in self.fields if known.lower() == name]
        assert len(values) < 2, f"{name!r} was sent {len(values)} times"
        return values[0] if values else None

    # What a client does

    def drain(self) -> None:
        """The client has read all; it has room for another window."""
        self._unread = 0
        if self.paused:
            self.paused = False
            assert self.responder is not None
            self.responder.resume()

    def lose(self) -> None:
        """The client goes away."""
        if not self.ended:
            self.ended = "gone"
            if self.responder is not None:
                self.responder.gone()

    def send(self, data: bytes, end: bool = False) -> None:
        """The client sends a piece of the request's body."""
        assert self.receiving
        assert not self.body_paused
        assert self.responder is not None
        if data:
            self.responder.body(data)
        if end and not self.ended:
            self.responder.body_end(None)

    # IExchange

    def receive(self) -> None:
        self._open("receive")
        assert self.request.length != 0, "receive() of a request without a body"
        assert self.responder is not None, "receive() before the responder was set"
        self.receiving = True

    def pause_body(self) -> None:
        self._open("pause_body")
        self.body_paused = True

    def resume_body(self) -> None:
        self._open("resume_body")
        self.body_paused = False

    def inform(self, status: int, fields: Fields) -> None:
        self._open("inform")
        assert self.status is None
        assert status in (100, *range(102, 200))
        self.informed.append((status, list(fields)))

    def answer(
        self,
        status: int,
        fields: Fields,
        length: int | None,
        data: bytes = b"",
        end: bool = False,
    ) -> None:
        self._open("answer")
        assert self.status is None, "answered twice"
        assert 200 <= status <= 599, status
        for name, value in fields:
            assert {type(name), type(value)} == {bytes}, (name, value)
            assert name.lower() not in (b"connection", b"transfer-encoding", b"content-length")
            assert not set(value) & set(b"\r\n\0"), value
        assert end or self.responder is not None, "more is to come, but there is no responder"
        self.status = status
        self.fields = list(fields)
        self.length = length
        self._take(data)
        if end:
            self.finish()

    def write(self, data: bytes) -> None:
        self._open("write")
        assert self.status is not None, "write() before answer()"
        self._take(data)

    def finish(self, trailers: Fields | None = None) -> None:
        self._open("finish")
        assert self.status is not None, "finish() before answer()"
        self.trailers = trailers
        if self._bodiless or self.length is None or len(self.data) == self.length:
            self.ended = "finish"
        else:
            self.ended = "abort"

    def abort(self) -> None:
        self._open("abort")
        self.ended = "abort"

    def upgrade(self, fields: Fields) -> Any:
        self._open("upgrade")
        self.status = 101
        self.fields = list(fields)
        self.ended = "upgrade"
        return self.upgraded

    @property
    def _bodiless(self) -> bool:
        return self.request.method == b"HEAD" or self.status in (204, 304)

    def _open(self, call: str) -> None:
        assert not self.ended, f"{call}() after the exchange had ended by {self.ended}"

    def _take(self, data: bytes) -> None:
        assert type(data) is bytes, type(data)
        if not data or self._bodiless:
            return
        self.pieces.append(data)
        if self.length is not None:
            assert len(self.data) <= self.length, "more than was announced"
        self._unread += len(data)
        if self._window is not None and self._unread >= self._window and not self.paused:
            self.paused = True
            if self.responder is not None:
                self.responder.pause()
