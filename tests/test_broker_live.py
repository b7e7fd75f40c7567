"""A real front without privileges, its broker, and a real Docker that the front cannot open."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.protocols import amp
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from snickers.brokerage import wire
from snickers.brokerage.broker import Broker
from snickers.brokerage.brokered import Line
from snickers.brokerage.guarded import loose
from snickers.brokerage.ledger import Ledger
from snickers.config.parse import load
from snickers.config.values import Configuration, Container, Settings, Site
from snickers.containers.engine import fingerprint, owner_of
from snickers.interfaces.engine import Declared
from snickers.workers.wire import Only
from tests import docker_setup
from tests.engine_contract import engine_contract
from tests.live_setup import WITHIN, Snickers, until
from tests.test_brokered import Front
from tests.test_compose import tool
from tests.test_docker import DockerFixture

NOBODY = 65534
"""The user, and the group, that the front becomes."""

SETTINGS = """
[snickers]
https = tcp:443
http = tcp:80
state = state
data = data
reload every = never
workers = 2
docker broker = on
docker = {docker}
[defaults]
network = {network}
image = {image}
pull = never
"""
SITE = """
[{host}]
type = container
command = sh -c 'mkdir -p /www; echo {host} > /www/index.html; echo "says hello"; \
exec httpd -f -vv -p 80 -h /www'
data = /data
snapshot = touch /data/snapshot
"""
SERVICES = """
services:
  web:
    image: {image}
    depends_on: [db]
    command:
      - sh
      - -c
      - |
        mkdir /www
        until printf 'GET /goods HTTP/1.0\\r\\n\\r\\n' | nc db 5432 | grep from > /www/index.html
        do true; done
        exec httpd -f -p 80 -h /www
  db:
    image: {image}
    volumes: ["./db:/srv"]
    command: sh -c 'echo from the database > /srv/goods; exec httpd -f -p 5432 -h /srv'
"""
BOX = SITE.format(host="box.localhost")


def reachable(path: str) -> bool:
    """Say whether anybody can read *path*."""
    path = os.path.realpath(path)
    return all(
        os.stat(folder).st_mode & stat.S_IXOTH for folder in (path, *map(str, Path(path).parents))
    )


def anybodys_python() -> str:
    """Return a Python that anybody may run, of this version, or skip the test."""
    version = ".".join(map(str, sys.version_info[:2]))
    for python in (sys.executable, "/usr/bin/python3", f"/usr/local/bin/python{version}"):
        if os.path.exists(python) and reachable(python):
            said = subprocess.run([python, "-V"], capture_output=True, text=True, check=False)
            if f" {version}." in said.stdout:
                return python
    raise SkipTest("Python is where only root can read it, so nobody else can be a front.")


def brokers(parent: int) -> list[int]:
    """Return the brokers that the process *parent* has."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, father = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(father) == parent and state != "Z" and b"snickers.broker" in line:
            found.append(int(folder.name))
    return found


class BrokeredDockerFixture(DockerFixture):
    """Docker, through a broker at the other end of a real pair of sockets."""

    def __init__(self, case: TestCase) -> None:
        super().__init__(case)
        self.files = Configuration(Settings())
        self.snapshot: tuple[str, ...] = ()
        self.ended: list[Deferred[None]] = []

    def engine(self) -> Any:
        front = Front(reactor, lambda: False)
        front.wants = self.wants
        ended: Deferred[None] = Deferred()
        self.ended.append(ended)
        broker = Broker(
            super().engine(),
            Ledger(self.files),
            lambda: self.files,
            deferToThread,
            loose,
            lambda call: reactor.callLater(0, call),
            lambda: ended.callback(None),
        )
        for sock, protocol in zip(socket.socketpair(), (broker, Line(front)), strict=True):
            with sock:
                sock.setblocking(False)
                reactor.adoptStreamConnection(sock.fileno(), socket.AF_UNIX, Only(protocol))
        self.engines[-1] = front
        return front

    def wants(self, declared: Declared) -> None:
        """Have the files declare this, and the command that is to be run."""
        kind = evolve(declared.kind, life=evolve(declared.kind.life, snapshot=self.snapshot))
        site = Site(declared.site, kind, data=declared.data)
        self.files = evolve(self.files, sites={**self.files.sites, site.name: site})

    def command(self, does: str) -> Sequence[str]:
        self.snapshot = tuple(super().command(does))
        for site in list(self.files.sites.values()):
            self.wants(Declared(site.name, site.kind, site.data))
        return self.snapshot

    async def end(self) -> None:
        await super().end()
        for ended in self.ended:
            await ended


class BrokeredDockerContract(engine_contract(BrokeredDockerFixture)):
    """With a broker in between Docker's engine keeps the contract of all engines."""


class Case(SynchronousTestCase):
    """A Docker, and a folder that anybody can read."""

    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("Only root has privileges to shed.")
        self.docker = docker_setup.docker_url()
        self.settings = SETTINGS.format(
            docker=self.docker, network=docker_setup.network(), image=docker_setup.image()
        )
        self.base = tempfile.mkdtemp(prefix="snickers-broker-")
        os.chmod(self.base, 0o755)
        self.addCleanup(shutil.rmtree, self.base)

    def mktemp(self) -> str:
        return os.path.join(self.base, "front")

    def prepare(self, folder: Path) -> None:
        """Make what the front keeps, its own."""
        state = folder / "state"
        state.mkdir()
        os.chown(state, NOBODY, NOBODY)
        self.addCleanup(docker_setup.remove_all, owner_of(str(state)))

    def containers(self) -> dict[str, Any]:
        """Return what Docker has of this Snickers, by site."""
        owner = owner_of(os.path.join(self.base, "front", "state"))
        found = docker_setup.client().containers(
            all=True, filters={"label": f"io.snickers.instance={owner}"}
        )
        return {c["Labels"]["io.snickers.site"]: c for c in found}


class BrokerLiveTests(Case):
    """A front that is nobody does all that one that is root does."""

    def start(self, text: str = BOX, user: int | None = NOBODY) -> Snickers:
        python = anybodys_python()
        packages = [path for path in sys.path if path.endswith("site-packages")]
        source = str(Path(wire.__file__).parents[2])
        if user is not None and not all(map(reachable, (*packages, source))):
            raise SkipTest("Snickers is installed where only root can read it.")
        self.patch(os, "environ", {**os.environ, "PYTHONPATH": ":".join([source, *packages])})
        options = [] if user is None else [f"--uid={user}", f"--gid={user}"]
        snickers = Snickers(self, text, self.settings, options, python, self.prepare)
        self.addCleanup(self.gone, snickers, brokers(snickers.process.pid))
        return snickers

    def gone(self, snickers: Snickers, found: list[int]) -> None:
        """Have no broker outlive its front."""
        snickers.kill()
        until(lambda: not any(map(_runs, found)), "the broker runs on without its front")

    def broker(self, snickers: Snickers) -> int:
        found: list[int] = until(lambda: brokers(snickers.process.pid), "there is no broker")
        self.assertEqual(len(found), 1)
        return found[0]

    def test_nobody(self) -> None:
        """The front is nobody and cannot open Docker's socket; it wakes, restarts, follows logs,
        reloads, and puts to sleep with a snapshot all the same."""
        snickers = self.start()
        said = Path(f"/proc/{snickers.process.pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
        self.assertEqual(set(fields["Uid"].split() + fields["Gid"].split()), {str(NOBODY)})
        self.assertEqual(int(fields["CapEff"], 16), 0)
        self.assertEqual(int(fields["CapPrm"], 16), 0)
        groups = [int(group) for group in fields["Groups"].split()]
        tried = subprocess.run(
            [
                *(sys.executable, "-c", CONNECT, self.docker.removeprefix("unix://")),
                *map(str, groups),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertIn("PermissionError", tried.stderr)
        self.assertNotIn("could open Docker's socket", snickers.log.read_text())
        self.assertEqual(os.stat(f"/proc/{self.broker(snickers)}").st_uid, 0)
        workers = until(lambda: snickers.asked("status")["workers"], "there is no worker")
        for worker in workers:
            self.assertEqual(os.stat(f"/proc/{worker['pid']}").st_uid, NOBODY)

        self.assertEqual(snickers.get("box.localhost"), (200, b"box.localhost\n"))
        folder = snickers.folder / "data" / "box.localhost"
        self.assertEqual(folder.stat().st_uid, 0)
        first = self.containers()["box.localhost"]
        self.assertEqual(snickers.command("restart", "box.localhost").returncode, 0)
        self.assertTrue((folder / "snapshot").exists())
        self.assertEqual(snickers.get("box.localhost"), (200, b"box.localhost\n"))
        self.assertEqual(self.containers()["box.localhost"]["Id"], first["Id"])

        logs: list[subprocess.CompletedProcess[str]] = []
        follower = threading.Thread(
            target=lambda: logs.append(snickers.command("logs", "box.localhost", "--follow"))
        )
        follower.start()
        done = snickers.reload(BOX + SITE.format(host="new.localhost"))
        self.assertEqual([entry["site"] for entry in done["added"]], ["new.localhost"])
        self.assertEqual(snickers.get("new.localhost"), (200, b"new.localhost\n"))
        changed = BOX.replace("echo box.localhost", "echo changed")
        snickers.reload(changed + SITE.format(host="new.localhost"))
        # Until the new one is prepared the old one serves.
        until(lambda: snickers.get("box.localhost") == (200, b"changed\n"), "it is not changed")
        follower.join(WITHIN)
        self.assertIn("says hello", logs[0].stdout)
        self.assertEqual(set(self.containers()), {"box.localhost"} | {"new.localhost"})

        self.assertEqual(snickers.command("sleep", "box.localhost").returncode, 0)
        self.assertEqual(self.containers()["box.localhost"]["State"], "exited")
        self.assertEqual(snickers.end(), 0, snickers.log.read_text())
        self.assertEqual(self.containers()["new.localhost"]["State"], "running")
        self.assertNotIn("Traceback", snickers.log.read_text())

    def test_services(self) -> None:
        """A site of several containers is run by the broker, which reads its file itself: not one
        that others can write to, and no folder that is theirs."""
        tool()
        path = Path(self.base) / "services.yaml"
        path.write_text(SERVICES.format(image=docker_setup.image()))
        text = f"[shop.localhost]\ntype = container\nservices = {path}\nservice = web\n"
        text += "hold = 3m\nwake within = 3m\n"
        snickers = self.start(text)
        self.assertEqual(snickers.get("shop.localhost"), (200, b"from the database\n"))
        self.assertEqual(snickers.asked("status")["alarms"], [])
        self.assertEqual(snickers.command("sleep", "shop.localhost").returncode, 0)
        path.chmod(0o666)
        path.write_text(path.read_text() + "# changed\n")
        snickers.reload(text)
        done = snickers.command("wake", "shop.localhost")
        self.assertEqual(done.returncode, 1)
        self.assertIn("is not what Snickers wants to start", done.stderr)
        path.chmod(0o644)
        # What has failed is tried again when it is asked for.
        done = snickers.command("wake", "shop.localhost")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_the_broker_is_killed(self) -> None:
        """Without a broker what runs is served on, and an alarm says what to do."""
        snickers = self.start()
        self.assertEqual(snickers.get("box.localhost")[0], 200)
        os.kill(self.broker(snickers), signal.SIGKILL)
        alarms = until(lambda: snickers.asked("status")["alarms"], "there is no alarm")
        self.assertIn("restart Snickers", alarms[0]["message"])
        self.assertEqual(snickers.get("box.localhost"), (200, b"box.localhost\n"))
        failed = snickers.command("restart", "box.localhost")
        self.assertEqual(failed.returncode, 1)
        self.assertIn("cannot be reached", failed.stderr)
        self.assertEqual(brokers(snickers.process.pid), [])
        self.assertEqual(snickers.get("box.localhost"), (200, b"box.localhost\n"))
        self.assertEqual(snickers.end(), 0)

    def test_the_broker_is_killed_and_replaced(self) -> None:
        """Where no privileges were shed another broker takes over at once."""
        snickers = self.start(user=None)
        self.assertIn("could open Docker's socket itself", snickers.log.read_text())
        self.assertEqual(snickers.get("box.localhost")[0], 200)
        first = self.broker(snickers)
        os.kill(first, signal.SIGKILL)
        until(lambda: brokers(snickers.process.pid) not in ([], [first]), "it is not replaced")
        done = until(
            lambda: snickers.command("restart", "box.localhost").returncode == 0, "no restart"
        )
        self.assertTrue(done)
        self.assertEqual(snickers.get("box.localhost"), (200, b"box.localhost\n"))
        self.assertEqual(snickers.asked("status")["alarms"], [])

    def test_the_front_is_killed(self) -> None:
        """Without its front the broker ends; servers run on, and the next front adopts them."""
        snickers = self.start()
        self.assertEqual(snickers.get("box.localhost")[0], 200)
        broker = self.broker(snickers)
        snickers.kill()
        until(lambda: not _runs(broker), "the broker runs on without its front")
        first = self.containers()["box.localhost"]
        self.assertEqual(first["State"], "running")
        shutil.move(snickers.folder, os.path.join(self.base, "before"))
        snickers = self.start()
        self.assertEqual(snickers.get("box.localhost"), (200, b"box.localhost\n"))
        self.assertEqual(self.containers()["box.localhost"]["Id"], first["Id"])

    def test_a_link_in_the_data(self) -> None:
        """A data folder that the front could have made is given to no container."""

        def prepare(folder: Path) -> None:
            Case.prepare(self, folder)
            (folder / "data").mkdir()
            os.chown(folder / "data", NOBODY, NOBODY)
            (folder / "data" / "box.localhost").symlink_to("/etc")

        self.patch(self, "prepare", prepare)
        snickers = self.start()
        failed = snickers.command("wake", "box.localhost")
        self.assertEqual(failed.returncode, 1)
        self.assertIn("chown root", failed.stderr)
        self.assertEqual(self.containers(), {})


CONNECT = """
import os, socket, sys
os.setgroups([int(group) for group in sys.argv[2:]])
os.setgid(65534)
os.setuid(65534)
socket.socket(socket.AF_UNIX).connect(sys.argv[1])
"""


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Stranger:
    """Somebody who speaks for the front."""

    def __init__(self, test: SynchronousTestCase, path: str) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(WITHIN)
        moved = theirs.fileno()
        command = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); "
            "os.execv(sys.executable, [sys.executable, '-m', 'snickers.broker', sys.argv[2]])"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", command, str(moved), path],
            pass_fds=[moved],
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        test.addCleanup(self.end)
        self.data = b""
        self.asked = 0

    def end(self) -> int:
        self.sock.close()
        return self.process.wait(WITHIN)

    def send(self, box: dict[bytes, bytes]) -> None:
        self.sock.sendall(amp.AmpBox(box).serialize())

    def boxes(self) -> Iterator[dict[bytes, bytes]]:
        """Return what the broker says, one after the other."""
        while True:
            box: dict[bytes, bytes] = {}
            while True:
                key = self.take(int.from_bytes(self.take(2), "big"))
                if not key:
                    break
                box[key] = self.take(int.from_bytes(self.take(2), "big"))
            yield box

    def take(self, size: int) -> bytes:
        while len(self.data) < size:
            data = self.sock.recv(65536)
            assert data, "the broker has hung up"
            self.data += data
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def ask(self, command: bytes, **values: object) -> dict[bytes, bytes]:
        """Ask and return the answer, or the error."""
        self.asked += 1
        number = b"%d" % self.asked
        said = {key.encode(): str(value).encode() for key, value in values.items()}
        self.send({b"_command": command, b"_ask": number, b"call": number, **said})
        return next(
            box for box in self.boxes() if number in (box.get(b"_answer"), box.get(b"_error"))
        )


PLAIN = {"fresh": False, "beside": "", "exact": ""}
"""What else belongs to a start."""


class StrangerTests(Case):
    """What a stranger can have who speaks for the front."""

    def setUp(self) -> None:
        super().setUp()
        folder = Path(self.mktemp())
        folder.mkdir()
        self.prepare(folder)
        self.path = folder / "sites.ini"
        self.path.write_text(self.settings + BOX)
        site = load(str(self.path)).configuration.sites["box.localhost"]
        assert isinstance(site.kind, Container)
        self.declared = Declared(site.name, site.kind, site.data)
        self.stranger = Stranger(self, str(self.path))
        self.stranger.send({b"_command": b"Watch"})

    def refused(self, command: bytes, **values: object) -> str:
        answer = self.stranger.ask(command, **values)
        self.assertIn(b"_error", answer, (command, values))
        return answer[b"_error_description"].decode()

    def start(self, **changes: Any) -> dict[bytes, bytes]:
        wanted = fingerprint(evolve(self.declared, kind=evolve(self.declared.kind, **changes)))
        return self.stranger.ask(b"Start", site="box.localhost", wanted=wanted, **PLAIN)

    def test_other_declarations(self) -> None:
        """Another image, command, mount, network or privilege is not to be had: what is not
        declared cannot be said, and what is expected otherwise is refused."""
        for changes in (
            {"image": "busybox"},
            {"command": ("sh", "-c", "id")},
            {"volumes": ("/:/host",)},
            {"network": "host"},
            {"capabilities": ("SYS_ADMIN",)},
            {"user": "0"},
        ):
            answer = self.start(**changes)
            self.assertIn(b"snickers reload", answer[b"_error_description"], changes)
        moved = fingerprint(evolve(self.declared, data="/"))
        self.refused(b"Start", site="box.localhost", wanted=moved, **PLAIN)
        self.refused(b"Start", site="other.localhost", wanted=fingerprint(self.declared), **PLAIN)
        self.assertEqual(self.containers(), {})
        # More words are no more.
        good = fingerprint(self.declared)
        answer = self.stranger.ask(
            b"Start",
            site="box.localhost",
            wanted=good,
            **{**PLAIN, "exact": "busybox", "beside": "another's"},
            image="busybox",
            volumes="/:/host",
        )
        self.assertIn(b"_answer", answer)
        found = docker_setup.client().inspect_container(self.containers()["box.localhost"]["Id"])
        self.assertEqual(found["Config"]["Image"], docker_setup.image())
        data = self.path.parent / "data" / "box.localhost"
        self.assertEqual([mount["Source"] for mount in found["Mounts"]], [str(data)])

    def test_other_commands(self) -> None:
        """Only the declared commands can be run inside."""
        self.assertIn(b"_answer", self.start())
        for command in (("id",), ("touch", "/data/snapshot", "/data/more"), ()):
            words = self.refused(b"Run", site="box.localhost", mark=wire.mark(command), within=5.0)
            self.assertIn("snapshot", words)
        mark = wire.mark(("touch", "/data/snapshot"))
        answer = self.stranger.ask(b"Run", site="box.localhost", mark=mark, within=5.0)
        self.assertEqual(answer[b"code"], b"0")

    def test_other_containers(self) -> None:
        """Containers of others are not there."""
        client = docker_setup.client()
        made = client.create_container(
            docker_setup.image(), ["sleep", "60"], labels={"io.snickers.site": "other.localhost"}
        )
        self.addCleanup(client.remove_container, made["Id"], force=True)
        client.start(made["Id"])
        self.assertIn(b"_answer", self.stranger.ask(b"Stop", site="other.localhost", within=0.0))
        self.assertIn(b"_answer", self.stranger.ask(b"Remove", site="other.localhost"))
        self.refused(b"Pause", site="other.localhost")
        self.refused(b"Logs", site="other.localhost", tail=10, follow=False)
        answer = self.stranger.ask(b"Healthy", id=made["Id"])
        self.assertEqual(answer[b"well"], b"False")
        self.assertTrue(client.inspect_container(made["Id"])["State"]["Running"])

    def test_nonsense(self) -> None:
        """Nonsense neither ends the broker nor keeps it from its work."""
        for box in (
            {b"_answer": b"1"},
            {b"_error": b"1", b"_error_code": b"x", b"_error_description": b"x"},
            {b"nothing": b"at all"},
            {b"_command": b"Start", b"site": b"\xff\xfe"},
            {b"_command": b"StartTLS", b"_ask": b"x"},
            {b"_command": b"Stop", b"call": b"9" * 60_000, b"site": b"", b"within": b"nan"},
            {b"_command": b"Took", b"call": b"77", b"size": b"-5"},
            {b"_command": b"Cancel", b"call": b"77"},
        ):
            self.stranger.send(box)
        self.refused(b"Exec", site="box.localhost", image="busybox")
        self.refused(b"Stop", site="box.localhost", within="soon")
        self.assertIn(b"_answer", self.stranger.ask(b"Stop", site="box.localhost", within="-inf"))
        self.assertIn(b"_answer", self.start())
        self.assertIsNone(self.stranger.process.poll())

    def test_what_is_no_message(self) -> None:
        """What is no message at all ends it; it does not grow."""
        self.stranger.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(self.stranger.process.wait(WITHIN), 0)

    def test_signals(self) -> None:
        """Signals that mean the first process do not end it; the end of the line does."""
        self.assertIn(b"_answer", self.start())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.stranger.process.send_signal(number)
        self.assertIn(b"_answer", self.stranger.ask(b"List"))
        self.assertEqual(self.stranger.end(), 0)
        self.assertEqual(self.containers()["box.localhost"]["State"], "running")
