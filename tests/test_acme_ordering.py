"""Carrying one order out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.challenges import Challenges, ProofFailed
from snickers.acme.client import Identity
from snickers.acme.keys import new_key
from snickers.acme.ledger import Ledger
from snickers.acme.limits import PER_SET
from snickers.acme.order import Order, Step
from snickers.acme.ordering import AGAIN, DECIDED_WITHIN, Ordering
from snickers.acme.said import AuthorityFailed, Authorization, Seen
from snickers.acme.store import Store
from snickers.tls.credentials import CertificateUnavailable, Credentials
from tests.acme_fake import AtOnce, Authority, Client

CA = "https://ca.example/directory"
NOW = 1_800_000_000.0


class Interrupted(Exception):
    """The process has died here."""


class OrderingCase(SynchronousTestCase):
    def setUp(self) -> None:
        # What a power cut would leave is not looked at here, and disks may be slow.
        self.patch(os, "fsync", lambda descriptor: None)
        self.clock = Clock()
        self.folder = Path(self.mktemp()).absolute()
        self.store = Store(str(self.folder))
        self.store.prepare()
        self.ledger = Ledger(self.store.ledger)
        self.authority = Authority(CA, self.wall)
        self.told: list[tuple[str, str, str]] = []
        self.challenges = Challenges(
            str(self.folder / "challenges"), lambda *said: self.told.append(said)
        )
        self.ordering = Ordering(self.clock, self.wall, self.store, self.ledger, self.challenges)
        self.identity = Identity.of(new_key(), f"{CA}/account/1")
        self.points: list[str] = []
        self.dies_at = 0
        self.said: list[str] = []
        self.stored: list[Credentials] = []
        self.threads = AtOnce()

    def wall(self) -> float:
        """Epoch seconds."""
        return NOW + self.clock.seconds()

    def order(self, *names: str, **more: Any) -> Order:
        """An order that nobody was asked for."""
        names = names or ("a.example",)
        said = {"challenge": "http-01", "key": new_key(), "begun": NOW, **more}
        return Order(names[0], CA, self.identity.url, names, **said)

    def in_thread(
        self, point: str, function: Callable[..., Any], *arguments: Any
    ) -> Awaitable[Any]:
        """Run something, unless the process dies before or after it."""

        def passing(where: str) -> None:
            self.points.append(where)
            if len(self.points) == self.dies_at:
                raise Interrupted(where)

        def run() -> Any:
            passing(f"before {point}")
            result = function(*arguments)
            passing(f"after {point}")
            return result

        return self.threads.run(run)

    def carry(self, order: Order, rehearsal: bool = False) -> Deferred[None]:
        """Carry *order* out."""

        async def stored(order: Order, made: Credentials) -> None:
            self.stored.append(made)

        client: Any = self.authority.open(CA, self.identity)
        return Deferred.fromCoroutine(
            self.ordering.carry_out(
                order,
                client,
                False,
                self.said.append,
                self.in_thread,
                self.in_thread,
                None if rehearsal else stored,
            )
        )

    def pump(self, done: Deferred[None], seconds: float = 600.0) -> None:
        """Let time pass until it is over."""
        for _ in range(int(seconds * 10)):
            if done.called:
                return
            self.clock.advance(0.1)

    def succeeds(self, order: Order) -> None:
        """It leads to a certificate."""
        done = self.carry(order)
        self.pump(done)
        self.successResultOf(done)

    def fails(self, order: Order, kind: type[Exception] = AuthorityFailed) -> Any:
        """It does not; return why."""
        done = self.carry(order)
        self.pump(done)
        return self.failureResultOf(done, kind).value

    def files(self) -> list[str]:
        """What there is, but for the ledger and empty folders."""
        return sorted(
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if path.is_file() and "ledger" not in path.name
        )


class CourseTests(OrderingCase):
    def test_whole(self) -> None:
        """An order is counted, placed, proven, finalized, fetched, stored, and forgotten."""
        self.succeeds(self.order("a.example", "www.a.example"))
        self.assertEqual(self.files(), ["certificates/a.example.pem"])
        self.assertEqual(self.stored[0].names, ("a.example", "www.a.example"))
        self.assertEqual(len(self.ledger.counts(CA).orders), 1)
        self.assertEqual(
            self.said,
            [
                "ordering",
                "proving by http-01",
                "waiting for the certificate",
                "fetching the certificate",
            ],
        )
        asked = self.authority.asked
        self.assertEqual((asked["create"], asked["finalize"], asked["search"]), (1, 1, 0))

    def test_wildcard(self) -> None:
        """A wildcard is proven by dns-01, other names by the order's challenge; both are taken
        away."""
        self.succeeds(self.order("*.a.example", "a.example", challenge="tls-alpn-01"))
        self.assertEqual([what for what, _, _ in self.told], ["add", "remove"])
        self.assertIn("proving by dns-01 and tls-alpn-01", self.said)
        self.assertEqual(self.files(), ["certificates/_wildcard.a.example.pem"])

    def test_waiting(self) -> None:
        """An authority that takes its time is looked at again and again, ever more seldom."""
        self.authority.deciding = 12
        self.succeeds(self.order())
        self.assertGreater(self.clock.seconds(), 12)
        self.assertLess(self.clock.seconds(), 60)

    def test_undecided(self) -> None:
        """One that never decides is left, with the order kept for later."""
        self.authority.deciding = 10_000
        failed = self.fails(self.order())
        self.assertEqual(failed.kind, "away")
        self.assertIn(f"not decided within {DECIDED_WITHIN:.0f} s", str(failed))
        self.assertEqual(
            self.files(), ["challenges/http-01/token-a-example", "orders/a.example.json"]
        )
        self.authority.deciding = 0
        kept = self.store.order("a.example")
        assert kept is not None
        self.succeeds(kept)
        self.assertEqual(self.authority.asked["create"], 1)
        self.assertEqual(self.files(), ["certificates/a.example.pem"])

    def test_rehearsal(self) -> None:
        """A rehearsal keeps nothing, and counts nothing."""
        done = self.carry(self.order(), rehearsal=True)
        self.pump(done)
        self.successResultOf(done)
        self.assertEqual((self.files(), self.stored), ([], []))
        self.assertEqual(self.ledger.counts(CA).orders, ())

    def test_interrupted(self) -> None:
        """However often it is broken off, before or after whatever it does, it goes on where it
        was: one order, one certificate."""
        names = ("a.example", "www.a.example")
        self.succeeds(self.order(*names))
        count = len(self.points)
        self.assertGreater(count, 30)
        for dies_at in range(1, count + 1):
            self.setUp()
            self.dies_at = dies_at
            order = self.order(*names)
            done = self.carry(order)
            self.pump(done)
            at = self.failureResultOf(done, Interrupted).getErrorMessage()
            self.dies_at = 0
            kept = self.store.order("a.example")
            if kept is not None:
                self.succeeds(kept)
            elif not self.store.certificate("a.example").credentials:
                self.succeeds(order)
            self.assertEqual(len(self.authority.orders), 1, at)
            self.assertEqual(self.files(), ["certificates/a.example.pem"], at)


class FailureTests(OrderingCase):
    def test_unproven(self) -> None:
        """A name that is not proven is said with the authority's words, counted, and forgotten."""
        self.authority.unproven = {"http-01"}
        failed = self.fails(self.order("a.example", "b.example"))
        self.assertEqual(failed.kind, "proof")
        self.assertIn("a.example is not proven by http-01: nobody answered", str(failed))
        self.assertIn("b.example is not proven", str(failed))
        counts = self.ledger.counts(CA)
        self.assertEqual(Counter(counts.failures), {"a.example": (NOW,), "b.example": (NOW,)})
        self.assertTrue(counts.orders[0].lost)
        self.assertEqual(self.files(), [])

    def test_asked_again(self) -> None:
        """Each question that may be asked twice is, when there is no answer; the order is placed
        once."""
        for what in ("look", "authorization", "answer", "fetch", "finalize"):
            self.authority.trouble[what] = [AuthorityFailed("away", "no answer")] * 2
        self.succeeds(self.order())
        self.assertEqual(self.authority.asked["create"], 1)

    def test_asked_often_enough(self) -> None:
        """An authority that is away for long is left, and the order kept."""
        away = [AuthorityFailed("away", "no answer")] * (len(AGAIN) + 1)
        self.authority.trouble["authorization"] = away
        self.assertEqual(self.fails(self.order()).kind, "away")
        self.assertEqual(self.files(), ["orders/a.example.json"])

    def test_asks_for_patience(self) -> None:
        """It is not asked again sooner than it says."""
        self.authority.trouble["look"] = [AuthorityFailed("limited", "later", 30.0)]
        self.succeeds(self.order())
        self.assertGreaterEqual(self.clock.seconds(), 30)

    def test_placed_or_not(self) -> None:
        """When there was no answer to an order it is kept as one that may be there, and looked
        for."""
        self.authority.trouble["create"] = [AuthorityFailed("away", "no answer")]
        self.assertEqual(self.fails(self.order()).kind, "away")
        kept = self.store.order("a.example")
        assert kept is not None
        self.assertEqual(kept.step, Step.ASKED)
        self.succeeds(kept)
        self.assertEqual((self.authority.asked["search"], len(self.authority.orders)), (1, 1))
        # It was counted once.
        self.assertEqual(len(self.ledger.counts(CA).orders), 1)

    def test_refused(self) -> None:
        """An order that is refused is forgotten, and counts as come to nothing."""
        self.authority.trouble["create"] = [AuthorityFailed("refused", "never")]
        self.assertEqual(str(self.fails(self.order())), "never")
        self.assertEqual(self.files(), [])
        self.assertTrue(self.ledger.counts(CA).orders[0].lost)

    def test_refused_later(self) -> None:
        """So is one that is refused when it is to be finalized."""
        self.authority.trouble["finalize"] = [AuthorityFailed("refused", "never")]
        self.assertEqual(self.fails(self.order()).kind, "refused")
        self.assertEqual(self.files(), [])

    def test_limited(self) -> None:
        """Whom the authority tells to wait is told by the ledger from then on: for the names, or
        for all."""
        for whole, others in ((False, None), (True, "wants no more now")):
            self.setUp()
            self.authority.trouble["create"] = [AuthorityFailed("limited", "later", 90.0, whole)]
            self.assertEqual(self.fails(self.order()).retry_after, 90)
            again = self.fails(self.order())
            self.assertEqual((again.kind, again.retry_after), ("limited", 90))
            if others is None:
                self.succeeds(self.order("b.example"))
            else:
                self.assertIn(others, str(self.fails(self.order("b.example"))))
            self.clock.advance(91)
            self.succeeds(self.order())

    def test_ledger(self) -> None:
        """An order that would be one too many is not placed."""
        for _ in range(PER_SET):
            self.succeeds(self.order())
        failed = self.fails(self.order())
        self.assertEqual((failed.kind, failed.whole), ("limited", False))
        self.assertEqual(self.authority.asked["create"], PER_SET)

    def test_exempt(self) -> None:
        """What renews as the authority suggests is not counted; who has renewed it before has it
        counted like any other."""
        for _ in range(PER_SET):
            self.succeeds(self.order())
        self.succeeds(self.order(replaces="id"))
        self.assertEqual(len(self.ledger.counts(CA).orders), PER_SET)
        self.authority.trouble["create"] = [AuthorityFailed("replaced", "before")]
        self.assertIn("5 certificates a week", str(self.fails(self.order(replaces="id"))))
        self.assertEqual([o["replaces"] for o in self.authority.orders][-1], "id")

    def test_replaced(self) -> None:
        """Who has been renewed before is ordered anew, without a predecessor."""
        self.authority.trouble["create"] = [AuthorityFailed("replaced", "before")]
        self.succeeds(self.order(replaces="id"))
        self.assertEqual([o["replaces"] for o in self.authority.orders], [""])
        self.assertEqual(len(self.ledger.counts(CA).orders), 1)

    def test_predecessor_unknown(self) -> None:
        """So is what an authority will not have as a predecessor, in whatever words it says so;
        one that says nothing, or not now, is asked again for the same."""
        refusals = [
            AuthorityFailed("refused", "malformed", said=True),
            AuthorityFailed("lost", "no such certificate", said=True),
            AuthorityFailed("away", "internal error: no order for it", said=True),
        ]
        for number, refusal in enumerate(refusals, 1):
            self.authority.trouble["create"] = [refusal]
            self.succeeds(self.order(f"site{number}.example", replaces="id"))
            self.assertEqual([o["replaces"] for o in self.authority.orders], [""] * number)
            self.assertEqual(len(self.ledger.counts(CA).orders), number)
        for silent in (AuthorityFailed("away", "?"), AuthorityFailed("limited", "!", said=True)):
            self.authority.trouble["create"] = [silent]
            self.assertIs(self.fails(self.order("quiet.example", replaces="id")), silent)
            self.assertEqual(self.authority.trouble["create"], [])
        self.assertEqual(len(self.authority.orders), len(refusals))

    def test_refused_anyway(self) -> None:
        """When it was not because of the predecessor, that is said."""
        self.authority.trouble["create"] = [
            AuthorityFailed("refused", "a predecessor?", said=True),
            AuthorityFailed("refused", "a bad name", said=True),
        ]
        self.assertEqual(str(self.fails(self.order(replaces="id"))), "a bad name")

    def test_lost(self) -> None:
        """An order that the authority does not know is forgotten here, too."""
        self.authority.trouble["look"] = [AuthorityFailed("lost", "which order?")]
        kept = self.store.keep_order(evolve(self.order(), step=Step.OPEN, url=f"{CA}/order/7"))
        self.assertEqual(self.fails(kept).kind, "lost")
        self.assertEqual(self.files(), [])

    def test_told_before(self) -> None:
        """A challenge that was decided since it was told of is no failure."""
        self.authority.trouble["answer"] = [AuthorityFailed("refused", "not pending")]
        done = self.carry(self.order())
        self.assertNoResult(done)
        # It was valid all the time.
        self.authority.orders[0]["told"]["a.example"] = "http-01"
        self.pump(done)
        self.successResultOf(done)

    def test_wrong_certificate(self) -> None:
        """What is not what was ordered is not stored; the order is kept."""
        self.authority.chain = lambda pem: b"<html>"
        self.fails(self.order(), CertificateUnavailable)
        self.assertEqual(self.store.certificate("a.example").credentials, None)
        self.authority.chain = lambda pem: pem
        kept = self.store.order("a.example")
        assert kept is not None
        self.succeeds(kept)
        self.assertEqual(len(self.authority.orders), 1)

    def test_ready_for_ever(self) -> None:
        """An authority that takes the request again and again is asked ever more seldom, and left
        in the end."""
        finalized = Client.finalize

        def never(client: Client, seen: Seen, request: Any) -> Seen:
            finalized(client, seen, request)
            client._order(seen.url)["status"] = "ready"
            if client.authority.asked["finalize"] > 1000:
                raise AssertionError("a storm")
            return client._seen(seen.url)

        self.patch(Client, "finalize", never)
        failed = self.fails(self.order())
        self.assertEqual(failed.kind, "away")
        self.assertIn("not decided", str(failed))
        self.assertLess(self.authority.asked["finalize"], 100)

    def test_away_when_ready(self) -> None:
        """One that is away whenever it is given the request is left in the end."""
        self.authority.trouble["finalize"] = [AuthorityFailed("away", "no answer")] * 1000
        failed = self.fails(self.order())
        self.assertEqual(failed.kind, "away")
        self.assertIn("not decided", str(failed))
        self.assertIn("orders/a.example.json", self.files())

    def test_not_asked_for(self) -> None:
        """A name that was not ordered is not proven, in no file and not in the DNS; nor is one
        proven more than once for an order."""

        def another(name: str) -> Callable[..., Authorization]:
            return lambda client, url: evolve(authorization(client, url), name=name)

        authorization = Client.authorization
        for name in ("b.example", "-rf", "../../x", "a.example\n"):
            for challenge in ("dns-01", "http-01", "tls-alpn-01"):
                self.patch(Client, "authorization", another(name))
                failed = self.fails(self.order(challenge=challenge))
                self.assertEqual(failed.kind, "refused")
                self.assertIn(f"{name!r}", str(failed))
        self.patch(Client, "authorization", authorization)
        seen = Client._seen

        def many(client: Client, url: str) -> Seen:
            found = seen(client, url)
            return evolve(found, authorizations=found.authorizations * 500)

        self.patch(Client, "_seen", many)
        failed = self.fails(self.order())
        self.assertIn("500 proofs for 1 names", str(failed))
        self.assertEqual((self.told, self.files()), ([], []))

    def test_failed_for_others(self) -> None:
        """Names that were not ordered are neither counted nor told as failed."""
        self.authority.unproven = {"http-01"}
        authorization = Client.authorization

        def another(client: Client, url: str) -> Authorization:
            found = authorization(client, url)
            return evolve(found, name="b.example") if found.status == "invalid" else found

        self.patch(Client, "authorization", another)
        self.assertNotIn("b.example", str(self.fails(self.order())))
        self.assertEqual(dict(self.ledger.counts(CA).failures), {})

    def test_patient_after_slow_proof(self) -> None:
        """A DNS that takes its time takes nothing of the authority's."""
        challenges = self.challenges.dns
        assert challenges is not None

        def slow(what: str, name: str, value: str) -> None:
            self.clock.rightNow += DECIDED_WITHIN

        self.challenges.dns = slow
        self.authority.deciding = 3
        self.succeeds(self.order(challenge="dns-01"))

    def test_no_way(self) -> None:
        """A challenge that is not offered is said; so is a DNS that cannot be written."""
        failed = self.fails(self.order(challenge="carrier-pigeon-01"))
        self.assertIn("does not offer carrier-pigeon-01 for a.example", str(failed))
        self.challenges.dns = None
        failed = self.fails(self.order("*.b.example"), ProofFailed)
        self.assertIn("acme dns hook", str(failed))
        self.assertEqual(self.files(), [])
