"""When a certificate is renewed, and how long to wait after a failure.

Pure: times and what the authority says in, an instant out. Must never let all certificates of a
host be due at one moment, and never by a fixed number of days, for some live six days and some a
year.
"""

from __future__ import annotations

import base64
from hashlib import sha256

from attrs import frozen

DAY = 86400.0

SHORT = 10 * DAY
"""Below this life there is too little time left at a third of it to try again."""
SHARE = 1 / 3
SHORT_SHARE = 1 / 2
SPREAD = 1 / 20
"""Of its life, by which a certificate is renewed sooner than its neighbours at the most."""
FORCED_SHARE = 1 / 50
"""With so much of its life left it is renewed whatever the authority suggests."""

PAUSES = (
    *(60.0, 120.0, 120.0, 300.0, 600.0, 600.0, 1200.0, 1200.0, 1800.0, 3600.0, 3600.0),
    *(7200.0, 10800.0, 21600.0),
)
"""Seconds from a failure to the next try: soon at first, since most failures are over soon. Their
sum is more than a day; after that it is six hours each time."""
JITTER = 1 / 4
"""Of a pause, by which it is longer at the most."""
LONG_AFTER = 100
"""Failures in a row, three weeks of them, after which once a day is enough."""
LONG_PAUSE = DAY

ASK_EVERY = 6 * 3600.0
"""Seconds between two questions for the suggested window (RFC 9773 section 4.3.3)."""
ASK_LEAST = 60.0
ASK_MOST = 12 * 3600.0
"""Twice a day at the least: an authority that has to revoke gives a day of warning."""


@frozen
class Window:
    """When the authority would have a certificate renewed (RFC 9773 section 4.2)."""

    start: float
    """Epoch seconds."""
    end: float


def share(key: str) -> float:
    """Return a number from 0 to 1, evenly spread over keys and always the same for one of them."""
    return int.from_bytes(sha256(key.encode()).digest()[:8], "big") / 2**64


def instant(window: Window, key: str) -> float:
    """Return the epoch second in *window* that is *key*'s: random, and the same each time."""
    return window.start + max(0.0, window.end - window.start) * share(key)


def by_life(not_before: float, not_after: float, key: str) -> float:
    """Return the epoch second at which a certificate is due by its life alone: with a third of it
    left, a half of a short one, and up to a twentieth of it sooner, as *key* says."""
    life = not_after - not_before
    left = life * (SHORT_SHARE if life < SHORT else SHARE)
    return not_after - left - life * SPREAD * share(key)


def due(not_before: float, not_after: float, window: Window | None, key: str) -> float:
    """Return the epoch second from which on the certificate is to be renewed."""
    if window is None:
        return by_life(not_before, not_after, key)
    forced = not_after - (not_after - not_before) * FORCED_SHARE
    return min(instant(window, key), forced)


def retry_pause(failures: int, jitter: float) -> float:
    """Return the seconds to wait after so many *failures* in a row, one at the least; *jitter* is
    from 0 to 1."""
    if failures > LONG_AFTER:
        pause = LONG_PAUSE
    else:
        pause = PAUSES[min(max(failures, 1), len(PAUSES)) - 1]
    return pause * (1 + JITTER * jitter)


def ask_pause(retry_after: float | None) -> float:
    """Return the seconds until the authority's window is asked for again, when it said so."""
    return ASK_EVERY if retry_after is None else min(max(retry_after, ASK_LEAST), ASK_MOST)


def certificate_id(authority_key: bytes, serial: int) -> str:
    """Return what a certificate is called when its window is asked for (RFC 9773 section 4.1):
    *authority_key* is the identifier in its Authority Key Identifier extension."""
    # The octets of a DER integer: one more bit than the number has, for the sign.
    number = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{_base64url(authority_key)}.{_base64url(number)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
