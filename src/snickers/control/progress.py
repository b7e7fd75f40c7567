"""Shows how far something has come while a person waits for it.

On a terminal: one line, kept up to date with the seconds that have passed. Elsewhere: a plain
line a step. It must leave the terminal's cursor at the start of a clean line, however it ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, TextIO

from snickers.control.show import Style

_TICK = 1.0
"""Seconds between two updates of the line: it shows whole ones."""


class IProgress(Protocol):
    """A context in which something is waited for."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def step(self, words: str) -> None:
        """It has come to *words*."""

    def done(self, words: str) -> None:
        """It has come to its end."""


class Lines:
    """A line a step."""

    def __init__(self, out: TextIO, subject: str) -> None:
        self._out = out
        self._subject = subject
        self._told = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def step(self, words: str) -> None:
        if words == self._told:
            return
        self._told = words
        self._out.write(f"{self._subject}: {words}\n")
        self._out.flush()

    def done(self, words: str) -> None:
        self.step(words)


class Line:
    """One line of a terminal *width* columns wide, with the seconds that have passed.

    *elapsed*: seconds since anything.
    """

    def __init__(
        self,
        out: TextIO,
        subject: str,
        style: Style,
        width: int,
        elapsed: Callable[[], float],
    ) -> None:
        self._out = out
        self._subject = subject
        self._style = style
        self._width = width
        self._elapsed = elapsed
        self._began = elapsed()
        self._words = ""
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._ticker.join()
        self._out.write("\r\x1b[K")
        self._out.flush()

    def step(self, words: str) -> None:
        self._words = words
        self.draw()

    def done(self, words: str) -> None:
        with self._lock:
            took = self._elapsed() - self._began
            said = self._style.paint(words, "green")
            self._out.write(f"\r\x1b[K{self._subject}: {said} ({took:.1f} s)\n")
            self._words = ""

    def draw(self) -> None:
        """Show the line as it is now."""
        with self._lock:
            if not self._words:
                return
            seconds = f"{self._elapsed() - self._began:.0f} s"
            # One column less than there are: a full line would wrap and be left behind.
            room = max(0, self._width - 1 - len(self._subject) - len(seconds) - 3)
            words = self._style.paint(self._words[:room], "yellow")
            self._out.write(f"\r\x1b[K{self._subject}: {words} {seconds}")
            self._out.flush()

    def _tick(self) -> None:
        while not self._over.wait(_TICK):
            self.draw()
