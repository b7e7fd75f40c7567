"""Says in words why an engine behind a socket cannot be reached, by classes of exceptions.

Never by their texts, which differ by version and language.
"""

from __future__ import annotations

import socket

import requests
import urllib3


def why(error: BaseException) -> str:
    """Return why, and what to look at: what lies at the bottom of *error* decides."""
    for cause in reversed(_layers(error)):
        match cause:
            case FileNotFoundError():
                return "there is no such socket. Is Docker installed, and running?"
            case PermissionError():
                return (
                    "Snickers may not use this socket. Let its user be in the socket's group "
                    "(docker), or run it as root."
                )
            case ConnectionRefusedError():
                return "nothing listens there. Is Docker running?"
            case socket.gaierror():
                return "there is no host of this name."
            case TimeoutError() | requests.Timeout() | urllib3.exceptions.TimeoutError():
                return "it does not answer in time. Is its host overloaded, or away?"
            case ConnectionError() | urllib3.exceptions.ProtocolError():
                return "it broke the connection off. Was it restarted?"
    return f"{error}."


def _layers(error: BaseException) -> list[BaseException]:
    """Return *error* and what it was made from, the deepest last.

    The libraries keep the cause in the arguments, in ``reason``, or as Python does.
    """
    found: list[BaseException] = []
    ahead: list[object] = [error]
    while ahead:
        each = ahead.pop(0)
        if isinstance(each, BaseException) and not any(each is other for other in found):
            found.append(each)
            ahead += [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]
    return found
