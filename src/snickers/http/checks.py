"""Checks of passwords: dear on purpose, so made in threads, few at a time, and remembered.

What one client, and all together, can make a processor do is bounded: by a queue, by how many
checks of one client may wait, and by how many of them may fail within a time. No password is
kept: what is remembered is an HMAC under a key that is made anew at each start.
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Callable, Hashable
from os import urandom
from typing import Any, Protocol, TypeVar

import bcrypt
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from snickers.http.policy import client_of
from snickers.stream import Sweep

ADMITTED = 200
WRONG = 401
OFTEN = 429
BROKEN = 500
BUSY = 503

AT_ONCE = 2
"""Checks at the same time: half of the threads that also read files."""
MAX_QUEUE = 64
"""Checks that wait: about ten seconds of work at the usual cost."""
MAX_EACH = 4
"""Checks of one client under way; a browser has one password for all its requests."""
MAX_ASKING = 100
"""Requests that wait for one check."""
MAX_WRONG = 10
"""Wrong passwords that a client may send at once..."""
FORGIVEN_WITHIN = 6.0
"""...and the seconds after which one of them is forgiven."""
RIGHT_FOR = 900.0
"""Seconds a right password is remembered: a check in a quarter of an hour costs nothing."""
WRONG_FOR = 60.0
"""Seconds a wrong one is remembered: programs send theirs again and again."""
MAX_RIGHT = 4096
MAX_WRONGS = 1024
MAX_CLIENTS = 4096

K = TypeVar("K")
V = TypeVar("V")


class Asking(Protocol):
    """One who waits for a verdict."""

    over: bool
    """Whether nobody wants to know any more."""

    def told(self, verdict: int) -> None:
        """The verdict; called once at most, and not when `over`."""


def verify(password: bytes, hashed: bytes) -> bool:
    """Say whether *password* is the one that was hashed. Blocks for a long time."""
    # bcrypt looks at 72 bytes, and who wrote the file has cut it there, too.
    return b"\0" not in password and bcrypt.checkpw(password[:72], hashed)


def decoy(hashed: bytes) -> bytes:
    """Return a hash of no password that takes as long to check as *hashed*."""
    return hashed[:7] + b"." * 53


class _Check:
    """One password being checked."""

    __slots__ = ("asking", "client", "genuine", "hashed", "key", "password", "user")

    def __init__(
        self, key: bytes, user: bytes, hashed: bytes, genuine: bool, password: bytes, client: Any
    ) -> None:
        self.key = key
        self.user = user
        self.hashed = hashed
        self.genuine = genuine
        self.password = password
        self.client = client
        self.asking: list[Asking] = []


class Checks:
    """The checks of all sites together."""

    log = Logger()

    def __init__(
        self,
        defer: Callable[..., Deferred[Any]],
        sweep: Sweep,
        verify: Callable[[bytes, bytes], bool] = verify,
    ) -> None:
        """*defer* runs a blocking call in a thread."""
        self._defer = defer
        self._sweep = sweep
        self._verify = verify
        self._secret = urandom(32)
        self._right: dict[bytes, tuple[bytes, bytes, float]] = {}
        self._wrong: dict[bytes, tuple[bytes, float]] = {}
        self._clients: dict[Hashable, tuple[float, float]] = {}
        self._open: dict[bytes, _Check] = {}
        self._each: dict[Hashable, int] = {}
        self._queue: deque[_Check] = deque()
        self._running = 0

    def key(self, said: bytes) -> bytes:
        """Return what *said*, a site's name for its users and a client's words, is known by."""
        return hmac.digest(self._secret, said, "sha256")

    def remembered(self, key: bytes) -> tuple[bytes, bytes] | None:
        """Return the user and the hash that *key* was found right for, not long ago."""
        found = self._right.get(key)
        if found is None:
            return None
        user, hashed, until = found
        if until <= self._sweep.now:
            del self._right[key]
            return None
        return user, hashed

    def check(
        self,
        key: bytes,
        user: bytes,
        hashed: bytes,
        genuine: bool,
        password: bytes,
        peer: bytes,
        asking: Asking,
    ) -> int | None:
        """Return the verdict if it is known, else ``None``: *asking* will be told.

        *genuine*: whether there is such a user; without one the check is made all the same, and
        found wrong, so that its time tells nobody who exists.
        """
        wrong = self._wrong.get(key)
        if wrong is not None and wrong[0] == hashed and wrong[1] > self._sweep.now:
            return WRONG
        check = self._open.get(key)
        if check is not None and check.hashed == hashed and check.genuine == genuine:
            if len(check.asking) >= MAX_ASKING:
                return BUSY
            check.asking.append(asking)
            return None
        client = client_of(peer)
        each = self._each.get(client, 0)
        if each >= MAX_EACH or self._blame(client) + each > MAX_WRONG - 1:
            return OFTEN
        if len(self._queue) >= MAX_QUEUE:
            self._drop_left()
            if len(self._queue) >= MAX_QUEUE:
                return BUSY
        check = _Check(key, user, hashed, genuine, password, client)
        check.asking.append(asking)
        self._open[key] = check
        self._each[client] = each + 1
        self._queue.append(check)
        self._next()
        return None

    def _blame(self, client: Hashable) -> float:
        """Return how many wrong passwords *client* is not forgiven yet."""
        count, since = self._clients.get(client, (0.0, 0.0))
        return max(0.0, count - (self._sweep.now - since) / FORGIVEN_WITHIN)

    def _drop_left(self) -> None:
        """Let go of checks that nobody waits for any more."""
        waiting = list(self._queue)
        self._queue.clear()
        for check in waiting:
            if all(asking.over for asking in check.asking):
                self._close(check)
            else:
                self._queue.append(check)

    def _next(self) -> None:
        while self._running < AT_ONCE and self._queue:
            check = self._queue.popleft()
            if all(asking.over for asking in check.asking):
                self._close(check)
                continue
            self._running += 1
            made = self._defer(self._verify, check.password, check.hashed)
            made.addCallbacks(
                self._checked, self._failed, callbackArgs=(check,), errbackArgs=(check,)
            )
            made.addErrback(self._not_told)

    def _checked(self, right: bool, check: _Check) -> None:
        now = self._sweep.now
        if right and check.genuine:
            _keep(self._right, check.key, (check.user, check.hashed, now + RIGHT_FOR), MAX_RIGHT)
            self._end(check, ADMITTED)
            return
        _keep(self._wrong, check.key, (check.hashed, now + WRONG_FOR), MAX_WRONGS)
        _keep(self._clients, check.client, (self._blame(check.client) + 1, now), MAX_CLIENTS)
        self._end(check, WRONG)

    def _failed(self, failure: Failure, check: _Check) -> None:
        self.log.failure("A password could not be checked", failure)
        self._end(check, BROKEN)

    def _not_told(self, failure: Failure) -> None:
        self.log.failure("A request could not be told of its password", failure)

    def _end(self, check: _Check, verdict: int) -> None:
        self._running -= 1
        self._close(check)
        self._next()
        for asking in check.asking:
            if not asking.over:
                asking.told(verdict)

    def _close(self, check: _Check) -> None:
        if self._open.get(check.key) is check:
            del self._open[check.key]
        left = self._each[check.client] - 1
        if left:
            self._each[check.client] = left
        else:
            del self._each[check.client]


def _keep(memory: dict[K, V], key: K, value: V, most: int) -> None:
    """Put *value* into *memory*; the oldest goes when there are *most*."""
    memory.pop(key, None)
    if len(memory) >= most:
        del memory[next(iter(memory))]
    memory[key] = value
