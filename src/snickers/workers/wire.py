"""The words that the first process and a worker have for each other, as AMP commands.

AMP's values are 64 KB at the most, so what may be larger goes in parts. A change of the
configuration is pickled, in one direction only: the first process must never unpickle anything.
"""

# Twisted's AMP has no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from snickers.interfaces.engine import Address
from snickers.interfaces.leases import Refusal, Stage
from snickers.interfaces.plane import Change

CLOSED = connectionDone
"""Why a connection is lost when nobody says why."""
PART = 60_000
"""Bytes of a part: AMP's limit is 65,535."""
CONTROL = 3
"""A worker's descriptor on which the first process speaks."""
TALLY = 4
"""...that of the memory in which connections are counted: see `snickers.workers.tally`."""
FIRST_FRONT = 5
"""...and from here on its listening sockets."""


# The first process to a worker


class Apply(amp.Command):
    """Have a change hold: `join` of all parts, the last of which ends it."""

    arguments = [(b"part", amp.String()), (b"last", amp.Boolean())]


class Accept(amp.Command):
    """Accept connections from now on."""


class StandBy(amp.Command):
    """Accept no more until `Accept`; finish what is open."""


class Drain(amp.Command):
    """Accept no more, finish what is open within so many seconds, and end."""

    arguments = [(b"within", amp.Float())]


class Abort(amp.Command):
    """End at once."""


class Reopen(amp.Command):
    """Open the access log anew: it was moved away."""


class Count(amp.Command):
    """Send `Counted` for what has changed; answered when that was sent."""


class Withdraw(amp.Command):
    """The address that was leased for *site* holds no more: no new use of it."""

    arguments = [(b"site", amp.Unicode())]
    requiresAnswer = False


# A worker to the first process


class Take(amp.Command):
    """Lease *site*'s server: one use, whatever number of requests the worker makes of it.

    Answered when it is ready, or with why it will not be: see `lease`, `refusal` and `result`.
    """

    arguments = [(b"site", amp.Unicode()), (b"ticket", amp.Integer())]
    response = [
        (b"host", amp.Unicode()),
        (b"port", amp.Integer()),
        (b"kind", amp.Unicode()),
        (b"retry", amp.Integer()),
    ]


class Forget(amp.Command):
    """Who waited with *ticket* waits no more."""

    arguments = [(b"ticket", amp.Integer())]
    requiresAnswer = False


class GiveBack(amp.Command):
    """So many leases of *site*'s server at this address are over."""

    arguments = [
        (b"site", amp.Unicode()),
        (b"count", amp.Integer()),
        (b"host", amp.Unicode()),
        (b"port", amp.Integer()),
    ]
    requiresAnswer = False


class Look(amp.Command):
    """Say how far *site*'s server is, and do nothing about it: see `stage` and `read_stage`."""

    arguments = [(b"site", amp.Unicode())]
    response = [
        (b"phase", amp.Unicode()),
        (b"words", amp.Unicode()),
        (b"late", amp.Boolean()),
        (b"host", amp.Unicode()),
        (b"port", amp.Integer()),
    ]


class Failed(amp.Command):
    """The leased server of *site* did not take a connection."""

    arguments = [(b"site", amp.Unicode()), (b"host", amp.Unicode()), (b"port", amp.Integer())]
    requiresAnswer = False


class Raise(amp.Command):
    """Raise an alarm."""

    arguments = [(b"kind", amp.Unicode()), (b"site", amp.Unicode()), (b"message", amp.Unicode())]
    requiresAnswer = False


class Clear(amp.Command):
    """An alarm is over."""

    arguments = [(b"kind", amp.Unicode()), (b"site", amp.Unicode())]
    requiresAnswer = False


class Counted(amp.Command):
    """What the worker has counted, as JSON in parts: see `snickers.workers.census`."""

    arguments = [(b"part", amp.String()), (b"last", amp.Boolean())]
    requiresAnswer = False


# Forms


class Speaker(amp.AMP):
    """AMP, without a line in the log for each connection: who starts and ends is told in words."""

    def makeConnection(self, transport: Any) -> None:
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = CLOSED) -> None:
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None


class Only(Factory):
    """Gives out the one protocol there is."""

    noisy = False

    def __init__(self, protocol: amp.AMP) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: IAddress | None) -> amp.AMP:
        return self._protocol


def parts(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """Return *data* in parts that fit, each with whether it is the last; at least one."""
    for start in range(0, max(1, len(data)), PART):
        yield data[start : start + PART], start + PART >= len(data)


def words(text: str) -> str:
    """Return *text* as far as it fits into a value; what is no character is told by its number."""
    return text.encode("utf-8", "backslashreplace")[:PART].decode("utf-8", "ignore")


def packed(change: Change) -> bytes:
    """Return *change* as bytes for `unpacked`."""
    return pickle.dumps(change, pickle.HIGHEST_PROTOCOL)


def unpacked(data: bytes) -> Change:
    """Return the change that was `packed`; *data* must come from the first process."""
    change = pickle.loads(data)
    assert isinstance(change, Change)
    return change


def sent_address(address: Address) -> tuple[str, int]:
    """Return *address* as a host and a port; a unix socket has port 0."""
    return (address, 0) if isinstance(address, str) else address


def read_address(host: str, port: int) -> Address:
    """Return the address that `sent_address` made *host* and *port* of."""
    return (host, port) if port else host


def lease(address: Address) -> dict[str, object]:
    """Return the answer to `Take` that leases *address*."""
    host, port = sent_address(address)
    return {"host": host, "port": port, "kind": "", "retry": 0}


def refusal(refusal: Refusal) -> dict[str, object]:
    """Return the answer to `Take` that says why not."""
    return {"host": "", "port": 0, "kind": refusal.kind, "retry": refusal.retry_after}


def result(answer: dict[str, object]) -> Address | Refusal:
    """Return what an answer to `Take` says."""
    kind, retry = answer["kind"], answer["retry"]
    host, port = answer["host"], answer["port"]
    assert isinstance(kind, str)
    assert isinstance(host, str)
    assert isinstance(port, int)
    assert isinstance(retry, int)
    return Refusal(kind, retry) if kind else read_address(host, port)


def stage(stage: Stage) -> dict[str, object]:
    """Return the answer to `Look` that says *stage*."""
    host, port = sent_address(stage.address or "")
    said = {"phase": stage.phase, "words": words(stage.words), "late": stage.late}
    return {**said, "host": host, "port": port}


def read_stage(answer: dict[str, object]) -> Stage:
    """Return what an answer to `Look` says."""
    phase, said, late = answer["phase"], answer["words"], answer["late"]
    host, port = answer["host"], answer["port"]
    assert isinstance(phase, str)
    assert isinstance(said, str)
    assert isinstance(late, bool)
    assert isinstance(host, str)
    assert isinstance(port, int)
    return Stage(phase, said, late, read_address(host, port) or None)
