"""Looking whether a server is well: a request of our own, by the way that visitors' requests go.

To an `Upstream` a check is an exchange like any other, so that what it finds is what visitors would
find: the same address, the same TLS, the same reading of the answer. It must never be counted as
anybody's request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from snickers.http.answer import Answer, IForwardingExchange
from snickers.http.request import read_request
from snickers.http.servers import Server
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.exchange import Fields, IResponder
from snickers.stream import Sweep

WELL = range(200, 400)
"""Statuses of a server that is well."""
ALARM = "upstream"
"""The kind of the alarm that no server of a site is well."""


@implementer(IForwardingExchange)
class Check:
    """One look. *done* is called once, with whether the server is well and what it said."""

    secure = True
    peer = b"127.0.0.1"
    id = b"health"
    forwarding = b""

    def __init__(self, path: str, host: str, done: Callable[[bool, str], None]) -> None:
        self.request = read_request(
            b"GET %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: snickers"
            % (path.encode("ascii"), host.encode("ascii"))
        )
        self.responder: IResponder | None = None
        self.user = b""
        self._done: Callable[[bool, str], None] | None = done

    def give_up(self) -> None:
        """Wait no longer: the server is not well."""
        done = self._done
        if done is not None:
            self.drop()
            done(False, "it did not answer in time")

    def drop(self) -> None:
        """Wait no longer, and say nothing."""
        self._done = None
        responder, self.responder = self.responder, None
        if responder is not None:
            responder.gone()

    def _say(self, status: int) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(status in WELL, f"it answered {status}")

    def forward(self, answer: Answer, data: bytes, end: bool) -> None:
        self._say(answer.status)
        responder, self.responder = self.responder, None
        if not end and responder is not None:
            # The status was all that was asked for.
            responder.gone()

    def answer(
        self,
        status: int,
        fields: Fields,
        length: int | None,
        data: bytes = b"",
        end: bool = False,
    ) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(False, "it did not answer in time" if status == 504 else "it gave no answer")

    def write(self, data: bytes) -> None:
        """Nobody reads it."""

    def finish(self, trailers: Fields | None = None) -> None:
        """Nobody waits for it."""

    def abort(self) -> None:
        """Nobody waits for it."""

    def inform(self, status: int, fields: Fields) -> None:
        """Nobody is to be informed."""

    def receive(self) -> None:
        """There is no body."""

    def pause_body(self) -> None:
        """There is no body."""

    def resume_body(self) -> None:
        """There is no body."""

    def upgrade(self, fields: Fields) -> Any:
        """Never called: nothing was to be upgraded."""
        raise AssertionError("a check is no WebSocket")


class Looks:
    """Looks at all servers of a site, again and again, by the sweep.

    What is found is left with each server as ``well``; that it has changed is logged, and that
    none is left is an alarm until one is back.
    """

    log = Logger()

    def __init__(
        self,
        site: str,
        path: str,
        every: float,
        within: float,
        servers: Sequence[Server],
        sweep: Sweep,
        alarm: IAlarm | None,
    ) -> None:
        """*path* is asked for *every* so many seconds; an answer must come *within* so many."""
        self.deadline = sweep.now
        """When something is to be done next, by the sweep's clock."""
        self._site = site
        self._path = path
        self._every = every
        self._within = min(within, every)
        self._servers = servers
        self._sweep = sweep
        self._alarm = alarm
        self._alarmed = False
        self._next = -inf
        self._asked: dict[Server, Check] = {}
        sweep.watch(self)

    def expired(self) -> None:
        """End the looks that take too long; look anew if it is time. Called by the sweep."""
        now = self._sweep.now
        begin = now >= self._next
        if begin:
            self._next = now + self._every
        # Set before anything is done: whatever fails below, the next look comes.
        self.deadline = now + self._within if begin else self._next
        for check in list(self._asked.values()):
            check.give_up()
        if begin:
            self._judge()
            for server in self._servers:
                self._look(server)

    def _look(self, server: Server) -> None:
        server.refresh()
        upstream = server.upstream
        if upstream is None:
            server.look_up()
            return
        # Visitors' requests name the site, too; but nobody is called *.example.org.
        host = server.authority if self._site.startswith("*") else self._site

        def done(well: bool, words: str) -> None:
            self._found(server, well, words)

        check = self._asked[server] = Check(self._path, host, done)
        server.uses += 1
        upstream.carry(check, None)

    def _found(self, server: Server, well: bool, words: str) -> None:
        self._asked.pop(server, None)
        if well:
            server.rests_until = -inf
        if well != server.well:
            server.well = well
            if well:
                self.log.info("{site}: {to} is well again", site=self._site, to=server.to)
            else:
                self.log.warn(
                    "{site}: {to} is not well: {words}", site=self._site, to=server.to, words=words
                )
        self._judge()

    def _judge(self) -> None:
        """Raise the alarm, or have it over."""
        down = not any(
            server.is_looking if server.upstream is None else server.well
            for server in self._servers
        )
        if down != self._alarmed:
            self._alarmed = down
            if self._alarm is None:
                return
            if down:
                self._alarm.raised(
                    ALARM,
                    self._site,
                    f"none of its servers answers {self._path} well: "
                    + ", ".join(server.to for server in self._servers),
                )
            else:
                self._alarm.cleared(ALARM, self._site)

    def close(self) -> None:
        """Look no more."""
        self._sweep.unwatch(self)
        asked, self._asked = self._asked, {}
        for check in asked.values():
            check.drop()
        if self._alarmed and self._alarm is not None:
            self._alarm.cleared(ALARM, self._site)
        self._alarmed = False
