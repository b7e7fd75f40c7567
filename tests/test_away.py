"""Why an engine cannot be reached, in words."""

from __future__ import annotations

import socket

import requests
import urllib3
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers.away import why


def wrapped(cause: BaseException) -> Exception:
    """Return *cause* as the layers above the socket wrap it."""
    protocol = urllib3.exceptions.ProtocolError("Connection aborted.", cause)
    error = requests.exceptions.ConnectionError(protocol, request=None)
    try:
        raise RuntimeError(f"Error while fetching: {error}") from error
    except RuntimeError as outer:
        return outer


class WhyTests(SynchronousTestCase):
    """`why`."""

    def test_classes(self) -> None:
        """The class at the bottom decides, however deep it lies."""
        for cause, words in (
            (FileNotFoundError(2, "No such file"), "no such socket"),
            (PermissionError(13, "denied"), "group"),
            (ConnectionRefusedError(111, "refused"), "nothing listens"),
            (ConnectionResetError(104, "reset"), "broke the connection off"),
            (socket.gaierror(-2, "unknown"), "no host of this name"),
            (TimeoutError("timed out"), "does not answer"),
        ):
            self.assertIn(words, why(cause))
            self.assertIn(words, why(wrapped(cause)))

    def test_of_requests(self) -> None:
        """The classes of the library are understood too."""
        self.assertIn("does not answer", why(requests.exceptions.ReadTimeout("read timed out")))
        self.assertIn("does not answer", why(requests.exceptions.ConnectTimeout()))
        self.assertIn(
            "broke the connection off", why(urllib3.exceptions.ProtocolError("Connection aborted."))
        )

    def test_unknown(self) -> None:
        """What is not known is said as it is."""
        self.assertEqual(why(ValueError("no such scheme")), "no such scheme.")

    def test_circle(self) -> None:
        """Exceptions that hold each other end too."""
        one, other = ValueError("one"), ValueError("other")
        one.__cause__, other.__cause__ = other, one
        self.assertIn(".", why(one))
