"""Asks the keeper of two teams, over its own socket, on behalf of the ``snickers`` command.

Blocking, on the standard library alone. It knows how to reach the socket and how to read an answer;
it never prints and never decides an exit status.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

from snickers.control.client import (
    ANSWER_WITHIN,
    ControlFailed,
    Denied,
    Garbled,
    Lost,
    Refused,
    short_path,
)

SOCKET = os.path.join("teams", "keeper.sock")
"""The keeper's socket, in the state folder."""
CHANGE_WITHIN = 300.0
"""Seconds between two lines of an answer: a team is given two minutes to prove itself."""
LONGEST = 1 << 20
"""Bytes of a line that are read."""


class NoKeeper(ControlFailed):
    """Nobody listens at the keeper's socket."""


class KeeperClient:
    """One running keeper, by the path of its socket. Every method raises `ControlFailed`."""

    def __init__(self, path: str, timeout: float = ANSWER_WITHIN) -> None:
        self.path = path
        self._timeout = timeout

    def status(self) -> dict[str, Any]:
        """Return what is going on, as `snickers.teams.keeper.Keeper.status` says it."""
        for answer in self._ask("status", self._timeout):
            if "failed" in answer:
                raise Refused(200, str(answer["failed"]))
            return answer
        raise Lost(f"the keeper at {self.path} has closed the connection without an answer")

    def change(self, what: str) -> Iterator[dict[str, Any]]:
        """Ask for ``switch``, ``commit``, ``rollback`` or ``restart``; give each line of progress.

        The last one has ``done``; what fails is `Refused`.
        """
        for answer in self._ask(what, CHANGE_WITHIN):
            if "failed" in answer:
                raise Refused(200, str(answer["failed"]))
            yield answer
            if "done" in answer:
                return
        raise Lost(f"the keeper at {self.path} went away; 'snickers teams' says how far it came")

    def _ask(self, what: str, timeout: float) -> Iterator[dict[str, Any]]:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.settimeout(timeout)
                with short_path(self.path) as path:
                    sock.connect(path)
                sock.sendall(json.dumps({"do": what}).encode() + b"\n")
                with sock.makefile("rb") as lines:
                    while line := lines.readline(LONGEST):
                        yield self._read(line)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            pid = _holder(os.path.join(os.path.dirname(self.path), "keeper.lock"))
            if pid:
                raise Lost(
                    f"a keeper runs (process {pid}), but not with the socket {self.path}; unless "
                    f"it has just been started, 'kill -USR2 {pid}' has it make that anew"
                ) from None
            raise NoKeeper(
                f"no keeper listens at {self.path}; 'twistd -n snickers-teams' is one "
                "(docs/deploying.md)"
            ) from None
        except PermissionError:
            raise Denied(
                f"{self.path} belongs to another user; run this as that user, or as root"
            ) from None
        except TimeoutError:
            raise Lost(f"the keeper at {self.path} has not answered for {timeout:g} s") from None
        except OSError as problem:
            raise Lost(f"the keeper at {self.path} went away: {problem.strerror}") from None

    def _read(self, line: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Garbled(f"what listens at {self.path} does not answer as a keeper does")
        return answer


def _holder(path: str) -> int:
    """Return the process that holds the lock (flock(2)) of the file *path*, 0 if none is known.

    Only looked at (proc(5)): who took it for a moment could keep a keeper from starting.
    """
    try:
        found = os.stat(path)
        with open("/proc/locks", encoding="ascii") as file:
            locks = [line.split() for line in file]
    except OSError:
        return 0
    wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for fields in locks:
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == wanted:
            return max(0, int(fields[4]))
    return 0
