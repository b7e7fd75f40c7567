"""What several containers write, as if they were one: their last lines, and what follows.

Everything blocks, for threads. Whoever writes faster than it is read waits; it must never keep more
than a bounded part, nor leave out anything of what is followed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence

from twisted.logger import Logger

from snickers.containers.errand import Stream, shut

log = Logger()

MOST_WAITING = 1 << 20
"""Bytes of what is followed that wait for whoever reads it; then those who write them wait."""
MOST_LINE = 64 << 10
"""Bytes of a line that are waited for; a longer one counts as several."""
MOST_WORDS = 8 << 20
"""Bytes of the last lines that are kept of each service."""


def end_of(stream: Stream) -> bytes:
    """Return the last `MOST_WORDS` of *stream*, in whole lines."""
    pieces: deque[bytes] = deque()
    size = 0
    cut = False
    for data in stream:
        pieces.append(data)
        size += len(data)
        while size - len(pieces[0]) > MOST_WORDS:
            size -= len(pieces.popleft())
            cut = True
    whole = b"".join(pieces)
    return whole.partition(b"\n")[2] if cut else whole


class Lines:
    """What has been read already, as a stream."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._lines)

    def close(self) -> None:
        """There is nothing to end."""


class Followed:
    """What several containers write, while they do. Who writes faster than it is read waits."""

    def __init__(self, streams: Sequence[tuple[bytes, Stream]]) -> None:
        self._streams = streams
        self._changed = threading.Condition()
        self._written: deque[bytes] = deque()
        self._size = 0
        self._left = len(streams)
        self._closed = False

    def _read(self, prefix: bytes, stream: Stream) -> None:
        rest = b""
        try:
            for data in stream:
                *lines, rest = (rest + data).split(b"\n")
                if len(rest) > MOST_LINE:
                    lines, rest = [*lines, rest], b""
                if not self._put(b"".join(prefix + line + b"\n" for line in lines)):
                    return
        except Exception as error:  # Of any class: it may be ended at this very moment.
            log.debug("A log ended: {error}.", error=error)
        finally:
            if rest:
                self._put(prefix + rest + b"\n")
            with self._changed:
                self._left -= 1
                self._changed.notify_all()

    def _put(self, data: bytes) -> bool:
        """Wait until there is room for *data*; say whether somebody still reads."""
        with self._changed:
            while self._size > MOST_WAITING and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            if data:
                self._written.append(data)
                self._size += len(data)
                self._changed.notify_all()
        return True

    def __iter__(self) -> Iterator[bytes]:
        for prefix, stream in self._streams:
            reading = threading.Thread(target=self._read, args=(prefix, stream), daemon=True)
            reading.start()
        while True:
            with self._changed:
                while not self._written and self._left and not self._closed:
                    self._changed.wait()
                if self._closed or not self._written:
                    return
                data = self._written.popleft()
                self._size -= len(data)
                self._changed.notify_all()
            yield data

    def close(self) -> None:
        """End all of them."""
        with self._changed:
            self._closed = True
            self._written.clear()
            self._changed.notify_all()
        for _, stream in self._streams:
            shut(stream)
