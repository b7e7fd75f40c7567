"""The door of a site with ``basic auth`` (RFC 7617): its file of users, and who may come in.

The file is looked at in a thread, never more often than each few seconds, and never later: what
a request is judged by is not older than that. Must fail closed: a file that cannot be read, or
not wholly be understood, lets nobody in.
"""

from __future__ import annotations

import os
import stat
from base64 import b64decode
from binascii import Error as BinasciiError
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from snickers.htpasswd import MOST_TEXT, read_htpasswd
from snickers.http.checks import ADMITTED, BROKEN, BUSY, WRONG, Asking, Checks, decoy
from snickers.stream import Sweep

LOOK_EVERY = 3.0
"""Seconds: who was removed from the file is out within them."""
MAX_WAITING = 1000
"""Requests that may wait for a look at the file."""

Identity = tuple[int, int, int, int]


@frozen
class Looked:
    """What was found in the file's place."""

    identity: Identity | None
    users: Mapping[bytes, bytes] | None
    """``None``: nobody may come in."""
    reason: str = ""
    """Why, in words for the owner."""


def look(path: str, seen: Identity | None) -> Looked | None:
    """Return what the file *path* says now; ``None`` if it is what was *seen*. Blocks."""
    try:
        # Opening a pipe for reading would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        return Looked(None, None, f"cannot be read: {getattr(error, 'strerror', error)}")
    try:
        status = os.fstat(descriptor)
        identity = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        if identity == seen:
            return None
        if not stat.S_ISREG(status.st_mode):
            return Looked(None, None, "is not an ordinary file")
        with os.fdopen(os.dup(descriptor), "rb") as file:
            content = file.read(4 * MOST_TEXT + 4)
    except OSError as error:
        return Looked(None, None, f"cannot be read: {error.strerror}")
    finally:
        os.close(descriptor)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Looked(identity, None, "is not UTF-8; save it as UTF-8")
    read = read_htpasswd(text.replace("\r\n", "\n").replace("\r", "\n"))
    if read.faults:
        return Looked(identity, None, "; ".join(read.faults[:3]))
    return Looked(identity, read.users)


def read_basic(authorization: bytes) -> tuple[bytes, bytes] | None:
    """Return the name and the password of an Authorization field; ``None`` if it has none."""
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        decoded = b64decode(token.strip(b" "), validate=True)
    except (BinasciiError, ValueError):
        return None
    user, colon, password = decoded.partition(b":")
    return (user, password) if colon else None


class Door:
    """Says who may come in to one site."""

    log = Logger()

    def __init__(
        self,
        site: str,
        path: str,
        checks: Checks,
        defer: Callable[..., Deferred[Any]],
        sweep: Sweep,
    ) -> None:
        """*path*: of the file of users; *defer* runs a blocking call in a thread."""
        self._site = site
        self._path = path
        self._prefix = path.encode("utf-8", "surrogateescape") + b"\0"
        self._checks = checks
        self._defer = defer
        self._sweep = sweep
        self._users: Mapping[bytes, bytes] | None = None
        self._decoy = b""
        self._identity: Identity | None = None
        self._reason = ""
        self._look_at = -inf
        self._looking = False
        self._waiting: list[tuple[bytes | None, bytes, Asking]] = []

    def ask(self, authorization: bytes | None, peer: bytes, asking: Asking) -> int | None:
        """Return the verdict for a request with the field *authorization* from *peer*.

        `ADMITTED`, or the status that the client gets; ``None`` when it is not known yet:
        *asking* will be told.
        """
        if self._sweep.now < self._look_at:
            return self._judge(authorization, peer, asking)
        if len(self._waiting) >= MAX_WAITING:
            return BUSY
        self._waiting.append((authorization, peer, asking))
        if not self._looking:
            self._looking = True
            looked = self._defer(look, self._path, self._identity)
            looked.addCallbacks(self._looked, self._not_looked)
            looked.addErrback(self._not_told)
        return None

    def _judge(self, authorization: bytes | None, peer: bytes, asking: Asking) -> int | None:
        users = self._users
        if users is None:
            return BROKEN
        if authorization is None:
            return WRONG
        checks = self._checks
        key = checks.key(self._prefix + authorization)
        found = checks.remembered(key)
        if found is not None and users.get(found[0]) == found[1]:
            return ADMITTED
        read = read_basic(authorization)
        if read is None:
            return WRONG
        user, password = read
        hashed = users.get(user)
        genuine = hashed is not None
        return checks.check(key, user, hashed or self._decoy, genuine, password, peer, asking)

    def _looked(self, looked: Looked | None) -> None:
        if looked is not None:
            self._identity = looked.identity
            self._users = looked.users
            if looked.users:
                self._decoy = decoy(next(iter(looked.users.values())))
            self._complain(looked.reason)
        self._go_on()

    def _not_looked(self, failure: Failure) -> None:
        self._users = self._identity = None
        self._complain(f"cannot be read: {failure.getErrorMessage()}")
        self._go_on()

    def _complain(self, reason: str) -> None:
        """Tell the owner, once for each reason."""
        if reason and reason != self._reason:
            self.log.critical(
                "{site}: nobody is let in: the file of basic auth, {path}, {reason}",
                site=self._site,
                path=self._path,
                reason=reason,
            )
        elif self._reason and not reason:
            self.log.info(
                "{site}: the file of basic auth, {path}, is read again",
                site=self._site,
                path=self._path,
            )
        self._reason = reason

    def _go_on(self) -> None:
        self._looking = False
        self._look_at = self._sweep.now + LOOK_EVERY
        waiting, self._waiting = self._waiting, []
        for authorization, peer, asking in waiting:
            if asking.over:
                continue
            verdict = self._judge(authorization, peer, asking)
            if verdict is not None:
                asking.told(verdict)

    def _not_told(self, failure: Failure) -> None:
        self.log.failure("{site}: a verdict was not told", failure=failure, site=self._site)
