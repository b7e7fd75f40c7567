"""Writes the ClientHello of a real client into the fuzzer's corpus.

``python -m tests.fuzz.capture NAME [COMMAND...]``: of whatever the command connects with to
``{port}`` on loopback, or, without a command, of the OpenSSL that Snickers itself uses.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

from OpenSSL import SSL

HELLOS = Path(__file__).parent / "corpus" / "client_hello"
WITHIN = 20.0
"""Seconds for the command to connect."""


def own() -> bytes:
    """Return what our own OpenSSL says first, with all that it offers by default."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_alpn_protos([b"h2", b"http/1.1"])
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    connection.set_tlsext_host_name(b"site.example")
    with contextlib.suppress(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(65536)


def captured(command: list[str]) -> bytes:
    """Return what the client that *command* runs says first."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(WITHIN)
        port = str(listening.getsockname()[1])
        client = subprocess.Popen(
            [word.replace("{port}", port) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            sock, _ = listening.accept()
            with sock:
                sock.settimeout(WITHIN)
                head = sock.recv(5, socket.MSG_WAITALL)
                return head + sock.recv(int.from_bytes(head[3:5], "big"), socket.MSG_WAITALL)
        finally:
            client.kill()
            client.wait(WITHIN)


def main() -> None:
    """Write it."""
    name, *command = sys.argv[1:]
    HELLOS.mkdir(parents=True, exist_ok=True)
    (HELLOS / name).write_bytes(captured(command) if command else own())


if __name__ == "__main__":
    main()
