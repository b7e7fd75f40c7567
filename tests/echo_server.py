"""A small web application for tests, run as a process of its own: pages, a large file, WebSockets.

Listens where ``$HOST`` and ``$PORT`` say. ``/`` tells ``$TITLE`` and its process, ``/big`` is
`BIG`, and what a WebSocket sends comes back.
"""

from __future__ import annotations

import asyncio
import os
import signal
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

BIG = bytes(range(251)) * (48 * 1024 * 1024 // 251)
"""More than all buffers of a connection that is not read from, on both of its ways, can hold.
251 is prime: whatever part of it is lost, repeated or exchanged, it is not the same any more."""

PATIENT: Any = {"open_timeout": None, "close_timeout": None, "ping_interval": None}
"""It breaks nothing off: by itself it would wait ten seconds for `BIG` to be read, and for a client
that a busy machine does not let answer twenty."""


async def echo(connection: ServerConnection) -> None:
    """Send back what comes."""
    async for message in connection:
        await connection.send(message)


def answer(connection: ServerConnection, request: Request) -> Response | None:
    """Answer all but WebSockets."""
    if "Upgrade" in request.headers:
        return None
    if request.path == "/big":
        headers = Headers({"Content-Length": str(len(BIG)), "Connection": "close"})
        return Response(HTTPStatus.OK, "OK", headers, BIG)
    return connection.respond(HTTPStatus.OK, f"{os.environ.get('TITLE', '')} {os.getpid()}\n")


async def main() -> None:
    """Serve until SIGTERM."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end() -> None:
        if not ended.done():
            ended.set_result(None)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    where: Any = (os.environ["HOST"], int(os.environ["PORT"]))
    more = {"process_request": answer, "compression": None, "max_size": None, **PATIENT}
    async with serve(echo, *where, **more):
        await ended
        os._exit(0)  # Who is still connected is not said good-bye to.


if __name__ == "__main__":
    asyncio.run(main())
