"""The owner's program that writes into the DNS, and waiting for what it has written."""

from __future__ import annotations

import fcntl
import os
import resource
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from snickers.acme.asked import Held, Server, Unanswered
from snickers.acme.dnshook import DnsHook, HookFailed, dns_hook, environment, run
from tests.dns_fake import FakeDNS

NAME = "_acme-challenge.a.example"
FIRST = Server("ns1.example", "192.0.2.1")
SECOND = Server("ns2.example", "192.0.2.2")


class RunTests(SynchronousTestCase):
    """Real programs."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def script(self, text: str) -> str:
        path = self.folder / "hook"
        path.write_text(f"#!/bin/sh\ncd {shlex.quote(str(self.folder))}\n{text}\n")
        path.chmod(0o755)
        return str(path)

    def failed(self, words: str, *command: str, **others: Any) -> None:
        error = self.assertRaises(HookFailed, run, command, **others)
        self.assertEqual(str(error), words)

    def test_arguments(self) -> None:
        """It gets its arguments as they are, without a shell, and nothing to read."""
        hook = self.script('printf "%s|" "$@" >got; cat >>got')
        run((hook, "add", NAME, "a value; $HOME"))
        self.assertEqual((self.folder / "got").read_text(), f"add|{NAME}|a value; $HOME|")

    def test_fails(self) -> None:
        """Its last lines, of either output, say why it has failed."""
        hook = self.script("for n in 1 2 3 4 5 6; do echo line $n; done; echo no zone >&2; exit 3")
        self.failed(f"{hook} ended with status 3: line 3; line 4; line 5; line 6; no zone", hook)
        hook = self.script("exit 1")
        self.failed(f"{hook} ended with status 1: it said nothing", hook)
        hook = self.script("kill -TERM $$")
        self.failed(f"{hook} ended by signal 15: it said nothing", hook)

    def test_many_descriptors(self) -> None:
        """It is run by a front door with thousands of connections, too."""
        own = os.pidfd_open

        def high(pid: int) -> int:
            low = own(pid)
            try:
                return fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 1100)
            finally:
                os.close(low)

        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limits[1] < 1200:
            raise SkipTest("so many descriptors are not allowed here")
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], 1200), limits[1]))
        self.patch(os, "pidfd_open", high)
        run(["/bin/true"])

    def test_cannot_be_run(self) -> None:
        """A program that is not there, or is none."""
        self.failed("/nonexistent cannot be run: No such file or directory", "/nonexistent")
        (self.folder / "data").write_text("x")
        self.failed(f"{self.folder}/data cannot be run: Permission denied", f"{self.folder}/data")

    def test_too_long(self) -> None:
        """One that takes too long is killed, with all that it has started."""
        hook = self.script("sleep 600 & echo $! >child; echo working; wait")
        self.failed(f"{hook} was not done within 0.5 s and was killed: working", hook, within=0.5)
        self.gone(int((self.folder / "child").read_text()))

    def test_left_behind(self) -> None:
        """What it has left behind holds nobody up, and is killed too."""
        hook = self.script("sleep 600 & echo $! >child")
        begun = time.monotonic()
        run((hook,))
        self.assertLess(time.monotonic() - begun, 30.0)
        self.gone(int((self.folder / "child").read_text()))

    def gone(self, pid: int) -> None:
        """Fail unless the process *pid* is dead, or dying: someone else reaps it."""
        for _ in range(1000):
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                return
            if state in "ZX":
                return
            time.sleep(0.01)
        self.fail("it still runs")

    def test_much(self) -> None:
        """However much it says, the end is kept."""
        hook = self.script(
            f"{shlex.quote(sys.executable)} -c 'print(\"x\" * 1000000)'; echo the end; exit 1"
        )
        error = self.assertRaises(HookFailed, run, (hook,))
        self.assertTrue(str(error).endswith("x; the end"))
        self.assertLess(len(str(error)), 1000)

    def test_environment(self) -> None:
        """It has Snickers' environment, where its keys may be, but for what is not its business."""
        self.assertEqual(
            environment(
                {
                    "PATH": "/bin",
                    "API_KEY": "k",
                    "LISTEN_FDS": "2",
                    "NOTIFY_SOCKET": "@x",
                    "SNICKERS_TEAM": "blue",
                }
            ),
            {"PATH": "/bin", "API_KEY": "k"},
        )
        self.patch(os, "environ", {**os.environ, "LISTEN_FDS": "2", "API_KEY": "k"})
        run((self.script('echo "$API_KEY$LISTEN_FDS" >got'),))
        self.assertEqual((self.folder / "got").read_text(), "k\n")


class FakeLookup:
    """Two servers of a zone; *shows* says after how many looks each shows the value, or what it
    fails with."""

    def __init__(self, server: Server | None = None, **shows: Any) -> None:
        self.server = server
        self.shows = shows
        self.looks: dict[str, int] = dict.fromkeys(shows, 0)

    def _look(self, who: str) -> tuple[str, ...]:
        self.looks[who] += 1
        after = self.shows[who]
        if isinstance(after, str):
            raise Unanswered(after)
        return ("other", "value") if self.looks[who] > after else ("other",)

    def texts(self, name: str) -> tuple[str, ...]:
        assert name == NAME
        return self._look("resolver")

    def texts_at(self, server: Server, name: str) -> tuple[str, ...]:
        assert name == "where.it.leads"
        return self._look("first" if server == FIRST else "second")

    def holders(self, name: str) -> Held:
        assert name == NAME
        if "zone" in self.shows:
            self._look("zone")
        return Held("where.it.leads", (FIRST, SECOND))


class WaitTests(SynchronousTestCase):
    def hook(self, dns: FakeLookup, fails: str = "") -> DnsHook:
        self.time = 0.0
        self.ran: list[Sequence[str]] = []
        self.slept: list[float] = []

        def running(command: Sequence[str]) -> None:
            self.ran.append(command)
            if fails:
                raise HookFailed(fails)

        def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.time += seconds

        return DnsHook(
            lambda: ("/hook", "-v"), lambda: dns, running, lambda: self.time, sleep, within=60.0
        )

    def add(self, dns: FakeLookup) -> None:
        self.hook(dns)("add", NAME, "value")

    def failed(self, words: str, dns: FakeLookup) -> None:
        error = self.assertRaises(HookFailed, self.add, dns)
        self.assertEqual(
            str(error),
            f"the program has added the TXT record {NAME}, but 60 s later {words}: does it write "
            "into the zone that the world sees?",
        )
        self.assertEqual(self.time, 60.0)

    def test_all_show_it(self) -> None:
        """It is done when every server of the zone shows the record, among others."""
        dns = FakeLookup(first=0, second=3)
        self.add(dns)
        self.assertEqual(self.ran, [("/hook", "-v", "add", NAME, "value")])
        self.assertEqual(self.slept, [1.0, 1.5, 2.25])
        self.assertEqual(dns.looks, {"first": 4, "second": 4})

    def test_one_never(self) -> None:
        """A server that never shows it is named, after a bounded time."""
        self.failed("ns2.example (192.0.2.2) does not show it", FakeLookup(first=0, second=999))
        self.assertEqual(max(self.slept), 10.0)

    def test_one_silent(self) -> None:
        """A server that this host cannot reach is asked some times; then the others do."""
        dns = FakeLookup(first=0, second="ns2 does not answer")
        self.add(dns)
        self.assertEqual(dns.looks["second"], 3)

    def test_all_silent(self) -> None:
        """Where none can be reached nothing can be told."""
        self.failed("a; b", FakeLookup(first="a", second="b"))

    def test_no_zone(self) -> None:
        """A zone that cannot be found is looked for again, and is the reason in the end."""
        self.failed("no zone", FakeLookup(zone="no zone"))

    def test_resolver(self) -> None:
        """Where a resolver is configured, that one is asked and no other."""
        dns = FakeLookup(FIRST, resolver=2)
        self.add(dns)
        self.assertEqual(dns.looks, {"resolver": 3})
        self.failed("ns1.example (192.0.2.1) does not show it", FakeLookup(FIRST, resolver=999))
        self.failed("it fails", FakeLookup(FIRST, resolver="it fails"))

    def test_remove(self) -> None:
        """A record that is taken out is not waited for."""
        self.hook(FakeLookup())("remove", NAME, "value")
        self.assertEqual(self.ran, [("/hook", "-v", "remove", NAME, "value")])

    def test_fails(self) -> None:
        """What the program says is told without the value, which is another one each time."""
        hook = self.hook(FakeLookup(), "ended with status 1: value exists")
        error = self.assertRaises(HookFailed, hook, "add", NAME, "value")
        self.assertEqual(str(error), "ended with status 1: VALUE exists")
        self.assertEqual(self.slept, [])


class WholeTests(SynchronousTestCase):
    def test_dns_hook(self) -> None:
        """A real program, and a real DNS that gets its record from a file the program writes."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        hook = folder / "hook"
        hook.write_text(f'#!/bin/sh\necho "$@" >{shlex.quote(str(folder))}/got\n')
        hook.chmod(0o755)

        class Records(dict[str, Any]):
            def get(self, name: str, default: Any = None) -> Any:
                what, shown, value = (folder / "got").read_text().split()
                return {"TXT": [f'"{value}"']} if (what, shown) == ("add", name) else default

        dns = FakeDNS(self, Records())

        @frozen
        class Settings:
            acme_dns_hook: tuple[str, ...] = (str(hook),)
            acme_resolver: str = f"127.0.0.1:{dns.port}"

        prove = dns_hook(Settings)
        prove("add", NAME, "value")
        self.assertEqual(dns.asked, {(NAME, "TXT"): 1})
        prove("remove", NAME, "value")
        self.assertEqual((folder / "got").read_text(), f"remove {NAME} value\n")
