"""The bytes that a process' network has moved."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from snickers.containers.netdev import moved

TEXT = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo:  999      1    0    0    0     0          0         0     999      1    0    0    0
  eth0:  1000     2    0    0    0     0          0         0      30      4    0    0    0
  eth1:200        2    0    0    0     0          0         0       7      4    0    0    0
   odd
"""


class MovedTests(SynchronousTestCase):
    def test_moved(self) -> None:
        """Both ways of all interfaces together, without what it says to itself."""
        proc = self.mktemp()
        os.makedirs(f"{proc}/7/net")
        with open(f"{proc}/7/net/dev", "w") as file:
            file.write(TEXT)
        self.assertEqual(moved(7, proc), 1237)

    def test_gone(self) -> None:
        """Of a process that has gone nobody can say."""
        self.assertIsNone(moved(8, self.mktemp()))

    def test_here(self) -> None:
        """The kernel says it in this form."""
        found = moved(os.getpid())
        assert found is not None
        self.assertGreaterEqual(found, 0)
