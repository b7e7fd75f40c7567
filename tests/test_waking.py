"""The waking page, and what its script is told."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers.life import Phase
from snickers.http.pages import words_for
from snickers.http.waking import LOOK, LOOK_FIELD, is_look, stage_answer, waking_page
from snickers.interfaces.leases import Stage
from tests.exchange_fake import RecordingExchange
from tests.test_pages import Reader

FIXED = settings(derandomize=True, deadline=None, max_examples=100)
PULLING = Stage("starting", "pulling registry.inner/alpine:3: 1 of 3 layers, 45 %")


def told(stage: Stage) -> dict[str, Any]:
    """What the script is told of *stage*."""
    found: dict[str, Any] = json.loads(stage_answer(stage)[1])
    return found


class PageTests(SynchronousTestCase):
    """`waking_page`."""

    def page(self, stage: Stage, scripted: bool = True) -> tuple[int, dict[bytes, bytes], Reader]:
        status, fields, body = waking_page(stage, b"/a", scripted)
        return status, dict(fields), Reader(body)

    def test_whole(self) -> None:
        """In every phase the page is whole, has a language, one heading and a status that is read
        out; it loads nothing, is not stored, and says when to ask again."""
        for phase in Phase:
            status, fields, page = self.page(Stage(phase.value))
            self.assertEqual(status, 503)
            self.assertEqual(page.having("html"), [{"lang": "en"}])
            self.assertEqual((len(page.having("h1")), len(page.having("title"))), (1, 1))
            (stage,) = [attrs for attrs in page.having("p") if "role" in attrs]
            self.assertEqual((stage["role"], stage["aria-live"]), ("status", "polite"))
            # Within what is busy, screen readers say nothing.
            self.assertNotIn("aria-busy", str(page.tags))
            for _, attrs in page.tags:
                self.assertFalse({"src", "href"} & set(attrs))
            self.assertEqual(fields[b"Cache-Control"], b"no-store")
            self.assertGreater(int(fields[b"Retry-After"]), 0)

    def test_words(self) -> None:
        """Each phase on the way has words for a visitor."""
        for stage, words in [
            (Stage("asleep"), "Waking up…"),
            (Stage("starting", "starting"), "Starting…"),
            (PULLING, "Fetching what is needed…"),
            (Stage("checking"), "Checking that it answers…"),
            (Stage("paused"), "Going on…"),
            (Stage("resuming"), "Going on…"),
            (Stage("snapshotting"), "Saving what went before…"),
            (Stage("stopping"), "Finishing what went before…"),
            (Stage("reverting"), "Going back to what was before…"),
        ]:
            self.assertIn(words, self.page(stage)[2].text)
            self.assertEqual(told(stage)["rose"] is True, stage.phase in
                             ("starting", "checking", "resuming"))  # fmt: skip

    def test_percent(self) -> None:
        """How much was pulled is shown, to screen readers as the value of a bar that is not read
        out at each step."""
        page = self.page(PULLING)[2]
        (bar,) = page.having("progress")
        self.assertEqual((bar["value"], bar["max"], "hidden" in bar), ("45", "100", False))
        self.assertTrue(bar["aria-label"])
        self.assertIn("45\u202f%", page.text)
        for stage in (Stage("starting", "pulling x"), Stage("checking", "pulling x, 45 %")):
            (bar,) = self.page(stage)[2].having("progress")
            self.assertIn("hidden", bar)
            self.assertNotIn("value", bar)

    def test_trouble(self) -> None:
        """With the engine away, or with a start that takes too long, it is the page that says so,
        and looks on."""
        for stage, status, kind, seconds in [
            (Stage("away", "waiting for the engine"), 503, "away", b"30"),
            (Stage("starting", "starting", True), 504, "slow", b"5"),
            (Stage("crashed"), 503, "crashed", b"10"),
        ]:
            got, fields, page = self.page(stage)
            title, text, _ = words_for(status, kind)
            self.assertEqual((got, fields[b"Retry-After"]), (status, seconds))
            self.assertLessEqual({title, text, f"Error {status}"}, set(page.text))
            self.assertEqual(len(page.having("script")), 1)
            self.assertEqual((told(stage)["title"], told(stage)["next"]), (title, "rest"))

    def test_policy(self) -> None:
        """The policy allows the style and the script that are there, and asking the site itself;
        nothing else."""
        _, fields, body = waking_page(PULLING, b"/a")
        policy = dict(fields)[b"Content-Security-Policy"].decode()
        page = body.decode()
        allowed = {"default-src 'none'", "base-uri 'none'", "form-action 'none'",
                   "connect-src 'self'"}  # fmt: skip
        for element in ("style", "script"):
            inner = page.partition(f"<{element}>")[2].partition(f"</{element}>")[0]
            digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
            allowed.add(f"{element}-src 'sha256-{digest}'")
        self.assertEqual(set(policy.split("; ")), allowed)

    def test_without_scripts(self) -> None:
        """Without scripts it is loaded again by the browser. A page whose policy does not reach
        the browser has no script, and is loaded again in any case."""
        refresh = {"http-equiv": "refresh", "content": "2; url=./a"}
        _, _, page = self.page(PULLING)
        names = [name for name, attrs in page.tags]
        self.assertEqual(names[names.index("noscript") + 1], "meta")
        self.assertIn(refresh, page.having("meta"))
        _, fields, page = self.page(PULLING, scripted=False)
        self.assertEqual((page.having("script"), page.having("noscript")), ([], []))
        self.assertIn(refresh, page.having("meta"))
        self.assertNotIn(b"script-src", fields[b"Content-Security-Policy"])

    def test_the_same_address(self) -> None:
        """The browser is led to the address it came from, whatever that is: never to another host,
        and what is in it is data."""
        for target, reference in [
            (b"/", "./"),
            (b"/a/b", "./b"),
            (b"/a/b/", "./"),
            (b"/a/b?c=/d?e", "?c=/d?e"),
            (b"//evil.example", "./evil.example"),
            (b"//evil.example/a?", "?"),
            (b"/javascript:a", "./javascript:a"),
            (b"/a?\"'><script>", "?\"'><script>"),
            (b"*", "./*"),
        ]:
            page = Reader(waking_page(PULLING, target)[2])
            refresh = {"http-equiv": "refresh", "content": f"2; url={reference}"}
            self.assertIn(refresh, page.having("meta"))
            self.assertEqual(len(page.having("script")), 1)

    @FIXED
    @given(st.builds(Stage, st.sampled_from([p.value for p in Phase]), st.text(), st.booleans()))
    def test_nothing_of_the_inside(self, stage: Stage) -> None:
        """Nothing of what the engine says reaches a visitor but per cent of a pull."""
        plain = Stage(stage.phase, "", stage.late)
        self.assertEqual(waking_page(stage, b"/a"), waking_page(plain, b"/a"))
        self.assertEqual(stage_answer(stage), stage_answer(plain))

    def test_image(self) -> None:
        """The name of an image does not reach a visitor."""
        for body in (waking_page(PULLING, b"/a")[2], stage_answer(PULLING)[1]):
            self.assertNotIn(b"alpine", body)
        self.assertEqual(told(Stage("starting", "pulling x, 999 %"))["percent"], 100)


class LookTests(SynchronousTestCase):
    """The script's question and its answer."""

    def test_is_look(self) -> None:
        """Both the path and the field make a look, and only a GET."""
        field = [(LOOK_FIELD, b"look")]
        for method, target, fields, expected in [
            (b"GET", LOOK, field, True),
            (b"GET", LOOK, [], False),
            (b"GET", LOOK + b"?", field, False),
            (b"GET", b"/", field, False),
            (b"POST", LOOK, field, False),
        ]:
            request = RecordingExchange(method, target, fields).request
            self.assertEqual(is_look(request), expected)

    def test_next(self) -> None:
        """What the page is to do, in every phase: load the address when it is answered or is
        another kind of site now, look on while the server is on its way."""
        following = {
            **dict.fromkeys(["awake", "paused", "pausing", "over", ""], "open"),
            **dict.fromkeys(["away", "crashed"], "rest"),
            "asleep": "asleep",
        }
        for phase in ["", *(phase.value for phase in Phase)]:
            self.assertEqual(told(Stage(phase))["next"], following.get(phase, "wait"), phase)

    def test_asleep_again(self) -> None:
        """Asleep after it had been on its way means that somebody put it to sleep: the page can
        say so."""
        self.assertEqual(told(Stage("asleep"))["title"], "This site is asleep")
        self.assertEqual(told(Stage("asleep"))["rose"], None)
        self.assertEqual(told(Stage("away"))["rose"], False)
        self.assertEqual((told(Stage("crashed"))["fell"], told(PULLING)["fell"]), (True, False))

    def test_marked(self) -> None:
        """The answer can be told from one of the site's own, and is not stored."""
        fields = dict(stage_answer(PULLING)[0])
        self.assertIn(LOOK_FIELD, [name.lower() for name in fields])
        self.assertEqual(fields[b"Cache-Control"], b"no-store")
        self.assertEqual(fields[b"Content-Type"], b"application/json")
