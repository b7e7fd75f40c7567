"""Tests for `snickers.http.pages`."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from snickers.http.pages import (
    Listed,
    answer_error,
    error_page,
    listing_page,
    negotiate,
    words_for,
)
from snickers.interfaces.exchange import IExchange, IRequest
from tests.exchange_fake import RecordingExchange

FIXED = settings(derandomize=True, deadline=None, max_examples=60)
STATUSES = [400, 403, 404, 405, 408, 413, 414, 421, 429, 431, 500, 501, 502, 503, 504]
KINDS_503 = ["", "asleep", "crashed", "resting", "away", "stopping", "broken", "disabled", "busy"]


class Reader(HTMLParser):
    """Collects what a page shows and what it would load."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.style = ""
        self.feed(page.decode("utf-8"))
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["style"]:
            self.style += data
        elif data.strip():
            self.text.append(data.strip())

    def having(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


class FakeTests(TestCase):
    """The exchange these tests use."""

    def test_interfaces(self) -> None:
        """The recording exchange and its request provide the front's interfaces."""
        exchange = RecordingExchange()
        verifyObject(IExchange, exchange)
        verifyObject(IRequest, exchange.request)


class ErrorPageTests(TestCase):
    """`error_page` in html."""

    def test_every_status(self) -> None:
        """Each page is whole, says its status, has a language, a viewport and one heading, loads
        nothing, and is not to be stored."""
        for status in [*STATUSES, 412, 416, 426, 418, 599]:
            fields, body = error_page(status, "", None)
            page = Reader(body)
            self.assertEqual(page.having("html"), [{"lang": "en"}])
            self.assertEqual(len(page.having("h1")), 1)
            self.assertEqual(len(page.having("main")), 1)
            self.assertIn("viewport", [meta.get("name") for meta in page.having("meta")])
            self.assertIn(f"Error {status}", page.text)
            self.assertIn("prefers-color-scheme", page.style)
            for _, attrs in page.tags:
                self.assertFalse({"src", "href"} & set(attrs))
            known = dict(fields)
            self.assertEqual(known[b"Cache-Control"], b"no-store")
            self.assertEqual(known[b"Content-Type"], b"text/html; charset=utf-8")

    def test_policy_allows_exactly_its_style(self) -> None:
        """The policy's hash is the one of the page's style element, and allows nothing else."""
        fields, body = error_page(404, "", None)
        digest = base64.b64encode(hashlib.sha256(Reader(body).style.encode()).digest()).decode()
        policy = dict(fields)[b"Content-Security-Policy"].decode()
        self.assertTrue(
            policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'"), policy
        )
        self.assertNotIn("unsafe", policy)

    def test_kinds_have_words_of_their_own(self) -> None:
        """Every kind of 503 reads differently, and so do the two of 502 and of 504."""
        for status, kinds in (
            (503, KINDS_503),
            (502, ["", "answer"]),
            (504, ["", "slow"]),
            (400, ["", "plain"]),
        ):
            pages = {error_page(status, kind, None)[1] for kind in kinds}
            self.assertEqual(len(pages), len(kinds))

    def test_words(self) -> None:
        """The words of a page can be had without it."""
        title, text, retry_after = words_for(503, "away")
        fields, body = error_page(503, "away", None)
        self.assertLessEqual({title, text}, set(Reader(body).text))
        self.assertEqual(dict(fields)[b"Retry-After"], b"%d" % (retry_after or 0))

    def test_unknown_kind(self) -> None:
        """A kind that is not known counts as none, and is not shown."""
        self.assertEqual(error_page(503, "<b>odd", None), error_page(503, "", None))

    def test_retry_after(self) -> None:
        """The caller's seconds win over the suggested ones; a resting site suggests none."""
        self.assertEqual(dict(error_page(503, "crashed", 77)[0])[b"Retry-After"], b"77")
        self.assertEqual(dict(error_page(503, "crashed", None)[0])[b"Retry-After"], b"10")
        self.assertNotIn(b"Retry-After", dict(error_page(503, "resting", None)[0]))
        self.assertNotIn(b"Retry-After", dict(error_page(404, "", None)[0]))

    def test_callers_own_list(self) -> None:
        """Changing the returned fields changes no other page."""
        fields, _ = error_page(404, "", None)
        fields.clear()
        self.assertTrue(error_page(404, "", None)[0])

    def test_prebuilt(self) -> None:
        """The same page is made once."""
        self.assertIs(error_page(502, "", 3)[1], error_page(502, "", 3)[1])

    def test_json(self) -> None:
        """The JSON form says the same in one small object."""
        fields, body = error_page(503, "away", None, "json")
        told = json.loads(body)
        self.assertEqual((told["status"], told["retry_after"]), (503, 30))
        self.assertEqual(dict(fields)[b"Content-Type"], b"application/json")
        self.assertNotIn(b"Content-Security-Policy", dict(fields))

    def test_text(self) -> None:
        """The plain form begins with status and title, and has no markup."""
        fields, body = error_page(404, "", None, "text")
        self.assertTrue(body.startswith(b"404 Not found\n"))
        self.assertNotIn(b"<", body)
        self.assertEqual(dict(fields)[b"Content-Type"], b"text/plain; charset=utf-8")


class NegotiateTests(TestCase):
    """`negotiate`."""

    def test_forms(self) -> None:
        """Browsers and who does not care get html, programs JSON, the rest plain text."""
        for accept, form in [
            (None, "html"),
            (b"*/*", "html"),
            (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "html"),
            (b"TEXT/HTML", "html"),
            (b"text/*", "html"),
            (b"image/avif,image/webp,*/*;q=0.5", "html"),
            (b"application/json", "json"),
            (b"application/json, text/plain, */*", "json"),
            (b"application/problem+json", "json"),
            (b"application/json;q=0.5, text/html", "html"),
            (b"application/json, text/html;q=0.5", "json"),
            (b"application/json, text/html", "html"),
            (b"application/json;q=0, */*", "html"),
            (b"text/plain", "text"),
            (b"image/png", "text"),
            (b"text/html;q=0", "text"),
            (b"text/html;q=0, */*", "text"),
            (b"text/html;q=odd", "text"),
            (b"", "text"),
            (b"\xff,;;q=,,", "text"),
            # No more is looked at than browsers say.
            (b"image/png," * 200 + b"text/html", "text"),
            (b"text/html;q=1," * 200 + b"application/json", "html"),
        ]:
            self.assertEqual(negotiate(accept), form, accept)

    @FIXED
    @given(st.binary(max_size=60))
    def test_anything(self, accept: bytes) -> None:
        """No field makes it fail."""
        self.assertIn(negotiate(accept), ("html", "json", "text"))


class AnswerErrorTests(TestCase):
    """`answer_error`."""

    def test_answers_and_ends(self) -> None:
        """The page goes out whole, with the fields that belong to the status."""
        exchange = RecordingExchange(fields=[(b"Accept", b"application/json")])
        answer_error(exchange, 405, extra=[(b"Allow", b"GET")])
        self.assertEqual((exchange.status, exchange.ended), (405, "finish"))
        self.assertEqual(exchange.get(b"allow"), b"GET")
        self.assertEqual(json.loads(exchange.data)["status"], 405)
        self.assertEqual(exchange.length, len(exchange.data))

    def test_extra_is_not_remembered(self) -> None:
        """The extra fields of one answer do not come with the next."""
        answer_error(RecordingExchange(), 405, extra=[(b"Allow", b"GET")])
        exchange = RecordingExchange()
        answer_error(exchange, 405)
        self.assertIsNone(exchange.get(b"allow"))


class ListingPageTests(TestCase):
    """`listing_page`."""

    def test_order(self) -> None:
        """Folders come first, then names without regard to case."""
        _, body = listing_page(
            [b"a"], [Listed(b"b", False), Listed(b"A", False), Listed(b"z", True)]
        )
        links = [attrs["href"] for attrs in Reader(body).having("a")]
        self.assertEqual(links, ["../", "./z/", "./A", "./b"])

    def test_top_has_no_way_up(self) -> None:
        """The root's list has no link to what is above."""
        self.assertEqual(Reader(listing_page([], [])[1]).having("a"), [])

    def test_names_are_data(self) -> None:
        """Names are escaped, and a link can be neither a scheme nor another host."""
        names = [b"javascript:alert(1)", b'"><script>', b"a&b#c?d%20", "é".encode()]
        _, body = listing_page([b"<i>"], [Listed(name, False) for name in names])
        page = Reader(body)
        self.assertFalse(page.having("script"))
        self.assertFalse(page.having("i"))
        links = {attrs["href"] for attrs in page.having("a")} - {"../"}
        for link in links:
            self.assertTrue(re.fullmatch(r"\./[\w.%()~-]+", link), link)
        self.assertIn("./a%26b%23c%3Fd%2520", links)
        self.assertIn('"><script>', page.text)

    def test_sizes(self) -> None:
        """Sizes are shown in units a person reads."""
        sizes = [0, 999, 1000, 999_949, 1_000_000, 2_500_000_000, 5 * 10**15]
        _, body = listing_page([], [Listed(b"%d" % i, False, s) for i, s in enumerate(sizes)])
        text = Reader(body).text
        for shown in ("0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "2.5 GB", "5000.0 TB"):
            self.assertIn(shown, text)

    def test_incomplete(self) -> None:
        """A list that was cut says so."""
        self.assertNotEqual(listing_page([], [], False)[1], listing_page([], [])[1])
