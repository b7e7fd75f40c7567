"""A server's log, fit to be shown."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.control import logcleaner
from snickers.control.logcleaner import LogCleaner

PROFILE = settings(derandomize=True, deadline=None, max_examples=300)


class LogCleanerTests(SynchronousTestCase):
    """Logs on a terminal."""

    def clean(self, *pieces: bytes) -> list[bytes]:
        cleaner = LogCleaner()
        return [*(cleaner.feed(piece) for piece in pieces), cleaner.end()]

    def test_colours_pass(self) -> None:
        """Colours, tabs and text in any language pass."""
        line = "\x1b[1;31mrot\x1b[0m\t☃ é\n".encode()
        self.assertEqual(self.clean(line), [line, b""])

    def test_the_rest_is_shown(self) -> None:
        """What moves the cursor or talks to the terminal is shown, not obeyed."""
        self.assertEqual(
            self.clean(b"a\x1b[2J\x1b]0;x\x07\rb\x00\x7f\xc2\x9b2Jz\r\n"),
            [b"a\\x1b[2J\\x1b]0;x\\x07\\x0db\\x00\\x7f\\x9b2Jz\n", b""],
        )

    def test_pieces(self) -> None:
        """A sequence that was cut is judged whole; a line that is not ended comes at the end."""
        self.assertEqual(
            self.clean(b"one\n\x1b", b"[31mred\nend\x1b[", b"2J"),
            [b"one\n", b"\x1b[31mred\n", b"", b"end\\x1b[2J"],
        )

    def test_endless_line(self) -> None:
        """A line without an end is not kept for ever."""
        pieces = self.clean(b"x" * 60000, b"y" * 60000)
        self.assertEqual([len(piece) for piece in pieces], [0, 120000, 0])

    @PROFILE
    @given(st.lists(st.text("\x1b[2JmKa\n\r\x07\x9b☃", max_size=12).map(str.encode), max_size=8))
    def test_nothing_is_obeyed(self, texts: list[bytes]) -> None:
        """However a log is cut, and however long its lines, nothing that controls is left."""
        log = b"".join(texts)
        self.patch(logcleaner, "_LONGEST_LINE", 5)
        for size in (1, 2, 3, 7):
            shown = b"".join(self.clean(*(log[n : n + size] for n in range(0, len(log), size))))
            shown = re.sub(rb"\x1b\[[0-9;:]*m", b"", shown)
            self.assertIsNone(re.search(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", shown))
