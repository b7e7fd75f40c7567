"""The broker, as a front meets it that wants more than is declared, or speaks nonsense."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from snickers.brokerage import broker as module
from snickers.brokerage import wire
from snickers.config.values import Configuration, Container, Lifecycle, Settings
from snickers.containers.engine import EngineFailed
from snickers.interfaces.engine import Declared, Exit
from snickers.testing import MemoryEngine
from tests.test_brokered import Pair

SNAPSHOT = ("/snapshot.sh",)
VETO = ("/busy", "now")
KIND = Container("lamp", data="/data", life=Lifecycle(snapshot=SNAPSHOT, veto=VETO))
ALICE = Declared("alice.example", KIND, "/data/alice.example")


class BrokerCase(SynchronousTestCase):
    """A broker that has read of one site, and a front in the test's hand."""

    def setUp(self) -> None:
        self.make()

    def make(self) -> None:
        self.clock = Clock()
        self.behind = MemoryEngine(self.clock)
        self.pair = Pair(self.clock, self.behind)
        self.pair.write(ALICE)
        self.pair.connect()
        self.pair.settle()
        self.front = self.pair.front
        self.calls = 100

    def ask(self, command: type[amp.Command], **arguments: Any) -> Any:
        """Ask as the front does; return the result, or the Deferred that has none."""
        self.calls += 1
        arguments = {"call": self.calls, **arguments}
        done: Deferred[Any] = Deferred()
        # AMP hangs up on an error that has no errback when it comes.
        self.pair.line.callRemote(command, **arguments).addCallbacks(done.callback, done.errback)
        self.pair.settle()
        return done

    def start(self, declared: Declared = ALICE) -> Any:
        done = self.front.start(declared, lambda words: None)
        self.pair.settle()
        return done

    def refused(self, done: Any) -> str:
        return self.failureResultOf(done, EngineFailed).getErrorMessage()


class ConfigurationTests(BrokerCase):
    """What the files say is what is done."""

    def test_as_read(self) -> None:
        """What was read already is not read again."""
        self.assertTrue(self.successResultOf(self.start()).running)
        self.assertEqual(self.pair.read, 0)

    def test_other_declarations(self) -> None:
        """Whatever differs from what the files say is not started; they are read before."""
        for count, changes in enumerate(
            ({"image": "x"}, {"command": ("x",)}, {"volumes": ("/:/x",)}, {"network": "host"}), 1
        ):
            other = evolve(ALICE, kind=evolve(KIND, **changes))
            self.assertIn("snickers reload", self.refused(self.start(other)))
            self.assertEqual(self.pair.read, count)
            done = self.front.prepare(other, False, lambda words: None)
            self.pair.settle()
            self.refused(done)
            self.pair.read -= 1
        self.refused(self.start(evolve(ALICE, data="/")))
        self.refused(self.start(evolve(ALICE, site="bob.example")))
        self.assertEqual(self.behind.calls, [])

    def test_read_again(self) -> None:
        """What the front has read and the broker not yet is started after a look; what the files
        do not say any more is not."""
        new = evolve(ALICE, kind=evolve(KIND, image="new"))
        self.pair.write(new)
        self.assertTrue(self.successResultOf(self.start(new)).running)
        self.assertIn("alice.example", self.refused(self.start(ALICE)))

    def test_removed(self) -> None:
        """Of a site that is no more nothing is started, and what runs of it can be removed."""
        self.successResultOf(self.start())
        self.pair.files = Configuration(Settings())
        self.successResultOf(self.ask(wire.Remove, site="alice.example"))
        reading = self.front.reload()
        self.pair.settle()
        self.successResultOf(reading)
        self.refused(self.start())
        self.assertEqual(self.behind.host.servers, {})

    def test_at_fault(self) -> None:
        """When the files cannot be read, what was read before counts."""
        self.pair.load = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        self.pair.connect()
        self.refused(self.start(evolve(ALICE, data="/")))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(self.successResultOf(self.start()).running)

    def test_read_once_for_all(self) -> None:
        """Who asks while it reads waits for one more reading, together with all others."""
        readings: list[Deferred[Any]] = []
        broker = self.pair.broker
        broker._in_thread = lambda work: readings.append(Deferred()) or readings[-1]
        done = [broker.read() for _ in range(3)]
        self.assertEqual(len(readings), 1)
        done[2].addErrback(lambda _: None)
        done[2].cancel()
        readings[0].callback(self.pair.files)
        self.assertEqual(len(readings), 2)
        self.successResultOf(done[0])
        self.assertNoResult(done[1])
        readings[1].callback(self.pair.files)
        self.successResultOf(done[1])
        self.assertEqual(len(readings), 2)

    def test_guarded(self) -> None:
        """What could lead a container to other folders is not started, and why is said."""
        self.pair.loose["/data/alice.example"] = "/data belongs to somebody"
        self.assertIn("/data belongs to somebody", self.refused(self.start()))
        self.assertEqual(self.behind.calls, [])

    def test_a_stop_overtakes(self) -> None:
        """A stop that comes after a start stops it, also when the start had to read first."""
        new = evolve(ALICE, kind=evolve(KIND, image="new"))
        self.pair.write(new)
        readings: list[Any] = []
        self.pair.broker._in_thread = lambda work: (
            readings.append((Deferred(), work)) or (readings[-1][0])
        )
        starting = self.front.start(new, lambda words: None)
        stopping = self.front.stop("alice.example", 1)
        self.pair.settle()
        self.assertEqual(self.behind.calls, [])
        for done, work in readings:
            done.callback(work())
        self.pair.settle()
        self.assertEqual([verb for verb, _ in self.behind.calls], ["start", "stop"])
        self.successResultOf(starting)
        self.successResultOf(stopping)
        self.assertIsNone(self.behind.host.running("alice.example"))


class CallsTests(BrokerCase):
    """What is asked of servers that run."""

    def test_commands(self) -> None:
        """Its snapshot and its veto are run, and nothing else."""
        self.successResultOf(self.start())
        for command in (SNAPSHOT, VETO, ("sh",), (*SNAPSHOT, "x"), ()):
            done = self.front.run("alice.example", command, 5)
            self.pair.settle()
            if command in (SNAPSHOT, VETO):
                self.successResultOf(done)
            else:
                self.assertIn("neither", self.refused(done))
        self.assertEqual(
            self.behind.host.ran, [("alice.example", SNAPSHOT), ("alice.example", VETO)]
        )

    def test_of_others(self) -> None:
        """Of a server that the engine does not list nothing is said."""
        answer = self.successResultOf(self.ask(wire.Healthy, id="of somebody"))
        self.assertEqual(answer, {"well": False})
        self.assertEqual([verb for verb, _ in self.behind.calls], ["list"])

    def test_listed(self) -> None:
        """One that ran before the broker did is looked up."""
        server = self.behind.host.start("alice.example", "", 0.0)
        answer = self.successResultOf(self.ask(wire.Healthy, id=server.id))
        self.assertEqual(answer, {"well": True})

    def test_times(self) -> None:
        """A time that cannot be waited is none."""
        times: list[float] = []
        stop = self.behind.stop
        self.behind.stop = (  # type: ignore[method-assign]
            lambda site, within: times.append(within) or stop(site, within)  # type: ignore
        )
        for within in (float("nan"), float("-inf"), -1.0, 2.5, float("inf")):
            self.successResultOf(self.ask(wire.Stop, site="alice.example", within=within))
        self.assertEqual(times, [0.0, 0.0, 0.0, 2.5, float("inf")])

    def test_one_call_twice(self) -> None:
        """The number of a call that is under way is taken."""
        self.behind.hold("remove")
        first = self.ask(wire.Remove, call=7, site="alice.example")
        second = self.ask(wire.Remove, call=7, site="alice.example")
        self.assertNoResult(first)
        self.refused(second)

    def test_too_much(self) -> None:
        """Calls at once are bounded, lists more than others; what is over counts no more."""
        self.patch(module, "MOST_CALLS", 6)
        self.behind.hold("list")
        self.behind.hold("remove")
        lists = [self.ask(wire.List) for _ in range(module.MOST_LISTS + 1)]
        self.assertIn("too much", self.refused(lists[-1]))
        removals = [self.ask(wire.Remove, site=f"{n}.example") for n in range(3)]
        self.assertIn("too much", self.refused(removals[-1]))
        self.behind.release("list")
        self.behind.release("remove")
        self.pair.settle()
        for done in (*lists[:-1], *removals[:-1]):
            self.successResultOf(done)
        self.successResultOf(self.ask(wire.List))

    def test_an_engine_that_fails(self) -> None:
        """What an engine should not raise is in the log, and the front is told so."""
        self.behind.loads = lambda: fail(KeyError("odd"))  # type: ignore[method-assign]
        self.assertIn("see the log", self.refused(self.ask(wire.Loads)))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.successResultOf(self.ask(wire.List))

    def test_long_words(self) -> None:
        """Words that do not fit into a message are cut."""
        self.behind.fail("remove", EngineFailed("x" * 100_000))
        words = self.refused(self.ask(wire.Remove, site="alice.example"))
        self.assertEqual(words, "x" * 60_000)

    def test_a_log_that_is_not_taken(self) -> None:
        """A log that nobody takes is not sent on, nor kept without end."""
        self.successResultOf(self.start())
        broker = self.pair.broker
        sent: list[int] = []
        broker.say = lambda command, **told: sent.append(len(told["part"]))  # type: ignore
        done = broker._read_log(call=900, site="alice.example", tail=0, follow=True)
        self.pair.settle()
        line = b"x" * 999_999
        for _ in range(8):
            self.behind.host.say("alice.example", line)
            self.pair.settle()
        self.assertLess(sum(sent), module.WINDOW + 100_000)
        self.assertNoResult(done)
        for _ in range(3):
            self.behind.host.say("alice.example", line)
            self.pair.settle()
        self.failureResultOf(done, EngineFailed)
        self.assertLess(sum(sent), module.WINDOW + 100_000)

    def test_took_too_much(self) -> None:
        """Who says that more was taken than was sent gains nothing."""
        self.successResultOf(self.start())
        broker = self.pair.broker
        broker._read_log(call=900, site="alice.example", tail=0, follow=True)
        log = broker._logs[900]
        for size in (10**9, -(10**9)):
            self.pair.line.callRemote(wire.Took, call=900, size=size)
        self.pair.settle()
        self.assertEqual(log._sent, 0)

    def test_watched_once(self) -> None:
        """Who wants to be told twice is told once."""
        for _ in range(2):
            self.pair.line.callRemote(wire.Watch)
        self.pair.settle()
        self.assertEqual(self.behind.host.engines, [self.behind])


class LineTests(BrokerCase):
    """The line to the front, and its end."""

    def test_its_end(self) -> None:
        """When the front has gone, what it waited for is called off, and all is let go of."""
        self.behind.hold("remove")
        self.ask(wire.Remove, site="alice.example").addErrback(lambda _: None)
        self.pair.line.transport.abortConnection()
        self.pair.settle()
        self.assertEqual(self.pair.ended, [True])
        self.assertTrue(self.behind.closed)
        self.pair.broker.say(wire.Found)

    def test_a_slow_front(self) -> None:
        """A front that does not read what it is told is heard no further until it does."""
        paused: list[str] = []

        class Transport:
            def pauseProducing(self) -> None:
                paused.append("paused")

            def resumeProducing(self) -> None:
                paused.append("resumed")

        broker = self.pair.broker
        self.assertIs(broker.transport.producer, broker)
        before, broker.transport = broker.transport, Transport()
        broker.pauseProducing()
        broker.resumeProducing()
        broker.transport = before
        self.assertEqual(paused, ["paused", "resumed"])

    def test_no_message(self) -> None:
        """What is no message ends it; so does one that has no end."""
        for data in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"".join(b"\x00\x02%02d\x00\x01x" % number for number in range(50)),
        ):
            self.make()
            self.pair.line.transport.write(data)
            self.pair.settle()
            self.assertEqual(self.pair.ended, [True])

    NAMES = st.sampled_from([*sorted(wire.TO_BROKER), b"StartTLS", b"Apply", b"x"])
    BOXES = st.dictionaries(
        st.sampled_from(
            b"call site id wanted fresh mark within tail follow size image "
            b"_ask _answer _error _error_code".split()
        ),
        st.binary(max_size=9) | st.sampled_from([b"1", b"True", b"nan", b"alice.example", b"-7"]),
        max_size=9,
    )

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(NAMES | st.none(), BOXES), max_size=8))
    def test_nonsense(self, said: list[tuple[bytes | None, dict[bytes, bytes]]]) -> None:
        """No message ends it, is logged as a failure, or starts anything that is not declared."""
        self.make()
        for name, box in said:
            if name is not None and name != b"Close":
                box = {**box, b"_command": name}
            if box:
                self.pair.line.transport.write(amp.AmpBox(box).serialize())
        self.flushed()
        self.assertEqual(self.pair.ended, [])
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.behind.host.servers, {})

    def flushed(self) -> None:
        """Let it all be heard; its answers to questions that nobody asked are not."""
        self.pair.line.ampBoxReceived = lambda box: None
        self.pair.settle()


class TellerTests(BrokerCase):
    """What it tells by itself."""

    def test_all(self) -> None:
        """Ends, loss and return, and notices, whatever is in them."""
        told: list[Any] = []
        self.pair.broker.say = lambda command, **values: told.append((command, values))
        teller = module._Teller(self.pair.broker)
        teller.found()
        teller.lost("x" * 70_000)
        teller.noticed("alice.example", "\udcff")
        teller.exited(Exit("alice.example", "id", None, True, "db"))
        self.assertEqual(
            told,
            [
                (wire.Found, {}),
                (wire.Lost, {"reason": "x" * 60_000}),
                (wire.Noticed, {"site": "alice.example", "words": "\\udcff"}),
                (
                    wire.Exited,
                    {
                        "site": "alice.example",
                        "id": "id",
                        "code": None,
                        "starved": True,
                        "part": "db",
                    },
                ),
            ],
        )
