"""Does what is asked at an address come here? As an authority would ask, from this host.

Nothing here knows what a name should lead to: one address is asked, one answer told. Everything
blocks, for a bounded time however slowly the other side speaks: call it in a thread. What comes
from strangers must never be kept but for its first bytes, nor be shown to a person as it is.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable
from ipaddress import ip_address

from attrs import frozen

OURS = "ours"
"""It came here."""
OTHER = "other"
"""Somebody else has answered."""
ELSEWHERE = "elsewhere"
"""The answer sends on to another address, where an authority would ask again."""
NOTHING = "nothing"
"""Nobody has answered, which may be so from here alone."""

HERE = "here"
"""The address belongs to this host."""
DIRECT = "direct"
"""The way there begins at a public address of this host: nobody translates it."""
BEHIND = "behind"
"""The way there begins at a private address: a router may answer in place of whom it hides."""

LIMIT = 16384
"""Bytes of an answer that are read."""
ACME_TLS = "acme-tls/1"


@frozen
class Reached:
    """What was found at an address."""

    what: str
    """`OURS`, `OTHER`, `ELSEWHERE` or `NOTHING`."""
    how: str = ""
    """In words, such as ``404``, ``refused``."""


def _connect(address: str, port: int, within: float) -> socket.socket:
    return socket.create_connection((address, port), within)


def _read(sock: socket.socket, deadline: float, now: Callable[[], float]) -> bytes:
    """Return what is sent until the end, the limit or the deadline."""
    data = b""
    while len(data) < LIMIT:
        left = deadline - now()
        if left <= 0:
            break
        sock.settimeout(left)
        try:
            piece = sock.recv(LIMIT)
        except TimeoutError:
            break
        if not piece:
            break
        data += piece
    return data


def by_http(
    name: str,
    address: str,
    port: int,
    path: str,
    content: bytes,
    within: float,
    now: Callable[[], float] = time.monotonic,
) -> Reached:
    """Ask *address* for *path* of *name* by http, as for http-01 (RFC 8555 section 8.3)."""
    deadline = now() + within
    try:
        with _connect(address, port, within) as sock:
            sock.sendall(
                f"GET {path} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: Snickers\r\n"
                "Accept: */*\r\nConnection: close\r\n\r\n".encode("ascii")
            )
            data = _read(sock, deadline, now)
    except OSError as error:
        return Reached(NOTHING, _why(error))
    head, _, body = data.partition(b"\r\n\r\n")
    if content in body:
        return Reached(OURS)
    status = re.match(rb"HTTP/1\.[01] (\d{3})(?: |\r|$)", head)
    if status is None:
        return Reached(OTHER, "no http") if data else Reached(NOTHING, "no answer")
    code = status[1].decode()
    if code in ("301", "302", "303", "307", "308"):
        return Reached(ELSEWHERE, code)
    return Reached(OTHER, code)


def by_tls(name: str, address: str, port: int, certificate: bytes, within: float) -> Reached:
    """Ask *address* for the certificate of *name* by the protocol of tls-alpn-01 (RFC 8737);
    *certificate* (DER) is the one that we would show."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([ACME_TLS])
    try:
        with (
            _connect(address, port, within) as sock,
            context.wrap_socket(sock, server_hostname=name) as secure,
        ):
            shown = secure.getpeercert(True)
            spoken = secure.selected_alpn_protocol()
    except ssl.SSLError as error:
        return Reached(OTHER, f"TLS: {_reason(error)}")
    except OSError as error:
        return Reached(NOTHING, _why(error))
    if shown == certificate and spoken == ACME_TLS:
        return Reached(OURS)
    return Reached(OTHER, "another certificate")


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "no handshake").lower().replace("_", " ")


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "cut off"
    return (error.strerror or "no connection").lower()


def place(address: str) -> str:
    """Return where this host stands to *address*: `HERE`, `DIRECT` or `BEHIND`. Sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            # A host may bind its own addresses alone.
            sock.bind((address, 0))
            return HERE
    except OSError:
        pass
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address, 9))
            own = str(sock.getsockname()[0]).partition("%")[0]
    except OSError:
        return BEHIND
    return DIRECT if ip_address(own).is_global else BEHIND
