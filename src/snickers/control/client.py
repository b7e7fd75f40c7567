"""Asks a running Snickers, over its control socket, on behalf of the ``snickers`` command.

Blocking, on the standard library alone, so that the command starts fast. It knows how to reach
the socket and how to read an answer; it never prints, never decides an exit status, and never
runs inside the server.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode

ANSWER_WITHIN = 30.0
"""Seconds: what needs no work is answered at once; a server silent for longer is stuck."""
RELOAD_WITHIN = 300.0
"""Seconds: a reload or a plan reads every file of the configuration, on a disk that may be slow."""

_PATH_LIMIT = 107
"""Bytes of a unix socket's path that fit into ``sun_path`` beside the closing NUL (unix(7))."""


class ControlFailed(Exception):
    """The running Snickers could not be asked, or could not do it; the text is for a person."""


class NotRunning(ControlFailed):
    """Nobody listens at the socket."""


class Denied(ControlFailed):
    """The socket belongs to another user."""


class Lost(ControlFailed):
    """The server went away, or fell silent, before its answer was complete."""


class Garbled(ControlFailed):
    """What came is no answer that this version knows."""


class Refused(ControlFailed):
    """The server answered with an error of its own, in words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@contextmanager
def short_path(path: str) -> Iterator[str]:
    """Give a name for *path* that fits into a unix socket's address, however deep it lies.

    A long one is named by way of its folder's descriptor, which is open while the context lasts.
    """
    if len(os.fsencode(path)) <= _PATH_LIMIT:
        yield path
        return
    folder, name = os.path.split(path)
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


class _Connection(http.client.HTTPConnection):
    """HTTP to a unix socket instead of a host and a port."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("snickers", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with short_path(self._path) as path:
            self.sock.connect(path)

    def be_patient(self) -> None:
        """Wait without a limit for the rest of the answer."""
        if self.sock is not None:
            self.sock.settimeout(None)


class Client:
    """One running Snickers, by the path of its control socket.

    Every method raises a `ControlFailed` in words. The iterators must be read to their end or
    closed: leaving one tells the server that nobody listens any more.
    """

    def __init__(self, path: str, timeout: float = ANSWER_WITHIN) -> None:
        self.path = path
        self._timeout = timeout

    def status(self) -> dict[str, Any]:
        """Return the whole status, as `IFrontDoor.status` gives it."""
        return self._ask("GET", "/status", self._timeout)

    def site(self, host: str) -> dict[str, Any]:
        """Return what is known of one site."""
        return self._ask("GET", f"/sites/{_quoted(host)}", self._timeout)

    def plan(self) -> dict[str, Any]:
        """Return what a reload would change."""
        return self._ask("GET", "/plan", RELOAD_WITHIN)

    def reload(self) -> dict[str, Any]:
        """Have the configuration read anew and return what that changed."""
        return self._ask("POST", "/reload", RELOAD_WITHIN)

    def snapshots(self, host: str) -> dict[str, Any]:
        """Return the copies of *host*'s own folder."""
        answer = self._ask("GET", f"/sites/{_quoted(host)}/snapshots", RELOAD_WITHIN)
        if "error" in answer:
            raise Refused(200, str(answer["error"]))
        return answer

    def certificates(self, host: str | None) -> dict[str, Any]:
        """Return what is known of sites' certificates, of *host*'s alone if that is given."""
        query = f"?{urlencode({'site': host})}" if host else ""
        return self._ask("GET", f"/certificates{query}", self._timeout)

    def take_in(self, host: str, files: Mapping[str, tuple[str, bytes]]) -> dict[str, Any]:
        """Have *files* (``certificate``, ``key``, ``chain``: a path and its bytes) be the
        certificate of *host*; return its problems, or where it was put."""
        # Bytes as the characters of these numbers: what is no PEM is to be told of in words.
        body = {part: (path, data.decode("latin-1")) for part, (path, data) in files.items()}
        answer = self._ask(
            "PUT", f"/sites/{_quoted(host)}/certificate", self._timeout, json.dumps(body).encode()
        )
        if "error" in answer:
            raise Refused(200, str(answer["error"]))
        return answer

    def act(self, verb: str, host: str, id: str = "", image: str = "") -> Iterator[dict[str, Any]]:
        """``wake``, ``sleep``, ``restart``, ``renew`` or ``update`` *host*, perhaps to *image*; or
        with its copies ``snapshot``, ``restore``, ``prove`` or ``verify``, the copy *id* where it
        is about one. Give each line of progress as it comes.

        The last one has ``done`` or ``error``; a stream that ends without either is `Lost`.
        """
        pending = b""
        said = {name: value for name, value in (("id", id), ("image", image)) if value}
        query = f"?{urlencode(said)}" if said else ""
        for piece in self._stream("POST", f"/sites/{_quoted(host)}/{verb}{query}"):
            *lines, pending = (pending + piece).split(b"\n")
            for line in lines:
                event = self._read(line)
                yield event
                if "done" in event or "error" in event:
                    return
        raise self._lost("before it said that this was done")

    def logs(self, host: str, tail: int, follow: bool) -> Iterator[bytes]:
        """Give the last *tail* lines of *host*'s server in pieces, then what comes to it."""
        query = urlencode({"tail": tail, "follow": int(follow)})
        return self._stream("GET", f"/sites/{_quoted(host)}/logs?{query}", wait=True)

    def _ask(
        self, method: str, target: str, timeout: float, body: bytes | None = None
    ) -> dict[str, Any]:
        connection = _Connection(self.path, timeout)
        try:
            return self._read(self._open(connection, method, target, body=body).read())
        except (OSError, http.client.HTTPException) as problem:
            raise self._explain(problem, timeout) from problem
        finally:
            connection.close()

    def _stream(self, method: str, target: str, wait: bool = False) -> Iterator[bytes]:
        connection = _Connection(self.path, self._timeout)
        try:
            response = self._open(connection, method, target, wait)
            connection.be_patient()
            while piece := response.read1(65536):
                yield piece
        except (OSError, http.client.HTTPException) as problem:
            raise self._explain(problem, self._timeout) from problem
        finally:
            connection.close()

    def _open(
        self,
        connection: _Connection,
        method: str,
        target: str,
        wait: bool = False,
        body: bytes | None = None,
    ) -> http.client.HTTPResponse:
        """Send the request and return the answer whose head says that all is well."""
        connection.request(method, target, body)
        if wait:
            connection.be_patient()
        response = connection.getresponse()
        if response.status == 200:
            return response
        try:
            words = self._read(response.read())["error"]
        except (Garbled, KeyError):
            raise self._garbled(f"it answered {response.status} {response.reason}") from None
        raise Refused(response.status, str(words))

    def _read(self, text: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(text)
        except ValueError:
            raise self._garbled("its answer is not JSON") from None
        if not isinstance(answer, dict):
            raise self._garbled("its answer is JSON of another form")
        return answer

    def _explain(self, problem: Exception, timeout: float) -> ControlFailed:
        match problem:
            case FileNotFoundError() | ConnectionRefusedError() | NotADirectoryError():
                return NotRunning(f"Snickers does not answer at {self.path}; is it running?")
            case PermissionError():
                return Denied(
                    f"not allowed to use {self.path}: run this as the user that runs Snickers, "
                    "or as root"
                )
            case TimeoutError():
                return Lost(
                    f"Snickers did not answer at {self.path} within {timeout:g} s; "
                    "look at its log for what keeps it busy"
                )
            # RemoteDisconnected is both of the next two kinds: the order matters.
            case ConnectionError() | http.client.IncompleteRead():
                return self._lost("before its answer was complete")
            case http.client.HTTPException():
                return self._garbled("its answer is not HTTP")
        return ControlFailed(f"cannot use {self.path}: {_words(problem)}")

    def _lost(self, when: str) -> Lost:
        return Lost(f"Snickers at {self.path} went away {when}; look at its log")

    def _garbled(self, what: str) -> Garbled:
        return Garbled(
            f"what listens at {self.path} is not a Snickers that this version of the command "
            f"understands: {what}"
        )


def _quoted(host: str) -> str:
    return quote(host, safe="")


def _words(problem: Exception) -> str:
    return getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
