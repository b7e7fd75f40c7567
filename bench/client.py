"""Loads that h2load does not make: uploads, WebSocket messages, idle connections.

``python -m bench.client KIND PORT HOST COUNT CLIENTS`` prints the seconds it took; ``idle`` prints
``ready`` and holds its connections until its standard input ends. Standard library only.
"""

from __future__ import annotations

import base64
import os
import selectors
import socket
import ssl
import sys
import threading
import time

MESSAGE = 64
"""Bytes of a WebSocket message: a chat's line, an event, a ping."""
UPLOAD = 64 << 20


def context() -> ssl.SSLContext:
    """Trusts anybody; TLS 1.3, as h2load."""
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.set_alpn_protocols(["http/1.1"])
    return made


def connect(secure: ssl.SSLContext, port: int, host: str) -> ssl.SSLSocket:
    """Return a connection to *host*."""
    sock = socket.create_connection(("127.0.0.1", port), 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return secure.wrap_socket(sock, server_hostname=host)


def head_of(sock: ssl.SSLSocket) -> bytes:
    """Read an answer's head."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            raise SystemExit(f"no answer: {data!r}")
        data += piece
    return data


def upload(port: int, host: str, count: int, clients: int) -> None:
    """Send *count* bodies of `UPLOAD` bytes, *clients* at a time."""
    secure = context()
    piece = os.urandom(1 << 20)

    def one() -> None:
        with connect(secure, port, host) as sock:
            for _ in range(count // clients):
                head = f"PUT /upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: {UPLOAD}\r\n\r\n"
                sock.sendall(head.encode())
                for _ in range(UPLOAD // len(piece)):
                    sock.sendall(piece)
                if not head_of(sock).startswith(b"HTTP/1.1 204"):
                    os._exit(1)

    threads = [threading.Thread(target=one) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def websocket(port: int, host: str, count: int, clients: int) -> None:
    """Have *count* messages echoed, one at a time on each of *clients* connections."""
    secure = context()
    socks = []
    for _ in range(clients):
        sock = connect(secure, port, host)
        key = base64.b64encode(os.urandom(16)).decode()
        sock.sendall(
            f"GET /echo HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        if not head_of(sock).startswith(b"HTTP/1.1 101"):
            raise SystemExit("no WebSocket")
        socks.append(sock)
    frame = bytes((0x82, 0x80 | MESSAGE)) + b"mask" + os.urandom(MESSAGE)
    selector = selectors.DefaultSelector()
    for sock in socks:
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ)
    for sock in socks:
        sock.send(frame)
    sent = len(socks)
    back = 0
    while back < count:
        for key, _ in selector.select(30) or [(None, 0)]:
            if key is None:
                raise SystemExit("a message did not come back")
            sock = key.fileobj
            try:
                if len(sock.recv(1024)) != MESSAGE + 2:
                    raise SystemExit("a message came back broken")
            except ssl.SSLWantReadError:
                continue
            back += 1
            if sent < count:
                sock.send(frame)
                sent += 1


def idle(port: int, host: str, count: int, clients: int) -> None:
    """Hold *count* connections on each of which one request was answered."""
    secure = context()
    held = []
    for _ in range(count):
        sock = connect(secure, port, host)
        sock.sendall(f"GET /1k HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        size = 0
        while size < 1024:
            size += len(sock.recv(65536))
        held.append(sock)
    time.sleep(1.0)  # what was to be freed is
    print("ready", flush=True)
    sys.stdin.read()


def main() -> None:
    """Do what the command line says."""
    kind, port, host, count, clients = sys.argv[1:]
    began = time.monotonic()
    {"upload": upload, "websocket": websocket, "idle": idle}[kind](
        int(port), host, int(count), int(clients)
    )
    print(time.monotonic() - began)


if __name__ == "__main__":
    main()
