"""The engine whose servers are run by a broker: what the front has of Docker.

It knows no image and no command: it asks for sites by name, and says by fingerprints which version
of their sections it means. It must never need a privilege, and while the broker is away everything
is as with an engine that is away: what runs keeps running.
"""

# Twisted's AMP has no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.brokerage import wire
from snickers.containers.engine import EngineAway, EngineFailed, fingerprint
from snickers.interfaces.engine import Declared, Exit, IEngine, IEngineObserver, Instance, Load, Ran
from snickers.workers.wire import CLOSED, Speaker

T = TypeVar("T")

NOT_YET = "The broker, which alone may ask Docker, was not started yet."
AGAIN = "The broker, which alone may ask Docker, has ended; it is started anew."
FOR_GOOD = (
    "The broker, which alone may ask Docker, has ended, and Snickers has shed the privileges that"
    " it takes to start another one. Servers run on, none can be started or stopped: restart"
    " Snickers."
)
CLOSE_WITHIN = 8.0
"""Seconds that the broker is given to let go of Docker: some more than its engine takes."""

_log = Logger()


class Line(Speaker):
    """Speaks with one broker, for *engine*."""

    def __init__(self, engine: BrokeredEngine) -> None:
        super().__init__()
        self._engine = engine

    def connectionMade(self) -> None:
        super().connectionMade()
        self._engine.connected(self)

    def connectionLost(self, reason: Failure = CLOSED) -> None:
        self._engine.disconnected(self, lambda: Speaker.connectionLost(self, reason))

    @wire.Found.responder
    def _found(self) -> dict[str, object]:
        return self._tell(lambda observer: observer.found())

    @wire.Lost.responder
    def _lost(self, reason: str) -> dict[str, object]:
        return self._tell(lambda observer: observer.lost(reason))

    @wire.Exited.responder
    def _exited(
        self, site: str, id: str, starved: bool, part: str, code: int | None = None
    ) -> dict[str, Any]:
        return self._tell(lambda observer: observer.exited(Exit(site, id, code, starved, part)))

    @wire.Noticed.responder
    def _noticed(self, site: str, words: str) -> dict[str, object]:
        return self._tell(lambda observer: observer.noticed(site, words))

    def _tell(self, what: Callable[[IEngineObserver], None]) -> dict[str, object]:
        self._engine.tell(what)
        return {}

    @wire.Progress.responder
    def _progress(self, call: int, words: str) -> dict[str, object]:
        self._engine.give(call, words)
        return {}

    @wire.Part.responder
    def _part(self, call: int, part: bytes) -> dict[str, object]:
        self._engine.give(call, part)
        return {}


@implementer(IEngine)
class BrokeredEngine:
    """Runs servers by means of a broker, whichever is connected.

    :param again: says whether a broker that ends will be replaced.
    """

    def __init__(self, clock: IReactorTime, again: Callable[[], bool]) -> None:
        self._clock = clock
        self._again = again
        self._observer: IEngineObserver | None = None
        self._line: Line | None = None
        self._away = NOT_YET
        self._last = 0
        self._takers: dict[int, Callable[[Any], None]] = {}
        """By the number of a call: who gets what it tells before it is answered."""
        self.closed = False
        """Whether Snickers has let go of it."""
        self._gone: list[Deferred[None]] = []

    # The broker

    def connected(self, line: Line) -> None:
        """Go on with the broker at the other end of *line*."""
        self._line = line
        if self._observer is not None:
            line.callRemote(wire.Watch)

    def disconnected(self, line: Line, settle: Callable[[], None]) -> None:
        """That broker has gone. *settle* fails the calls that it has not answered."""
        if self._line is line:
            self._line = None
            self._away = AGAIN if self._again() else FOR_GOOD
        settle()
        gone, self._gone = self._gone, []
        for done in gone:
            done.callback(None)
        self.tell(lambda observer: observer.lost(self._away))

    def lost(self, reason: str) -> None:
        """There is no broker, and this is why."""
        if self._line is None and self._away != reason:
            self._away = reason
            self.tell(lambda observer: observer.lost(reason))

    def tell(self, what: Callable[[IEngineObserver], None]) -> None:
        """Tell the observer, unless all is over."""
        if self._observer is None or self.closed:
            return
        try:
            what(self._observer)
        except Exception:
            _log.failure("An observer of the broker failed.")

    def give(self, call: int, piece: object) -> None:
        """Hand on what *call* tells."""
        taker = self._takers.get(call)
        if taker is None:
            return
        try:
            taker(piece)
        except Exception:
            _log.failure("What the broker told was not taken well.")

    def reload(self) -> Deferred[None]:
        """Have the broker read the configuration; fires when it has, or when there is none."""
        if self._line is None:
            return succeed(None)
        reading: Deferred[Any] = self._line.callRemote(wire.Reload)
        return reading.addBoth(lambda _: None)

    def _ask(
        self,
        command: type[amp.Command],
        take: Callable[[Any], None] | None = None,
        call: int = 0,
        **arguments: Any,
    ) -> Deferred[Any]:
        """Ask the broker; *take* is given what it tells meanwhile. Cancelled, it says so there."""
        line = self._line
        if line is None or self.closed:
            return fail(EngineAway(self._away if line is None else _ENDS))
        call = call or self._next()
        if take is not None:
            self._takers[call] = take

        def cancel(_: object) -> None:
            self._takers.pop(call, None)
            if self._line is line:
                line.callRemote(wire.Cancel, call=call)

        done: Deferred[Any] = Deferred(cancel)

        def answered(result: Any) -> None:
            self._takers.pop(call, None)
            if not done.called:
                done.callback(result)

        def failed(failure: Failure) -> None:
            self._takers.pop(call, None)
            if done.called:
                return
            error = failure.value
            if isinstance(error, EngineFailed | EngineAway):
                done.errback(error)
            elif isinstance(error, amp.RemoteAmpError | amp.UnknownRemoteError):
                _log.failure("The broker did not understand {name}", failure, name=command.__name__)
                done.errback(EngineFailed("The broker does not understand this; see the log."))
            else:
                done.errback(EngineAway(_ENDS if self.closed else self._away))

        asked: Deferred[Any] = line.callRemote(command, call=call, **arguments)
        asked.addCallbacks(answered, failed)
        asked.addErrback(lambda f: _log.failure("An answer of the broker was lost", f))
        return done

    def _next(self) -> int:
        self._last += 1
        return self._last

    def _do(self, command: type[amp.Command], **arguments: Any) -> Deferred[None]:
        return self._ask(command, **arguments).addCallback(lambda _: None)

    def _gathered(self, command: type[amp.Command], read: Callable[[bytes], T]) -> Deferred[T]:
        told: list[bytes] = []
        return self._ask(command, told.append).addCallback(lambda _: read(b"".join(told)))

    # IEngine

    def fingerprint(self, declared: Declared) -> str:
        return fingerprint(declared)

    def watch(self, observer: IEngineObserver) -> None:
        """As `IEngine.watch`: the broker begins to ask Docker."""
        self._observer = observer
        if self._line is not None:
            self._line.callRemote(wire.Watch)
        elif self._away != NOT_YET:
            self._clock.callLater(0, self.tell, lambda observer: observer.lost(self._away))

    def list(self) -> Deferred[Sequence[Instance]]:
        return self._gathered(wire.List, wire.read_instances)

    def start(
        self,
        declared: Declared,
        progress: Callable[[str], None],
        fresh: bool = False,
        beside: str = "",
    ) -> Deferred[Instance]:
        """As `IEngine.start`; fails where the broker reads another declaration of the site."""
        wanted = self.fingerprint(declared)
        asked = self._ask(
            wire.Start,
            progress,
            site=declared.site,
            wanted=wanted,
            fresh=fresh,
            beside=beside,
            exact=declared.exact,
        )
        return asked.addCallback(_instance)

    def prepare(
        self, declared: Declared, fresh: bool, progress: Callable[[str], None]
    ) -> Deferred[bool]:
        """As `IEngine.prepare`; fails as `start` does."""
        wanted = self.fingerprint(declared)
        asked = self._ask(wire.Prepare, progress, site=declared.site, wanted=wanted, fresh=fresh)
        return asked.addCallback(lambda answer: answer["another"])

    def settle(self, site: str, id: str, spare: str = "") -> Deferred[None]:
        return self._do(wire.Settle, site=site, id=id, spare=spare)

    def revert(self, site: str, id: str, progress: Callable[[str], None]) -> Deferred[Instance]:
        return self._ask(wire.Revert, progress, site=site, id=id).addCallback(_instance)

    def stop(self, site: str, within: float) -> Deferred[None]:
        return self._do(wire.Stop, site=site, within=float(within))

    def remove(self, site: str) -> Deferred[None]:
        return self._do(wire.Remove, site=site)

    def pause(self, site: str) -> Deferred[None]:
        return self._do(wire.Pause, site=site)

    def resume(self, site: str) -> Deferred[None]:
        return self._do(wire.Resume, site=site)

    def run(self, site: str, command: Sequence[str], within: float) -> Deferred[Ran]:
        """As `IEngine.run`, of a command that the site's section declares."""
        asked = self._ask(wire.Run, site=site, mark=wire.mark(command), within=float(within))
        return asked.addCallback(lambda answer: Ran(answer["code"], answer["output"]))

    def loads(self) -> Deferred[Mapping[str, Load]]:
        return self._gathered(wire.Loads, wire.read_loads)

    def healthy(self, instance: Instance) -> Deferred[bool]:
        return self._ask(wire.Healthy, id=instance.id).addCallback(lambda answer: answer["well"])

    def logs(
        self, site: str, tail: int, follow: bool, receive: Callable[[bytes], None]
    ) -> Deferred[None]:
        call = self._next()

        def take(part: bytes) -> None:
            if self._line is not None:
                self._line.callRemote(wire.Took, call=call, size=len(part))
            receive(part)

        asked = self._ask(wire.Logs, take, call, site=site, tail=tail, follow=follow)
        return asked.addCallback(lambda _: None)

    def close(self) -> Deferred[None]:
        """As `IEngine.close`: the broker ends, too."""
        self.closed = True
        line = self._line
        if line is None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._gone.append(done)
        transport: Any = line.transport
        late = self._clock.callLater(CLOSE_WITHIN, transport.abortConnection)

        def over(_: object) -> None:
            transport.loseConnection()

        def gone(result: T) -> T:
            if late.active():
                late.cancel()
            return result

        closing: Deferred[Any] = line.callRemote(wire.Close)
        closing.addBoth(over)
        return done.addCallback(gone)


def _instance(answer: dict[str, Any]) -> Instance:
    return wire.read_instances(answer["instance"])[0]


_ENDS = "Snickers ends and asks Docker nothing more."
