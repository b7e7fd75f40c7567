"""Says in words why an engine behind a socket cannot be reached, by classes of exceptions."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import requests
import urllib3


def why(error: BaseException) -> str:
    """Say why Docker cannot be reached, by the class of what lies at the bottom."""
    for cause in _causes(error):
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


def _causes(error: object) -> Iterator[BaseException]:
    """Yield what *error* was made from, the deepest first."""
    if not isinstance(error, BaseException):
        return
    for inner in (*error.args, getattr(error, "reason", None), error.__cause__):
        if inner is not error:
            yield from _causes(inner)
    if error.__context__ is not error.__cause__:
        yield from _causes(error.__context__)
    yield error
