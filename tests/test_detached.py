"""Servers that outlive Snickers: real ones, and Snickers that are really killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from snickers.config.values import Lifecycle, Process
from snickers.containers import detached, sessions
from snickers.containers.engine import EngineAway, EngineFailed, owner_of
from snickers.containers.leftovers import MARK
from snickers.interfaces.engine import Declared
from tests.descriptors import open_descriptors
from tests.engine_contract import Gathered
from tests.test_process import EngineCase, _alive, ask, command

ELSEWHERE = """
import json, sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from snickers.config.values import Lifecycle, Process
from snickers.containers.process import ProcessEngine
from snickers.interfaces.engine import Declared

class Observer:
    def __getattr__(self, name):
        return lambda *arguments: None

async def begin(state, sites):
    engine = ProcessEngine(reactor, state, lasting=True)
    engine.watch(Observer())
    for site, data, command in sites:
        kind = Process(tuple(command), life=Lifecycle(stop_within=0.2))
        instance = await engine.start(Declared(site, kind, data), lambda words: None)
        print(json.dumps([instance.site, instance.id, instance.address]), flush=True)

reactor.callWhenRunning(lambda: Deferred.fromCoroutine(begin(*json.loads(sys.argv[1]))))
reactor.run()
"""

ESCAPED = (
    "import os, sys, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    print(os.getpid(), flush=True)\n"
    "time.sleep(60)"
)


class DetachedTests(EngineCase):
    """`Detached` and `DetachedServers`, as an engine has them."""

    lasting = True

    def declared(self, does: str = "serves", site: str = "alice.example") -> Declared:
        return self.does(*command(does), site=site)

    def does(self, *command: str, site: str = "alice.example", stop_within: float = 0.2):
        kind = Process(command, life=Lifecycle(stop_within=stop_within))
        return Declared(site, kind, os.path.join(self.folder, "data", site))

    def elsewhere(self, *declared: Declared):
        """Start servers by an engine in another process; return it, and the servers' pids and
        addresses."""
        said = [self.state, [(each.site, each.data, each.kind.command) for each in declared]]
        other = subprocess.Popen(
            [sys.executable, "-c", ELSEWHERE, json.dumps(said)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
        )

        def end() -> None:
            other.kill()
            other.wait()
            other.stdout.close()

        self.addCleanup(end)
        found = [json.loads(other.stdout.readline()) for _ in declared]
        return other, [(int(id), tuple(address)) for _, id, address in found]

    async def start(self, declared: Declared):
        starting = self.engine.start(declared, lambda words: None)
        return await starting.addTimeout(60, reactor)

    async def take_over(self) -> None:
        """Go on with another engine, when it has found what there is."""
        self.engine, self.observer = self.another()
        await self.observer.until(lambda: bool(self.observer.events)).addTimeout(60, reactor)

    async def logged(self, wanted: bytes) -> bytes:
        """Return the log, followed until *wanted* is in it."""
        got = Gathered()
        following = self.engine.logs("alice.example", 100, True, got)
        await got.until(wanted).addTimeout(60, reactor)
        following.addErrback(lambda _: None).cancel()
        return got.data

    async def test_killed(self) -> None:
        """What a killed Snickers has started goes on, is found by the next one as it was, and is
        its own to stop."""
        alice, bob = self.declared(), self.declared(site="bob.example")
        other, servers = self.elsewhere(alice, bob)
        other.kill()
        other.wait()
        for (_, address), site in zip(servers, (b"alice", b"bob"), strict=True):
            self.assertIn(site, await ask(address))
        await self.take_over()
        listed = {each.site: each for each in await self.there()}
        self.assertEqual(
            [(int(each.id), each.address) for each in map(listed.get, sorted(listed))], servers
        )
        self.assertEqual(await self.start(alice), listed["alice.example"])
        await self.engine.stop("alice.example", 5)
        self.assertEqual(
            [(each.id, each.code) for each in self.observer.exits],
            [(listed["alice.example"].id, self.observer.exits[0].code)],
        )
        self.assertIn(self.observer.exits[0].code, (143, None))
        self.assertFalse(_alive(servers[0][0]))
        self.assertEqual([each.site for each in await self.there()], ["bob.example"])
        self.assertIn(b"bob", await ask(servers[1][1]))

    async def test_said_meanwhile(self) -> None:
        """What a server writes while there is no Snickers is in its log afterwards."""
        other, [(_, address)] = self.elsewhere(self.declared())
        other.kill()
        other.wait()
        await ask(address)
        await self.take_over()
        self.assertIn(b"asked", await self.logged(b"asked"))

    async def test_line_in_two(self) -> None:
        """A line that was begun before one Snickers ended is ended in the log of the next."""
        path = os.path.join(self.folder, "go")
        program = f"printf begun; until [ -e {path} ]; do sleep 0.02; done; echo ' ended'; sleep 60"
        await self.start(self.does("sh", "-c", program))
        log = os.path.join(self.state, "processes", "lasting", "alice.example", "log")
        while b"begun" not in _read(log):
            await deferLater(reactor, 0.01)
        await self.engine.close()
        with open(path, "w", encoding="ascii"):
            pass
        await self.take_over()
        while b"ended" not in _read(log):
            await deferLater(reactor, 0.01)
        got = Gathered()
        await self.engine.logs("alice.example", 9, False, got)
        self.assertEqual(got.data, b"begun ended\n")

    async def test_paused_by_another(self) -> None:
        """One that somebody else has stopped is found paused."""
        first = await self.start(self.declared())
        await self.engine.close()
        os.kill(int(first.id), signal.SIGSTOP)
        while sessions.stat(int(first.id)).state != "T":
            await deferLater(reactor, 0.01)
        await self.take_over()
        self.assertTrue((await self.there())[0].paused)

    async def test_children(self) -> None:
        """What a server has begun in a session of its own goes on with it, and ends with it."""
        await self.start(self.does(sys.executable, "-I", "-S", "-c", ESCAPED))
        child = int(await self.logged(b"\n"))
        await self.engine.close()
        await self.take_over()
        self.assertTrue(_alive(child))
        await self.engine.stop("alice.example", 5)
        self.assertFalse(_alive(child))

    async def test_ended_meanwhile(self) -> None:
        """Of one that ended while there was no Snickers nothing is found, and what it left behind
        has ended before ``found``. Its last words are there."""
        program = "import sys; print('first', flush=True)\n" + ESCAPED
        first = await self.start(self.does(sys.executable, "-I", "-S", "-c", program))
        child = await self.child()
        await self.engine.close()
        os.kill(int(first.id), signal.SIGKILL)
        while (found := sessions.stat(int(first.id))) is not None and found.state != "Z":
            await deferLater(reactor, 0.01)
        self.assertTrue(_alive(child))
        await self.take_over()
        self.assertFalse(_alive(child))
        self.assertEqual(await self.there(), [])
        self.assertIn(b"first", await self.logged_so_far())
        self.assertEqual(self.observer.exits, [])

    async def child(self) -> int:
        """Return the pid that the server has written as its second line."""
        while (said := await self.logged_so_far()).count(b"\n") < 2:
            await deferLater(reactor, 0.01)
        return int(said.split()[1])

    async def logged_so_far(self) -> bytes:
        got = Gathered()
        await self.engine.logs("alice.example", 100, False, got)
        return got.data

    async def test_number_given_anew(self) -> None:
        """A process that got a noted number later is neither taken over nor touched."""
        await self.start(self.declared())
        await self.engine.close()
        stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        path = os.path.join(self.state, "processes", "lasting", "alice.example", "server")
        with open(path, encoding="utf-8") as file:
            said = json.load(file)
        said["instance"]["id"] = str(stranger.pid)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(said, file)
        await self.take_over()
        self.assertEqual(await self.there(), [])
        await self.start(self.declared())
        await self.engine.stop("alice.example", 5)
        await self.engine.remove("alice.example")
        self.assertIsNone(stranger.poll())

    async def test_two_at_once(self) -> None:
        """An engine that was closed does nothing with what another one has, and says so."""
        declared = self.declared()
        first = await self.start(declared)
        former, heard = self.engine, self.observer
        await former.close()
        await self.take_over()
        for call in (
            lambda: former.start(declared, lambda words: None),
            lambda: former.start(declared, lambda words: None, True),
            lambda: former.stop("alice.example", 0),
            lambda: former.remove("alice.example"),
            lambda: former.pause("alice.example"),
            lambda: former.resume("alice.example"),
            lambda: former.run("alice.example", ("true",), 5),
            lambda: former.revert("alice.example", first.id, lambda words: None),
            former.list,
        ):
            await self.assertFailure(call(), EngineAway)
        self.assertEqual(await self.there(), [first])
        second = await self.engine.start(declared, lambda words: None, True)
        self.assertNotEqual(first.id, second.id)
        await former.close()
        self.assertEqual(heard.exits, [])
        self.assertEqual([each.id for each in self.observer.exits], [first.id])
        # Its parent has heard of the end of the first one; what is noted is the second one's.
        await self.engine.close()
        await self.take_over()
        self.assertEqual(await self.there(), [second])

    async def test_and_back(self) -> None:
        """A server that was handed over and back is its parent's again, with how it ends."""
        first = await self.start(self.does("sh", "-c", "sleep 60; exit 1"))
        await self.engine.close()
        await self.take_over()
        await self.engine.close()
        await self.take_over()
        os.killpg(int(first.id), signal.SIGTERM)
        await self.observer.until(lambda: bool(self.observer.exits)).addTimeout(60, reactor)
        self.assertEqual(self.observer.exits[0].id, first.id)
        self.assertIn(self.observer.exits[0].code, (143, None))

    async def test_ending_handed_over(self) -> None:
        """What was being stopped when its engine was closed has ended before the next one's
        ``found``; who had asked for it is told that somebody else does it."""
        first = await self.start(self.declared("stubborn"))
        await ask(first.address)
        stopping = self.engine.stop("alice.example", 60)
        again = self.engine.start(self.declared("stubborn"), lambda words: None)
        await self.engine.close()
        await self.assertFailure(stopping, EngineAway)
        await self.assertFailure(again, EngineAway)
        self.assertTrue(_alive(int(first.id)))
        await self.take_over()
        self.assertFalse(_alive(int(first.id)))
        self.assertEqual(await self.there(), [])

    async def test_start_broken_off(self) -> None:
        """What was about to start when its engine was closed does not run."""
        starting = self.engine.start(self.declared(), lambda words: None)
        starting.addErrback(lambda _: None)
        await self.engine.close()
        await starting
        await self.take_over()
        self.assertEqual(await self.there(), [])

    async def test_commands_end(self) -> None:
        """A command that runs beside a server ends with the engine that has begun it."""
        await self.start(self.does("sleep", "60"))
        path = os.path.join(self.folder, "pid")
        program = f"echo $$ > {path}.new; mv {path}.new {path}; exec sleep 60"
        running = self.engine.run("alice.example", ("sh", "-c", program), 60)
        while not os.path.exists(path):
            await deferLater(reactor, 0.01)
        await self.engine.close()
        await self.assertFailure(running, CancelledError)
        pid = int(_read(path))
        while _alive(pid):
            await deferLater(reactor, 0.01)
        await self.take_over()
        self.assertEqual(len(await self.there()), 1)

    async def test_clearing_let_go(self) -> None:
        """What is being ended of an earlier Snickers is let go of when the engine is closed."""
        before = await self.opened()
        await self.engine.close()
        environment = {**os.environ, MARK: f"{owner_of(self.state)}/bob.example"}
        program = "import signal, time; signal.signal(15, signal.SIG_IGN); print(); time.sleep(60)"
        left = subprocess.Popen(
            [sys.executable, "-u", "-c", program], env=environment, stdout=subprocess.PIPE
        )
        left.stdout.readline()
        self.addCleanup(left.wait)
        self.addCleanup(left.kill)
        engine, observer = self.another()
        await engine.close()
        left.stdout.close()
        await self.closed_again(before)
        self.assertIsNone(left.poll())
        self.assertEqual(observer.events, [])

    async def test_without_lasting(self) -> None:
        """An engine whose servers end with it ends what others have left running."""
        first = await self.start(self.declared())
        await self.engine.close()
        self.lasting = False
        await self.take_over()
        self.assertFalse(_alive(int(first.id)))
        self.assertEqual(await self.there(), [])

    async def test_removed(self) -> None:
        """Of a removed site nothing is left in the state folder."""
        await self.start(self.declared())
        await self.logged(b"three")
        await self.engine.remove("alice.example")
        self.assertEqual(os.listdir(os.path.join(self.state, "processes", "lasting")), [])

    async def test_state_not_writable(self) -> None:
        """Where nothing can be noted a server runs and is heard all the same; the next engine ends
        it, as it cannot know it."""
        os.makedirs(self.folder)
        with open(self.state, "w", encoding="ascii"):
            pass
        first = await self.start(self.declared())
        got = Gathered()
        following = self.engine.logs("alice.example", 100, True, got)
        await ask(first.address)
        await got.until(b"asked").addTimeout(60, reactor)
        following.addErrback(lambda _: None).cancel()
        await self.engine.close()
        await self.take_over()
        self.assertFalse(_alive(int(first.id)))

    async def test_output_closed(self) -> None:
        """A server that closes its output lives on, and its end is told."""
        first = await self.start(self.does("sh", "-c", "echo bye; exec >&- 2>&-; sleep 60"))
        await self.engine.logs("alice.example", 0, False, Gathered())
        while b"bye" not in await self.logged_so_far():
            await deferLater(reactor, 0.01)
        await self.engine.close()
        await self.take_over()
        self.assertEqual(await self.there(), [first])
        await self.engine.stop("alice.example", 5)
        self.assertEqual([each.id for each in self.observer.exits], [first.id])

    async def test_no_descriptor(self) -> None:
        """A process that cannot be held is not left running, and that is said."""

        def refuse(pid: int) -> int:
            raise OSError(24, "Too many open files")

        before = await self.opened()
        for where, name, instead, said in (
            (detached.os, "pidfd_open", refuse, "Too many open files"),
            (detached.sessions, "stat", lambda pid: None, "no /proc"),
        ):
            patched = self.patch(where, name, instead)
            failed = self.engine.start(self.declared(), lambda words: None)
            words = await self.assertFailure(failed, EngineFailed)
            self.assertIn(said, str(words))
            patched.restore()
        await self.closed_again(before)
        self.assertEqual(await self.there(), [])

    async def test_nothing_left_open(self) -> None:
        """When a server has ended, and when an engine was closed, no descriptor is left open."""
        before = await self.opened()
        await self.start(self.declared())
        await self.engine.stop("alice.example", 5)
        await self.closed_again(before)
        await self.start(self.declared())
        await self.engine.close()
        await self.closed_again(before)

    async def opened(self) -> set[tuple[str, str]]:
        """Return what is open, when the reactor has all that it needs for processes."""
        await self.start(self.declared())
        await self.engine.remove("alice.example")
        return open_descriptors()

    async def closed_again(self, before: set[tuple[str, str]]) -> None:
        """Wait until no more is open than before."""
        for _ in range(400):
            if not open_descriptors() - before:
                return
            await deferLater(reactor, 0.01)
        self.assertEqual(open_descriptors() - before, set())


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
