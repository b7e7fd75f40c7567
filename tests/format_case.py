"""What tests of the configuration's formats have in common."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from snickers.config.formats import Format, Place
from snickers.config.wrong import Wrong

HERE = Place("/etc/snickers", "alice.example", "/data/alice.example")


class FormatCase(SynchronousTestCase):
    """Reads and refuses values as they would stand in a file of ``/etc/snickers``."""

    def reads(self, format: Format[Any], pairs: dict[str, Any]) -> None:
        """*format* reads each text as its value, and shows what reads the same."""
        for text, value in pairs.items():
            self.assertEqual(format.read(text, HERE), value, text)
            self.assertEqual(format.read(format.show(value), HERE), value, text)

    def refuses(self, format: Format[Any], words: str, *texts: str) -> None:
        """*format* refuses each of *texts* in *words*."""
        for text in texts:
            wrong = self.assertRaises(Wrong, format.read, text, HERE)
            self.assertIn(words, str(wrong), text)
