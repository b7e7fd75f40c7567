"""What the DNS says, as values."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.asked import Server, server_at


class ServerTests(SynchronousTestCase):
    def test_server_at(self) -> None:
        """An address and a port, of either family, or nothing."""
        self.assertIsNone(server_at(""))
        self.assertEqual(server_at("192.0.2.1:53"), Server("192.0.2.1", "192.0.2.1", 53))
        self.assertEqual(
            server_at("[2001:db8::1]:5353"), Server("2001:db8::1", "2001:db8::1", 5353)
        )

    def test_words(self) -> None:
        """It is called by its name, with the address, or by the address alone."""
        self.assertEqual(str(Server("ns.example", "192.0.2.1")), "ns.example (192.0.2.1)")
        self.assertEqual(str(Server("192.0.2.1", "192.0.2.1")), "192.0.2.1")
