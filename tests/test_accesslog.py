"""The access log's lines, and when they are written."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from snickers import passthrough
from snickers.http.accesslog import BATCH, AccessLog, LogKeeper
from snickers.http.answer import CLIENT_GONE
from snickers.http.logforms import STATUS, Combined
from snickers.http.request import no_request, read_request
from snickers.interfaces.exchange import IExchange
from snickers.sweep import Sweep
from tests.front_case import GET, FrontCase, say
from tests.test_logforms import COMBINED, Over

FIXED = settings(derandomize=True, deadline=None, max_examples=200)
HEAD = (
    b"GET /a?b HTTP/1.1\r\nHost: a.example\r\nReferer: https://b.example/\r\n"
    b'User-Agent: Some "thing" \xff\r\n\r\n'
)


class Lines:
    """A file in memory."""

    def __init__(self) -> None:
        self.batches: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.batches.append(data)

    @property
    def lines(self) -> list[bytes]:
        """All lines, without their ends."""
        data = b"".join(self.batches)
        assert data.endswith(b"\n")
        return data.split(b"\n")[:-1]


class LoggedTests(FrontCase):
    """What exchanges of the front become."""

    def setUp(self) -> None:
        super().setUp()
        self.file = Lines()
        self.log = self.logging("combined")

    def logging(self, form: str) -> AccessLog:
        """Have the front's exchanges logged in *form*."""
        log = AccessLog(
            self.file, form, self.wires.sweep, lambda: 1e9 + self.turns.seconds(), self.seconds
        )
        self.front.access = log.add
        self.front.seconds = self.seconds
        return log

    def seconds(self) -> float:
        """The clock of exchanges: it does not agree with any other one."""
        seconds: float = self.turns.seconds() + 7.0
        return seconds

    def fields(self) -> tuple[bytes, ...]:
        """The parts of the one line that was written."""
        self.log.flush()
        (line,) = self.file.lines
        match = COMBINED.fullmatch(line)
        assert match is not None, line
        return match.groups()

    def test_combined(self) -> None:
        """A line as nginx writes it; what is odd is escaped."""
        self.handler.at_once = say(b"hello")
        self.ask(HEAD)
        self.assertEqual(
            self.fields(),
            (
                *(b"192.0.2.1", b"-", b"GET /a?b HTTP/1.1", b"200", b"5"),
                *(b"https://b.example/", rb"Some \x22thing\x22 \xFF"),
            ),
        )

    def test_time(self) -> None:
        """The time is the end's, by the wall's clock."""
        self.client.send(GET)
        self.turns.pass_time(60.25)
        say(b"late")(self.handler.exchange)
        exchange = self.handler.exchange
        self.assertAlmostEqual(exchange.took, 60.25)
        self.log.flush()
        self.assertIn(Combined().time(1e9 + 60), self.file.lines[0])

    def test_json(self) -> None:
        """Everything that is known, as an object a line."""
        self.log.close()
        self.log = self.logging("json")
        self.client.send(HEAD)
        self.turns.pass_time(1.5)
        exchange = self.handler.exchange
        exchange.user = b"al ice"
        exchange.answer(404, [], None, b"abc")
        exchange.write(b"de")
        exchange.finish()
        self.log.flush()
        self.assertEqual(
            json.loads(self.file.lines[0]),
            {
                "time": "2001-09-09T01:46:41Z",
                "site": "a.example",
                "client": "192.0.2.1",
                "user": "al ice",
                "host": "a.example",
                "method": "GET",
                "target": "/a?b",
                "protocol": "HTTP/1.1",
                "secure": True,
                "status": 404,
                "bytes": 5,
                "seconds": 1.5,
                "referer": "https://b.example/",
                "agent": 'Some "thing" \\xff',
                "id": exchange.id.decode(),
            },
        )

    def test_user(self) -> None:
        """A user's name cannot look like more than one word."""
        self.client.send(GET)
        self.handler.exchange.user = b'a b"\n'
        say(b"")(self.handler.exchange)
        self.assertEqual(self.fields()[1], rb"a\x20b\x22\x0A")

    def test_sizes(self) -> None:
        """The bytes are those of the body, however it is framed."""
        for method, act, size in [
            (b"GET", lambda e: e.answer(200, [], 3, b"abcd"), b"4"),
            (b"GET", lambda e: e.answer(200, [], None, b"abc", True), b"3"),
            (b"HEAD", lambda e: e.answer(200, [], 3, b"abc", True), b"0"),
            (b"GET", lambda e: e.answer(304, [], None, b"", True), b"0"),
        ]:
            self.file.batches.clear()
            _, client = self.connect()
            client.send(GET.replace(b"GET", method))
            act(self.handler.exchange)
            if self.handler.exchange.stage != 3:
                self.handler.exchange.finish()
            self.assertEqual(self.fields()[4], size)

    def test_gone(self) -> None:
        """A client that went before its answer began is 499, later what it was told."""
        self.client.send(GET)
        self.client.close()
        self.turns.pass_time(30)
        self.assertEqual(self.fields()[3], b"%d" % CLIENT_GONE)
        self.file.batches.clear()
        _, client = self.connect()
        client.send(GET)
        self.handler.exchange.answer(200, [], 10, b"abc")
        client.close()
        self.turns.pass_time(30)
        self.assertEqual(self.fields()[3:5], (b"200", b"3"))

    def test_once(self) -> None:
        """An exchange that ends by `abort` has one line."""
        self.client.send(GET)
        self.handler.exchange.answer(200, [], 10, b"abc")
        self.handler.exchange.abort()
        self.turns.settle()
        self.handler.exchange.abort()
        self.assertEqual(self.fields()[3:5], (b"200", b"3"))

    def test_refused(self) -> None:
        """What was no request has a line too."""
        self.ask(b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n")
        fields = self.fields()
        self.assertEqual((fields[2], fields[3], fields[5], fields[6]), (b"-", b"400", b"-", b"-"))

    def test_upgraded(self) -> None:
        """A WebSocket has its line when it is over, with the bytes that it was sent."""
        self.client.send(
            b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        )
        exchange = self.handler.exchange
        transport, _ = exchange.upgrade([(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")])
        transport.write(b"12345")
        self.log.flush()
        self.assertEqual(self.file.batches, [])
        exchange.finish()
        status, size = self.fields()[3:5]
        self.assertEqual((status, int(size)), (b"101", len(self.client.receive())))

    def test_written(self) -> None:
        """Lines are written when there are many, or after a while, and at the end."""
        self.handler.at_once = say(b"hello")
        for _ in range(BATCH - 1):
            self.ask(GET)
        self.assertEqual(self.file.batches, [])
        self.ask(GET)
        self.assertEqual(len(self.file.batches), 1)
        self.ask(GET)
        self.turns.pass_time(3)
        self.assertEqual(len(self.file.batches), 2)
        self.ask(GET)
        self.turns.pass_time(3)
        self.ask(GET)
        self.log.close()
        self.assertEqual(len(self.file.lines), BATCH + 3)
        self.turns.pass_time(3)
        self.assertEqual(len(self.file.batches), 4)

    def test_another_form(self) -> None:
        """A request that was logged in one form before is logged in the new one."""
        self.handler.at_once = say(b"hello")
        self.ask(GET)
        self.log.close()
        self.log = self.logging("json")
        self.ask(GET)
        self.log.flush()
        self.assertEqual(json.loads(self.file.lines[1])["target"], "/")

    def test_ids(self) -> None:
        """Each exchange has an id of its own, of this process."""
        self.client.send(GET)
        first = self.handler.exchange
        self.assertTrue(IExchange.providedBy(first))
        say(b"")(first)
        self.client.send(GET)
        self.assertNotEqual(self.handler.exchange.id, first.id)
        self.assertEqual(self.handler.exchange.id, self.handler.exchange.id)


class Kept(Lines):
    """A file that notes what is done to it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.done: list[str] = []

    def reopen(self) -> None:
        self.done.append("reopen")

    def leave(self) -> Deferred[None]:
        self.done.append("leave")
        return succeed(None)

    def close(self) -> Deferred[None]:
        self.done.append("close")
        return succeed(None)


class LogKeeperTests(FrontCase):
    """The log that the settings ask for."""

    def setUp(self) -> None:
        super().setUp()
        self.files: list[Kept] = []
        self.keeper = LogKeeper(self.front, lambda: 0.0, self.open_file)
        self.handler.at_once = say(b"hello")

    def open_file(self, path: str) -> Kept:
        self.files.append(Kept(path))
        return self.files[-1]

    def test_none(self) -> None:
        """Where no file is named what is over is counted, and no more."""
        self.assertIsNone(self.front.access)
        self.keeper.apply("", "combined")
        self.ask(GET)
        self.keeper.reopen()
        self.assertEqual(self.live.traffic.codes, {})
        self.turns.pass_time(1.5)
        self.assertEqual(self.live.traffic.codes, {200: 1})
        self.successResultOf(self.keeper.close())
        self.assertEqual(self.files, [])

    def test_changes(self) -> None:
        """Another form or another file holds from the next request on, and loses none."""
        self.keeper.apply("/a", "combined")
        self.ask(GET)
        self.keeper.apply("/a", "combined")
        self.keeper.apply("/a", "json")
        self.ask(GET)
        self.keeper.apply("/b", "json")
        self.ask(GET)
        self.keeper.apply("", "json")
        self.ask(GET)
        first, second = self.files
        self.assertEqual((first.path, second.path), ("/a", "/b"))
        self.assertEqual([line[:1] for line in first.lines], [b"1", b"{"])
        self.assertEqual([line[:1] for line in second.lines], [b"{"])
        self.assertEqual((first.done, second.done), (["leave"], ["leave"]))
        self.keeper.flush()
        self.assertEqual(self.live.traffic.codes, {200: 4})

    def test_reopened(self) -> None:
        """What was collected before belongs into the file that was moved away."""
        self.keeper.apply("/a", "combined")
        self.ask(GET)
        self.keeper.reopen()
        (file,) = self.files
        self.assertEqual((len(file.lines), file.done), (1, ["reopen"]))

    def test_end(self) -> None:
        """At the end what was collected is written."""
        self.keeper.apply("/a", "combined")
        self.ask(GET)
        self.successResultOf(self.keeper.close())
        (file,) = self.files
        self.assertEqual(len(file.lines), 1)
        self.assertIn("close", file.done)
        self.assertIsNone(self.front.access)


class CarriedTests(SynchronousTestCase):
    """Connections that were carried unopened."""

    def carried(self, form: str, *values: Any) -> bytes:
        """The line of a connection that was carried unopened, 60 s after the epoch."""
        file = Lines()
        log = AccessLog(file, form, Sweep(Clock()), lambda: 1e9, lambda: 0.0)
        log.add(_Carried(*values))
        log.close()
        (line,) = file.lines
        return line

    def test_carried(self) -> None:
        """A connection that was carried unopened has its sizes, its time and its end there."""
        values = (b"192.0.2.1", "a.example", b"a.example", "carried", 812, 5123, 58.0, 3.25)
        match = COMBINED.fullmatch(self.carried("combined", *values))
        assert match is not None
        self.assertEqual(
            match.groups(),
            (
                *(b"192.0.2.1", b"-", b"CONNECT a.example TLS", b"200", b"5123", b"-"),
                b"carried, 812 bytes received, 3.250s",
            ),
        )
        self.assertEqual(
            json.loads(self.carried("json", *values)),
            {
                "time": "2001-09-09T01:47:41Z",
                "site": "a.example",
                "client": "192.0.2.1",
                "user": "",
                "host": "a.example",
                "method": "CONNECT",
                "target": "a.example",
                "protocol": "TLS",
                "secure": True,
                "status": 200,
                "bytes": 5123,
                "seconds": 3.25,
                "referer": "",
                "agent": "",
                "id": "",
                "result": "carried",
                "received": 812,
            },
        )

    def test_carried_fields(self) -> None:
        """An object of such a connection has all the fields of a request's."""
        file = Lines()
        log = AccessLog(file, "json", Sweep(Clock()), lambda: 0.0, lambda: 0.0)
        log.add(Over(no_request()))
        log.close()
        carried = self.carried("json", b"", "a.example", b"", "gone", 0, 0, 0.0, 0.0)
        self.assertEqual(
            json.loads(carried).keys() - json.loads(file.lines[0]).keys(), {"result", "received"}
        )
        self.assertEqual(json.loads(file.lines[0]).keys() - json.loads(carried).keys(), set())

    def test_not_carried(self) -> None:
        """Why not is said in a word, and by the status that a request would have got; a client
        without an address or a name is one all the same."""
        for result in passthrough.RESULTS:
            line = self.carried("combined", b"", "a.example", b"", result, 0, 7, 0.0, 0.0)
            match = COMBINED.fullmatch(line)
            assert match is not None
            self.assertEqual(match[1], b"-")
            self.assertEqual(match[3], b"CONNECT a.example TLS")
            self.assertEqual(int(match[4]), 200 if result == "carried" else STATUS[result])
            self.assertTrue(match[7].startswith(result.encode() + b", "))
        self.assertEqual(STATUS.keys(), set(passthrough.RESULTS) - {"carried"})

    def test_between(self) -> None:
        """Requests and carried connections are logged in the order of their ends."""
        file = Lines()
        log = AccessLog(file, "combined", Sweep(Clock()), lambda: 0.0, lambda: 0.0)
        request = read_request(HEAD[:-4])
        for over in (
            Over(request),
            _Carried(b"192.0.2.9", "b.example", b"b.example", "cut", 1, 1, 0.0, 0.0),
            Over(request),
        ):
            log.add(over)
        log.close()
        self.assertEqual([b"CONNECT" in line for line in file.lines], [False, True, False])


_Carried: Any = passthrough.Over
