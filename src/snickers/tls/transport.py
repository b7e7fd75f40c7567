"""A stream with TLS on it: OpenSSL reads and writes the socket itself.

The handshake is done here too, with whatever context the port has chosen. This module must never
wait, whatever direction OpenSSL wants while we do the other one; take a connection that was cut
off for one that was ended; or show a protocol anything before the handshake is done.

The four calls made for every request go to OpenSSL through pyOpenSSL's own bindings: its
``Connection.recv`` and ``send`` cost as much again as what they call.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Sequence
from typing import Any, Protocol

from OpenSSL import SSL
from OpenSSL._util import ffi, lib
from twisted.internet.error import TimeoutError

from snickers.stream import (
    CONNECTING,
    FLUSHING,
    LINGERING,
    LOST,
    OPEN,
    READ_SIZE,
    Stream,
    Sweep,
)

RECORD = 16384
"""Bytes of the largest record."""
CHUNK = 65536
"""Bytes of one write, four records: OpenSSL says nothing of a write before all of it is sent."""
CHUNKS = 8
"""...and of those in one turn: encrypting more would keep everybody else waiting."""
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and authenticated encryption only (RFC 9325 §4.2)."""
SUITES = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
GROUPS = b"?X25519MLKEM768/?X25519:?secp256r1:?secp384r1"
"""For the key exchange, by OpenSSL's words: before the slash what no quantum computer opens later.
A client that knows it and has only guessed another one is asked anew (RFC 8446 §4.1.4)."""

_WANT_READ = lib.SSL_ERROR_WANT_READ
_WANT_WRITE = lib.SSL_ERROR_WANT_WRITE
_ZERO_RETURN = lib.SSL_ERROR_ZERO_RETURN
_PARTIAL_WRITES = 1
_MOVING_WRITES = 2
_PRIORITIZE_CHACHA = 1 << 21
"""SSL_OP_PRIORITIZE_CHACHA, which pyOpenSSL does not name: phones without AES get what is fast."""

_ssl_read = lib.SSL_read
_ssl_write = lib.SSL_write
_ssl_error = lib.SSL_get_error
_from_buffer = ffi.from_buffer
_bytes_of = ffi.buffer
_buffer = ffi.new("char[]", READ_SIZE)
"""What is read lands here first: one reactor, so one buffer for all connections."""
_name = ffi.new("unsigned char **")
_name_size = ffi.new("unsigned int *")


def make_fit(context: SSL.Context) -> None:
    """Set on *context*, a server's or a client's, what a `TLSStream` needs, and its ciphers."""
    context.set_mode(SSL.MODE_RELEASE_BUFFERS | _MOVING_WRITES)
    # pyOpenSSL allows partial writes, so that each call writes a single record: a quarter slower.
    lib.SSL_CTX_clear_mode(context._context, _PARTIAL_WRITES)
    context.set_cipher_list(CIPHERS)
    context.set_tls13_ciphersuites(SUITES)


def harden(context: SSL.Context, alpn: Sequence[bytes]) -> None:
    """Make of *context*, which has its certificate or will get it, a context of a server.

    TLS 1.2 and 1.3, no compression, no renegotiation; keys are exchanged by one of `GROUPS`; of
    *alpn* the first one that the client offers too is chosen by our preference, none if it offers
    none of them: who must refuse that does so before the handshake.
    """
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(
        SSL.OP_NO_COMPRESSION
        | SSL.OP_NO_RENEGOTIATION
        | SSL.OP_CIPHER_SERVER_PREFERENCE
        | _PRIORITIZE_CHACHA
    )
    # Sessions are resumed by tickets, whose keys live and die with the context: they cost nothing
    # that could be measured, since OpenSSL sends two useless ones even where they are forbidden.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    make_fit(context)
    _limit_groups(context)
    preferred = tuple(alpn)

    def choose(connection: SSL.Connection, offered: list[bytes]) -> Any:
        for name in preferred:
            if name in offered:
                return name
        return SSL.NO_OVERLAPPING_PROTOCOLS

    context.set_alpn_select_callback(choose)


def _limit_groups(context: SSL.Context) -> None:
    """Have *context* exchange keys by `GROUPS` alone.

    What OpenSSL does of itself is as safe, and has the same preference: it also takes odd and slow
    ones (X448, secp521r1, finite fields), which nobody needs. So it is left as it is where
    cryptography's bindings do not have the call yet, or OpenSSL is too old for the words.
    """
    limit = getattr(lib, "SSL_CTX_set1_curves_list", None)
    if limit is not None and limit(context._context, GROUPS) != 1:
        lib.ERR_clear_error()


class Secured(Protocol):
    """Who wants to know how a handshake ended. Exactly one of the two is called, once, unless
    the stream was closed before by its owner."""

    def secured(self, stream: TLSStream) -> None:
        """The handshake is done; give the stream its protocol."""

    def unsecured(self, stream: TLSStream, result: str) -> None:
        """It failed: *result* is ``"failed"`` or ``"timeout"``. The stream is closed."""


class TLSStream(Stream):
    """A `Stream` that speaks TLS as a server.

    *owner* is told how the handshake ended; *site* is the owner's own, kept for it here.
    """

    __slots__ = ("_connection", "_owner", "_read_waits", "_ssl", "_write_waits", "alpn", "site")

    def __init__(
        self,
        reactor: Any,
        sock: socket.SocketType,
        sweep: Sweep,
        peer: bytes,
        context: SSL.Context,
        owner: Secured,
        site: Any = None,
    ) -> None:
        Stream.__init__(self, reactor, sock, sweep, peer)
        self._state = CONNECTING
        self._queue = []
        descriptor: Any = self._fd
        connection = SSL.Connection(context, descriptor)
        connection.set_accept_state()
        self._connection: Any = connection
        self._ssl: Any = connection._ssl
        self._owner: Any = owner
        self._read_waits = False
        """Whether OpenSSL must write before it can read."""
        self._write_waits = False
        """Whether OpenSSL must read before it can write."""
        self.alpn = b""
        """The protocol that was negotiated; ``b""``: none."""
        self.site = site

    def start(self) -> None:
        """Begin the handshake; the deadline is its owner's to set."""
        self.sweep.watch(self)
        self._read_on()
        self._connected()

    # The handshake: for a server's stream, connecting

    def _connected(self) -> bool:
        """Go on with the handshake; whether there is something to be sent now."""
        result = lib.SSL_do_handshake(self._ssl)
        if result != 1:
            code = _ssl_error(self._ssl, result)
            if code == _WANT_WRITE:
                self._write_on()
            elif code == _WANT_READ:
                self._write_no_more()
            else:
                lib.ERR_clear_error()
                self._unsecured("failed")
            return False
        self._state = OPEN
        self.deadline = math.inf
        # OpenSSL's side is all that is needed now: pyOpenSSL's serves callbacks of handshakes, of
        # which there are no more, and would be half a kilobyte for each connection.
        self._connection = None
        lib.SSL_get0_alpn_selected(self._ssl, _name, _name_size)
        if _name_size[0]:
            self.alpn = _bytes_of(_name[0], _name_size[0])[:]
        self._queue = None
        self._write_no_more()
        self._read_on()
        owner, self._owner = self._owner, None
        try:
            owner.secured(self)
        except Exception:
            self._protocol_failed()
        if self._state == OPEN and self._reading:
            # The request mostly comes with the last of the handshake.
            self.doRead()
        return False

    def _connect_failed(self, problem: BaseException | None) -> None:
        self._unsecured("timeout" if isinstance(problem, TimeoutError) else "failed")

    def _unsecured(self, result: str) -> None:
        owner, self._owner = self._owner, None
        self.protocol = None
        self._release()
        owner.unsecured(self, result)

    # Reading

    def doRead(self) -> None:
        if self._state != OPEN:
            self._read_otherwise()
            return
        count = _ssl_read(self._ssl, _buffer, READ_SIZE)
        if count <= 0:
            self._read_nothing(_ssl_error(self._ssl, count))
            return
        code = 0
        if count == RECORD:
            # A large body: whole records follow each other, and each is an event otherwise.
            while count <= READ_SIZE - RECORD:
                more = _ssl_read(self._ssl, _buffer + count, READ_SIZE - count)
                if more <= 0:
                    code = _ssl_error(self._ssl, more)
                    break
                count += more
                if more != RECORD:
                    break
        self.received += count
        try:
            self.protocol.dataReceived(_bytes_of(_buffer, count)[:])
        except Exception:
            self._protocol_failed()
        if code and code != _WANT_READ and self._ssl is not None:
            self._read_nothing(code)
        if self._write_waits:
            self._write_again()

    def _read_otherwise(self) -> None:
        """Read when there is no protocol that would listen: not yet, or not any more."""
        if self._state == CONNECTING:
            self._connected()
        elif self._state == LINGERING:
            Stream.doRead(self)
        else:
            count = _ssl_read(self._ssl, _buffer, READ_SIZE)
            if count > 0:
                self._discard(count)
            else:
                self._read_nothing(_ssl_error(self._ssl, count))

    def _read_nothing(self, code: int) -> None:
        if code == _WANT_READ:
            if self._write_waits:
                self._write_again()
        elif code == _WANT_WRITE:
            self._read_waits = True
            self._write_on()
        elif code == _ZERO_RETURN:
            self._peer_ended()
        else:
            # An end without close_notify, an alert, noise, a reset: all the same to us.
            lib.ERR_clear_error()
            self._end(LOST)

    def _write_again(self) -> None:
        self._write_waits = False
        if self._queue:
            self._write_on()

    # Writing

    def write(self, data: bytes) -> None:
        if self._queue is not None:
            self._enqueue(data)
            return
        size = len(data)
        if size <= CHUNK:
            count = _ssl_write(self._ssl, data, size)
            if count == size:
                self.sent += count
            else:
                self._write_rest(data, count)
        else:
            self._write_rest(data, _ssl_write(self._ssl, data, CHUNK))

    def _write_rest(self, data: bytes, count: int) -> None:
        """Send on, after a first write that took *count* bytes, or none if that is not positive."""
        done = 0
        size = len(data)
        pointer = _from_buffer(data)
        rounds = 0
        while True:
            if count <= 0:
                if not self._may_wait(count):
                    return
                break
            done += count
            rounds += 1
            if done == size or rounds == CHUNKS:
                break
            count = _ssl_write(self._ssl, pointer + done, min(size - done, CHUNK))
        self.sent += done
        if done < size:
            self._hold(memoryview(data)[done:] if done else data)
            if self._write_waits:
                self._write_no_more()

    def _may_wait(self, result: int) -> bool:
        """After a write that did not: whether it can be tried again, or the peer is gone."""
        code = _ssl_error(self._ssl, result)
        if code == _WANT_WRITE:
            return True
        if code == _WANT_READ:
            self._write_waits = True
            return True
        lib.ERR_clear_error()
        self._write_failed()
        return False

    def _transmit(self, queue: list[bytes | memoryview]) -> int:
        piece = queue[0]
        if len(queue) > 1 and len(piece) < RECORD:
            piece = queue[0] = _joined(queue)
        # A write that had to wait is tried again with the same bytes first, and no fewer of them:
        # OpenSSL has encrypted them already.
        count: int = _ssl_write(self._ssl, _from_buffer(piece), min(len(piece), CHUNK))
        if count > 0:
            return count
        code = _ssl_error(self._ssl, count)
        if code == _WANT_READ:
            self._write_waits = True
            self._write_no_more()
        elif code != _WANT_WRITE:
            lib.ERR_clear_error()
            raise OSError("the peer takes no more")
        return 0

    def doWrite(self) -> None:
        if self._read_waits:
            self._read_waits = False
            if not self._queue:
                self._write_no_more()
            self.doRead()
            if not self._queue:
                return
        Stream.doWrite(self)

    # Ending

    def _send_end(self) -> bool:
        result = lib.SSL_shutdown(self._ssl)
        if result < 0:
            if _ssl_error(self._ssl, result) == _WANT_WRITE:
                return False
            lib.ERR_clear_error()
        if self._state == FLUSHING:
            # What comes now is discarded unread: no need to decrypt it, nor to keep the keys.
            self._ssl = self._connection = None
        return Stream._send_end(self)

    def _release(self) -> None:
        Stream._release(self)
        self._ssl = None
        self._connection = None

    def logPrefix(self) -> str:
        return "tls"


def _joined(queue: list[bytes | memoryview]) -> bytes:
    """Take pieces from *queue* that fill a record; what they are joined to stands at its head."""
    count = size = 0
    while count < len(queue) and size < RECORD:
        size += len(queue[count])
        count += 1
    data = b"".join(queue[:count])
    del queue[1:count]
    return data
