"""Tests for `snickers.http.redirect`."""

from __future__ import annotations

from urllib.parse import urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from snickers.config.values import Redirect
from snickers.http.redirect import RedirectHandler
from snickers.interfaces.exchange import IHandler
from tests.exchange_fake import RecordingExchange

FIXED = settings(derandomize=True, deadline=None, max_examples=200)


def sent(redirect: Redirect, target: bytes, method: bytes = b"GET") -> RecordingExchange:
    exchange = RecordingExchange(method=method, target=target)
    RedirectHandler(redirect).handle(exchange)
    return exchange


def location(to: str, target: bytes, keep_path: bool = True) -> bytes | None:
    return sent(Redirect(to, keep_path=keep_path), target).get(b"location")


class RedirectTests(TestCase):
    """Where visitors are sent."""

    def test_interface(self) -> None:
        """It is a handler, and closing it twice harms nothing."""
        handler = RedirectHandler(Redirect("https://x.example"))
        verifyObject(IHandler, handler)
        handler.close()
        handler.close()

    def test_status(self) -> None:
        """The configured status is sent, whatever the method, with a small page."""
        for status in (301, 302, 303, 307, 308):
            exchange = sent(Redirect("https://x.example", status), b"/a", b"POST")
            self.assertEqual((exchange.status, exchange.ended), (status, "finish"))
        self.assertIn(b'href="https://x.example/a"', exchange.data)

    def test_path_and_query_are_kept(self) -> None:
        """Path and query follow, exactly as received."""
        self.assertEqual(
            location("https://x.example", b"/a%2Fb/%41?q=1&q=%20&u=|{}"),
            b"https://x.example/a%2Fb/%41?q=1&q=%20&u=|{}",
        )

    def test_own_path(self) -> None:
        """A path of ``to`` stays before, and no slash is doubled."""
        for to in ("https://x.example/new", "https://x.example/new/"):
            self.assertEqual(location(to, b"/a"), b"https://x.example/new/a")
        self.assertEqual(location("https://x.example/", b"/"), b"https://x.example/")

    def test_own_query_and_fragment(self) -> None:
        """A query of ``to`` comes first, a fragment last."""
        to = "https://x.example/n?from=old#top"
        self.assertEqual(location(to, b"/a?b=1"), b"https://x.example/n/a?from=old&b=1#top")
        self.assertEqual(location(to, b"/a"), b"https://x.example/n/a?from=old#top")

    def test_path_dropped(self) -> None:
        """Without *keep path* everybody gets ``to`` as it is."""
        to = "https://x.example/n?a=1#top"
        self.assertEqual(location(to, b"/b?c", False), to.encode())

    def test_fixed_fields_are_not_shared(self) -> None:
        """What a front does to one answer's fields does not reach the next."""
        handler = RedirectHandler(Redirect("https://x.example", keep_path=False))

        class Meddling(RecordingExchange):
            def answer(self, status, fields, *rest):
                super().answer(status, fields, *rest)
                fields.clear()

        handler.handle(Meddling())
        exchange = RecordingExchange()
        handler.handle(exchange)
        self.assertEqual(exchange.get(b"location"), b"https://x.example")

    def test_double_slash(self) -> None:
        """A path that begins with two slashes stays a path."""
        self.assertEqual(location("https://x.example", b"//evil"), b"https://x.example//evil")

    def test_to_without_host(self) -> None:
        """A ``to`` that is only a path never lets the request name a host."""
        for target in (b"//evil.example", b"/\\evil.example", b"///evil.example"):
            for to in ("/", ""):
                found = location(to, target)
                assert found is not None
                self.assertEqual(urlsplit(found).netloc, b"")
                self.assertNotEqual(found[1:2], b"\\")

    def test_not_origin_form(self) -> None:
        """A target without a path of its own is not appended."""
        for target in (b"*", b"@evil.example", b".evil.example", b":80"):
            self.assertEqual(location("https://x.example", target), b"https://x.example")

    def test_page_is_escaped(self) -> None:
        """The link in the page cannot be left."""
        exchange = sent(Redirect("https://x.example"), b"/'\"><script>&a")
        self.assertNotIn(b"<script", exchange.data)
        self.assertIn(b"/&#39;%22%3E%3Cscript%3E&amp;a", exchange.data)

    @FIXED
    @given(
        st.binary(max_size=40) | st.text("/\\@:.#?%e\r\n", max_size=12).map(str.encode),
        st.sampled_from(["https://x.example", "https://x.example/p/", "https://x.example?a#b"]),
    )
    def test_never_elsewhere(self, target: bytes, to: str) -> None:
        """Whatever is asked, the field is one line of visible ASCII and the host is ours."""
        found = location(to, b"/" + target)
        assert found is not None
        self.assertEqual([b for b in found if not 0x21 <= b <= 0x7E], [])
        self.assertEqual(urlsplit(found.decode()).netloc, "x.example")
