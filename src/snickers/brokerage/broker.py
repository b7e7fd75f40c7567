"""The broker, as it deals with the front: it does what its own ledger declares, and nothing else.

The front faces the internet; suppose that a stranger speaks for it. What he can have is what the
configuration declares: start, stop, freeze, forget and read the log of these sites' servers, and
run their own ``snapshot`` and ``veto`` in them. A message that makes no sense is refused and must
never end the broker, hold it up or let it grow; when the front has gone, it ends.
"""

# Twisted's AMP has no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.brokerage import wire
from snickers.brokerage.ledger import Ledger
from snickers.config.values import Configuration
from snickers.containers.engine import EngineAway, EngineFailed, Turns
from snickers.interfaces.engine import Declared, Exit, IEngine, IEngineObserver, Instance, Ran
from snickers.workers.wire import CLOSED, PART, Speaker, parts, words

T = TypeVar("T")
U = TypeVar("U")

MOST_CALLS = 10_000
"""Calls at once: more than a host has sites that wake together."""
MOST_LISTS = 4
"""Calls at once whose answer may be large."""
MOST_KEYS = 16
"""Keys of a message: none of those that are known has half as many."""
MOST_TAIL = 10_000_000
"""Lines of a log that may be asked for."""
WINDOW = 1 << 20
"""Bytes of a log that may be on their way to the front."""
MOST_HELD = 8 << 20
"""Bytes of a log that are kept for a front that reads slowly."""


@implementer(IEngineObserver)
class _Teller:
    """Tells the front what the engine tells."""

    def __init__(self, broker: Broker) -> None:
        self._say = broker.say

    def exited(self, exit: Exit) -> None:
        self._say(
            wire.Exited,
            site=exit.site,
            id=exit.id,
            code=exit.code,
            starved=exit.out_of_memory,
            part=exit.part,
        )

    def lost(self, reason: str) -> None:
        self._say(wire.Lost, reason=words(reason))

    def found(self) -> None:
        self._say(wire.Found)

    def noticed(self, site: str, told: str) -> None:
        self._say(wire.Noticed, site=site, words=words(told))


class _Log:
    """A log on its way to the front: no more of it than the front takes."""

    def __init__(self, broker: Broker, call: int) -> None:
        self._broker = broker
        self._call = call
        self._held = bytearray()
        self._sent = 0
        self._planned = False
        self._over: Deferred[None] | None = None
        self.reading: Deferred[None] | None = None

    def give(self, data: bytes) -> None:
        """Take a piece from the engine."""
        self._held += data
        if len(self._held) > MOST_HELD:
            self._held.clear()
            if self.reading is not None:
                self.reading.cancel()
        elif not self._planned:
            # What comes in one turn goes together.
            self._planned = True
            self._broker.soon(self._go)

    def took(self, size: int) -> None:
        """The front has taken so many bytes."""
        self._sent -= max(0, min(size, self._sent))
        self._go()

    def _go(self) -> None:
        self._planned = False
        while self._held and self._sent < WINDOW:
            part = bytes(self._held[:PART])
            del self._held[:PART]
            self._sent += len(part)
            self._broker.say(wire.Part, call=self._call, part=part)
        if not self._held and self._over is not None:
            over, self._over = self._over, None
            over.callback(None)

    def ended(self, _: None) -> Deferred[None]:
        """The engine has given all: fire when it was sent."""
        over: Deferred[None] = Deferred()
        self._over = over
        self._go()
        return over


class Broker(Speaker):
    """Speaks with the front.

    :param load: returns what the files say now; blocks, and is called through *in_thread* only.
    :param loose: returns why a path that a container is given is not guarded, or ``""``; blocks.
    :param soon: calls something in a later turn.
    :param ended: called once, when the front has gone and the engine was let go of.
    """

    log = Logger()

    def __init__(
        self,
        engine: IEngine,
        ledger: Ledger,
        load: Callable[[], Configuration],
        in_thread: Callable[..., Deferred[Any]],
        loose: Callable[[str], str],
        soon: Callable[[Callable[[], None]], object],
        ended: Callable[[], None],
    ) -> None:
        super().__init__()
        self._engine = engine
        self._ledger = ledger
        self._load = load
        self._in_thread = in_thread
        self._loose = loose
        self.soon = soon
        self._ended = ended
        self._turns = Turns()
        self._calls: dict[int, Deferred[Any]] = {}
        self._logs: dict[int, _Log] = {}
        self._lists = 0
        self._known: dict[str, Instance] = {}
        """The servers that the engine has told, by their ids."""
        self._watched = False
        self._reading = False
        self._readers: list[Deferred[None]] = []
        self._keys = 0
        self._connected = True

    # The line

    def connectionMade(self) -> None:
        super().connectionMade()
        transport: Any = self.transport
        # A front that asks and does not read what it is answered is heard no further.
        transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """The front reads slowly."""
        transport: Any = self.transport
        if transport is not None:
            transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Undo `pauseProducing`."""
        transport: Any = self.transport
        if transport is not None:
            transport.resumeProducing()

    def stopProducing(self) -> None:
        """The connection ends: `connectionLost` follows."""

    def say(self, command: type[amp.Command], **arguments: Any) -> None:
        """Tell the front, if it is still there."""
        if self._connected:
            self.callRemote(command, **arguments)

    def _hang_up(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def proto_key(self, string: bytes) -> str:
        self._keys = self._keys + 1 if string else 0
        if self._keys > MOST_KEYS:
            self.log.error("The front has sent what is no message; the broker ends.")
            self._hang_up()
            return "done"
        return str(super().proto_key(string))

    def lengthLimitExceeded(self, length: int) -> None:
        self.log.error("The front has sent what is no message; the broker ends.")
        self._hang_up()

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        # Nothing is ever asked of the front, so it has nothing to answer.
        if amp.COMMAND in box and amp.ANSWER not in box and amp.ERROR not in box:
            super().ampBoxReceived(box)

    def locateResponder(self, name: bytes) -> Any:
        responder = super().locateResponder(name) if name in wire.TO_BROKER else None

        def respond(box: amp.AmpBox) -> Deferred[amp.AmpBox]:
            if responder is None:
                return fail(_NOT_UNDERSTOOD)
            return maybeDeferred(responder, box).addErrback(self._not_understood)

        return respond

    def _not_understood(self, failure: Failure) -> Failure:
        # The front's nonsense is the front's affair.
        return failure if failure.check(amp.RemoteAmpError) else Failure(_NOT_UNDERSTOOD)

    def unhandledError(self, failure: Failure) -> None:
        """Nothing that came ends the connection."""

    # Calls

    def _begin(self, call: int, act: Callable[[], Deferred[T]]) -> Deferred[T]:
        if call in self._calls or len(self._calls) >= MOST_CALLS:
            return fail(EngineFailed("The broker is asked too much at once."))
        done = maybeDeferred(act)
        self._calls[call] = done

        def over(result: U) -> U:
            self._calls.pop(call, None)
            self._logs.pop(call, None)
            return result

        done.addBoth(over)
        done.addErrback(lambda failure: fail(self._in_words(failure)))
        return done

    def _in_words(self, failure: Failure) -> Exception:
        error = failure.value
        if isinstance(error, EngineFailed | EngineAway):
            return type(error)(words(str(error)))
        if not isinstance(error, CancelledError):
            self.log.failure("A call failed in the broker", failure)
        return EngineFailed("The broker could not do this; see the log.")

    def _in_turn(
        self, site: str, prepare: Callable[[], Deferred[T]], act: Callable[[T], Deferred[U]]
    ) -> Deferred[U]:
        """Call *act* with what *prepare* fires with, after all that was asked for *site* before
        has been given to the engine: which lets a later stop overtake a start."""
        begun = self._turns.run(site, lambda: prepare().addCallback(lambda made: [act(made)]))
        return begun.addCallback(lambda acting: acting[0])

    def _simply(self, call: int, site: str, act: Callable[[], Deferred[None]]) -> Deferred[Any]:
        done = self._begin(
            call, lambda: self._in_turn(site, lambda: succeed(None), lambda _: act())
        )
        return done.addCallback(lambda _: {})

    # The configuration

    def read(self) -> Deferred[None]:
        """Read the configuration, and fire when what was read after this call counts. Never
        fails."""
        done: Deferred[None] = Deferred()
        self._readers.append(done)
        if not self._reading:
            self._read()
        return done

    def _read(self) -> None:
        readers, self._readers = self._readers, []
        self._reading = bool(readers)
        if not readers:
            return

        def over(_: object) -> None:
            for reader in readers:
                if not reader.called:
                    reader.callback(None)
            self._read()

        reading = self._in_thread(self._load)
        reading.addCallback(self._ledger.renew)
        reading.addErrback(lambda f: self.log.failure("The configuration was not read", f))
        reading.addCallback(over)
        reading.addErrback(lambda f: self.log.failure("What was read was not dealt with", f))

    def _agreed(self, find: Callable[[], T | None], refusal: str) -> Deferred[T]:
        """Fire with what *find* finds, if need be after the configuration was read again."""
        found = find()
        if found is not None:
            return succeed(found)

        def again(_: None) -> T:
            found = find()
            if found is None:
                raise EngineFailed(refusal)
            return found

        return self.read().addCallback(again)

    def _declared(self, site: str, wanted: str) -> Deferred[Declared]:
        def find() -> Declared | None:
            declared = self._ledger.declared(site)
            if declared is None or self._engine.fingerprint(declared) != wanted:
                return None
            return declared

        refusal = (
            f"The section of {site}, as the broker reads it now, is not what Snickers wants to"
            " start: `snickers reload` makes them agree."
        )
        return self._agreed(find, refusal).addCallback(self._guarded)

    def _guarded(self, declared: Declared) -> Deferred[Declared]:
        """Fire with *declared*, if nobody can have put something else in its folders' place."""

        def look() -> str:
            return next(filter(None, map(self._loose, self._ledger.sources(declared.site))), "")

        def looked(loose: str) -> Declared:
            if loose:
                raise EngineFailed(f"It is not started, for what it is given: {loose}")
            return declared

        return self._in_thread(look).addCallback(looked)

    # What it is asked for

    @wire.Watch.responder
    def _watch(self) -> dict[str, object]:
        if not self._watched:
            self._watched = True
            self._engine.watch(_Teller(self))
        return {}

    @wire.Reload.responder
    def _reload(self) -> Deferred[dict[str, object]]:
        return self.read().addCallback(lambda _: {})

    def _progress(self, call: int) -> Callable[[str], None]:
        def progress(told: str) -> None:
            if call in self._calls:
                self.say(wire.Progress, call=call, words=words(told))

        return progress

    def _started(self, instance: Instance) -> dict[str, object]:
        self._known[instance.id] = instance
        return {"instance": wire.instances([instance])}

    @wire.Start.responder
    def _start(
        self, call: int, site: str, wanted: str, fresh: bool, beside: str, exact: str
    ) -> Deferred[dict[str, object]]:
        return self._begin(
            call,
            lambda: self._in_turn(
                site,
                lambda: self._declared(site, wanted),
                lambda declared: self._engine.start(
                    evolve(declared, exact=exact), self._progress(call), fresh, beside
                ),
            ),
        ).addCallback(self._started)

    @wire.Prepare.responder
    def _prepare(
        self, call: int, site: str, wanted: str, fresh: bool
    ) -> Deferred[dict[str, object]]:
        def prepare(declared: Declared) -> Deferred[bool]:
            return self._engine.prepare(declared, fresh, self._progress(call))

        preparing = self._begin(call, lambda: self._declared(site, wanted).addCallback(prepare))
        return preparing.addCallback(lambda another: {"another": another})

    @wire.Settle.responder
    def _settle(self, call: int, site: str, id: str, spare: str) -> Deferred[dict[str, object]]:
        return self._simply(call, site, lambda: self._engine.settle(site, id, spare))

    @wire.Revert.responder
    def _revert(self, call: int, site: str, id: str) -> Deferred[dict[str, object]]:
        return self._begin(
            call,
            lambda: self._in_turn(
                site,
                lambda: succeed(None),
                lambda _: self._engine.revert(site, id, self._progress(call)),
            ),
        ).addCallback(self._started)

    @wire.Stop.responder
    def _stop(self, call: int, site: str, within: float) -> Deferred[dict[str, object]]:
        return self._simply(call, site, lambda: self._engine.stop(site, _seconds(within)))

    @wire.Remove.responder
    def _remove(self, call: int, site: str) -> Deferred[dict[str, object]]:
        return self._simply(call, site, lambda: self._engine.remove(site))

    @wire.Pause.responder
    def _pause(self, call: int, site: str) -> Deferred[dict[str, object]]:
        return self._simply(call, site, lambda: self._engine.pause(site))

    @wire.Resume.responder
    def _resume(self, call: int, site: str) -> Deferred[dict[str, object]]:
        return self._simply(call, site, lambda: self._engine.resume(site))

    @wire.Run.responder
    def _run(self, call: int, site: str, mark: str, within: float) -> Deferred[dict[str, object]]:
        def find() -> tuple[str, ...] | None:
            declared = self._ledger.commands(site)
            return next((one for one in declared if wire.mark(one) == mark), None)

        refusal = (
            f"The command to be run in {site} is neither its `snapshot` nor its `veto`, as the"
            " broker reads its section: `snickers reload` makes them agree."
        )

        def ran(result: Ran) -> dict[str, object]:
            return {"code": result.code, "output": words(result.output)}

        return self._begin(
            call,
            lambda: self._in_turn(
                site,
                lambda: self._agreed(find, refusal),
                lambda command: self._engine.run(site, command, _seconds(within)),
            ),
        ).addCallback(ran)

    @wire.List.responder
    def _list(self, call: int) -> Deferred[dict[str, object]]:
        return self._tell(call, lambda: self._listed().addCallback(wire.instances))

    @wire.Loads.responder
    def _loads(self, call: int) -> Deferred[dict[str, object]]:
        return self._tell(call, lambda: self._engine.loads().addCallback(wire.loads))

    def _listed(self) -> Deferred[Sequence[Instance]]:
        def listed(found: Sequence[Instance]) -> Sequence[Instance]:
            self._known = {instance.id: instance for instance in found}
            return found

        return self._engine.list().addCallback(listed)

    def _tell(self, call: int, act: Callable[[], Deferred[bytes]]) -> Deferred[dict[str, object]]:
        if self._lists >= MOST_LISTS:
            return fail(EngineFailed("The broker is asked too much at once."))
        self._lists += 1

        def told(data: bytes) -> dict[str, object]:
            for part, _ in parts(data):
                self.say(wire.Part, call=call, part=part)
            return {}

        def over(result: T) -> T:
            self._lists -= 1
            return result

        return self._begin(call, act).addCallback(told).addBoth(over)

    @wire.Healthy.responder
    def _healthy(self, call: int, id: str) -> Deferred[dict[str, object]]:
        def look(_: object) -> Deferred[bool]:
            instance = self._known.get(id)
            return succeed(False) if instance is None else self._engine.healthy(instance)

        def known() -> Deferred[bool]:
            # Of other people's containers nothing is said.
            return look(None) if id in self._known else self._listed().addCallback(look)

        return self._begin(call, known).addCallback(lambda well: {"well": well})

    @wire.Logs.responder
    def _read_log(
        self, call: int, site: str, tail: int, follow: bool
    ) -> Deferred[dict[str, object]]:
        log = _Log(self, call)

        def read() -> Deferred[None]:
            self._logs[call] = log
            reading = self._engine.logs(site, max(0, min(tail, MOST_TAIL)), follow, log.give)
            log.reading = reading
            return reading.addCallback(log.ended)

        return self._begin(call, read).addCallback(lambda _: {})

    @wire.Took.responder
    def _took(self, call: int, size: int) -> dict[str, object]:
        log = self._logs.get(call)
        if log is not None:
            log.took(size)
        return {}

    @wire.Cancel.responder
    def _cancel(self, call: int) -> dict[str, object]:
        done = self._calls.get(call)
        if done is not None:
            done.cancel()
        return {}

    # Its end

    @wire.Close.responder
    def _close(self) -> Deferred[dict[str, object]]:
        return self._engine.close().addCallback(lambda _: {})

    def connectionLost(self, reason: Failure = CLOSED) -> None:
        self._connected = False
        super().connectionLost(reason)
        for done in list(self._calls.values()):
            done.cancel()
        closing = maybeDeferred(self._engine.close)
        closing.addErrback(lambda f: self.log.failure("The engine failed to close", f))
        closing.addCallback(lambda _: self._ended())


_NOT_UNDERSTOOD = amp.RemoteAmpError(b"NOT_UNDERSTOOD", "The broker does not understand this.")


def _seconds(within: float) -> float:
    """Return *within* as a time that can be waited."""
    return within if within >= 0 and not math.isnan(within) else 0.0
