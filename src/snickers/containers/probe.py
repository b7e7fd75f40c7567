"""Finds out whether a personal server answers, and soon after it does.

A probe connects as a visitor's request would and looks no further than the first line of an
answer. It must never judge: what a server that does not answer deserves is the lifecycle's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as GaveUp
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectingCancelledError as Cancelled
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from snickers.interfaces.engine import Address, IEngine, Instance

ATTEMPT = 5.0
"""Seconds that one attempt may take in all."""
CONNECT = 0.5
"""Seconds that connecting may take. Servers are on this host: what takes longer is a first packet
lost while the network of a container was made, and the kernel repeats it only after 1 s."""
SETTLE = 0.005
"""Seconds that a connection must stay open: a forwarder in front of a server that does not listen
yet accepts and closes at once."""
FIRST_PAUSE = 0.004
"""Seconds between the first attempts: with `SETTLE`, what a start may be lengthened by."""
GROWTH = 1.02
"""Of the pauses: each is about 4 ms and a fiftieth of the time spent waiting, so that a start of
less than a second is lengthened by less than 24 ms, and one of a minute takes 290 attempts."""
LONGEST_PAUSE = 1.0
ASKING_PAUSE = 0.25
"""Seconds, at least, between two questions to an engine: its own check runs far less often."""
BRIEF = 3
"""Attempts of a brief probe, `BRIEF_PAUSE` seconds apart: a server that reloads itself is back."""
BRIEF_PAUSE = 0.25
LINE = 4096
"""Bytes: a longer status line is not one."""


class NotReady(Exception):
    """The server does not answer as it should; the text says how, in words for the owner."""


def _place(address: Address) -> str:
    if isinstance(address, str):
        return address
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _cancelled(failure: Failure) -> Failure:
    # Endpoints have a failure of their own for it, which would pass for one of the server.
    if isinstance(failure.value, Cancelled):
        raise CancelledError
    return failure


class _Knock(Protocol):
    """Waits a moment: is the connection kept?

    :ivar verdict: fires with ``None`` when all is well, fails with `NotReady`.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._settled: IDelayedCall | None = None
        self.verdict: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self._settled = self._clock.callLater(SETTLE, self._end, None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end("it closes a new connection at once")

    def leave(self) -> None:
        """Let go of the connection, whatever came of it."""
        if self._settled is not None and self._settled.active():
            self._settled.cancel()
        self.verdict.addErrback(lambda _: None)
        if self.transport is not None:
            cast(Any, self.transport).loseConnection()

    def _end(self, fault: str | None) -> None:
        if self._settled is not None and self._settled.active():
            self._settled.cancel()
        if self.verdict.called:
            return
        if fault is None:
            self.verdict.callback(None)
        else:
            self.verdict.errback(NotReady(fault))


class _Ask(_Knock):
    """Asks for a page and reads the status of the answer (RFC 9112 section 4)."""

    def __init__(self, clock: IReactorTime, path: str, host: str) -> None:
        super().__init__(clock)
        self._path = path
        self._host = host
        self._read = b""

    def connectionMade(self) -> None:
        head = (
            f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nUser-Agent: Snickers\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n"
        )
        assert self.transport is not None
        self.transport.write(head.encode("utf-8"))

    def dataReceived(self, data: bytes) -> None:
        if self.verdict.called:
            return
        self._read += data
        line, end, _ = self._read.partition(b"\n")
        if not end:
            if len(line) > LINE:
                self._end(f"{self._path} answers, but not with HTTP")
            return
        words = line.split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            self._end(f"{self._path} answers, but not with HTTP")
        elif 200 <= int(words[1]) < 400:
            self._end(None)
        else:
            self._end(f"{self._path} answers {int(words[1])}, wanted is 200 to 399")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end(f"it closes the connection without an answer to {self._path}")


class Prober:
    """Probes servers.

    :param reactor: an ``IReactorTCP``, and an ``IReactorUNIX`` where servers listen on paths.
    """

    def __init__(self, reactor: Any, clock: IReactorTime) -> None:
        self._reactor = reactor
        self._clock = clock

    def probe(
        self,
        instance: Instance,
        health: str,
        host: str,
        engine: IEngine,
        brief: bool = False,
        unready: Callable[[str], None] = lambda words: None,
    ) -> Deferred[None]:
        """Fire with ``None`` when *instance* is ready as *health* says; ask until it is.

        *health*: ``"tcp"``, ``"docker"`` or a path to ask *host* for. A *brief* probe gives up
        after `BRIEF` attempts and fails with `NotReady`; another never does. Cancel it to end it.
        *unready* is told in words what came of each attempt that failed.
        """
        return Deferred.fromCoroutine(self._probe(instance, health, host, engine, brief, unready))

    async def _probe(
        self,
        instance: Instance,
        health: str,
        host: str,
        engine: IEngine,
        brief: bool,
        unready: Callable[[str], None],
    ) -> None:
        pause = BRIEF_PAUSE if brief else ASKING_PAUSE if health == "docker" else FIRST_PAUSE
        attempts = 0
        while True:
            try:
                await self._attempt(instance, health, host, engine)
                return
            except CancelledError:
                raise
            except Exception as error:
                attempts += 1
                words = self._words(instance, error)
                if brief and attempts == BRIEF:
                    raise NotReady(words) from None
            unready(words)
            await deferLater(self._clock, pause)
            pause = min(LONGEST_PAUSE, pause * GROWTH)

    async def _attempt(self, instance: Instance, health: str, host: str, engine: IEngine) -> None:
        if health == "docker":
            if not await engine.healthy(instance).addTimeout(ATTEMPT, self._clock):
                raise NotReady("its own check does not pass")
            return
        if health == "tcp":
            made: Callable[[], _Knock] = lambda: _Knock(self._clock)  # noqa: E731
        else:
            # A site of many names is asked for one of them.
            name = host.replace("*", "health", 1)
            made = lambda: _Ask(self._clock, health, name)  # noqa: E731
        started = self._clock.seconds()
        protocol = await self._connect(instance.address, made)
        try:
            left = max(0.0, ATTEMPT - (self._clock.seconds() - started))
            await protocol.verdict.addTimeout(left, self._clock)
        finally:
            protocol.leave()

    def _connect(self, address: Address | None, made: Callable[[], _Knock]) -> Deferred[_Knock]:
        factory = Factory.forProtocol(made)
        factory.noisy = False
        if address is None:
            raise NotReady("it has no address")
        endpoint = (
            UNIXClientEndpoint(self._reactor, address)  # type: ignore[no-untyped-call]
            if isinstance(address, str)
            else TCP4ClientEndpoint(self._reactor, *address)
        )
        connecting = cast("Deferred[_Knock]", endpoint.connect(factory))
        return connecting.addErrback(_cancelled).addTimeout(CONNECT, self._clock)

    def _words(self, instance: Instance, error: Exception) -> str:
        place = _place(instance.address) if instance.address is not None else instance.site
        if isinstance(error, NotReady):
            return f"The server at {place} is not ready: {error}."
        if isinstance(error, ConnectionRefusedError):
            return f"The server at {place} refuses connections."
        if isinstance(error, GaveUp | TimeoutError):
            return f"The server at {place} does not answer in time."
        return f"The server at {place} cannot be reached: {error}"
