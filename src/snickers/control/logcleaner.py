"""Makes what a site's server wrote fit to be shown on a terminal.

Pure. A log is written by whoever talks to the server, and a terminal obeys what it is shown: must
never let a control sequence through but colours, however the log is cut into pieces.
"""

from __future__ import annotations

import re

_CONTROL = re.compile(rb"\x1b\[[0-9;:]*m|[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")
_LONGEST_LINE = 65536
"""Bytes of a line that are waited for; a longer one is shown in pieces."""


class LogCleaner:
    """Cleans one log, piece by piece: colours pass, all else that controls is made visible."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Return the whole lines that can be shown now."""
        text = self._rest + data
        end = text.rfind(b"\n") + 1
        if len(text) - end > _LONGEST_LINE:
            # The first half of a control in UTF-8 waits for what it is the half of.
            end = len(text) - text.endswith(b"\xc2")
        self._rest = text[end:]
        return self._clean(text[:end])

    def end(self) -> bytes:
        """Return what is left when nothing follows."""
        rest, self._rest = self._rest, b""
        return self._clean(rest)

    @staticmethod
    def _clean(text: bytes) -> bytes:
        return _CONTROL.sub(_visible, text.replace(b"\r\n", b"\n"))


def _visible(found: re.Match[bytes]) -> bytes:
    sequence = found[0]
    if sequence.endswith(b"m") and sequence.startswith(b"\x1b["):
        return sequence
    return b"".join(b"\\x%02x" % byte for byte in sequence[-1:])
