"""What a certificate authority is shown when it looks whether a name is ours.

Whoever orders a certificate leaves the answers as files below ``STATE/acme/challenges``; every
process that the authority may reach reads them when it is asked: ``http-01/TOKEN`` holds a key
authorization (RFC 8555 section 8.3), ``tls-alpn-01/NAME.pem`` a key with its certificate
(RFC 8737 section 3). Anybody may ask, as often as they like. So this must never read in the
reactor's thread, never have more than a bounded number of questions under way, and never let
anything into a path that could lead out of its folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Protocol, TypeVar

from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from snickers.disk import read
from snickers.tls.contexts import Harden, make_context
from snickers.tls.credentials import (
    CertificateUnavailable,
    join,
    read_certificates,
    read_key,
)

T = TypeVar("T")

QUESTIONS = 256
"""Questions under way at once, those that wait for a thread among them. What is not there takes
less than 0.01 ms of a thread, an answer 0.03, a certificate 0.6; an authority asks from about five
places, and a flood must not grow a queue."""
LONGEST = 1024
"""Bytes of a key authorization: a token of 128, a dot, and a thumbprint of 43, with room."""

is_token = re.compile(rb"[A-Za-z0-9_-]{1,128}").fullmatch
"""Whether it is a token (RFC 8555 section 8.3: base64url; 43 characters are usual)."""
_is_name = re.compile(rb"(?=.{1,253}$)[a-z0-9_-]+(?:\.[a-z0-9_-]+)*").fullmatch


class TooManyQuestions(Exception):
    """So much is being asked that this one is not answered now."""


class Run(Protocol):
    """Calls a blocking function in a thread."""

    def __call__(self, function: Callable[[], T]) -> Deferred[T]: ...


class Challenges:
    """The answers in *folder*; *run* reads in a thread; *harden* makes contexts speak
    ``acme-tls/1`` alone, and is called in a thread."""

    log = Logger()

    def __init__(self, folder: str, run: Run, harden: Harden) -> None:
        self._folder = folder
        self._run = run
        self._harden = harden
        self._under_way = 0
        self._told = ""

    def key_authorization(self, token: bytes) -> Deferred[bytes | None]:
        """Fire with the key authorization of *token*, with ``None`` where there is none.

        Fails with `TooManyQuestions`.
        """
        if is_token(token) is None:
            return succeed(None)
        path = os.path.join(self._folder, "http-01", token.decode("ascii"))
        return self._ask(lambda: _text(path))

    def context(self, name: bytes) -> Deferred[SSL.Context | None]:
        """Fire with the context that answers for the host *name*, with ``None`` where there is no
        challenge for it. Fails with `TooManyQuestions`.
        """
        if _is_name(name) is None:
            return succeed(None)
        path = os.path.join(self._folder, "tls-alpn-01", f"{name.decode('ascii')}.pem")
        return self._ask(lambda: self._context(path))

    def _context(self, path: str) -> SSL.Context | None:
        data = _found(path)
        if data is None:
            return None
        credentials = join(read_key(data, path), read_certificates(data, path), path)
        return make_context(credentials, self._harden, path)

    def _ask(self, look: Callable[[], T | None]) -> Deferred[T | None]:
        if self._under_way >= QUESTIONS:
            return fail(TooManyQuestions())
        self._under_way += 1
        answer = self._run(look)
        answer.addBoth(self._answered)
        answer.addErrback(self._not_read)
        return answer

    def _answered(self, result: T) -> T:
        self._under_way -= 1
        return result

    def _not_read(self, failure: Failure) -> None:
        """Nothing that can be shown: for whoever asks as if there were nothing."""
        if isinstance(failure.value, OSError | CertificateUnavailable):
            words = str(failure.value)
        else:
            self.log.failure("reading the answer to a challenge", failure)
            words = repr(failure.value)
        if words != self._told:  # once, however often somebody asks for it
            self._told = words
            self.log.warn("the answer to a challenge cannot be read: {reason}", reason=words)


def _found(path: str) -> bytes | None:
    try:
        return read(path).data
    except FileNotFoundError:
        return None


def _text(path: str) -> bytes | None:
    data = _found(path)
    return data.strip() if data is not None and len(data) <= LONGEST else None
