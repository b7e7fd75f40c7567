"""A connected stream socket as a transport on bare descriptors.

Every byte of the data plane passes through here, so a read or a write is one system call and as
little else as can be: it is written through at once, and writability is asked for only after a
short write. What this module must never do: lose a byte that was written before `loseConnection`,
tell a protocol of its end from inside a call that it made, or let what one connection does be
felt by another.
"""

from __future__ import annotations

import errno
import math
import os
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.internet import address, error
from twisted.internet.interfaces import (
    IConsumer,
    IPushProducer,
    IReadDescriptor,
    ITCPTransport,
    IWriteDescriptor,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.sweep import Sweep

__all__ = ["ABORTED", "DONE", "LOST", "Address", "Stream", "StreamProtocol", "Sweep", "connect"]

Address = tuple[str, int] | str
"""Where a server listens: a numeric address and a port, or the path of a unix socket."""

READ_SIZE = 65536
"""Bytes asked for by one read: a full TLS record four times over, and one malloc."""
HIGH_WATER = 128 * 1024
"""A producer is paused when more than this waits to be sent."""
LOW_WATER = 32 * 1024
"""...and resumed when no more than this is left: enough to keep the socket busy meanwhile."""
LINGER_WITHIN = 2.0
"""Seconds for which what the client still sends is read and discarded after the last answer."""
LINGER_BYTES = 64 * 1024 * 1024
"""...and how many bytes of it: who sends more has not listened to the answer."""
FLUSH_WITHIN = 30.0
"""Seconds without any progress after which the rest of a last answer is given up."""
PIECES = 64
"""Queued pieces given to one ``sendmsg``: far below IOV_MAX (1024), more gain nothing."""
ROUNDS = 16
"""Writes in one turn of the reactor: a fast reader must not keep everybody else waiting."""
RETRY = 0.05
"""Seconds until a unix socket whose backlog was full is tried again; no event tells."""

_failure: Callable[[BaseException], Failure] = Failure
_connect_error: Callable[[tuple[int, str]], BaseException] = error.getConnectError
_timed_out: Callable[[], BaseException] = error.TimeoutError
_unknown_problem: Callable[[], BaseException] = error.ConnectError

DONE = _failure(error.ConnectionDone())
LOST = _failure(error.ConnectionLost())
ABORTED = _failure(error.ConnectionAborted())

CONNECTING, OPEN, FLUSHING, LINGERING, CLOSED = range(5)

_SHUT: Any = ()
"""Stands for the queue of a stream that takes no more."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_log = Logger()


class StreamProtocol(Protocol):
    """What a `Stream` calls. ``readConnectionLost()`` may be missing: then it is the end."""

    def dataReceived(self, data: bytes) -> None: ...

    def connectionLost(self, reason: Failure) -> None: ...

    def deadlinePassed(self) -> None: ...


@implementer(IReadDescriptor, IWriteDescriptor, ITCPTransport, IPushProducer, IConsumer)
class Stream:
    """A connected stream socket as a transport.

    *sock* is non-blocking and connected; the stream owns it. *peer* is the other side's numeric
    address, or the path of a unix socket.
    """

    __slots__ = (
        "__weakref__",
        "_discarded",
        "_ended",
        "_fd",
        "_producer",
        "_queue",
        "_queued",
        "_reactor",
        "_reading",
        "_shut",
        "_socket",
        "_stalled",
        "_state",
        "_writing",
        "closed",
        "deadline",
        "disconnected",
        "eof",
        "peer",
        "protocol",
        "received",
        "sent",
        "sweep",
    )

    def __init__(self, reactor: Any, sock: socket.SocketType, sweep: Sweep, peer: bytes) -> None:
        self._reactor = reactor
        self._socket = sock
        self._fd = sock.fileno()
        self.sweep = sweep
        self.peer = peer
        self.protocol: Any = None
        """Who is told; may be exchanged at any time."""
        self.deadline: float = math.inf
        """When ``protocol.deadlinePassed()`` is called, in the sweep's time."""
        self.received = 0
        """Bytes read so far."""
        self.sent = 0
        """Bytes that the operating system has taken so far."""
        self.disconnected = False
        """Whether the descriptor is closed."""
        self.eof = False
        """Whether the peer has ended its side, and all that it sent was read."""
        self.closed: Callable[[Any], None] | None = None
        """Called with this stream, once, when its descriptor was closed."""
        self._state = OPEN
        self._queue: Any = None
        """What waits to be sent; ``None``: nothing, write through; `_SHUT`: nothing is taken."""
        self._queued = 0
        self._reading = False
        self._writing = False
        self._shut = False
        """Whether the writing side ends, or has ended."""
        self._ended = False
        """Whether the writing side has ended: the half-close is sent."""
        self._discarded = 0
        self._producer: Any = None
        self._stalled = False

    def start(self) -> None:
        """Begin to watch the deadline and to read."""
        self.sweep.watch(self)
        self._read_on()

    # Reading

    def doRead(self) -> None:
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self._end(LOST)
            return
        if not data:
            self._peer_ended()
        elif self._state == OPEN:
            self.received += len(data)
            try:
                self.protocol.dataReceived(data)
            except Exception:
                self._protocol_failed()
        else:
            self._discard(len(data))

    def _read_on(self) -> None:
        if not self._reading:
            self._reading = True
            self._reactor.addReader(self)

    def _read_no_more(self) -> None:
        if self._reading:
            self._reading = False
            self._reactor.removeReader(self)

    def _discard(self, count: int) -> None:
        self._discarded += count
        if self._state == FLUSHING:
            if self._discarded > LINGER_BYTES:
                self._read_no_more()
            return
        while self._state == LINGERING:
            if self._discarded > LINGER_BYTES:
                self._end(DONE)
                return
            # The end mostly comes with the last of it.
            try:
                count = len(self._socket.recv(READ_SIZE))
            except BlockingIOError:
                return
            except OSError:
                count = 0
            self._discarded += count
            if not count:
                self._peer_ended()

    def _peer_ended(self) -> None:
        """The peer sends no more."""
        if self._queue is not _SHUT:
            # Else this is the end of all, and closing does it.
            self._read_no_more()
        self.eof = True
        if self._state == LINGERING:
            self._end(DONE)
        elif self._state == OPEN:
            reason = LOST if self._queue is _SHUT and not self._ended else DONE
            heard = getattr(self.protocol, "readConnectionLost", None)
            if heard is None:
                self._end(reason)
                return
            try:
                heard()
            except Exception:
                self._protocol_failed()
            if self._state == OPEN and self._queue is _SHUT:
                self._end(reason if reason is LOST or self._ended else LOST)
        elif self._queue is _SHUT:
            self._end(LOST)

    def _protocol_failed(self) -> None:
        _log.failure("A connection was aborted because its protocol failed")
        if self._state != CLOSED:
            self._reset_on_close()
            self._end(ABORTED)

    def pauseProducing(self) -> None:
        """Stop reading. The end of the peer is not noticed either."""
        if self._state == OPEN:
            self._read_no_more()

    def resumeProducing(self) -> None:
        """Read on."""
        if self._state == OPEN and not self.eof:
            self._read_on()

    def stopProducing(self) -> None:
        self.loseConnection()

    # Writing

    def write(self, data: bytes) -> None:
        """Send *data*, at once as far as possible. After the end of writing it is dropped."""
        if self._queue is not None:
            self._enqueue(data)
            return
        try:
            count = self._socket.send(data)
        except BlockingIOError:
            count = 0
        except OSError:
            self._write_failed()
            return
        self.sent += count
        if count != len(data):
            self._hold(memoryview(data)[count:] if count else data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def _hold(self, data: bytes | memoryview) -> None:
        """Queue the first bytes that could not be sent."""
        self._queue = [data]
        self._queued = len(data)
        self._write_on()
        if self._queued > HIGH_WATER and self._producer is not None:
            self._stall()

    def _enqueue(self, data: bytes) -> None:
        if self._shut or self._queue is _SHUT or not data:
            return
        self._queue.append(data)
        self._queued += len(data)
        if self._queued > HIGH_WATER and self._producer is not None and not self._stalled:
            self._stall()

    def _write_on(self) -> None:
        if not self._writing:
            self._writing = True
            self._reactor.addWriter(self)

    def _write_no_more(self) -> None:
        if self._writing:
            self._writing = False
            self._reactor.removeWriter(self)

    def _stall(self) -> None:
        self._stalled = True
        self._producer.pauseProducing()

    def _transmit(self, queue: list[bytes | memoryview]) -> int:
        """Send some of *queue*; return the bytes taken, 0 for none now. Raises `OSError`."""
        try:
            if len(queue) == 1:
                return self._socket.send(queue[0])
            return self._socket.sendmsg(queue[:PIECES])
        except BlockingIOError:
            return 0

    def doWrite(self) -> None:
        queue = self._queue
        if not queue:
            if self._state == CONNECTING:
                self._connected()
            elif queue is _SHUT:
                self._end(LOST)
            elif self._shut:
                self._end_writing()
            else:
                self._write_no_more()
            return
        if self._state == CONNECTING and not self._connected():
            return
        before = self._queued
        try:
            for _ in range(ROUNDS):
                count = self._transmit(queue)
                if not count:
                    break
                self.sent += count
                self._queued -= count
                _consume(queue, count)
                if not queue:
                    break
        except OSError:
            self._write_failed()
            return
        if self._state == FLUSHING and self._queued != before:
            self.deadline = self.sweep.now + FLUSH_WITHIN
        if self._stalled and self._queued <= LOW_WATER:
            self._stalled = False
            if self._producer is not None:
                try:
                    self._producer.resumeProducing()
                except Exception:
                    self._protocol_failed()
                    return
        if self._queue is queue and not queue:
            self._queue = None
            self._write_no_more()
            if self._shut:
                self._end_writing()

    def _write_failed(self) -> None:
        """The peer takes no more. What it has sent before is still read; then that ends us."""
        self._queue = _SHUT
        self._queued = 0
        if self._reading:
            self._write_no_more()
        else:
            self._write_on()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Have *producer* paused while much waits to be sent.

        Push producers only, and `loseConnection` does not wait for its unregistration."""
        if not streaming:
            raise ValueError("only push producers can be registered with a stream")
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if self._state == CLOSED:
            producer.stopProducing()
            return
        self._producer = producer
        if self._queued > HIGH_WATER:
            self._stall()

    def unregisterProducer(self) -> None:
        self._producer = None
        self._stalled = False

    # Ending

    def loseWriteConnection(self) -> None:
        """Send what is queued, then the end of our side; reading goes on."""
        if not self._shut and self._state <= OPEN:
            self._shut = True
            if self._queue is None:
                self._end_writing()

    def loseConnection(self) -> None:
        """Send what is queued, then the end of our side; close when the peer has closed too.

        Until then, but no longer than `LINGER_WITHIN`, what it sends is read and discarded: a
        socket that is closed with unread bytes sends a reset, which can cost the client the
        end of the answer."""
        if self._state == CONNECTING:
            self._cancel()
        elif self._state == OPEN:
            self._producer = None
            self._stalled = False
            self._state = FLUSHING
            self._shut = True
            self.deadline = self.sweep.now + FLUSH_WITHIN
            if self._queue is None or self._ended:
                self._end_writing()
            elif self._queue is _SHUT:
                self._close_soon(LOST)
            elif not self.eof:
                self._read_on()

    def abortConnection(self) -> None:
        """Close at once; the peer gets a reset. ``connectionLost`` is called a turn later."""
        if self._state == CONNECTING:
            self._cancel()
        elif self._state != CLOSED:
            self._reset_on_close()
            self._close_soon(ABORTED)

    def _end_writing(self) -> None:
        """Everything is sent: send the end of our side, and see what is left to do."""
        if not self._ended:
            if not self._send_end():
                self._queue = []
                self._write_on()
                return
            self._ended = True
            self._queue = _SHUT
            self._write_no_more()
        if self.eof:
            self._close_soon(DONE)
        elif self._state == FLUSHING:
            self._state = LINGERING
            self.deadline = self.sweep.now + LINGER_WITHIN
            self._read_on()

    def _send_end(self) -> bool:
        """Send the end of our side; return whether it is sent, or has to wait for room."""
        if not self.eof:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it is gone: reading tells
        # Else both directions have ended: it is closed next, and that says the same.
        return True

    def _reset_on_close(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def expired(self) -> None:
        if self._state == OPEN:
            try:
                self.protocol.deadlinePassed()
            except Exception:
                self._protocol_failed()
        elif self._state == LINGERING:
            self._end(DONE)
        elif self._state == FLUSHING:
            self._reset_on_close()
            self._end(ABORTED)
        elif self._state == CONNECTING:
            self._connect_failed(_timed_out())

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has found the descriptor dead, or ends."""
        if self._state == CONNECTING:
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._connect_failed(_problem(code) if code else reason.value)
        else:
            self._end(reason)

    def _end(self, reason: Failure) -> None:
        """Close, and tell the protocol."""
        if self._state != CLOSED:
            self._release()
            self._tell(reason)

    def _close_soon(self, reason: Failure) -> None:
        """Close, and tell the protocol when it has returned to the reactor."""
        self._release()
        self._reactor.later(self._tell, reason)

    def _release(self) -> None:
        self._state = CLOSED
        self.disconnected = True
        self.deadline = math.inf
        self._queue = _SHUT
        self._queued = 0
        self._producer = None
        if self._reading or self._writing:
            self._reading = self._writing = False
            self._reactor.let_go(self)
        self.sweep.unwatch(self)
        self._fd = -1
        self._socket.close()
        closed, self.closed = self.closed, None
        if closed is not None:
            closed(self)

    def _tell(self, reason: Failure) -> None:
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            try:
                protocol.connectionLost(reason)
            except Exception:
                _log.failure("A protocol failed when its connection ended")

    # Connecting

    def _connect(self, where: Any) -> None:
        """Begin to connect; the descriptor's readiness to be written to tells how it went."""
        if self._state != CONNECTING:
            return
        code = self._socket.connect_ex(where)
        if code in (0, errno.EINPROGRESS):
            self._reactor.later(self._look, None)
        elif code == errno.EAGAIN:
            self._reactor.callLater(RETRY, self._connect, where)
        else:
            self._refuse(_problem(code))

    def _look(self, _: None) -> None:
        """See whether it is connected already, as it mostly is when the server is on this host:
        then nothing has to be waited for."""
        if self._state != CONNECTING:
            return
        try:
            self._socket.getpeername()
        except OSError:
            self._write_on()
            return
        queue = self._queue
        if not self._established():
            return
        if self._stalled or self._queue is not queue:
            # That is for later, or the protocol has begun a queue of what was not sent at once.
            self._write_on()
            return
        self._queue = None
        self._queued = 0
        self.write(b"".join(queue))
        if self._shut and self._queue is None:
            self._end_writing()

    def _connected(self) -> bool:
        """See how connecting went; whether the stream is open now and has something to send."""
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._connect_failed(_problem(code))
            return False
        try:
            self._socket.getpeername()
        except OSError:
            return False  # an event of the descriptor's previous owner: not yet
        return self._established()

    def _established(self) -> bool:
        """It is connected; whether there is something to send."""
        self._state = OPEN
        self.deadline = math.inf
        if self._queue:
            self._read_on()
        else:
            self._queue = None
            if self._writing:
                self._writing = False
                self._reading = True
                self._reactor.read_instead(self)
            else:
                self._read_on()
        try:
            self.protocol.connectionMade()
        except Exception:
            self._protocol_failed()
        if self._shut and self._queue is None:
            self._end_writing()
        return bool(self._queue)

    def _refuse(self, problem: BaseException) -> None:
        self._release()
        self._state = CONNECTING  # until that is told, it can be cancelled
        self._reactor.later(self._tell_failed, problem)

    def _connect_failed(self, problem: BaseException | None) -> None:
        self._release()
        self._tell_failed(problem)

    def _tell_failed(self, problem: BaseException | None) -> None:
        self._state = CLOSED
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            try:
                protocol.connectionFailed(_failure(problem or _unknown_problem()))
            except Exception:
                _log.failure("A protocol failed when it could not be connected")

    def _cancel(self) -> None:
        self.protocol = None
        self._release()

    # The rest of the interfaces

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "stream"

    def getPeer(self) -> Any:
        return _as_address(self._socket.getpeername())

    def getHost(self) -> Any:
        return _as_address(self._socket.getsockname())

    def getTcpNoDelay(self) -> bool:
        return bool(self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        return bool(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)


def _consume(queue: list[bytes | memoryview], count: int) -> None:
    """Take the first *count* bytes from *queue*."""
    whole = 0
    for piece in queue:
        size = len(piece)
        if count < size:
            break
        count -= size
        whole += 1
    del queue[:whole]
    if count:
        queue[0] = memoryview(queue[0])[count:]


def _problem(code: int) -> BaseException:
    return _connect_error((code, os.strerror(code)))


def _as_address(name: Any) -> Any:
    if isinstance(name, tuple):
        kind = address.IPv6Address if len(name) > 2 else address.IPv4Address
        return kind("TCP", *name)
    return address.UNIXAddress(name or None)


def connect(reactor: Any, sweep: Sweep, address: Address, protocol: Any, within: float) -> Stream:
    """Connect to *address*, a numeric host and a port or the path of a unix socket.

    Calls ``protocol.connectionMade()`` when it is connected, or ``connectionFailed(reason)``
    when that fails or takes more than *within* seconds; neither from inside this call, and none
    of them once the stream that is returned, ``protocol.transport``, was closed by the caller.
    What is written to it meanwhile is sent when it is connected.
    """
    return begin_to_connect(reactor, sweep, address, protocol, within, Stream)


def begin_to_connect(
    reactor: Any,
    sweep: Sweep,
    address: Address,
    protocol: Any,
    within: float,
    make: Callable[[Any, socket.SocketType, Sweep, bytes], Stream],
) -> Stream:
    """As `connect`, with a stream of another kind, which *make* returns."""
    if isinstance(address, str):
        family, peer = socket.AF_UNIX, address
    else:
        peer = address[0]
        family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    problem: OSError | None = None
    try:
        sock = socket.SocketType(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as e:
        problem = e
        sock = socket.SocketType.__new__(socket.SocketType)
    stream = make(reactor, sock, sweep, peer.encode())
    stream.protocol = protocol
    protocol.transport = stream
    stream._state = CONNECTING
    stream._queue = []
    if problem is not None:
        stream._refuse(problem)
        return stream
    if family != socket.AF_UNIX:
        stream.setTcpNoDelay(True)
    stream.deadline = sweep.now + within
    sweep.watch(stream)
    stream._connect(address)
    return stream
