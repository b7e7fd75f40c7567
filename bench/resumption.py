"""What a resumed TLS session saves: ``python -m bench.resumption``, in some ten seconds.

Handshakes in memory with the context that Snickers makes of a certificate with a key on P-256:
processor time of the server's side alone, the median of many, whole ones and resumed ones in turn.
And what it costs two processes to hand a connection over, as the first process and a worker could:
an AMP message with the descriptor, both sides together.
"""

from __future__ import annotations

import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator

from attrs import frozen
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater, react
from twisted.protocols.amp import AMP, Command, Descriptor

from snickers.tls.signing import new_pair, new_root
from snickers.tls.transport import harden

NAME = "bench.example"
ROUNDS = 1000
"""Handshakes of each kind, and connections handed over."""
AT_ONCE = 10
"""Connections on their way at the same time."""


@frozen
class Shaken:
    """One handshake."""

    cost: float
    """Seconds of the server's side."""
    client: SSL.Connection
    group: str


def server() -> SSL.Context:
    """Return a context as Snickers has it."""
    pair = new_pair(new_root(None, time.time()), (NAME,), time.time())
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    harden(context, (b"h2", b"http/1.1"))
    context.use_certificate(pair.chain[0])
    context.use_privatekey(pair.key)
    return context


def shake(ours: SSL.Context, theirs: SSL.Context, session: object = None) -> Shaken:
    """Have one handshake, which resumes *session* if there is one."""
    inner, client = SSL.Connection(ours), SSL.Connection(theirs)
    inner.set_accept_state()
    client.set_connect_state()
    client.set_tlsext_host_name(NAME.encode())
    if session is not None:
        client.set_session(session)
    cost = 0.0
    pending = [client, inner]
    while pending:
        for me, other in ((client, inner), (inner, client)):
            begun = time.process_time()
            try:
                me.do_handshake()
                if me in pending:
                    pending.remove(me)
            except SSL.WantReadError:
                pass
            if me is inner:
                cost += time.process_time() - begun
            try:
                other.bio_write(me.bio_read(1 << 17))
            except SSL.WantReadError:
                pass
    try:
        client.recv(1)  # The tickets come behind the handshake.
    except SSL.WantReadError:
        pass
    if (session is not None) != bool(lib.SSL_session_reused(client._ssl)):
        raise SystemExit("what was to be resumed was not, or the other way round")
    return Shaken(cost, client, client.get_group_name() or "?")


def handshakes(version: int) -> str:
    """Return a line on handshakes of one version of TLS."""
    ours, theirs = server(), SSL.Context(SSL.TLS_CLIENT_METHOD)
    theirs.set_max_proto_version(version)
    whole, resumed = [], []
    for _ in range(ROUNDS):
        first = shake(ours, theirs)
        again = shake(ours, theirs, first.client.get_session())
        whole.append(first.cost)
        resumed.append(again.cost)
    of_whole, of_resumed = (statistics.median(each) * 1e6 for each in (whole, resumed))
    return (
        f"{first.client.get_protocol_version_name()} {first.group}: whole {of_whole:.0f} µs, "
        f"resumed {of_resumed:.0f} µs"
    )


class Take(Command):
    """A connection from one process for another."""

    arguments = [(b"sock", Descriptor())]
    requiresAnswer = False


class Taker(AMP):
    """Takes connections, and closes them."""

    taken = 0

    @Take.responder
    def take(self, sock: int) -> dict[str, object]:
        with socket.socket(fileno=sock) as found:
            found.setblocking(False)
        Taker.taken += 1
        return {}


async def handed_over(clock: object) -> None:
    """Hand connections over, and print what one costs."""
    with tempfile.TemporaryDirectory(prefix="snickers-bench.") as folder:
        path = os.path.join(folder, "socket")
        port = await UNIXServerEndpoint(clock, path).listen(Factory.forProtocol(Taker))
        giver = await UNIXClientEndpoint(clock, path).connect(Factory.forProtocol(AMP))
        ours, theirs = socket.socketpair()
        begun = time.process_time()
        given = 0
        while Taker.taken < ROUNDS:
            for _ in range(min(AT_ONCE, ROUNDS - given)):
                giver.callRemote(Take, sock=os.dup(ours.fileno()))
                given += 1
            await deferLater(clock, 0)
        cost = (time.process_time() - begun) / ROUNDS
        print(f"handing a connection over: {cost * 1e6:.0f} µs, both sides together")
        for sock in (ours, theirs):
            sock.close()
        giver.transport.loseConnection()
        await port.stopListening()


def lines() -> Iterator[str]:
    """Yield what is found of handshakes."""
    for version in (SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION):
        yield handshakes(version)


def main(clock: object) -> Deferred[None]:
    """Measure all."""
    for line in lines():
        print(line)
    return Deferred.fromCoroutine(handed_over(clock))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        raise SystemExit(__doc__)
    react(main)
