"""Tells the service manager how Snickers fares: the protocol of ``sd_notify(3)``.

Without a ``NOTIFY_SOCKET`` nothing is sent. It must never fail the caller: a manager that does
not listen is no reason not to serve.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping


class Notifier:
    """Sends states to the socket that the service manager named."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        # An abstract socket's name is written with an @ for its NUL.
        self._address = "\0" + name[1:] if name.startswith("@") else name

    def send(self, *states: str) -> bool:
        """Send *states* such as ``READY=1`` or ``STATUS=serving 5 sites`` in one message; say
        whether that is done with: ``False`` where the manager has too much to read just now."""
        if not self._address:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(states).encode(), self._address)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True
