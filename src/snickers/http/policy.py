"""What the owner of a site has decided about its visitors and answers, ready to be applied.

Pure: who may come from where, and which fields answers get or lose. Nothing here changes what
it is given: lists of fields and an upstream's answers are shared, so every edit makes its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_network

from snickers.http.answer import Answer
from snickers.http.request import Request
from snickers.interfaces.exchange import Fields

_MAPPED = 0xFFFF << 32
_MAPPED_MASK = ((1 << 96) - 1) << 32
MAX_KNOWN = 1024
"""Addresses whose answer is remembered."""

Address = tuple[int, int]
"""The version and the number; an IPv4-mapped one is the IPv4 address that it means."""


def read_address(peer: bytes) -> Address | None:
    """Return what the numeric address *peer* means; ``None`` for what is none."""
    text = peer.decode("latin-1")
    try:
        if ":" not in text:
            return 4, int(IPv4Address(text))
        number = int(IPv6Address(text.partition("%")[0]))
    except AddressValueError:
        return None
    if number & _MAPPED_MASK == _MAPPED:
        return 4, number & 0xFFFFFFFF
    return 6, number


def client_of(peer: bytes) -> Hashable:
    """Return whom *peer* belongs to: one IPv4 address, or the /64 that one household gets."""
    address = read_address(peer)
    if address is None or address[0] == 4:
        return address
    return 6, address[1] >> 64


class Networks:
    """The addresses that may come in."""

    __slots__ = ("_known", "_networks")

    def __init__(self, networks: Iterable[str]) -> None:
        """*networks*: addresses and networks, as the configuration has checked them."""
        self._networks = tuple(_compiled(network) for network in networks)
        self._known: dict[bytes, bool] = {}

    def holds(self, peer: bytes) -> bool:
        """Say whether the numeric address *peer* is one of them; what is no address is not."""
        known = self._known.get(peer)
        if known is None:
            known = self._holds(read_address(peer))
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[peer] = known
        return known

    def _holds(self, address: Address | None) -> bool:
        if address is None:
            return False
        version, number = address
        return any(
            version == family and number & mask == network
            for family, network, mask in self._networks
        )


def _compiled(text: str) -> tuple[int, int, int]:
    network = ip_network(text)
    number, mask = int(network.network_address), int(network.netmask)
    if network.version == 6 and network.prefixlen >= 96 and number & _MAPPED_MASK == _MAPPED:
        return 4, number & 0xFFFFFFFF, mask & 0xFFFFFFFF
    return network.version, number, mask


class Edits:
    """The fields that every answer of a site gets, and those that none has."""

    __slots__ = ("_fields", "_lines", "_names")

    def __init__(self, headers: Iterable[tuple[str, str]], hsts: float = 0.0) -> None:
        """*headers*: names and values, an empty one removes; *hsts*: seconds, 0 for none.

        A field that is written by name comes before what *hsts* would make of it. HSTS is for
        https alone (RFC 6797 §7.2), and sites are served by nothing else.
        """
        wanted = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
        names = {name.lower() for name, _ in wanted}
        if hsts and b"strict-transport-security" not in names:
            names.add(b"strict-transport-security")
            wanted.append((b"Strict-Transport-Security", b"max-age=%d" % hsts))
        self._names = frozenset(names)
        self._fields = [field for field in wanted if field[1]]
        self._lines = [b"%b: %b" % field for field in self._fields]

    def __bool__(self) -> bool:
        return bool(self._names)

    def fields(self, fields: Fields) -> Fields:
        """Return *fields* as they shall be sent."""
        if not self._names:
            return fields
        return [*self.without(fields), *self._fields]

    def without(self, fields: Fields) -> Fields:
        """Return those of *fields* that nothing was decided about."""
        names = self._names
        return [field for field in fields if field[0].lower() not in names]

    def answer(self, answer: Answer) -> Answer:
        """Return *answer* as it shall be sent: one of its own, that no connection remembers.

        It is *answer* itself where nothing was decided: what is remembered of it holds.
        """
        if not self._names:
            return answer
        own = Answer()
        for slot in Answer.__slots__:
            setattr(own, slot, getattr(answer, slot))
        own.wire = b""
        own.pairs = None
        names = self._names
        own.lines = [
            *(line for line in answer.lines if line.partition(b":")[0].lower() not in names),
            *self._lines,
        ]
        return own


def without_field(request: Request, name: bytes) -> Request:
    """Return *request* without its fields *name* (lower case): one of its own."""
    own = Request()
    for slot in Request.__slots__:
        setattr(own, slot, getattr(request, slot))
    own.lines = [line for line in request.lines if line.partition(b":")[0].lower() != name]
    own.fields_ = None
    own.wire = b""
    return own
