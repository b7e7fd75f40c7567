"""Frames of HTTP/2, and when they may come."""

from itertools import product

from hyperframe.frame import Frame
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.http import frames as f

FIXED = settings(derandomize=True, deadline=None, max_examples=100)


def read(data: bytes) -> list[Frame]:
    """Read *data* as another implementation does."""
    found = []
    while data:
        frame, length = Frame.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + length]))
        found.append(frame)
        data = data[9 + length :]
    return found


class FramesTests(SynchronousTestCase):
    """What is written is what another implementation reads."""

    def test_small(self) -> None:
        """Ends, windows and settings."""
        (reset,) = read(f.reset(5, f.CANCEL))
        self.assertEqual((reset.type, reset.stream_id, reset.error_code), (3, 5, 8))
        (window,) = read(f.window_update(0, 70000))
        self.assertEqual((window.stream_id, window.window_increment), (0, 70000))
        (away,) = read(f.go_away(7, f.ENHANCE_YOUR_CALM, "calm"))
        self.assertEqual((away.last_stream_id, away.error_code), (7, 11))
        self.assertEqual(away.additional_data, b"calm")
        (settings_,) = read(f.settings({f.MAX_CONCURRENT_STREAMS: 9, f.INITIAL_WINDOW_SIZE: 8}))
        self.assertEqual(settings_.settings, {3: 9, 4: 8})
        self.assertEqual(f.read_settings(settings_.serialize_body()), [(3, 9), (4, 8)])
        self.assertEqual(f.read_long(b"\xff\xff\xff\xff"), f.MAX_WINDOW)
        self.assertEqual(f.read_code(b"\xff\xff\xff\xff"), 2**32 - 1)

    @FIXED
    @given(st.binary(max_size=100), st.booleans(), st.integers(1, 40))
    def test_headers(self, block: bytes, ends: bool, most: int) -> None:
        """A block in as many frames as it takes, none of them too large."""
        first, *others = read(f.headers(3, block, ends, most))
        self.assertEqual(b"".join(frame.data for frame in (first, *others)), block)
        self.assertTrue(all(len(frame.data) <= most for frame in (first, *others)))
        self.assertEqual("END_STREAM" in first.flags, ends)
        flags = ["END_HEADERS" in frame.flags for frame in (first, *others)]
        self.assertEqual(flags, [False] * len(others) + [True])

    def test_verdicts(self) -> None:
        """Every frame of a stream has a verdict in every state."""
        states = (f.IDLE, f.OPEN, f.HALF_CLOSED, f.CUT, f.CLOSED)
        kinds = (f.DATA, f.HEADERS, f.PRIORITY, f.RST_STREAM, f.WINDOW_UPDATE)
        self.assertEqual(set(f.VERDICTS), set(product(states, kinds)))
        for verdict in f.VERDICTS.values():
            if isinstance(verdict, tuple):
                self.assertIn(verdict[0], ("stream", "connection"))
            else:
                self.assertIn(verdict, (f.TAKE, f.IGNORE))
