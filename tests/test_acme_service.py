"""All sites' certificates from the network, by a clock that is set."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from attrs import evolve
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from snickers.acme import plan
from snickers.acme.ledger import Ledger
from snickers.acme.service import AT_ONCE
from snickers.config.values import Passthrough, Site, Static
from snickers.interfaces.certificates import IRenewer
from snickers.tls.credentials import CertificateUnavailable
from tests.acme_world import CA, DAY, NOW, World, WorldCase


class DutyTests(WorldCase):
    def test_interface(self) -> None:
        """It is what renews certificates."""
        verifyObject(IRenewer, self.world.acme)

    def test_unasked(self) -> None:
        """A site that is added has its certificate within seconds, and others hear of it once."""
        self.world.add("a.example", "www.a.example")
        self.assertEqual(self.world.state()["step"], "waiting")
        self.assertIsNone(self.world.state()["next"])
        self.world.wait(1.0)
        self.assertEqual(self.world.replaced, {"a.example": 1})
        self.assertEqual(self.world.orders(), 1)
        state = self.world.state()
        self.assertEqual(
            (state["challenge"], state["authority"], state["fault"], state["step"]),
            ("http-01", CA, "", "waiting"),
        )
        self.assertGreater(state["next"], NOW + 50 * DAY)
        self.assertEqual(self.world.alarms.told, [])

    def test_who(self) -> None:
        """Only sites that want one, that are on, and whose TLS is opened here."""
        self.world.acme.apply(
            [
                Site("i.example", Static("/"), certificates="internal"),
                Site("f.example", Static("/"), certificates="files"),
                Site("off.example", Static("/"), certificates="acme", enabled=False),
                Site("p.example", Passthrough("tcp:10.0.0.1:443"), certificates="acme"),
            ],
            [],
            [],
        )
        self.world.wait(60)
        self.assertEqual((self.world.orders(), dict(self.world.acme.states())), (0, {}))

    def test_restart(self) -> None:
        """A restart orders nothing that is there."""
        for index in range(5):
            self.world.add(f"site{index}.example")
        self.world.wait()
        for _ in range(3):
            self.world.restart()
        self.assertEqual(self.world.orders(), 5)
        self.assertEqual(self.world.authority.asked["register"], 1)

    def test_renewed_in_time(self) -> None:
        """Through a year each certificate is renewed with about a third of its life left, and not
        all on one day."""
        names = [f"site{index}.example" for index in range(20)]
        for name in names:
            self.world.add(name)
        self.world.wait()
        days: Counter[int] = Counter()
        for day in range(70):
            before = self.world.orders()
            self.world.wait(DAY)
            days[day] += self.world.orders() - before
        self.assertEqual(sum(days.values()), 20)
        self.assertTrue(all(54 <= day <= 60 for day in +days), days)
        self.assertLess(max(days.values()), 12)
        self.assertEqual(self.world.alarms.told, [])

    def test_short_life(self) -> None:
        """A certificate of six days is renewed about every third."""
        self.world.authority.life = 6 * DAY
        self.world.add("a.example")
        self.world.wait(15 * DAY)
        self.assertIn(self.world.orders(), (5, 6))

    def test_many(self) -> None:
        """Not more than some orders go on at once; the others have their turn."""
        self.world.threads.hold = True
        for index in range(AT_ONCE + 5):
            self.world.add(f"site{index}.example")
        self.world.clock.advance(0)
        self.world.threads.release()
        self.world.threads.hold = True
        self.world.clock.advance(0)
        steps = Counter(state["step"] for state in self.world.acme.states().values())
        self.assertEqual(steps, {"beginning": AT_ONCE, "queued": 5})
        self.world.threads.release()
        self.world.wait()
        self.assertEqual(self.world.orders(), AT_ONCE + 5)

    def test_twice_on_duty(self) -> None:
        """Off duty nothing is done; on duty again what was missed is."""
        self.world.acme.stop()
        self.world.add("a.example")
        self.world.wait(60)
        self.assertEqual(self.world.orders(), 0)
        self.assertIn("not on duty", self.renew())
        self.world.acme.start()
        self.world.acme.start()
        self.world.wait()
        self.assertEqual(self.world.orders(), 1)
        self.successResultOf(self.world.acme.stop())
        self.successResultOf(self.world.acme.stop())

    def test_settings(self) -> None:
        """Where nothing has failed other settings cost one look, and not one every few seconds."""
        self.world.add("a.example")
        self.world.wait()
        asked: list[str] = []
        next_try = plan.next_try

        def counted(site: Site, *more: Any) -> float:
            asked.append(site.name)
            return next_try(site, *more)

        self.patch(plan, "next_try", counted)
        self.world.settings = evolve(self.world.settings, acme_email="me@a.example")
        self.world.wait(60.0)
        self.assertLess(len(asked), 3)

    def test_names(self) -> None:
        """Another name is ordered at once; a name less waits for the renewal."""
        self.world.add("a.example", "b.example")
        self.world.wait()
        self.world.add("a.example", "b.example", "c.example")
        self.world.wait()
        self.assertEqual(self.world.orders(), 2)
        self.world.add("a.example")
        self.world.wait()
        self.assertEqual(self.world.orders(), 2)

    def test_removed(self) -> None:
        """A site that is removed is forgotten, with its alarms; its certificate stays and is used
        when it comes back."""
        self.world.faults = ["it leads nowhere"]
        self.world.add("a.example")
        self.world.wait()
        self.assertEqual(len(self.world.alarms.current), 1)
        self.world.remove("a.example")
        self.assertEqual(self.world.alarms.current, {})
        self.world.faults = []
        self.world.add("b.example")
        self.world.wait()
        self.world.remove("b.example")
        self.world.add("b.example")
        self.world.wait()
        self.assertEqual(self.world.orders(), 1)
        self.assertEqual(list(self.world.acme.states()), ["b.example"])

    def test_removed_in_between(self) -> None:
        """Nobody hears of the certificate of a site that was removed while it was ordered."""
        self.world.authority.deciding = 5
        self.world.add("a.example")
        self.world.wait(1.0)
        self.world.remove("a.example")
        self.world.wait(30)
        self.assertEqual(self.world.replaced, {})
        self.world.add("a.example")
        self.world.wait()
        self.assertEqual(self.world.orders(), 1)


class RenewTests(WorldCase):
    def test_now(self) -> None:
        """Somebody who wants a new certificate has one, whatever the date, and hears each step."""
        self.world.add("a.example")
        self.world.wait()
        words: list[str] = []
        done = self.world.acme.renew("a.example", words.append)
        self.world.wait()
        self.successResultOf(done)
        self.assertEqual((self.world.orders(), self.world.replaced["a.example"]), (2, 2))
        self.assertEqual(words[-1], "fetching the certificate")
        self.assertIn("proving by http-01", words)

    def test_joined(self) -> None:
        """Two who want the same have it together."""
        self.world.add("a.example")
        self.world.authority.deciding = 3
        done = [self.world.acme.renew("a.example", lambda words: None) for _ in range(2)]
        done[1].addErrback(lambda failure: None).cancel()
        self.world.wait()
        self.successResultOf(done[0])
        self.assertEqual(self.world.orders(), 1)

    def test_again_at_once(self) -> None:
        """Who hears of a failure may ask again in the same moment."""
        self.world.add("a.example")
        self.world.trouble("create", "refused", 2)
        self.world.wait()
        answers: list[str] = []

        def again(failure: Any) -> Any:
            answers.append("failed")
            return self.world.acme.renew("a.example", lambda words: None)

        done = self.world.acme.renew("a.example", lambda words: None).addErrback(again)
        self.world.wait()
        self.successResultOf(done)
        self.assertEqual(answers, ["failed"])

    def test_whose(self) -> None:
        """Of a site that has none of ours it is said that there is none."""
        self.assertIn("no such site has certificates = acme", self.renew("x.example"))

    def test_broken_off(self) -> None:
        """Who waits hears when this process goes off duty, or the site is removed."""
        self.world.authority.deciding = 10_000
        for end in (self.world.acme.stop, lambda: self.world.remove("a.example")):
            self.world.add("a.example")
            self.world.acme.start()
            done = self.world.acme.renew("a.example", lambda words: None)
            end()
            self.failureResultOf(done, CertificateUnavailable)


class Town(RuleBasedStateMachine):
    """Sites come and go, authorities fail, processes end: never a storm, never a loss."""

    folder: Path

    @initialize()
    def begin(self) -> None:
        Town.count += 1
        self.world = World(Town.folder / str(Town.count))
        self.had: dict[str, float] = {}

    count = 0

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.acme.stop()

    @rule(name=st.sampled_from("abc"), also=st.sampled_from([(), ("x",)]))
    def add(self, name: str, also: tuple[str, ...]) -> None:
        self.world.add(f"{name}.{name}.example", *(f"{one}.{name}.example" for one in also))

    @rule(name=st.sampled_from("abc"))
    def remove(self, name: str) -> None:
        if f"{name}.{name}.example" in self.world.sites:
            self.world.remove(f"{name}.{name}.example")

    @rule(
        what=st.sampled_from(["directory", "create", "look", "answer", "finalize", "fetch"]),
        kind=st.sampled_from(["away", "limited", "refused", "lost"]),
        times=st.integers(1, 8),
    )
    def fail(self, what: str, kind: str, times: int) -> None:
        self.world.trouble(what, kind, times)

    @rule(unproven=st.sets(st.sampled_from(["http-01", "tls-alpn-01"])))
    def prove(self, unproven: set[str]) -> None:
        self.world.authority.unproven = unproven

    @rule(deciding=st.integers(0, 20))
    def decide(self, deciding: int) -> None:
        self.world.authority.deciding = deciding

    @rule(seconds=st.sampled_from([0.3, 2.0, 30.0, 3600.0, 5 * DAY, 40 * DAY]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule()
    def restart(self) -> None:
        self.world.acme.stop()
        self.world.begin()

    @rule()
    def all_well(self) -> None:
        """When all is well again, every site has a certificate before long."""
        world = self.world
        world.authority.trouble.clear()
        world.authority.unproven, world.authority.deciding = set(), 0
        world.wait(8 * DAY)
        for name, site in world.sites.items():
            made = world.store.certificate(name).credentials
            assert made is not None, (name, world.state(name))
            assert all(made.covers(one) for one in site.names)
            assert made.not_after > world.wall()
        assert not list(world.folder.glob("orders/*")), list(world.folder.glob("orders/*"))
        assert not list(world.folder.glob("challenges/*/*"))
        assert not world.alarms.current, world.alarms.current

    @invariant()
    def nothing_is_lost(self) -> None:
        """A certificate that was there is, until a later one is."""
        if not hasattr(self, "world"):
            return
        for name in ("a.a.example", "b.b.example", "c.c.example"):
            kept = self.world.store.certificate(name)
            assert not kept.fault, kept.fault
            end = kept.credentials.not_after if kept.credentials else 0.0
            assert end >= self.had.get(name, 0.0)
            self.had[name] = end

    @invariant()
    def no_storm(self) -> None:
        """What the authority is asked for keeps within its limits."""
        if not hasattr(self, "world"):
            return
        orders = Ledger(self.world.store.ledger).counts(CA).orders
        sets = Counter(order.names for order in orders if not order.lost)
        assert all(count <= 5 for count in sets.values()), sets


class TownTests(SynchronousTestCase):
    def test_town(self) -> None:
        """Whatever comes, the limits hold, no certificate is lost, and in the end all is well."""
        self.patch(os, "fsync", lambda descriptor: None)
        Town.folder = Path(self.mktemp()).absolute()
        run_state_machine_as_test(
            Town,
            settings=hypothesis_settings(max_examples=30, stateful_step_count=20, deadline=None),
        )
