"""One request and its answer, whatever carried it: where fronts and kinds of sites meet.

A front makes an exchange, a handler answers it, a responder hears of the client. Neither side may
know more of the other than this, so that a new front, and a new kind of site, is one file each.
"""

from __future__ import annotations

from typing import Any

from zope.interface import Attribute, Interface

Fields = list[tuple[bytes, bytes]]
"""Header fields in order, names as they were or shall be sent."""


class IRequest(Interface):
    """A request head that was checked: no field of it can desynchronise anybody."""

    method: bytes = Attribute("Upper case as sent, such as ``b'GET'``.")
    target: bytes = Attribute("Origin form: path and query, percent-encoded; ``b'*'`` for OPTIONS.")
    host: bytes = Attribute("The host asked for: lower case, no port, no trailing dot.")
    authority: bytes = Attribute("The Host field as sent: with its port.")
    version: int = Attribute("10 or 11 (HTTP/1.0, HTTP/1.1); 20 for HTTP/2.")
    fields: Fields = Attribute(
        "End-to-end fields only, spoofable forwarding fields removed, Host among them."
    )
    length: int | None = Attribute("Bytes of the body; 0: none; None: not known (chunked).")
    upgrade: bytes = Attribute("``b'websocket'`` for a well-formed WebSocket handshake, else b''.")

    def get(name: bytes) -> bytes | None:
        """Return the value of the field *name* (lower case); several are joined by ``b', '``."""


class IExchange(Interface):
    """One request being answered. The front calls its responder; the handler calls this.

    Every exchange ends exactly once: by `finish` (or `answer` with ``end``), by `abort`, by
    `upgrade`, or by the responder's ``gone()``. After its end the handler calls nothing of it.
    """

    request: IRequest = Attribute("What is asked.")
    peer: bytes = Attribute("The client's numeric address.")
    secure: bool = Attribute("Whether the client came by https.")
    id: bytes = Attribute("What tells this request from all others, in logs here and behind.")
    user: bytes = Attribute("Who asked, where a password was checked; ``b''``: nobody knows.")
    responder: IResponder | None = Attribute("Set by the handler before it returns or receives.")

    def receive() -> None:
        """Take the request's body: ``responder.body`` is called for its pieces from now on.

        Sends ``100 Continue`` where the client waits for it. A handler that answers without
        calling this leaves the body to the front, which drains or closes. Only for a request
        whose ``length`` is not 0.
        """

    def pause_body() -> None:
        """Call ``responder.body`` no more until `resume_body`; the client feels it."""

    def resume_body() -> None:
        """Undo `pause_body`."""

    def inform(status: int, fields: Fields) -> None:
        """Send an interim answer (100 to 199, not 101); dropped for HTTP/1.0."""

    def answer(
        status: int,
        fields: Fields,
        length: int | None,
        data: bytes = b"",
        end: bool = False,
    ) -> None:
        """Send the final head, and *data* of the body with it.

        *fields* are end-to-end fields only: no Connection, Transfer-Encoding or Content-Length;
        the front frames the body itself from *length*, the bytes of the whole body, ``None``
        when it is not known. *end*: nothing follows. For HEAD, 204 and 304 the front sends no
        body whatever it is given, and *length* is only announced (``None``: not announced).
        """

    def write(data: bytes) -> None:
        """Send more of the answer's body."""

    def finish(trailers: Fields | None = None) -> None:
        """End the answer. Fewer bytes than announced: the same as `abort`."""

    def abort() -> None:
        """The answer cannot be completed: make the client notice, never end it cleanly."""

    def upgrade(fields: Fields) -> Any:
        """Send ``101`` and return ``(transport, leftover)``: the raw transport, and the bytes
        that the client had already sent behind its request. The caller gives the transport a
        new ``protocol`` at once."""


class IResponder(Interface):
    """What a handler leaves with an exchange to hear of the client."""

    def body(data: bytes) -> None:
        """A piece of the request's body, never empty."""

    def body_end(trailers: Fields | None) -> None:
        """The request's body is complete. Not called for a request without one."""

    def pause() -> None:
        """The client reads slowly: call `IExchange.write` no more until `resume`.

        What is written all the same is kept, not lost."""

    def resume() -> None:
        """Undo `pause`."""

    def gone() -> None:
        """The client has gone, or broke the rules. The exchange is over; release everything."""


class IHandler(Interface):
    """A kind of site: answers its exchanges. One for each site; made anew when the site changes."""

    def handle(exchange: IExchange) -> None:
        """Answer *exchange*, now or later. Must not block, and must not raise."""

    def close() -> None:
        """The site has changed or was removed: let idle connections go. Open exchanges go on."""
