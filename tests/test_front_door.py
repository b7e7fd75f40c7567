"""The service that twistd runs: what is started when, and how it all ends."""

from __future__ import annotations

import signal
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from snickers.front_door import (
    CLOSE_WITHIN,
    LAST_WORDS,
    LONG,
    LOOK_EVERY,
    Draining,
    FrontDoorService,
    Together,
)


class Reactor(Clock):
    """A clock that runs calls of other threads at once."""

    stopped = 0

    def __init__(self) -> None:
        super().__init__()
        self.when_running: list[Any] = []

    def callWhenRunning(self, call: Any) -> None:
        self.when_running.append(call)

    def callFromThread(self, call: Any) -> None:
        call()

    def stop(self) -> None:
        self.stopped += 1


class Part:
    """Notes when it is started and stopped."""

    def __init__(self, name: str, noted: list[str], stopping: Any = None) -> None:
        self.name = name
        self.noted = noted
        self.stopping = stopping

    def start(self) -> None:
        self.noted.append(f"start {self.name}")

    def stop(self) -> Any:
        self.noted.append(f"stop {self.name}")
        return self.stopping

    startListening = start
    stopListening = stop

    def pause(self) -> None:
        self.noted.append(f"pause {self.name}")

    def resume(self) -> None:
        self.noted.append(f"resume {self.name}")


class Front:
    """Connections as the test says."""

    def __init__(self, noted: list[str]) -> None:
        self.connections: set[Any] = set()
        self.noted = noted

    @property
    def open(self) -> int:
        return len(self.connections)

    def drain(self) -> None:
        self.noted.append("drain")

    def break_off(self) -> None:
        self.noted.append("break off")

    def abort(self) -> None:
        self.noted.append("abort")
        self.connections.clear()


class Notifier:
    """Notes what the service manager would be told."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, *states: str) -> None:
        self.sent += states


class Team:
    """One of two teams."""

    def __init__(self, noted: list[str], stands_by: bool) -> None:
        self.stands_by = stands_by
        self.ports: Any = ()
        self.take = lambda: noted.append("team take")
        self.give = lambda: noted.append("team give")
        self.end = lambda: noted.append("team end")
        self._noted = noted

    def start(self, ports: Any) -> None:
        self.ports = ports
        self._noted.append("team start")


class FrontDoorServiceTests(SynchronousTestCase):
    """Starting, signals, ending."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.noted: list[str] = []
        self.front = Front(self.noted)
        self.notifier = Notifier()
        self.parts = [Part("a", self.noted), Part("b", self.noted)]
        self.looks = 0
        self.reloads: list[Deferred[None]] = []
        self.look_fails = False
        self.service = self.make()

    def make(self, team: Any = None) -> FrontDoorService:
        def bind() -> list[Any]:
            self.noted.append("bind")
            return [Part("port", self.noted)]

        def watch() -> Deferred[None]:
            self.looks += 1
            return succeed(None)

        def reload() -> Deferred[None]:
            self.reloads.append(Deferred())
            return self.reloads[-1]

        return FrontDoorService(
            self.reactor,
            bind,
            self.parts,
            self.front,
            watch,
            reload,
            5.0,
            lambda: 30.0,
            self.notifier,  # type: ignore[arg-type]
            lambda: self.noted.append("ready"),
            team,
            lambda: 7200.0,
        )

    def start(self) -> None:
        self.service.privilegedStartService()
        self.service.startService()

    def handle(self, number: int) -> None:
        """Call what was installed for a signal, after putting the old handlers back."""
        handlers = {}
        for installed in (
            signal.SIGHUP,
            signal.SIGUSR1,
            signal.SIGUSR2,
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGURG,
        ):
            handlers[installed] = signal.getsignal(installed)
            self.addCleanup(signal.signal, installed, handlers[installed])
        while self.reactor.when_running:
            self.reactor.when_running.pop()()
        self.noted[:] = [noted for noted in self.noted if noted != "ready"]
        handler: Any = signal.getsignal(number)
        handler(number, None)

    def test_interface(self) -> None:
        """It is a service."""
        verifyObject(IService, self.service)

    def test_start(self) -> None:
        """Sockets first, then the parts in order, and only then is anybody accepted. It is said to
        be ready when signals are heeded, too: one may come at once."""
        self.service.privilegedStartService()
        self.assertEqual(self.noted, ["bind"])
        self.service.startService()
        self.assertEqual(self.noted, ["bind", "start a", "start b", "start port"])
        self.assertEqual(self.notifier.sent, [])
        self.patch(self.service, "_install_signals", lambda: self.noted.append("signals"))
        self.reactor.when_running[0]()
        self.assertEqual(self.noted[-2:], ["signals", "ready"])
        self.assertEqual(self.notifier.sent[0], "READY=1")

    def test_team(self) -> None:
        """One of two teams decides itself when connections are accepted, and is told what signals
        ask for. It gives duty up before its connections have ended."""
        for stands_by in (False, True):
            team = Team(self.noted, stands_by)
            service = self.service = self.make(team)
            self.reactor.when_running.clear()
            self.start()
            self.assertEqual("start port" in self.noted, not stands_by)
            self.notifier.sent.clear()
            self.handle(signal.SIGUSR1)
            handler: Any = signal.getsignal(signal.SIGUSR2)
            handler(signal.SIGUSR2, None)
            self.assertEqual(self.noted[-3:], ["team start", "team give", "team take"])
            service.told("ready")
            self.assertEqual((self.notifier.sent, len(team.ports)), ([], 1))
            self.front.connections.add(1)
            self.noted.clear()
            service.stopService()
            self.assertEqual(self.noted, ["stop port", "team end", "drain"])
            self.front.connections.clear()
            self.noted.clear()

    def finishing(self) -> Deferred[Any]:
        """A team with one connection open that was told to finish; fires at its end."""
        self.service = self.make(Team(self.noted, False))
        self.start()
        self.front.connections.add(1)
        self.notifier.sent.clear()
        self.handle(signal.SIGURG)
        self.handle(signal.SIGURG)
        self.assertEqual(self.reactor.stopped, 1)
        self.noted.clear()
        done = self.service.stopService()
        self.assertEqual(self.noted, ["stop port", "team end", "drain"])
        needs = f"EXTEND_TIMEOUT_USEC={round((7200 + CLOSE_WITHIN) * 1e6)}"
        self.assertEqual(self.notifier.sent, ["STOPPING=1", needs])
        return done

    def test_finishing(self) -> None:
        """A team that is told to finish has `finish within`, and says again how much is left."""
        done = self.finishing()
        self.reactor.pump([1.0] * 7000)
        self.assertNoResult(done)
        needs = f"EXTEND_TIMEOUT_USEC={round((200 + CLOSE_WITHIN) * 1e6)}"
        self.assertEqual(self.service.again(), (needs, "X_SNICKERS_FINISHING=1"))
        self.front.connections.clear()
        self.reactor.pump([1.0] * 2)
        self.successResultOf(done)
        self.assertNotIn("abort", self.noted)

    def test_finishing_has_an_end(self) -> None:
        """What is open after that is broken off."""
        done = self.finishing()
        self.reactor.pump([1.0] * 7199)
        self.assertNoResult(done)
        self.reactor.pump([1.0] * 2)
        self.successResultOf(done)
        self.assertIn("abort", self.noted)

    def test_hurried(self) -> None:
        """One that finishes has `drain within` from SIGTERM on, workers, too, and ends at once by
        another one."""
        for twice in (False, True):
            done = self.finishing()
            self.reactor.pump([1.0] * 100)
            self.noted.clear()
            self.notifier.sent.clear()
            self.handle(signal.SIGTERM)
            self.assertEqual(self.noted, ["stop port"])
            needs = f"EXTEND_TIMEOUT_USEC={round((30 + CLOSE_WITHIN) * 1e6)}"
            self.assertEqual(self.notifier.sent, ["STOPPING=1", needs])
            self.assertEqual(self.service.again(), (needs,))
            if twice:
                self.handle(signal.SIGTERM)
            else:
                self.reactor.pump([1.0] * 29)
                self.assertNoResult(done)
                self.assertNotIn("abort", self.noted)
            self.reactor.pump([1.0] * 2)
            self.successResultOf(done)
            self.assertIn("abort", self.noted)
            self.reactor.stopped = 0

    def test_hurried_before_it_has_begun(self) -> None:
        """Both signals at once mean the second one."""
        self.service = self.make(Team(self.noted, False))
        self.start()
        self.handle(signal.SIGURG)
        self.handle(signal.SIGTERM)
        self.assertEqual((self.service.within, self.reactor.stopped), (30.0, 1))

    def test_finishing_alone(self) -> None:
        """Without another team the signal means nothing."""
        self.start()
        self.assertEqual(signal.getsignal(signal.SIGURG), signal.SIG_DFL)

    def test_a_part_that_cannot_start(self) -> None:
        """...ends the start: what was started before is stopped, nobody is accepted."""

        def fail() -> None:
            raise SystemExit(1)

        self.parts[1].start = fail  # type: ignore[method-assign]
        self.assertRaises(SystemExit, self.start)
        self.assertEqual(self.noted, ["bind", "start a", "stop port", "stop a"])

    def test_looking_for_changes(self) -> None:
        """Changes are looked for as often as is said, also when that changes."""
        self.start()
        self.assertEqual(self.looks, 0)
        self.reactor.pump([5.0, 5.0])
        self.assertEqual(self.looks, 2)
        self.service.look_every(1.0)
        self.reactor.pump([1.0] * 3)
        self.assertEqual(self.looks, 5)

    def test_hangup_reloads(self) -> None:
        """SIGHUP reloads; a reload that fails is logged, no more."""
        self.start()
        self.handle(signal.SIGHUP)
        self.reloads[0].errback(RuntimeError("no"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_taking_over(self) -> None:
        """Who takes over looks whether the configuration has changed: a reload that somebody asked
        for, while it stood by, was the other one's."""
        self.service = self.make(Team(self.noted, True))
        self.start()
        self.handle(signal.SIGUSR2)
        self.assertEqual((self.looks, self.reloads), (1, []))
        self.handle(signal.SIGTERM)
        self.service.stopService()
        self.service.accept_again()
        self.assertEqual(self.looks, 1)

    def test_standing_by(self) -> None:
        """SIGUSR1 stops accepting, SIGUSR2 accepts again; whoever looks can see which it is."""
        self.start()
        self.noted.clear()
        self.handle(signal.SIGUSR1)
        self.assertEqual(self.noted, ["pause port"])
        self.assertTrue(self.service.standing_by)
        self.handle(signal.SIGUSR2)
        self.assertEqual(self.noted, ["pause port", "resume port"])
        self.assertFalse(self.service.standing_by)

    def test_terminate(self) -> None:
        """The first signal ends in peace, the second one at once."""
        self.start()
        self.front.connections.add(1)
        self.handle(signal.SIGTERM)
        self.assertEqual(self.reactor.stopped, 1)
        self.noted.clear()
        done = self.service.stopService()
        self.assertEqual(self.noted, ["stop port", "drain"])
        self.handle(signal.SIGTERM)
        self.assertEqual(self.reactor.stopped, 1)
        self.assertIn("abort", self.noted)
        self.reactor.advance(1)
        self.successResultOf(done)

    def test_stop(self) -> None:
        """Nobody is accepted, what is open is waited for, the parts end in reverse."""
        self.start()
        self.front.connections.add(1)
        self.noted.clear()
        done = self.service.stopService()
        self.assertIn("STOPPING=1", self.notifier.sent)
        # How long that may take, so that nobody ends it by force before.
        (needs,) = [s for s in self.notifier.sent if s.startswith("EXTEND_TIMEOUT_USEC=")]
        self.assertEqual(int(needs.partition("=")[2]), (30.0 + CLOSE_WITHIN) * 1e6)
        self.reactor.pump([0.1] * 50)
        self.assertNoResult(done)
        self.assertEqual(self.noted, ["stop port", "drain"])
        self.front.connections.clear()
        self.reactor.pump([0.1] * 3)
        self.successResultOf(done)
        self.assertEqual(self.noted, ["stop port", "drain", "stop b", "stop a"])

    def test_stop_in_the_end(self) -> None:
        """What is still open after `drain within` is broken off."""
        self.start()
        self.front.connections.add(1)
        self.noted.clear()
        done = self.service.stopService()
        self.reactor.pump([0.1] * 320)
        self.successResultOf(done)
        ends = ["break off", "abort", "stop b", "stop a"]
        self.assertEqual(self.noted, ["stop port", "drain", *ends])

    def test_a_part_that_fails_to_stop(self) -> None:
        """...keeps nobody else from stopping."""
        self.parts[1].stopping = fail(RuntimeError("stuck"))
        self.start()
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.noted[-2:], ["stop b", "stop a"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_stop_waits_for_parts(self) -> None:
        """A part that takes its time is waited for."""
        stopping: Deferred[None] = Deferred()
        self.parts[1].stopping = stopping
        self.start()
        done = self.service.stopService()
        self.assertNoResult(done)
        self.assertEqual(self.noted[-1], "stop b")
        stopping.callback(None)
        self.successResultOf(done)

    def test_telling_of_a_reload(self) -> None:
        """The service manager is told when a reload begins and ends."""
        self.service.told("reloading")
        self.service.told("ready")
        reloading, since, ready = self.notifier.sent
        self.assertEqual((reloading, ready), ("RELOADING=1", "READY=1"))
        self.assertRegex(since, r"\AMONOTONIC_USEC=\d+\Z")


class TogetherTests(SynchronousTestCase):
    """Several fronts, which end as one."""

    def test_together(self) -> None:
        """What is open is the sum; all drain and all are aborted."""
        noted: list[str] = []
        fronts = [Front(noted), Front(noted)]
        together = Together(*fronts)
        self.assertEqual(together.open, 0)
        fronts[0].connections.add(1)
        fronts[1].connections |= {2, 3}
        self.assertEqual(together.open, 3)
        together.drain()
        together.break_off()
        together.abort()
        self.assertEqual(noted, ["drain"] * 2 + ["break off"] * 2 + ["abort"] * 2)
        self.assertEqual(together.open, 0)


class DrainedTests(SynchronousTestCase):
    """Waiting for the last connection."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.noted: list[str] = []
        self.front = Front(self.noted)

    def test_nothing_open(self) -> None:
        """Where nothing is open nothing is waited for."""
        self.successResultOf(Draining(self.clock, self.front, 5.0).done)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ends_by_itself(self) -> None:
        """It is over soon after the last one has gone, and nobody is cut off."""
        self.front.connections |= {1, 2}
        done = Draining(self.clock, self.front, 5.0).done
        self.clock.advance(3.0)
        self.front.connections.clear()
        self.assertNoResult(done)
        self.clock.advance(LOOK_EVERY)
        self.successResultOf(done)
        self.assertEqual((self.noted, self.clock.getDelayedCalls()), ([], []))

    def test_time_is_over(self) -> None:
        """What is open when the time is over has its last words, once, and is then cut off."""
        for within in (0.0, 5.0, LONG + 1.25):
            self.noted.clear()
            self.front.connections.add(1)
            done = Draining(self.clock, self.front, within).done
            self.clock.pump([LOOK_EVERY] * round(within / LOOK_EVERY + 1))
            self.assertEqual(self.noted, ["break off"])
            self.clock.pump([LOOK_EVERY] * round(LAST_WORDS / LOOK_EVERY + 1))
            self.clock.advance(0)
            self.successResultOf(done)
            self.assertEqual(self.noted, ["break off", "abort"])

    def test_last_words_suffice(self) -> None:
        """Where they end all that is open nothing is cut off."""
        self.front.connections.add(1)
        done = Draining(self.clock, self.front, 5.0).done
        self.clock.pump([LOOK_EVERY] * round(5.0 / LOOK_EVERY + 1))
        self.front.connections.clear()
        self.clock.advance(LOOK_EVERY)
        self.successResultOf(done)
        self.assertEqual((self.noted, self.clock.getDelayedCalls()), (["break off"], []))
