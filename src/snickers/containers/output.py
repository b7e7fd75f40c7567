"""What a server wrote: its last lines, and those who follow it. Never more than a bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable

from twisted.internet.defer import Deferred, succeed

KEPT = 256 * 1024
"""Bytes kept for each site: a screen of stack traces, and a hundred sites in 25 MiB."""

LONGEST = 16 * 1024
"""Bytes of one line; a longer one is broken, so that a server that never ends its line is
bounded too (as Docker breaks them)."""


TOLD_LINES = 20
TOLD = 4096
"""The last lines, and the characters of them at most, that a person is told of a command."""


class Tail:
    """The end of what a command wrote, to either output."""

    def __init__(self) -> None:
        self._data = b""

    def add(self, data: bytes) -> None:
        """Take what came, in any pieces."""
        # Four bytes a character at most (UTF-8).
        self._data = (self._data + data)[-4 * TOLD :]

    def text(self) -> str:
        """Return the last lines, without the last newline."""
        text = self._data.decode(errors="replace").rstrip("\n")
        return "\n".join(text.split("\n")[-TOLD_LINES:])[-TOLD:]


def broken(lines: Iterable[bytes]) -> list[bytes]:
    """Return *lines*, each with a newline, those longer than `LONGEST` broken."""
    return [
        line[at : at + LONGEST] + b"\n"
        for line in lines
        for at in range(0, len(line) or 1, LONGEST)
    ]


class Output:
    """The lines of one site's server, from several descriptors, in the order they were ended.

    A server that has ended may still speak, through a child, while the next one begins; so each
    run has a key of its own.
    """

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._begun: dict[tuple[Hashable, int], bytes] = {}
        self._followers: list[tuple[Callable[[bytes], None], Deferred[None]]] = []
        self._run: Hashable = None

    def begin(self, run: Hashable) -> None:
        """From now on *run* is the one that is followed."""
        self._run = run

    def add(self, run: Hashable, descriptor: int, data: bytes) -> None:
        """Take what came from a *descriptor* of *run*, in any pieces."""
        key = (run, descriptor)
        *lines, rest = (self._begun.pop(key, b"") + data).split(b"\n")
        if len(rest) > LONGEST:
            whole = len(rest) - len(rest) % LONGEST
            lines.append(rest[:whole])
            rest = rest[whole:]
        if rest:
            self._begun[key] = rest
        if lines:
            self._keep(lines)

    def end(self, run: Hashable) -> None:
        """*run* says no more: what it began counts as a line, and following it ends."""
        for key in [key for key in self._begun if key[0] == run]:
            self._keep([self._begun.pop(key)])
        if self._run == run:
            self._run = None
            self._part()

    def _part(self) -> None:
        """End the following."""
        followers, self._followers = self._followers, []
        for _, done in followers:
            done.callback(None)

    def last(self, count: int) -> bytes:
        """Return the last *count* lines, each with its newline."""
        if count <= 0:
            return b""
        return b"".join(list(self._lines)[-count:])

    def follow(self, receive: Callable[[bytes], None]) -> Deferred[None]:
        """Give *receive* whole lines from now on; fires when the run ends. Can be cancelled."""
        if self._run is None:
            return succeed(None)

        def leave(_: object) -> None:
            self._followers.remove(follower)

        done: Deferred[None] = Deferred(leave)
        follower = (receive, done)
        self._followers.append(follower)
        return done

    def _keep(self, lines: list[bytes]) -> None:
        whole = broken(lines)
        self._remember(whole)
        if self._followers:
            data = b"".join(whole)
            for receive, _ in list(self._followers):
                receive(data)

    def _remember(self, lines: list[bytes]) -> None:
        self._lines.extend(lines)
        self._size += sum(map(len, lines))
        while self._size > KEPT:
            self._size -= len(self._lines.popleft())
