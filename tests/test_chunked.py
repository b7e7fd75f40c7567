"""The chunked coding."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.http.chunked import MAX_CHUNK_HEAD, BadChunk, ChunkReader, chunk, last_chunk
from snickers.http.head import MAX_HEAD


def read(*pieces: bytes):
    """Feed *pieces*; return the body, what lies behind it, and the reader."""
    reader = ChunkReader()
    body = []
    behind = b""
    for piece in pieces:
        if reader.ended:
            behind += piece
            continue
        more, behind = reader.feed(piece)
        body += more
    return b"".join(body), behind, reader


class ChunkReaderTests(SynchronousTestCase):
    """Reading chunks."""

    def test_whole(self) -> None:
        """Chunks, the last chunk, and what comes after it."""
        body, behind, reader = read(b'3\r\nabc\r\n0A;x="y"\r\n0123456789\r\n0\r\n\r\nGET /')
        self.assertEqual((body, behind, reader.ended), (b"abc0123456789", b"GET /", True))

    def test_trailers(self) -> None:
        """Trailers are read, and filtered."""
        _, behind, reader = read(b"0\r\nX-Sum: 1\r\nHost: b\r\n\r\nrest")
        self.assertEqual((reader.trailers, behind), ([(b"X-Sum", b"1")], b"rest"))

    @settings(derandomize=True, deadline=None)
    @given(
        st.lists(st.binary(min_size=1, max_size=40), max_size=5),
        st.booleans(),
        st.lists(st.integers(1, 12), max_size=40),
    )
    def test_pieces_of_any_size(self, bodies: list, with_trailers: bool, cuts: list) -> None:
        """However the bytes are cut, the body is the same."""
        trailers = [(b"X-T", b"v")] if with_trailers else None
        data = b"".join(chunk(body) for body in bodies) + last_chunk(trailers) + b"behind"
        pieces = []
        rest = data
        for cut in cuts:
            pieces.append(rest[:cut])
            rest = rest[cut:]
        body, behind, reader = read(*[piece for piece in [*pieces, rest] if piece])
        self.assertEqual((body, behind), (b"".join(bodies), b"behind"))
        self.assertEqual(reader.trailers, trailers or [])

    def test_bad_chunks(self) -> None:
        """Sizes, signs, spaces, bare line ends, missing ends and oversize (RFC 9112 §7.1)."""
        for data in [
            b"\r\n",
            b"-1\r\n",
            b"+1\r\na\r\n",
            b"0x1\r\na\r\n",
            b" 1\r\na\r\n",
            b"1 \r\na\r\n",
            b"1_0\r\n",
            b"g\r\n",
            b"1" * 16 + b"\r\n",
            b"1\na\r\n",
            b"1;a\nb\r\na\r\n",
            b"1;\x00\r\na\r\n",
            b"1;" + b"x" * MAX_CHUNK_HEAD,
            b"1\r\nab\r\n",
            b"1\r\na\n",
            b"0\r\nX\r\n\r\n",
            b"0\r\nX : y\r\n\r\n",
            b"0\r\nX: " + b"y" * MAX_HEAD + b"zz",
        ]:
            self.assertRaises(BadChunk, read, data)
            self.assertRaises(BadChunk, read, *[bytes([byte]) for byte in data])

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(st.binary(max_size=200))
    def test_anything(self, data: bytes) -> None:
        """Whatever the bytes, they are chunks or bad ones, whole or byte by byte."""

        def outcome(*pieces: bytes) -> object:
            try:
                body, behind, reader = read(*pieces)
            except BadChunk:
                return "bad"
            return body, behind, reader.ended

        self.assertEqual(outcome(data), outcome(*[bytes([byte]) for byte in data]))
