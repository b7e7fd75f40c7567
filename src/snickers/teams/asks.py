"""The keeper's own control socket: a line of JSON asks, lines of JSON answer.

``{"do": "status"}`` is answered with one line. ``switch``, ``restart``, ``commit`` and ``rollback``
are answered with ``{"progress": words}`` as it goes, and at last with ``{"done": words}`` or
``{"failed": words}``; so are ``hurry blue`` and ``hurry red``, for who is about to do something to
that team's folder. Whoever can open the socket steers the teams, so it is its owner's alone.
What is asked may be of any version: what is not understood is refused in words.
"""

# Twisted's LineReceiver has no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from snickers.teams.keeper import ASKS, Keeper

LONGEST = 4096
"""Bytes of a line: what may be asked takes less than a hundred."""
AT_ONCE = 64
"""Connections that may be open; those who watch are few."""


class Asking(LineOnlyReceiver):
    """One who asks."""

    delimiter = b"\n"
    MAX_LENGTH = LONGEST

    def __init__(self, desk: Asks) -> None:
        self._desk = desk

    def connectionMade(self) -> None:
        self._desk.here.add(self)
        if len(self._desk.here) > AT_ONCE:
            self.failed("too many ask at once; try again later")

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._desk.here.discard(self)
        self._desk.keeper.gone(self)

    def lineReceived(self, line: bytes) -> None:
        try:
            asked = json.loads(line)
            what = asked["do"]
            if not isinstance(what, str):
                raise TypeError
        except (ValueError, TypeError, KeyError, RecursionError):
            self.failed('this is not a line of JSON such as {"do": "status"}')
            return
        if what == "status":
            self._say(self._desk.status())
        elif what in ASKS:
            self._desk.ask(what, self)
        else:
            known = ", ".join(["status", *ASKS])
            self.failed(f"{what!r} is not known to this keeper; it knows {known}")

    def lineLengthExceeded(self, line: bytes) -> None:
        self.failed(f"a line has {LONGEST} bytes at the most")

    # IAsker

    def progress(self, words: str) -> None:
        self._say({"progress": words})

    def done(self, words: str) -> None:
        # Not before a later keeper would know of it, too.
        written = self._desk.written()
        written.addCallback(lambda wrong: f"{words}; but {wrong}" if wrong else words)
        written.addCallback(lambda told: self._say({"done": told}))

    def failed(self, words: str) -> None:
        self._say({"failed": words})

    def _say(self, told: dict[str, Any]) -> None:
        assert self.transport is not None
        self.transport.write(json.dumps(told).encode() + b"\n")
        if "progress" not in told:
            self.transport.loseConnection()


class Asks(Factory):
    """Hears those who ask.

    *status* returns what is answered to that; *ask* takes what else is asked, and by whom;
    *written* returns a Deferred that fires when what is so now is written down: with ``""``, or
    with words on why it is not.
    """

    noisy = False

    def __init__(
        self,
        keeper: Keeper,
        status: Callable[[], dict[str, Any]],
        ask: Callable[[str, Asking], None],
        written: Callable[[], Deferred[str]],
    ) -> None:
        self.keeper = keeper
        self.status = status
        self.ask = ask
        self.written = written
        self.here: set[Asking] = set()
        """Who is connected."""

    def buildProtocol(self, addr: IAddress | None) -> Asking:
        protocol = Asking(self)
        protocol.factory = self
        return protocol

    def hang_up(self) -> None:
        """Let all go."""
        for asking in list(self.here):
            if asking.transport is not None:
                asking.transport.loseConnection()
