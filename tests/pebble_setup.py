"""A real ACME server for tests: `pebble`, with its DNS, and who answers its challenges.

Only loopback. In front of it, where a test wants that, stands a `Front`: what the authority is
asked is counted there, and it can be slow, fail, and suggest renewals (RFC 9773) as the test wants
them; pebble itself does since 2.6, which is Debian 13's.
"""

from __future__ import annotations

import base64
import datetime
import http.client
import json
import os
import random
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

WITHIN = 90.0

LACKING = (
    None
    if shutil.which("pebble") and shutil.which("pebble-challtestsrv")
    else "pebble is not installed (Debian's package of that name)"
)
"""Why tests with pebble are left out, ``None``: they are not."""


def free_port() -> int:
    """A port that nobody listens on, and that is given to no connection by itself."""
    while True:
        port = random.randrange(10_000, 32_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


def make_tls(folder: Path) -> tuple[str, str]:
    """Make a certificate for 127.0.0.1; return its path, by which it is trusted, and its key's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's directory")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / "tls.pem", folder / "tls-key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(certificate_path), str(key_path)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until somebody listens on *port*."""
    until = time.monotonic() + WITHIN
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.02)


class Pebble:
    """One that runs. *http* and *https* are where it looks for answers; *variables* are for its
    environment; *folder* is its own. *external*: key identifiers and keys of accounts that it wants
    to be named. *profiles*: the days that certificates of each live."""

    def __init__(
        self,
        folder: Path,
        http: int,
        https: int,
        variables: Mapping[str, str] | None = None,
        external: Mapping[str, str] | None = None,
        profiles: Mapping[str, int] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.trust, key = make_tls(folder)
        self.port, self.management, self.dns, self.dns_management = (free_port() for _ in range(4))
        self.directory = f"https://127.0.0.1:{self.port}/dir"
        configuration: dict[str, dict[str, Any]] = {
            "pebble": {
                "listenAddress": f"127.0.0.1:{self.port}",
                "managementListenAddress": f"127.0.0.1:{self.management}",
                "certificate": self.trust,
                "privateKey": key,
                "httpPort": http,
                "tlsPort": https,
                "ocspResponderURL": "",
                "externalAccountBindingRequired": external is not None,
                "externalAccountMACKeys": dict(external or {}),
            }
        }
        if profiles:
            # Known since 2.7: older ones pass over it.
            configuration["pebble"]["profiles"] = {
                name: {"description": f"{days} days", "validityPeriod": days * 86400}
                for name, days in profiles.items()
            }
        (folder / "pebble.json").write_text(json.dumps(configuration))
        self.variables = {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": "0",
            "PEBBLE_AUTHZREUSE": "0",
            **(variables or {}),
        }
        with (folder / "dns.log").open("wb") as log:
            self._dns = subprocess.Popen(
                [
                    *("pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""),
                    *("-dns01", f"127.0.0.1:{self.dns}", "-http01", "", "-https01", ""),
                    *("-tlsalpn01", "", "-management", f"127.0.0.1:{self.dns_management}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_for(self.dns_management, self._dns)
        self.start()

    def start(self) -> None:
        """Start it; what it knew before it has forgotten."""
        with (self.folder / "pebble.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *("pebble", "-config", str(self.folder / "pebble.json")),
                    *("-dnsserver", f"127.0.0.1:{self.dns}"),
                ],
                env={**os.environ, **self.variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_for(self.port, self.process)

    def stop(self) -> None:
        """End it, and leave its DNS."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WITHIN)

    def close(self) -> None:
        """End it and its DNS."""
        self.stop()
        self._dns.kill()
        self._dns.wait(WITHIN)

    def root(self) -> x509.Certificate:
        """The root that its certificates lead to."""
        return x509.load_pem_x509_certificate(self._get(self.management, "/roots/0"))

    def offers(self) -> Any:
        """What its directory says: what it can do depends on its version."""
        return json.loads(self._get(self.port, "/dir"))

    def _get(self, port: int, path: str) -> bytes:
        context = ssl.create_default_context(cafile=self.trust)
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=WITHIN, context=context)
        connection.request("GET", path, headers={"User-Agent": "a test"})
        answer = connection.getresponse()
        found = answer.read()
        assert answer.status == 200, found
        connection.close()
        return found


class Answering:
    """Answers challenges from the files in *folder*, ``challenges`` of the state's ``acme``, and in
    what is put into `folders` later."""

    def __init__(self, folder: Path) -> None:
        self.folders = [folder]
        self.asked: Counter[str] = Counter()
        self.deaf: set[str] = set()
        """Challenges that are not answered."""
        outer = self

        class Plain(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked["http-01"] += 1
                token = self.path.removeprefix("/.well-known/acme-challenge/")
                try:
                    if "http-01" in outer.deaf or "/" in token:
                        raise OSError
                    data, status = outer.find("http-01", token).read_bytes(), 200
                except OSError:
                    data, status = b"", 404
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            request_queue_size = 512
            daemon_threads = True

        self._plain = Server(("127.0.0.1", 0), Plain)
        threading.Thread(target=self._plain.serve_forever, args=(0.05,), daemon=True).start()
        self._secure = socket.create_server(("127.0.0.1", 0), backlog=512)
        threading.Thread(target=self._accept, daemon=True).start()
        self.http = int(self._plain.server_address[1])
        self.https = int(self._secure.getsockname()[1])

    def find(self, kind: str, name: str) -> Path:
        """Where an answer is, or would be."""
        paths = [folder / kind / name for folder in self.folders]
        return next((path for path in paths if path.exists()), paths[0])

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._secure.accept()
            except OSError:
                return
            threading.Thread(target=self._shake, args=(sock,), daemon=True).start()

    def _shake(self, sock: socket.socket) -> None:
        self.asked["tls-alpn-01"] += 1
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

        def chosen(secure: ssl.SSLObject, name: str | None, _: object) -> int | None:
            mine = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            mine.set_alpn_protocols(["acme-tls/1"])
            path = self.find("tls-alpn-01", f"{name}.pem")
            if "tls-alpn-01" in self.deaf or not path.exists():
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
            mine.load_cert_chain(path)
            secure.context = mine
            return None

        context.sni_callback = chosen  # type: ignore[assignment]
        context.set_alpn_protocols(["acme-tls/1"])
        sock.settimeout(WITHIN)
        try:
            context.wrap_socket(sock, server_side=True).close()
        except OSError:
            sock.close()

    def close(self) -> None:
        """Answer no more."""
        self._plain.shutdown()
        self._plain.server_close()
        self._secure.close()


class Front:
    """Stands in front of *pebble*, at `directory`.

    `asked` counts what was answered with success, by the first part of the path. With `renewal` it
    suggests when to renew.
    """

    def __init__(self, pebble: Pebble) -> None:
        self.pebble = pebble
        self.asked: Counter[str] = Counter()
        self.created: Counter[str] = Counter()
        """Of those what was new to the authority."""
        self.orders: list[dict[str, Any]] = []
        """What was asked for in each order that was placed."""
        self.renewal: Callable[[str], tuple[float, float, int]] | None = None
        """The window's two epoch seconds and the Retry-After for a certificate's identity."""
        self.trouble: Callable[[str], tuple[int, dict[str, str], bytes] | None] = lambda path: None
        """Called with each path: what is answered instead, status, fields, body, with status 0 that
        the connection is closed; ``None``: what pebble does."""
        self.replaced: set[str] = set()
        self._context = ssl.create_default_context(cafile=pebble.trust)
        self._connections: SimpleQueue[http.client.HTTPSConnection] = SimpleQueue()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_GET(self) -> None:
                outer._carry(self, b"")

            do_HEAD = do_GET

            def do_POST(self) -> None:
                outer._carry(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *args: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            request_queue_size = 512
            daemon_threads = True

            def handle_error(self, *args: Any) -> None: ...

        self._server = Server(("127.0.0.1", 0), Handler)
        mine = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        mine.load_cert_chain(pebble.trust, str(pebble.folder / "tls-key.pem"))
        # The handshake is left to the thread of the connection.
        self._server.socket = mine.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port = int(self._server.server_address[1])
        self.directory = f"https://127.0.0.1:{self.port}/dir"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _send(
        self, handler: BaseHTTPRequestHandler, status: int, fields: Mapping[str, str], body: bytes
    ) -> None:
        handler.send_response_only(status)
        for name, value in fields.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)
        handler.wfile.flush()

    def _carry(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        kind = handler.path.split("/")[1]
        instead = self.trouble(handler.path)
        if instead is not None:
            if not instead[0]:
                handler.close_connection = True
                return
            self._send(handler, *instead)
            return
        if kind == "renewal-info" and self.renewal is not None:
            start, end, again = self.renewal(handler.path.split("/")[2])
            self.asked[kind] += 1
            window = {
                name: datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat()
                for name, at in (("start", start), ("end", end))
            }
            said = json.dumps({"suggestedWindow": window}).encode()
            fields = {"Content-Type": "application/json", "Retry-After": str(again)}
            self._send(handler, 200, fields, said)
            return
        payload = self._payload(body)
        if kind == "order-plz" and payload.get("replaces") in self.replaced:
            said = json.dumps(
                {
                    "type": "urn:ietf:params:acme:error:alreadyReplaced",
                    "detail": "no",
                    "status": 409,
                }
            ).encode()
            self._send(handler, 409, {"Content-Type": "application/problem+json"}, said)
            return
        status, fields, data = self._forward(handler, body)
        if status < 300:
            self.asked[kind] += 1
            self.created[kind] += status == 201
            if kind == "order-plz":
                self.orders.append(payload)
                self.replaced.add(payload.get("replaces", ""))
                self.replaced.discard("")
        if kind == "dir" and self.renewal is not None:
            data = json.dumps(
                {
                    **json.loads(data),
                    "renewalInfo": f"https://127.0.0.1:{self.port}/renewal-info",
                }
            ).encode()
        self._send(handler, status, fields, data)

    @staticmethod
    def _payload(body: bytes) -> dict[str, Any]:
        try:
            text = json.loads(body)["payload"]
            said = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            return said if isinstance(said, dict) else {}
        except (ValueError, KeyError, TypeError):
            return {}

    def _forward(
        self, handler: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        try:
            connection = self._connections.get_nowait()
        except Empty:
            connection = http.client.HTTPSConnection(
                "127.0.0.1", self.pebble.port, timeout=WITHIN, context=self._context
            )
        fields = {
            name: value
            for name, value in handler.headers.items()
            if name.lower() not in ("connection", "accept-encoding")
        }
        try:
            connection.request(handler.command, handler.path, body or None, fields)
            answer = connection.getresponse()
            said = answer.status, dict(answer.getheaders()), answer.read()
        except OSError:
            connection.close()
            return 502, {}, b""
        self._connections.put(connection)
        return said

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
