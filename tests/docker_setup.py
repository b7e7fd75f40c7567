"""Finds a real Docker for the tests, or starts one, and makes an image without any registry.

Looked for in this order: ``SNICKERS_TEST_DOCKER`` (a URL), ``DOCKER_HOST``, the default socket;
else, as root and with ``dockerd`` installed, one is started in a temporary folder and ended with
the run. Where none of it works the tests are skipped with the reason.
"""

from __future__ import annotations

import atexit
import functools
import io
import os
import secrets
import shutil
import signal
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import docker
from twisted.internet import reactor
from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SkipTest

RUN = secrets.token_hex(4)
"""Marks what this run of the tests makes, as others may use the same Docker."""

IMAGE = f"snickers-test:{RUN}"

APPLETS = (
    "sh echo mkdir httpd truncate sleep cat id touch test true nc ps mount printf grep find "
    "ip sed dd tr chown su stat chmod kill mknod"
)

REMOVE_TRIES = 50
"""Tries, a tenth of a second apart, to remove a network."""

START_WITHIN = 60
"""Seconds for a dockerd of our own, which unpacks itself on a slow disk the first time."""


@functools.cache
def docker_url() -> str:
    """Return where a Docker answers, or skip the test."""
    environment = os.environ
    for url in (environment.get("SNICKERS_TEST_DOCKER"), environment.get("DOCKER_HOST")):
        if url:
            return url
    default = "unix:///var/run/docker.sock"
    try:
        docker.APIClient(default, timeout=5).ping()
    except Exception:
        return _started()
    return default


def _started() -> str:
    """Start a dockerd of our own, and end it with the run."""
    if os.geteuid() != 0:
        raise SkipTest("No Docker answers, and only root can start one.")
    if shutil.which("dockerd") is None:
        raise SkipTest("No Docker answers, and dockerd is not installed.")
    folder = tempfile.mkdtemp(prefix="snickers-docker-")
    daemon = _dockerd(folder)

    def end() -> None:
        _end(daemon)
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return f"unix://{folder}/docker.sock"


@contextmanager
def full_docker(space: int) -> Iterator[str]:
    """Have another dockerd that keeps its images on a disk of *space* bytes; yield where it is."""
    docker_url()
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        raise SkipTest("Only root can start a dockerd, and one must be installed.")
    folder = tempfile.mkdtemp(prefix="snickers-docker-")
    disk = os.path.join(folder, "data-root")
    os.mkdir(disk)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={space}", "tmpfs", disk]
    try:
        if subprocess.run(mount, check=False).returncode:
            raise SkipTest("No small disk can be made here.")
        try:
            daemon = _dockerd(folder, "--iptables=false", "--storage-driver=vfs")
            try:
                yield f"unix://{folder}/docker.sock"
            finally:
                _end(daemon)
        finally:
            subprocess.run(["umount", disk], check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end(daemon: subprocess.Popen) -> None:
    daemon.send_signal(signal.SIGTERM)
    daemon.wait(60)


def _dockerd(folder: str, *options: str) -> subprocess.Popen:
    """Start a dockerd that keeps everything in *folder*, and wait until it listens."""
    command = ["dockerd", f"--host=unix://{folder}/docker.sock", "--bridge=none", *options]
    # The walls between networks are rules of the whole host: another engine's are taken down by one
    # that begins to make its own.
    command.append("--iptables=false")
    for option in ("data-root", "exec-root"):
        command.append(f"--{option}={folder}/{option}")
    daemon = subprocess.Popen(
        [*command, f"--pidfile={folder}/pid"], stderr=subprocess.PIPE, text=True
    )
    ready = threading.Event()
    said: list[str] = []

    def read() -> None:
        for line in daemon.stderr:
            said.append(line)
            if "API listen on" in line:
                ready.set()
        ready.set()

    threading.Thread(target=read, daemon=True).start()
    ready.wait(START_WITHIN)
    if daemon.poll() is not None or not ready.is_set():
        if daemon.poll() is None:
            _end(daemon)
        raise SkipTest(f"dockerd did not start: {''.join(said[-3:])}")
    return daemon


def busybox() -> bytes:
    """Return a busybox that needs no libraries, or skip the test."""
    path = shutil.which("busybox")
    if path is None:
        raise SkipTest("The test image is made of busybox, which is not installed.")
    with open(path, "rb") as file:
        program = file.read()
    if b"/ld-linux" in program or b"/ld-musl" in program:
        raise SkipTest("The test image is made of busybox-static; this busybox needs libraries.")
    return program


@functools.cache
def client() -> docker.APIClient:
    """Return a client of the tests' own, past all that is tested."""
    return docker.APIClient(docker_url(), version="auto", timeout=60)


def make_image(name: str, *changes: str, size: int = 0) -> str:
    """Make an image of busybox; *changes* are lines of a Dockerfile. Return its id.

    :param size: bytes, which nothing makes smaller, that it has besides.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        program = busybox()
        entry = tarfile.TarInfo("bin/busybox")
        entry.mode, entry.size = 0o755, len(program)
        tar.addfile(entry, io.BytesIO(program))
        if size:
            entry = tarfile.TarInfo("large")
            entry.size = size
            tar.addfile(entry, io.BytesIO(os.urandom(size)))
        for applet in APPLETS.split():
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        users = b"root:x:0:0::/:/bin/sh\nlamp:x:1234:1234::/:/bin/sh\n"
        entry = tarfile.TarInfo("etc/passwd")
        entry.size = len(users)
        tar.addfile(entry, io.BytesIO(users))
    archive.seek(0)
    return imported(name, archive, "ENV PATH=/bin", *changes)


def imported(name: str, archive: IO[bytes], *changes: str) -> str:
    """Make *archive*, a tar of all its files, the image *name* until the run ends; return its id.

    :param changes: lines of a Dockerfile.
    """
    repository, _, tag = name.rpartition(":")
    # Not the file itself: of what has a length the client would say it, and send it in pieces.
    pieces = iter(lambda: archive.read(2**20), b"")
    client().import_image_from_stream(
        pieces, repository, tag, changes=[f"LABEL io.snickers.test={RUN}", *changes]
    )
    _clean_images()
    return client().inspect_image(name)["Id"]


@functools.cache
def image() -> str:
    """Make `IMAGE` once for the run; return its name."""
    make_image(IMAGE)
    return IMAGE


@functools.cache
def _clean_images() -> None:
    """Have every image of this run removed at its end."""

    def remove() -> None:
        for found in client().images(filters={"label": f"io.snickers.test={RUN}"}):
            client().remove_image(found["Id"], force=True)

    atexit.register(remove)


@functools.cache
def network() -> str:
    """Make a network once for the run, for tests of other things than networks; return its name.

    A network of its own takes each test a third of a second.
    """
    name = f"snickers-test-{RUN}"
    client().create_network(name, driver="bridge", check_duplicate=True)
    atexit.register(client().remove_network, name)
    return name


def remove_image(name: str) -> None:
    """Remove the name of an image, and the image when nothing uses it."""
    try:
        client().remove_image(name)
    except docker.errors.APIError:
        pass


def remove_all(owner: str) -> None:
    """Remove every container and network of *owner*."""
    mine = {"label": f"io.snickers.instance={owner}"}
    for container in client().containers(all=True, filters=mine):
        try:
            client().remove_container(container["Id"], force=True, v=True)
        except docker.errors.NotFound:
            pass
    for network in client().networks(filters=mine):
        for tries in range(REMOVE_TRIES):
            try:
                client().remove_network(network["Id"])
                break
            except docker.errors.APIError:
                # A container that was just removed may count as joined for a moment.
                if tries + 1 == REMOVE_TRIES:
                    raise
                time.sleep(0.1)


class _Side(Protocol):
    """One side of a connection through the gate."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.other: _Side | None = None
        self.early: list[bytes] = []

    def connectionMade(self) -> None:
        self.gate.sides.add(self)
        if self.gate.shut:
            self.transport.abortConnection()

    def join(self, other: _Side) -> None:
        self.other, other.other = other, self
        for data in self.early:
            other.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        else:
            self.other.transport.write(data)

    def connectionLost(self, reason: object) -> None:
        self.gate.sides.discard(self)
        if self.other is not None:
            self.other.transport.loseConnection()


class _Entrance(_Side):
    def connectionMade(self) -> None:
        super().connectionMade()
        endpoint = UNIXClientEndpoint(reactor, self.gate.behind)
        connecting = connectProtocol(endpoint, _Side(self.gate))
        connecting.addCallbacks(self.join, lambda _: self.transport.abortConnection())


class Gate:
    """A socket in front of Docker's that can be shut: Docker is away then, for who uses it."""

    def __init__(self) -> None:
        url = docker_url()
        if not url.startswith("unix://"):
            raise SkipTest("Docker is not behind a socket here.")
        self.behind = url.removeprefix("unix://")
        self.sides: set[_Side] = set()
        self.shut = True
        # Not in the test's own folder: a socket's path may have 107 bytes.
        self.folder = tempfile.mkdtemp(prefix="snickers-gate-")
        self.path = os.path.join(self.folder, "docker.sock")
        self.url = f"unix://{self.path}"
        self.port = None
        self.open()

    def open(self) -> None:
        """Let through."""
        self.shut = False
        factory = Factory.forProtocol(lambda: _Entrance(self))
        listening = UNIXServerEndpoint(reactor, self.path, mode=0o600).listen(factory)
        listening.addCallback(lambda port: setattr(self, "port", port))

    def close(self):
        """Break all connections and let nobody through; fires when that is so."""
        self.shut = True
        for side in list(self.sides):
            side.transport.abortConnection()
        return self.port.stopListening()

    async def remove(self) -> None:
        """Close for ever."""
        if not self.shut:
            await self.close()
        shutil.rmtree(self.folder)
