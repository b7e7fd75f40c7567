"""What Snickers answers for a site whose own server is not awake, without waking it.

Pure: the answers are made when the configuration is taken, and their content was read with it. A
monitor or a robot that asks again and again must find an answer here, and never a server that
runs for its sake alone. Nothing of it may be kept by a cache: the server itself may say something
else as soon as it is awake.
"""

from __future__ import annotations

from collections.abc import Iterable

from snickers.config.values import Asleep
from snickers.http.mediatypes import inherent_coding, media_type
from snickers.http.pages import answer_error
from snickers.interfaces.exchange import Fields, IExchange

ROBOTS = Asleep("/robots.txt", 503)
"""RFC 9309 §2.3.1.4: a robot that cannot read the rules for a server error stays away from all."""
RETRY_AFTER = 3600
"""Seconds after which who got 503 or 429 may ask again: once an hour is often enough for who does
not wait for an answer."""

_METHODS = (b"GET", b"HEAD")


def _by_path(answers: Iterable[Asleep]) -> dict[bytes, Asleep]:
    return {answer.path.encode("ascii"): answer for answer in answers}


_UNLISTED = _by_path([ROBOTS])


class AsleepAnswers:
    """The answers of one site: those that are listed, and `ROBOTS` unless that is among them."""

    __slots__ = ("_answers",)

    def __init__(self, listed: Iterable[Asleep]) -> None:
        listed = tuple(listed)
        # One dictionary for all sites that list nothing, which are most.
        self._answers = {**_UNLISTED, **_by_path(listed)} if listed else _UNLISTED

    def find(self, exchange: IExchange) -> Asleep | None:
        """Return what *exchange* is answered with, ``None``: that is for the server to say."""
        request = exchange.request
        if request.method not in _METHODS or request.upgrade:
            return None
        return self._answers.get(request.target.partition(b"?")[0])


def answer_asleep(exchange: IExchange, answer: Asleep) -> None:
    """End *exchange* with *answer*."""
    status = answer.status
    if answer.file:
        name = answer.file.encode("utf-8", "surrogateescape")
        fields: Fields = [
            (b"Content-Type", media_type(name)),
            (b"Cache-Control", b"no-store"),
            (b"X-Content-Type-Options", b"nosniff"),
        ]
        coding = inherent_coding(name)
        if coding:
            fields.append((b"Content-Encoding", coding))
        exchange.answer(200, fields, len(answer.content), answer.content, True)
    elif status == 200:
        body = b"asleep\n"
        fields = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Cache-Control", b"no-store"),
        ]
        exchange.answer(200, fields, len(body), body, True)
    elif status == 204:
        exchange.answer(204, [(b"Cache-Control", b"no-store")], None, b"", True)
    elif status in (429, 503):
        answer_error(exchange, status, "asleep", RETRY_AFTER)
    else:
        answer_error(exchange, status)
