"""A worker's wiring, on the real reactor and loopback, without a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from snickers import worker
from snickers.config.parse import load
from snickers.config.values import Listen, Settings
from snickers.interfaces.plane import Change, IPlane
from snickers.listening import bind
from snickers.workers.alarms import RemoteAlarm
from snickers.workers.census import ALL, Counts, read
from snickers.workers.desk import Desk
from snickers.workers.tally import Tally
from snickers.workers.wire import Only
from tests.test_alarms import Alarm
from tests.test_desk import Leases
from tests.test_tap import GOOD, Case, ask

REQUEST = b"GET / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n\r\n"


class Reactor:
    """The real reactor, which does not stop and whose timers end with the test."""

    stopped: Deferred[None]
    calls: list[Any]

    def __init__(self, case: Any) -> None:
        vars(self).update(stopped=Deferred(), calls=[])
        case.addCleanup(lambda: [call.cancel() for call in self.calls if call.active()])

    def stop(self) -> None:
        self.stopped.callback(None)

    def callLater(self, *arguments: Any) -> Any:
        self.calls.append(reactor.callLater(*arguments))
        return self.calls[-1]

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(reactor, name, value)


class WorkerCase(Case, TestCase):
    """Listening sockets, a tally and a configuration."""

    timeout = 120

    def setUp(self) -> None:
        self.reactor = Reactor(self)
        self.https, self.http = (bind(Listen("tcp", "127.0.0.1", 0)) for _ in range(2))
        self.ports = [sock.getsockname()[1] for sock in (self.https, self.http)]
        for sock in (self.https, self.http):
            self.addCleanup(sock.close)
        self.descriptor = Tally.create()
        self.addCleanup(os.close, self.descriptor)
        configuration = load(self.write(GOOD)).configuration
        self.change = Change(
            settings=configuration.settings, added=tuple(configuration.sites.values())
        )


class WorkerPlaneTests(WorkerCase):
    """The data plane of a worker, and its doors."""

    def setUp(self) -> None:
        super().setUp()
        tally = Tally(self.descriptor, 1)
        self.addCleanup(tally.close)
        self.plane = worker.WorkerPlane(
            self.reactor,
            [("https", self.https), ("http", self.http)],
            tally,
            RemoteAlarm(),
            self.reactor.stop,
        )
        self.addCleanup(self.end)

    def end(self) -> Deferred[None]:
        self.plane.abort()
        return self.reactor.stopped

    def asked(self) -> Deferred[bytes]:
        """Ask over plain http."""
        return deferToThread(ask, self.ports[1], REQUEST)

    def test_interface(self) -> None:
        """It is a data plane; before it was told anything it has nothing."""
        verifyObject(IPlane, self.plane)
        self.assertEqual((self.plane.count(), self.plane.settings), ({}, Settings()))
        self.plane.accept()
        self.plane.stand_by()
        self.plane.reopen()

    def test_serves(self) -> Deferred[None]:
        """It answers once it was told what, and to accept; it counts what it has answered."""
        self.plane.apply(self.change)
        self.assertEqual(self.plane.settings, self.change.settings)
        self.assertTrue(all(port.shared for port in self.plane.plane.ports))
        self.assertEqual(self.plane.count(), {ALL: Counts(), "hello.localhost": Counts()})
        self.plane.accept()
        secure = self.plane.plane.defer(self.plane.plane.authority.root, time.time())
        trust = self.plane.plane.authority.trust
        secure.addCallback(lambda _: deferToThread(ask, self.ports[0], REQUEST, trust))

        def answered(answers: list[tuple[bool, bytes]]) -> None:
            (_, plain), (_, opened) = answers
            self.assertTrue(plain.startswith(b"HTTP/1.1 308 "), plain)
            self.assertTrue(opened.startswith(b"HTTP/1.1 200 "), opened)
            counts = self.plane.count()["hello.localhost"]
            self.assertEqual((counts.requests, counts.source), (1, "internal"))
            self.assertGreater(counts.not_after, time.time())

        return DeferredList([self.asked(), secure]).addCallback(answered)

    def test_limits(self) -> None:
        """Connections of other processes, of all of them, count for its limits."""
        self.plane.apply(self.change)
        for row in (0, 2, 40):
            other = Tally(self.descriptor, row)
            self.addCleanup(other.close)
            other.add(other.place(b"192.0.2.1"), 100)
        other.use(40)
        self.assertTrue(self.plane.plane.limits.enter(b"192.0.2.2"))
        self.assertFalse(self.plane.plane.limits.enter(b"192.0.2.1"))
        self.plane.plane.limits.leave(b"192.0.2.2")

    def test_stand_by(self) -> Deferred[None]:
        """Standing by, it leaves who comes to others; it accepts again when it is told to."""
        self.plane.apply(self.change)
        self.plane.accept()
        self.plane.stand_by()
        self.assertEqual(self.plane.plane.poller.getReaders(), [])
        answer = self.asked()
        self.reactor.callLater(0, self.plane.accept)
        return answer.addCallback(lambda plain: self.assertIn(b" 308 ", plain))

    def test_changes(self) -> None:
        """Later changes are applied to what there is."""
        self.plane.apply(self.change)
        plane = self.plane.plane
        self.plane.apply(Change(removed=("hello.localhost",)))
        self.assertIs(self.plane.plane, plane)
        self.assertEqual(set(self.plane.count()), {ALL})

    def test_end_before_the_begin(self) -> Deferred[None]:
        """One that was told nothing ends at once, and only once."""
        self.plane.end(5.0)
        self.plane.end(5.0)
        return self.reactor.stopped

    def test_end(self) -> Deferred[None]:
        """At the end it closes its own descriptors only, and has finished what was open."""
        shared = self.http.dup()
        self.addCleanup(shared.close)
        self.plane.apply(self.change)
        self.plane.accept()

        def answered(_: object) -> Deferred[None]:
            self.plane.end(5.0)
            self.plane.accept()
            self.assertEqual([port.getHost() for port in self.plane.plane.ports], [None] * 2)
            self.assertTrue(shared.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
            return self.reactor.stopped

        return self.asked().addCallback(answered)

    def test_hurried(self) -> Deferred[None]:
        """Who was to end at leisure ends sooner when it is told so, and never later."""
        self.plane.apply(self.change)
        self.plane.accept()
        open_one = socket.create_connection(("127.0.0.1", self.ports[1]))
        self.addCleanup(open_one.close)
        open_one.sendall(b"GET /")

        def accepted(_: object) -> Deferred[None]:
            self.assertEqual(self.plane.plane.open, 1)
            for within in (3600.0, 0.5, 7200.0):
                self.plane.end(within)
            self.assertLessEqual(self.plane._draining.left, 0.5)
            return self.reactor.stopped

        return self.asked().addCallback(accepted)


class ConnectedTests(WorkerCase):
    """Everything connected, the first process at the other end."""

    def setUp(self) -> None:
        super().setUp()
        ours, theirs = socket.socketpair()
        for number, given in enumerate((theirs, None, self.https, self.http)):
            os.dup2(self.descriptor if given is None else given.fileno(), 220 + number)
        self.addCleanup(self.close, 221)
        theirs.close()
        self.https.close()
        self.http.close()
        self.patch(worker, "CONTROL", 220)
        self.patch(worker, "TALLY", 221)
        self.patch(worker, "FIRST_FRONT", 222)
        self.handlers: dict[int, Any] = {}
        self.patch(worker.signal, "signal", self.handlers.__setitem__)
        self.alarm, self.counted = Alarm(), []
        self.gone: Deferred[None] = Deferred()
        self.desk = Desk(
            Leases(), self.alarm, self.counted.append, lambda: self.gone.callback(None)
        )
        self.duty = worker.connect(self.reactor, 1, ["https", "http"])
        ours.setblocking(False)
        reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, Only(self.desk))
        ours.close()
        self.addCleanup(self.end)

    def close(self, number: int) -> None:
        os.close(number)

    def end(self) -> Deferred[Any]:
        self.desk.hang_up()
        return DeferredList([self.gone, self.reactor.stopped])

    def test_serves(self) -> Deferred[None]:
        """Told what to serve and to accept, it serves, and counts when it is asked."""
        done = self.desk.apply(self.change)
        self.desk.accept()
        done.addCallback(lambda _: self.desk.count())
        done.addCallback(lambda _: deferToThread(ask, self.ports[1], REQUEST))
        return done.addCallback(lambda plain: self.assertIn(b" 308 ", plain))

    def test_reports(self) -> Deferred[None]:
        """What it has counted it tells when it is asked."""
        done = self.desk.apply(self.change)

        def applied(_: object) -> Deferred[None]:
            self.duty._plane.plane.sites.by_name["hello.localhost"].requests = 3
            return self.desk.count()

        def counted(_: object) -> None:
            self.assertEqual(read(self.counted[0]), {"hello.localhost": Counts(requests=3)})

        return done.addCallback(applied).addCallback(counted)

    def test_drain(self) -> Deferred[None]:
        """Told to end it ends, and has told before what it had counted last."""
        done = self.desk.apply(self.change)

        def applied(_: object) -> Deferred[None]:
            self.duty._plane.plane.sites.by_name["hello.localhost"].requests = 3
            self.desk.drain(5.0)
            return self.reactor.stopped

        def ended(_: object) -> None:
            self.assertEqual(read(self.counted[0]), {"hello.localhost": Counts(requests=3)})

        done.addCallback(applied)
        return done.addCallback(lambda _: self.gone).addCallback(ended)

    def test_left_alone(self) -> Deferred[None]:
        """Without the first process it ends by itself."""
        self.desk.apply(self.change).addCallback(lambda _: self.desk.hang_up())
        return self.reactor.stopped

    def test_signals(self) -> Deferred[None]:
        """Signals for all processes of a terminal are the first one's; SIGTERM alone ends it."""
        ignored = {n for n, handler in self.handlers.items() if handler is signal.SIG_IGN}
        self.assertEqual(ignored, {signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})
        self.handlers[signal.SIGTERM](signal.SIGTERM, None)
        return self.reactor.stopped
