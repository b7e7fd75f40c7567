"""From a bare checkout to a personal server in a container, as its owner and visitors meet it.

``./run`` from a copy of the checkout, a real Docker engine, curl and a browser: nothing here
knows of Snickers' insides.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests import docker_setup
from tests.browser import MISSING, Browser

HERE = Path(__file__).parent.parent
BIG = 192 * 1024 * 1024
"""Bytes of the large download: at `RATE` it outlives the changes made meanwhile."""
RATE = "24M"
WITHIN = 600
"""Seconds for any one step; ``./run`` installs from the network in the first one."""

CONFIGURATION = """
[snickers]
https = tcp:{https}:interface=127.0.0.1
http = tcp:{http}:interface=127.0.0.1
state = state
data = data
reload every = 250ms
docker = {docker}

[defaults]
idle after = 2s

[{box}]
type = container
image = {image}
memory = 64m
data = /data
hold = 180s
wake within = 180s
env.TITLE = the title of {{host}}
"""

SECOND = """
[second.localhost]
type = static
root = second
"""

SERVE = (
    'mkdir -p /www; echo "<title>$TITLE</title><p id=visits>" > /www/index.html;'
    " echo visit >> /data/visits; cat /data/visits >> /www/index.html;"
    f" truncate -s {BIG} /www/big; exec httpd -f -p 80 -h /www"
)


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def clean_copy(folder: Path) -> None:
    """Copy what git knows, and what it would, to *folder*: a bare checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=HERE,
        check=True,
        capture_output=True,
    )
    for name in listed.stdout.decode().split("\0"):
        source = HERE / name
        if name and source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


class EndToEndTests(SynchronousTestCase):
    """One personal server's day."""

    def setUp(self) -> None:
        if MISSING:
            raise SkipTest(MISSING)
        if shutil.which("git") is None or not (HERE / ".git").exists():
            raise SkipTest("a bare checkout is made by git, which is missing here")
        docker = docker_setup.docker_url()
        self.image = f"snickers-test-{secrets.token_hex(4)}:latest"
        docker_setup.make_image(self.image, f"CMD {json.dumps(['sh', '-c', SERVE])}")
        self.addCleanup(docker_setup.remove_image, self.image)
        # Outside the checkout, whose untracked files would be copied again and again.
        self.folder = Path(tempfile.mkdtemp(prefix="snickers-end-to-end-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.checkout = self.folder / "a checkout"
        clean_copy(self.checkout)
        self.https, self.http = free_port(), free_port()
        # One Docker may serve several runs of this test.
        self.box = f"box-{secrets.token_hex(4)}.localhost"
        self.said: list[str] = []
        self.ini = self.folder / "sites.ini"
        self.ini.write_text(
            CONFIGURATION.format(
                https=self.https,
                http=self.http,
                docker=docker,
                image=self.image,
                box=self.box,
            )
        )
        (self.folder / "second").mkdir()
        (self.folder / "second" / "index.html").write_text("<p id=second>the second site</p>")
        self.ca = self.folder / "state" / "internal" / "ca.pem"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start ``./run``, wait for its welcome, end it in the end."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        process = subprocess.Popen(
            [self.checkout / "run", "--config", self.ini],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env=environment,
            text=True,
        )
        said = self.said
        try:
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                if "curl --cacert" in line:
                    break
            else:
                self.fail("".join(said))
            self.welcome = "".join(said)
            # What is said must be read on, or the other side would wait for room.
            reader = Thread(target=lambda: said.extend(process.stdout or ()), daemon=True)
            reader.start()
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(WITHIN)
        reader.join(WITHIN)
        self.assertEqual(status, 0, "".join(said))
        self.assertNotIn("Traceback", "".join(said))

    def curl(self, url: str, *arguments: str) -> str:
        """Return what curl prints for *url*, trusting only Snickers' own authority."""
        return subprocess.run(
            self.curl_command(url, *arguments),
            check=True,
            capture_output=True,
            text=True,
            timeout=WITHIN,
        ).stdout

    def curl_command(self, url: str, *arguments: str) -> list[str]:
        resolve = []
        for host in (self.box, "second.localhost"):
            for port in (self.https, self.http):
                resolve += ["--resolve", f"{host}:{port}:127.0.0.1"]
        flags = ["--silent", "--show-error", "--fail", "--cacert", str(self.ca)]
        return ["curl", *flags, *resolve, *arguments, url]

    def snickers(self, *arguments: str) -> str:
        """Run the command that was installed by ``./run``; return what it prints."""
        return subprocess.run(
            [self.checkout / ".venv/bin/snickers", "--config", self.ini, *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=WITHIN,
        ).stdout

    def state(self, host: str) -> dict[str, Any]:
        """Return the line of *host* in ``status``."""
        status = json.loads(self.snickers("status", "--json"))
        return {site["site"]: site for site in status["sites"]}[host]

    def wait_for_end(self, container: str) -> None:
        """Wait until Docker says that *container* has ended, or has ended before."""
        wanted = {"event": "die", "container": container}
        events = docker_setup.client().events(since=1, decode=True, filters=wanted)
        try:
            next(events)
        finally:
            events.close()

    def test_a_personal_server(self) -> None:
        """Installed and started by one command; woken, asleep and awake again; a second site
        added while a large download runs through the first; both served at the end."""
        box = f"https://{self.box}:{self.https}"
        with self.running():
            self.addCleanup(self.remove_container)
            self.assertIn(f"{box}/", self.welcome)
            self.assertIn(str(self.ca), self.welcome)

            # Asleep, woken by curl, served.
            # Or away: Docker may not have answered yet.
            self.assertIn(self.state(self.box)["state"], ("asleep", "away"))
            page = self.curl(f"{box}/")
            self.assertIn(f"<title>the title of {self.box}</title>", page)
            self.assertEqual(page.count("\nvisit"), 1)
            awake = self.state(self.box)
            self.assertEqual(awake["state"], "awake")
            self.assertTrue(awake["id"])

            # Asleep again by itself, woken by a browser, with its data.
            inspected = docker_setup.client().inspect_container(awake["id"])
            started = inspected["State"]["StartedAt"]
            self.assertEqual(inspected["HostConfig"]["Memory"], 64 * 1024 * 1024)
            self.wait_for_end(inspected["Id"])
            browser = Browser(self.folder / "browser", self.ca)
            document = browser.page(f"{box}/")
            self.assertIn(f"<title>the title of {self.box}</title>", document)
            self.assertEqual(document.count("visit\n"), 2, document)
            inspected = docker_setup.client().inspect_container(self.state(self.box)["id"])
            self.assertNotEqual(inspected["State"]["StartedAt"], started)

            # A second site while a large download runs.
            target = self.folder / "big"
            download = subprocess.Popen(
                self.curl_command(f"{box}/big", "--limit-rate", RATE, "--output", str(target)),
                stderr=subprocess.PIPE,
            )
            self.addCleanup(download.kill)
            before = self.ini.read_text()
            self.ini.write_text(before + SECOND)
            reload = json.loads(self.snickers("reload", "--json"))
            self.assertEqual(reload["faults"], [])
            self.assertIn("the second site", self.curl(f"https://second.localhost:{self.https}/"))
            self.ini.write_text(before + SECOND.replace("root", "rot"))
            refused = subprocess.run(
                [self.checkout / ".venv/bin/snickers", "--config", self.ini, "reload"],
                capture_output=True,
                text=True,
                timeout=WITHIN,
                check=False,
            )
            self.assertEqual(refused.returncode, 1)
            self.assertIn("'root'", refused.stdout + refused.stderr)
            # Its last good version is served.
            self.assertIn("the second site", self.curl(f"https://second.localhost:{self.https}/"))
            self.ini.write_text(before + SECOND)
            self.snickers("reload")
            self.assertIsNone(download.poll(), self.story(download))
            download.wait(WITHIN)
            self.assertEqual(download.returncode, 0, self.story(download))
            self.assertEqual(target.stat().st_size, BIG)

            # Both served, in the browser, too; plain http leads to https.
            self.assertIn("the title of", self.curl(f"{box}/"))
            self.assertIn(
                "the second site", browser.page(f"https://second.localhost:{self.https}/")
            )
            plain = self.curl(
                f"http://second.localhost:{self.http}/x?y", "--dump-header", "-", "--no-fail"
            )
            self.assertIn(f"ocation: https://second.localhost:{self.https}/x?y", plain)

            # By hand.
            self.snickers("sleep", self.box)
            self.assertEqual(self.state(self.box)["state"], "asleep")
            # From here on it is not to fall asleep by itself, however long the end takes.
            self.ini.write_text(self.ini.read_text().replace("after = 2s", "after = 1h"))
            self.snickers("reload")
            self.snickers("wake", self.box)
            self.assertEqual(self.state(self.box)["state"], "awake")

        # Snickers has ended, the container runs on, and is found again by the next one.
        container = docker_setup.client().inspect_container(f"snickers-{self.box}")
        self.assertTrue(container["State"]["Running"])
        with self.running():
            self.assertIn("the title of", self.curl(f"{box}/"))
            self.assertEqual(self.state(self.box)["id"][:12], container["Id"][:12])

    def story(self, download: subprocess.Popen[bytes]) -> str:
        """Say what became of the download, and what Snickers had to say meanwhile."""
        assert download.stderr is not None
        if download.poll() is None:
            return ""
        said = download.stderr.read().decode()
        return f"curl: {download.returncode} {said}\n{''.join(self.said)}"

    def remove_container(self) -> None:
        """Leave nothing of the test in Docker."""
        client = docker_setup.client()
        for container in client.containers(all=True, filters={"name": f"snickers-{self.box}"}):
            client.remove_container(container["Id"], force=True, v=True)
        for network in client.networks(filters={"label": f"io.snickers.site={self.box}"}):
            client.remove_network(network["Id"])
