"""Servers as processes: real ones, on the real reactor."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from unittest import skipUnless

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from snickers.config.values import Container, Lifecycle, Process
from snickers.containers import pace, process, sessions
from snickers.containers.engine import EngineFailed, owner_of
from snickers.containers.leftovers import MARK
from snickers.containers.process import ProcessEngine
from snickers.interfaces.engine import Address, Declared, Instance
from tests.engine_contract import Gathered, RecordingObserver, engine_contract

SERVER = r"""
import os, signal, socket, sys
if sys.argv[1] == "exits":
    sys.exit(3)
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
listening = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
print("one\ntwo\nthree", flush=True)
while True:
    client, _ = listening.accept()
    print("asked", file=sys.stderr, flush=True)
    client.sendall(os.environ["SITE"].encode())
    client.close()
"""


class _Answer(Protocol):
    """Takes all that comes until the connection ends."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.data = b""
        self.whole: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(self.request)

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason) -> None:
        self.whole.callback(self.data)


async def ask(address: Address, request: bytes = b"") -> bytes:
    """Send *request* to *address*, again while it refuses, and return all that comes."""
    while True:
        try:
            endpoint = TCP4ClientEndpoint(reactor, *address)
            answer = await connectProtocol(endpoint, _Answer(request))
        except ConnectError:
            await deferLater(reactor, 0.01)
        else:
            return await answer.whole


def command(does: str) -> tuple[str, ...]:
    """Return the command of a server that behaves as the contract names it."""
    if does == "wrong":
        return ("no-such-program",)
    return (sys.executable, "-I", "-S", "-c", SERVER, does)


TALK = "i=0; while [ $i -lt 30000 ]; do echo $i; i=$((i + 1)); done; echo the last one"


def inside(does: str) -> Sequence[str]:
    """Return a command to be run inside of a server, as the contract names it."""
    if does == "missing":
        return ("no-such-program", "at all")
    scripts = {
        "says": "{ echo first; echo second; } >&2; exit 3",
        "talks": TALK,
        "hangs": "sleep 60",
    }
    return ("sh", "-c", scripts[does])


class ProcessFixture:
    """A `ProcessEngine` in folders of the test's own."""

    lasting = False
    lossy = False
    sole = False

    def __init__(self, case: TestCase) -> None:
        self.folder = case.mktemp()
        self.engines: list[ProcessEngine] = []

    def engine(self) -> ProcessEngine:
        engine = ProcessEngine(reactor, os.path.join(self.folder, "state"))
        self.engines.append(engine)
        return engine

    def declared(self, site: str, does: str) -> Declared:
        kind = Process(command(does), life=Lifecycle(stop_within=0.2))
        return Declared(site, kind, os.path.abspath(os.path.join(self.folder, "data", site)))

    def ask(self, address: Address, instance: Instance) -> Deferred[bytes]:
        return Deferred.fromCoroutine(ask(address))

    def command(self, does: str) -> Sequence[str]:
        return inside(does)

    def crash(self, instance: Instance) -> Deferred[None]:
        os.kill(int(instance.id), signal.SIGKILL)
        return succeed(None)

    def lose(self) -> None:
        raise NotImplementedError

    find = lose

    def wait(self, done, passing=0.0):
        return done.addTimeout(60, reactor) if not done.called else done

    async def end(self) -> None:
        for engine in self.engines:
            await engine.close()

    def close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.end())


class ProcessEngineContract(engine_contract(ProcessFixture)):
    """The engine with processes keeps the contract of all engines."""


class LastingFixture(ProcessFixture):
    """Engines whose servers outlive them; the last one ends what is left."""

    lasting = True
    sole = True

    def engine(self) -> ProcessEngine:
        engine = ProcessEngine(reactor, os.path.join(self.folder, "state"), lasting=True)
        self.engines.append(engine)
        return engine

    async def end(self) -> None:
        await super().end()
        await end_all(os.path.join(self.folder, "state"))


class LastingEngineContract(engine_contract(LastingFixture)):
    """The engine whose servers outlive it keeps the contract of all engines."""


async def end_all(state: str) -> None:
    """End what the engines of a state folder have left running."""
    last = ProcessEngine(reactor, state)
    observer = RecordingObserver()
    last.watch(observer)
    await observer.until(lambda: bool(observer.events)).addTimeout(60, reactor)
    await last.close()


class EngineCase(TestCase):
    """An engine in folders of the test's own."""

    lasting = False

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        self.addCleanup(lambda: Deferred.fromCoroutine(end_all(self.state)))
        self.engine, self.observer = self.another()

    def another(self) -> tuple[ProcessEngine, RecordingObserver]:
        """Return one more engine of the same Snickers, watched."""
        environment = {"PATH": os.environ["PATH"], "SECRET": "of Snickers"}
        engine = ProcessEngine(reactor, self.state, environment, lasting=self.lasting)
        observer = RecordingObserver()
        engine.watch(observer)
        self.addCleanup(engine.close)
        return engine, observer

    async def there(self) -> list[Instance]:
        """Return the servers that run."""
        return [each for each in await self.engine.list() if each.running]

    @property
    def state(self) -> str:
        return os.path.join(self.folder, "state")

    @property
    def data(self) -> str:
        return os.path.join(self.folder, "data", "alice.example")

    def declared(self, *command: str, **options) -> Declared:
        options.setdefault("life", Lifecycle(stop_within=0.2))
        return Declared("alice.example", Process(command, **options), self.data)

    def python(self, program: str, **options) -> Declared:
        return self.declared(sys.executable, "-I", "-S", "-c", program, **options)

    def start(self, declared: Declared) -> Deferred[Instance]:
        return self.engine.start(declared, lambda words: None).addTimeout(60, reactor)

    async def fails(self, declared: Declared) -> str:
        try:
            await self.start(declared)
        except EngineFailed as error:
            return str(error)
        raise self.failureException("It did not fail.")

    async def said(self, declared: Declared, wanted: bytes = b"\n") -> bytes:
        """Start it and return what it says until *wanted*."""
        await self.start(declared)
        got = Gathered()
        following = self.engine.logs("alice.example", 100, True, got)
        await got.until(wanted).addTimeout(60, reactor)
        following.addErrback(lambda _: None).cancel()
        return got.data

    async def tells(self, expression: str, **options):
        """Return the value of a Python expression in a server."""
        program = f"import json, os, time; print(json.dumps({expression}), flush=True); "
        return json.loads(await self.said(self.python(program + "time.sleep(60)", **options)))


class WhateverItOutlives:
    """What processes do, whether they outlive Snickers or not."""

    async def test_environment(self) -> None:
        """A server is told its port, address, data and site; nothing of Snickers' environment."""
        environment = await self.tells("dict(os.environ)", environment=(("TITLE", "Alice"),))
        port = int(environment.pop("PORT"))
        self.assertEqual((await self.there())[0].address, ("127.0.0.1", port))
        environment.pop("LC_CTYPE", None)  # Python's own doing (PEP 538).
        self.assertEqual(
            environment,
            {
                "PATH": os.environ["PATH"],
                "LANG": "C.UTF-8",
                "HOME": self.data,
                "DATA": self.data,
                "HOST": "127.0.0.1",
                "SITE": "alice.example",
                "TITLE": "Alice",
                MARK: f"{owner_of(self.state)}/alice.example",
            },
        )

    async def test_environment_wins(self) -> None:
        """What the configuration says wins, but over the mark by which servers are found."""
        environment = await self.tells(
            "dict(os.environ)", environment=(("HOME", "/nowhere"), (MARK, "none"))
        )
        self.assertEqual(environment["HOME"], "/nowhere")
        self.assertNotEqual(environment[MARK], "none")

    async def test_data_folder(self) -> None:
        """The site's own folder is made for nobody else, and worked in."""
        self.assertEqual(await self.tells("os.getcwd()"), self.data)
        self.assertEqual(os.stat(self.data).st_mode & 0o777, 0o700)

    async def test_data_folder_kept(self) -> None:
        """A folder that exists keeps its mode."""
        os.makedirs(self.data)
        os.chmod(self.data, 0o750)
        await self.start(self.python("import time; time.sleep(60)"))
        self.assertEqual(os.stat(self.data).st_mode & 0o777, 0o750)

    async def test_directory(self) -> None:
        """Another directory can be worked in; a command with a slash is sought from there."""
        os.makedirs(self.folder, exist_ok=True)
        program = os.path.join(self.folder, "serve")
        with open(program, "w", encoding="ascii") as file:
            file.write("#!/bin/sh\npwd\nexec sleep 60\n")
        os.chmod(program, 0o755)
        said = await self.said(self.declared("./serve", directory=self.folder))
        self.assertEqual(said, self.folder.encode() + b"\n")

    async def test_descriptors(self) -> None:
        """A server inherits nothing but its standard descriptors."""
        # The listing itself takes 3.
        self.assertEqual(
            await self.tells("sorted(map(int, os.listdir('/proc/self/fd')))"), [*range(4)]
        )

    async def test_session(self) -> None:
        """A server leads a session and a group of its own."""
        pid, group, session = await self.tells("[os.getpid(), os.getpgrp(), os.getsid(0)]")
        self.assertEqual([pid, pid], [group, session])

    async def test_signals(self) -> None:
        """No signal is ignored or blocked that Snickers ignores or blocks."""
        said = await self.said(
            self.declared("sh", "-c", "grep -E 'Sig(Ign|Blk)' /proc/self/status; sleep 60"), b"Ign"
        )
        # Those of the C library's own (32, 33) nobody may change.
        known = sum(1 << number - 1 for number in signal.valid_signals())
        self.assertEqual({int(line.split()[1], 16) & known for line in said.splitlines()}, {0})

    async def test_port_configured(self) -> None:
        """A configured port is given, and is the address."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.assertEqual(await self.tells("os.environ['PORT']", port=port), str(port))
        self.assertEqual((await self.there())[0].address, ("127.0.0.1", port))

    async def test_port_taken(self) -> None:
        """A configured port on which something else listens fails in words."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            words = await self.fails(self.declared("true", port=port))
        self.assertIn(f"port = {port}", words)

    async def test_not_found(self) -> None:
        """A command that is not there fails in words that name it."""
        words = await self.fails(self.declared("no-such-program"))
        self.assertIn("command = no-such-program", words)
        self.assertIn("PATH", words)

    async def test_not_executable(self) -> None:
        """A command that cannot be run fails with the system's reason."""
        os.makedirs(self.data)
        program = os.path.join(self.data, "serve")
        with open(program, "wb") as file:
            file.write(b"\x7fELF no such thing")
        os.chmod(program, 0o755)
        words = await self.fails(self.declared(program))
        self.assertIn("Exec format error", words)
        self.assertEqual(await self.there(), [])
        self.assertEqual(self.observer.exits, [])

    async def test_after_failure(self) -> None:
        """After a start that failed in the launcher, the right one starts."""
        os.makedirs(self.data)
        program = os.path.join(self.data, "serve")
        with open(program, "wb") as file:
            file.write(b"\x7fELF no such thing")
        os.chmod(program, 0o755)
        wrong = self.start(self.declared(program))
        again = self.start(self.declared(program))
        right = self.start(self.declared("sleep", "60"))
        await self.assertFailure(wrong, EngineFailed)
        await self.assertFailure(again, EngineFailed)
        self.assertTrue((await right).running)

    async def test_no_directory(self) -> None:
        """A directory that is not there fails in words that name it."""
        words = await self.fails(self.declared("true", directory="/no/such/folder"))
        self.assertIn("directory = /no/such/folder", words)

    async def test_no_user(self) -> None:
        """A user that is not there fails in words that name it."""
        self.assertIn(
            "user = nobody-such", await self.fails(self.declared("true", user="nobody-such"))
        )
        self.assertIn("group such", await self.fails(self.declared("true", user="root:such")))
        self.assertIn("GROUP", await self.fails(self.declared("true", user="4123456")))

    @skipUnless(os.geteuid() == 0, "Only root can become another user.")
    async def test_user(self) -> None:
        """A server runs as the user it shall, with that user's groups, and owns its new folder."""
        # The folders above it must be passable, as the default ones are.
        path = self.folder
        while path not in ("/", "/tmp"):
            os.makedirs(path, exist_ok=True)
            os.chmod(path, os.stat(path).st_mode | 0o011)
            path = os.path.dirname(path)
        said = await self.said(
            self.declared("sh", "-c", "id -u; id -g; id -G; sleep 60", user="65534:65534"),
            b"\n65534\n65534\n",
        )
        self.assertEqual(said, b"65534\n65534\n65534\n")
        self.assertEqual(os.stat(self.data).st_uid, 65534)

    async def test_user_without_root(self) -> None:
        """Another user without root fails in words that say so; Snickers' own is no other."""
        self.patch(os, "geteuid", lambda: 65534)
        self.patch(os, "getegid", lambda: 65534)
        self.assertIn("root", await self.fails(self.declared("true", user="root")))
        self.assertTrue(
            (await self.start(self.declared("sleep", "60", user="65534:65534"))).running
        )

    async def test_group_ends(self) -> None:
        """Children that ignore the end of their parent end with it."""
        declared = self.declared("sh", "-c", "sleep 60 & echo $!; wait")
        child = int(await self.said(declared))
        await self.engine.stop("alice.example", 5)
        self.assertFalse(_alive(child))

    async def test_group_paused(self) -> None:
        """Children are frozen too, those in groups of their own as well, and go on together."""
        declared = self.python(
            "import os, time\n"
            "if os.fork() == 0:\n"
            "    os.setpgid(0, 0)\n"
            "    if os.fork():\n"
            "        print(os.getppid(), os.getpid(), flush=True)\n"
            "time.sleep(60)"
        )
        found = [int(word) for word in (await self.said(declared)).split()]
        await self.engine.pause("alice.example")
        await self.states(found, "T")
        await self.engine.resume("alice.example")
        await self.states(found, "S")

    async def states(self, pids: list[int], wanted: str) -> None:
        """Wait until processes are in a state."""
        for _ in range(400):
            if {sessions.stat(pid).state for pid in pids} == {wanted}:
                return
            await deferLater(reactor, 0.01)
        self.fail(f"Not all are {wanted}.")

    async def test_run_as_the_server(self) -> None:
        """A command is run where the server is, with its environment, in a session of its own."""
        declared = self.declared("sleep", "60", environment=(("TITLE", "Alice"),))
        await self.start(declared)
        program = "echo $TITLE $SITE; pwd; ps -o sid= -p $$; echo $$"
        ran = await self.engine.run("alice.example", ("sh", "-c", program), 20)
        *said, session, pid = ran.output.split("\n")
        self.assertEqual(said, ["Alice alice.example", self.data])
        self.assertEqual(session.strip(), pid)

    async def test_run_killed_whole(self) -> None:
        """A command that takes too long is killed with its children; its last line is told."""
        await self.start(self.declared("sleep", "60"))
        path = os.path.join(self.folder, "child")
        program = f"sleep 60 & echo $! > {path}; echo half done; wait"
        words = await self.assertFailure(
            self.engine.run("alice.example", ("sh", "-c", program), 0.5), EngineFailed
        )
        self.assertIn("half done", str(words))
        with open(path, encoding="ascii") as file:
            self.assertFalse(_alive(int(file.read())))

    async def test_run_cancelled(self) -> None:
        """A command that nobody waits for any more is killed."""
        await self.start(self.declared("sleep", "60"))
        path = os.path.join(self.folder, "pid")
        program = f"echo $$ > {path}.new; mv {path}.new {path}; exec sleep 60"
        running = self.engine.run("alice.example", ("sh", "-c", program), 60)
        while not os.path.exists(path):
            await deferLater(reactor, 0.01)
        running.cancel()
        await self.assertFailure(running, CancelledError)
        with open(path, encoding="ascii") as file:
            pid = int(file.read())
        while _alive(pid):
            await deferLater(reactor, 0.01)

    async def test_load_of_children(self) -> None:
        """What children use counts, also of those that have ended."""
        burn = "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done"
        declared = self.declared("sh", "-c", f"({burn}); echo done; exec sleep 60")
        await self.said(declared, b"done")
        loads = await self.engine.loads()
        self.assertGreater(loads["alice.example"].processor, 0)
        self.assertIsNone(loads["alice.example"].traffic)

    async def test_load_of_many(self) -> None:
        """However few processes are looked at in a turn, all are."""
        self.patch(process, "AT_ONCE", 1)
        await self.start(self.declared("sleep", "60"))
        self.assertEqual(set(await self.engine.loads()), {"alice.example"})

    async def test_escaped_child_ends(self) -> None:
        """Before a server is started again, what escaped its session has ended."""
        declared = self.python(
            "import os, time\n"
            "if os.fork() == 0:\n"
            "    os.setsid(); print(os.getpid(), flush=True)\n"
            "time.sleep(60)"
        )
        child = int(await self.said(declared))
        os.kill(int((await self.there())[0].id), signal.SIGKILL)
        await self.observer.until(lambda: bool(self.observer.exits)).addTimeout(60, reactor)
        self.assertTrue(_alive(child))
        await self.start(self.declared("sleep", "60"))
        self.assertFalse(_alive(child))

    async def test_output_of_the_dead(self) -> None:
        """What a server said before it crashed can be read afterwards."""
        await self.start(self.declared("sh", "-c", "echo dying; exit 1"))
        await self.engine.logs("alice.example", 0, True, Gathered()).addTimeout(60, reactor)
        got = Gathered()
        await self.engine.logs("alice.example", 10, False, got)
        self.assertEqual(got.data, b"dying\n")
        self.assertEqual([exit.code for exit in self.observer.exits], [1])

    async def test_flood(self) -> None:
        """A server that writes more than anybody can read is read slowly, and all of its end."""
        self.patch(pace, "FLOOD", 10_000)
        self.patch(pace, "REST", 0.05)
        rests: list[str] = []
        rested = pace.Pace._rested

        def note(each: pace.Pace) -> None:
            rests.append("rested")
            rested(each)

        self.patch(pace.Pace, "_rested", note)
        await self.start(self.declared("sh", "-c", "yes | head -c 400000; echo end"))
        await self.engine.logs("alice.example", 0, True, Gathered()).addTimeout(60, reactor)
        got = Gathered()
        await self.engine.logs("alice.example", 1, False, got)
        self.assertEqual(got.data, b"end\n")
        self.assertIn("rested", rests)

    async def test_cancelled(self) -> None:
        """A cancelled start leaves nothing running."""
        starting = self.engine.start(self.declared("sleep", "60"), lambda words: None)
        starting.addErrback(lambda _: None).cancel()
        await self.engine.stop("alice.example", 5).addTimeout(60, reactor)
        self.assertEqual(await self.there(), [])

    async def test_stop_cancelled(self) -> None:
        """After a cancelled stop the next start waits for the end all the same."""
        first = await self.start(self.declared("sleep", "60"))
        stopping = self.engine.stop("alice.example", 5)
        stopping.addErrback(lambda _: None).cancel()
        second = await self.start(self.declared("sleep", "60"))
        self.assertNotEqual(first.id, second.id)
        self.assertEqual(len(self.observer.exits), 1)

    async def test_container(self) -> None:
        """What is no process is refused in words."""
        words = await self.fails(Declared("alice.example", Container("lamp"), self.data))
        self.assertIn("container", words)


class ProcessEngineTests(WhateverItOutlives, EngineCase):
    """What only processes do that end with Snickers."""

    async def test_closing(self) -> None:
        """What is asked while Snickers ends is refused, what is under way included."""
        starting = self.start(self.declared("sleep", "60"))
        closing = self.engine.close()
        await self.engine.close()
        await closing
        starting.addErrback(lambda _: None)
        self.assertIn("ending", await self.fails(self.declared("sleep", "60")))
        self.assertEqual(await self.there(), [])

    async def test_escaped_child_ends_with_snickers(self) -> None:
        """When Snickers ends, so does what escaped a server's session."""
        child = int(
            await self.said(
                self.python(
                    "import os, time\n"
                    "if os.fork() == 0:\n"
                    "    os.setsid(); print(os.getpid(), flush=True)\n"
                    "time.sleep(60)"
                )
            )
        )
        await self.engine.close().addTimeout(60, reactor)
        self.assertFalse(_alive(child))

    async def test_left_behind(self) -> None:
        """What a killed Snickers left behind has ended before the next one says ``found``."""
        pid = await self.leave_behind()
        _, observer = self.another()
        await observer.until(lambda: bool(observer.events)).addTimeout(60, reactor)
        self.assertFalse(_alive(pid))

    async def leave_behind(self) -> int:
        """Let a process with the mark of a server run that no engine knows."""
        environment = {**os.environ, MARK: f"{owner_of(self.state)}/bob.example"}
        pid = os.posix_spawnp("sleep", ["sleep", "60"], environment)
        self.addCleanup(os.waitpid, pid, 0)
        return pid


class LastingEngineTests(WhateverItOutlives, EngineCase):
    """What only processes do that outlive Snickers."""

    lasting = True


def _alive(pid: int) -> bool:
    """Return whether a process has memory: one that is ending or not waited for has none."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read() != b""
    except OSError:
        return False
