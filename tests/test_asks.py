"""The keeper's control socket: lines of JSON, each ask answered, whatever is sent."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from snickers.teams.asks import AT_ONCE, LONGEST, Asking, Asks


class Keeper:
    """Who is asked, and who has gone."""

    def __init__(self) -> None:
        self.left: list[Any] = []

    def gone(self, asker: Any) -> None:
        self.left.append(asker)


class AsksTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.keeper: Any = Keeper()
        self.asked: list[tuple[str, Asking]] = []
        self.written: Deferred[str] = succeed("")
        self.asks = Asks(
            self.keeper,
            lambda: {"stage": "serving"},
            lambda *asked: self.asked.append(asked),
            lambda: self.written,
        )

    def connect(self) -> tuple[Asking, StringTransport]:
        protocol = self.asks.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport

    def answers(self, transport: StringTransport) -> list[dict[str, Any]]:
        return [json.loads(line) for line in transport.value().splitlines()]

    def test_status(self) -> None:
        """One line, then the end."""
        protocol, transport = self.connect()
        protocol.dataReceived(b'{"do": "status"}\n')
        self.assertEqual(self.answers(transport), [{"stage": "serving"}])
        self.assertTrue(transport.disconnecting)

    def test_change(self) -> None:
        """Progress as it goes, and how it ended, then the end."""
        protocol, transport = self.connect()
        protocol.dataReceived(b'{"do": "swi')
        protocol.dataReceived(b'tch", "more": 1}\n')
        self.assertEqual(self.asked, [("switch", protocol)])
        protocol.progress("red: is started")
        self.assertFalse(transport.disconnecting)
        protocol.done("red serves")
        self.assertEqual(
            self.answers(transport), [{"progress": "red: is started"}, {"done": "red serves"}]
        )
        self.assertTrue(transport.disconnecting)

    def test_done_when_written(self) -> None:
        """Nobody hears that something is done before the next keeper would know of it."""
        self.written = Deferred()
        protocol, transport = self.connect()
        protocol.dataReceived(b'{"do": "commit"}\n')
        protocol.done("red stays")
        self.assertEqual(transport.value(), b"")
        self.written.callback("")
        self.assertEqual(self.answers(transport), [{"done": "red stays"}])

    def test_done_and_not_written(self) -> None:
        """...nor that it is if that one would not."""
        self.written = succeed("keeper.json cannot be written")
        protocol, transport = self.connect()
        protocol.dataReceived(b'{"do": "commit"}\n')
        protocol.done("red stays")
        told = {"done": "red stays; but keeper.json cannot be written"}
        self.assertEqual(self.answers(transport), [told])

    def test_gone(self) -> None:
        """One who hangs up is told nothing more."""
        protocol, _ = self.connect()
        protocol.dataReceived(b'{"do": "switch"}\n')
        protocol.connectionLost()
        self.assertEqual(self.keeper.left, [protocol])
        self.assertEqual(self.asks.here, set())

    def test_unknown(self) -> None:
        """What is not known is refused with what is."""
        protocol, transport = self.connect()
        protocol.dataReceived(b'{"do": "fly"}\n')
        self.assertEqual(
            self.answers(transport),
            [
                {
                    "failed": "'fly' is not known to this keeper; it knows status, switch, "
                    "restart, commit, rollback, hurry blue, "
                    "hurry red"
                }
            ],
        )

    def test_too_long(self) -> None:
        """A line without an end is not collected."""
        protocol, transport = self.connect()
        protocol.dataReceived(b"x" * (LONGEST + 1000))
        self.assertTrue(transport.disconnecting)

    def test_too_many(self) -> None:
        """Of very many who connect the last ones are sent away."""
        connected = [self.connect() for _ in range(AT_ONCE + 1)]
        self.assertEqual(
            [transport.disconnecting for _, transport in connected], [False] * AT_ONCE + [True]
        )

    def test_hang_up(self) -> None:
        """At the end all are let go."""
        _, transport = self.connect()
        self.asks.hang_up()
        self.assertTrue(transport.disconnecting)

    @given(
        st.binary(max_size=60)
        | st.sampled_from([b"[]", b'"do"', b'{"do": []}', b"{}", b"1", b"[" * 3000])
    )
    def test_never_fails(self, data: bytes) -> None:
        """Whatever a line says, it is answered in words."""
        protocol, transport = self.connect()
        protocol.dataReceived(data.replace(b"\n", b" ") + b"\n")
        (answer,) = self.answers(transport)
        self.assertIn("failed", answer)
