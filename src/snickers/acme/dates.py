"""What time it is at a https server, by the Date of its answer (RFC 9110 section 6.6.1).

Its certificate must be right for its name, but not for the time: a clock that is far off would
otherwise make everybody else a liar. Blocks, for a bounded time: call it in a thread. Nothing
secret may be sent: no more is learnt than the time.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from snickers.acme.clock import Observation
from snickers.acme.punctual import Punctual, answered_within

WITHIN = 10.0
"""Seconds."""
NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python does not name."""


class NoDate(Exception):
    """It could not be found out; the text says why."""


def context(trust: str = "") -> ssl.SSLContext:
    """Return one for clients that takes certificates of any time; *trust*: a file with roots
    besides the system's, ``""``: none."""
    made = ssl.create_default_context()
    made.sslsocket_class = Punctual
    if trust:
        made.load_verify_locations(trust)
    made.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
    return made


def date_of(
    url: str, wall: Callable[[], float], trust: str = "", within: float = WITHIN
) -> Observation:
    """Ask the server of *url* (https) for its time; *wall* returns ours, epoch seconds.

    Fails with `NoDate`.
    """
    place = urlsplit(url)
    host = place.hostname or ""
    try:
        connection = HTTPSConnection(
            host, place.port or 443, timeout=within, context=context(trust)
        )
        try:
            connection.connect()
            before = wall()
            answered_within(within)
            connection.request("HEAD", place.path or "/", headers={"User-Agent": "Snickers"})
            answer = connection.getresponse()
            after = wall()
        finally:
            connection.close()
    except (OSError, HTTPException, ValueError) as error:
        raise NoDate(f"{host}: {error}") from None
    try:
        said = parsedate_to_datetime(answer.getheader("Date", "")).timestamp()
        # One that comes out of a cache is older by so much (RFC 9111 section 5.1).
        age = float(int(answer.getheader("Age", "0")))
    except (TypeError, ValueError, OverflowError):
        raise NoDate(f"{host}: its answer has no Date that could be read") from None
    return Observation(host, said + age, before, after)
