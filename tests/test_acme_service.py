"""All sites' certificates from the network, by a clock that is set."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
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
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from snickers.acme import plan, service
from snickers.acme.accounts import Accounts
from snickers.acme.challenges import Challenges
from snickers.acme.client import AuthorityFailed, Seen, Suggested
from snickers.acme.ledger import Ledger
from snickers.acme.renewal import Window
from snickers.acme.service import AT_ONCE, AWAY_FOR, BUSY_PAUSE, Acme
from snickers.acme.store import Store, StoreFailed
from snickers.config.values import Passthrough, Settings, Site, Static
from snickers.interfaces import IRenewer
from snickers.tls.credentials import CertificateUnavailable
from tests.acme_fake import AtOnce, Authority, Client

CA = "https://ca.example/directory"
OTHER = "https://other.example/directory"
STAGING = "https://staging.example/directory"
NOW = 1_800_000_000.0
DAY = 86400.0
MINUTE = 60.0
LOCK = Store.lock


class Alarms:
    """Keeps what is raised and not cleared."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.current: dict[tuple[str, str], str] = {}

    def raised(self, kind: str, site: str, message: str) -> None:
        self.told.append((kind, site, message))
        self.current[kind, site] = message

    def cleared(self, kind: str, site: str) -> None:
        self.current.pop((kind, site), None)


class World:
    """One host, three authorities, and time that passes as it is told to."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.folder = folder
        self.store = Store(str(folder))
        self.authorities = {place: Authority(place, self.wall) for place in (CA, OTHER, STAGING)}
        self.authority = self.authorities[CA]
        self.alarms = Alarms()
        self.settings = Settings(acme_directory=CA)
        self.replaced: Counter[str] = Counter()
        self.faults: list[str] = []
        self.preflights: list[Any] = []
        self.off = 0.0
        self.sites: dict[str, Site] = {}
        self.begin()

    def wall(self) -> float:
        """Epoch seconds."""
        return NOW + self.clock.seconds() + getattr(self, "off", 0.0)

    def begin(self) -> None:
        """A process that is on duty."""
        self.threads, self.slow = AtOnce(), AtOnce()

        def make(directory: str, identity: Any, context: Any, wall: Any) -> Any:
            return self.authorities[directory].open(directory, identity)

        def preflight(*asked: Any) -> Sequence[str]:
            self.preflights.append(asked)
            return list(self.faults)

        def replaced(site: str) -> None:
            self.replaced[site] += 1

        self.acme = Acme(
            self.clock,
            self.threads,
            self.slow,
            self.store,
            Challenges(str(self.folder / "challenges")),
            lambda: self.settings,
            self.alarms,
            self.wall,
            replaced,
            preflight,
            Accounts(self.store, self.wall, make),
            chance=lambda: 0.5,
        )
        self.acme.start()
        self.acme.apply(list(self.sites.values()), [], [])

    def restart(self) -> None:
        """Another process in the place of this one."""
        self.acme.stop()
        self.begin()
        self.wait()

    def add(self, name: str, *also: str, **more: Any) -> Site:
        """A site that wants a certificate."""
        site = Site(name, Static("/"), also=also, certificates="acme", **more)
        known = name in self.sites
        self.sites[name] = site
        self.acme.apply([] if known else [site], [site] if known else [], [])
        return site

    def remove(self, name: str) -> None:
        """A site that is no more."""
        self.acme.apply([], [], [self.sites.pop(name)])

    def wait(self, seconds: float = 10.0) -> None:
        """Let time pass: in small steps at first, since one thing leads to another."""
        for _ in range(min(40, math.ceil(seconds / 0.25))):
            self.clock.advance(0.25)
        rest = seconds - 10.0
        while rest > 0:
            step = min(rest, max(5.0, seconds / 300))
            self.clock.advance(step)
            rest -= step

    def orders(self, place: str = CA) -> int:
        """How many orders an authority has."""
        return len(self.authorities[place].orders)

    def state(self, site: str = "a.example") -> Any:
        """What is said of a site."""
        return self.acme.states()[site]

    def trouble(self, what: str, kind: str, times: int = 1, place: str = CA, **more: Any) -> None:
        """Have an authority fail."""
        self.authorities[place].trouble[what] = [
            AuthorityFailed(kind, f"{kind} it is", **more) for _ in range(times)
        ]


class ServiceCase(SynchronousTestCase):
    def setUp(self) -> None:
        # What a power cut would leave is not looked at here, and disks may be slow.
        self.patch(os, "fsync", lambda descriptor: None)
        self.world = World(Path(self.mktemp()).absolute())
        self.addCleanup(lambda: self.world.acme.stop())

    def renew(self, site: str = "a.example") -> str:
        """Renew it now; return why that could not be, or ""."""
        done = self.world.acme.renew(site, lambda words: None)
        self.world.wait()
        failures: list[Any] = []
        done.addErrback(failures.append)
        assert done.called
        if not failures:
            return ""
        self.assertIsInstance(failures[0].value, CertificateUnavailable)
        return str(failures[0].value)


class DutyTests(ServiceCase):
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


class RenewTests(ServiceCase):
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


class SuggestionTests(ServiceCase):
    def test_window(self) -> None:
        """The authority is asked twice a day or as it says; its window holds; the successor names
        its predecessor and is exempt."""
        window = Window(NOW + 10 * DAY, NOW + 11 * DAY)
        self.world.authority.window = Suggested(window, 6 * 3600.0)
        self.world.add("a.example")
        self.world.wait(10 * DAY)
        self.assertIn(self.world.authority.asked["suggested"], range(38, 43))
        self.assertEqual(self.world.orders(), 1)
        self.assertEqual(self.world.state()["ari"], (window.start, window.end))
        self.assertTrue(window.start < self.world.state()["next"] < window.end)
        self.world.wait(self.world.state()["next"] - self.world.wall())
        self.world.wait(3600)
        self.assertEqual(self.world.orders(), 2)
        self.assertNotEqual(self.world.authority.orders[1]["replaces"], "")
        self.assertEqual(len(Ledger(self.world.store.ledger).counts(CA).orders), 1)

    def test_sooner(self) -> None:
        """An authority that has to revoke has its certificates renewed within hours."""
        far = Window(NOW + 60 * DAY, NOW + 61 * DAY)
        self.world.authority.window = Suggested(far, 6 * 3600.0)
        self.world.add("a.example")
        self.world.wait(DAY)
        self.world.authority.window = Suggested(Window(NOW, NOW + DAY), 6 * 3600.0)
        self.world.wait(DAY / 2)
        self.assertGreaterEqual(self.world.orders(), 2)

    def test_kept(self) -> None:
        """The window is known after a restart, without a question."""
        window = Window(NOW + 10 * DAY, NOW + 11 * DAY)
        self.world.authority.window = Suggested(window, 6 * 3600.0)
        self.world.add("a.example")
        self.world.wait()
        self.world.restart()
        self.assertEqual(self.world.authority.asked["suggested"], 1)
        self.assertEqual(self.world.state()["ari"], (window.start, window.end))

    def test_no_answer(self) -> None:
        """When it cannot be asked the last word holds, and it is asked again later."""
        window = Window(NOW + 60 * DAY, NOW + 61 * DAY)
        self.world.authority.window = Suggested(window, 3600.0)
        self.world.add("a.example")
        self.world.wait()
        self.world.trouble("suggested", "away", 100)
        self.world.wait(3 * 3600)
        self.assertEqual(self.world.state()["ari"], (window.start, window.end))
        self.assertLess(self.world.authority.asked["suggested"], 6)

    def test_own_fault(self) -> None:
        """A fault of our own while asking is no reason to ask at each look."""
        self.patch(Client, "suggested", lambda client, identity: 1 // 0)
        self.world.add("a.example")
        self.world.wait(600)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_of_the_past(self) -> None:
        """An authority that suggests 1970 for each certificate, and takes no word for which one is
        renewed, is not asked on and on."""
        self.world.authority.window = Suggested(Window(0.0, 1.0), 3600.0)
        create = Client.create

        def stubborn(client: Client, names: Sequence[str], profile: str, replaces: str) -> Seen:
            if replaces:
                raise AuthorityFailed("replaced", "it was")
            return create(client, names, profile, replaces)

        self.patch(Client, "create", stubborn)
        self.world.add("a.example")
        self.world.wait(10 * 3600)
        self.assertLessEqual(self.world.orders(), 2)

    def test_another(self) -> None:
        """A certificate that somebody else has put there has no window."""
        self.world.authority.window = Suggested(Window(NOW + 10 * DAY, NOW + 11 * DAY), 3600.0)
        self.world.add("a.example")
        self.world.add("b.example", "a.example")
        self.world.wait()
        self.world.acme.stop()
        paths = [self.world.store.certificate_path(name) for name in ("b.example", "a.example")]
        Path(paths[1]).write_bytes(Path(paths[0]).read_bytes())
        self.world.begin()
        self.world.wait()
        self.assertIsNone(self.world.state()["ari"])


class FailureTests(ServiceCase):
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

    def test_told_once(self) -> None:
        """A person hears of a failure once, with what it is and what can be done."""
        self.world.faults = ["a.example leads to 192.0.2.1, not here"]
        self.world.add("a.example")
        self.world.wait(2 * DAY)
        [(kind, site, words)] = self.world.alarms.told
        self.assertEqual((kind, site), ("renewal", "a.example"))
        self.assertIn("leads to 192.0.2.1", words)
        self.assertIn("snickers renew a.example", words)

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

    def test_away(self) -> None:
        """An authority that is away for minutes is one alarm, however many sites wait for it, and
        over when it answers again."""
        self.world.trouble("directory", "away", 10_000)
        for index in range(20):
            self.world.add(f"site{index}.example")
        self.world.wait(30)
        self.assertEqual(self.world.alarms.told, [])
        self.world.wait(AWAY_FOR * 2)
        kinds = Counter(kind for kind, _, _ in self.world.alarms.told)
        self.assertEqual(kinds["authority"], 1)
        self.world.authority.trouble.clear()
        self.world.wait(3600)
        self.assertEqual(self.world.alarms.current, {})
        self.assertEqual(self.world.orders(), 20)

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

    def test_little_life(self) -> None:
        """A certificate with little life left is told of, once, with why there is no new one; and
        when there is one that is over."""
        self.world.add("a.example")
        self.world.wait()
        self.world.faults = ["it leads nowhere"]
        self.world.wait(74 * DAY)
        self.assertNotIn(("expiry", "a.example"), self.world.alarms.current)
        self.world.wait(4 * DAY)
        words = self.world.alarms.current["expiry", "a.example"]
        self.assertIn("it leads nowhere", words)
        self.world.wait(5 * DAY)
        told = [kind for kind, _, _ in self.world.alarms.told]
        self.assertEqual((told.count("expiry"), told.count("renewal")), (1, 1))
        self.world.faults = []
        self.assertEqual(self.renew(), "")
        self.assertEqual(self.world.alarms.current, {})

    def test_key(self) -> None:
        """A key that others can read is told of, and a new certificate with a new one ordered."""
        self.world.add("a.example")
        self.world.wait()
        path = Path(self.world.store.certificate_path("a.example"))
        before = path.read_bytes()
        path.chmod(0o644)
        self.world.restart()
        [(kind, site, words)] = self.world.alarms.told
        self.assertEqual((kind, site), ("key", "a.example"))
        self.assertIn("others could read this key", words)
        self.assertEqual((self.world.orders(), self.world.alarms.current), (2, {}))
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertNotEqual(path.read_bytes(), before)

    def test_damaged(self) -> None:
        """So is one whose file is damaged."""
        self.world.add("a.example")
        self.world.wait()
        Path(self.world.store.certificate_path("a.example")).write_text("nothing")
        self.world.restart()
        self.assertEqual([kind for kind, _, _ in self.world.alarms.told], ["key"])
        self.assertEqual((self.world.orders(), self.world.alarms.current), (2, {}))

    def test_disk(self) -> None:
        """When nothing can be kept the authority is not asked, and it is said; what can be kept
        again is."""
        self.world.folder.parent.mkdir(parents=True, exist_ok=True)
        self.world.folder.write_text("a file in the way")
        self.world.add("a.example")
        self.world.wait(60)
        self.assertEqual(self.world.orders(), 0)
        self.assertIn(str(self.world.folder), self.world.alarms.current["key", ""])
        self.world.folder.unlink()
        self.world.wait(60)
        self.assertEqual(self.world.orders(), 1)
        self.assertEqual(self.world.alarms.current, {})

    def test_read_only(self) -> None:
        """A folder that can be read and no more, or in which there is no room, is told of once:
        there is no storm of tries, and no traceback."""
        self.world.add("a.example")
        self.world.add("b.example")
        tries = [0]

        def full(store: Store, site: str) -> None:
            tries[0] += 1
            raise StoreFailed("locks: cannot be kept: No space left on device")

        self.patch(Store, "lock", full)
        self.world.wait(120)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertLess(tries[0], 20)
        self.assertEqual(self.world.orders(), 0)
        self.assertEqual(
            [told for told in self.world.alarms.told if told[0] == "key"],
            [("key", "", "locks: cannot be kept: No space left on device")],
        )
        self.assertIn("No space left", self.renew())
        self.patch(Store, "lock", LOCK)
        self.world.wait(60)
        self.assertEqual(self.world.orders(), 2)
        self.assertEqual(self.world.alarms.current, {})

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
        self.patch(service, "new_key", lambda: 1 // 0)
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
