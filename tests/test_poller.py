"""Readiness for the data plane."""

from __future__ import annotations

import os
import re
import select
import socket
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from snickers.poller import EVENTS, ROUNDS, Poller
from tests.wires import Turns


class Descriptor:
    """Reads and writes as the test says."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.noted: list[Any] = []
        self.act: Any = None

    def fileno(self) -> int:
        return self.sock.fileno()

    def doRead(self) -> None:
        self.noted.append("read")
        if self.act is not None:
            self.act()
        else:
            self.sock.recv(1)

    def doWrite(self) -> None:
        self.noted.append("write")
        if self.act is not None:
            self.act()

    def connectionLost(self, reason: Any) -> None:
        self.noted.append("lost")


class PollerTests(SynchronousTestCase):
    """An epoll in the reactor."""

    def setUp(self) -> None:
        self.turns = Turns()
        self.poller = Poller(self.turns)
        self.poller.start()
        self.addCleanup(self.poller.stop)

    def pair(self) -> tuple[Descriptor, socket.socket]:
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
            self.addCleanup(sock.close)
        return Descriptor(ours), theirs

    def test_interfaces(self) -> None:
        """To the reactor it is a descriptor, to streams a reactor."""
        verifyObject(IReadDescriptor, self.poller)
        verifyObject(IReactorFDSet, self.poller)

    def test_reading(self) -> None:
        """What is readable is read, as long as there is something, within one turn."""
        descriptor, other = self.pair()
        self.poller.addReader(descriptor)
        self.turns.turn()
        self.assertEqual(descriptor.noted, [])
        other.send(b"abc")
        self.turns.turn()
        self.assertEqual(descriptor.noted, ["read"] * 3)

    def test_writing(self) -> None:
        """What is writable is told so until it wants no more."""
        descriptor, _ = self.pair()
        descriptor.act = lambda: self.poller.removeWriter(descriptor)
        self.poller.addWriter(descriptor)
        self.turns.turn()
        self.assertEqual(descriptor.noted, ["write"])
        self.assertEqual(self.poller.getWriters(), [])

    def test_both(self) -> None:
        """Reading and writing are asked for, and given up, one by one."""
        descriptor, other = self.pair()
        self.poller.addReader(descriptor)
        self.poller.addWriter(descriptor)
        self.assertEqual(self.poller.getReaders(), [descriptor])
        self.assertEqual(self.poller.getWriters(), [descriptor])
        self.poller.removeReader(descriptor)
        self.poller.removeReader(descriptor)
        self.assertEqual(self.poller.getReaders(), [])
        other.send(b"a")
        descriptor.act = lambda: self.poller.removeWriter(descriptor)
        self.turns.turn()
        self.assertEqual(descriptor.noted, ["write"])
        self.assertEqual(self.poller.removeAll(), [])

    def test_shared(self) -> None:
        """Of those who wait for the same listening socket one is woken for a connection, not all;
        who comes in vain finds nothing, and goes on waiting."""
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        # As another process has it: the same socket under another number.
        inherited = listening.dup()
        other = Poller(self.turns)
        other.start()
        self.addCleanup(other.stop)
        waiting = [(self.poller, Descriptor(listening)), (other, Descriptor(inherited))]
        accepted: list[socket.socket] = []

        def accept(sock: socket.socket) -> None:
            try:
                accepted.append(sock.accept()[0])
            except BlockingIOError:
                return
            self.addCleanup(accepted[-1].close)

        for poller, descriptor in waiting:
            self.addCleanup(descriptor.sock.close)
            descriptor.act = lambda sock=descriptor.sock: accept(sock)
            poller.addSharedReader(descriptor)
            self.assertEqual(poller.getReaders(), [descriptor])
            # Which of several sleepers is woken is the kernel's business: it was told.
            with open(f"/proc/self/fdinfo/{poller.fileno()}") as told:
                (events,) = re.findall(rf"tfd: +{descriptor.fileno()} events: +(\w+)", told.read())
            self.assertTrue(int(events, 16) & select.EPOLLEXCLUSIVE)
        for number in (1, 2):
            client = socket.create_connection(listening.getsockname())
            self.addCleanup(client.close)
            self.turns.settle()
            self.assertEqual(len(accepted), number)
        self.poller.removeReader(waiting[0][1])
        noted = len(waiting[0][1].noted)
        client = socket.create_connection(listening.getsockname())
        self.addCleanup(client.close)
        self.turns.settle()
        self.assertEqual((len(accepted), len(waiting[0][1].noted)), (3, noted))

    def test_a_paused_descriptor_whose_peer_is_gone(self) -> None:
        """...does not make the reactor spin: nobody asked."""
        descriptor, other = self.pair()
        self.poller.addReader(descriptor)
        self.poller.removeReader(descriptor)
        other.close()
        self.assertFalse(self.turns.turn())

    def test_gone(self) -> None:
        """The end of the peer is given to whoever reads, else to whoever writes."""
        for add in ("addReader", "addWriter"):
            descriptor, other = self.pair()
            descriptor.act = lambda descriptor=descriptor: (
                self.poller.removeReader(descriptor),
                self.poller.removeWriter(descriptor),
            )
            getattr(self.poller, add)(descriptor)
            other.close()
            self.turns.turn()
            self.assertEqual(descriptor.noted, ["read" if add == "addReader" else "write"])

    def test_ended_by_another_event(self) -> None:
        """What one event ends, another one of the same turn does not touch."""
        first, first_other = self.pair()
        second, second_other = self.pair()

        def end_both() -> None:
            for descriptor in (first, second):
                self.poller.removeReader(descriptor)

        for descriptor, other in ((first, first_other), (second, second_other)):
            descriptor.act = end_both
            self.poller.addReader(descriptor)
            other.send(b"a")
        self.turns.turn()
        self.assertEqual(len(first.noted) + len(second.noted), 1)

    def test_a_reused_number(self) -> None:
        """A descriptor that closed is forgotten; another one may have its number."""
        first, _ = self.pair()
        self.poller.addReader(first)
        self.poller.removeReader(first)
        number = first.fileno()
        first.sock.close()
        second, other = self.pair()
        self.assertEqual(second.fileno(), number)
        self.poller.addReader(second)
        self.poller.removeReader(first)
        other.send(b"a")
        self.turns.turn()
        self.assertEqual((first.noted, second.noted), ([], ["read"]))

    def test_a_number_reused_within_a_turn(self) -> None:
        """What was ready for who had the number before is not told to who has it now."""
        for write_first in (True, False):
            self.reuse_within_a_turn(write_first)

    def reuse_within_a_turn(self, write_first: bool) -> None:
        """Give a number from who writes to who reads, or the other way round."""
        first, _ = self.pair()
        second, second_other = self.pair()
        third: list[Descriptor] = []

        def reuse() -> None:
            self.poller.removeWriter(first)
            self.poller.removeWriter(second)
            self.poller.removeReader(second)
            number = second.fileno()
            fresh = self.pair()[0]
            second.sock.close()
            # A lower number may be free, too, and would be given first.
            os.dup2(fresh.fileno(), number, inheritable=False)
            given = socket.socket(fileno=number)
            self.addCleanup(given.close)
            third.append(Descriptor(given))
            third[0].act = lambda: None
            (self.poller.addReader if write_first else self.poller.addWriter)(third[0])
            # Later events are its own.
            self.patch(self.poller, "_epoll", None)

        first.act = reuse
        self.poller.addWriter(first)
        second_other.send(b"a")
        (self.poller.addWriter if write_first else self.poller.addReader)(second)
        epoll = self.poller._epoll
        self.poller.doRead()
        self.poller._epoll = epoll
        self.assertEqual((second.noted, third[0].noted), ([], []))

    def test_an_exception(self) -> None:
        """A descriptor that raises is ended, logged, and harms nobody else."""
        bad, bad_other = self.pair()
        good, good_other = self.pair()

        def fail() -> None:
            raise RuntimeError("a fault")

        bad.act = fail
        for descriptor, other in ((bad, bad_other), (good, good_other)):
            self.poller.addReader(descriptor)
            other.send(b"a")
        self.turns.turn()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual((bad.noted, good.noted), (["read", "lost"], ["read"]))
        self.assertEqual(self.poller.getReaders(), [good])

    def test_soon(self) -> None:
        """What is to be done soon is done once all that is ready now was given out."""
        noted: list[str] = []
        self.poller.soon(lambda: noted.append("at once"))
        self.assertEqual(noted, ["at once"])

        def fail() -> None:
            raise ValueError("a test's")

        for _ in range(2):
            ours, theirs = self.pair()

            def act(ours: Descriptor = ours) -> None:
                ours.sock.recv(1)
                noted.append("read")
                self.poller.soon(fail)
                self.poller.soon(lambda: noted.append("soon"))

            ours.act = act
            self.poller.addReader(ours)
            theirs.send(b"x")
        self.turns.settle()
        self.assertEqual(noted[1:], ["read", "read", "soon", "soon"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_the_reactor_has_its_turn(self) -> None:
        """A descriptor that is always ready does not keep the reactor for itself."""
        descriptor, _ = self.pair()
        descriptor.act = lambda: None
        self.poller.addWriter(descriptor)
        self.poller.doRead()
        self.assertEqual(len(descriptor.noted), ROUNDS)
        self.assertGreater(EVENTS, ROUNDS)

    def test_reading_instead(self) -> None:
        """Who waited to write waits to read, and for nothing else; who did not, too."""
        for before in ("addWriter", "addReader"):
            descriptor, other = self.pair()
            getattr(self.poller, before)(descriptor)
            self.poller.read_instead(descriptor)
            self.assertEqual(self.poller.getReaders(), [descriptor])
            self.assertEqual(self.poller.getWriters(), [])
            self.turns.turn()
            self.assertEqual(descriptor.noted, [])
            other.send(b"a")
            self.turns.turn()
            self.assertEqual(descriptor.noted, ["read"])
            self.poller.removeReader(descriptor)

    def test_let_go(self) -> None:
        """Who is let go and closed is told nothing; its number is as good as new."""
        first, _ = self.pair()
        number = first.fileno()
        self.poller.addReader(first)
        self.poller.addWriter(first)
        self.poller.let_go(first)
        self.assertEqual((self.poller.getReaders(), self.poller.getWriters()), ([], []))
        first.sock.close()
        self.assertFalse(self.turns.turn())
        second, other = self.pair()
        self.assertEqual(second.fileno(), number)
        self.poller.addReader(second)
        self.poller.let_go(first)
        other.send(b"a")
        self.turns.turn()
        self.assertEqual((first.noted, second.noted), ([], ["read"]))

    def test_later(self) -> None:
        """What is to be called later is called when all events of a batch were given out, what
        that adds too; an exception keeps nobody from it."""
        called: list[str] = []

        def act(name: str, sock: socket.socket) -> None:
            sock.recv(1)
            called.append("acted")
            self.poller.later(lambda _: 1 // 0, None)
            self.poller.later(again, name)

        def again(name: str) -> None:
            called.append(name)
            self.poller.later(called.append, "at last")

        for name in ("one", "two"):
            descriptor, other = self.pair()
            descriptor.act = lambda name=name, sock=descriptor.sock: act(name, sock)
            self.poller.addReader(descriptor)
            other.send(b"a")
        self.turns.turn()
        self.assertEqual(called[:2], ["acted", "acted"])
        self.assertEqual(sorted(called[2:4]), ["one", "two"])
        self.assertEqual(called[4:], ["at last", "at last"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_later_outside(self) -> None:
        """While nothing is given out it is the reactor that calls, a turn later."""
        called: list[str] = []
        self.poller.later(called.append, "a")
        self.assertEqual(called, [])
        self.turns.turn()
        self.assertEqual(called, ["a"])

    def test_before_the_start(self) -> None:
        """What is added before the start is watched from then on."""
        poller = Poller(self.turns)
        descriptor, other = self.pair()
        poller.addReader(descriptor)
        other.send(b"a")
        poller.start()
        self.addCleanup(poller.stop)
        self.turns.turn()
        self.assertEqual(descriptor.noted, ["read"])

    def test_the_end(self) -> None:
        """When the reactor ends, so do all that are watched here."""
        descriptor, _ = self.pair()
        self.poller.addReader(descriptor)
        self.poller.connectionLost(None)
        self.assertEqual(descriptor.noted, ["lost"])


class JointTests(SynchronousTestCase):
    """Joined with Twisted's epoll reactor."""

    def setUp(self) -> None:
        self.reactor = EPollReactor()
        self.theirs = self.reactor._poller
        self.poller = Poller(self.reactor)
        self.poller.start()
        self.addCleanup(self.poller.stop)

    def pair(self) -> tuple[Descriptor, socket.socket]:
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
            self.addCleanup(sock.close)
        return Descriptor(ours), theirs

    def test_both(self) -> None:
        """Descriptors of ours and of the reactor's are told in the same turn, each by its own."""
        mine, other = self.pair()
        its, another = self.pair()
        its.logPrefix = lambda: "its"  # type: ignore[attr-defined]
        self.poller.addReader(mine)
        self.reactor.addReader(its)
        self.addCleanup(self.reactor.removeReader, its)
        self.reactor.iterate(0)
        self.assertEqual((mine.noted, its.noted), ([], []))
        other.send(b"x")
        another.send(b"x")
        self.reactor.iterate(0)
        self.assertEqual((mine.noted, its.noted), (["read"], ["read"]))
        other.send(b"x")
        self.reactor.iterate(0)
        another.send(b"x")
        self.reactor.iterate(0)
        self.assertEqual((mine.noted, its.noted), (["read"] * 2, ["read"] * 2))
        self.assertEqual(self.reactor.getReaders().count(its), 1)

    def test_one_turn(self) -> None:
        """Streams that make each other ready are served in one turn of the reactor, until it has
        calls to make."""
        mine, other = self.pair()
        rounds: list[int] = []

        def act() -> None:
            mine.sock.recv(1)
            rounds.append(len(rounds))
            if len(rounds) == 3:
                self.reactor.callLater(0, rounds.append, -1)
            other.send(b"x")

        mine.act = act
        self.poller.addReader(mine)
        other.send(b"x")
        self.reactor.iterate(5)
        self.assertEqual(rounds, [0, 1, 2])
        self.reactor.iterate(0)
        self.assertEqual(rounds[3:], [-1, 4])

    def test_a_bounded_turn(self) -> None:
        """However busy they are, the reactor has its turn."""
        mine, other = self.pair()
        mine.act = lambda: None
        self.poller.addReader(mine)
        other.send(b"x")
        self.reactor.iterate(5)
        self.assertEqual(len(mine.noted), ROUNDS)

    def test_timers(self) -> None:
        """The reactor's calls are called while streams are busy."""
        mine, other = self.pair()
        mine.act = lambda: None
        self.poller.addReader(mine)
        other.send(b"x")
        called: list[int] = []
        for n in range(3):
            self.reactor.callLater(0, called.append, n)
        self.reactor.iterate(0)
        self.reactor.iterate(0)
        self.assertEqual(called, [0, 1, 2])

    def test_the_end(self) -> None:
        """When it stops, the reactor has its own again, and nothing is told any more."""
        mine, other = self.pair()
        self.poller.addReader(mine)
        joint = self.reactor._poller
        self.poller.stop()
        self.assertIs(self.reactor._poller, self.theirs)
        other.send(b"x")
        self.reactor.iterate(0)
        self.assertEqual((mine.noted, joint.poll(0)), ([], []))
