"""The ledger of certificate authorities' limits, in its file."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.ledger import Ledger
from snickers.acme.limits import FAILURES, PER_SET

NOW = 1_800_000_000.0
CA = "https://ca.example/directory"
OTHER = "https://other.example/directory"


class LedgerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.join(self.mktemp(), "acme", "ledger.json")
        self.ledger = Ledger(self.path)

    def test_outlives(self) -> None:
        """What was counted is known to another process, and to the next one."""
        for _ in range(PER_SET):
            self.assertIsNone(self.ledger.order(CA, ["a.example"], False, NOW))
        refused = Ledger(self.path).order(CA, ["a.example"], False, NOW)
        assert refused is not None
        self.assertIn("5 certificates a week for the same names", refused.words)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)

    def test_authorities_apart(self) -> None:
        """Each authority has limits of its own."""
        for _ in range(PER_SET):
            self.ledger.order(CA, ["a.example"], False, NOW)
        self.assertIsNone(self.ledger.order(OTHER, ["a.example"], False, NOW))

    def test_refused_is_not_counted(self) -> None:
        """An order that was refused was not placed."""
        for _ in range(PER_SET + 3):
            self.ledger.order(CA, ["a.example"], False, NOW)
        self.assertEqual(len(self.ledger.counts(CA).orders), PER_SET)

    def test_exempt(self) -> None:
        """What the authority has asked for is neither counted nor refused."""
        for _ in range(PER_SET):
            self.ledger.order(CA, ["a.example"], False, NOW)
        self.assertIsNone(self.ledger.order(CA, ["a.example"], True, NOW, exempt=True))
        self.assertEqual(len(self.ledger.counts(CA).orders), PER_SET)

    def test_failures_losses_and_pauses(self) -> None:
        """They are kept, too."""
        for _ in range(FAILURES):
            self.ledger.failed(CA, "a.example", NOW)
        self.assertIsNotNone(self.ledger.order(CA, ["a.example"], False, NOW))
        self.ledger.order(CA, ["b.example"], False, NOW)
        self.ledger.lost(CA, ["b.example"], NOW)
        self.assertTrue(self.ledger.counts(CA).orders[-1].lost)
        self.ledger.paused(CA, [], NOW + 60, NOW)
        refused = self.ledger.order(CA, ["c.example"], False, NOW)
        assert refused is not None
        self.assertEqual(refused.until, NOW + 60)
        self.assertIsNone(self.ledger.order(CA, ["c.example"], False, NOW + 61))

    def test_paused_for_a_year(self) -> None:
        """Who wants nothing for a year is asked for nothing for a week."""
        self.ledger.paused(CA, [], NOW + 366 * 86400, NOW)
        refused = self.ledger.order(CA, ["a.example"], False, NOW)
        assert refused is not None
        self.assertEqual(refused.until, NOW + 7 * 86400)

    def test_forgets(self) -> None:
        """What counts no more leaves the file."""
        self.ledger.order(CA, ["a.example"], False, NOW)
        self.ledger.order(OTHER, ["a.example"], False, NOW + 30 * 86400)
        self.assertNotIn(CA, Path(self.path).read_text())

    def test_damaged(self) -> None:
        """A file that cannot be read is begun anew."""
        self.ledger.order(CA, ["a.example"], False, NOW)
        for text in ["", "{", "[]", '{"x": 1}', '{"x": {"orders": [{}]}}', "\0"]:
            Path(self.path).write_text(text)
            self.assertIsNone(self.ledger.order(CA, ["a.example"], False, NOW))
            self.assertEqual(len(self.ledger.counts(CA).orders), 1)

    def test_at_once(self) -> None:
        """Of twenty who ask at the same time five are served."""
        with ThreadPoolExecutor(8) as threads:
            asked = [
                threads.submit(Ledger(self.path).order, CA, ["a.example"], False, NOW)
                for _ in range(20)
            ]
            answers = [future.result() for future in asked]
        self.assertEqual(answers.count(None), PER_SET)
