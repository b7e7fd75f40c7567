"""One site's attempts at a certificate: what is tried in turn, and what follows a failure."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from snickers.acme import attempt
from snickers.acme.attempt import BUSY_PAUSE
from snickers.acme.renewal import Window
from snickers.acme.said import Suggested
from tests.acme_world import CA, DAY, MINUTE, NOW, OTHER, STAGING, WorldCase


class LockTests(WorldCase):
    """What was begun elsewhere, or before."""

    def test_taken_up(self) -> None:
        """An order whose process was killed is taken up by the next."""
        self.world.authority.deciding = 10_000
        self.world.add("a.example")
        self.world.wait(3.0)
        self.world.restart()
        self.assertEqual(self.world.replaced, {})
        self.world.authority.deciding = 0
        self.world.wait()
        self.assertEqual((self.world.orders(), self.world.replaced), (1, {"a.example": 1}))

    def test_taken_up_in_vain(self) -> None:
        """One that is for other names is followed by another, and its answers are taken away."""
        self.world.authority.deciding = 10_000
        self.world.add("a.example")
        self.world.wait(3.0)
        self.world.acme.stop()
        self.world.authority.deciding = 0
        self.world.sites["a.example"] = evolve(self.world.sites["a.example"], also=("b.example",))
        self.world.begin()
        self.world.wait()
        self.assertEqual(self.world.authority.orders[-1]["names"], ("a.example", "b.example"))
        self.assertEqual((self.world.orders(), self.world.replaced), (2, {"a.example": 1}))
        answers = list(self.world.folder.rglob("http-01/*"))
        self.assertEqual(answers, [])

    def test_locked(self) -> None:
        """What another process is ordering is left to it, for a while."""
        self.world.store.prepare()
        lock = self.world.store.lock("a.example")
        assert lock is not None
        self.world.add("a.example")
        self.world.wait()
        self.assertIn("another process", self.renew())
        self.assertEqual(self.world.orders(), 0)
        lock.release()
        self.world.wait(BUSY_PAUSE + 10)
        self.assertEqual(self.world.orders(), 1)

    def test_changed_meanwhile(self) -> None:
        """Who comes on duty again sees what another one has done."""
        self.world.add("a.example")
        self.world.wait()
        first = self.world.acme
        self.successResultOf(first.stop())
        self.world.begin()
        self.world.wait()
        self.assertEqual(self.renew(), "")
        self.world.acme.stop()
        first.start()
        self.world.acme = first
        self.world.wait(30 * DAY)
        self.assertEqual(self.world.orders(), 2)


class FailureTests(WorldCase):
    def test_growing_pauses(self) -> None:
        """A site that fails is tried again after growing pauses, told of once, and after a restart
        no sooner."""
        self.world.faults = ["it leads nowhere"]
        self.world.add("a.example")
        self.world.wait(20)
        self.assertEqual(self.world.state()["fault"], "it leads nowhere")
        at = [self.world.state()["next"] - self.world.wall()]
        for _ in range(4):
            self.world.wait(at[-1] + 20)
            self.world.restart()
            at.append(self.world.state()["next"] - self.world.wall())
        self.assertTrue(all(a < b for a, b in zip(at[1:], at[3:], strict=False)), at)
        self.assertEqual(self.world.state()["failures"], 5)
        self.assertEqual(self.world.orders(), 0)
        self.world.wait(3 * DAY)
        self.assertLess(len(self.world.preflights), 35)
        self.world.faults = []
        self.world.wait(6 * 3600 * 1.3)
        self.assertEqual(self.world.orders(), 1)
        self.assertEqual(self.world.alarms.current, {})

    def test_other_challenge(self) -> None:
        """When one challenge fails the other one is tried; what has worked comes first from then
        on."""
        self.world.authority.unproven = {"http-01"}
        self.world.add("a.example")
        self.world.wait()
        self.assertEqual(self.world.state()["challenge"], "tls-alpn-01")
        self.assertEqual(self.world.orders(), 2)
        self.assertEqual(self.renew(), "")
        self.assertEqual(self.world.orders(), 3)
        self.assertEqual(self.world.alarms.told, [])

    def test_one_challenge(self) -> None:
        """A site that wants one challenge has no other tried."""
        self.world.authority.unproven = {"http-01"}
        self.world.add("a.example", acme_challenge="http-01")
        self.world.wait()
        self.assertIn("not proven by http-01", self.world.state()["fault"])
        self.assertEqual(self.world.orders(), 1)

    def test_rehearsed(self) -> None:
        """After names were not proven it is rehearsed, where failures do not count, until that
        succeeds; then the authority is asked at once."""
        self.world.settings = evolve(self.world.settings, acme_staging=STAGING)
        for place in (CA, STAGING):
            self.world.authorities[place].unproven = {"http-01", "tls-alpn-01"}
        self.world.add("a.example")
        self.world.wait(DAY)
        self.assertEqual(self.world.orders(), 2)
        self.assertGreater(self.world.orders(STAGING), 10)
        for place in (CA, STAGING):
            self.world.authorities[place].unproven = {"http-01"}
        self.world.wait(6 * 3600 * 1.3)
        self.assertEqual(self.world.replaced, {"a.example": 1})
        # What the rehearsal has learnt is used.
        self.assertEqual(self.world.orders(), 3)
        self.assertEqual(self.world.state()["authority"], CA)

    def test_nowhere_to_rehearse(self) -> None:
        """Rehearsals that cannot be had keep nobody from a certificate."""
        self.world.settings = evolve(self.world.settings, acme_staging=STAGING)
        self.world.authority.unproven = {"http-01", "tls-alpn-01"}
        self.world.trouble("directory", "away", 1000, STAGING)
        self.world.add("a.example")
        self.world.wait(20)
        self.world.authority.unproven = set()
        self.world.wait(5 * MINUTE)
        self.assertEqual(self.world.replaced, {"a.example": 1})

    def test_fallback(self) -> None:
        """Where the first authority is away, refuses or has had enough, the other one is asked at
        once; where a name is not proven it is not, for it would find the same."""
        self.world.settings = evolve(self.world.settings, acme_fallback=OTHER)
        for index, kind in enumerate(("away", "refused", "limited")):
            self.world.trouble("create", kind)
            self.world.add(f"site{index}.example")
            self.world.wait(20)
            self.assertEqual(self.world.orders(OTHER), index + 1, kind)
        self.world.trouble("directory", "away", 10)
        self.world.clock.advance(3600)
        self.world.add("a.example")
        self.world.wait(20)
        self.assertEqual(self.world.state()["authority"], OTHER)
        self.world.authority.trouble.clear()
        for place in (CA, OTHER):
            self.world.authorities[place].unproven = {"http-01", "tls-alpn-01"}
        asked = self.world.orders(OTHER)
        self.world.add("b.example")
        self.world.wait(20)
        self.assertEqual(self.world.orders(OTHER), asked)

    def test_profile(self) -> None:
        """The profile is the first authority's."""
        self.world.settings = evolve(
            self.world.settings, acme_fallback=OTHER, acme_profile="tlsserver"
        )
        self.world.trouble("create", "refused", 1)
        self.world.add("a.example")
        self.world.add("b.example")
        self.world.wait()
        profiles = {
            p: [o["profile"] for o in self.world.authorities[p].orders] for p in (CA, OTHER)
        }
        self.assertEqual(profiles, {CA: ["tlsserver"], OTHER: [""]})

    def test_forgotten_account(self) -> None:
        """An authority that does not know the account is told of it again, once."""
        self.world.add("a.example")
        self.world.wait()
        self.world.trouble("create", "lost")
        self.assertEqual(self.renew(), "")
        self.assertEqual(self.world.authority.asked["register"], 2)
        self.world.trouble("create", "lost", 5)
        self.assertIn("lost it is", self.renew())
        self.assertEqual(self.world.authority.asked["register"], 3)

    def test_not_now(self) -> None:
        """A certificate that is not valid by this host's clock replaces none that is, and is no
        reason for another order: it is put in its place when the clock is right."""
        self.world.add("a.example")
        self.world.wait()
        path = Path(self.world.store.certificate_path("a.example"))
        before = path.read_bytes()
        authority = self.world.authority
        for ahead in (-3 * DAY, 3000 * DAY):
            authority.wall = lambda ahead=ahead: self.world.wall() - ahead
            orders = self.world.orders()
            self.assertIn("this host's clock", self.renew())
            self.world.wait(6 * 3600)
            self.assertEqual(self.world.orders(), orders + 1)
            self.assertEqual(path.read_bytes(), before)
            self.world.restart()
            authority.wall = self.world.wall
            self.world.acme._store.forget_order("a.example")

    def test_clock_set_back(self) -> None:
        """A clock that was years ahead, and is set right, keeps nobody from a certificate, nor an
        authority from saying when to renew it."""
        self.world.off = 900 * DAY
        self.world.trouble("create", "refused")
        self.world.add("a.example")
        self.world.wait(20)
        self.assertEqual(self.world.orders(), 0)
        self.world.off = 0.0
        self.world.wait(20)
        self.assertEqual(self.world.orders(), 1)
        self.world.authority.window = Suggested(Window(NOW + 10 * DAY, NOW + 11 * DAY), 3600.0)
        self.world.off = 20 * DAY
        self.world.trouble("suggested", "away", 1000)
        self.world.wait(7 * 3600)
        self.world.trouble("suggested", "away", 0)
        self.world.off = 0.0
        self.world.wait(13 * 3600)
        self.assertIsNotNone(self.world.state()["ari"])

    def test_seconds_behind(self) -> None:
        """A clock that is some seconds behind the authority's waits for them."""
        self.world.authority.wall = lambda: self.world.wall() + 20
        self.world.add("a.example")
        self.world.wait(30)
        self.assertEqual(self.world.replaced, {"a.example": 1})
        self.assertEqual((self.world.orders(), self.world.alarms.told), (1, []))

    def test_no_year(self) -> None:
        """Nobody is made to wait so long that a certificate ends meanwhile."""
        self.world.trouble("create", "away", 1, retry_after=366 * DAY)
        self.world.add("a.example")
        self.world.wait(32 * 3600)
        self.assertEqual(self.world.replaced, {"a.example": 1})

    def test_a_week_and_no_longer(self) -> None:
        """Who says "not for a year" is asked nothing for a week."""
        self.world.trouble("create", "limited", 1, retry_after=366 * DAY)
        self.world.add("a.example")
        self.world.wait(6.5 * DAY)
        self.assertEqual(self.world.authority.asked["create"], 1)
        self.world.wait(2 * DAY)
        self.assertEqual(self.world.replaced, {"a.example": 1})

    def test_own_fault(self) -> None:
        """A fault of our own counts like any failure: there is no storm."""
        self.patch(attempt, "new_key", lambda: 1 // 0)
        self.world.add("a.example")
        self.world.wait(60)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn("a fault of Snickers", self.world.state()["fault"])

    def test_broken_preflight(self) -> None:
        """A look beforehand that breaks keeps nobody from a certificate."""
        self.world.slow.run = lambda function: 1 // 0  # type: ignore[method-assign,assignment]
        self.world.add("a.example")
        self.world.wait()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.world.orders(), 1)

    def test_preflight_off(self) -> None:
        """``acme preflight = off`` asks the authority at once."""
        self.world.settings = evolve(self.world.settings, acme_preflight=False)
        self.world.add("a.example")
        self.world.wait()
        self.assertEqual((self.world.preflights, self.world.orders()), ([], 1))

    def test_mended(self) -> None:
        """What is changed in the configuration is tried at once, not when the pause is over."""
        self.world.add("*.a.example")
        self.world.wait()
        fault = self.world.state("*.a.example")["fault"]
        self.assertIn("acme dns hook", fault)
        self.world.add("b.example", acme_challenge="dns-01")
        self.world.wait()
        self.assertEqual(self.world.orders(), 0)
        self.world.add("b.example")
        self.world.wait()
        self.assertEqual(self.world.orders(), 1)
        self.world.settings = evolve(self.world.settings, acme_dns_hook=("hook",))
        self.world.wait()
        self.assertNotEqual(self.world.state("*.a.example")["fault"], fault)
