"""TLS to servers behind us: connect, shake hands, look whose certificate it is, then speak.

On the way of bytes it is `TLSStream`'s; before that it must never let a byte of a request go to a
server whose chain or name was not found good, unless its owner has said that nobody is to look.
"""

from __future__ import annotations

import errno
import math
import socket
from ipaddress import ip_address
from typing import Any

from OpenSSL import SSL
from OpenSSL._util import ffi, lib
from OpenSSL.crypto import X509StoreFlags
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import (
    extract_patterns,
    verify_hostname,
    verify_ip_address,
)

from snickers.stream import OPEN, Address, Stream, Sweep, begin_to_connect
from snickers.tls.transport import TLSStream, make_fit

ALPN = [b"http/1.1"]
RESUMED_FOR = 600.0
"""Seconds after a whole handshake for which its session is offered again: a resumed one shows no
certificate, and one that has been replaced must not be trusted for long."""


class NotTrusted(Exception):
    """The server is not who it should be; the text says what was expected and what came."""


def make_context(trust: str, verify: bool) -> SSL.Context:
    """Return a context of a client. Blocking: reads the roots at *trust*, or the system's.

    Raises `NotTrusted` for a file that has none.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    make_fit(context)
    context.set_alpn_protos(ALPN)
    if not verify:
        context.set_verify(SSL.VERIFY_NONE)
        return context
    context.set_verify(SSL.VERIFY_PEER)
    if trust:
        try:
            context.load_verify_locations(trust)
        except SSL.Error:
            raise NotTrusted(f"{trust} has no certificates in PEM that could be trusted") from None
        # Who has just the certificate of the server itself, or of an authority under the root,
        # may trust that one alone.
        store = context.get_cert_store()
        if store is not None:
            store.set_flags(X509StoreFlags.PARTIAL_CHAIN)
    else:
        context.set_default_verify_paths()
    return context


def check_name(connection: SSL.Connection, name: str) -> None:
    """Raise `NotTrusted` if the peer's certificate is not for *name*, a host or an address."""
    try:
        try:
            ip_address(name)
        except ValueError:
            verify_hostname(connection, name)
        else:
            verify_ip_address(connection, name)
    except (VerificationError, CertificateError):
        certificate = connection.get_peer_certificate()
        names = []
        if certificate is not None:
            try:
                names = [_pattern(pattern) for pattern in extract_patterns(certificate)]
            except CertificateError:
                pass
        said = ", ".join(names) or "no name at all"
        raise NotTrusted(f"its certificate is for {said}, not for {name}") from None


def _pattern(pattern: object) -> str:
    value: Any = getattr(pattern, "pattern", pattern)
    return value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else str(value)


class OutgoingStream(TLSStream):
    """A `TLSStream` that speaks TLS as a client, as its `Connector` says."""

    __slots__ = ("_connector",)

    def __init__(
        self,
        reactor: Any,
        sock: socket.SocketType,
        sweep: Sweep,
        peer: bytes,
        connector: Connector,
    ) -> None:
        Stream.__init__(self, reactor, sock, sweep, peer)
        self._connector = connector
        self._connection: Any = None
        self._ssl: Any = None
        self._owner = None
        self._read_waits = self._write_waits = False
        self.alpn = b""
        self.site = None

    def _connected(self) -> bool:
        connection = self._connection
        if connection is None:
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._connect_failed(OSError(code, errno.errorcode.get(code, "")))
                return False
            try:
                self._socket.getpeername()
            except OSError:
                return False  # an event of the descriptor's previous owner: not yet
            descriptor: Any = self._fd
            connection = self._connection = self._connector.begin(descriptor, self.sweep.now)
            self._ssl = connection._ssl
        try:
            connection.do_handshake()
            self._connector.check(connection)
        except SSL.WantReadError:
            self._write_no_more()
            self._read_on()
            return False
        except SSL.WantWriteError:
            self._write_on()
            return False
        except SSL.Error as error:
            self._connect_failed(NotTrusted(self._words(error)))
            return False
        except NotTrusted as problem:
            self._connect_failed(problem)
            return False
        self._connector.begun(self, self.sweep.now)
        self._state = OPEN
        self.deadline = math.inf
        if not self._queue:
            self._queue = None
            self._write_no_more()
        else:
            self._write_on()
        self._read_on()
        try:
            self.protocol.connectionMade()
        except Exception:
            self._protocol_failed()
        if self._shut and self._queue is None:
            self._end_writing()
        return bool(self._queue)

    def _established(self) -> bool:
        return self._connected()

    def _words(self, error: SSL.Error) -> str:
        code = lib.SSL_get_verify_result(self._ssl)
        if code and self._connector.verify:
            reason = ffi.string(lib.X509_verify_cert_error_string(code)).decode("ascii", "replace")
            return f"its certificate for {self._connector.verify} is not trusted: {reason}"
        try:
            reason = error.args[0][-1][2]
        except (IndexError, TypeError):
            reason = ""
        return f"the TLS handshake failed: {reason or 'the connection ended'}"

    def _connect_failed(self, problem: BaseException | None) -> None:
        # There is no owner to be told, as a `TLSStream` of a server has one.
        Stream._connect_failed(self, problem)

    def _send_end(self) -> bool:
        if self._connection is not None:
            self._connector.over(self)
        return TLSStream._send_end(self)

    def _release(self) -> None:
        if self._connection is not None:
            self._connector.over(self)
        TLSStream._release(self)


class Connector:
    """Connects as `snickers.stream.connect` does, with TLS on it.

    *name* is sent by SNI; *verify* must be in the certificate, unless it is empty. The newest
    session is offered to the server for the next connection.
    """

    __slots__ = ("__weakref__", "_last", "_session", "_whole", "context", "name", "verify")

    def __init__(self, context: SSL.Context, name: str, verify: str) -> None:
        self.context = context
        self.name = name
        self.verify = verify
        self._last: OutgoingStream | None = None
        self._session: Any = None
        self._whole = -math.inf
        """When the last whole handshake was, by the sweep's clock."""

    def __call__(
        self, reactor: Any, sweep: Sweep, address: Address, protocol: Any, within: float
    ) -> Stream:
        return begin_to_connect(reactor, sweep, address, protocol, within, self._make)

    def _make(self, reactor: Any, sock: socket.SocketType, sweep: Sweep, peer: bytes) -> Stream:
        return OutgoingStream(reactor, sock, sweep, peer, self)

    def begin(self, descriptor: Any, now: float) -> SSL.Connection:
        """Return a connection that is to shake hands on *descriptor*."""
        connection = SSL.Connection(self.context, descriptor)
        connection.set_connect_state()
        try:
            ip_address(self.name)
        except ValueError:
            # RFC 6066 §3: addresses are not named.
            connection.set_tlsext_host_name(self.name.encode("ascii"))
        if now - self._whole < RESUMED_FOR:
            last = self._last
            if last is not None:
                # Tickets come behind the handshake (RFC 8446 §4.6.1): by now it has them.
                self._session = last._connection.get_session()
            if self._session is not None:
                connection.set_session(self._session)
        return connection

    def check(self, connection: SSL.Connection) -> None:
        """Raise `NotTrusted` unless *connection*, which has shaken hands, is to the right one."""
        if self.verify:
            check_name(connection, self.verify)

    def begun(self, stream: OutgoingStream, now: float) -> None:
        """*stream* has shaken hands with the right one."""
        if not lib.SSL_session_reused(stream._ssl):
            self._whole = now
        self._last = stream

    def over(self, stream: OutgoingStream) -> None:
        """*stream*'s connection ends."""
        if self._last is stream:
            self._last = None
            self._session = stream._connection.get_session()
