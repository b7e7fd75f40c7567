"""Connections counted in memory that several processes see."""

from __future__ import annotations

import fcntl
import os

from twisted.trial.unittest import SynchronousTestCase

from snickers.listening import Limits
from snickers.workers.tally import PLACES, ROWS, Tally


class TallyTests(SynchronousTestCase):
    """Several rows of one memory."""

    def setUp(self) -> None:
        self.descriptor = Tally.create()
        self.addCleanup(os.close, self.descriptor)
        self.first, self.second, self.last = map(self.row, (0, 1, ROWS - 1))
        self.first.use(ROWS - 1)

    def row(self, number: int) -> Tally:
        tally = Tally(self.descriptor, number)
        self.addCleanup(tally.close)
        return tally

    def test_private(self) -> None:
        """Only who is given the memory has it."""
        self.assertTrue(fcntl.fcntl(self.descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC)

    def test_elsewhere(self) -> None:
        """Each sees what all the others have, and not its own."""
        place = self.first.place(b"192.0.2.1")
        self.first.add(place, 1)
        self.second.add(place, 2)
        self.last.add(place + 1, 4)
        self.assertEqual(
            [tally.open_elsewhere() for tally in (self.first, self.second, self.last)], [6, 5, 3]
        )
        self.assertEqual(
            [tally.count_elsewhere(place) for tally in (self.first, self.second, self.last)],
            [2, 1, 3],
        )
        self.second.add(place, -2)
        self.assertEqual((self.first.open_elsewhere(), self.first.count_elsewhere(place)), (4, 0))

    def test_use(self) -> None:
        """Only rows that were ever in use are looked at, by all who share the memory."""
        descriptor = Tally.create()
        self.addCleanup(os.close, descriptor)
        rows = [Tally(descriptor, number) for number in range(4)]
        for tally in rows:
            self.addCleanup(tally.close)
            tally.add(5, 1)
        for number, seen in ((1, 1), (3, 3), (2, 3)):
            rows[0].use(number)
            self.assertEqual((rows[0].open_elsewhere(), rows[0].count_elsewhere(5)), (seen, seen))
        self.assertEqual([tally.open_elsewhere() for tally in rows], [3] * 4)

    def test_spoilt(self) -> None:
        """A number of rows that cannot be is not believed."""
        self.second._used[0] = 0xFFFFFFFF
        self.last.add(5, 1)
        self.assertEqual((self.first.open_elsewhere(), self.first.count_elsewhere(5)), (1, 1))

    def test_places(self) -> None:
        """All processes have the same place for an address; another memory has others."""
        peers = [b"192.0.2.%d" % n for n in range(200)]
        places = [self.first.place(peer) for peer in peers]
        self.assertEqual(places, [self.second.place(peer) for peer in peers])
        self.assertTrue(all(0 <= place < PLACES for place in places))
        self.assertGreater(len(set(places)), 190)
        other = Tally.create()
        self.addCleanup(os.close, other)
        stranger = Tally(other, 0)
        self.addCleanup(stranger.close)
        self.assertNotEqual(places, [stranger.place(peer) for peer in peers])

    def test_edges(self) -> None:
        """The first and the last place of neighbours are apart."""
        for place in (0, PLACES - 1):
            self.second.add(place, 3)
            self.assertEqual(self.first.count_elsewhere(place), 3)
            self.assertEqual(self.row(2).count_elsewhere(place), 3)
        self.assertEqual(self.first.count_elsewhere(1), 0)
        self.assertEqual(self.last.open_elsewhere(), 6)
        self.last.add(PLACES - 1, 1)
        self.assertEqual(self.first.count_elsewhere(PLACES - 1), 4)

    def test_never_less_than_nothing(self) -> None:
        """One that goes and was not counted takes nothing from others."""
        self.first.add(5, -1)
        self.assertEqual((self.second.open_elsewhere(), self.second.count_elsewhere(5)), (0, 0))

    def test_clear(self) -> None:
        """What a process that died had open is forgotten, and that alone."""
        for tally, place in ((self.first, 1), (self.second, 1), (self.second, PLACES - 1)):
            tally.add(place, 1)
        self.first.clear(1)
        self.assertEqual(self.first.open_elsewhere(), 0)
        self.assertEqual(self.first.count_elsewhere(PLACES - 1), 0)
        self.assertEqual(self.second.open_elsewhere(), 1)

    def test_limits(self) -> None:
        """Limits that share it hold for all together, whoever comes and goes."""
        limits = [Limits(4, 2, 10_000) for _ in range(3)]
        for one, tally in zip(limits, (self.first, self.second, self.last), strict=True):
            one.share(tally)
        self.assertTrue(limits[1].enter(b"192.0.2.1"))
        self.assertTrue(limits[2].enter(b"192.0.2.1"))
        self.assertEqual([one.enter(b"192.0.2.1") for one in limits], [False] * 3)
        self.assertTrue(limits[1].enter(b"192.0.2.2"))
        self.assertTrue(limits[2].enter(b"192.0.2.3"))
        self.assertEqual([one.enter(b"192.0.2.4") for one in limits], [False] * 3)
        limits[2].leave(b"192.0.2.1")
        self.assertTrue(limits[0].enter(b"192.0.2.1"))
