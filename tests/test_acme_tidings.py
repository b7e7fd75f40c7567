"""What a person hears of certificates."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.plan import QUIET, Held, Memory
from snickers.acme.store import Store, StoreFailed
from snickers.acme.tidings import AWAY_FOR, Tidings
from tests.acme_world import DAY, NOW, Alarms, WorldCase

LOCK = Store.lock
MEMORY = Memory(failures=1, fault="it leads nowhere", kind="proof")


class TidingsTests(SynchronousTestCase):
    """Each thing that is told, and taken back."""

    def setUp(self) -> None:
        self.alarms = Alarms()
        self.clock = Clock()
        self.tidings = Tidings(self.alarms, self.clock.seconds)
        self.site = self.tidings.of("a.example")

    def told(self) -> list[tuple[str, str]]:
        """Of what a person was told so far."""
        return [(kind, site) for kind, site, _ in self.alarms.told]

    def test_not_kept(self) -> None:
        """A disk that takes nothing is one alarm, of what came first, until it takes some."""
        self.tidings.not_kept("a: no room")
        self.tidings.not_kept("b: no room")
        self.assertEqual(self.alarms.told, [("key", "", "a: no room")])
        self.tidings.kept()
        self.assertEqual(self.alarms.current, {})
        self.tidings.not_kept("b: no room")
        self.assertEqual(len(self.alarms.told), 2)

    def test_away(self) -> None:
        """An authority that is away is told of after minutes, and taken back when all answer."""
        self.tidings.away("https://a", "no route")
        self.clock.advance(AWAY_FOR - 1)
        self.tidings.away("https://a", "no route")
        self.tidings.away("https://b", "no route")
        self.assertFalse(self.tidings.away_told)
        self.clock.advance(1)
        self.tidings.away("https://a", "no route")
        self.tidings.away("https://a", "no route")
        self.assertEqual(
            self.alarms.told, [("authority", "", "no answer for 10 minutes: no route")]
        )
        self.tidings.answered("https://a")
        self.assertTrue(self.tidings.away_told)
        self.tidings.answered("https://b")
        self.assertEqual((self.tidings.away_told, self.alarms.current), (False, {}))

    def test_answered_in_between(self) -> None:
        """One that has answered in between was not away all the time."""
        self.tidings.away("https://a", "no route")
        self.clock.advance(AWAY_FOR)
        self.tidings.answered("https://a")
        self.tidings.away("https://a", "no route")
        self.assertEqual(self.alarms.told, [])

    def test_key(self) -> None:
        """What is wrong with a file is told once; another fault takes its place."""
        for fault in ("", "others can read it", "others can read it", "it is damaged"):
            self.site.key(fault)
        self.assertEqual(len(self.alarms.told), 2)
        self.assertEqual(self.alarms.current, {("key", "a.example"): "it is damaged"})
        self.site.key("")
        self.assertEqual(self.alarms.current, {})

    def test_life(self) -> None:
        """Little life is told of from the moment that the certificate gives, once for each."""
        held = Held(("a.example",), NOW, NOW + 90 * DAY, 1, NOW + 76 * DAY)
        self.site.life(None, "", NOW + 99 * DAY)
        self.site.life(held, "", NOW + 76 * DAY - 1)
        self.assertEqual(self.alarms.told, [])
        self.site.life(held, "it leads nowhere", NOW + 76 * DAY)
        self.site.life(held, "it leads nowhere", NOW + 91 * DAY)
        [(_, _, words)] = self.alarms.told
        self.assertIn("its certificate ends at ", words)
        self.assertTrue(words.endswith("no new one could be had: it leads nowhere"), words)
        self.site.life(evolve(held, not_after=NOW + 80 * DAY), "", NOW + 91 * DAY)
        self.assertIn("its certificate has ended at ", self.alarms.current["expiry", "a.example"])

    def test_failure(self) -> None:
        """A failure is told once for its kind, in place of one of another kind; what time mends is
        not told at first."""
        self.site.failure(evolve(MEMORY, kind="away"), lacking=True)
        self.assertEqual(self.alarms.told, [])
        self.site.failure(MEMORY, lacking=True)
        self.site.failure(evolve(MEMORY, failures=2), lacking=True)
        self.assertEqual(self.alarms.over, [])
        self.site.failure(evolve(MEMORY, kind="setting", fault="no key"), lacking=True)
        self.assertEqual(self.alarms.over, [("renewal", "a.example")])
        self.site.failure(MEMORY, lacking=True)
        self.assertIn("it leads nowhere", self.alarms.current["renewal", "a.example"])
        self.assertEqual(self.told(), [("renewal", "a.example")] * 3)

    def test_all_are_away(self) -> None:
        """Of an authority that is known to be away no site tells once more."""
        lasting = evolve(MEMORY, kind="away", failures=QUIET)
        for _ in range(2):
            self.tidings.away("https://a", "no route")
            self.clock.advance(AWAY_FOR)
        self.site.failure(lasting, lacking=True)
        self.assertEqual(self.told(), [("authority", "")])
        self.tidings.answered("https://a")
        self.site.failure(lasting, lacking=True)
        self.assertEqual(self.told()[1:], [("renewal", "a.example")])

    def test_over(self) -> None:
        """With a new certificate all that was told of the site is over, and would be told anew;
        what was told of others stays."""
        other = self.tidings.of("b.example")
        held = Held(("a.example",), NOW, NOW + 90 * DAY, 1, NOW + 76 * DAY)
        for _ in range(2):
            for site in (self.site, other):
                site.key("it is damaged")
                site.failure(MEMORY, lacking=False)
                site.life(held, "", NOW + 80 * DAY)
            self.assertEqual(len(self.alarms.current), 6)
            self.site.over()
            self.assertEqual({site for _, site in self.alarms.current}, {"b.example"})


class WorldTests(WorldCase):
    """What is told while sites have their certificates ordered."""

    def test_told_once(self) -> None:
        """A person hears of a failure once, with what it is and what can be done."""
        self.world.faults = ["a.example leads to 192.0.2.1, not here"]
        self.world.add("a.example")
        self.world.wait(2 * DAY)
        [(kind, site, words)] = self.world.alarms.told
        self.assertEqual((kind, site), ("renewal", "a.example"))
        self.assertIn("leads to 192.0.2.1", words)
        self.assertIn("snickers renew a.example", words)

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
