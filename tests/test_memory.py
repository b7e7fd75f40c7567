"""How much memory this host has left."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from snickers.containers.memory import available, free


class MemoryTests(SynchronousTestCase):
    def test_available(self) -> None:
        """The kernel says how much can be had, and where it does not nobody goes for it."""
        text = "MemTotal:       24669164 kB\nMemAvailable:   23000000 kB\nBuffers: 1 kB\n"
        self.assertEqual(available(text), 23_000_000 * 1024)
        for odd in ("", "MemTotal: 1 kB\n", "MemAvailable:\n", "MemAvailable: many kB"):
            self.assertIsNone(available(odd))

    def test_free(self) -> None:
        """It is read anew each time; a kernel that does not say it is none."""
        path = self.mktemp()
        self.assertIsNone(free(path))
        for kilobytes in (5, 7):
            with open(path, "w", encoding="ascii") as file:
                file.write(f"MemAvailable: {kilobytes} kB\n")
            self.assertEqual(free(path), kilobytes * 1024)
        found = free()
        assert found is not None
        self.assertGreater(found, 0)
