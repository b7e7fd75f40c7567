"""The workers: started, replaced, and ended, without a process and without real time."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from snickers.config.values import Settings
from snickers.interfaces.colleagues import IColleagues
from snickers.interfaces.plane import Change, IPlane
from snickers.workers import wire
from snickers.workers.census import Counts, Reporter
from snickers.workers.crew import (
    ALARM,
    ALARM_AFTER,
    ASK_EVERY,
    ENDS_WITHIN,
    FRESH_WITHIN,
    LOOK_AGAIN,
    MORE,
    PAUSES,
    SILENT,
    STEADY,
    Crew,
    Worker,
    how_many,
)
from snickers.workers.tally import ROWS, Tally
from tests.test_alarms import Alarm
from tests.test_desk import HERE, Leases, Other


class Process:
    """A worker's process, in the test's hand."""

    def __init__(self, case: CrewCase, protocol: Worker, desk: Any, row: int, pid: int) -> None:
        self.pid: int | None = pid
        self.row = row
        self.protocol = protocol
        self.signals: list[str] = []
        self.worker, _, self.pump = connectedServerAndClient(lambda: desk, Other)
        protocol.makeConnection(self)

    @property
    def told(self) -> list[str]:
        self.pump.flush()
        return [name for name, *_ in self.worker.told]

    def signalProcess(self, name: str) -> None:
        if self.pid is None:
            raise ProcessExitedAlready
        self.signals.append(name)

    def loseConnection(self) -> None: ...

    def say(self, command: Any, **arguments: Any) -> Any:
        answer = self.worker.callRemote(command, **arguments)
        self.pump.flush()
        return answer

    def count(self, **counts: Counts) -> None:
        """Say what it has counted."""
        self.say(wire.Counted, part=Reporter().changed(counts), last=True)

    def end(self, status: int = 0, signal: int | None = None) -> None:
        """End it, the connection first."""
        self.worker.transport.loseConnection()
        self.pump.flush()
        self.exit(status, signal)

    def exit(self, status: int = 0, signal: int | None = None) -> None:
        """End the process alone."""
        reason: Exception = ProcessDone(0)
        if status or signal:
            reason = ProcessTerminated(status, signal)
        self.pid = None
        self.protocol.processEnded(Failure(reason))


class CrewCase(SynchronousTestCase):
    """A crew whose processes are the test's."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.leases = Leases()
        self.alarm = Alarm()
        self.processes: list[Process] = []
        self.fronts: list[tuple[str, int]] = [("https", 7), ("http", 9)]
        self.given: list[list[tuple[str, int]]] = []
        self.cannot_launch = False
        self.looks: list[list[int]] = []
        self.within = 20.0
        self.descriptor = Tally.create()
        self.addCleanup(os.close, self.descriptor)
        self.tallies: list[Tally] = []
        self.crew = Crew(
            self.clock,
            lambda: 1000.0 + self.clock.seconds(),
            self.launch,
            lambda: self.fronts,
            self.leases,
            self.alarm,
            lambda: Change(default="whole"),
            lambda: self.within,
            self.tally,
            lambda: self.looks.append(self.living()),
        )
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def tally(self) -> Tally:
        self.tallies.append(Tally(self.descriptor, 0))
        self.addCleanup(self.tallies[-1].close)
        return self.tallies[-1]

    def launch(self, protocol: Any, desk: Any, row: int, fronts: Any) -> Any:
        if self.cannot_launch:
            raise OSError("no more processes")
        self.given.append(list(fronts))
        self.processes.append(Process(self, protocol, desk, row, 100 + len(self.processes)))

    def start(self, number: int = 2) -> list[Process]:
        self.crew.want(number)
        self.crew.startListening()
        return self.processes[:]

    def living(self) -> list[int]:
        """The rows of those that live."""
        return [process.row for process in self.processes if process.pid is not None]

    def logged(self, words: str) -> int:
        from twisted.logger import formatEvent

        return sum(words in formatEvent(event) for event in self.events)


class StartTests(CrewCase):
    """How many there are, and what each is given."""

    def test_interfaces(self) -> None:
        """It is what a reload and a status are promised."""
        verifyObject(IPlane, self.crew)
        verifyObject(IColleagues, self.crew)

    def test_none(self) -> None:
        """Without workers nothing is made, and nothing is waited for."""
        self.start(0)
        self.assertEqual((self.processes, self.tallies, self.crew.open), ([], [], 0))
        self.successResultOf(self.crew.freshen())
        self.successResultOf(self.crew.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_start(self) -> None:
        """Nothing is started before the others listen; then each has a row of its own, the open
        sockets, all that runs, and accepts."""
        self.fronts.append(("http", -1))
        self.crew.want(2)
        self.assertEqual(self.processes, [])
        self.start()
        self.assertEqual([process.row for process in self.processes], [1, 2])
        self.assertEqual(self.given, [[("https", 7), ("http", 9)]] * 2)
        self.assertEqual(len(self.tallies), 1)
        for process in self.processes:
            self.assertEqual(process.told, ["Apply", "Accept"])
            self.assertEqual(wire.unpacked(process.worker.told[0][2]), Change(default="whole"))
        self.assertEqual(self.crew.open, 2)

    def test_at_the_most(self) -> None:
        """There are not more than the tally has rows for."""
        self.start(1000)
        self.assertEqual(len(self.processes), ROWS - 1)
        self.crew.want(-3)
        self.assertTrue(all(process.protocol.ending for process in self.processes))

    def test_more(self) -> None:
        """More are wanted: they are added, and the others go on."""
        self.start(1)
        self.crew.want(3)
        self.crew.want(3)
        self.assertEqual([process.row for process in self.processes], [1, 2, 3])
        self.assertEqual(self.processes[0].told, ["Apply", "Accept"])

    def test_fewer(self) -> None:
        """Fewer are wanted: the last ones finish what is open and end, and are not replaced."""
        first, second, third = self.start(3)
        self.crew.want(1)
        self.assertEqual(second.told[-1], "Drain")
        self.assertEqual(float(second.worker.told[-1][1]), 20.0)
        self.assertNotIn("Drain", first.told)
        second.end()
        third.end()
        self.clock.advance(100)
        self.assertEqual((self.living(), self.alarm.now), ([1], set()))
        self.assertEqual((second.signals, third.signals), ([], []))

    def test_one_that_does_not_end(self) -> None:
        """One that was told to end and does not is ended."""
        (process,) = self.start(1)
        self.crew.want(0)
        self.clock.advance(20 + MORE - 0.1)
        self.assertEqual(process.signals, [])
        self.clock.advance(0.2)
        self.assertEqual(process.signals, ["KILL"])
        process.end(signal=9)
        self.assertEqual(self.crew.open, 0)

    def test_again_while_one_still_ends(self) -> None:
        """A row is given anew only when the one that had it has ended: its connections count."""
        (first,) = self.start(1)
        self.crew.want(0)
        self.crew.want(1)
        self.clock.advance(5)
        self.assertEqual(len(self.processes), 1)
        first.end()
        self.clock.advance(1)
        self.assertEqual([process.row for process in self.processes], [1, 1])

    def test_not_wanted_any_more_while_one_still_ends(self) -> None:
        """One that was to be started is not when it is not wanted any more."""
        (first,) = self.start(1)
        self.crew.want(0)
        self.crew.want(1)
        self.crew.want(0)
        first.end()
        self.clock.advance(50)
        self.assertEqual(len(self.processes), 1)


class EndedTests(CrewCase):
    """One that ends unasked."""

    def test_replaced(self) -> None:
        """One that has started well is replaced at once, and no person is bothered."""
        self.start(2)
        self.clock.advance(STEADY)
        self.processes[0].end(signal=11)
        self.clock.advance(0)
        self.assertEqual([process.row for process in self.processes], [1, 2, 1])
        self.assertEqual(self.processes[2].told, ["Apply", "Accept"])
        self.assertEqual(self.alarm.now, set())
        self.assertEqual(self.logged("Worker 100 was ended by signal 11"), 1)

    def test_all_at_once(self) -> None:
        """However many that had started well end at once, all are replaced at once."""
        self.start(6)
        self.clock.advance(STEADY)
        for process in self.processes[:]:
            process.end(signal=9)
        self.clock.advance(0)
        self.assertEqual(self.living(), [1, 2, 3, 4, 5, 6])
        self.assertEqual(self.alarm.now, set())

    def test_pauses(self) -> None:
        """Those that do not start well are replaced after growing pauses."""
        self.start(1)
        for pause in (*PAUSES, PAUSES[-1]):
            number = len(self.processes)
            self.processes[-1].end(1)
            if pause:
                self.clock.advance(pause - 0.01)
                self.assertEqual(len(self.processes), number)
            self.clock.advance(0.02)
            self.assertEqual(len(self.processes), number + 1)
        self.assertEqual(self.logged("ended with status 1; it is replaced in 30 s"), 2)
        self.clock.advance(STEADY)
        self.processes[-1].end(0)
        self.clock.advance(0)
        self.assertEqual(len(self.living()), 1)
        self.assertEqual(self.logged("ended by itself; it is replaced in 0 s"), 1)

    def test_alarm(self) -> None:
        """After several in a row a person is told; it is over when all have started well."""
        self.start(2)
        for number in range(ALARM_AFTER):
            self.assertEqual(self.alarm.now, set())
            self.processes[0 if not number else -1].end(1)
            self.clock.advance(PAUSES[number])
        ((kind, site, message),) = self.alarm.now
        self.assertEqual((kind, site), (ALARM, ""))
        self.assertIn("ended with status 1", message)
        self.clock.advance(STEADY)
        self.assertEqual(self.alarm.now, set())

    def test_alarm_is_not_over_in_a_pause(self) -> None:
        """That one has started well does not say so of another that is about to be started."""
        first, second = self.start(2)
        for pause in PAUSES[:5]:
            second.end(1)
            self.clock.advance(pause)
            second = self.processes[-1]
        second.end(1)
        self.assertEqual(len(self.alarm.now), 1)
        first.end(1)
        self.clock.advance(PAUSES[-1])
        self.assertEqual(self.living(), [2, 1])
        self.processes[-1].end(1)
        self.clock.advance(STEADY)
        self.assertEqual(len(self.alarm.now), 1)
        self.clock.advance(PAUSES[-1])
        self.clock.advance(STEADY)
        self.assertEqual(self.alarm.now, set())

    def test_alarm_is_over_without_workers(self) -> None:
        """Where no workers are wanted any more, none of them is a trouble."""
        self.start(1)
        for _ in range(ALARM_AFTER):
            self.processes[-1].end(1)
            self.clock.advance(5)
        self.assertEqual(len(self.alarm.now), 1)
        self.crew.want(0)
        self.assertEqual(self.alarm.now, set())

    def test_cannot_be_started(self) -> None:
        """One that cannot even be started is tried again; nobody else is kept from anything."""
        self.cannot_launch = True
        self.start(1)
        self.clock.advance(0)
        self.clock.advance(1)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 3)
        ((_, _, message),) = self.alarm.now
        self.assertIn("it could not be started: no more processes", message)
        self.cannot_launch = False
        self.clock.advance(2)
        self.assertEqual(self.living(), [1])
        self.clock.advance(STEADY)
        self.assertEqual(self.alarm.now, set())

    def test_not_while_ending(self) -> None:
        """One that ends while a pause is on does not start when all is over."""
        self.start(1)
        for _ in range(2):
            self.processes[-1].end(1)
            self.clock.advance(0)
        self.crew.stopListening()
        self.clock.advance(50)
        self.assertEqual((self.living(), self.crew.open), ([], 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stuck(self) -> None:
        """One that does not answer for a minute is ended by force, and replaced; others are not,
        nor is one that has answered late."""
        stuck, slow, good = self.start(3)
        for _ in range(SILENT):
            self.clock.advance(ASK_EVERY)
            good.pump.flush()
        self.assertEqual([process.signals for process in self.processes], [[], [], []])
        slow.pump.flush()
        self.clock.advance(ASK_EVERY)
        self.assertEqual([p.signals for p in self.processes], [["KILL"], [], []])
        self.assertEqual(self.logged("Worker 100 has not answered for 60 s: it is ended"), 1)
        self.assertEqual(stuck.told.count("Count"), 1)
        stuck.end(signal=9)
        self.clock.advance(0)
        self.assertEqual(self.living(), [2, 3, 1])
        for _ in range(10):
            for process in self.processes:
                process.pump.flush()
            self.clock.advance(ASK_EVERY)
        self.assertEqual([process.signals for process in self.processes[1:]], [[], [], []])

    def test_hung_up(self) -> None:
        """One that speaks no more and does not end is ended, and then replaced; one that ends by
        itself has the time for it."""
        (process,) = self.start(1)
        process.worker.transport.loseConnection()
        process.pump.flush()
        self.assertEqual((process.signals, len(self.processes)), ([], 1))
        self.clock.advance(ENDS_WITHIN)
        self.assertEqual((process.signals, len(self.processes)), (["KILL"], 1))
        process.exit(signal=9)
        self.clock.advance(0)
        self.assertEqual(len(self.processes), 2)
        self.processes[1].end()
        self.clock.advance(STEADY)
        self.assertEqual(self.processes[1].signals, [])

    def test_what_it_had(self) -> None:
        """Its leases are given back, its alarms are over, its connections are not counted, and
        what it has answered stays counted."""
        (process,) = self.start(1)
        self.leases.at["a"] = HERE
        process.say(wire.Take, site="a", ticket=1)
        process.say(wire.Raise, kind="health", site="a", message="down")
        process.count(a=Counts(requests=5, connections=3, uses=2, leases=1))
        tally = Tally(self.descriptor, 1)
        self.addCleanup(tally.close)
        tally.add(7, 3)
        self.assertEqual((self.crew.open, self.tallies[0].open_elsewhere()), (3, 3))
        self.assertEqual(self.leases.uses["a"], 1)
        process.end(1)
        share = self.crew.share("a")
        self.assertEqual((share.requests, share.connections, share.uses), (5, 0, 0))
        self.assertEqual((self.crew.open, self.tallies[0].open_elsewhere()), (0, 0))
        self.assertEqual((self.leases.uses["a"], self.alarm.now), (0, set()))

    def test_woken_in_vain(self) -> None:
        """It may have been woken for a connection that nobody else will be woken for."""
        self.start(2)
        self.assertEqual(self.looks, [])
        self.processes[0].end(signal=9)
        self.assertEqual(len(self.looks), 1)

    def test_the_process_ends_first(self) -> None:
        """Its end may be known before its connection's: what it had is given back all the same,
        and what it had said last is not kept for ever."""
        (process,) = self.start(1)
        self.leases.at["a"] = HERE
        process.say(wire.Take, site="a", ticket=1)
        process.exit(1)
        process.pump.flush()
        self.assertFalse(process.protocol.desk.connected)
        self.assertEqual(self.leases.uses["a"], 0)
        self.assertEqual(self.crew.census._workers, {})


class CommandsTests(CrewCase):
    """What concerns all."""

    def test_standing_by(self) -> None:
        """All stand by and accept again; one that is started meanwhile stands by, too."""
        self.start(2)
        self.crew.pause()
        self.processes[0].end(1)
        self.clock.advance(0)
        self.assertEqual(self.processes[1].told, ["Apply", "Accept", "StandBy"])
        self.assertEqual(self.processes[2].told, ["Apply"])
        self.crew.resume()
        self.assertEqual(self.processes[1].told[-1], "Accept")
        self.assertEqual(self.processes[2].told, ["Apply", "Accept"])

    def test_loaded(self) -> None:
        """That all have loaded is known when each has said so: one that dies is waited for anew."""
        self.crew.want(2)
        self.crew.pause()
        loaded = self.crew.loaded()
        self.assertNoResult(loaded)
        self.crew.startListening()
        self.processes[0].end(1)
        self.clock.advance(LOOK_AGAIN)
        self.assertNoResult(loaded)
        self.clock.advance(LOOK_AGAIN)
        for process in self.processes[1:]:
            self.assertNotIn("Accept", process.told)
        self.clock.advance(LOOK_AGAIN)
        for process in self.processes[1:]:
            process.pump.flush()
        self.successResultOf(loaded)

    def test_loaded_without(self) -> None:
        """Without workers there is nothing to wait for."""
        self.successResultOf(self.crew.loaded())

    def test_apply(self) -> None:
        """A change reaches all; what was counted of a site that is removed is forgotten."""
        first, second = self.start(2)
        first.count(a=Counts(requests=5))
        first.end(1)
        self.assertEqual(self.crew.share("a").requests, 5)
        self.crew.apply(Change(removed=("a",)))
        self.assertEqual(self.crew.share("a").requests, 0)
        self.assertEqual(second.told, ["Apply", "Accept", "Apply"])
        self.assertEqual(wire.unpacked(second.worker.told[-1][2]), Change(removed=("a",)))

    def test_reopen(self) -> None:
        """Those that end write to the log, too: all open it anew."""
        first, second = self.start(2)
        self.crew.want(1)
        self.crew.reopen()
        self.assertEqual((first.told[-1], second.told[-1]), ("Reopen", "Reopen"))

    def test_changed(self) -> None:
        """What befalls a server is told to those who have leased it."""
        first, second = self.start(2)
        self.leases.at["a"] = HERE
        first.say(wire.Take, site="a", ticket=1)
        del self.leases.at["a"]
        self.crew.changed("a")
        self.assertEqual((first.told[-1], second.told[-1]), ("Withdraw", "Accept"))

    def test_printed(self) -> None:
        """What a worker prints is in the log, line by line, however long a line is."""
        (process,) = self.start(1)
        process.protocol.childDataReceived(2, b"hel")
        process.protocol.childDataReceived(2, b"lo\n\nbad \xff\n")
        process.protocol.childDataReceived(2, b"begin")
        process.protocol.childDataReceived(1, b"x" * 50_000 + b"\nnext\n")
        process.protocol.childDataReceived(1, b"y" * 50_000)
        process.protocol.childDataReceived(2, b" and end")
        process.end(1)
        for words in (
            *("worker 100: hello", r"worker 100: bad \xff", "worker 100: next"),
            *("worker 100: xxx", "worker 100: yyy", "worker 100: begin and end"),
        ):
            self.assertEqual(self.logged(words), 1, words)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_odd_counts(self) -> None:
        """A worker that counts oddly is logged, and goes on."""
        (process,) = self.start(1)
        for data in (b"{}", b"[5]", b"[" * 50_000, b'[["a", Infinity, 1, 1, 1, 1, "", ""]]'):
            process.say(wire.Counted, part=data, last=True)
        self.assertEqual(self.logged("counted oddly"), 3)
        self.assertTrue(process.protocol.desk.connected)


class FreshTests(CrewCase):
    """What is known of all."""

    def test_fresh(self) -> None:
        """It is known when all have told."""
        first, second = self.start(2)
        fresh = self.crew.freshen()
        first.pump.flush()
        self.assertNoResult(fresh)
        second.pump.flush()
        self.successResultOf(fresh)
        self.clock.advance(STEADY)
        asking = [process.protocol.asking for process in self.processes]
        self.assertCountEqual(self.clock.getDelayedCalls(), asking)

    def test_stuck(self) -> None:
        """One that does not tell is not waited for; when it tells later, that harms nothing."""
        first, second = self.start(2)
        fresh = self.crew.freshen()
        first.pump.flush()
        self.clock.advance(FRESH_WITHIN)
        self.successResultOf(fresh)
        second.pump.flush()

    def test_dies(self) -> None:
        """One that dies meanwhile is not waited for either."""
        first, second = self.start(2)
        fresh = self.crew.freshen()
        first.pump.flush()
        second.worker.transport.abortConnection()
        second.pump.flush()
        self.successResultOf(fresh)

    def test_report(self) -> None:
        """For each there is who it is, since when, and what it has."""
        first, _ = self.start(2)
        first.count(a=Counts(requests=5, connections=2), b=Counts(requests=1))
        self.clock.advance(3)
        self.crew.want(3)
        report = [
            (row["pid"], row["since"], row["requests"], row["connections"])
            for row in self.crew.report()
        ]
        self.assertEqual(report, [(100, 1000.0, 6, 2), (101, 1000.0, 0, 0), (102, 1003.0, 0, 0)])
        self.assertEqual(self.crew.open, 4)

    def test_serving(self) -> None:
        """One serves from when it has said so until it is told otherwise, or has gone."""

        def serving() -> list[bool]:
            for process in self.processes:
                process.pump.flush()
            return [row["serving"] for row in self.crew.report()]

        first, _ = self.start(2)
        self.assertEqual([row["serving"] for row in self.crew.report()], [False, False])
        self.assertEqual(serving(), [True, True])
        self.crew.pause()
        self.assertEqual(serving(), [False, False])
        self.crew.resume()
        self.assertEqual([row["serving"] for row in self.crew.report()], [False, False])
        self.assertEqual(serving(), [True, True])
        self.crew.pause()
        self.crew.resume()
        self.crew.pause()
        self.assertEqual(serving(), [False, False])
        self.crew.resume()
        self.assertEqual(serving(), [True, True])
        self.crew.want(1)
        self.assertEqual(serving(), [True, False])
        self.crew.pause()
        self.crew.resume()
        first.end(1)
        self.clock.advance(0)
        self.assertEqual([row["serving"] for row in self.crew.report()], [False, False])


class StopTests(CrewCase):
    """The end of all."""

    def test_drain(self) -> None:
        """All finish what is open; when they have, nothing is left."""
        processes = self.start(2)
        self.crew.stopListening()
        self.crew.drain()
        self.crew.want(5)
        self.assertEqual([process.told[-1] for process in processes], ["Drain"] * 2)
        for process in processes:
            process.end()
        self.assertEqual((self.crew.open, self.living()), (0, []))
        self.successResultOf(self.crew.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.alarm.now, set())

    def test_hurried(self) -> None:
        """Told to end another time, they have as long as is wished then."""
        process, _ = self.start(2)
        self.within = 7200.0
        self.crew.stopListening()
        self.clock.advance(0)
        self.within = 30.0
        self.crew.stopListening()
        self.assertEqual(process.told[-2:], ["Drain", "Drain"])
        self.clock.advance(30.0 + MORE)
        self.assertEqual(process.signals, ["KILL"])

    def test_abort(self) -> None:
        """Who is asked a second time ends at once."""
        (process,) = self.start(1)
        self.crew.stopListening()
        self.crew.abort()
        self.assertEqual(process.told[-2:], ["Drain", "Abort"])

    def test_stop(self) -> None:
        """At last those that still run are ended, if need be by force, and waited for."""
        first, second = self.start(2)
        self.crew.stopListening()
        stopped = self.crew.stop()
        self.assertEqual(first.told[-1], "Abort")
        first.end()
        self.assertNoResult(stopped)
        self.clock.advance(MORE)
        self.assertEqual((first.signals, second.signals), ([], ["KILL"]))
        second.end(signal=9)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class HowManyTests(SynchronousTestCase):
    def test_number(self) -> None:
        """There are as many processes as is said, or one for each core that may be used."""
        self.assertEqual([how_many(Settings(workers=n)) for n in (1, 5)], [1, 5])
        self.patch(os, "sched_getaffinity", lambda pid: {0, 2, 3})
        self.assertEqual(how_many(Settings(workers=0)), 3)
