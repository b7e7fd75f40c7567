"""A TLS client in a test's hand, on a real socket and without real time."""

from __future__ import annotations

import socket
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL

from snickers.tls.transport import harden

from .pairs import make_pair
from .wires import Turns


@cache
def server_context(*alpn: bytes) -> SSL.Context:
    """Return a hardened context with a certificate for ``site.example``."""
    pair = make_pair("site.example")
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(pair.certificate)
    context.use_privatekey(
        serialization.load_pem_private_key(pair.key_pem, None)  # as it is read from a file
    )
    harden(context, alpn or (b"http/1.1",))
    return context


def client_context(*alpn: bytes, versions: tuple[int, int] | None = None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if alpn:
        context.set_alpn_protos(list(alpn))
    if versions:
        context.set_min_proto_version(versions[0])
        context.set_max_proto_version(versions[1])
    return context


class TLSWire:
    """The client's end of a TLS connection. A test reads its attributes to see how it ended."""

    def __init__(
        self,
        turns: Turns,
        sock: socket.socket,
        name: bytes = b"site.example",
        context: SSL.Context | None = None,
        session: Any = None,
    ) -> None:
        self.turns = turns
        self.sock = sock
        sock.setblocking(False)
        self.tls = SSL.Connection(context or client_context(), sock)
        self.tls.set_connect_state()
        if name:
            self.tls.set_tlsext_host_name(name)
        if session is not None:
            self.tls.set_session(session)
        self.ended = False
        """Whether the server's close_notify has come."""
        self.cut = False
        """Whether the connection ended without one."""
        self.error = ""
        """What OpenSSL says of an alert that came."""

    def _once(self, call: Any, *arguments: Any) -> Any:
        """Call OpenSSL, taking turns while it waits; None when nothing is left to wait for."""
        while True:
            try:
                return call(*arguments)
            except (SSL.WantReadError, SSL.WantWriteError):
                if not self.turns.turn():
                    return None
            except SSL.ZeroReturnError:
                self.ended = True
                return None
            except SSL.SysCallError:
                self.cut = True
                return None
            except SSL.Error as e:
                self.error = str(e)
                return None

    def shake(self) -> TLSWire:
        """Do the handshake as far as it goes."""
        self._once(self.tls.do_handshake)
        self.turns.settle()
        return self

    def begin(self) -> TLSWire:
        """Send the hello alone."""
        try:
            self.tls.do_handshake()
        except SSL.WantReadError:
            pass
        return self

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = self._once(self.tls.send, view)
            if count is None:
                raise AssertionError("nobody reads")
            view = view[count:]
        self.turns.settle()

    def receive(self, most: int | None = None) -> bytes:
        """Return what has come, no more than *most* bytes, and note how it ended."""
        data = bytearray()
        self.turns.settle()
        while most is None or len(data) < most:
            piece = self._once(self.tls.recv, 65536 if most is None else most - len(data))
            if piece is None:
                break
            data += piece
        return bytes(data)

    def end(self) -> None:
        """Send close_notify; go on reading."""
        self._once(self.tls.shutdown)
        self.turns.settle()

    def close(self) -> None:
        """Close without close_notify."""
        self.sock.close()
        self.turns.settle()
