"""Servers that an earlier Snickers left behind are found and ended, and nothing else is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from snickers.containers import leftovers
from snickers.containers.leftovers import MARK, Leftovers
from tests.descriptors import open_descriptors

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('ready', flush=True); time.sleep(60)"
)


class LeftoversTests(TestCase):
    """`Leftovers`, with real processes."""

    def setUp(self) -> None:
        self.folder = self.mktemp()
        self.owner = f"test-{os.getpid()}-{self.id()}"
        self.leftovers = self.those_of(self.owner)

    def those_of(self, owner: str) -> Leftovers:
        return Leftovers(reactor, self.folder, owner)

    def spawn(
        self, site: str = "", program: str = "import time; print(1, flush=True); time.sleep(60)"
    ):
        """Run a process, marked as *site*'s server if one is given."""
        environment = {"PATH": os.environ["PATH"]}
        if site:
            environment[MARK] = self.leftovers.mark(site)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", program], env=environment, stdout=subprocess.PIPE
        )
        process.stdout.readline()

        def end() -> None:
            process.kill()
            process.wait()
            process.stdout.close()

        self.addCleanup(end)
        return process

    async def test_none(self) -> None:
        """Where nothing is left behind, ending it fires at once."""
        self.assertEqual(self.leftovers.find(), [])
        self.assertEqual(await self.leftovers.end(), [])

    async def test_marked(self) -> None:
        """A process with the mark is found, and ended by a signal it may heed."""
        process = self.spawn("alice.example")
        self.assertEqual(self.leftovers.find(), [process.pid])
        self.assertEqual(self.leftovers.find("alice.example"), [process.pid])
        self.assertEqual(await self.leftovers.end(), [])
        self.assertEqual(process.wait(), -signal.SIGTERM)
        self.assertEqual(self.leftovers.find(), [])

    async def test_paused(self) -> None:
        """One that was left behind frozen goes on to hear that it shall end."""
        process = self.spawn("alice.example")
        process.send_signal(signal.SIGSTOP)
        self.assertEqual(await self.leftovers.end(), [])
        self.assertEqual(process.wait(), -signal.SIGTERM)

    async def test_site(self) -> None:
        """Only the site's are ended, also when one's name begins with another's."""
        alice, longer = self.spawn("alice.example"), self.spawn("alice.example.org")
        await self.leftovers.end("alice.example")
        self.assertEqual(alice.wait(), -signal.SIGTERM)
        self.assertIsNone(longer.poll())

    async def test_others(self) -> None:
        """Servers of another Snickers, and other processes, are left alone."""
        other, plain = self.spawn("alice.example"), self.spawn()
        mine = self.those_of("somebody")
        self.assertEqual(mine.find(), [])
        await mine.end()
        self.assertEqual((other.poll(), plain.poll()), (None, None))

    async def test_noted(self) -> None:
        """A noted process is found although it lost its mark."""
        process = self.spawn()
        self.leftovers.note("alice.example", process.pid)
        self.assertEqual(self.leftovers.find(), [process.pid])
        self.assertEqual(self.leftovers.find("alice.example"), [process.pid])
        self.assertEqual(self.leftovers.find("bob.example"), [])
        await self.leftovers.end("alice.example")
        self.assertEqual(process.wait(), -signal.SIGTERM)

    def test_forgotten(self) -> None:
        """What was forgotten is not found, and may be forgotten again."""
        process = self.spawn()
        self.leftovers.note("alice.example", process.pid)
        self.leftovers.forget("alice.example", process.pid)
        self.leftovers.forget("alice.example", process.pid)
        self.assertEqual(self.leftovers.find(), [])

    def test_forgotten_by_another(self) -> None:
        """What was noted since is not forgotten with what was noted before."""
        process = self.spawn()
        self.leftovers.note("alice.example", process.pid)
        self.leftovers.forget("alice.example", process.pid + 1)
        self.assertEqual(self.leftovers.find(), [process.pid])

    async def test_but(self) -> None:
        """Those of some sites can be left out, whether they are noted or marked."""
        noted, marked = self.spawn(), self.spawn("alice.example")
        longer, bob = self.spawn("alice.example.org"), self.spawn("bob.example")
        self.leftovers.note("alice.example", noted.pid)
        self.assertEqual(set(self.leftovers.find(but=("alice.example",))), {longer.pid, bob.pid})
        self.assertEqual(await self.leftovers.end(but=("alice.example", "bob.example")), [])
        self.assertEqual(longer.wait(), -signal.SIGTERM)
        self.assertEqual((noted.poll(), marked.poll(), bob.poll()), (None, None, None))

    def test_number_given_anew(self) -> None:
        """A process that got a noted number later, or since another boot, is not taken for it."""
        process = self.spawn()
        self.leftovers.note("alice.example", process.pid)
        path = os.path.join(self.folder, "alice.example")
        with open(path, encoding="ascii") as file:
            pid, start, boot = json.load(file)
        self.assertEqual(pid, process.pid)
        for noted in ([pid, str(int(start) - 1), boot], [pid, start, "another boot"]):
            with open(path, "w", encoding="ascii") as file:
                json.dump(noted, file)
            self.assertEqual(self.leftovers.find(), [])

    def test_torn_notes(self) -> None:
        """What is no note is no failure."""
        os.makedirs(self.folder)
        for name, text in (("a", ""), ("b", "[1"), ("c", "[]"), ("d", "7"), ("e", "null")):
            with open(os.path.join(self.folder, name), "w", encoding="ascii") as file:
                file.write(text)
        self.assertEqual(self.leftovers.find(), [])

    def test_not_writable(self) -> None:
        """A folder that cannot be made stops no server; the mark is left."""
        with open(self.folder, "w", encoding="ascii"):
            pass
        self.leftovers.note("alice.example", os.getpid())
        self.assertEqual(self.leftovers.find(), [])

    async def test_stubborn(self) -> None:
        """What does not heed the signal is killed."""
        self.patch(leftovers, "TERMINATE_WITHIN", 0.05)
        process = self.spawn("alice.example", STUBBORN)
        self.assertEqual(await self.leftovers.end(), [])
        self.assertEqual(process.wait(), -signal.SIGKILL)

    async def test_never_ending(self) -> None:
        """What does not end even then is named."""
        self.patch(leftovers, "TERMINATE_WITHIN", 0.05)
        self.patch(leftovers, "KILL_WITHIN", 0.05)
        self.patch(signal, "pidfd_send_signal", lambda fd, number, info, flags: None)
        process = self.spawn("alice.example")
        self.assertEqual(await self.leftovers.end(), [process.pid])

    async def test_zombie(self) -> None:
        """A process that has ended, and only was not waited for, is not left over."""
        process = self.spawn("alice.example")
        self.leftovers.note("alice.example", process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self.assertEqual(self.leftovers.find(), [])

    async def test_cancelled(self) -> None:
        """When nobody waits any more nothing is held any more."""
        self.spawn("alice.example", STUBBORN)
        before = open_descriptors()
        ending = self.leftovers.end()
        self.assertEqual(len(open_descriptors() - before), 1)
        ending.addErrback(lambda _: None).cancel()
        self.assertEqual(open_descriptors() - before, set())

    def test_no_proc(self) -> None:
        """Where there is no /proc nothing is found."""
        self.assertEqual(Leftovers(reactor, self.folder, self.owner, "/no/proc").find(), [])
