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


class ShapeTests(SynchronousTestCase):
    """Frames that are wrong whatever they are about."""

    def refused(self, *shape: int) -> int:
        """Return the code by which a frame of *shape* ends its connection."""
        return self.assertRaises(f.BadFrame, f.check_shape, *shape).code

    def test_streams(self) -> None:
        """What is the connection's names no stream; what is a stream's may name any."""
        for kind, size in ((f.SETTINGS, 6), (f.PING, 8), (f.GOAWAY, 8), (f.PRIORITY_UPDATE, 4)):
            f.check_shape(kind, 0, 0, size)
            self.assertEqual(self.refused(kind, 0, 1, size), f.PROTOCOL_ERROR)
        for kind, size in ((f.RST_STREAM, 4), (f.WINDOW_UPDATE, 4), (f.CONTINUATION, 9)):
            f.check_shape(kind, 0, 1, size)
            f.check_shape(kind, 0, 0, size)

    def test_sizes(self) -> None:
        """Each type has the sizes that its section gives it; unknown ones, and those whose size is
        their stream's matter, have any."""
        right = {
            f.RST_STREAM: {4},
            f.PING: {8},
            f.WINDOW_UPDATE: {4},
            f.GOAWAY: set(range(8, 30)),
            f.PRIORITY_UPDATE: set(range(4, 30)),
            f.SETTINGS: {0, 6, 12, 18, 24},
        }
        for kind in (*range(f.CONTINUATION + 1), f.PRIORITY_UPDATE, 99):
            if kind == f.PUSH_PROMISE:
                continue
            for size in range(30):
                if size in right.get(kind, range(30)):
                    f.check_shape(kind, 0, 0, size)
                else:
                    self.assertEqual(self.refused(kind, 0, 0, size), f.FRAME_SIZE_ERROR)

    def test_never(self) -> None:
        """A client promises nothing; an ACK of settings says nothing."""
        self.assertEqual(self.refused(f.PUSH_PROMISE, 0, 1, 9), f.PROTOCOL_ERROR)
        f.check_shape(f.SETTINGS, f.ACK, 0, 0)
        self.assertEqual(self.refused(f.SETTINGS, f.ACK, 0, 6), f.FRAME_SIZE_ERROR)

    def test_settings(self) -> None:
        """A value that its setting cannot have, wherever it stands; unknown ones have any."""
        for name, good, bad, code in (
            (f.ENABLE_PUSH, (0, 1), (2, 2**32 - 1), f.PROTOCOL_ERROR),
            (f.INITIAL_WINDOW_SIZE, (0, 2**31 - 1), (2**31,), f.FLOW_CONTROL_ERROR),
            (f.MAX_FRAME_SIZE, (16384, 2**24 - 1), (0, 16383, 2**24), f.PROTOCOL_ERROR),
            (f.HEADER_TABLE_SIZE, (0, 2**32 - 1), (), 0),
            (99, (0, 2**32 - 1), (), 0),
        ):
            for value in good:
                self.assertEqual(f.read_settings(f.settings({name: value})[9:]), [(name, value)])
            for value in bad:
                payload = f.settings({99: 1, name: value})[9:]
                raised = self.assertRaises(f.BadFrame, f.read_settings, payload)
                self.assertEqual(raised.code, code)

    @FIXED
    @given(st.binary(max_size=60), st.binary(max_size=20))
    def test_padding(self, data: bytes, padding: bytes) -> None:
        """What stands between its length and the padding is what was sent."""
        self.assertEqual(f.without_padding(bytes((len(padding),)) + data + padding), data)

    def test_more_padding_than_bytes(self) -> None:
        """Padding that would reach beyond the frame, or a frame without even its length."""
        for payload in (b"", b"\x01", b"\x05abcd", b"\xff" * 255):
            bad = self.assertRaises(f.BadFrame, f.without_padding, payload)
            self.assertEqual(bad.code, f.PROTOCOL_ERROR)
        self.assertEqual(f.without_padding(b"\x04abcd"), b"")

    def test_priority(self) -> None:
        """Its five bytes are taken off; half of them, or a stream's own number, are wrong."""
        self.assertEqual(f.without_priority(1, b"\x80\0\0\x03\0rest"), b"rest")
        for payload, code in (
            (b"\0\0\0\x03", f.FRAME_SIZE_ERROR),
            (b"\0\0\0\x01\0", f.PROTOCOL_ERROR),
            (b"\x80\0\0\x01\0", f.PROTOCOL_ERROR),
        ):
            bad = self.assertRaises(f.BadFrame, f.without_priority, 1, payload)
            self.assertEqual(bad.code, code)
