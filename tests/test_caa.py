"""CAA records, as an authority must read them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.caa import NOBODY, Asked, Issuer, Record, forbids, parents, read, relevant

LE = Asked(("letsencrypt.org",), ("http-01", "tls-alpn-01"), "https://ca.example/acct/7")


def issue(value: str, tag: str = "issue", flags: int = 0) -> Record:
    return Record(flags, tag, value)


class ReadTests(SynchronousTestCase):
    def test_domain(self) -> None:
        """The authority's domain, whatever blanks are around it and however it is written."""
        for value in (
            "letsencrypt.org",
            " LetsEncrypt.org\t",
            "letsencrypt.org;",
            "letsencrypt.org ; ",
        ):
            self.assertEqual(read(value), Issuer("letsencrypt.org"), value)

    def test_parameters(self) -> None:
        """Parameters in order, their tags in lower case, their values as they are."""
        self.assertEqual(
            read(
                "ca.example; AccountURI=https://ca.example/acct/7?x=1; validationmethods = dns-01"
            ),
            Issuer(
                "ca.example",
                (("accounturi", "https://ca.example/acct/7?x=1"), ("validationmethods", "dns-01")),
            ),
        )
        self.assertEqual(read("; policy=ev").domain, "")

    def test_nobody(self) -> None:
        """An empty domain allows nobody, and neither does anything malformed."""
        for value in (
            "",
            ";",
            " ; ",
            "%%%%%",
            "ca..example",
            "-ca.example",
            "ca.example; policy",
            "ca.example; p=a b",
            "ca.example;; p=a",
            "ca.example; =x",
            "ca.example p=a",
            "cä.example",
        ):
            self.assertEqual(read(value).domain, "", value)
        self.assertEqual(read("ca.example; broken"), NOBODY)

    @given(st.text())
    def test_anything(self, value: str) -> None:
        """Whatever is in the DNS is read, and names a domain only if it is one."""
        domain = read(value).domain
        self.assertEqual(domain, domain.lower())
        self.assertNotIn(" ", domain)
        self.assertNotIn(";", domain)


class RelevantTests(SynchronousTestCase):
    def test_parents(self) -> None:
        """A name, then what is above it, up to the top; of a wildcard what it stands below."""
        self.assertEqual(parents("a.b.example"), ["a.b.example", "b.example", "example"])
        self.assertEqual(parents("*.b.example"), ["b.example", "example"])

    def test_nearest(self) -> None:
        """The nearest records alone hold, also if they say nothing of issuing."""
        zone = {"b.example": [issue("mailto:a@b.example", "iodef")], "example": [issue(";")]}
        asked: list[str] = []

        def look_up(name: str) -> list[Record]:
            asked.append(name)
            return zone.get(name, [])

        self.assertEqual(relevant("a.b.example", look_up), ("b.example", zone["b.example"]))
        self.assertEqual(asked, ["a.b.example", "b.example"])
        self.assertEqual(relevant("other.test", look_up), ("", []))


class ForbidsTests(SynchronousTestCase):
    def allowed(self, *records: Record, asked: Asked = LE) -> None:
        self.assertEqual(forbids(records, asked), "")

    def forbidden(self, words: str, *records: Record, asked: Asked = LE) -> None:
        self.assertEqual(forbids(records, asked), words)

    def test_unrestricted(self) -> None:
        """No records, or none about issuing: everybody may."""
        self.allowed()
        self.allowed(issue("mailto:a@b.example", "iodef"), issue("x", "futuretag"))

    def test_named(self) -> None:
        """One of several records that names the authority is enough."""
        self.allowed(issue("letsencrypt.org"))
        self.allowed(issue("other.example"), issue("LETSENCRYPT.ORG"), issue(";"))

    def test_others(self) -> None:
        """Others may, this one may not; the words name both."""
        self.forbidden(
            "issue allows a.example or b.example, not letsencrypt.org",
            issue("b.example"),
            issue("a.example"),
            issue("a.example; x=y"),
        )

    def test_nobody(self) -> None:
        """Nobody may, which can be told also of an authority without identities."""
        for asked in (LE, Asked(())):
            self.forbidden("issue allows no authority", issue(";"), asked=asked)
            self.forbidden("issue allows no authority", issue("broken value"), asked=asked)
        self.allowed(issue("a.example"), asked=Asked(()))

    def test_wildcard(self) -> None:
        """Wildcards go by ``issuewild`` where there is one, other names never do."""
        wild = Asked(("letsencrypt.org",), wildcard=True)
        self.allowed(issue("letsencrypt.org"), asked=wild)
        self.forbidden(
            "issuewild allows no authority",
            issue("letsencrypt.org"),
            issue(";", "issuewild"),
            asked=wild,
        )
        self.allowed(issue(";"), issue("letsencrypt.org", "issuewild"), asked=wild)
        self.allowed(issue("letsencrypt.org"), issue(";", "issuewild"))
        self.forbidden(
            "issue allows no authority", issue(";"), issue("letsencrypt.org", "issuewild")
        )
        self.allowed(issue(";", "issuewild"))

    def test_critical(self) -> None:
        """A critical record that nobody understands forbids; a known or uncritical one does not."""
        self.forbidden(
            "a critical record has the tag 'tbs', which no authority knows",
            issue("letsencrypt.org"),
            issue("unknown", "tbs", 128),
        )
        self.allowed(issue("letsencrypt.org", flags=128), issue("x", "tbs", 1))

    def test_account(self) -> None:
        """A record for an account allows that one alone; before there is one it is not held
        against the order."""
        own = issue("letsencrypt.org; accounturi=https://ca.example/acct/7")
        other = issue("letsencrypt.org; accounturi=https://ca.example/acct/8")
        self.allowed(own)
        self.allowed(other, own)
        self.forbidden(
            "issue for letsencrypt.org allows only the account https://ca.example/acct/8, and "
            "this one is https://ca.example/acct/7",
            other,
        )
        self.allowed(other, asked=Asked(("letsencrypt.org",)))
        self.forbidden(
            "issue for letsencrypt.org allows more than one accounturi, which allows no account",
            issue("letsencrypt.org; accounturi=https://ca.example/acct/7; accounturi=x"),
        )

    def test_methods(self) -> None:
        """A record for some challenges allows an order that may use one of them."""
        self.allowed(issue("letsencrypt.org; validationmethods=dns-01,tls-alpn-01"))
        self.allowed(issue("letsencrypt.org; validationmethods=dns-01"), asked=Asked(LE.identities))
        self.forbidden(
            "issue for letsencrypt.org allows only dns-01, and this would be http-01 or "
            "tls-alpn-01",
            issue("letsencrypt.org; validationmethods=dns-01"),
        )
        self.forbidden(
            "issue for letsencrypt.org allows only no challenge, and this would be http-01 or "
            "tls-alpn-01",
            issue("letsencrypt.org; validationmethods="),
        )
        self.forbidden(
            "issue for letsencrypt.org allows more than one validationmethods, which allows none",
            issue("letsencrypt.org; validationmethods=http-01; validationmethods=dns-01"),
        )
