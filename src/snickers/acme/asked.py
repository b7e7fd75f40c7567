"""What the DNS says, as values, and how it fails to say it.

Pure, and apart from who asks it (`snickers.acme.lookup`), so that a host that asks nothing loads
nothing of that.
"""

from __future__ import annotations

from attrs import frozen

DNS_PORT = 53


class Unanswered(Exception):
    """It cannot be told what the DNS says; the text says whom that is owed to."""


class NoSuchName(Exception):
    """The name does not exist, says the DNS."""


@frozen(order=True)
class Server:
    """A server of a zone."""

    name: str
    """Its own name, or the address where it is known by that alone."""
    address: str
    port: int = DNS_PORT

    def __str__(self) -> str:
        return self.name if self.name == self.address else f"{self.name} ({self.address})"


@frozen
class Held:
    """Where the records of a name are."""

    name: str
    """Where its aliases lead."""
    servers: tuple[Server, ...]
    """Sorted; each address is one."""


def server_at(text: str) -> Server | None:
    """Return the server that an option of the form ``ADDRESS:PORT`` (IPv6 in brackets) names;
    ``None`` for an empty one."""
    if not text:
        return None
    address, _, port = text.rpartition(":")
    address = address.strip("[]")
    return Server(address, address, int(port))
