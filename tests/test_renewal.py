"""When certificates are renewed."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.renewal import (
    ASK_EVERY,
    ASK_LEAST,
    ASK_MOST,
    DAY,
    FORCED_SHARE,
    JITTER,
    LONG_AFTER,
    LONG_PAUSE,
    PAUSES,
    Window,
    ask_pause,
    by_life,
    certificate_id,
    due,
    instant,
    retry_pause,
    share,
)

KEYS = st.text(max_size=50)
BEGIN = st.floats(0, 4e9)
LIFE = st.floats(3600, 400 * DAY)


class ShareTests(SynchronousTestCase):
    @given(KEYS)
    def test_range(self, key: str) -> None:
        """A share is from 0 to 1, and always the same."""
        self.assertTrue(0 <= share(key) < 1)
        self.assertEqual(share(key), share(key))

    def test_spread(self) -> None:
        """A thousand sites are spread evenly: no tenth has more than one and a half times its
        part."""
        tenths = [0] * 10
        for index in range(1000):
            tenths[int(share(f"site-{index}.example") * 10)] += 1
        self.assertTrue(all(60 < count < 150 for count in tenths), tenths)


class DueTests(SynchronousTestCase):
    @given(BEGIN, st.floats(0, 30 * DAY), KEYS)
    def test_window(self, start: float, length: float, key: str) -> None:
        """The instant lies in the window, wherever that is, and stays the same."""
        window = Window(start, start + length)
        chosen = instant(window, key)
        self.assertTrue(window.start <= chosen <= window.end)
        self.assertEqual(chosen, instant(window, key))

    def test_window_backwards(self) -> None:
        """A window that ends before it begins is its beginning."""
        self.assertEqual(instant(Window(100.0, 50.0), "a"), 100.0)

    @given(BEGIN, LIFE, KEYS)
    def test_life(self, begin: float, life: float, key: str) -> None:
        """By its life, a third is left at the least, a half of one that is under ten days, and a
        twentieth of it more at the most."""
        left = begin + life - by_life(begin, begin + life, key)
        share_left = 1 / 2 if life < 10 * DAY else 1 / 3
        self.assertTrue(life * share_left - 1 <= left <= life * (share_left + 1 / 20) + 1)

    def test_examples(self) -> None:
        """Ninety days: about sixty after it began; six days: within the third day."""
        at = by_life(0, 90 * DAY, "a.example") / DAY
        self.assertTrue(55.5 <= at <= 60, at)
        at = by_life(0, 6 * DAY, "a.example") / DAY
        self.assertTrue(2.7 <= at <= 3, at)

    @given(BEGIN, LIFE, BEGIN, st.floats(0, DAY), KEYS)
    def test_forced(self, begin: float, life: float, start: float, length: float, key: str) -> None:
        """The authority's window holds, but for a certificate that would be as good as over."""
        window = Window(start, start + length)
        at = due(begin, begin + life, window, key)
        forced = begin + life - life * FORCED_SHARE
        self.assertEqual(at, min(instant(window, key), forced))
        self.assertLess(at, begin + life)

    def test_no_window(self) -> None:
        """Without a window its life counts."""
        self.assertEqual(due(0, 90 * DAY, None, "a"), by_life(0, 90 * DAY, "a"))


class PauseTests(SynchronousTestCase):
    @given(st.integers(1, 500), st.floats(0, 1))
    def test_growing(self, failures: int, jitter: float) -> None:
        """Pauses never become shorter, and chance makes none longer by more than a quarter."""
        pause = retry_pause(failures, 0)
        self.assertLessEqual(pause, retry_pause(failures + 1, 0))
        self.assertTrue(pause <= retry_pause(failures, jitter) <= pause * (1 + JITTER))

    def test_examples(self) -> None:
        """One, two, two, five, ten minutes, up to six hours, and at last a day."""
        self.assertEqual([retry_pause(n, 0) / 60 for n in range(1, 6)], [1, 2, 2, 5, 10])
        self.assertEqual(retry_pause(len(PAUSES), 0), 6 * 3600)
        self.assertEqual(retry_pause(LONG_AFTER, 0), 6 * 3600)
        self.assertEqual(retry_pause(LONG_AFTER + 1, 0), LONG_PAUSE)
        self.assertEqual(retry_pause(0, 0), 60)

    def test_asking(self) -> None:
        """The authority says when it is to be asked again, within reason."""
        self.assertEqual(ask_pause(None), ASK_EVERY)
        self.assertEqual(ask_pause(3600), 3600)
        self.assertEqual(ask_pause(0), ASK_LEAST)
        self.assertEqual(ask_pause(1e9), ASK_MOST)


class CertificateIdTests(SynchronousTestCase):
    def test_rfc(self) -> None:
        """The example of RFC 9773 section 4.1: a serial whose first bit is set has a zero before
        it."""
        key = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
        self.assertEqual(certificate_id(key, 0x87654321), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")

    @given(st.integers(1, 2**159))
    def test_der(self, serial: int) -> None:
        """The number is what DER makes of it: no octet too many, the first bit not set."""
        text = certificate_id(b"k", serial).partition(".")[2]
        octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        self.assertEqual(int.from_bytes(octets, "big", signed=True), serial)
        self.assertTrue(len(octets) == 1 or octets[0] or octets[1] & 0x80)
