"""One worker, as the first process deals with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.testing import StringTransport
from twisted.protocols import amp
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from snickers.config.values import Site, Static
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.engine import Address
from snickers.interfaces.leases import ILeases, IWaiter, Refusal, Stage
from snickers.interfaces.plane import Change
from snickers.workers import desk as desk_module
from snickers.workers import wire
from snickers.workers.desk import FORGOTTEN, Desk

HERE = ("127.0.0.1", 8001)
THERE = ("127.0.0.1", 8002)
RESTING = Refusal("resting", 7)


@implementer(ILeases)
class Leases:
    """The lives of all servers: ready where the test says, answering when it does."""

    def __init__(self) -> None:
        self.at: dict[str, Address] = {}
        self.uses: Counter[str] = Counter()
        self.used: Counter[tuple[str, Address]] = Counter()
        self.waiting: list[tuple[str, IWaiter]] = []
        self.doubts: list[tuple[str, Address]] = []
        self.stages: dict[str, Stage] = {}

    def take(self, site: str, waiter: IWaiter) -> Address | None:
        address = self.at.get(site)
        if address is None:
            self.waiting.append((site, waiter))
            return None
        return self.lease(site, address)

    def lease(self, site: str, address: Address) -> Address:
        """Count one use more of the server at *address*."""
        self.uses[site] += 1
        self.used[site, address] += 1
        return address

    def give_back(self, site: str, address: Address) -> None:
        assert self.used[site, address] > 0
        self.uses[site] -= 1
        self.used[site, address] -= 1

    def forget(self, site: str, waiter: IWaiter) -> None:
        self.waiting.remove((site, waiter))

    def failed(self, site: str, address: Address) -> None:
        self.doubts.append((site, address))

    def look(self, site: str, told: Callable[[Stage], None]) -> None:
        told(self.stages.get(site, Stage()))

    def ready(self, site: str) -> Address | None:
        return self.at.get(site)

    # The test's

    def answer(self, answer: Address | Refusal) -> None:
        """Answer who has waited longest."""
        site, waiter = self.waiting.pop(0)
        if isinstance(answer, Refusal):
            waiter.refused(answer)
        else:
            self.at[site] = answer
            waiter.leased(self.lease(site, answer))


@implementer(IAlarm)
class Alarm:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def raised(self, kind: str, site: str, message: str) -> None:
        self.told.append((kind, site, message))

    def cleared(self, kind: str, site: str) -> None:
        self.told.append((kind, site))


class Other(wire.Speaker):
    """A worker in the test's hand: notes the commands, and answers them."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Any, ...]] = []

    def locateResponder(self, name: bytes) -> Any:
        def note(box: amp.AmpBox) -> amp.AmpBox:
            values = {key: value for key, value in box.items() if not key.startswith(b"_")}
            self.told.append((name.decode(), *values.values()))
            return amp.AmpBox()

        def responder(box: amp.AmpBox) -> Any:
            return succeed(note(box))

        return responder


class DeskCase(SynchronousTestCase):
    """A desk, and a worker in the test's hand."""

    def setUp(self) -> None:
        self.leases = Leases()
        verifyObject(ILeases, self.leases)
        self.alarm = Alarm()
        verifyObject(IAlarm, self.alarm)
        self.counted: list[bytes] = []
        self.gone: list[bool] = []
        self.worker, self.desk, self.pump = self.connect()

    def connect(self) -> Any:
        return connectedServerAndClient(
            lambda: Desk(
                self.leases, self.alarm, self.counted.append, lambda: self.gone.append(True)
            ),
            Other,
        )

    def say(self, command: Any, **arguments: Any) -> Any:
        """Have the worker say something; return what will come of it."""
        answer = self.worker.callRemote(command, **arguments)
        self.pump.flush()
        return answer

    def take(self, ticket: int, site: str = "a") -> Any:
        return self.say(wire.Take, site=site, ticket=ticket)

    def give_back(self, count: int = 1, site: str = "a", at: tuple[str, int] = HERE) -> None:
        host, port = at
        self.say(wire.GiveBack, site=site, count=count, host=host, port=port)

    def result(self, answer: Any) -> Address | Refusal:
        self.pump.flush()
        return wire.result(self.successResultOf(answer))

    def names(self) -> list[str]:
        self.pump.flush()
        return [name for name, *_ in self.worker.told]

    def die(self) -> None:
        self.worker.transport.abortConnection()
        self.pump.flush()


class LeasesTests(DeskCase):
    """What a worker may lease."""

    def test_ready(self) -> None:
        """A server that is awake is leased at once."""
        self.leases.at["a"] = HERE
        self.assertEqual(self.result(self.take(1)), HERE)
        self.assertEqual((self.leases.uses["a"], self.desk.leased), (1, 1))
        self.give_back()
        self.assertEqual((self.leases.uses["a"], self.desk.leased), (0, 0))

    def test_waits(self) -> None:
        """One that sleeps is leased when it is awake; how far it is is told to who looks."""
        answer = self.take(1)
        self.assertNoResult(answer)
        self.desk.changed("a")
        self.pump.flush()
        self.assertEqual(self.worker.told, [])
        self.leases.answer(HERE)
        self.assertEqual(self.result(answer), HERE)
        self.assertEqual(self.desk._waiting, {})

    def test_look(self) -> None:
        """How far it is is said at once; nobody waits for it, and nothing is counted."""
        self.leases.stages["a"] = Stage("starting", "pulling x", True)
        for site, stage in [("a", Stage("starting", "pulling x", True)), ("b", Stage())]:
            answer = self.successResultOf(self.say(wire.Look, site=site))
            self.assertEqual(wire.read_stage(answer), stage)
        self.assertEqual((self.leases.waiting, self.desk.leased), ([], 0))

    def test_refused(self) -> None:
        """Why there is none is said, and nothing is counted."""
        answer = self.take(1)
        self.leases.answer(RESTING)
        self.assertEqual(self.result(answer), RESTING)
        self.assertEqual((self.desk.leased, self.desk._waiting), (0, {}))

    def test_forgotten(self) -> None:
        """Who waits no more is answered all the same, and holds nothing."""
        answer = self.take(1)
        self.say(wire.Forget, ticket=1)
        self.assertEqual(self.result(answer), FORGOTTEN)
        self.assertEqual((self.leases.waiting, self.desk.leased), ([], 0))
        self.say(wire.Forget, ticket=1)
        self.say(wire.Forget, ticket=99)
        self.assertEqual(self.gone, [])

    def test_forgotten_while_the_answer_is_on_its_way(self) -> None:
        """A lease that crosses with its being forgotten counts until it is given back."""
        answer = self.take(1)
        self.leases.answer(HERE)
        self.worker.callRemote(wire.Forget, ticket=1)
        self.assertEqual(self.result(answer), HERE)
        self.assertEqual((self.leases.uses["a"], self.desk.leased), (1, 1))
        self.give_back()
        self.assertEqual((self.leases.uses["a"], self.desk.leased), (0, 0))

    def test_withdrawn(self) -> None:
        """A lease is withdrawn once, when its server answers there no more; it still counts."""
        self.leases.at["a"] = HERE
        self.take(1)
        self.desk.changed("a")
        self.assertEqual(self.names(), [])
        del self.leases.at["a"]
        self.desk.changed("b")
        self.desk.changed("a")
        self.desk.changed("a")
        self.pump.flush()
        self.assertEqual(self.worker.told, [("Withdraw", b"a")])
        self.assertEqual(self.desk.leased, 1)

    def test_withdrawn_before_the_next(self) -> None:
        """The old address is withdrawn before the new one is leased, so that the worker is left
        with the new one."""
        self.leases.at["a"] = HERE
        self.take(1)
        del self.leases.at["a"]
        self.desk.changed("a")
        self.take(2).addCallback(lambda answer: self.worker.told.append(("leased",)))
        self.leases.answer(THERE)
        self.desk.changed("a")
        self.assertEqual(self.names(), ["Withdraw", "leased"])

    def test_two_servers(self) -> None:
        """While one takes another's place each is given back as what it is; giving back the last
        lease of the old one does not keep the new one from being withdrawn."""
        self.leases.at["a"] = HERE
        self.take(1)
        self.leases.at["a"] = THERE
        self.desk.changed("a")
        self.take(2)
        self.give_back(5, at=HERE)
        self.assertEqual(+self.leases.used, {("a", THERE): 1})
        self.give_back(1, at=HERE)
        self.assertEqual(self.desk.leased, 1)
        del self.leases.at["a"]
        self.desk.changed("a")
        self.assertEqual(self.names(), ["Withdraw", "Withdraw"])
        self.die()
        self.assertEqual(+self.leases.used, {})

    def test_nothing_to_withdraw(self) -> None:
        """What was given back is not withdrawn."""
        self.leases.at["a"] = HERE
        self.take(1)
        self.give_back()
        del self.leases.at["a"]
        self.desk.changed("a")
        self.assertEqual(self.names(), [])

    def test_death(self) -> None:
        """With a worker goes everything that it has leased or waits for; that is told once."""
        self.leases.at["a"] = HERE
        for ticket in range(3):
            self.take(ticket)
        self.take(9, "b")
        self.give_back()
        self.assertEqual((self.leases.uses["a"], len(self.leases.waiting)), (2, 1))
        self.die()
        self.assertEqual((self.leases.uses["a"], self.leases.waiting), (0, []))
        self.assertEqual((self.gone, self.desk.leased, self.desk.connected), ([True], 0, False))
        del self.leases.at["a"]
        self.desk.changed("a")

    def test_hung_up(self) -> None:
        """Of a process that has ended nothing more is heard; what it had is given back."""
        self.leases.at["a"] = HERE
        self.take(1)
        self.desk.hang_up()
        self.pump.flush()
        self.assertEqual((self.leases.uses["a"], self.gone), (0, [True]))
        self.desk.hang_up()
        transport = StringTransport()
        desk = Desk(self.leases, self.alarm, self.counted.append, lambda: None)
        desk.makeConnection(transport)
        desk.hang_up()
        self.assertTrue(transport.disconnected)

    def test_never_connected(self) -> None:
        """One whose process never was can be hung up on as well."""
        Desk(self.leases, self.alarm, self.counted.append, lambda: None).hang_up()


class NonsenseTests(DeskCase):
    """What a worker says that has been taken over by somebody else."""

    def test_more_than_it_has(self) -> None:
        """Only its own leases can be given back, whatever number it says."""
        self.leases.at["a"] = self.leases.at["b"] = HERE
        other, desk, pump = self.connect()
        other.callRemote(wire.Take, site="a", ticket=1)
        pump.flush()
        self.take(1)
        for count in (-5, 0):
            self.give_back(count)
        self.assertEqual((self.leases.uses["a"], self.desk.leased), (2, 1))
        for count in (1 << 80, 1, -1):
            self.give_back(count)
            self.give_back(count, "b")
        self.assertEqual((self.leases.uses["a"], self.desk.leased, desk.leased), (1, 0, 1))
        self.die()
        self.assertEqual((self.leases.uses["a"], self.gone), (1, [True]))

    def test_a_ticket_twice(self) -> None:
        """A ticket that is waited with is not taken a second time."""
        first, second = self.take(1), self.take(1)
        self.assertEqual(self.result(second), FORGOTTEN)
        self.leases.answer(HERE)
        self.assertEqual((self.result(first), self.desk.leased), (HERE, 1))

    def test_huge_counts(self) -> None:
        """No more than so many bytes are kept for it, whatever the parts are."""
        self.patch(desk_module, "MOST_COUNTED", 3 * wire.PART)
        for _ in range(10):
            self.say(wire.Counted, part=b"x" * wire.PART, last=False)
            self.assertLessEqual(len(self.desk._parts), 3 * wire.PART)
        for _ in range(200):
            self.say(wire.Counted, part=b"", last=False)
        self.say(wire.Counted, part=b"", last=True)
        self.assertEqual(self.desk._parts, b"")
        self.counted.clear()
        self.say(wire.Counted, part=b"[", last=False)
        self.say(wire.Counted, part=b"]", last=True)
        self.assertEqual((self.counted, self.gone), ([b"[]"], []))

    def test_no_boxes(self) -> None:
        """What is no AMP at all ends its connection, and everything is given back."""
        self.leases.at["a"] = HERE
        self.take(1)
        self.worker.transport.write(b"\xff" * 100)
        self.pump.flush()
        self.assertEqual((self.leases.uses["a"], self.gone), (0, [True]))
        self.flushLoggedErrors()

    def test_a_command_for_workers(self) -> None:
        """What only the first process may say is not heard from a worker: nothing is unpickled."""
        self.patch(wire, "unpacked", self.fail)
        answer = self.worker.callRemote(wire.Apply, part=wire.packed(Change()), last=True)
        refused: list[Any] = []
        answer.addErrback(refused.append)
        self.pump.flush()
        self.assertTrue(refused[0].check(amp.UnhandledCommand))
        self.assertTrue(self.desk.connected)


class TellingTests(DeskCase):
    """What else is said, both ways."""

    def test_alarms(self) -> None:
        """An alarm is raised and cleared as the worker says."""
        self.say(wire.Raise, kind="health", site="a", message="down")
        self.say(wire.Clear, kind="health", site="a")
        self.assertEqual(self.alarm.told, [("health", "a", "down"), ("health", "a")])

    def test_failed(self) -> None:
        """A doubt is passed on, of a port or of a unix socket."""
        self.say(wire.Failed, site="a", host="127.0.0.1", port=8001)
        self.say(wire.Failed, site="b", host="/run/b", port=0)
        self.assertEqual(self.leases.doubts, [("a", HERE), ("b", "/run/b")])

    def test_commands(self) -> None:
        """Each command arrives as its own."""
        accepted = self.desk.accept()
        self.assertNoResult(accepted)
        self.desk.stand_by()
        self.desk.drain(2.5)
        self.desk.abort()
        self.desk.reopen()
        counted = self.desk.count()
        self.assertNoResult(counted)
        self.assertEqual(self.names(), ["Accept", "StandBy", "Drain", "Abort", "Reopen", "Count"])
        self.successResultOf(accepted)
        self.assertIsNone(self.successResultOf(counted))

    def test_a_large_change(self) -> None:
        """A change of any size arrives whole, in parts; it holds when the last one is answered."""
        sites = tuple(Site(f"{n}.example", Static(f"/{n}" * 200)) for n in range(500))
        applied = self.desk.apply(Change(added=sites))
        self.assertNoResult(applied)
        self.pump.flush()
        self.successResultOf(applied)
        parts = [part for _, _, part in self.worker.told]
        self.assertGreater(len(parts), 3)
        self.assertEqual(wire.unpacked(b"".join(parts)).added, sites)
        self.assertEqual([last for _, last, _ in self.worker.told][-2:], [b"False", b"True"])

    def test_gone(self) -> None:
        """Who waits for one that goes, or has gone, waits no longer, and nothing is logged."""
        waiting = [self.desk.count(), self.desk.apply(Change())]
        self.worker.transport.abortConnection()
        self.pump.flush()
        waiting.append(self.desk.count())
        self.desk.accept()
        for done in waiting:
            self.assertIsNone(self.successResultOf(done))

    def test_not_done(self) -> None:
        """A worker that fails to do something is logged, and nobody waits for ever."""
        desk = Desk(self.leases, self.alarm, self.counted.append, lambda: None)
        _, _, pump = connectedServerAndClient(lambda: desk, wire.Speaker)
        done = desk.count()
        pump.flush()
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(len(self.flushLoggedErrors(amp.UnhandledCommand)), 1)

    def test_quiet(self) -> None:
        """A connection that comes and goes is no line in the log."""
        desk = Desk(self.leases, self.alarm, self.counted.append, lambda: None)
        desk.makeConnection(StringTransport())
        desk.connectionLost()
        self.assertEqual(self.flushLoggedErrors(), [])
