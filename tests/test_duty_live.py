"""Two real teams on the same sockets: duty passes there and back, and nobody notices.

The keeper is the test (`tests.two_teams`). What is asked meanwhile is what visitors ask: new
connections, kept ones, HTTP/2, a WebSocket, an upload that takes its time, a server that has to be
woken.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import threading
import time
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from websockets.sync.client import connect as connect_websocket

from snickers.containers.engine import owner_of
from tests import docker_setup
from tests.callers import Callers
from tests.live_setup import ECHO, SETTINGS, WITHIN, ask
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
command = sh -c 'mkdir -p /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www'
"""
BODY = b"hello"


class Hash(BaseHTTPRequestHandler):
    """Answers a POST with the hash of what came."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        found = hashlib.sha256()
        while left:
            data = self.rfile.read1(min(left, 65536))
            assert data
            left -= len(data)
            found.update(data)
        answer = found.hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


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
            f"wss://{host}/", sock=sock, ssl=keeper.context(), server_hostname=host
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
        (keeper.folder / "site" / "index.html").write_bytes(BODY)
        return keeper

    def both(self, keeper: Keeper) -> tuple[Team, Team]:
        """Start a team that is on duty and one that stands by."""
        return keeper.start("blue"), keeper.start("red", stand_by=True)

    def site(self, keeper: Keeper, host: str) -> dict[str, Any]:
        """Return what status says of *host*."""
        site: dict[str, Any] = keeper.asked("status", host)
        return site

    def until(self, holds: Any, words: str) -> Any:
        """Return what *holds* returns, as soon as that is true."""
        deadline = time.monotonic() + WITHIN
        while True:
            found = holds()
            if found:
                return found
            assert time.monotonic() < deadline, words
            time.sleep(0.05)


class DutyTests(DutyCase):
    """Duty passes by signals and by death."""

    def test_load(self) -> None:
        """Under load duty passes there and back again and again: no answer is lost or wrong, a
        WebSocket and an upload go on, and their server is the same all the time."""
        behind = ThreadingHTTPServer(("127.0.0.1", 0), Hash)
        self.addCleanup(behind.server_close)
        threading.Thread(target=behind.serve_forever, daemon=True).start()
        self.addCleanup(behind.shutdown)
        up = f"[up.localhost]\ntype = proxy\nto = http://127.0.0.1:{behind.server_port}\n"
        keeper = self.keeper(FILES + BOX.format(idle="2s") + up)
        blue, red = self.both(keeper)
        server = keeper.get("box.localhost")[1]
        callers = Callers(
            lambda protocol: keeper.connect("files.localhost", protocol),
            "files.localhost",
            "/",
            BODY,
        )
        callers.start()
        self.addCleanup(callers.stop)
        talk = Socket(keeper, "box.localhost")
        self.addCleanup(talk.stop)
        data = os.urandom(400_000)
        uploaded = background(lambda: self.upload(keeper, data))
        passed = []
        for _ in range(4):
            for old, new in ((blue, red), (red, blue)):
                passed.append(keeper.switch(old, new))
                time.sleep(0.3)
                status, body = keeper.get("box.localhost")
                self.assertEqual((status, body), (200, server))
        # Longer than its server may be idle.
        keeper.switch(blue, red)
        before = talk.echoes
        time.sleep(3.0)
        self.assertEqual(uploaded(), hashlib.sha256(data).hexdigest().encode())
        callers.stop()
        talk.stop()
        self.assertEqual(callers.lost, [])
        self.assertEqual(talk.lost, "")
        self.assertGreater(talk.echoes, before)
        self.assertTrue(all(callers.answered.values()), callers.answered)
        self.assertEqual(keeper.get("box.localhost"), (200, server))
        self.assertLess(max(passed), WITHIN / 10)

    def upload(self, keeper: Keeper, data: bytes) -> bytes:
        """Send *data* slowly; return the answer."""
        with keeper.connect("up.localhost") as sock:
            sock.sendall(
                b"POST / HTTP/1.1\r\nHost: up.localhost\r\nContent-Length: %d\r\n\r\n" % len(data)
            )
            for start in range(0, len(data), 10_000):
                sock.sendall(data[start : start + 10_000])
                time.sleep(0.1)
            answer = HTTPResponse(sock)
            answer.begin()
            return answer.read()

    def test_queue(self) -> None:
        """Who connects while nobody accepts waits, and is answered as soon as somebody does: by the
        other team or by the same one."""
        keeper = self.keeper()
        blue, red = self.both(keeper)
        for team, other in ((blue, red), (red, blue), (blue, blue)):
            team.tell(signal.SIGUSR1, "X_SNICKERS_DUTY=0")
            asked = background(lambda: keeper.get("files.localhost"))
            other.tell(signal.SIGUSR2, "X_SNICKERS_DUTY=1")
            self.assertEqual(asked(), (200, BODY))

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
        self.assertEqual(keeper.get("files.localhost"), (200, BODY))
        self.until(
            lambda: self.site(keeper, "box.localhost")["state"] == "asleep", "it never sleeps"
        )
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

    def test_kept_connection_wakes(self) -> None:
        """A request on a connection that stays with the old team wakes a server by the one on duty,
        and one that ends with it is not held up."""
        keeper = self.keeper(FILES + BOX.format(idle="1s"))
        blue, red = self.both(keeper)
        with keeper.connect("box.localhost") as kept:
            self.assertEqual(ask(kept, "box.localhost").read()[:4], b"box ")
            keeper.switch(blue, red)
            self.until(
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
                self.until(lambda wanted=expected: counted() == wanted, "it is never counted")
                keeper.switch(*teams)
                teams.reverse()
                self.assertEqual(counted(), expected)
        self.assertEqual(counted(), expected)
        red.kill()
        blue.tell(signal.SIGUSR2, "X_SNICKERS_DUTY=1")
        self.assertGreaterEqual(counted(), expected - 4)

    def test_idle(self) -> None:
        """How long a server was idle is passed on: it does not begin anew."""
        keeper = self.keeper(BOX.format(idle="6s"))
        blue, red = self.both(keeper)
        keeper.get("box.localhost")
        used = time.monotonic()
        time.sleep(4.0)
        keeper.switch(blue, red)
        self.assertEqual(self.site(keeper, "box.localhost")["state"], "awake")
        self.until(
            lambda: self.site(keeper, "box.localhost")["state"] == "asleep", "it never sleeps"
        )
        # Begun anew, it would be ten seconds.
        self.assertLess(time.monotonic() - used, 9.5)

    def test_workers(self) -> None:
        """Workers stand by, take part and are counted as their team is."""
        keeper = self.keeper(
            FILES + BOX.format(idle="1s"), SETTINGS + "workers = 2\ndrain within = 5s\n"
        )
        blue, red = self.both(keeper)
        callers = Callers(
            lambda protocol: keeper.connect("box.localhost", protocol),
            "box.localhost",
            "/",
            keeper.get("box.localhost")[1],
        )
        callers.start()
        self.addCleanup(callers.stop)
        talks = [Socket(keeper, "box.localhost") for _ in range(4)]
        for talk in talks:
            self.addCleanup(talk.stop)
        for _ in range(2):
            keeper.switch(blue, red)
            time.sleep(0.5)
            keeper.switch(red, blue)
            time.sleep(0.5)
        callers.stop()
        keeper.switch(blue, red)
        time.sleep(2.5)
        self.assertEqual((callers.lost, [talk.lost for talk in talks]), ([], [""] * 4))
        self.assertEqual(self.site(keeper, "box.localhost")["state"], "awake")
        self.assertEqual(len(keeper.asked("status")["workers"]), 1)
        for talk in talks:
            talk.stop()
        self.until(
            lambda: self.site(keeper, "box.localhost")["state"] == "asleep", "it never sleeps"
        )

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
        self.assertEqual(keeper.get("files.localhost"), (200, BODY))
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
        callers = Callers(
            lambda protocol: keeper.connect("lamp.localhost", protocol),
            "lamp.localhost",
            "/",
            lamp[1],
        )
        callers.start(2, 2, 1)
        self.addCleanup(callers.stop)
        for _ in range(3):
            keeper.switch(red, blue)
            time.sleep(0.3)
            keeper.switch(blue, red)
            time.sleep(0.3)
        callers.stop()
        self.assertEqual(callers.lost, [])
        red.kill()
        blue.tell(signal.SIGUSR2, "X_SNICKERS_DUTY=1")
        self.assertEqual(keeper.get("lamp.localhost"), lamp)
        mine = {"label": f"io.snickers.instance={owner_of(str(keeper.folder / 'state'))}"}
        self.assertEqual(len(docker_setup.client().containers(all=True, filters=mine)), 1)
