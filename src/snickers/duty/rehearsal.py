"""How a team proves itself before it may be on duty: all that can be tried without taking anything.

Every certificate in use is loaded, each listener's path is opened by a real handshake at a socket
that nobody else knows, workers have loaded what they need, the engine is reached. It must never
accept from a listening socket that another team serves, nor start, stop or make anything. What is
wrong ends it with `Unproven`, in a line.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.duty.shift import Unproven
from snickers.interfaces.engine import Exit, IEngine, IEngineObserver

AT_ONCE = 4
"""Certificates that are loaded at the same time: the threads for that are few, and others wait."""
START_WITHIN = 30.0
"""Seconds for a process to start and to read its configuration, before any of this."""
PROOF_WITHIN = 90.0
"""Seconds for all of it: with `START_WITHIN` that is what a keeper of any version waits for. What
follows adds up to no more."""
ASK_WITHIN = 5.0
"""Seconds for the team on duty to say which certificates it has."""
CERTIFICATES_WITHIN = 35.0
"""Seconds for all certificates: 5,000 take some ten."""
PORTS_WITHIN = 10.0
"""Seconds for connections to oneself, one at each port."""
WORKERS_WITHIN = 25.0
"""Seconds for workers to start and load, on a machine that serves with the other team."""
ENGINE_WITHIN = 15.0
"""Seconds for the engine to answer: a busy Docker takes some."""
UNRECOGNIZED_NAME = "UNRECOGNIZED_NAME"

_log = Logger()


class Double(Protocol):
    """A port like one that serves: see `snickers.listening.Port`."""

    proxies: Any

    def startListening(self) -> None: ...

    def stopListening(self) -> Any: ...


Doubles = Sequence[tuple[str, socket.socket, Double]]
"""For each listener ``https`` or ``http``, the private socket and the port that serves it."""


class Rehearsal:
    """The proof of one team.

    :param in_thread: runs a blocking call elsewhere.
    :param names: returns the sites whose TLS is opened here, each with its names.
    :param load: loads the certificate of a site for a name; fails with the reason, in words.
    :param in_use: blocks; returns the sites whose certificate the team on duty shows, ``None``
        where it cannot be asked: then all are that have one.
    :param has_one: blocks; says whether there is a certificate of a site already.
    :param doubles: makes the ports to try.
    :param workers: fires when all workers have loaded what they need.
    :param engine: makes the engine that has to be reached, ``None`` where there is none to reach.
    :param unreadable: blocks; says what could not be imported later, ``""`` where all could.
    """

    def __init__(
        self,
        clock: IReactorTime,
        in_thread: Callable[..., Deferred[Any]],
        names: Callable[[], Mapping[str, Sequence[str]]],
        load: Callable[[str, str], Deferred[Any]],
        in_use: Callable[[], set[str] | None],
        has_one: Callable[[str], bool],
        doubles: Callable[[], Doubles],
        workers: Callable[[], Deferred[Any]],
        engine: Callable[[], IEngine | None],
        unreadable: Callable[[], str] = lambda: "",
    ) -> None:
        self._clock = clock
        self._in_thread = in_thread
        self._names = names
        self._load = load
        self._in_use = in_use
        self._has_one = has_one
        self._doubles = doubles
        self._workers = workers
        self._engine = engine
        self._unreadable = unreadable
        self._step = ""
        self._loaded: str = ""
        """The name of a certificate that could be loaded."""

    def run(self) -> Deferred[None]:
        """Try everything; fires when all is well, fails with `Unproven`."""
        proving = Deferred.fromCoroutine(self._run())
        return proving.addTimeout(PROOF_WITHIN, self._clock, self._too_slow)

    def _too_slow(self, _: object, within: float) -> Failure:
        words = f"It has not proven itself within {within:g} s; last of all it tried {self._step}"
        return Failure(Unproven(words))  # type: ignore[no-untyped-call]

    async def _run(self) -> None:
        self._step = "certificates"
        await self._certificates()
        self._step = "connections to itself"
        until = self._clock.seconds() + PORTS_WITHIN
        for kind, sock, port in self._doubles():
            await self._try_port(kind, sock, port, until)
        self._step = "what it imports later"
        looking: Deferred[str] = self._in_thread(self._unreadable)
        if words := await looking:
            raise Unproven(words)
        self._step = "its workers"
        workers = self._workers()
        workers.addTimeout(WORKERS_WITHIN, self._clock)
        try:
            await workers
        except TimeoutError:
            raise Unproven(
                f"The workers have not loaded within {WORKERS_WITHIN:g} s; the log says why"
            ) from None
        self._step = "the engine for containers"
        await self._reach()

    # Certificates

    async def _certificates(self) -> None:
        asking: Deferred[set[str] | None] = self._in_thread(self._in_use)
        # Then it cannot be asked.
        asking.addTimeout(ASK_WITHIN, self._clock, lambda result, within: None)
        in_use = await asking
        all_names = self._names()

        def needed() -> list[tuple[str, str]]:
            return [
                (site, name)
                for site, names in all_names.items()
                if (self._has_one(site) if in_use is None else site in in_use)
                for name in names
            ]

        until = self._clock.seconds() + CERTIFICATES_WITHIN
        looking: Deferred[list[tuple[str, str]]] = self._in_thread(needed)
        looking.addTimeout(CERTIFICATES_WITHIN, self._clock)
        try:
            todo = iter(await looking)
        except TimeoutError:
            raise Unproven(
                f"The folders of certificates do not answer within {CERTIFICATES_WITHIN:g} s"
            ) from None
        faults: list[str] = []
        await DeferredList(
            [Deferred.fromCoroutine(self._load_all(todo, faults, until)) for _ in range(AT_ONCE)]
        )
        if faults:
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            raise Unproven(f"A certificate that is in use cannot be loaded: {faults[0]}{more}")

    async def _load_all(
        self, todo: Iterator[tuple[str, str]], faults: list[str], until: float
    ) -> None:
        for site, name in todo:
            load = self._load(site, name)
            load.addTimeout(max(0.0, until - self._clock.seconds()), self._clock)
            try:
                await load
                self._loaded = self._loaded or name
            except TimeoutError:
                faults.append(f"{name}: it was not loaded within {CERTIFICATES_WITHIN:g} s for all")
                return
            except Exception as problem:
                faults.append(str(problem) or repr(problem))

    # Ports

    async def _try_port(self, kind: str, sock: socket.socket, port: Double, until: float) -> None:
        address = sock.getsockname()
        peer = address[0].encode() if isinstance(address, tuple) else b""
        proxies = port.proxies
        header = b"PROXY UNKNOWN\r\n" if proxies is not None and proxies.hold(peer) else b""
        name = self._loaded.replace("*", "proof")
        knock = knock_https if kind == "https" else knock_http
        port.startListening()
        knocking = self._in_thread(knock, sock.family, address, name, header)
        knocking.addTimeout(max(0.0, until - self._clock.seconds()), self._clock)
        try:
            await knocking
        except TimeoutError:
            raise Unproven(
                f"A connection to itself ({kind}, {name or 'without a name'}) is not answered "
                f"within {PORTS_WITHIN:g} s for all"
            ) from None
        except OSError as problem:
            raise Unproven(
                f"A connection to itself ({kind}, {name or 'without a name'}) fails: {problem}"
            ) from None
        finally:
            port.stopListening()

    # The engine

    async def _reach(self) -> None:
        engine = self._engine()
        if engine is None:
            return
        watcher = _Watcher()
        watcher.done.addTimeout(ENGINE_WITHIN, self._clock)
        try:
            engine.watch(watcher)
            await watcher.done
        except TimeoutError:
            raise Unproven(f"Docker does not answer within {ENGINE_WITHIN:g} s") from None
        finally:
            engine.close().addErrback(lambda failure: _log.failure("letting go", failure))


@implementer(IEngineObserver)
class _Watcher:
    """Hears whether the engine is there."""

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()

    def found(self) -> None:
        if not self.done.called:
            self.done.callback(None)

    def lost(self, reason: str) -> None:
        if not self.done.called:
            self.done.errback(Unproven(f"The engine for containers cannot be reached: {reason}"))

    def exited(self, exit: Exit) -> None:
        """Nothing: somebody else is on duty."""

    def noticed(self, site: str, words: str) -> None:
        """Nothing: somebody else is on duty."""


def _connected(family: int, address: Any, header: bytes) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(PORTS_WITHIN)
        sock.connect(address)
        if header:
            sock.sendall(header)
    except BaseException:
        sock.close()
        raise
    return sock


def knock_https(family: int, address: Any, name: str, header: bytes) -> None:
    """Make a TLS connection for *name* to *address*, and end it; blocks. Without a name the answer
    must be the alert for a name that nobody has. Raises `OSError` where it is not as it should."""
    context = ssl.create_default_context()
    # Who answers is known; whether clients trust it is not what is tried.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    with _connected(family, address, header) as sock:
        try:
            # A name that can be no site's.
            with context.wrap_socket(sock, server_hostname=name or "nobody.invalid") as secure:
                secure.settimeout(PORTS_WITHIN)
        except ssl.SSLError as problem:
            # OpenSSL's name for it differs by version: TLSV1_UNRECOGNIZED_NAME.
            if name or UNRECOGNIZED_NAME not in str(problem).upper().replace(" ", "_"):
                raise


def knock_http(family: int, address: Any, name: str, header: bytes) -> None:
    """Ask *address* for *name* by plain http; blocks. Raises `OSError` where nothing answers."""
    with _connected(family, address, header) as sock:
        host = name or "nobody.invalid"
        sock.sendall(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while len(answer) < 9:
            data = sock.recv(4096)
            if not data:
                break
            answer += data
        if not answer.startswith(b"HTTP/1.1 "):
            raise OSError(f"its answer begins with {answer[:20]!r}")
