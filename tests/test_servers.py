"""One server of a site: where it is."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from snickers.http.servers import read_target


class TargetTests(SynchronousTestCase):
    """What `test_proxy` does not show of servers through their handler."""

    def test_targets(self) -> None:
        """Addresses as the configuration spells them."""
        for to, target in [
            ("http://127.0.0.1:8000", ("127.0.0.1", 8000)),
            ("http://[::1]:8000/", ("::1", 8000)),
            ("http://backend", ("backend", 80)),
            ("https://backend", ("backend", 443)),
            ("unix:/run/x.sock", "/run/x.sock"),
        ]:
            self.assertEqual(read_target(to), target)
