"""Certificates from a real ACME server, `pebble`: ordered, renewed, and what goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

from attrs import evolve
from cryptography import x509
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from snickers.acme.attempt import Preflight
from snickers.acme.challenges import Challenges, Dns
from snickers.acme.dnshook import dns_hook
from snickers.acme.errands import Errands
from snickers.acme.keys import identity_of
from snickers.acme.ledger import Ledger
from snickers.acme.service import Acme
from snickers.acme.store import Store
from snickers.config.values import Settings, Site, Static
from snickers.tls.credentials import (
    CertificateUnavailable,
    Credentials,
    join,
    read_certificates,
    read_key,
)
from tests import acme_child
from tests.live_setup import SETTINGS, Snickers
from tests.pebble_setup import LACKING, Answering, Front, Pebble

WITHIN = 120.0
SIDE_BY_SIDE = 4
"""Processes that order and are killed, at once: most of their time is waiting."""
DAY = 86400.0


HOOK = """#!{python}
import json, sys, urllib.request
told, what, domain, value = sys.argv[1:]
with open(told, "a") as file:
    print(what, domain, value, file=file)
said = dict(host=domain + ".", value=value) if what == "add" else dict(host=domain + ".")
path = "set-txt" if what == "add" else "clear-txt"
urllib.request.urlopen("http://127.0.0.1:{port}/" + path, json.dumps(said).encode()).close()
"""
"""A program that writes into the DNS of the tests."""


def stored(folder: Path, site: str) -> Credentials:
    """The certificate of *site* in the folder of the state, whose key must be with it."""
    path = folder / "certificates" / f"{site}.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    data = path.read_bytes()
    return join(read_key(data, str(path)), read_certificates(data, str(path)), str(path))


def leftovers(folder: Path) -> list[str]:
    """The files of orders in flight, of answers, and those that were not finished."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file()
        and (path.parent.name in ("orders", "http-01", "tls-alpn-01") or path.suffix == ".new")
    )


class Alarms:
    """Keeps what is raised."""

    def __init__(self) -> None:
        self.raised_: list[tuple[str, str, str]] = []
        self.current: set[tuple[str, str]] = set()

    def raised(self, kind: str, site: str, message: str) -> None:
        self.raised_.append((kind, site, message))
        self.current.add((kind, site))

    def cleared(self, kind: str, site: str) -> None:
        self.current.discard((kind, site))


class Town:
    """One `Acme` that is on duty, for *test*; another one of the same *folder* may be beside it."""

    def __init__(
        self,
        test: TestCase,
        folder: Path,
        settings: Settings,
        dns: Dns | None = None,
        preflight: Preflight | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.alarms = Alarms()
        self.replaced: Counter[str] = Counter()
        self.store = Store(str(folder))
        self.acme = Acme(
            reactor,
            Errands(reactor, 8, "acme"),
            Errands(reactor, 4, "slow"),
            self.store,
            Challenges(str(folder / "challenges"), dns),
            lambda: self.settings,
            self.alarms,
            wall,
            self._replaced,
            preflight,
            chance=lambda: 0.0,
        )
        test.addCleanup(self.acme.stop)
        self.acme.start()

    def _replaced(self, site: str) -> None:
        self.replaced[site] += 1

    def site(self, name: str, *also: str, **more: Any) -> Site:
        """A site that wants a certificate."""
        return Site(name, Static("/"), also=also, certificates="acme", **more)

    def add(self, *sites: Site) -> None:
        """Have the configuration say so."""
        self.acme.apply(sites, [], [])

    async def until(self, so: Callable[[], object]) -> None:
        """Wait until something is *so*."""
        end = time.monotonic() + WITHIN
        while not so():
            if time.monotonic() > end:
                raise AssertionError(f"it never was so: {self.acme.states()}")
            await deferLater(reactor, 0.02)

    async def has(self, *sites: str, times: int = 1) -> None:
        """Wait until each of *sites* has got a certificate so many times, and nothing goes on."""
        await self.until(lambda: all(self.replaced[site] >= times for site in sites))
        await self.until(lambda: all(self.state(site)["step"] == "waiting" for site in sites))

    async def fails(self, site: str) -> str:
        """Wait until an order for *site* has failed; return why."""
        before = self.state(site).get("failures", 0)
        await self.until(lambda: self.state(site).get("failures", 0) > before)
        await self.until(lambda: self.state(site)["step"] == "waiting")
        return str(self.state(site)["fault"])

    def state(self, site: str) -> Any:
        """What is said of *site*."""
        return self.acme.states()[site]

    def stored(self, site: str) -> Credentials:
        """Its certificate."""
        return stored(self.folder, site)

    def renew(self, site: str) -> Deferred[None]:
        """Renew it now."""
        return self.acme.renew(site, lambda words: None)


class AcmeCase(TestCase):
    """Has a folder, and what is started on demand."""

    skip = LACKING
    timeout = 300

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.state = self.folder / "state" / "acme"

    def pebble(self, **more: Any) -> Pebble:
        """A pebble whose challenges are answered."""
        answering = self.answering = Answering(self.state / "challenges")
        self.addCleanup(answering.close)
        pebble = Pebble(self.folder / "pebble", answering.http, answering.https, **more)
        self.addCleanup(pebble.close)
        return pebble

    def front(self, pebble: Pebble) -> Front:
        """Somebody who stands in front of it."""
        front = Front(pebble)
        self.addCleanup(front.close)
        return front

    def town(self, pebble: Pebble, directory: str = "", **more: Any) -> Town:
        """One who orders, of *directory* or *pebble* itself."""
        settings = Settings(
            acme_directory=directory or pebble.directory,
            acme_trust=pebble.trust,
            state=str(self.folder / "state"),
        )
        return Town(self, self.state, settings, **more)


class OrderTests(AcmeCase):
    """A certificate is had."""

    async def issue(self, challenge: str) -> None:
        pebble = self.pebble()
        town = self.town(pebble)
        town.add(town.site("alice.example", "www.alice.example", acme_challenge=challenge))
        await town.has("alice.example")
        made = town.stored("alice.example")
        self.assertEqual(set(made.names), {"alice.example", "www.alice.example"})
        self.assertEqual(type(made.key).__name__, "ECPrivateKey")
        # Leaf first, then what leads to the root, which is left out.
        made.chain[0].verify_directly_issued_by(made.chain[1])
        made.chain[1].verify_directly_issued_by(pebble.root())
        self.assertEqual(len(made.chain), 2)
        self.assertEqual(set(self.answering.asked), {challenge})
        self.assertEqual(leftovers(self.state), [])
        self.assertEqual(town.state("alice.example")["challenge"], challenge)
        self.assertEqual(town.state("alice.example")["fault"], "")
        self.assertEqual(town.alarms.raised_, [])
        for path in self.state.rglob("*"):
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    async def test_http(self) -> None:
        """By http-01: key and chain in one file, for all names of the site, and nothing is left."""
        await self.issue("http-01")

    async def test_tls_alpn(self) -> None:
        """By tls-alpn-01, the same."""
        await self.issue("tls-alpn-01")

    async def test_wildcard(self) -> None:
        """A wildcard is proven by dns-01, the site's other names by what else works: the owner's
        program adds the record, which is waited for, and removes it."""
        pebble = self.pebble()
        hook = self.folder / "hook"
        hook.write_text(HOOK.format(python=sys.executable, port=pebble.dns_management))
        hook.chmod(0o755)
        town = self.town(pebble, dns=dns_hook(lambda: town.settings))
        town.settings = evolve(
            town.settings,
            acme_dns_hook=(str(hook), str(self.folder / "told")),
            acme_resolver=f"127.0.0.1:{pebble.dns}",
        )
        town.add(town.site("*.alice.example", "alice.example"))
        await town.has("*.alice.example")
        made = stored(self.state, "_wildcard.alice.example")
        self.assertEqual(set(made.names), {"*.alice.example", "alice.example"})
        told = (self.folder / "told").read_text().splitlines()
        added, removed = (line.split() for line in told)
        self.assertEqual(added[:2], ["add", "_acme-challenge.alice.example"])
        self.assertEqual(removed, ["remove", *added[1:]])
        self.assertEqual(set(self.answering.asked), {"http-01"})

    async def test_wildcard_without_hook(self) -> None:
        """Without a hook nobody is asked, and what is lacking is said."""
        town = self.town(self.pebble())
        town.add(town.site("*.alice.example"))
        self.assertIn("write `acme dns hook", await town.fails("*.alice.example"))
        self.assertEqual(
            [(k, s) for k, s, _ in town.alarms.raised_], [("renewal", "*.alice.example")]
        )

    async def test_nonces(self) -> None:
        """An authority that refuses every second of its own nonces gives a certificate, too."""
        town = self.town(self.pebble(variables={"PEBBLE_WFE_NONCEREJECT": "50"}))
        town.add(town.site("alice.example"))
        await town.has("alice.example")
        self.assertEqual(town.stored("alice.example").names, ("alice.example",))

    async def test_external_account(self) -> None:
        """An authority that wants an account of its own to be named is told; without a file it is
        said what would be right."""
        key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
        pebble = self.pebble(external={"kid-1": key})
        town = self.town(pebble)
        town.add(town.site("alice.example"))
        self.assertIn("acme external account", await town.fails("alice.example"))
        path = self.folder / "external"
        path.write_text(f"kid-1 {key}\n")
        path.chmod(0o644)
        town.settings = evolve(town.settings, acme_external_account=str(path))
        with self.assertRaises(CertificateUnavailable) as raised:
            await town.renew("alice.example")
        self.assertIn(f"chmod 600 {path}", str(raised.exception))
        path.chmod(0o600)
        await town.renew("alice.example")
        self.assertEqual(town.stored("alice.example").names, ("alice.example",))
        self.assertEqual(town.alarms.current, set())

    async def test_profile(self) -> None:
        """A profile is asked for, and is what the certificate is of, if the authority has profiles
        (pebble since 2.7); one that it does not have is named in the fault."""
        pebble = self.pebble(profiles={"long": 90, "short": 6})
        offered = pebble.offers()["meta"].get("profiles", {})
        self.assertIn(set(offered), (set(), {"long", "short"}))
        for index, (profile, days) in enumerate((("long", 90), ("short", 6))):
            town = self.town(pebble)
            town.settings = evolve(town.settings, acme_profile=profile)
            site = f"site{index}.example"
            town.add(town.site(site))
            await town.has(site)
            if offered:
                self.assertLess(abs(town.stored(site).life - days * DAY), 60)
        if offered:
            town.settings = evolve(town.settings, acme_profile="eternal")
            town.add(town.site("bob.example"))
            self.assertIn("acme profile", await town.fails("bob.example"))

    async def test_many(self) -> None:
        """Three hundred sites that are added at once have a certificate each, with one order each;
        what the machine has of processors does them in well under a minute."""
        pebble = self.pebble()
        town = self.town(pebble)
        names = [f"site{index}.example" for index in range(300)]
        town.add(*[town.site(name) for name in names])
        await town.has(*names)
        keys = set()
        for name in names:
            made = town.stored(name)
            self.assertEqual(made.names, (name,))
            keys.add(made.key.private_numbers())  # type: ignore[union-attr]
        self.assertEqual(len(keys), 300)
        self.assertEqual(leftovers(self.state), [])
        counted = Ledger(town.store.ledger).counts(pebble.directory)
        self.assertEqual(len(counted.orders), 300)
        # The next one waits for the authority's limit.
        town.add(town.site("more.example"))
        self.assertIn("300 orders within three hours", await town.fails("more.example"))
        self.assertEqual(town.alarms.raised_[-1][:2], ("renewal", "more.example"))


class RenewalTests(AcmeCase):
    """Certificates are renewed."""

    async def test_by_suggestion(self) -> None:
        """When the authority's window is over the certificate is renewed, and named as what is
        renewed; the old one is kept once; with a window to come nothing is done."""
        pebble = self.pebble()
        front = self.front(pebble)
        now = time.time()
        windows = [(now - DAY, now - DAY / 2, 3600), (now + 20 * DAY, now + 21 * DAY, 7200)]
        asked: list[str] = []

        def renewal(identity: str) -> tuple[float, float, int]:
            asked.append(identity)
            return windows[min(len(set(asked)), len(windows)) - 1]

        front.renewal = renewal
        town = self.town(pebble, front.directory)
        town.add(town.site("alice.example"))
        await town.has("alice.example", times=2)
        await town.until(lambda: len(set(asked)) == 2)
        await town.until(lambda: town.state("alice.example")["ari"])
        start, end = town.state("alice.example")["ari"]
        self.assertLess(abs(start - windows[1][0]), 1)
        self.assertTrue(start <= town.state("alice.example")["next"] <= end)
        previous = self.state / "certificates" / "alice.example.previous.pem"
        first = read_certificates(previous.read_bytes(), "previous")[0]
        self.assertEqual(asked[0], identity_of(first))
        self.assertEqual([order.get("replaces") for order in front.orders], [None, asked[0]])
        # It is exempt from the limits.
        counted = Ledger(town.store.ledger).counts(front.directory)
        self.assertEqual(len(counted.orders), 1)
        self.assertEqual(town.replaced["alice.example"], 2)

    async def test_by_the_authoritys_own(self) -> None:
        """The same with what the authority itself suggests, if it does (pebble since 2.6): it
        accepts what is named as replaced, once. Else nothing is known of suggestions."""
        pebble = self.pebble()
        front = self.front(pebble)
        ahead = [0.0]
        town = self.town(pebble, front.directory, wall=lambda: time.time() + ahead[0])
        town.add(town.site("alice.example"))
        await town.has("alice.example")
        if "renewalInfo" not in pebble.offers():
            self.assertIsNone(town.state("alice.example")["ari"])
            return
        await town.until(lambda: town.state("alice.example")["ari"])
        start, end = town.state("alice.example")["ari"]
        made = town.stored("alice.example")
        self.assertTrue(made.not_before < start <= town.state("alice.example")["next"] <= end)
        self.assertLess(end, made.not_before + made.life)
        ahead[0] = end - time.time() + 60
        town.acme._look()
        await town.has("alice.example", times=2)
        identity = identity_of(made.chain[0])
        self.assertEqual([order.get("replaces") for order in front.orders], [None, identity])

    async def test_renewed_by_another(self) -> None:
        """An authority that knows of a successor is asked for a certificate like others."""
        pebble = self.pebble()
        front = self.front(pebble)
        far = time.time() + 20 * DAY
        front.renewal = lambda identity: (far, far + DAY, 3600)
        town = self.town(pebble, front.directory)
        town.add(town.site("alice.example"))
        await town.has("alice.example")
        await town.until(lambda: town.state("alice.example")["ari"])
        front.replaced.add(identity_of(town.stored("alice.example").chain[0]))
        await town.renew("alice.example")
        self.assertEqual([order.get("replaces") for order in front.orders], [None, None])

    async def test_by_life(self) -> None:
        """Without suggestions a certificate is renewed when a third of its life is left, not
        before; what is learnt is used: the challenge that has worked is the first to be tried."""
        pebble = self.pebble()
        ahead = [0.0]
        town = self.town(pebble, wall=lambda: time.time() + ahead[0])
        self.answering.deaf = {"http-01"}
        town.add(town.site("alice.example"))
        await town.has("alice.example")
        self.assertEqual(town.state("alice.example")["challenge"], "tls-alpn-01")
        asked = self.answering.asked["http-01"]
        made = town.stored("alice.example")
        self.assertTrue(
            made.not_before + made.life * 0.6
            < town.state("alice.example")["next"]
            < made.not_before + made.life * 2 / 3
        )
        ahead[0] = made.life * 0.5
        town.acme._look()
        self.assertEqual(town.state("alice.example")["step"], "waiting")
        ahead[0] = made.life * 0.67
        town.acme._look()
        await town.has("alice.example", times=2)
        self.assertNotEqual(town.stored("alice.example").chain[0], made.chain[0])
        self.assertEqual(self.answering.asked["http-01"], asked)

    async def test_changed_names(self) -> None:
        """A site that has another name more has a certificate for all of them."""
        town = self.town(self.pebble())
        town.add(town.site("alice.example"))
        await town.has("alice.example")
        town.acme.apply([], [town.site("alice.example", "a.example")], [])
        await town.has("alice.example", times=2)
        self.assertEqual(set(town.stored("alice.example").names), {"alice.example", "a.example"})

    async def test_forgetful_authority(self) -> None:
        """An authority that has forgotten the account is told of it again, with the same key."""
        pebble = self.pebble()
        town = self.town(pebble)
        town.add(town.site("alice.example"))
        await town.has("alice.example")
        before = town.store.account(pebble.directory)
        pebble.stop()
        pebble.start()
        await town.renew("alice.example")
        after = town.store.account(pebble.directory)
        assert before is not None
        assert after is not None
        self.assertEqual(before.key, after.key)
        self.assertNotEqual(before.url, after.url)


class TroubleTests(AcmeCase):
    """What goes wrong costs no more than it must."""

    async def test_rejected(self) -> None:
        """Names that cannot be proven are said with the authority's words, told once, and tried
        again later; the next try is a rehearsal, and the real authority is asked when that has
        gone well."""
        pebble = self.pebble()
        front, staging = self.front(pebble), self.front(pebble)
        town = self.town(pebble, front.directory)
        town.settings = evolve(town.settings, acme_staging=staging.directory)
        self.answering.deaf = {"http-01", "tls-alpn-01"}
        town.add(town.site("alice.example"))
        words = await town.fails("alice.example")
        self.assertIn("alice.example is not proven by tls-alpn-01", words)
        self.assertGreater(town.state("alice.example")["next"], time.time() + 50)
        self.assertEqual((len(front.orders), len(staging.orders)), (2, 0))
        counted = Ledger(town.store.ledger).counts(front.directory)
        self.assertEqual(len(counted.failures["alice.example"]), 2)
        self.assertTrue(all(order.lost for order in counted.orders))
        self.assertEqual(len(town.alarms.raised_), 1)
        self.assertEqual(leftovers(self.state), [])
        with self.assertRaises(CertificateUnavailable):
            await town.renew("alice.example")
        self.assertEqual((len(front.orders), len(staging.orders)), (2, 2))
        self.assertEqual(len(town.alarms.raised_), 1)
        self.answering.deaf = {"http-01"}
        await town.renew("alice.example")
        self.assertEqual((len(front.orders), len(staging.orders)), (3, 4))
        self.assertEqual(town.alarms.current, set())
        self.assertEqual(leftovers(self.state), [])

    async def test_slow(self) -> None:
        """An authority that takes its time for each answer gives a certificate all the same."""
        pebble = self.pebble()
        front = self.front(pebble)

        def slow(path: str) -> None:
            time.sleep(0.15)

        front.trouble = slow
        town = self.town(pebble, front.directory)
        town.add(town.site("alice.example"))
        await town.has("alice.example")
        self.assertEqual(len(front.orders), 1)

    async def test_failing(self) -> None:
        """An authority that fails at every question once, in a way of its own each time, is asked
        again: one order, one certificate."""
        pebble = self.pebble()
        front = self.front(pebble)
        ways = [(500, {}, b""), (503, {"Retry-After": "1"}, b"{}"), (0, {}, b"")]
        failed: list[str] = []

        def failing(path: str) -> Any:
            kind = path.split("/")[1]
            if kind in ("dir", "nonce-plz", "sign-me-up", "order-plz") or kind in failed:
                return None
            failed.append(kind)
            return ways[len(failed) % len(ways)]

        front.trouble = failing
        town = self.town(pebble, front.directory)
        town.add(town.site("alice.example"))
        await town.has("alice.example")
        self.assertEqual(set(failed), {"authZ", "chalZ", "my-order", "finalize-order", "certZ"})
        self.assertEqual(len(front.orders), 1)

    async def test_lost_answer(self) -> None:
        """When the answer to an order is lost, the order is looked for and found: none is placed a
        second time."""
        pebble = self.pebble()
        front = self.front(pebble)
        lost: list[str] = []
        send = front._send

        def losing(handler: Any, status: int, fields: Any, body: bytes) -> None:
            if handler.path.startswith("/order-plz") and not lost:
                lost.append(handler.path)
                handler.close_connection = True
                return
            send(handler, status, fields, body)

        front._send = losing  # type: ignore[method-assign]
        town = self.town(pebble, front.directory)
        town.add(town.site("alice.example"))
        self.assertIn("asked for a certificate", await town.fails("alice.example"))
        # One that did not answer is not told of at once.
        self.assertEqual(town.alarms.raised_, [])
        await town.renew("alice.example")
        self.assertEqual(len(front.orders), 1)

    async def test_limited(self) -> None:
        """An authority that says "not so often" is left alone as long as it says, after a restart
        too."""
        pebble = self.pebble()
        front = self.front(pebble)
        said = json.dumps(
            {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many new orders"}
        ).encode()
        orders: list[str] = []

        def limited(path: str) -> Any:
            if not path.startswith("/order-plz"):
                return None
            orders.append(path)
            fields = {"Content-Type": "application/problem+json", "Retry-After": "7200"}
            return 429, fields, said

        front.trouble = limited
        town = self.town(pebble, front.directory)
        town.add(town.site("alice.example"))
        self.assertIn("too many new orders", await town.fails("alice.example"))
        self.assertGreater(town.state("alice.example")["next"], time.time() + 7000)
        await town.acme.stop()
        other = self.town(pebble, front.directory)
        other.add(other.site("alice.example"))
        await other.until(lambda: other.state("alice.example")["next"])
        self.assertGreater(other.state("alice.example")["next"], time.time() + 7000)
        with self.assertRaises(CertificateUnavailable) as raised:
            await other.renew("alice.example")
        self.assertIn("wants no more now", str(raised.exception))
        self.assertEqual(len(orders), 1)

    async def test_fallback(self) -> None:
        """Where one authority fails another one is asked."""
        pebble = self.pebble()
        front = self.front(pebble)
        front.trouble = lambda path: (500, {}, b"")
        town = self.town(pebble, front.directory)
        town.settings = evolve(town.settings, acme_fallback=pebble.directory)
        town.add(town.site("alice.example"))
        await town.has("alice.example")
        self.assertEqual(town.state("alice.example")["authority"], pebble.directory)
        self.assertEqual(town.alarms.raised_, [])

    async def test_untrusted(self) -> None:
        """A directory whose own certificate is not trusted is named, with what would help."""
        pebble = self.pebble()
        town = self.town(pebble)
        town.settings = evolve(town.settings, acme_trust="")
        town.add(town.site("alice.example"))
        self.assertIn("name that by `acme trust`", await town.fails("alice.example"))

    async def test_preflight(self) -> None:
        """What a look beforehand finds is told, once, and the authority is asked for nothing."""
        pebble = self.pebble()
        front = self.front(pebble)
        faults = ["alice.example does not lead here"]
        seen: list[Any] = []

        def preflight(*asked: Any) -> Sequence[str]:
            seen.append(asked)
            return faults

        town = self.town(pebble, front.directory, preflight=preflight)
        town.add(town.site("alice.example"))
        self.assertEqual(await town.fails("alice.example"), "alice.example does not lead here")
        self.assertEqual(front.orders, [])
        with self.assertRaises(CertificateUnavailable):
            await town.renew("alice.example")
        self.assertEqual(len(town.alarms.raised_), 1)
        faults.clear()
        await town.renew("alice.example")
        self.assertEqual(len(front.orders), 1)
        names, settings, challenge, _, account = seen[-1]
        self.assertEqual((names, challenge), (("alice.example",), "auto"))
        self.assertIs(settings, town.settings)
        self.assertIn("/my-account/", account)

    async def test_reload(self) -> None:
        """A change of the configuration disturbs no order that is under way."""
        pebble = self.pebble()
        front = self.front(pebble)
        town = self.town(pebble, front.directory)
        town.add(town.site("alice.example"))
        await town.until(lambda: front.orders)
        town.acme.apply([town.site("b.example")], [town.site("alice.example", hsts=60.0)], [])
        await town.has("alice.example", "b.example")
        self.assertEqual(len(front.orders), 2)

    async def test_two_processes(self) -> None:
        """Two that are on duty at once, which must not be, place one order all the same."""
        pebble = self.pebble()
        front = self.front(pebble)
        towns = [self.town(pebble, front.directory) for _ in range(2)]
        for town in towns:
            town.add(town.site("alice.example"))
        await towns[0].until(lambda: sum(town.replaced["alice.example"] for town in towns))
        for town in towns:
            await town.acme.stop()
        self.assertEqual(len(front.orders), 1)

    async def test_off_duty(self) -> None:
        """Who goes off duty in the middle leaves the order to who is on duty next."""
        pebble = self.pebble()
        front = self.front(pebble)
        town = self.town(pebble, front.directory)
        town.add(town.site("alice.example"))
        await town.until(lambda: front.orders)
        await town.acme.stop()
        self.assertFalse((self.state / "certificates" / "alice.example.pem").exists())
        other = self.town(pebble, front.directory)
        other.add(other.site("alice.example"))
        await other.has("alice.example")
        self.assertEqual(len(front.orders), 1)
        self.assertEqual(leftovers(self.state), [])


class KilledTests(SynchronousTestCase):
    """Killed at every point in turn, and started again; several lives side by side."""

    skip = LACKING

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.answering = Answering(self.folder)
        self.addCleanup(self.answering.close)
        self.pebble = Pebble(self.folder / "pebble", self.answering.http, self.answering.https)
        self.addCleanup(self.pebble.close)
        self.front = Front(self.pebble)
        self.addCleanup(self.front.close)
        self.children: Queue[subprocess.Popen[str]] = Queue()
        for _ in range(SIDE_BY_SIDE):
            child = subprocess.Popen(
                [sys.executable, acme_child.__file__],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self.addCleanup(child.communicate)
            self.addCleanup(child.kill)
            self.children.put(child)

    def live(self, site: str, challenge: str, kill: int = 0, force: bool = False) -> list[str]:
        """Have a process order the certificate of *site*; *kill*: at which point it dies, which it
        must if there is so many. Returns the points it has come by."""
        child = self.children.get()
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            wanted = {
                "folder": str(self.folder / site),
                "directory": self.front.directory,
                "trust": self.pebble.trust,
                "site": site,
                "challenge": challenge,
                "force": force,
                "kill": kill,
            }
            child.stdin.write(json.dumps(wanted) + "\n")
            child.stdin.flush()
            answer = json.loads(child.stdout.readline())
        finally:
            self.children.put(child)
        assert answer["killed"] == (0 < kill <= len(answer["points"])), answer
        assert answer["killed"] or answer["ended"], answer
        return list(answer["points"])

    def orders(self, site: str) -> int:
        """How many orders for *site* the authority has."""
        wanted = [[one["value"] for one in order["identifiers"]] for order in self.front.orders]
        return sum(site in names for names in wanted)

    def certificate(self, site: str) -> x509.Certificate:
        """The certificate of *site*, whose key must be with it."""
        made = stored(self.folder / site, site)
        assert set(made.names) == {site, f"www.{site}"}, made.names
        return made.chain[0]

    def previous(self, site: str) -> Path:
        """Where what was replaced is kept."""
        return self.folder / site / "certificates" / f"{site}.previous.pem"

    def each(self, check: Callable[[int], None], kills: Sequence[int]) -> None:
        """Call *check* with each of *kills*, several at a time."""
        with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
            for done in [threads.submit(check, kill) for kill in kills]:
                done.result()

    def first(self, challenge: str, every: int) -> None:
        self.answering.folders.append(self.folder / "whole.example" / "challenges")
        points = self.live("whole.example", challenge)
        self.assertGreater(len(points), 40)
        # After one and before the next are the same: nothing happens in between.
        kills = [at for at, point in enumerate(points, 1) if point.startswith("before")][::every]
        kills.append(len(points))

        def check(kill: int) -> None:
            site = f"killed-{kill}.example"
            self.answering.folders.append(self.folder / site / "challenges")
            at = self.live(site, challenge, kill)[-1]
            self.live(site, challenge)
            self.certificate(site)
            assert self.orders(site) == 1, at
            assert leftovers(self.folder / site) == [], at
            assert not self.previous(site).exists(), at

        self.each(check, kills)
        self.assertEqual(self.front.created["sign-me-up"], 1 + len(kills))

    def test_first(self) -> None:
        """The first certificate, by http-01, killed at every point: one account, one order, and a
        key with its certificate."""
        self.first("http-01", 1)

    def test_first_by_tls(self) -> None:
        """The same by tls-alpn-01, killed at every fourth point."""
        self.first("tls-alpn-01", 4)

    def test_renewal(self) -> None:
        """A renewal: the certificate that was there is in place until the new one is, one order is
        placed at the most, and what was placed leads to a certificate."""
        self.answering.folders.append(self.folder / "whole.example" / "challenges")
        self.live("whole.example", "http-01")
        points = len(self.live("whole.example", "http-01", force=True))

        def check(kill: int) -> None:
            site = f"killed-{kill}.example"
            self.answering.folders.append(self.folder / site / "challenges")
            self.live(site, "http-01")
            old = self.certificate(site)
            at = self.live(site, "http-01", kill, force=True)[-1]
            self.certificate(site)
            self.live(site, "http-01")
            made = self.certificate(site)
            assert self.orders(site) <= 2, at
            assert (made != old) == (self.orders(site) == 2), at
            assert leftovers(self.folder / site) == [], at
            if made != old:
                data = self.previous(site).read_bytes()
                assert read_certificates(data, "previous")[0] == old, at

        self.each(check, range(2, points + 1, 4))


class SnickersTests(SynchronousTestCase):
    """The whole of it."""

    skip = LACKING

    def test_added(self) -> None:
        """A site that is added to the file has its certificate, unasked, within seconds."""
        folder = Path(self.mktemp()).absolute()
        answering = Answering(folder)
        self.addCleanup(answering.close)
        pebble = Pebble(folder / "pebble", answering.http, answering.https)
        self.addCleanup(pebble.close)
        settings = SETTINGS + (
            "certificates = acme\n"
            f"acme directory = {pebble.directory}\nacme trust = {pebble.trust}\n"
            "acme preflight = off\n"
        )
        snickers = Snickers(self, "", settings)
        acme = snickers.folder / "state" / "acme"
        answering.folders = [acme / "challenges"]
        began = time.monotonic()
        snickers.reload("[alice.example]\ntype = redirect\nto = https://b.example\n")
        path = acme / "certificates" / "alice.example.pem"
        while not path.exists():
            self.assertLess(time.monotonic() - began, 30)
            time.sleep(0.05)
        self.assertEqual(stored(acme, "alice.example").names, ("alice.example",))
        self.assertEqual(snickers.end(), 0)
