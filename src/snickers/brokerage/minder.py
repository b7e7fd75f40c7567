"""Keeps one broker, as long as Snickers has the privileges to start one.

A broker is as privileged as whoever starts it. So it is started before they are shed, and again
only where they were not: a broker that may not open Docker's socket would be worse than none. When
none can be started, the engine says what to do; it must never end Snickers, whose servers run on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IProcessProtocol, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from snickers.brokerage.brokered import BrokeredEngine, Line

STEADY = 10.0
"""Seconds after which a broker has started well."""
PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds until one that ended is replaced, by how many in a row did not start well."""
LONGEST_LINE = 16384
"""Bytes of a line that a broker prints: the rest is left out of the log."""

Privileges = tuple[int, int, tuple[int, ...]]


def privileges() -> Privileges:
    """Return who this process is: its user, its group, its other groups."""
    return os.geteuid(), os.getegid(), tuple(sorted(os.getgroups()))


def opens(docker: str, environ: Mapping[str, str]) -> bool:
    """Say whether this process may open Docker's socket; *docker* is what the settings say."""
    url = docker or environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    path = url.removeprefix("unix://")
    return path != url and os.access(path, os.R_OK | os.W_OK, effective_ids=True)


class _Process(ProcessProtocol):
    """The process of a broker: what it prints, and its end."""

    def __init__(self, minder: Minder) -> None:
        self._minder = minder
        self._rest: dict[int, bytes] = {}

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, rest = (self._rest.get(childFD, b"") + data).split(b"\n")
        for line in lines:
            self._minder.printed(line)
        if len(rest) > LONGEST_LINE:
            self._minder.printed(rest)
            rest = b""
        self._rest[childFD] = rest

    def processEnded(self, reason: Failure) -> None:
        for rest in self._rest.values():
            self._minder.printed(rest)
        self._minder.ended(reason)


class Minder:
    """Starts the broker of an engine, and replaces it.

    :param launch: starts a process with the protocol, the line being connected with it.
    :param opens: says whether this process could open Docker's socket itself, now.
    :param who: returns this process' privileges now.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        launch: Callable[[IProcessProtocol, Line], object],
        opens: Callable[[], bool],
        who: Callable[[], Privileges] = privileges,
    ) -> None:
        self.engine = BrokeredEngine(clock, self.able)
        self._clock = clock
        self._launch = launch
        self._opens = opens
        self._who = who
        self._began_as: Privileges | None = None
        self._since = 0.0
        self._row = 0
        """How many in a row did not start well."""

    def able(self) -> bool:
        """Say whether this process still is who started the first broker."""
        return self._began_as is not None and self._began_as == self._who()

    def start(self) -> None:
        """Start the first broker; called before privileges are shed."""
        self._began_as = self._who()
        self._start()

    def _start(self) -> None:
        if self.engine.closed or not self.able():
            return
        self._since = self._clock.seconds()
        try:
            self._launch(_Process(self), Line(self.engine))
        except Exception as error:
            self.log.error("The broker cannot be started: {error}", error=error)
            self._again()

    def printed(self, line: bytes) -> None:
        """Log what a broker printed."""
        text = line[:LONGEST_LINE].decode("utf-8", "backslashreplace").rstrip()
        if text:
            self.log.info("broker: {text}", text=text)

    def ended(self, reason: Failure) -> None:
        """A broker's process has ended."""
        if self.engine.closed:
            return
        self.log.error("The broker has ended: {reason}", reason=reason.getErrorMessage())
        self._again()

    def _again(self) -> None:
        if self.able():
            well = self._clock.seconds() - self._since >= STEADY
            self._row = 0 if well else self._row + 1
            self._clock.callLater(PAUSES[min(self._row, len(PAUSES) - 1)], self._start)

    def kept(self) -> None:
        """Warn, once started, where the front could do all that the broker can."""
        if self.able() or self._opens():
            self.log.warn(
                "docker broker = on, but this process could open Docker's socket itself: start it"
                " as root with `twistd --uid USER --gid GROUP snickers`, of a user who is not in"
                " Docker's group"
            )
