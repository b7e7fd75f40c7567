"""The header by which a server behind us learns who its client is: HAProxy's PROXY protocol.

The document is ``proxy-protocol.txt`` of HAProxy: version 1 is a line of text (§2.1), version 2
is binary (§2.2) and says also which name the client asked for. Pure; it must never write an
address that was not given, nor a header of two families: what cannot be said is *unknown*.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

Endpoint = tuple[str, int]
"""A numeric address and a port."""

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""What version 2 begins with: no other protocol's server takes it for a request."""

_PROXY_V2 = 0x21
_UNKNOWN, _TCP4, _TCP6 = 0x00, 0x11, 0x21
_AUTHORITY = 0x02
_PORTS = struct.Struct("!HH")
_BEHIND = struct.Struct("!BBH")
_TLV = struct.Struct("!BH")


def header(
    version: str, source: Endpoint | None, destination: Endpoint | None, authority: bytes = b""
) -> bytes:
    """Return what is sent first in *version*: ``"off"`` (nothing), ``"v1"`` or ``"v2"``."""
    if version == "v1":
        return header_v1(source, destination)
    if version == "v2":
        return header_v2(source, destination, authority)
    return b""


def header_v1(source: Endpoint | None, destination: Endpoint | None) -> bytes:
    """Return the line of version 1: *source* is the client, *destination* what it connected to.

    ``None``: there is none, as on a unix socket. At most 107 bytes (§2.1).
    """
    pair = _pair(source, destination)
    if pair is None or source is None or destination is None:
        return b"PROXY UNKNOWN\r\n"
    family = 4 if isinstance(pair[0], IPv4Address) else 6
    line = f"PROXY TCP{family} {pair[0]} {pair[1]} {source[1]} {destination[1]}\r\n"
    return line.encode("ascii")


def header_v2(
    source: Endpoint | None, destination: Endpoint | None, authority: bytes = b""
) -> bytes:
    """Return the header of version 2; *authority*, if any, is the name that the client asked for
    by SNI, and goes into PP2_TYPE_AUTHORITY (§2.2.2)."""
    pair = _pair(source, destination)
    if pair is None or source is None or destination is None:
        family, addresses = _UNKNOWN, b""
    else:
        family = _TCP4 if isinstance(pair[0], IPv4Address) else _TCP6
        ports = _PORTS.pack(source[1], destination[1])
        addresses = pair[0].packed + pair[1].packed + ports
    if authority:
        addresses += _TLV.pack(_AUTHORITY, len(authority)) + authority
    return SIGNATURE + _BEHIND.pack(_PROXY_V2, family, len(addresses)) + addresses


def _pair(
    source: Endpoint | None, destination: Endpoint | None
) -> tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address] | None:
    """Return both addresses in one family: IPv4 that came in on an IPv6 socket is IPv4."""
    if source is None or destination is None:
        return None
    one, other = _address(source[0]), _address(destination[0])
    if isinstance(one, IPv4Address) and isinstance(other, IPv4Address):
        return one, other
    if isinstance(one, IPv6Address) and isinstance(other, IPv6Address):
        return one, other
    return None


def _address(text: str) -> IPv4Address | IPv6Address:
    # A scope means something on this host only.
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
