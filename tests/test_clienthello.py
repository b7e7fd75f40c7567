"""The ClientHello's parser."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import TestCase

from snickers.tls import clienthello
from snickers.tls.clienthello import BadHello, Hello, NotTLS, looks_like_http, parse

fixed = settings(derandomize=True, deadline=None, database=None)


def openssl_hello(name: bytes | None = b"site.example", alpn: tuple[bytes, ...] = ()) -> bytes:
    """Return the first flight of a real client."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if alpn:
        context.set_alpn_protos(list(alpn))
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    if name is not None:
        connection.set_tlsext_host_name(name)
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        pass
    return connection.bio_read(65536)


def extension(kind: int, body: bytes) -> bytes:
    return struct.pack("!HH", kind, len(body)) + body


def server_name(name: bytes) -> bytes:
    return extension(0, struct.pack("!HBH", len(name) + 3, 0, len(name)) + name)


def protocols(*names: bytes) -> bytes:
    body = b"".join(bytes((len(n),)) + n for n in names)
    return extension(16, struct.pack("!H", len(body)) + body)


def message(extensions: bytes | None = b"", session: bytes = b"") -> bytes:
    body = b"\x03\x03" + b"r" * 32 + bytes((len(session),)) + session + b"\x00\x02\x13\x01\x01\x00"
    if extensions is not None:
        body += struct.pack("!H", len(extensions)) + extensions
    return b"\x01" + len(body).to_bytes(3, "big") + body


def records(data: bytes, size: int = 16384) -> bytes:
    return b"".join(
        b"\x16\x03\x01" + struct.pack("!H", len(data[i : i + size])) + data[i : i + size]
        for i in range(0, len(data), size)
    )


def hello(*extensions: bytes) -> bytes:
    return records(message(b"".join(extensions)))


def whole(data: bytes) -> Hello:
    found = parse(data)
    assert isinstance(found, Hello), found
    return found


class RealHelloTests(TestCase):
    def test_openssl(self):
        """A hello made by OpenSSL, post-quantum by its size, gives its name, ALPN, versions."""
        data = openssl_hello(b"Alice.Example", (b"h2", b"http/1.1"))
        self.assertGreater(len(data), 1500)
        found = whole(data)
        self.assertEqual(found.server_name, b"alice.example")
        self.assertEqual(found.alpn, (b"h2", b"http/1.1"))
        self.assertIn(0x0304, found.versions)
        self.assertEqual(found.size, len(data))

    def test_openssl_without_name(self):
        """A client that asks for nobody gives an empty name and no ALPN."""
        found = whole(openssl_hello(None))
        self.assertEqual((found.server_name, found.alpn), (b"", ()))

    def test_openssl_spread_over_records(self):
        """The same hello says the same, however it is cut into records."""
        data = openssl_hello(alpn=(b"http/1.1",))
        for size in (1000, 300, 100, 60):
            found = whole(records(data[5:], size))
            self.assertEqual(found.server_name, b"site.example")
            self.assertEqual(found.alpn, (b"http/1.1",))

    def test_byte_by_byte(self):
        """Before its last byte a hello asks for more, never for more than there will be."""
        for data in (openssl_hello(), records(openssl_hello()[5:], 100)):
            for count in range(len(data)):
                needed = parse(data[:count])
                self.assertIsInstance(needed, int)
                self.assertGreater(needed, count)
                self.assertLessEqual(needed, len(data))
            self.assertEqual(whole(data).server_name, b"site.example")

    def test_few_rounds(self):
        """Who waits for as many bytes as it says has the hello after a few rounds."""
        data = openssl_hello()
        first = parse(b"")
        assert isinstance(first, int)
        second = parse(data[:first])
        assert isinstance(second, int)
        self.assertEqual((first, second), (5, len(data)))

    def test_what_follows_is_left_alone(self):
        """Bytes behind the hello do not disturb it."""
        data = openssl_hello()
        self.assertEqual(whole(data + b"\x14\x03\x03\x00\x01\x01").size, len(data))


class NameTests(TestCase):
    def test_normalised(self):
        """Upper case and a trailing dot do not make another name."""
        for name in (b"A.Example", b"a.example.", b"A.EXAMPLE."):
            self.assertEqual(whole(hello(server_name(name))).server_name, b"a.example")

    def test_a_label(self):
        """An internationalised name is compared by its A-label."""
        self.assertEqual(
            whole(hello(server_name(b"XN--bcher-KVA.example"))).server_name,
            b"xn--bcher-kva.example",
        )

    def test_address(self):
        """An address is a name that no site has, not the absence of one."""
        self.assertEqual(whole(hello(server_name(b"192.0.2.1"))).server_name, b"192.0.2.1")

    def test_odd_bytes(self):
        """A name that no host can have is unrecognized."""
        for name in (b"a\0b", b"a b", "bücher.example".encode(), b".", b"a..b", b"[::1]", b"a/.."):
            with self.assertRaises(BadHello) as caught:
                parse(hello(server_name(name)))
            self.assertEqual(caught.exception.alert, clienthello.UNRECOGNIZED_NAME, name)

    def test_damaged(self):
        """Lengths that do not fit each other, no name, two names: decode_error."""
        for body in (
            b"",
            b"\0\0",
            b"\0\3\0\0\0",
            b"\0\5\0\0\1ab",
            b"\0\4\1\0\1a",
            b"\0\x08\0\0\1a\0\0\1b",
        ):
            with self.assertRaises(BadHello) as caught:
                parse(hello(extension(0, body)))
            self.assertEqual(caught.exception.alert, clienthello.DECODE_ERROR, body)


class BadHelloTests(TestCase):
    def bad(self, data: bytes) -> int:
        with self.assertRaises(BadHello) as caught:
            parse(data)
        return caught.exception.alert

    def test_duplicated_extension(self):
        """An extension that is there twice is an illegal parameter (RFC 8446 §4.2)."""
        twice = server_name(b"a.example")
        self.assertEqual(self.bad(hello(twice, twice)), clienthello.ILLEGAL_PARAMETER)
        self.assertEqual(
            self.bad(hello(extension(99, b""), extension(99, b"x"))), clienthello.ILLEGAL_PARAMETER
        )

    def test_damaged_protocols(self):
        """An ALPN list with an empty name, or none, or a wrong length is a decode_error."""
        for body in (b"", b"\0\0", b"\0\1\0", b"\0\3\2h", b"\0\2\5a"):
            self.assertEqual(self.bad(hello(extension(16, body))), clienthello.DECODE_ERROR)

    def test_damaged_versions(self):
        """A list of versions must have as many bytes as it says, and an even number of them."""
        for body in (b"", b"\0", b"\1\3", b"\3\3\4\3", b"\4\3\4"):
            self.assertEqual(self.bad(hello(extension(43, body))), clienthello.DECODE_ERROR)

    def test_extension_lengths(self):
        """An extension that reaches beyond the hello is a decode_error."""
        self.assertEqual(self.bad(hello(b"\0\x63\0\5abcd")), clienthello.DECODE_ERROR)
        self.assertEqual(self.bad(hello(b"\0\x63\0")), clienthello.DECODE_ERROR)

    def test_first_message_is_another(self):
        """A handshake that begins with another message is answered unexpected_message."""
        data = b"\x16\x03\x01\0\4\x02\0\0\0"
        self.assertEqual(self.bad(data), clienthello.UNEXPECTED_MESSAGE)
        self.assertEqual(self.bad(data[:6]), clienthello.UNEXPECTED_MESSAGE)

    def test_something_else_in_the_record(self):
        """The hello's record holds the hello alone (RFC 8446 §5.1)."""
        self.assertEqual(self.bad(records(message() + b"x")), clienthello.UNEXPECTED_MESSAGE)

    def test_interleaved(self):
        """The records of a hello follow each other."""
        data = records(message(server_name(b"a.example")), 30)
        other = data[:35] + b"\x17" + data[36:]
        self.assertEqual(self.bad(other), clienthello.UNEXPECTED_MESSAGE)

    def test_empty_record(self):
        """A handshake record is never empty, and never over 16 KiB."""
        self.assertEqual(self.bad(b"\x16\x03\x01\0\0"), clienthello.DECODE_ERROR)
        self.assertEqual(self.bad(b"\x16\x03\x01\x40\x01"), clienthello.DECODE_ERROR)
        self.assertEqual(
            self.bad(records(message(), 20)[:25] + b"\x16\x03\x01\0\0"), clienthello.DECODE_ERROR
        )

    def test_too_large(self):
        """A hello of more than 64 KiB is refused by the length it announces."""
        huge = b"\x16\x03\x01\0\4\x01\2\0\0"
        self.assertEqual(self.bad(huge), clienthello.ILLEGAL_PARAMETER)
        almost = records(b"\x01\x00\xff\xf0" + b"x" * 65520)
        self.assertEqual(self.bad(almost), clienthello.ILLEGAL_PARAMETER)

    def test_record_for_each_byte(self):
        """A hello in very many small records is refused: it would only make us work."""
        data = records(openssl_hello()[5:], 1)
        self.assertEqual(self.bad(data), clienthello.ILLEGAL_PARAMETER)

    def test_large(self):
        """A hello of 60 KiB, four records, is read."""
        padding = extension(21, b"\0" * 60000)
        found = whole(hello(padding, server_name(b"a.example")))
        self.assertEqual(found.server_name, b"a.example")

    def test_without_extensions(self):
        """The hello of an old client has no extensions, and its legacy version counts."""
        found = whole(records(message(None)))
        self.assertEqual((found.server_name, found.versions), (b"", (0x0303,)))


class NotTLSTests(TestCase):
    def test_http(self):
        """Plain HTTP is known by its first byte, and recognised as what it is."""
        for data in (b"G", b"GET / HTTP/1.1\r\n", b"POST /", b"PRI * HTTP/2.0"):
            self.assertRaises(NotTLS, parse, data)
            self.assertTrue(looks_like_http(data), data)

    def test_something_else(self):
        """SSH, SSL 2 and noise are neither TLS nor HTTP."""
        for data in (b"SSH-2.0-x", b"\x80\x2e\x01\x00\x02", b"\0", b"\x16\x02\x00"):
            self.assertRaises(NotTLS, parse, data)
            self.assertFalse(looks_like_http(data), data)

    def test_alert(self):
        """An alert is a record of seven bytes."""
        self.assertEqual(clienthello.alert(112), b"\x15\x03\x03\0\2\2\x70")


names = st.from_regex(r"\A[a-z0-9]{1,12}(\.[a-z0-9-]{1,12}){0,3}\Z").map(str.encode)


class PropertyTests(TestCase):
    @fixed
    @given(st.binary(max_size=300))
    def test_noise(self, data):
        """Random bytes never raise anything else."""
        self.answer(data)

    @fixed
    @given(st.binary(max_size=300))
    def test_noise_in_a_hello(self, data):
        """Neither do random bytes where the hello's body or its extensions belong."""
        self.answer(records(b"\x01" + len(data).to_bytes(3, "big") + data) if data else b"")
        self.answer(hello(data))
        for kind in (0, 16, 43):
            self.answer(hello(extension(kind, data)))

    @fixed
    @given(st.data())
    def test_damage(self, data):
        """Nor does a good hello with any of its bytes changed."""
        good = bytearray(hello(server_name(b"a.example"), protocols(b"h2", b"http/1.1")))
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(good) - 1))
            good[at] = data.draw(st.integers(0, 255))
        self.answer(bytes(good))

    @fixed
    @given(
        names,
        st.lists(st.binary(min_size=1, max_size=20), max_size=4),
        st.binary(max_size=32),
        st.integers(20, 200),
    )
    def test_pieces(self, name, alpn, session, size):
        """However a hello is cut, byte by byte it says the same as whole."""
        body = server_name(name) + (protocols(*alpn) if alpn else b"")
        data = records(message(body, session), size)
        count = 0
        while True:
            found = parse(data[:count])
            if isinstance(found, Hello):
                break
            self.assertGreater(found, count)
            self.assertLessEqual(found, len(data))
            count += 1
        self.assertEqual(count, len(data))
        self.assertEqual((found.server_name, found.alpn), (name, tuple(alpn)))

    def answer(self, data: bytes) -> None:
        try:
            found = parse(data)
        except (NotTLS, BadHello):
            return
        if not isinstance(found, Hello):
            self.assertGreater(found, len(data))
