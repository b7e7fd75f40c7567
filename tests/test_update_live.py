"""Fifty updates of a container under load, half of them bad: no request fails.

A real Snickers, a real Docker, and clients that never stop asking: on kept connections, on new
ones, with bodies. Half of the updates are changed sections and newer images that work; the others
crash, hang, or fail their check, and the server before must come back while the clients wait.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
import threading
import time
from itertools import cycle
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from snickers.containers.engine import owner_of
from tests import docker_setup
from tests.live_setup import Snickers

UPDATES = 50
WITHIN = 60.0
"""Seconds for one update, the way back included."""

SETTINGS = """
[snickers]
https = tcp:443
http = tcp:80
state = state
data = data
reload every = never
docker = {docker}
"""
SITE = r"""
[box.localhost]
type = container
image = {image}
pull = never
health = /up
wake within = 12s
drain within = 5s
stop within = 1s
hold = 60s
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


class UpdateTests(SynchronousTestCase):
    def setUp(self) -> None:
        url = docker_setup.docker_url()
        self.image = f"snickers-test:update-{docker_setup.RUN}"
        docker_setup.make_image(self.image)
        self.addCleanup(docker_setup.remove_image, self.image)
        self.snickers = Snickers(self, self.site(0), SETTINGS.format(docker=url))
        state = str(self.snickers.folder / "state")
        self.addCleanup(docker_setup.remove_all, owner_of(state))
        self.addCleanup(self.snickers.kill)

    def site(self, version: int, command: str = SERVE) -> str:
        return SITE.format(image=self.image, version=f"v{version}", command=command)

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
            folder = os.open(self.snickers.folder / "state", os.O_PATH)
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

    def test_no_request_fails(self) -> None:
        """Over fifty updates every request is answered, and only by servers that have proven
        themselves; after each bad one the server before serves, and an alarm says why."""
        snickers = self.snickers
        self.assertEqual(self.now(), "v0")
        clients = [
            Client(snickers, method, keeps)
            for method, keeps in (("GET", True), ("GET", False), ("POST", True))
        ]
        for client in clients:
            client.start()
        # Those that are found out at once come more often than those that take their time.
        quick, slow = ("crashes", "cannot be started"), ("hangs", "fails its check")
        bad = cycle([*quick, slow[0], *quick, slow[1]])
        good = 0
        for number in range(1, UPDATES + 1):
            if number % 2:
                before = snickers.log.read_text().count("serves again")
                what = next(bad)
                self.reload(self.site(number, BAD[what]))
                self.until(
                    lambda before=before: snickers.log.read_text().count("serves again") > before,
                    f"v{number} {what}, and nobody comes back",
                )
                self.until(lambda good=good: self.now() == f"v{good}", f"v{good} does not serve")
                alarms = self.ask("GET", "/status")["alarms"]
                self.assertEqual([alarm["kind"] for alarm in alarms], ["update"], what)
                continue
            good = number
            self.reload(self.site(good))
            self.until(lambda good=good: self.now() == f"v{good}", f"v{good} does not serve")
            if number % 8 == 0:
                # A newer image of the same name.
                id = self.ask("GET", "/sites/box.localhost")["id"]
                docker_setup.make_image(self.image, f"LABEL release={number}")
                done = snickers.command("update", "box.localhost")
                self.assertEqual(done.returncode, 0, (done.stdout, done.stderr))
                self.assertNotEqual(self.ask("GET", "/sites/box.localhost")["id"], id)
            self.assertEqual(self.ask("GET", "/status")["alarms"], [])
        for client in clients:
            client.over.set()
        for client in clients:
            client.join(WITHIN)
            self.assertEqual(client.failed, [])
            self.assertGreater(client.answers, UPDATES)
            self.assertLess(client.longest, 12.0)
            self.assertTrue(all(int(v[1:]) % 2 == 0 for v in client.versions), client.versions)
        # Going back by hand, too; and there is no more to go back to.
        done = snickers.command("rollback", "box.localhost")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = snickers.command("rollback", "box.localhost")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("no server before", done.stderr)
