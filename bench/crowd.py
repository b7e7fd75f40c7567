"""What a crowd costs: ``python -m bench.crowd [CONNECTIONS]``, on loopback, in some three minutes.

Thousands of connections that ask once and then say nothing, over HTTP/1 and over HTTP/2; clients
that ask for much and never read; streams that are opened and reset as fast as they can be. The
memory is that of the process (``Pss``) and does not count what the kernel holds for its sockets.
Where the limit of descriptors cannot be raised, Snickers is told that it is high enough: it leaves
room for two more for each connection, which connections that are idle do not need.
"""

from __future__ import annotations

import resource
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench import proxies
from bench.client import context, head_of
from bench.machine import LOAD_CORE, Machine, Server
from bench.proxies import PROXIED, STATIC
from snickers.http import frames as f
from snickers.http.hpack import Encoder

MANY = 10_000
SPARE = 1000
"""Connections beyond those: of readers, resetters and visitors."""
EACH = 200
"""Connections from one address: fewer than ``connection limit per address`` allows by default."""
READERS = 500
READING = 10
"""Connections over HTTP/2 with `STREAMS_OPEN` such readers each."""
STREAMS_OPEN = 100
STREAMS = 400
"""Streams that a client opens and resets, if it is let, before it connects anew."""
RESETTING = 10.0
"""Seconds of that."""
SETTLE = 5.0
"""Seconds after which what a load has changed is looked at."""
LONGEST = 600
"""Seconds after which all of it ends, whatever happens."""
MB = 1024 * 1024


PRETEND = """
import sys
from types import SimpleNamespace
from twisted.scripts.twistd import run
from snickers import listening
count = int(sys.argv.pop(1))
listening.resource = SimpleNamespace(
    getrlimit=lambda which: (count, count),
    RLIMIT_NOFILE=listening.resource.RLIMIT_NOFILE,
    RLIM_INFINITY=listening.resource.RLIM_INFINITY,
)
run()
"""


class Crowded(proxies.Snickers):
    """Snickers with room for that many, and the limits that are the defaults otherwise."""

    most = MANY + SPARE

    def command(self) -> list[str]:
        command = super().command()
        config = Path(command[-1])
        if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < _descriptors(self.most):
            command = [sys.executable, "-c", PRETEND, str(_descriptors(self.most)), *command[1:]]
        usual = "connection limit per address = 100000"
        text = config.read_text()
        assert usual in text
        # The default of two minutes would end the first before the last has come.
        config.write_text(text.replace(usual, f"connection limit = {self.most}\nkeep alive = 20m"))
        return command


def _descriptors(most: int) -> int:
    """Return how many Snickers wants for *most* clients: see `snickers.listening.Limits`."""
    return 3 * most + 1024


def raise_limit(many: int) -> int:
    """Allow this process and its children descriptors for *many* clients; return for how many
    there are."""
    wanted = _descriptors(many + SPARE)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
    except (PermissionError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return min(many, hard - 2 * SPARE - 1024)
    return many


class Clients:
    """Connections to one port, from as many addresses as it takes; all are held until the end."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._made = 0
        self.held: list[ssl.SSLSocket] = []
        self._one = context()
        self._two = context()
        self._two.set_alpn_protocols(["h2"])

    def close(self) -> None:
        for sock in self.held:
            sock.close()

    def connect(self, host: str, two: bool = False, room: int = 0) -> ssl.SSLSocket:
        """Connect to *host*; *two*: for HTTP/2; *room*: bytes of the receive buffer, if given."""
        number = self._made // EACH
        self._made += 1
        sock = socket.socket()
        if room:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(30)
        sock.bind((f"127.0.{1 + number // 250}.{1 + number % 250}", 0))
        sock.connect(("127.0.0.1", self._port))
        return (self._two if two else self._one).wrap_socket(sock, server_hostname=host)

    def visit(self) -> float:
        """Ask once by a new connection; return the seconds until the answer."""
        began = time.perf_counter()
        with self.connect(PROXIED) as sock:
            sock.sendall(_get(PROXIED, "/1k"))
            head_of(sock)
        return time.perf_counter() - began

    def idle(self, count: int) -> None:
        """Have *count* connections that have asked once."""
        for _ in range(count):
            sock = self.connect(PROXIED)
            sock.sendall(_get(PROXIED, "/1k"))
            _read_all(sock)
            self.held.append(sock)

    def idle_two(self, count: int) -> None:
        """The same over HTTP/2."""
        for _ in range(count):
            sock = self.connect(PROXIED, True)
            sock.sendall(OPENING + f.frame(f.HEADERS, f.END_STREAM | f.END_HEADERS, 1, BLOCK))
            _read_stream(sock)
            self.held.append(sock)

    def never_read(self, count: int) -> None:
        """Have *count* clients that ask for 64 MiB and read nothing of it."""
        for _ in range(count):
            sock = self.connect(STATIC, room=4096)
            sock.sendall(_get(STATIC, "/64m"))
            self.held.append(sock)

    def never_read_two(self, count: int) -> None:
        """The same over HTTP/2, with as many streams on each connection, and windows for all."""
        for _ in range(count):
            sock = self.connect(STATIC, True, 4096)
            asked = f.PREFACE + f.settings({f.INITIAL_WINDOW_SIZE: f.MAX_WINDOW})
            asked += f.window_update(0, f.MAX_WINDOW - f.WINDOW)
            for number in range(1, 2 * STREAMS_OPEN, 2):
                asked += f.frame(f.HEADERS, f.END_STREAM | f.END_HEADERS, number, LARGE)
            sock.sendall(asked)
            self.held.append(sock)

    def reset(self, until: float, counts: list[int]) -> None:
        """Until then, open and reset streams; count them, and the connections."""
        pairs = b"".join(
            f.frame(f.HEADERS, f.END_STREAM | f.END_HEADERS, number, BLOCK) + f.reset(number, 8)
            for number in range(1, 2 * STREAMS, 2)
        )
        while time.monotonic() < until:
            with self.connect(PROXIED, True) as sock:
                counts[0] += 1
                counts[1] += STREAMS
                try:
                    sock.sendall(OPENING + pairs)
                    while piece := sock.recv(65536):
                        # A frame's kind is the fourth byte; the answers were all cancelled.
                        counts[2] += b"\x07\x00\x00\x00\x00\x00" in piece
                except OSError:
                    continue


def _block(host: str, path: bytes) -> bytes:
    return Encoder().encode(
        (
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", host.encode()),
            (b":path", path),
        )
    )


BLOCK, LARGE = _block(PROXIED, b"/1k"), _block(STATIC, b"/64m")
OPENING = f.PREFACE + f.settings({})


def _get(host: str, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def _read_all(sock: ssl.SSLSocket) -> None:
    """Read an answer of 1 KiB."""
    data = head_of(sock)
    left = data.index(b"\r\n\r\n") + 4 + 1024 - len(data)
    while left > 0:
        left -= len(sock.recv(left))


def _read_stream(sock: ssl.SSLSocket) -> None:
    """Read frames until a stream has ended."""
    data = b""
    while True:
        while len(data) >= 9:
            size = int.from_bytes(data[:3], "big")
            if len(data) < 9 + size:
                break
            if data[3] == f.DATA and data[4] & f.END_STREAM:
                return
            data = data[9 + size :]
        piece = sock.recv(65536)
        if not piece:
            raise SystemExit("bench: an answer was cut off")
        data += piece


def say(load: str, server: Server, before: int, connections: int, more: str = "") -> int:
    """Print a row; return the memory."""
    memory = server.memory()
    each = f", {(memory - before) / connections / 1000:.1f} KB each" if connections else ""
    print(f"| {load} | {memory / MB:.0f} MB{each}{more} |", flush=True)
    return memory


def main() -> int:
    """Measure, and print the rows of a table."""
    signal.alarm(LONGEST)
    many = raise_limit(int(sys.argv[1]) if len(sys.argv) > 1 else MANY)
    if many < 1:
        print("bench: too few descriptors are allowed (ulimit -n)", file=sys.stderr)
        return 1
    print("| load | memory |\n|---|---|")
    for two in (False, True):
        with (
            tempfile.TemporaryDirectory(prefix="snickers-crowd-") as name,
            Machine(Path(name)) as here,
        ):
            crowd(here, Path(name), many, two)
    return 0


def crowd(here: Machine, folder: Path, many: int, two: bool) -> None:
    """Measure one protocol, with a Snickers of its own."""
    scene = proxies.make_scene(folder)
    proxies.start_backend(here, scene, LOAD_CORE)
    proxy = Crowded(scene)
    proxy.most = many + SPARE
    server = proxy.start(here)
    clients = Clients(proxy.port)
    protocol = "HTTP/2" if two else "HTTP/1.1"
    try:
        clients.visit()
        started = say(f"started, {len(proxies.NAMES)} sites", server, 0, 0)
        (clients.idle_two if two else clients.idle)(many)
        time.sleep(SETTLE)
        slowest = max(clients.visit() for _ in range(20))
        more = f"; one more is answered in {slowest * 1000:.0f} ms, handshake and all"
        say(f"{many} idle {protocol} connections that asked once", server, started, many, more)
        if two:
            resets(server, clients)
            before = server.memory()
            clients.never_read_two(READING)
            time.sleep(SETTLE)
            load = f"then {READING} with {STREAMS_OPEN} streams that ask for 64 MiB and never read"
            say(load, server, before, READING)
        else:
            before = server.memory()
            clients.never_read(READERS)
            time.sleep(SETTLE)
            say(f"then {READERS} that ask for 64 MiB and never read", server, before, READERS)
    finally:
        clients.close()


def resets(server: Server, clients: Clients) -> None:
    """Measure clients that do nothing but cancel."""
    before = server.memory()
    until = time.monotonic() + RESETTING
    counts = [[0, 0, 0], [0, 0, 0]]
    threads = [threading.Thread(target=clients.reset, args=(until, count)) for count in counts]
    for thread in threads:
        thread.start()
    waits = []
    peak = before
    while time.monotonic() < until:
        waits.append(clients.visit())
        peak = max(peak, server.memory())
        time.sleep(0.5)
    for thread in threads:
        thread.join(30)
    connections, streams, goodbyes = (sum(column) for column in zip(*counts, strict=True))
    time.sleep(SETTLE)
    say(
        f"then for {RESETTING:.0f} s {connections} connections with {STREAMS} streams each, opened"
        f" and reset ({streams} streams; {goodbyes} got GOAWAY)",
        server,
        before,
        0,
        f", at most {peak / MB:.0f} MB; meanwhile a visitor waits {max(waits) * 1000:.0f} ms",
    )


if __name__ == "__main__":
    sys.exit(main())
