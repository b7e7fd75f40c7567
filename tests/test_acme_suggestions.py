"""When an authority suggests to renew a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snickers.acme.ledger import Ledger
from snickers.acme.renewal import Window
from snickers.acme.said import AuthorityFailed, Seen, Suggested
from tests.acme_fake import Client
from tests.acme_world import CA, DAY, NOW, WorldCase


class SuggestionTests(WorldCase):
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
