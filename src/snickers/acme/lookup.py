"""Questions to the DNS, as certificate authorities ask them.

The system's own list of hosts is not looked at: an authority does not see it. Everything here
blocks, each question for a bounded time: call it in a thread. Must never take a question that
got no answer for one whose answer is *no*.
"""

from __future__ import annotations

from ipaddress import ip_address

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
from dns.rdtypes.ANY.CAA import CAA
from dns.rdtypes.ANY.TXT import TXT
from dns.rrset import RRset

from snickers.acme.asked import DNS_PORT, Held, NoSuchName, Server, Unanswered
from snickers.acme.caa import Record

WITHIN = 5.0
"""Seconds for one question: as long as resolvers themselves try."""
DIRECT = 3.0
"""Seconds for one question to one server of a zone."""
ALIASES = 8
"""How many aliases in a row are followed."""


class Lookup:
    """Asks *server*, or the resolvers of the system where that is ``None``.

    *within*: seconds for each question at most; *port*: of the servers of zones.
    """

    def __init__(
        self, server: Server | None = None, within: float = WITHIN, port: int = DNS_PORT
    ) -> None:
        self.server = server
        self._port = port
        self._within = within

    def _resolver(self) -> dns.resolver.Resolver:
        try:
            resolver = dns.resolver.Resolver(configure=self.server is None)
        except dns.resolver.NoResolverConfiguration:
            raise Unanswered("this host has no resolver (/etc/resolv.conf)") from None
        if self.server is not None:
            resolver.nameservers = [self.server.address]
            resolver.port = self.server.port
        resolver.lifetime = self._within
        return resolver

    def _ask(self, name: str, kind: str) -> dns.resolver.Answer:
        """Return the answer, which may be empty."""
        resolver = self._resolver()
        try:
            return resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN:
            raise NoSuchName(name) from None
        except dns.resolver.LifetimeTimeout:
            raise Unanswered(
                f"the DNS did not say within {self._within:g} s what {kind} {name} has"
            ) from None
        except dns.resolver.NoNameservers:
            raise Unanswered(
                f"the DNS fails when it is asked for {kind} of {name} (SERVFAIL or the like)"
            ) from None
        except (dns.exception.DNSException, OSError) as error:
            raise Unanswered(f"{kind} of {name} cannot be asked for: {error}") from None

    def addresses(self, name: str) -> tuple[str, ...]:
        """Return all addresses of *name*, sorted, those of IPv6 first; perhaps none.

        Fails with `NoSuchName`, or with `Unanswered` where none were found and some may be.
        """
        found: set[str] = set()
        silent: Unanswered | None = None
        for kind in ("AAAA", "A"):
            try:
                answer = self._ask(name, kind)
            except Unanswered as error:
                silent = error
            else:
                found.update(each.to_text() for each in answer.rrset or ())
        if not found and silent is not None:
            raise silent
        return tuple(sorted(found, key=lambda each: (-ip_address(each).version, each)))

    def caa(self, name: str) -> tuple[Record, ...]:
        """Return the CAA records of *name*, none where there is no such name.

        Fails with `Unanswered`."""
        try:
            answer = self._ask(name, "CAA")
        except NoSuchName:
            return ()
        return tuple(
            sorted(
                (
                    Record(
                        each.flags,
                        each.tag.decode("ascii", "replace").lower(),
                        each.value.decode("latin-1"),
                    )
                    for each in answer.rrset or ()
                    if isinstance(each, CAA)
                ),
                key=lambda each: (each.tag, each.value),
            )
        )

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the TXT records of *name*, none where there is no such name.

        Fails with `Unanswered`."""
        try:
            return _texts(self._ask(name, "TXT").rrset)
        except NoSuchName:
            return ()

    # Past the resolver

    def holders(self, name: str) -> Held:
        """Return who holds the TXT records of *name*, and under which name: its alias may lead into
        another zone.

        Fails with `Unanswered`.
        """
        name = self._canonical(name)
        zone = self._zone(name)
        found = []
        for each in self._ask(zone, "NS").rrset or ():
            server = each.target.to_text(omit_final_dot=True).lower()
            try:
                found += [Server(server, address, self._port) for address in self.addresses(server)]
            except (NoSuchName, Unanswered):
                continue  # the other servers of the zone are there for that
        if not found:
            raise Unanswered(f"the servers of the zone {zone} cannot be found")
        return Held(name, tuple(sorted(found)))

    def _canonical(self, name: str) -> str:
        for _ in range(ALIASES):
            try:
                answer = self._ask(name, "CNAME")
            except NoSuchName:
                return name
            if not answer.rrset:
                return name
            name = answer.rrset[0].target.to_text(omit_final_dot=True)
        raise Unanswered(f"{name} is an alias of an alias of an alias, without end")

    def _zone(self, name: str) -> str:
        try:
            zone = dns.resolver.zone_for_name(
                name, resolver=self._resolver(), lifetime=3 * self._within
            )
        except (dns.exception.DNSException, OSError) as error:
            raise Unanswered(f"the zone of {name} cannot be found: {error}") from None
        return zone.to_text(omit_final_dot=True)

    def texts_at(self, server: Server, name: str) -> tuple[str, ...]:
        """Return the TXT records of *name* as *server* itself has them, not as others remember.

        Fails with `Unanswered`.
        """
        message = dns.message.make_query(name, "TXT")
        message.flags &= ~dns.flags.RD
        try:
            answer, _ = dns.query.udp_with_fallback(
                message, server.address, timeout=min(DIRECT, self._within), port=server.port
            )
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise Unanswered(f"{server} does not answer: {error or type(error).__name__}") from None
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise Unanswered(f"{server} answers {dns.rcode.to_text(answer.rcode())}")
        return tuple(
            text
            for each in answer.answer
            if each.rdtype == dns.rdatatype.TXT
            for text in _texts(each)
        )


def _texts(records: RRset | None) -> tuple[str, ...]:
    found = [each for each in records or () if isinstance(each, TXT)]
    return tuple(sorted(b"".join(each.strings).decode("latin-1") for each in found))
