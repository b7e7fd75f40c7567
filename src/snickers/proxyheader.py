"""The header by which a proxy in front of us tells who its client is: read, strictly.

The document is HAProxy's ``proxy-protocol.txt``, versions 1 (§2.1) and 2 (§2.2). Pure; it must
never read a byte beyond the header, nor guess: what is no header is a fault.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from attrs import frozen

from snickers.proxyprotocol import SIGNATURE, Endpoint

MAX_V1 = 107
"""Bytes of the longest line (§2.1)."""
MAX_V2 = 16 + 2048
"""Bytes of a header with all that proxies are known to add to it, a certificate's subject too."""
SMALLEST = len(b"PROXY UNKNOWN\r\n")
"""Bytes that every header has."""

_LINE = re.compile(
    rb"PROXY (?:UNKNOWN[^\r\n]*|TCP([46]) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+)"
    rb" (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}))\r\n"
)
_TCP4, _TCP6, _UNIX, _UNSPECIFIED = 0x11, 0x21, 0x31, 0x00
_SIZES = {_TCP4: 12, _TCP6: 36, _UNIX: 216, _UNSPECIFIED: 0}
_CHECKSUM = 0x03


class BadHeader(Exception):
    """There is no header where one is required, or it is none; the text says why."""


@frozen
class Header:
    """What a proxy says of a connection."""

    source: Endpoint | None
    """The client; ``None``: the proxy speaks for itself, or does not know."""
    destination: Endpoint | None
    """What the client connected to."""
    length: int
    """Bytes of the header."""


def read(data: bytes) -> Header | int:
    """Return the header that *data* begins with, or how many bytes are needed to go on.

    Raises `BadHeader`.
    """
    if data[:12] == SIGNATURE[: len(data)]:
        return _read_v2(data)
    if data[:6] != b"PROXY "[: len(data)]:
        raise BadHeader("it does not begin with a PROXY header")
    end = data.find(b"\n", 0, MAX_V1)
    if end < 0:
        if len(data) >= MAX_V1:
            raise BadHeader("the line is too long")
        return len(data) + 1
    match = _LINE.fullmatch(data[: end + 1])
    if match is None:
        raise BadHeader("the line is not as version 1 has it")
    if match[1] is None:
        return Header(None, None, end + 1)
    try:
        addresses = [ip_address(match[n].decode("ascii")) for n in (2, 3)]
    except ValueError:
        raise BadHeader("an address is none") from None
    kind = IPv4Address if match[1] == b"4" else IPv6Address
    ports = [int(match[n]) for n in (4, 5)]
    if not all(isinstance(address, kind) for address in addresses) or max(ports) > 65535:
        raise BadHeader("an address or a port is not what the line says it is")
    source, destination = zip(map(_text, addresses), ports, strict=True)
    return Header(source, destination, end + 1)


def _read_v2(data: bytes) -> Header | int:
    if len(data) < 16:
        return 16
    command, family = data[12], data[13]
    size = int.from_bytes(data[14:16], "big")
    if command not in (0x20, 0x21):
        raise BadHeader("the version or the command is unknown")
    if 16 + size > MAX_V2:
        raise BadHeader("the header is too long")
    if len(data) < 16 + size:
        return 16 + size
    payload = data[16 : 16 + size]
    if command == 0x20:  # LOCAL: the proxy's own connection; the rest says nothing (§2.2)
        return Header(None, None, 16 + size)
    needed = _SIZES.get(family)
    if needed is None or size < needed:
        raise BadHeader("the family is unknown, or its addresses are cut off")
    _check(data[: 16 + size], 16 + needed)
    if family == _TCP4:
        one, other = payload[:4], payload[4:8]
    elif family == _TCP6:
        one, other = payload[:16], payload[16:32]
    else:
        return Header(None, None, 16 + size)
    ports = payload[needed - 4 : needed]
    return Header(
        (_text(ip_address(one)), int.from_bytes(ports[:2], "big")),
        (_text(ip_address(other)), int.from_bytes(ports[2:], "big")),
        16 + size,
    )


def _text(address: IPv4Address | IPv6Address) -> str:
    """Return *address* as it is written: IPv4 that a proxy's IPv6 socket has seen is IPv4."""
    return str(getattr(address, "ipv4_mapped", None) or address)


def _check(header: bytes, position: int) -> None:
    """Look through what was added behind the addresses: whole, and with the right checksum."""
    while position < len(header):
        if position + 3 > len(header):
            raise BadHeader("what was added is cut off")
        kind = header[position]
        size = int.from_bytes(header[position + 1 : position + 3], "big")
        position += 3
        if position + size > len(header):
            raise BadHeader("what was added is cut off")
        if kind == _CHECKSUM:
            if size != 4:
                raise BadHeader("the checksum is none")
            plain = header[:position] + bytes(4) + header[position + 4 :]
            if crc32c(plain) != int.from_bytes(header[position : position + 4], "big"):
                raise BadHeader("the checksum is wrong")
        position += size


def _table() -> tuple[int, ...]:
    found = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        found.append(value)
    return tuple(found)


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """Return the checksum of RFC 4960, Appendix B."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
