"""What is looked at before an authority is asked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography.hazmat.primitives import serialization
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme import reach
from snickers.acme.asked import NoSuchName, Unanswered
from snickers.acme.caa import Record
from snickers.acme.preflight import BeforeOrders, Findings, Preflight, is_public, ways
from snickers.acme.reach import ELSEWHERE, NOTHING, OTHER, OURS, Reached
from tests.dns_fake import FakeDNS
from tests.pairs import make_pair

PAIR = make_pair("a.example")
PEM = PAIR.key_pem + PAIR.pem
DER = PAIR.certificate.public_bytes(serialization.Encoding.DER)
IDENTITIES = ("letsencrypt.org",)
PUBLIC = "8.8.8.8"


class FakeLookup:
    """Knows *names*: their addresses, or what is raised; and *records* of CAA."""

    def __init__(self, names: Mapping[str, Any], records: Mapping[str, Any]) -> None:
        self.names = names
        self.records = records
        self.asked: list[str] = []

    def addresses(self, name: str) -> tuple[str, ...]:
        found = self.names.get(name, NoSuchName(name))
        if isinstance(found, Exception):
            raise found
        return tuple(found)

    def caa(self, name: str) -> tuple[Record, ...]:
        self.asked.append(name)
        found = self.records.get(name, ())
        if isinstance(found, Exception):
            raise found
        return tuple(found)


class PreflightCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.names: dict[str, Any] = {"a.example": [PUBLIC]}
        self.records: dict[str, Any] = {}
        self.http: dict[str, Reached] = {}
        self.tls: dict[str, Reached] = {}
        self.place = reach.DIRECT
        self.own: set[str] = set()
        self.time = 1000.0
        self.took = 0.0
        self.asked: list[tuple[Any, ...]] = []
        self.dns = FakeLookup(self.names, self.records)

    def by_http(
        self, name: str, address: str, port: int, path: str, content: bytes, within: float
    ) -> Reached:
        self.time += self.took
        self.asked.append(("http", name, address, port, within))
        token = path.removeprefix("/.well-known/acme-challenge/")
        file = self.folder / "http-01" / token
        self.assertEqual(file.read_bytes(), content)
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        self.assertNotIn(content, token.encode())
        return self.http.get(address, Reached(OURS))

    def by_tls(
        self, name: str, address: str, port: int, certificate: bytes, within: float
    ) -> Reached:
        self.asked.append(("tls", name, address, port, within))
        self.assertEqual((self.folder / "tls-alpn-01" / f"{name}.pem").read_bytes(), PEM)
        self.assertEqual(certificate, DER)
        return self.tls.get(address, Reached(OURS))

    def look(
        self,
        *names: str,
        make: bool = True,
        within: float = 30.0,
        left: Sequence[str] = (),
        **others: Any,
    ) -> Findings:
        found = Preflight(
            self.dns,
            str(self.folder),
            (lambda name, proof, now: PEM) if make else None,
            self.own,
            self.by_http,
            self.by_tls,
            lambda address: self.place,
            lambda: self.time,
            lambda: 1_800_000_000.0,
            within=within,
        ).look(names or ("a.example",), **others)
        # Whatever was put among the challenges is gone, but for what others have *left*.
        files = sorted(path.name for path in self.folder.rglob("*") if path.is_file())
        self.assertEqual(files, list(left))
        return found


class NameTests(PreflightCase):
    def test_well(self) -> None:
        """A name that leads here, and whose records allow the authority: nothing to be said."""
        self.records["example"] = [Record(0, "issue", "letsencrypt.org")]
        self.assertEqual(self.look(identities=IDENTITIES), Findings())
        self.assertEqual(self.asked, [("http", "a.example", PUBLIC, 80, 5.0)])

    def test_no_such_name(self) -> None:
        """A name that the DNS does not know is a fault."""
        self.assertEqual(
            self.look("b.example").faults,
            (
                "b.example: the DNS knows no such name: give it an A or AAAA record with an "
                "address of this host",
            ),
        )
        self.assertEqual(self.asked, [])

    def test_no_address(self) -> None:
        """A name without an address, too."""
        self.names["a.example"] = []
        (fault,) = self.look().faults
        self.assertIn("a.example: the DNS has no address for it", fault)

    def test_no_answer(self) -> None:
        """A DNS that is silent is no fault of the name."""
        self.names["a.example"] = Unanswered("the DNS is silent")
        self.assertEqual(
            self.look(), Findings((), ("a.example: where it leads: the DNS is silent",))
        )

    def test_private(self) -> None:
        """Private addresses are a fault, unless the authority is of this house itself."""
        self.names["a.example"] = ["fd00::1", PUBLIC, "192.168.1.4"]
        self.assertEqual(
            self.look().faults,
            (
                "a.example: leads to fd00::1 and 192.168.1.4, where nobody comes from the "
                "internet: its A and AAAA records must be public addresses that lead to this host",
            ),
        )
        self.assertEqual(self.look(public=False), Findings())

    def test_each_name(self) -> None:
        """Each name is looked at, and each said once."""
        self.assertEqual(
            [fault.split(":")[0] for fault in self.look("b.a", "a.example", "c.a", "b.a").faults],
            ["b.a", "c.a"],
        )


class CaaTests(PreflightCase):
    def test_forbidden(self) -> None:
        """A fault says whose records, why, and what to add."""
        self.records["example"] = [Record(0, "issue", "other.example")]
        self.assertEqual(
            self.look(identities=IDENTITIES).faults,
            (
                "a.example: the CAA records of example forbid it: issue allows other.example, "
                "not letsencrypt.org. Change them where the DNS of example is looked after: "
                '`example. CAA 0 issue "letsencrypt.org"` allows it',
            ),
        )

    def test_silent(self) -> None:
        """Records that cannot be had are a doubt."""
        self.records["example"] = Unanswered("it fails")
        self.assertEqual(
            self.look(identities=IDENTITIES),
            Findings((), ("a.example: whether CAA records allow the authority: it fails",)),
        )

    def test_asked_once(self) -> None:
        """What holds for several names is asked once."""
        self.names["b.example"] = [PUBLIC]
        self.look("a.example", "b.example")
        self.assertEqual(sorted(self.dns.asked), ["a.example", "b.example", "example"])

    def test_challenges(self) -> None:
        """Records for some challenges are held against those that may be used."""
        self.records["example"] = [Record(0, "issue", "letsencrypt.org;validationmethods=dns-01")]
        self.assertEqual(len(self.look(identities=IDENTITIES).faults), 1)
        self.assertEqual(self.look(identities=IDENTITIES, ways=("dns-01",)), Findings())

    def test_account(self) -> None:
        """So are those for one account."""
        self.records["example"] = [Record(0, "issue", "letsencrypt.org;accounturi=https://ca/1")]
        self.assertEqual(self.look(identities=IDENTITIES, account="https://ca/1"), Findings())
        self.assertEqual(len(self.look(identities=IDENTITIES, account="https://ca/2").faults), 1)

    def test_wildcard(self) -> None:
        """A wildcard needs no address, and goes by the records for wildcards."""
        self.records["example"] = [Record(0, "issuewild", ";")]
        found = self.look("*.example", identities=IDENTITIES)
        self.assertEqual(
            found.faults,
            (
                "*.example: the CAA records of example forbid it: issuewild allows no authority. "
                "Change them where the DNS of example is looked after: "
                '`example. CAA 0 issuewild "letsencrypt.org"` allows it',
            ),
        )
        self.assertEqual(self.asked, [])

    def test_dns_01(self) -> None:
        """A name that is proven by the DNS need not lead anywhere."""
        self.assertEqual(self.look("nowhere.example", ways=("dns-01",)), Findings())

    def test_dns_01_as_well(self) -> None:
        """Where the DNS is one of several ways, what is wrong with the others is a doubt."""
        ways = ("http-01", "dns-01")
        self.http[PUBLIC] = Reached(OTHER, "404")
        self.names["private.example"] = ["10.0.0.1"]
        found = self.look("a.example", "no.example", "private.example", ways=ways)
        self.assertEqual(found.faults, ())
        self.assertEqual(
            [doubt.split(":")[0] for doubt in found.doubts],
            ["a.example", "no.example", "private.example"],
        )


class ReachTests(PreflightCase):
    def test_by_tls(self) -> None:
        """Where the plain port is somebody else's, the https port may still be ours."""
        self.http[PUBLIC] = Reached(OTHER, "404")
        self.assertEqual(self.look(), Findings())
        self.assertEqual([each[:4] for each in self.asked][1], ("tls", "a.example", PUBLIC, 443))

    def test_another_server(self) -> None:
        """Both are somebody else's: a fault, with what both have said."""
        self.http[PUBLIC] = Reached(OTHER, "404")
        self.tls[PUBLIC] = Reached(OTHER, "another certificate")
        self.assertEqual(
            self.look(),
            Findings(
                (
                    "a.example: leads to 8.8.8.8, where another server answers (port 80: 404, "
                    "port 443: another certificate): have its A and AAAA records lead to this "
                    "host, or that server hand on "
                    "http://a.example/.well-known/acme-challenge/",
                )
            ),
        )

    def test_behind_a_router(self) -> None:
        """From behind a router the same is only a doubt."""
        self.place = reach.BEHIND
        self.http[PUBLIC] = self.tls[PUBLIC] = Reached(OTHER, "404")
        found = self.look()
        self.assertEqual(found.faults, ())
        self.assertIn("that may be the router alone", found.doubts[0])

    def test_not_that_router(self) -> None:
        """Where this Snickers reaches itself through its router, another address is another
        server's, and it is a fault."""
        self.place = reach.BEHIND
        self.names["b.example"] = ["9.9.9.9"]
        self.http["9.9.9.9"] = self.tls["9.9.9.9"] = Reached(OTHER, "404")
        found = self.look("b.example")
        self.assertEqual((len(found.faults), len(found.doubts)), (0, 1))
        self.assertEqual(self.look("a.example"), Findings())
        self.assertEqual(self.own, {PUBLIC})
        found = self.look("b.example")
        self.assertEqual((len(found.faults), len(found.doubts)), (1, 0))
        # Of the other family nothing is known by that; nor where the address itself was ours.
        self.names["b.example"] = ["2001:4860::8"]
        self.http["2001:4860::8"] = self.tls["2001:4860::8"] = Reached(OTHER, "404")
        self.assertEqual(self.look("b.example").faults, ())
        self.http[PUBLIC] = self.tls[PUBLIC] = Reached(OTHER, "404")
        self.assertEqual(self.look("a.example").faults, ())

    def test_only_one(self) -> None:
        """A site that is proven in one way is looked at in that way alone."""
        self.http[PUBLIC] = Reached(OTHER, "404")
        self.assertEqual(len(self.look(ways=("http-01",)).faults), 1)
        self.assertEqual(self.look(ways=("tls-alpn-01",)), Findings())
        self.assertEqual([each[0] for each in self.asked], ["http", "tls"])

    def test_nobody(self) -> None:
        """Silence is a doubt, since it may be so from here alone."""
        self.http[PUBLIC] = Reached(NOTHING, "no answer")
        self.tls[PUBLIC] = Reached(OTHER, "another certificate")
        self.assertEqual(
            self.look(),
            Findings(
                (),
                (
                    "a.example: leads to 8.8.8.8, which cannot be reached from here (port 80: no "
                    "answer, port 443: another certificate): whether it can from the internet "
                    "cannot be told",
                ),
            ),
        )

    def test_sent_on(self) -> None:
        """A redirect is a doubt."""
        self.http[PUBLIC] = Reached(ELSEWHERE, "301")
        self.tls[PUBLIC] = Reached(OTHER, "another certificate")
        found = self.look()
        self.assertEqual(found.faults, ())
        self.assertIn("which sends on to elsewhere", found.doubts[0])

    def test_one_of_several(self) -> None:
        """An authority may take any of the addresses: one that is not ours is a fault."""
        self.names["a.example"] = ["2001:4860::8", PUBLIC]
        self.http["2001:4860::8"] = self.tls["2001:4860::8"] = Reached(OTHER, "404")
        (fault,) = self.look().faults
        self.assertIn("leads to 2001:4860::8, where another server answers", fault)

    def test_without_certificates(self) -> None:
        """Where nobody makes certificates of challenges, only the plain port is looked at."""
        self.http[PUBLIC] = Reached(OTHER, "404")
        self.assertEqual(len(self.look(make=False).faults), 1)
        self.assertEqual(self.look(make=False, ways=("tls-alpn-01",)), Findings())
        self.assertEqual([each[0] for each in self.asked], ["http"])

    def test_order_in_flight(self) -> None:
        """The certificate of an order that is under way is left alone, and not looked for."""
        path = self.folder / "tls-alpn-01" / "a.example.pem"
        path.parent.mkdir(parents=True)
        path.write_text("of an order")
        self.http[PUBLIC] = Reached(OTHER, "404")
        self.look(left=["a.example.pem"])
        self.assertEqual(path.read_text(), "of an order")
        self.assertEqual([each[0] for each in self.asked], ["http"])

    def test_order_begun_meanwhile(self) -> None:
        """What an order has put in place of ours is left alone."""
        path = self.folder / "tls-alpn-01" / "a.example.pem"
        self.tls[PUBLIC] = Reached(OTHER, "x")
        real = self.by_tls

        def by_tls(*arguments: Any) -> Reached:
            found = real(*arguments)
            path.write_text("of an order")
            return found

        self.by_tls = by_tls  # type: ignore[method-assign]
        self.look(ways=("tls-alpn-01",), left=["a.example.pem"])
        self.assertEqual(path.read_text(), "of an order")


class BoundsTests(PreflightCase):
    def test_time(self) -> None:
        """There is a time for all names together; what is left is a doubt, not a fault."""
        self.names |= {"b.example": [PUBLIC], "c.example": [PUBLIC]}
        self.took = 12.0
        found = self.look("a.example", "b.example", "c.example", within=14.0)
        self.assertEqual(
            found,
            Findings(
                (),
                (
                    "b.example: there was no time left to look at it",
                    "c.example: there was no time left to look at it",
                ),
            ),
        )
        self.assertEqual([each[4] for each in self.asked], [5.0, 2.0])

    def test_left_by_a_killed_one(self) -> None:
        """Tokens of processes that were killed are swept, those of others are not."""
        folder = self.folder / "http-01"
        folder.mkdir(parents=True)
        for name in ("preflight-old", "preflight-young", "authoritys"):
            (folder / name).write_text("x")
        os.utime(folder / "preflight-old", (1, 1))
        os.utime(folder / "authoritys", (1, 1))
        self.look(left=["authoritys", "preflight-young"])

    def test_folder(self) -> None:
        """A folder that cannot be written to is told as what it is, and faults no name."""
        self.folder.write_text("a file")
        found = Preflight(self.dns, str(self.folder), by_http=self.by_http).look(["a.example"])
        self.assertEqual(found.faults, ())
        self.assertIn("no challenge could be looked for", found.doubts[0])


class WholeTests(SynchronousTestCase):
    """With a DNS of its own, and nobody at the address."""

    def test_before_orders(self) -> None:
        """Settings become a look: the resolver, the folder, and whether the authority is public."""
        dns = FakeDNS(
            self,
            {
                "a.example": {"A": ["127.0.0.1"]},
                "example": {"CAA": ['0 issue "other.example"']},
            },
        )

        @frozen
        class Settings:
            state: str = self.mktemp()
            http: tuple[str, ...] = ("tcp:80",)
            acme_resolver: str = f"127.0.0.1:{dns.port}"
            acme_trust: str = ""
            acme_dns_hook: tuple[str, ...] = ()
            acme_directory: str = "https://8.8.8.8/directory"

        before = BeforeOrders(http_port=1, https_port=1)

        def faults(settings: Settings, **others: Any) -> Sequence[str]:
            return before(("a.example",), settings, identities=IDENTITIES, **others)

        public = faults(Settings())
        self.assertEqual(len(public), 2)
        self.assertIn("leads to 127.0.0.1, where nobody comes from the internet", public[0])
        self.assertIn("the CAA records of example forbid it", public[1])
        with capturedLogs() as logged:
            own = faults(Settings(acme_trust="root.pem"))
        said = [event["doubt"] for event in logged if "doubt" in event]
        self.assertEqual(own, public[1:])
        self.assertIn("which cannot be reached from here (port 1: refused)", said[0])
        self.assertEqual(
            before(("x.example",), Settings(acme_trust="r"), "http-01")[0].split(":")[0],
            "x.example",
        )

    def test_ways(self) -> None:
        """What a site says holds; else what this Snickers can do."""

        @frozen
        class Settings:
            http: tuple[str, ...] = ()
            acme_dns_hook: tuple[str, ...] = ()
            state: str = ""
            acme_resolver: str = ""
            acme_trust: str = ""
            acme_directory: str = ""

        self.assertEqual(ways("http-01", Settings()), ("http-01",))
        self.assertEqual(ways("auto", Settings()), ("tls-alpn-01",))
        self.assertEqual(
            ways("auto", Settings(("tcp:80",), ("/hook",))), ("http-01", "tls-alpn-01", "dns-01")
        )

    def test_public(self) -> None:
        """An authority on the internet is told from one of the house, and where that cannot be
        told, nothing is held against private addresses."""

        @frozen
        class Settings:
            acme_directory: str
            acme_trust: str = ""
            http: tuple[str, ...] = ()
            acme_dns_hook: tuple[str, ...] = ()
            state: str = ""
            acme_resolver: str = ""

        dns = FakeLookup(
            {
                "ca.example": [PUBLIC, "2001:4860::8"],
                "inner.example": ["10.0.0.1"],
                "silent.example": Unanswered("silent"),
                "empty.example": [],
            },
            {},
        )
        for url, trust, found in (
            ("https://ca.example:14000/dir", "", True),
            ("https://ca.example/dir", "root.pem", False),
            ("https://inner.example/dir", "", False),
            ("https://silent.example/dir", "", False),
            ("https://empty.example/dir", "", False),
            ("https://none.example/dir", "", False),
            ("https://8.8.8.8/dir", "", True),
            ("https://[::1]:14000/dir", "", False),
        ):
            self.assertEqual(is_public(Settings(url, trust), dns), found, url)
