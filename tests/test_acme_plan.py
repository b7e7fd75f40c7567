"""What is to be done about a site's certificate."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme import plan
from snickers.acme.plan import LETS_ENCRYPT, QUIET, Held, Known, Memory
from snickers.acme.renewal import ASK_MOST, Window, retry_pause
from snickers.config.values import Settings, Site, Static
from snickers.tls.credentials import join, read_certificates
from tests.acme_fake import Authority

NOW = 1_800_000_000.0
DAY = 86400.0
SITE = Site("a.example", Static("/"), also=("www.a.example",), certificates="acme")
WILD = Site("*.a.example", Static("/"), certificates="acme")


def certificate(*names: str, begin: float = NOW - DAY, end: float = NOW + 89 * DAY) -> Held:
    """A certificate."""
    return Held(names or SITE.names, begin, end, 1234, end - 14 * DAY)


class NextTests(SynchronousTestCase):
    def next(self, **known: object) -> float:
        """When the next try is."""
        return plan.next_try(SITE, Known(**known), NOW)  # type: ignore[arg-type]

    def test_lacking(self) -> None:
        """A site without a certificate, or without one for all its names that is in time, is
        served at once."""
        for found in (
            None,
            certificate("a.example"),
            certificate(end=NOW),
            certificate(begin=NOW + 1),
        ):
            self.assertEqual(self.next(held=found), NOW)

    def test_in_flight(self) -> None:
        """An order that was begun is taken up at once."""
        self.assertEqual(self.next(held=certificate(), in_flight=True), NOW)

    def test_fresh(self) -> None:
        """A fresh one is renewed when its time has come."""
        made = certificate()
        at = self.next(held=made)
        self.assertTrue(made.not_after - made.life * 0.4 < at < made.not_after - made.life / 3)

    def test_window(self) -> None:
        """The authority's window decides."""
        memory = Memory(window=Window(NOW - 10, NOW - 5))
        self.assertTrue(NOW - 10 <= self.next(held=certificate(), memory=memory) <= NOW - 5)

    def test_suggested_again(self) -> None:
        """An authority that always suggests the past is not asked on and on: the second time it is
        a twentieth of the life, and at the most twelve hours, until the next."""
        memory = Memory(window=Window(0.0, 1.0), suggested=True)
        for life, wait in ((90 * DAY, DAY / 2), (5 * DAY, DAY / 4)):
            made = certificate(begin=NOW, end=NOW + life)
            self.assertEqual(self.next(held=made, memory=memory), NOW + wait)
            first = evolve(memory, suggested=False)
            self.assertLess(self.next(held=made, memory=first), NOW)

    def test_after_failure(self) -> None:
        """After a failure nothing is tried before its pause is over, whatever is lacking."""
        memory = Memory(failures=1, next=NOW + 300)
        self.assertEqual(self.next(memory=memory), NOW + 300)
        self.assertEqual(self.next(memory=memory, in_flight=True), NOW + 300)
        self.assertEqual(self.next(memory=evolve(memory, failures=0)), NOW)

    def test_clock_was_ahead(self) -> None:
        """A pause that a clock has written that was years ahead is none."""
        memory = Memory(failures=1, next=NOW + 900 * DAY)
        self.assertEqual(self.next(memory=memory), NOW)

    def test_urgency(self) -> None:
        """Who has none comes first, then whose ends first."""
        first = plan.urgency(SITE, Known(), NOW)
        second = plan.urgency(SITE, Known(certificate(end=NOW + 5)), NOW)
        third = plan.urgency(SITE, Known(certificate(end=NOW + 9)), NOW)
        self.assertTrue(first < second < third)
        self.assertEqual(plan.urgency(SITE, Known(certificate("b.example")), NOW), first)


class HeldTests(SynchronousTestCase):
    def test_of(self) -> None:
        """It says the same of names and dates as the certificate that it was made of."""
        authority = Authority("https://ca.example/", lambda: NOW)
        pem = authority.sign(authority.key.public_key(), ["*.a.example", "b.example"])
        key = authority.key
        made = join(key, read_certificates(pem, ""), "")
        held = Held.of(made)
        self.assertEqual(held.serial, made.chain[0].serial_number)
        for name in ("a.example", "x.a.example", "y.x.a.example", "*.a.example", "b.example"):
            self.assertEqual(held.covers(name), made.covers(name), name)
        self.assertEqual((held.life, held.warn_at), (made.life, made.warn_at))


class WaysTests(SynchronousTestCase):
    def test_challenges(self) -> None:
        """What has worked is tried first, and only what can work here."""
        settings = Settings()
        hooked = Settings(acme_dns_hook=("hook",))
        both = ("http-01", "tls-alpn-01")
        for site, held, learnt, ways in [
            (SITE, settings, "", both),
            (SITE, settings, "tls-alpn-01", both[::-1]),
            (SITE, settings, "dns-01", both),
            (SITE, hooked, "", (*both, "dns-01")),
            (SITE, hooked, "dns-01", ("dns-01", *both)),
            (SITE, Settings(http=()), "http-01", ("tls-alpn-01",)),
            (evolve(SITE, acme_challenge="tls-alpn-01"), settings, "http-01", ("tls-alpn-01",)),
            (WILD, hooked, "http-01", ("dns-01",)),
        ]:
            self.assertEqual(plan.challenges(site, held, learnt), ways)

    def test_impossible(self) -> None:
        """What cannot succeed is known before anybody is asked."""
        settings = Settings()
        dns = evolve(SITE, acme_challenge="dns-01")
        plain = evolve(SITE, acme_challenge="http-01")
        self.assertEqual(plan.impossible(SITE, settings), "")
        self.assertIn("acme dns hook", plan.impossible(WILD, settings))
        self.assertIn("acme dns hook", plan.impossible(dns, settings))
        self.assertIn("see `http`", plan.impossible(plain, Settings(http=())))
        for site in (WILD, dns):
            self.assertEqual(plan.impossible(site, Settings(acme_dns_hook=("hook",))), "")

    def test_directories(self) -> None:
        """The first authority, then the other one; the rehearsals of whom they are known."""
        self.assertEqual(plan.directories(Settings()), (LETS_ENCRYPT,))
        both = Settings(acme_directory="https://a/", acme_fallback="https://b/")
        self.assertEqual(plan.directories(both), ("https://a/", "https://b/"))
        self.assertIn("staging", plan.staging_of(Settings()))
        self.assertEqual(plan.staging_of(both), "")
        self.assertEqual(plan.staging_of(evolve(both, acme_staging="https://c/")), "https://c/")


class MemoryTests(SynchronousTestCase):
    @given(st.integers(0, 200), st.floats(0, 1), st.none() | st.floats(0, 1e6))
    def test_failure(self, failures: int, jitter: float, wait: float | None) -> None:
        """A failure makes the pause no shorter than it grows by itself, nor than was asked for;
        more than a day and a bit nobody can ask for."""
        after = plan.after_failure(Memory(failures=failures), "proof", "words", wait, NOW, jitter)
        self.assertEqual(
            (after.failures, after.fault, after.kind), (failures + 1, "words", "proof")
        )
        pause = retry_pause(failures + 1, jitter)
        asked = min(wait or 0.0, 1.25 * DAY)
        self.assertAlmostEqual(after.next - NOW, max(pause, asked), 3)

    def test_rehearsal(self) -> None:
        """It is rehearsed until a rehearsal has succeeded, whatever comes in between."""
        after = plan.after_failure(Memory(), "proof", "", None, NOW, 0, rehearse=True)
        self.assertTrue(after.rehearse)
        self.assertTrue(plan.after_failure(after, "away", "", None, NOW, 0).rehearse)

    def test_success(self) -> None:
        """Success forgets failures, and keeps what was learnt; a wildcard teaches nothing."""
        before = Memory(failures=3, next=NOW, fault="x", kind="proof", challenge="http-01")
        self.assertEqual(
            plan.after_success(before, "tls-alpn-01", "https://ca/", "id"),
            Memory(challenge="tls-alpn-01", authority="https://ca/", identity="id"),
        )
        self.assertEqual(plan.after_success(before, "", "https://ca/", "id").challenge, "http-01")

    def test_told(self) -> None:
        """What only a person can mend is told at once; what time mends is told when it has not; a
        limit is told at once to who has no certificate."""

        def told(kind: str, failures: int, lacking: bool = False) -> bool:
            return plan.to_tell(Memory(failures=failures, fault="x", kind=kind), lacking)

        self.assertTrue(told("proof", 1))
        self.assertTrue(told("preflight", 1))
        self.assertFalse(told("away", QUIET - 1, lacking=True))
        self.assertTrue(told("away", QUIET))
        self.assertFalse(told("limited", 1))
        self.assertTrue(told("limited", 1, lacking=True))
        self.assertFalse(plan.to_tell(Memory(), True))


class WindowTests(SynchronousTestCase):
    def asks(self, now: float = NOW, **memory: object) -> bool:
        """Whether the window of a certificate is asked for."""
        known = Known(certificate(), Memory(**{"identity": "it", **memory}))  # type: ignore[arg-type]
        return plan.asks_for_window(known, now)

    def test_asks(self) -> None:
        """It is asked for when the time has come, of one that an authority knows."""
        self.assertTrue(self.asks())
        self.assertTrue(self.asks(ask_at=NOW))
        self.assertFalse(self.asks(ask_at=NOW + 1))
        self.assertFalse(self.asks(identity=""))
        self.assertFalse(plan.asks_for_window(Known(None, Memory(identity="it")), NOW))

    def test_ended(self) -> None:
        """One that has ended has no window."""
        end = certificate().not_after
        self.assertTrue(self.asks(end - 1))
        self.assertFalse(self.asks(end))

    def test_wrong_clock(self) -> None:
        """A date that no authority may have asked for was written by a clock that was wrong."""
        self.assertFalse(self.asks(ask_at=NOW + ASK_MOST))
        self.assertTrue(self.asks(ask_at=NOW + ASK_MOST + 1))


class DecisiveTests(SynchronousTestCase):
    def test_decisive(self) -> None:
        """What concerns orders may mend one that has failed; the rest does not."""
        settings = Settings()
        before = plan.decisive(settings)
        self.assertEqual(plan.decisive(evolve(settings, awake_limit=3)), before)
        for change in (
            {"acme_directory": "https://other"},
            {"acme_fallback": "https://other"},
            {"acme_email": "me@a.example"},
            {"acme_dns_hook": ("hook",)},
            {"acme_preflight": not settings.acme_preflight},
        ):
            self.assertNotEqual(plan.decisive(evolve(settings, **change)), before, change)
