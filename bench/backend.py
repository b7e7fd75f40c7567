"""A server behind the proxies that takes uploads and echoes WebSocket messages.

``python -m bench.backend PORT``. It does as little as can be: what it costs is not measured, but it
shares a core with the load. Standard library only.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import sys
import threading

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
DONE = b"HTTP/1.1 204 No Content\r\n\r\n"


def serve(sock: socket.socket) -> None:
    """Answer one connection until it ends."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = b""
    room = bytearray(1 << 20)
    with sock:
        while True:
            while b"\r\n\r\n" not in buffer:
                data = sock.recv(65536)
                if not data:
                    return
                buffer += data
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            fields = {
                name.strip().lower(): value.strip()
                for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
            }
            if b"sec-websocket-key" in fields:
                digest = hashlib.sha1(fields[b"sec-websocket-key"] + GUID).digest()
                sock.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                    b"Connection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
                    % base64.b64encode(digest)
                )
                echo(sock, buffer)
                return
            left = int(fields.get(b"content-length", b"0")) - len(buffer)
            while left > 0:
                left -= sock.recv_into(room)
            buffer = b""
            sock.sendall(DONE)


def echo(sock: socket.socket, buffer: bytes) -> None:
    """Send each small masked frame back, unmasked (RFC 6455 §5)."""
    while True:
        while len(buffer) < 2 or len(buffer) < 6 + (buffer[1] & 0x7F):
            data = sock.recv(65536)
            if not data:
                return
            buffer += data
        size = buffer[1] & 0x7F
        mask = buffer[2:6] * (size // 4 + 1)
        text = int.from_bytes(buffer[6 : 6 + size], "big") ^ int.from_bytes(mask[:size], "big")
        sock.sendall(bytes((buffer[0], size)) + text.to_bytes(size, "big"))
        buffer = buffer[6 + size :]


def main() -> None:
    """Accept for ever."""
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=512) as listening:
        while True:
            sock, _ = listening.accept()
            threading.Thread(target=serve, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    main()
