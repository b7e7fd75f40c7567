"""Connections to all sites' servers: never more idle ones than there is room for."""

from __future__ import annotations

import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from snickers.http.connections import RESERVE, Connections, shown
from snickers.http.front import Bounds, Front
from snickers.http.http1 import Http1
from snickers.http.openfile import OpenFile
from snickers.http.sites import SiteTable
from snickers.http.upstream import Upstream
from tests.upstream_case import OK, Passing
from tests.wires import Wire, Wires


class ConnectionsTests(SynchronousTestCase):
    """Three sites, and room for four connections to their servers."""

    def setUp(self) -> None:
        self.wires = Wires(self)
        self.descriptors = 1000
        self.connections = Connections(lambda: 4, lambda: self.descriptors)
        self.ended = 0
        self.upstreams: list[Upstream] = []
        self.sites = SiteTable()
        self.front = Front(self.sites, self.wires.sweep, lambda: 0.0, lambda: 0.0, Bounds())

        def nothing(*_: object) -> None: ...

        def ended() -> None:
            self.ended += 1

        for name in ("0.example", "1.example", "2.example"):
            upstream = Upstream(
                self.wires.turns,
                self.wires.sweep,
                name,
                ("127.0.0.1", 80),
                300.0,
                nothing,
                ended,
                self.wires.connector,
                self.connections,
            )
            self.upstreams.append(upstream)
            self.sites.put(name, (name,), None, Passing(upstream.carry))

    def ask(self, site: int) -> tuple[Wire, Wire]:
        """Send a request to *site*; return the client's and the server's end."""
        stream, client = self.wires.pair()
        live: Any = self.sites.by_name[f"{site}.example"]
        stream.protocol = Http1(self.front, stream, live, True)
        stream.start()
        client.send(b"GET / HTTP/1.1\r\nHost: %d.example\r\n\r\n" % site)
        return client, self.wires.server

    def idle(self) -> list[int]:
        return [len(upstream.idle) for upstream in self.upstreams]

    def test_kept_within_the_limit(self) -> None:
        """Idle connections of all sites make room, the longest idle first; no exchange notices."""
        for site in (0, 1):
            asked = [self.ask(site) for _ in range(2)]
            for _, server in asked:
                server.send(OK)
            self.wires.turns.pass_time(1)
        self.assertEqual((self.idle(), self.connections.open), ([2, 2, 0], 4))
        client, server = self.ask(2)
        self.assertEqual((self.idle(), self.connections.open), ([0, 2, 0], 3))
        server.send(OK)
        self.assertIn(b"ok", client.receive())
        self.assertEqual(self.idle(), [0, 2, 1])

    def test_exchanges_are_not_limited(self) -> None:
        """What clients ask for is carried, whatever the number; clients are limited themselves."""
        asked = [self.ask(site) for site in (0, 1, 2) * 2]
        self.assertEqual(self.connections.open, 6)
        for client, server in asked:
            server.send(OK)
            self.assertIn(b"ok", client.receive())

    def test_no_descriptors_left(self) -> None:
        """Where descriptors would not suffice for clients and all else, an exchange gets 503, and
        the next one that finds room is carried."""
        self.descriptors = 4 + RESERVE + 5
        asked = [self.ask(0) for _ in range(5)]
        client, _ = self.ask(1)
        self.assertIn(b" 503 ", client.receive())
        self.assertEqual((self.connections.open, self.ended), (5, 1))
        asked[0][1].send(OK)
        client, server = self.ask(1)
        server.send(OK)
        self.assertIn(b"ok", client.receive())

    def test_files_are_counted(self) -> None:
        """A file that is being sent counts as a connection does."""
        file = OpenFile(os.open("/dev/null", os.O_RDONLY), os.stat("/dev/null"))
        file.hold()
        self.connections.count_file(file)
        file.release()
        self.assertEqual(self.connections.open, 1)
        file.release()
        self.assertEqual(self.connections.open, 0)

    def test_counted_until_closed(self) -> None:
        """A connection that failed, or has ended, is counted no more."""
        _, server = self.ask(0)
        server.close()
        self.assertEqual(self.connections.open, 0)
        self.wires.refuse = True
        self.ask(1)
        self.assertEqual(self.connections.open, 0)

    def test_shown(self) -> None:
        """Addresses are logged as people write them."""
        for address, text in (
            (("10.0.0.7", 80), "10.0.0.7:80"),
            (("::1", 80), "[::1]:80"),
            ("/run/x", "unix:/run/x"),
        ):
            self.assertEqual(shown(address), text)
