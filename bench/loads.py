"""What is asked of every proxy, and how: h2load, bound to the core of the backend.

Every load is a fixed number of requests; one that is not answered as it should be ends the run.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence

from attrs import evolve, frozen

from bench.machine import LOAD_CORE, find
from bench.proxies import ECHO, PASSED, PROXIED, STATIC, Proxy


@frozen
class Load:
    """One kind of work."""

    key: str
    title: str
    host: str
    path: str
    requests: int
    clients: int
    units: float = 1.0
    """What one request counts as, such as the MiB of a download."""
    unit: str = "request"
    more: tuple[str, ...] = ("--h1",)
    """Further arguments of h2load."""
    kind: str = "h2load"
    """Or what `bench.client` calls it."""
    addresses: int = 1
    """How many different addresses are asked for in turn; they differ in their query."""

    @property
    def protocol(self) -> str:
        """What the proxy must have agreed to speak."""
        return "http/1.1" if "--h1" in self.more else "h2"

    def for_(self, proxy: Proxy) -> bool:
        """Whether *proxy* can do this at all."""
        return (self.host != STATIC or proxy.static) and (self.host != PASSED or proxy.passes)

    def smaller(self, divisor: int) -> Load:
        """The same with fewer requests."""
        return evolve(self, requests=max(self.requests // divisor, self.clients))


# h2load connects anew after an answer with "Connection: close", and never resumes a session.
CLOSE = ("--h1", "--header=connection: close")

HTTP2 = ("-m16",)

ALL: Sequence[Load] = (
    Load("keep-alive", "HTTP/1.1 keep-alive, 1 KiB", PROXIED, "/1k", 15000, 16),
    Load("varied", "the same, 50 addresses in turn", PROXIED, "/1k", 15000, 16, addresses=50),
    Load("new", "new TLS 1.3 connection, one request", PROXIED, "/1k", 1600, 16, more=CLOSE),
    Load("http2", "HTTP/2, 16 streams a connection", PROXIED, "/1k", 24000, 4, more=HTTP2),
    Load("download", "64 MiB download, per MiB", PROXIED, "/64m", 6, 2, 64.0, "MiB"),
    Load("upload", "64 MiB upload, per MiB", ECHO, "/", 6, 2, 64.0, "MiB", kind="upload"),
    Load("static", "static file of 1 KiB", STATIC, "/1k", 12000, 16),
    Load("passed", "passthrough, per request", PASSED, "/1k", 12000, 16),
    Load("passed-new", "passthrough, per new connection", PASSED, "/1k", 1600, 16, more=CLOSE),
    Load("passed-bulk", "passthrough, per MiB of 64", PASSED, "/64m", 6, 2, 64.0, "MiB"),
    Load("websocket", "WebSocket echo, per message", ECHO, "/", 16000, 8, kind="websocket"),
)

_FINISHED = re.compile(r"finished in ([0-9.]+)(us|ms|s|m)?,")
_DONE = re.compile(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored")
_AGREED = re.compile(r"^Application protocol: (\S+)", re.MULTILINE)
_STATUS = re.compile(r"status codes: (\d+) 2xx")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, None: 1.0}


class Unanswered(Exception):
    """A proxy did not answer every request of a load."""


class Unspoken(Exception):
    """A proxy does not speak what a load is about."""


def urls(load: Load, port: int) -> list[str]:
    """Return the addresses that *load* asks for at *port*."""
    url = f"https://{load.host}:{port}{load.path}"
    if load.addresses == 1:
        return [url]
    return [f"{url}?{number}" for number in range(load.addresses)]


def put(load: Load, proxy: Proxy) -> float:
    """Put *load* on *proxy*; return the seconds it took by the clock."""
    if load.kind != "h2load":
        return client(load, proxy)
    port = proxy.port_of(load.host)
    done = subprocess.run(
        [
            *(
                "taskset",
                "--cpu-list",
                str(LOAD_CORE),
                find("h2load", "apt install nghttp2-client"),
            ),
            *("-t1", f"-c{load.clients}", f"-n{load.requests}", *load.more),
            *("--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519"),
            f"--connect-to=127.0.0.1:{port}",
            *urls(load, port),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    return read_report(done.stdout, load.requests, load.protocol)


def command(kind: str, port: int, host: str, count: int, clients: int) -> list[str]:
    """Return how `bench.client` is started."""
    words = [kind, str(port), host, str(count), str(clients)]
    return ["taskset", "--cpu-list", str(LOAD_CORE), sys.executable, "-m", "bench.client", *words]


def client(load: Load, proxy: Proxy) -> float:
    """Put a load of `bench.client` on *proxy*; return the seconds it took."""
    done = subprocess.run(
        command(load.kind, proxy.port, load.host, load.requests, load.clients),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise Unanswered(done.stdout[-1000:])
    return float(done.stdout.split()[-1])


def read_report(text: str, requests: int, protocol: str) -> float:
    """Return the seconds that h2load reports.

    Raises `Unspoken` if another protocol than *protocol* was agreed upon, and `Unanswered` unless
    all requests were answered 2xx.
    """
    agreed = _AGREED.search(text)
    if agreed and agreed.group(1) != protocol:
        raise Unspoken(f"speaks {agreed.group(1)}, not {protocol}")
    finished, counts, status = (r.search(text) for r in (_FINISHED, _DONE, _STATUS))
    if not finished or not counts or not status:
        raise Unanswered(f"h2load reports nothing:\n{text[-1000:]}")
    if [int(count) for count in counts.groups()] != [requests, 0, 0]:
        raise Unanswered(f"not all answered: {counts.group()}")
    if int(status.group(1)) != requests:
        raise Unanswered(f"not all answered well: {status.group()}")
    if "TLS Protocol: TLSv1.3" not in text:
        raise Unanswered("not over TLS 1.3")
    return float(finished.group(1)) * _SECONDS[finished.group(2)]
