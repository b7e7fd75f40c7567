"""TLS sockets that give an answer no more time when it comes byte by byte.

The timeout of a socket begins anew with each byte, so who sends one now and then would hold a
thread for ever. Blocks: for threads alone. Must never let one thread's deadline hold for another's
question.
"""

from __future__ import annotations

import ssl
import threading
import time
from typing import Any


class _Asking(threading.local):
    """What this thread asks."""

    until = 0.0
    """By the monotonic clock: when the answer must be there whole."""


_asking = _Asking()


def answered_within(seconds: float) -> None:
    """Have this thread's next question answered whole within *seconds*, on whatever `Punctual`."""
    _asking.until = time.monotonic() + seconds


class Punctual(ssl.SSLSocket):
    """Reads no more when the time is over that `answered_within` has given its thread.

    For ``SSLContext.sslsocket_class``; raises `TimeoutError`.
    """

    def recv_into(self, *args: Any, **more: Any) -> int:
        left = _asking.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        self.settimeout(left)
        return super().recv_into(*args, **more)
