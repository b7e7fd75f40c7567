"""Reloads as visitors of a real Snickers meet them: downloads and WebSockets that run meanwhile.

Nothing here knows of Snickers' insides, and nothing waits for time to pass: a download is held
where it is by not reading it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import ssl
from http.client import HTTPResponse
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.echo_server import BIG
from tests.live_setup import ECHO, SETTINGS, WITHIN, Snickers, ask

FILES = "[files.localhost]\ntype = static\nroot = files\n"
APP = f"[app.localhost]\ntype = process\ncommand = {ECHO}\nhealth = /up\n"
STEP = 1024 * 1024
"""Bytes that are taken of a download at a time."""
OTHER = "[other.localhost]\ntype = static\nroot = other\n"


class LiveCase(SynchronousTestCase):
    """One Snickers with a folder of files and an application."""

    # Who takes nothing for a minute is cut off, and a busy machine may need that for a step.
    settings = SETTINGS + "progress within = 10m\n"

    def setUp(self) -> None:
        self.taken: dict[HTTPResponse, int] = {}
        """The bytes that each download has come to."""
        self.snickers = Snickers(self, FILES + APP, self.settings)
        for name in ("files", "other"):
            (self.snickers.folder / name).mkdir()
        (self.snickers.folder / "files" / "big").write_bytes(BIG)
        (self.snickers.folder / "files" / "index.html").write_text("a folder")
        (self.snickers.folder / "other" / "index.html").write_text("another folder")

    def download(self, host: str) -> HTTPResponse:
        """Begin a download, and leave it where it is after some bytes."""
        sock = self.snickers.connect(host)
        self.addCleanup(sock.close)
        answer = ask(sock, host, "/big")
        self.addCleanup(answer.close)
        self.assertEqual(answer.status, 200)
        self.taken[answer] = 0
        self.take(answer, 1000)
        return answer

    def take(self, answer: HTTPResponse, size: int) -> None:
        """Read on."""
        at = self.taken[answer]
        self.assertTrue(answer.read(size) == BIG[at : at + size], f"other bytes at {at}")
        self.taken[answer] += size

    def finish(self, answer: HTTPResponse) -> None:
        """Read the rest of a download: it is what it should be, to the last byte."""
        at = self.taken[answer]
        self.assertTrue(answer.read() == BIG[at:], "the download is not whole")

    def websocket(self, host: str = "app.localhost") -> ClientConnection:
        """Open a WebSocket, and have something echoed."""
        opened = connect(
            f"wss://{host}/",
            sock=socket.create_connection(("127.0.0.1", self.snickers.https), WITHIN),
            ssl=self.snickers.trust,
            server_hostname=host,
            compression=None,
            max_size=None,
            open_timeout=WITHIN,
        )
        self.addCleanup(opened.close)
        self.echo(opened)
        return opened

    def echo(self, opened: ClientConnection) -> None:
        """Have something echoed."""
        opened.send("still there?")
        self.assertEqual(opened.recv(WITHIN), "still there?")

    def state(self, host: str) -> Any:
        """Return the line of *host* in ``status``."""
        return self.snickers.asked("status", host)


class ReloadTests(LiveCase):
    """What differs is applied, and nobody else notices."""

    def test_other_sites(self) -> None:
        """A site is added, changed, broken, mended and removed, and a setting changed: downloads
        from a folder and from an application, a WebSocket and a connection kept for later go on
        as if nothing had happened."""
        running = [self.download(host) for host in ("files.localhost", "app.localhost")]
        opened = self.websocket()
        kept = self.snickers.connect("files.localhost")
        self.addCleanup(kept.close)
        self.assertEqual(ask(kept, "files.localhost").read(), b"a folder")
        server = self.state("app.localhost")["id"]
        others = [
            (FILES + APP + OTHER, ("added", ["other.localhost"])),
            (FILES + APP + OTHER + "also = more.localhost\n", ("changed", ["other.localhost"])),
            (FILES + APP + OTHER.replace("root", "rot"), ("broken", ["other.localhost"])),
            (FILES + APP + OTHER, ("changed", ["other.localhost"])),
            (FILES + APP, ("removed", ["other.localhost"])),
            ("keep alive = 5m\n" + FILES + APP, ("settings", ["keep alive"])),
        ]
        for text, (what, names) in others:
            with_fault = what == "broken"
            self.snickers.write(text)
            plan = json.loads(self.snickers.command("plan", "--json").stdout)
            done = self.snickers.command("reload", "--json")
            self.assertEqual(done.returncode, int(with_fault), done.stderr)
            self.assertEqual(json.loads(done.stdout), plan)
            found = [
                entry if isinstance(entry, str) else entry.get("site", entry.get("option"))
                for entry in plan[what]
            ]
            self.assertEqual(found, names, plan)
            self.assertEqual([entry for entry in plan["changed"] if entry["closes"]], [])
            self.echo(opened)
            self.assertEqual(ask(kept, "files.localhost").read(), b"a folder")
            for answer in running:
                self.take(answer, STEP)
        self.assertEqual(self.state("app.localhost")["id"], server)
        for answer in running:
            self.finish(answer)
        self.echo(opened)

    def test_the_same_site(self) -> None:
        """A site's own downloads and WebSockets outlive a change that needs no other server."""
        running = [self.download(host) for host in ("files.localhost", "app.localhost")]
        opened = self.websocket()
        server = self.state("app.localhost")["id"]
        done = self.snickers.reload(
            FILES + "listing = on\n" + APP + "also = alias.localhost\nidle after = 1h\nhold = 1s\n"
        )
        self.assertEqual([entry["closes"] for entry in done["changed"]], [0, 0])
        self.assertIn(server.encode(), self.snickers.get("alias.localhost")[1])
        self.echo(opened)
        for answer in running:
            self.finish(answer)
        self.echo(opened)

    def test_another_server(self) -> None:
        """A change that needs another server lets the old one's visitors finish, for `drain
        within`; who comes meanwhile waits, and is answered by the new one."""
        text = FILES + APP + "drain within = 500ms\n"
        self.snickers.reload(text)
        opened = self.websocket()
        before = self.snickers.get("app.localhost")[1]
        done = self.snickers.reload(text + "env.TITLE = new\n")
        self.assertEqual([entry["closes"] for entry in done["changed"]], [1])
        after = self.snickers.get("app.localhost")
        self.assertEqual((after[0], after[1][:4]), (200, b"new "))
        self.assertNotEqual(after[1].split()[-1], before.split()[-1])
        self.assertRaises(ConnectionClosed, opened.recv, WITHIN)

    def test_removed(self) -> None:
        """A removed site's download goes on; nobody new is let in."""
        running = self.download("files.localhost")
        done = self.snickers.reload(APP)
        self.assertEqual(
            done["removed"], [{"site": "files.localhost", "kind": "static", "closes": 1}]
        )
        refused = self.assertRaises(ssl.SSLError, self.snickers.connect, "files.localhost")
        self.assertIn("UNRECOGNIZED_NAME", str(refused))
        self.finish(running)

    def test_hangup(self) -> None:
        """SIGHUP reloads at once, and says so to the service manager."""
        running = self.download("files.localhost")
        self.snickers.write(FILES + APP + OTHER)
        self.snickers.signal(signal.SIGHUP, "RELOADING=1")
        self.snickers.told("READY=1")
        self.assertEqual(self.snickers.get("other.localhost"), (200, b"another folder"))
        self.finish(running)


class WatchTests(LiveCase):
    """Files are looked at without being asked to, and faults are told."""

    settings = SETTINGS.replace("never", "100ms") + "alarm command = sh -c 'cat > alarms'\n"

    def setUp(self) -> None:
        super().setUp()
        path = self.snickers.folder / "alarms"
        os.mkfifo(path)
        # For both ways, so that opening it waits for nobody and no writer's end is its end.
        self.alarms = os.fdopen(os.open(path, os.O_RDWR), "rb", buffering=0)
        self.addCleanup(self.alarms.close)

    def alarm(self) -> Any:
        """Wait for the next alarm."""
        self.assertTrue(select.select([self.alarms], [], [], WITHIN)[0], "no alarm came")
        return json.loads(self.alarms.readline())

    def test_saved(self) -> None:
        """A file that is saved is applied; one with a fault leaves its site as it was, a new
        site with one answers 503, and the owner is told of both, and when it is over."""
        self.snickers.write(FILES + OTHER + "[new.localhost]\n")
        self.snickers.told("RELOADING=1")
        self.snickers.told("READY=1")
        self.assertEqual(self.snickers.get("other.localhost"), (200, b"another folder"))
        self.assertEqual(self.alarm()["site"], "new.localhost")
        self.assertEqual(self.snickers.get("new.localhost")[0], 503)
        self.snickers.write(FILES + OTHER.replace("root", "rot") + "listing = on\n")
        self.snickers.told("READY=1")
        heard = {}
        for _ in range(2):
            alarm = self.alarm()
            heard[alarm["site"], alarm.get("cleared", False)] = alarm["message"]
        self.assertEqual(set(heard), {("new.localhost", True), ("other.localhost", False)})
        self.assertIn("sites.ini:", heard["other.localhost", False])
        self.assertIn("the nearest is 'root'", heard["other.localhost", False])
        # Its last good version.
        self.assertEqual(self.snickers.get("other.localhost"), (200, b"another folder"))
        self.assertIn("last good version", self.state("other.localhost")["detail"])


class WebSocketTests(LiveCase):
    """A personal server is used as long as a WebSocket to it is open."""

    def test_idle(self) -> None:
        """While a WebSocket is open, silent as it may be, its server is not put to sleep, as
        another one is that nobody uses; when it is closed, it is."""
        brief = "idle after = 1s\n"
        self.snickers.reload(APP + brief + APP.replace("app.", "unused.") + brief)
        opened = self.websocket()
        server = self.state("app.localhost")["id"]
        # The other one was used last and sleeps first.
        self.assertEqual(self.snickers.get("unused.localhost")[0], 200)
        self.snickers.until_asleep("unused.localhost")
        awake = self.state("app.localhost")
        self.assertEqual((awake["state"], awake["uses"], awake["id"]), ("awake", 1, server))
        self.echo(opened)
        opened.close()
        self.snickers.until_asleep("app.localhost")

    def test_large_messages(self) -> None:
        """Messages of some megabytes go both ways at once."""
        opened = self.websocket()
        message = BIG[: 3 * 1024 * 1024]
        for _ in range(3):
            opened.send(message)
        for _ in range(3):
            self.assertTrue(opened.recv(WITHIN) == message)

    def test_server_gone(self) -> None:
        """When its server is put to sleep by hand, a WebSocket ends."""
        self.snickers.reload(FILES + APP + "drain within = 100ms\n")
        opened = self.websocket()
        self.assertEqual(self.snickers.command("sleep", "app.localhost").returncode, 0)
        self.assertRaises(ConnectionClosed, opened.recv, WITHIN)
