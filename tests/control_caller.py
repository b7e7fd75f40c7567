"""A client of the control room's API, in memory, and the test case of those who use it."""

from __future__ import annotations

import http.client
import io
import json
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from snickers.control.api import ControlService
from tests.control_fake import FakeCertifying, FakeFrontDoor, FakeLives, FakeSnapshots


class _Read:
    """Bytes that `http.client` takes for a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


class Caller:
    """One client's connection to the API, in memory."""

    def __init__(self, service: ControlService) -> None:
        self.transport = StringTransport()
        self.protocol = service.factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    def send(self, method: str, target: str, body: bytes = b"") -> None:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\n{length}\r\n"
        self.protocol.dataReceived(head.encode() + body)

    def response(self) -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(_Read(self.transport.value()))  # type: ignore
        response.begin()
        return response

    def body(self) -> bytes:
        return self.response().read()

    def lines(self) -> list[Any]:
        """The lines of JSON that have come so far."""
        found = b""
        response = self.response()
        try:
            while piece := response.read1():
                found += piece
        except http.client.IncompleteRead:
            pass
        return [json.loads(line) for line in found.splitlines()]

    def leave(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionLost()))


class ApiCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.front_door = FakeFrontDoor()
        self.lives = FakeLives()
        self.snapshots = FakeSnapshots()
        self.certifying = FakeCertifying()
        self.service = ControlService(
            Clock(), "/nowhere", self.front_door, self.lives, self.snapshots, self.certifying
        )

    def call(self, method: str, target: str, body: bytes = b"") -> Caller:
        caller = Caller(self.service)
        caller.send(method, target, body)
        return caller

    def ask(self, method: str, target: str, body: bytes = b"") -> tuple[int, dict[str, Any]]:
        response = self.call(method, target, body).response()
        self.assertEqual(response.getheader("content-type"), "application/json")
        return response.status, json.loads(response.read())
