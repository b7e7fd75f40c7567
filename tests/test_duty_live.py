"""Two real teams on the same sockets: duty passes there and back, and nobody notices.

The keeper is the test (`tests.two_teams`). What is asked meanwhile is what visitors ask: new
connections, kept ones, HTTP/2, a WebSocket, an upload that takes its time, a server that has to be
woken.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import bench
from bench.visitors import Visitors
from bench.witness import HELLO
from twisted.trial.unittest import SynchronousTestCase
from websockets.sync.client import connect as connect_websocket

from snickers.containers.engine import owner_of
from tests import docker_setup
from tests.live_setup import ECHO, SETTINGS, WITHIN, ask, until
from tests.two_teams import Keeper, Team

FILES = "[files.localhost]\ntype = static\nroot = site\n"
BOX = (
    f"[box.localhost]\ntype = process\ncommand = {ECHO}\nhealth = /\nenv.TITLE = box\n"
    "stop within = 2s\nidle after = {idle}\n"
)
LAMP = r"""
[lamp.localhost]
type = container
image = {image}
pull = never
health = /
stop within = 1s
idle after = {idle}
command = sh -c 'mkdir -p /www; printf hello > /www/index.html; exec httpd -f -p 80 -h /www'
"""
ORDINARY = f"{sys.executable} -m bench.witness $PORT"
WITNESS = (
    "[witness.localhost]\ntype = process\nidle after = {idle}\nstop within = 2s\nhealth = /\n"
    f"env.PYTHONPATH = {os.path.dirname(os.path.dirname(bench.__file__))}\n"
    f"command = sh -c 'exec {ORDINARY}'\n"
)
STUBBORN = """
import runpy, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
runpy.run_module("bench.witness", run_name="__main__", alter_sys=False)
"""
"""Ends by force alone."""


def background(act: Any) -> Any:
    """Do *act* in a thread; return what waits for its result, and raises what it raised."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append((act(), None))
        except Exception as problem:
            found.append((None, problem))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def wait() -> Any:
        thread.join(WITHIN)
        assert found, "it never ends"
        result, problem = found[0]
        if problem is not None:
            raise problem
        return result

    return wait


class Socket:
    """A WebSocket that says something again and again, and expects it back."""

    def __init__(self, keeper: Keeper, host: str) -> None:
        self.echoes = 0
        self.lost = ""
        self._over = threading.Event()
        sock = socket.create_connection(("127.0.0.1", keeper.https), WITHIN)
        self._connection = connect_websocket(
            f"wss://{host}/",
            sock=sock,
            ssl=keeper.context(),
            server_hostname=host,
            open_timeout=WITHIN,
            ping_interval=None,
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                words = f"{self.echoes}"
                self._connection.send(words)
                assert self._connection.recv(WITHIN) == words
                self.echoes += 1
                time.sleep(0.02)
            self._connection.close()
        except Exception as problem:
            self.lost = repr(problem)

    def stop(self) -> None:
        self._over.set()
        self._thread.join(WITHIN)


class DutyCase(SynchronousTestCase):
    """A keeper with a folder of files."""

    def keeper(self, text: str = FILES, settings: str = SETTINGS, **more: Any) -> Keeper:
        keeper = Keeper(self, text, settings, **more)
        (keeper.folder / "site").mkdir()
        (keeper.folder / "site" / "index.html").write_bytes(HELLO)
        return keeper

    def visit(self, keeper: Keeper, host: str, **more: int) -> Visitors:
        """Have visitors ask *host* until they are stopped."""
        visitors = Visitors(keeper.https, None, host)
        visitors.start(fresh=2, kept=2, h2=2, **more)
        self.addCleanup(visitors.stop)
        return visitors

    def both(self, keeper: Keeper) -> tuple[Team, Team]:
        """Start a team that is on duty and one that stands by."""
        return keeper.start("blue"), keeper.start("red", stand_by=True)

    def site(self, keeper: Keeper, host: str) -> dict[str, Any]:
        """Return what status says of *host*."""
        site: dict[str, Any] = keeper.asked("status", host)
        return site


class DutyTests(DutyCase):
    """Duty passes by signals and by death."""

    def test_load(self) -> None:
        """Under load duty passes there and back again and again: no answer is lost or wrong, on new
        connections, kept ones and HTTP/2, up or down, however long; and all of them are of the same
        server."""
        keeper = self.keeper(FILES + WITNESS.format(idle="1s"))
        blue, red = self.both(keeper)
        everything = self.visit(keeper, "witness.localhost", upload=2, download=1, chat=2)
        files = self.visit(keeper, "files.localhost")
        until(lambda: everything.answered["chat"], "nobody chats")
        server = self.site(keeper, "witness.localhost")["id"]
        passed = []
        for _ in range(6):
            for old, new in ((blue, red), (red, blue)):
                passed.append(keeper.switch(old, new))
                time.sleep(0.5)
                found = self.site(keeper, "witness.localhost")
                self.assertEqual((found["state"], found["id"]), ("awake", server))
        for visitors in (everything, files):
            visitors.stop()
            self.assertEqual(visitors.lost, [])
        for kind in ("fresh", "kept", "h2", "upload", "download", "chat"):
            self.assertGreater(everything.answered[kind], 0, kind)
        self.assertLess(max(passed), 6.0)

    def test_queue(self) -> None:
        """Who connects while nobody accepts waits, and is answered as soon as somebody does: by the
        other team or by the same one."""
        keeper = self.keeper()
        blue, red = self.both(keeper)
        for team, other in ((blue, red), (red, blue), (blue, blue)):
            team.tell(signal.SIGUSR1, "X_SNICKERS_DUTY=0")
            asked = background(lambda: keeper.get("files.localhost"))
            other.tell(signal.SIGUSR2, "X_SNICKERS_DUTY=1")
            self.assertEqual(asked(), (200, HELLO))

    def test_kill_duty(self) -> None:
        """When the team on duty is killed the other one takes its place, with all that waits."""
        keeper = self.keeper(FILES + BOX.format(idle="10m"))
        blue, red = self.both(keeper)
        server = keeper.get("box.localhost")
        blue.kill()
        asked = background(lambda: keeper.get("box.localhost"))
        red.tell(signal.SIGUSR2, "X_SNICKERS_DUTY=1")
        self.assertEqual(asked(), server)
        self.assertEqual(keeper.asked("status")["team"], {"name": "red", "duty": "on duty"})
        blue = keeper.start("blue", stand_by=True)
        keeper.switch(red, blue)
        self.assertEqual(keeper.get("box.localhost"), server)

    def test_kill_standing_by(self) -> None:
        """When the one that stands by is killed nobody notices but who has a connection there, and
        what that had leased is given back."""
        keeper = self.keeper(FILES + BOX.format(idle="1s"))
        blue, red = self.both(keeper)
        talk = Socket(keeper, "box.localhost")
        self.addCleanup(talk.stop)
        keeper.switch(blue, red)
        time.sleep(3.0)
        self.assertEqual((self.site(keeper, "box.localhost")["state"], talk.lost), ("awake", ""))
        blue.kill()
        self.assertEqual(keeper.get("files.localhost"), (200, HELLO))
        until(lambda: self.site(keeper, "box.localhost")["state"] == "asleep", "it never sleeps")
        self.assertEqual(self.site(keeper, "box.localhost")["uses"], 0)

    def test_wake(self) -> None:
        """Who needs a server woken while nobody is on duty waits, and is answered once: with the
        old team, on a kept connection, and with the new one."""
        keeper = self.keeper(FILES + BOX.format(idle="10m"))
        blue, red = self.both(keeper)
        with keeper.connect("box.localhost") as kept, keeper.connect("box.localhost") as early:
            keeper.asked("status")  # both were accepted by then
            early.sendall(b"GET /early HTTP/1.1\r\nHost: box.localhost\r\n\r\n")
            blue.tell(signal.SIGUSR1, "X_SNICKERS_DUTY=0")
            kept.sendall(b"GET /kept HTTP/1.1\r\nHost: box.localhost\r\n\r\n")
            fresh = background(lambda: keeper.get("box.localhost"))
            time.sleep(0.3)
            red.tell(signal.SIGUSR2, "X_SNICKERS_DUTY=1")
            server = fresh()
            self.assertEqual(server[0], 200)
            for sock in (kept, early):
                answer = HTTPResponse(sock)
                answer.begin()
                self.assertEqual((answer.status, answer.read()), server)
                sock.settimeout(0.3)
                self.assertRaises(TimeoutError, sock.recv, 1)
                sock.settimeout(WITHIN)

    def test_stop_under_way(self) -> None:
        """A server that is about to be stopped when duty passes is not what the next visitor gets:
        he waits for its end, and for another one."""
        keeper = self.keeper()
        stubborn = keeper.folder / "stubborn.py"
        stubborn.write_text(STUBBORN)
        command = f"{sys.executable} {stubborn} $PORT"
        keeper.write(WITNESS.format(idle="10m").replace(ORDINARY, command))
        blue, red = self.both(keeper)
        keeper.get("witness.localhost")
        server = self.site(keeper, "witness.localhost")["id"]
        slept = background(lambda: keeper.command("sleep", "witness.localhost"))
        until(lambda: self.site(keeper, "witness.localhost")["state"] == "stopping", "it runs on")
        keeper.switch(blue, red)
        self.assertEqual(keeper.get("witness.localhost"), (200, HELLO))
        slept()
        found = self.site(keeper, "witness.localhost")
        self.assertEqual(found["state"], "awake")
        self.assertNotEqual(found["id"], server)

    def test_kept_connection_wakes(self) -> None:
        """A request on a connection that stays with the old team wakes a server by the one on duty,
        and one that ends with it is not held up."""
        keeper = self.keeper(FILES + BOX.format(idle="1s"))
        blue, red = self.both(keeper)
        with keeper.connect("box.localhost") as kept:
            self.assertEqual(ask(kept, "box.localhost").read()[:4], b"box ")
            keeper.switch(blue, red)
            until(
                lambda: self.site(keeper, "box.localhost")["state"] == "asleep", "it never sleeps"
            )
            self.assertEqual(ask(kept, "box.localhost").read()[:4], b"box ")
            blue.send(signal.SIGTERM)
            self.assertEqual(blue.wait(), 0)
        self.assertEqual(keeper.get("box.localhost")[0], 200)

    def test_terminated(self) -> None:
        """SIGTERM to the one on duty gives duty up at once, though it has connections to finish;
        they go on, and so does what they use."""
        keeper = self.keeper(FILES + BOX.format(idle="1s"), SETTINGS + "drain within = 30s\n")
        blue, red = self.both(keeper)
        talk = Socket(keeper, "box.localhost")
        self.addCleanup(talk.stop)
        blue.tell(signal.SIGTERM, "X_SNICKERS_DUTY=0")
        red.tell(signal.SIGUSR2, "X_SNICKERS_DUTY=1")
        time.sleep(2.5)
        self.assertEqual((self.site(keeper, "box.localhost")["state"], talk.lost), ("awake", ""))
        talk.stop()
        self.assertEqual((blue.wait(), talk.lost), (0, ""))

    def test_counted(self) -> None:
        """What was counted is passed on, with what the old team has still counted since; nothing is
        counted twice, whoever is on duty."""
        keeper = self.keeper()
        blue, red = self.both(keeper)
        teams = [blue, red]
        expected = 0

        def counted() -> int:
            requests: int = self.site(keeper, "files.localhost")["requests"]
            return requests

        with keeper.connect("files.localhost") as kept:
            for _ in range(3):
                for _ in range(2):
                    keeper.get("files.localhost")
                    ask(kept, "files.localhost").read()
                    expected += 2
                # What is told from time to time is told when it is lost at the latest.
                until(lambda wanted=expected: counted() == wanted, "it is never counted")
                keeper.switch(*teams)
                teams.reverse()
                self.assertEqual(counted(), expected)
        self.assertEqual(counted(), expected)
        red.kill()
        blue.tell(signal.SIGUSR2, "X_SNICKERS_DUTY=1")
        self.assertGreaterEqual(counted(), expected - 4)

    def test_idle(self) -> None:
        """How long a server was idle is passed on: it does not begin anew."""
        keeper = self.keeper(BOX.format(idle="16s"))
        blue, red = self.both(keeper)
        keeper.get("box.localhost")
        time.sleep(6.0)
        passing = time.time()
        keeper.switch(blue, red)
        self.assertEqual(self.site(keeper, "box.localhost")["state"], "awake")
        until(lambda: self.site(keeper, "box.localhost")["state"] == "asleep", "it never sleeps")
        # Begun anew, it would have been awake for as long as that after duty has passed.
        self.assertLess(self.site(keeper, "box.localhost")["since"], passing + 16.0)

    def test_workers(self) -> None:
        """Workers stand by, take part and are counted as their team is."""
        keeper = self.keeper(
            FILES + BOX.format(idle="1s"), SETTINGS + "workers = 2\ndrain within = 5s\n"
        )
        blue, red = self.both(keeper)
        visitors = self.visit(keeper, "files.localhost")
        talks = [Socket(keeper, "box.localhost") for _ in range(4)]
        for talk in talks:
            self.addCleanup(talk.stop)
        for _ in range(2):
            keeper.switch(blue, red)
            time.sleep(0.5)
            keeper.switch(red, blue)
            time.sleep(0.5)
        visitors.stop()
        keeper.switch(blue, red)
        time.sleep(2.5)
        self.assertEqual((visitors.lost, [talk.lost for talk in talks]), ([], [""] * 4))
        self.assertEqual(self.site(keeper, "box.localhost")["state"], "awake")
        self.assertEqual(len(keeper.asked("status")["workers"]), 1)
        for talk in talks:
            talk.stop()
        until(lambda: self.site(keeper, "box.localhost")["state"] == "asleep", "it never sleeps")

    def test_told(self) -> None:
        """The keeper hears what a team has answered, and how many of it were errors."""
        keeper = self.keeper(FILES + "[no.localhost]\ntype = proxy\nto = http://127.0.0.1:1\n")
        blue = keeper.start("blue")
        self.assertNotEqual(blue.last("VERSION"), None)
        for host in ("files", "files", "no"):
            keeper.get(f"{host}.localhost")
        blue.says("X_SNICKERS_ANSWERS=3 1")
        with keeper.connect("files.localhost"):
            blue.heard.clear()
            blue.says("X_SNICKERS_OPEN=1")
        blue.says("X_SNICKERS_OPEN=0")


class ProofTests(DutyCase):
    """A team that cannot prove itself ends with a line and status 1, and the other goes on."""

    def unproven(self, keeper: Keeper) -> str:
        """Start a team that is not proven; return the last line that it wrote for a person."""
        red = keeper.start("red", stand_by=True, ready=False)
        self.assertEqual(red.wait(), 1)
        lines = [
            line for line in red.log.read_text().splitlines() if line.startswith(str(keeper.sites))
        ]
        self.assertEqual(len(lines), 1, red.log.read_text())
        self.assertNotIn("Traceback", red.log.read_text())
        keeper.hear(0.1)
        self.assertNotIn("READY=1", red.heard)
        self.assertEqual(keeper.get("files.localhost"), (200, HELLO))
        return lines[0]

    def test_certificate(self) -> None:
        """A certificate that the team on duty shows and this one cannot load."""
        keeper = self.keeper()
        keeper.start("blue")
        keeper.get("files.localhost")
        certificates = keeper.folder / "state" / "internal"
        for path in certificates.rglob("*.pem"):
            if "files" in str(path):
                path.write_text("nothing")
        (certificates / "ca.pem").unlink()
        for path in certificates.iterdir():
            if path.is_file():
                path.write_text("nothing")
        self.assertIn("certificate", self.unproven(keeper))

    def test_docker(self) -> None:
        """Docker that is away, where a site needs it."""
        keeper = self.keeper(FILES + "[lamp.localhost]\ntype = container\nimage = lamp\n")
        keeper.start("blue")
        words = self.unproven(keeper)
        self.assertIn("The engine for containers cannot be reached", words)


class ContainerTests(DutyCase):
    """The same with containers, which outlive every team."""

    def setUp(self) -> None:
        self.settings = SETTINGS.replace("unix:///nonexistent", docker_setup.docker_url())
        self.image = docker_setup.image()

    def test_containers(self) -> None:
        """A container is the same before and after, awake or woken while duty passes, whoever is
        killed."""
        network = docker_setup.network()
        text = FILES + LAMP.format(image=self.image, idle="10m") + f"network = {network}\n"
        keeper = self.keeper(text, self.settings)
        self.addCleanup(docker_setup.remove_all, owner_of(str(Path(keeper.folder / "state"))))
        blue = keeper.start("blue")
        red = keeper.start("red", stand_by=True)
        asked = background(lambda: keeper.get("lamp.localhost"))
        time.sleep(0.2)
        keeper.switch(blue, red)
        lamp = asked()
        self.assertEqual(lamp[0], 200)
        server = self.site(keeper, "lamp.localhost")["id"]
        visitors = self.visit(keeper, "lamp.localhost")
        for _ in range(3):
            keeper.switch(red, blue)
            time.sleep(0.3)
            keeper.switch(blue, red)
            time.sleep(0.3)
        visitors.stop()
        self.assertEqual(visitors.lost, [])
        red.kill()
        blue.tell(signal.SIGUSR2, "X_SNICKERS_DUTY=1")
        self.assertEqual(keeper.get("lamp.localhost"), lamp)
        mine = {"label": f"io.snickers.instance={owner_of(str(keeper.folder / 'state'))}"}
        (found,) = docker_setup.client().containers(all=True, filters=mine)
        self.assertEqual(found["Id"], server)
