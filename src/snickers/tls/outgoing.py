"""TLS to servers behind us: connect, shake hands, look whose certificate it is, then speak.

On the way of bytes it is `TLSStream`'s; before that it must never let a byte of a request go to a
server whose chain or name was not found good, unless its owner has said that nobody is to look.
"""

from __future__ import annotations

import errno
import math
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from OpenSSL import SSL
from OpenSSL._util import lib
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import (
    extract_patterns,
    verify_hostname,
    verify_ip_address,
)

from snickers.stream import OPEN, Address, Stream, Sweep, begin_to_connect
from snickers.tls.transport import CIPHERS, SUITES, TLSStream

ALPN = [b"http/1.1"]


class NotTrusted(Exception):
    """The server is not who it should be; the text says what was expected and what came."""


def make_context(trust: str, verify: bool) -> SSL.Context:
    """Return a context of a client. Blocking: reads the roots at *trust*, or the system's.

    Raises `NotTrusted` for a file that has none.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS | 2)  # SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
    lib.SSL_CTX_clear_mode(context._context, 1)  # partial writes, as `harden` says
    context.set_cipher_list(CIPHERS)
    context.set_tls13_ciphersuites(SUITES)
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
    """A `TLSStream` that speaks TLS as a client. *name* is sent by SNI and, if *verify* is not
    empty, that name must be in the certificate."""

    __slots__ = ("_context", "_name", "_verify")

    def __init__(
        self,
        reactor: Any,
        sock: socket.SocketType,
        sweep: Sweep,
        peer: bytes,
        context: SSL.Context,
        name: str,
        verify: str,
    ) -> None:
        Stream.__init__(self, reactor, sock, sweep, peer)
        self._context = context
        self._name = name
        self._verify = verify
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
            connection = self._connection = SSL.Connection(self._context, descriptor)
            connection.set_connect_state()
            try:
                ip_address(self._name)
            except ValueError:
                # RFC 6066 §3: addresses are not named.
                connection.set_tlsext_host_name(self._name.encode("ascii"))
            self._ssl = connection._ssl
        try:
            connection.do_handshake()
            if self._verify:
                check_name(connection, self._verify)
        except SSL.WantReadError:
            self._write_no_more()
            self._read_on()
            return False
        except SSL.WantWriteError:
            self._write_on()
            return False
        except SSL.Error as error:
            self._connect_failed(NotTrusted(_words(error)))
            return False
        except NotTrusted as problem:
            self._connect_failed(problem)
            return False
        self._state = OPEN
        self.deadline = math.inf
        if self._queue:
            self._write_on()
        else:
            self._queue = None
            self._write_no_more()
        self._read_on()
        try:
            self.protocol.connectionMade()
        except Exception:
            self._protocol_failed()
        return bool(self._queue)

    def _connect_failed(self, problem: BaseException | None) -> None:
        Stream._connect_failed(self, problem)


def _words(error: SSL.Error) -> str:
    try:
        reason = error.args[0][-1][2]
    except (IndexError, TypeError):
        reason = ""
    return f"the TLS handshake failed: {reason or 'the connection ended'}"


def connector(
    context: SSL.Context, name: str, verify: str
) -> Callable[[Any, Sweep, Address, Any, float], Stream]:
    """Return what connects as `snickers.stream.connect` does, with TLS on it."""

    def make(reactor: Any, sock: socket.SocketType, sweep: Sweep, peer: bytes) -> Stream:
        return OutgoingStream(reactor, sock, sweep, peer, context, name, verify)

    def connect(
        reactor: Any, sweep: Sweep, address: Address, protocol: Any, within: float
    ) -> Stream:
        return begin_to_connect(reactor, sweep, address, protocol, within, make)

    return connect
