"""More than fifty updates of containers under load, half of them bad: no request fails.

A real Snickers, a real Docker, and clients that never stop asking: on kept connections, on new
ones, with bodies. Half of the updates are changed sections and newer images that work; the others
crash, hang, or fail their check. With ``swap`` the server before must come back while the clients
wait, with its data as it was where that is asked for; with ``parallel`` nobody must notice at all.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import threading
import time
from itertools import cycle
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import recipe
from snickers.containers.engine import owner_of
from snickers.containers.inspected import OWNED
from tests import docker_setup
from tests.live_setup import Snickers

SWAPS = 24
BESIDE = 22
TAKEN_BACK = ("crashes", "fails its check", "crashes")
"""Updates of each kind: more than fifty together."""
WITHIN = 180.0
"""Seconds for one update, the way back included."""

SETTINGS = """
[snickers]
https = tcp:443
http = tcp:80
state = state
data = {folder}/data
reload every = never
docker = {docker}
workers = {workers}
"""
SITE = r"""
[box.localhost]
type = container
image = {image}
pull = never
health = /up
wake within = {within}s
drain within = {drain}s
stop within = 1s
hold = 180s
update = {update}
{more}
env.VERSION = {version}
env.HEAD = Content-Type: text/plain\r\n\r\n
command = {command}
"""
SERVE = (
    "sh -c 'mkdir -p /www/cgi-bin; touch /www/up; echo $VERSION > /www/index.html;"
    ' post=/www/cgi-bin/post; echo "#!/bin/sh" > $post; echo "cat > /dev/null" >> $post;'
    ' echo "printf \\"$HEAD\\"" >> $post; echo echo $VERSION >> $post; chmod +x $post;'
    " exec httpd -f -p 80 -h /www'"
)
BAD = {
    "crashes": "sh -c 'sleep 0.2; exit 3'",
    "hangs": "sleep 1000",
    "fails its check": "sh -c 'mkdir -p /www; exec httpd -f -p 80 -h /www'",
    "cannot be started": "/nowhere/to/be/found",
}


TALK = r"""#!/bin/sh
CR=$(printf "\r"); talks=
read -r line
while [ "$line" != "$CR" ]; do
    case $line in [Uu]pgrade:*) talks=1;; esac
    read -r line || exit
done
if [ $talks ]; then
    printf "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    printf "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    exec cat
fi
printf "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n$VERSION"
"""
"""A server of a few lines: it says its version, or sends back what comes over a WebSocket
(RFC 6455 §1.3: the key of its example is the only one it knows)."""
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Client(threading.Thread):
    """Asks without end, by *method*; keeps its connection or makes a new one each time."""

    def __init__(self, snickers: Snickers, method: str, keeps: bool) -> None:
        super().__init__(daemon=True)
        self.snickers = snickers
        self.trust = snickers.trust
        self.method = method
        self.keeps = keeps
        self.over = threading.Event()
        self.answers = 0
        self.failed: list[str] = []
        self.longest = 0.0
        self.versions: set[str] = set()

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self.over.is_set():
            began = time.monotonic()
            try:
                if connection is None:
                    connection = _Connection(self.snickers.https, self.trust)
                if self.method == "GET":
                    connection.request("GET", "/")
                else:
                    connection.request("POST", "/cgi-bin/post", body=b"x" * 2000)
                answer = connection.getresponse()
                body = answer.read().decode().strip()
                if answer.status == 200 and re.fullmatch(r"v\d+", body):
                    self.answers += 1
                    self.versions.add(body)
                else:
                    self.failed.append(f"{self.method}: {answer.status} {body[:200]}")
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{self.method}: {error!r}")
                connection = None
            self.longest = max(self.longest, time.monotonic() - began)
            if not self.keeps and connection is not None:
                connection.close()
                connection = None
            time.sleep(0.01)


class _Connection(http.client.HTTPSConnection):
    """To the site, wherever its name leads."""

    def __init__(self, port: int, trust: ssl.SSLContext) -> None:
        super().__init__("127.0.0.1", port, timeout=WITHIN, context=trust)
        self._trust = trust

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._trust.wrap_socket(self.sock, server_hostname="box.localhost")

    def putheader(self, header: str | bytes, *values: Any) -> None:
        if header == "Host":
            values = ("box.localhost",)
        super().putheader(header, *values)


class UpdateCase(SynchronousTestCase):
    """A site of one container, and those who ask for it."""

    workers = 1
    update = "swap"
    within = 12
    drain = 5
    more = ""

    def setUp(self) -> None:
        url = docker_setup.docker_url()
        self.image = f"snickers-test:update-{docker_setup.RUN}"
        docker_setup.make_image(self.image)
        self.addCleanup(docker_setup.remove_image, self.image)
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "state").mkdir(parents=True)
        self.settings = SETTINGS.format(docker=url, workers=self.workers, folder=self.folder)
        self.owner = owner_of(str(self.folder / "state"))
        self.prepare()
        self.addCleanup(docker_setup.remove_all, self.owner)
        self.snickers = self.begin(self.site(0))

    def prepare(self) -> None:
        """Make what must be there before Snickers is."""

    def begin(self, text: str) -> Snickers:
        """Return a Snickers that has just been started."""
        state = self.folder / "state"
        snickers = Snickers(
            self,
            text,
            self.settings,
            prepare=lambda folder: (folder / "state").symlink_to(state),
        )
        self.addCleanup(snickers.kill)
        return snickers

    def site(self, version: int, command: str = SERVE) -> str:
        return SITE.format(
            image=self.image,
            version=f"v{version}",
            command=command,
            update=self.update,
            within=self.within,
            drain=self.drain,
            more=self.more,
        )

    def until(self, holds: Any, words: str) -> None:
        deadline = time.monotonic() + WITHIN
        while not holds():
            assert time.monotonic() < deadline, (words, self.snickers.log.read_text()[-3000:])
            time.sleep(0.05)

    def ask(self, method: str, path: str) -> Any:
        """Ask over the control socket, as the command does but without starting it each time."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(WITHIN)
            # The folder's name may be too long for a socket's.
            folder = os.open(self.folder / "state", os.O_PATH)
            control.connect(f"/proc/self/fd/{folder}/control.sock")
            os.close(folder)
            control.sendall(f"{method} {path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n".encode())
            answer = http.client.HTTPResponse(control)
            answer.begin()
            body = answer.read().decode()
            self.assertEqual(answer.status, 200, body)
            return json.loads(body.splitlines()[-1])

    def reload(self, text: str) -> None:
        self.snickers.write(text)
        self.assertEqual(self.ask("POST", "/reload")["faults"], [])

    def now(self) -> str:
        status, body = self.snickers.get("box.localhost")
        return body.decode().strip() if status == 200 else str(status)

    def visit(self, version: str) -> None:
        """Have somebody ask again and again, as long as *version* answers."""

        def ask() -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                while self.now() == version:
                    pass

        visitor = threading.Thread(target=ask)
        visitor.start()
        self.addCleanup(visitor.join, WITHIN)

    def clients(self) -> list[Client]:
        clients = [
            Client(self.snickers, method, keeps)
            for method, keeps in (("GET", True), ("GET", False), ("POST", True))
        ]
        for client in clients:
            client.start()
            self.addCleanup(client.over.set)
        return clients

    def bad(self, number: int, what: str, good: int, said: str, command: str = "") -> None:
        """Have a section hold that is bad; go on when the server before is known to serve."""
        before = self.snickers.log.read_text().count(said)
        self.reload(self.site(number, command or BAD[what]))
        self.until(
            lambda: self.snickers.log.read_text().count(said) > before,
            f"v{number} {what}, and nobody notices",
        )
        self.until(lambda: self.now() == f"v{good}", f"v{good} does not serve")
        alarms = self.ask("GET", "/status")["alarms"]
        self.assertEqual([alarm["kind"] for alarm in alarms], ["update"], what)

    def updates(self, count: int, said: str) -> list[Client]:
        """So many updates, every other one bad: then *said* is in the log."""
        self.assertEqual(self.now(), "v0")
        clients = self.clients()
        # Those that are found out at once come more often than those that take their time.
        quick, slow = ("crashes", "cannot be started"), ("hangs", "fails its check")
        bad = cycle([*quick, slow[0], *quick, slow[1]])
        good = 0
        for number in range(1, count + 1):
            if number % 2:
                self.bad(number, next(bad), good, said)
                continue
            good = number
            self.reload(self.site(good))
            self.until(lambda good=good: self.now() == f"v{good}", f"v{good} does not serve")
            if number % 8 == 0:
                # A newer image of the same name.
                id = self.ask("GET", "/sites/box.localhost")["id"]
                docker_setup.make_image(self.image, f"LABEL release={number}")
                done = self.snickers.command("update", "box.localhost")
                self.assertEqual(done.returncode, 0, (done.stdout, done.stderr))
                self.assertNotEqual(self.ask("GET", "/sites/box.localhost")["id"], id)
            self.assertEqual(self.ask("GET", "/status")["alarms"], [])
        for client in clients:
            client.over.set()
        for client in clients:
            client.join(WITHIN)
            self.assertEqual(client.failed, [])
            self.assertGreater(client.answers, count)
            self.assertTrue(all(int(v[1:]) % 2 == 0 for v in client.versions), client.versions)
        return clients

    def running(self) -> int:
        """Return how many containers run."""
        ours = {"label": f"{recipe.OWNER}={self.owner}"}
        return len(docker_setup.client().containers(filters=ours))

    def goes_back(self) -> None:
        """Going back by hand goes well, once."""
        done = self.snickers.command("rollback", "box.localhost")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.snickers.command("rollback", "box.localhost")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("no server before", done.stderr)


class SwapTests(UpdateCase):
    """``update = swap``."""

    def test_no_request_fails(self) -> None:
        """Every request is answered, and only by servers that have proven themselves; after each
        bad update the server before serves, and an alarm says why."""
        for client in self.updates(SWAPS, "serves again"):
            self.assertLess(client.longest, 30.0)
        self.goes_back()


class ParallelTests(UpdateCase):
    """``update = parallel``."""

    update = "parallel"
    within = 4

    def test_no_request_fails(self) -> None:
        """Every request is answered without a wait, and only by servers that have proven
        themselves; a bad update is not noticed, and an alarm says why. In the end one runs."""
        for client in self.updates(BESIDE, "goes on serving"):
            self.assertLess(client.longest, self.within)
        self.until(lambda: self.running() == 1, "more than one is left")
        self.goes_back()


class TalkTests(UpdateCase):
    """A WebSocket over a switch, whichever process carries it."""

    workers = 2
    update = "parallel"
    drain = 60
    more = "data = /data"

    def prepare(self) -> None:
        data = self.folder / "data" / "box.localhost"
        data.mkdir(parents=True)
        (data / "talk").write_text(TALK)
        (data / "talk").chmod(0o755)

    def site(self, version: int, command: str = "nc -ll -p 80 -e /data/talk") -> str:
        return super().site(version, command)

    def talk(self) -> ssl.SSLSocket:
        """Return a WebSocket, behind its 101."""
        plain = socket.create_connection(("127.0.0.1", self.snickers.https), timeout=WITHIN)
        talking = self.snickers.trust.wrap_socket(plain, server_hostname="box.localhost")
        self.addCleanup(talking.close)
        talking.sendall(
            f"GET / HTTP/1.1\r\nHost: box.localhost\r\nUpgrade: websocket\r\nConnection: Upgrade"
            f"\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += talking.recv(1)
        self.assertIn(b" 101 ", head.splitlines()[0])
        return talking

    def echo(self, talking: ssl.SSLSocket, said: bytes) -> None:
        talking.sendall(said)
        heard = b""
        while len(heard) < len(said):
            more = talking.recv(len(said))
            self.assertTrue(more, "It was closed.")
            heard += more
        self.assertEqual(heard, said)

    def test_kept(self) -> None:
        """It stays with the server that it began with, in both directions, while requests go to
        the next one; when it closes, the old one ends, and the next change goes on."""
        self.assertEqual(self.now(), "v0")
        talking = self.talk()
        self.echo(talking, b"before")
        self.reload(self.site(1))
        self.until(lambda: self.now() == "v1", "v1 does not serve")
        self.assertEqual(self.running(), 2)
        for _ in range(20):
            self.echo(talking, os.urandom(1000))
            self.assertEqual(self.now(), "v1")
        other = self.talk()
        # A third one waits until the first has gone.
        self.reload(self.site(2))
        self.echo(talking, b"still there")
        self.assertEqual((self.running(), self.now()), (2, "v1"))
        talking.close()
        self.until(lambda: self.now() == "v2", "v2 does not serve")
        self.echo(other, b"there, too")
        other.close()
        self.until(lambda: self.running() == 1, "more than one is left")
        self.assertEqual(self.now(), "v2")


class KilledTests(TalkTests):
    """The end of Snickers while two servers run."""

    # Which the next one allows those who may use the old one still: it does not know of them.
    drain = 20

    def test_kept(self) -> None:
        """The next Snickers serves from the newer one, which has proven itself, and ends the
        other."""
        self.assertEqual(self.now(), "v0")
        talking = self.talk()
        self.reload(self.site(1))
        self.until(lambda: self.now() == "v1", "v1 does not serve")
        self.echo(talking, b"two servers")
        self.assertEqual(self.running(), 2)
        # That it has proven itself is told by its name, which Docker may take a moment to change.
        self.until(self.is_named, "the one that serves has not the site's name")
        self.snickers.kill()
        self.assertEqual(self.running(), 2)
        self.snickers = self.begin(self.site(1))
        self.assertEqual(self.now(), "v1")
        self.until(lambda: self.running() == 1, "more than one is left")
        self.assertEqual(self.now(), "v1")

    def is_named(self) -> bool:
        """Say whether the container that serves has the site's name."""
        id = self.ask("GET", "/sites/box.localhost")["id"]
        name = docker_setup.client().inspect_container(id)["Name"].removeprefix("/")
        plain = recipe.name("box.localhost")
        return name == plain or name.startswith(plain + OWNED)


class TakenBackTests(UpdateCase):
    """``copy before update``."""

    within = 30  # Half of it for the trial, the rest for the copy and the way back.
    more = "copy before update = on\ndata = /data"

    def contents(self) -> dict[str, tuple[int, int, bytes]]:
        """Return all that there is in the site's folder: owner, mode and content."""
        root = self.folder / "data" / "box.localhost"
        found = {}
        for path in sorted(root.rglob("*")):
            known = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(root))] = (known.st_uid, known.st_mode, content)
        return found

    def test_taken_back(self) -> None:
        """What a server that fails has done to the data is undone byte for byte before the one
        before serves again; no request fails, and what it has done is kept as a copy."""
        self.assertEqual(self.now(), "v0")
        data = self.folder / "data" / "box.localhost"
        (data / "deep").mkdir()
        (data / "deep" / "file").write_bytes(os.urandom(100_000))
        (data / "private").write_bytes(b"secret")
        (data / "private").chmod(0o600)
        before = self.contents()
        harm = (
            "echo harm > /data/private; echo harm > /data/deep/file; chmod 777 /data/deep; "
            "mkdir /data/new; echo new > /data/new/file; "
        )
        clients = self.clients()
        for number, what in enumerate(TAKEN_BACK, 1):
            command = BAD[what].replace("sh -c '", f"sh -c '{harm}", 1)
            self.bad(number, what, 0, "serves again", command)
            self.assertEqual(self.contents(), before, what)
        for client in clients:
            client.over.set()
        for client in clients:
            client.join(WITHIN)
            self.assertEqual((client.failed, client.versions), ([], {"v0"}))
        self.until(
            lambda: any(
                copy["why"] == "left by an update that failed"
                for copy in self.ask("GET", "/sites/box.localhost/snapshots")["copies"]
            ),
            "what was undone is not kept",
        )


class KilledInTrialTests(TakenBackTests):
    """The end of Snickers while another server is tried."""

    def test_taken_back(self) -> None:
        """The next Snickers goes on with the trial: what the newcomer has done to the data is
        undone, the server before serves, and the way back from that is as it was."""
        self.assertEqual(self.now(), "v0")
        data = self.folder / "data" / "box.localhost"
        (data / "private").write_bytes(b"secret")
        self.reload(self.site(1))
        self.until(lambda: self.now() == "v1", "v1 does not serve")
        before = self.contents()
        hangs = BAD["hangs"]
        bad = self.site(2, f"sh -c 'echo harm > /data/private; {hangs}'")
        self.reload(bad)
        # Else it would be asleep after the stop, and nothing tried before somebody comes.
        self.visit("v1")
        self.until(lambda: (data / "private").read_bytes() == b"harm\n", "v2 was not started")
        self.snickers.kill()
        self.assertEqual(self.running(), 1)
        self.snickers = self.begin(bad)
        self.until(lambda: self.now() == "v1", "v1 does not serve again")
        self.assertEqual(self.contents(), before)
        alarms = self.ask("GET", "/status")["alarms"]
        self.assertEqual([alarm["kind"] for alarm in alarms], ["update"])
