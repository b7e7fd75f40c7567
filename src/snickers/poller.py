"""Readiness for the data plane: an epoll of its own, joined with the reactor's.

The reactor wraps every event in a logging context, which costs more than the read that follows.
So all streams share an epoll of their own. An epoll descriptor is itself readable when something
in it is ready: Twisted's epoll reactor waits on ours, with its own inside, and gets from it
just what is its own; any other reactor watches ours as it watches a socket. To streams a `Poller`
is the reactor: descriptors are its own, timers are passed on. It must never keep the reactor from
its other work for longer than some rounds of events.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

EVENTS = 256
"""Events taken at once."""
ROUNDS = 16
"""Times the epoll is asked before the reactor's other work has its turn."""

_IN = select.EPOLLIN
_OUT = select.EPOLLOUT
_GONE = select.EPOLLHUP | select.EPOLLERR

_log = Logger()


@implementer(IReadDescriptor, IReactorFDSet)
class Poller:
    """Watches descriptors in the place of *reactor*; see `IReactorFDSet`."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._epoll: select.epoll | None = None
        self._items: dict[int, Any] = {}
        self._flags: dict[int, int] = {}
        self._joint: _Joint | None = None
        self._soon: list[Callable[[], None]] | None = None
        self._giving = False
        """Whether events are given out now, or what waited for that is called."""
        self._late: list[tuple[Callable[[Any], None], Any]] = []
        self.callLater: Callable[..., Any] = reactor.callLater
        self.seconds: Callable[[], float] = reactor.seconds

    def start(self) -> None:
        """Begin to be watched by the reactor."""
        self._epoll = select.epoll()
        for number, flags in self._flags.items():
            self._epoll.register(number, flags)
        theirs = getattr(self._reactor, "_poller", None)
        if isinstance(theirs, select.epoll):
            self._epoll.register(theirs.fileno(), _IN)
            self._joint = self._reactor._poller = _Joint(
                self, self._epoll, theirs, self._reactor.timeout
            )
        else:
            self._reactor.addReader(self)

    def stop(self) -> None:
        """Watch nothing any more."""
        epoll, self._epoll = self._epoll, None
        if epoll is not None:
            joint, self._joint = self._joint, None
            if joint is None:
                self._reactor.removeReader(self)
            elif self._reactor._poller is joint:
                self._reactor._poller = joint.theirs
            epoll.close()

    def soon(self, call: Callable[[], None]) -> None:
        """Call *call* when what is ready now was given out; at once when nothing is given out.

        Whoever has several things to send by then sends them together.
        """
        if self._soon is None:
            call()
        else:
            self._soon.append(call)

    def later(self, call: Callable[[Any], None], argument: Any) -> None:
        """Call *call* with *argument* before anything else is waited for, but never from inside
        this call: as ``callLater(0, ...)``, for a tenth of its price while events are given out.
        """
        if self._giving:
            self._late.append((call, argument))
        else:
            self.callLater(0, call, argument)

    # What streams call

    def addReader(self, reader: Any) -> None:
        self._add(reader, _IN)

    def addSharedReader(self, reader: Any) -> None:
        """As `addReader`, for a descriptor that other processes wait on too: one of them is woken
        for each event, not all (EPOLLEXCLUSIVE of epoll_ctl(2))."""
        number = reader.fileno()
        self._flags[number] = _IN
        self._items[number] = reader
        if self._epoll is not None:
            self._epoll.register(number, _IN | select.EPOLLEXCLUSIVE)

    def addWriter(self, writer: Any) -> None:
        self._add(writer, _OUT)

    def removeReader(self, reader: Any) -> None:
        self._remove(reader, _IN)

    def removeWriter(self, writer: Any) -> None:
        self._remove(writer, _OUT)

    def read_instead(self, item: Any) -> None:
        """Have *item*, which waited for its writability, wait for its readability: in one call."""
        number = item.fileno()
        if self._items.get(number) is item and self._flags[number] == _OUT:
            self._flags[number] = _IN
            if self._epoll is not None:
                self._epoll.modify(number, _IN)
        else:
            self._add(item, _IN)
            self._remove(item, _OUT)

    def let_go(self, item: Any) -> None:
        """Watch *item* no more; its descriptor is closed next, and leaves the epoll by that."""
        number = item.fileno()
        if self._items.get(number) is item:
            del self._items[number]
            del self._flags[number]

    def removeAll(self) -> list[Any]:
        items = list(self._items.values())
        for number in list(self._items):
            self._forget(number)
        return items

    def getReaders(self) -> list[Any]:
        return [item for number, item in self._items.items() if self._flags[number] & _IN]

    def getWriters(self) -> list[Any]:
        return [item for number, item in self._items.items() if self._flags[number] & _OUT]

    def _add(self, item: Any, flag: int) -> None:
        number = item.fileno()
        flags = self._flags
        epoll = self._epoll
        held = flags.get(number)
        if held is None:
            flags[number] = flag
            self._items[number] = item
            if epoll is not None:
                epoll.register(number, flag)
            return
        self._items[number] = item
        if not held & flag:
            flags[number] = held | flag
            if epoll is not None:
                epoll.modify(number, held | flag)

    def _remove(self, item: Any, flag: int) -> None:
        number = item.fileno()
        if self._items.get(number) is not item:
            return
        held = self._flags[number]
        left = held & ~flag
        if left == held:
            return
        if not left:
            self._forget(number)
            return
        self._flags[number] = left
        if self._epoll is not None:
            self._epoll.modify(number, left)

    def _forget(self, number: int) -> None:
        del self._items[number]
        del self._flags[number]
        if self._epoll is not None:
            try:
                self._epoll.unregister(number)
            except OSError:
                pass  # it was closed before, and has left the epoll by that

    # What the reactor calls

    def doRead(self) -> None:
        """Give out what is ready."""
        for _ in range(ROUNDS):
            epoll = self._epoll
            if epoll is None:
                return
            events = epoll.poll(0, EVENTS)
            if not events:
                return
            self.give_out(events)

    def give_out(self, events: list[tuple[int, int]]) -> None:
        """Give out *events*, one batch."""
        items = self._items
        flags = self._flags
        soon = self._soon = []
        self._giving = True
        for number, event in events:
            item: Any = items.get(number)
            if item is None:
                continue  # it ended by what another event did
            try:
                # Not what it does not ask for: the number may have had another owner when
                # the events were taken.
                held = flags[number]
                ready = held if event & _GONE else event & held
                if ready & _IN:
                    item.doRead()
                    if ready & _OUT and number in items and items[number] is item:
                        item.doWrite()
                elif ready & _OUT:
                    item.doWrite()
            except Exception:
                _log.failure("A descriptor failed")
                self._lost(number, item)
        self._soon = None
        for call in soon:
            try:
                call()
            except Exception:
                _log.failure("What was to be done after a batch of events failed")
        late = self._late
        if late:
            # What is called may add to it.
            for later, argument in late:
                try:
                    later(argument)
                except Exception:
                    _log.failure("What was to be done after a batch of events failed")
            late.clear()
        self._giving = False

    def _lost(self, number: int, item: Any) -> None:
        if self._items.get(number) is item:
            self._forget(number)
        try:
            item.connectionLost(_LOST)
        except Exception:
            _log.failure("A descriptor failed to end")

    def fileno(self) -> int:
        return -1 if self._epoll is None else self._epoll.fileno()

    def logPrefix(self) -> str:
        return "poller"

    def connectionLost(self, reason: Any) -> None:
        """The reactor ends; so do those who are watched here."""
        for item in self.removeAll():
            try:
                item.connectionLost(reason)
            except Exception:
                _log.failure("A descriptor failed to end")


class _Joint:
    """Stands where Twisted's epoll reactor has its epoll object, *theirs*: what the reactor waits
    for is in *ours*, its own epoll among it. *due* returns the seconds until the reactor has calls
    to make, ``None``: no calls."""

    def __init__(
        self,
        poller: Poller,
        ours: select.epoll,
        theirs: select.epoll,
        due: Callable[[], float | None],
    ) -> None:
        self.theirs = theirs
        self._poller = poller
        self._ours = ours
        self._due = due
        self._number = theirs.fileno()

    def poll(self, timeout: float = -1, most: int = -1) -> list[tuple[int, int]]:
        """Wait for *timeout* seconds at most for something to happen; give out what is the
        streams', return the rest.

        While there is nothing for the reactor to do, its own turn would cost as much as a read.
        """
        number = self._number
        rest: list[tuple[int, int]] = []
        for _ in range(ROUNDS):
            try:
                events = self._ours.poll(timeout, EVENTS)
            except ValueError:
                # Ours was closed: the reactor goes on by itself.
                return self.theirs.poll(timeout, most)
            if not events:
                return events
            for event in events:
                if event[0] == number:
                    rest = self.theirs.poll(0, most)
                    if len(events) == 1:
                        return rest
                    break
            self._poller.give_out(events)
            if rest or not timeout:
                return rest
            due = self._due()
            if due is not None:
                if due <= 0:
                    return rest
                if due < timeout or timeout < 0:
                    timeout = due
        return rest

    def __getattr__(self, name: str) -> Any:
        return getattr(self.theirs, name)


_LOST: Any = Failure(ConnectionError("the descriptor is of no use any more"))  # type: ignore[no-untyped-call]
